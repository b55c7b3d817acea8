package predict

import (
	"errors"
	"time"

	"github.com/tcplab/tcplab/internal/oracle"
)

// Open says how a connection is opened, and what is lost of it.
type Open struct {
	// Lost is how many SYNs are lost, from the first on; -1: all.
	Lost int
	RTT  time.Duration // of the link; 0: a veth
	// SYNCount is TCP_SYNCNT of the client's socket, UserTimeout its TCP_USER_TIMEOUT. Zero: not set.
	SYNCount    int
	UserTimeout time.Duration
}

// Connect is an open of which the first SYNs are lost, or all: the SYNs, and how and when connect(2) ends.
func Connect(k Kernel, client Settings, o Open) (Timeline, error) {
	r := &reading{s: client}
	c := oracle.Connect{SYNRetries: int(r.int("tcp_syn_retries")), LinearTimeouts: int(r.int("tcp_syn_linear_timeouts")), RTOMax: r.in("tcp_rto_max_ms", time.Millisecond),
		SYNCount: o.SYNCount, UserTimeout: o.UserTimeout}
	if o.Lost < 0 {
		return k.ask(c, r.errs...)
	}
	return k.ask(oracle.LateOpen{Connect: c, Lost: o.Lost, RTT: o.RTT}, r.errs...)
}

// Data is one small write into a connection whose peer is gone.
type Data struct {
	// Exchange is when the client made a request that was answered, and Request how many bytes that and its answer had each: the connection is
	// alive until then. Required.
	Exchange time.Duration
	Request  int
	// Write is when the client writes, from its connect(2) on, and Bytes how much, 1 to 1000.
	Write       time.Duration
	Bytes       int
	RTT         time.Duration // of the link; 0: a veth
	UserTimeout time.Duration // TCP_USER_TIMEOUT of the client's socket; 0: not set, tcp_retries2 rules
}

// BlackHole is a write after which nothing comes back: every repeat, and when the client's socket dies, and of what. Both ends
// have the client's tcp_sack.
func BlackHole(k Kernel, client Settings, d Data) (Timeline, error) {
	r := &reading{s: client}
	b := oracle.BlackHole{Cut: oracle.CutMid, Exchange: d.Exchange, Request: d.Request, Write: d.Write, Bytes: d.Bytes, RTT: d.RTT, UserTimeout: d.UserTimeout,
		Retries2: int(r.int("tcp_retries2")), EarlyRetrans: int(r.int("tcp_early_retrans")), RTOMax: r.in("tcp_rto_max_ms", time.Millisecond),
		RTOMin: r.in("tcp_rto_min_us", time.Microsecond), NoSACK: r.int("tcp_sack") == 0, ThinLinear: r.int("tcp_thin_linear_timeouts") != 0}
	return k.ask(b, r.errs...)
}

// Idle is a connection on which nobody speaks, and whose peer is gone.
type Idle struct {
	// KeepIdle, KeepInterval and KeepCount are the options of the client's socket; zero: the host's tcp_keepalive_* rule.
	KeepIdle, KeepInterval time.Duration
	KeepCount              int
	UserTimeout            time.Duration // TCP_USER_TIMEOUT; 0: not set
}

// Keepalive is an idle connection with SO_KEEPALIVE: the probes, and when the client's socket dies.
func Keepalive(k Kernel, client Settings, i Idle) (Timeline, error) {
	if client == nil {
		return Timeline{}, errors.New("predict: no settings given")
	}
	r := &reading{s: client}
	return k.ask(oracle.Keepalive{Time: r.in("tcp_keepalive_time", time.Second), Interval: r.in("tcp_keepalive_intvl", time.Second), Probes: int(r.int("tcp_keepalive_probes")),
		Idle: i.KeepIdle, SockInterv: i.KeepInterval, Count: i.KeepCount, UserTimeout: i.UserTimeout, Peer: oracle.KeepalivePeer{Gone: true}}, r.errs...)
}
