// Package agent is the program on a lab host: a TCP client in a process of its own, curl-like (one HTTP GET) or telnet-like (lines as
// they are told), driven over its standard input and output by lines of JSON.
//
// A process of its own makes its system calls visible to strace, keeps its descriptors apart, and dies with its namespace. It is the
// same binary as its parent: a program that imports this package becomes the agent when it is started under the name Name, before its
// main function runs.
//
// Its one trap: standard input is its lifeline. The agent exits when its parent closes it or dies.
package agent

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/tcplab/tcplab/internal/stall"
)

// Name is argv[0] of an agent.
const Name = "tcplab-agent"

// VirtualTime is an environment variable. Where it is set, time stands still while this machine has work to do: nothing can stall, and
// nobody watches for stalls, because a watcher would be all the work there is.
const VirtualTime = "TCPLAB_VIRTUAL_TIME"

// Due is an environment variable: the spans, as JSON, in which the agent may have something to tell. Elsewhere it looks for stops of its own
// less often. Where it is not set, anything may come at any time.
const Due = "TCPLAB_DUE"

// Span is a time from and to an instant of CLOCK_MONOTONIC.
type Span = stall.Span

// Op is what a Request asks for.
type Op string

// The requests.
const (
	Connect     Op = "connect"      // open a connection; answered by Connecting, then Connected or Failed
	ConnectSend Op = "connect-send" // TCP Fast Open: connect and send Data in one call; answered by Connecting, Connected, then Sent, or Failed
	Send        Op = "send"         // write Data; answered by Sent or Failed
	Write       Op = "write"        // write Segments times Size bytes; answered by Sent or Failed
	Receive     Op = "receive"      // read what the peer sends next; answered by Calling, then Received, Quiet or Failed
	Get         Op = "get"          // write Data, a request of HTTP GET, and read the whole answer; answered by Sent, then Response, or Failed
	Ask         Op = "ask"          // Segments writes of Size bytes each, then reads until as many came; answered by Sent, then Response, or Failed
	Shutdown    Op = "shutdown"     // shutdown(SHUT_WR): no more data, a FIN; answered by ShutDown or Failed
	Close       Op = "close"        // close the socket, the process stays; answered by Closed
)

// Request is one line to the agent.
type Request struct {
	Op      Op             `json:"op"`
	To      netip.AddrPort `json:"to,omitzero"`
	Options Options        `json:"options,omitzero"`
	// At is the CLOCK_MONOTONIC time of the system call; zero or past: at once.
	At time.Duration `json:"at,omitempty"`
	// Until is the CLOCK_MONOTONIC time at which Receive stops waiting; zero: never.
	Until    time.Duration `json:"until,omitempty"`
	Data     string        `json:"data,omitempty"`
	Segments int           `json:"segments,omitempty"`
	Size     int           `json:"size,omitempty"`
	// Cork is what Ask does with TCP_CORK: "", Cork (on before the writes, off after them), ForgetCork (on before them).
	Cork string `json:"cork,omitempty"`
}

// The values of Request.Cork.
const (
	Cork       = "cork"
	ForgetCork = "forget"
)

// Options are the socket options of a connection. The zero value is what a plain C client gets: nothing set, keepalive off. Each is read
// back, and one that the kernel changed is an error.
type Options struct {
	SYNCount      int           `json:"syn_count,omitempty"`      // TCP_SYNCNT, 1..127; 0: not set
	UserTimeout   time.Duration `json:"user_timeout,omitempty"`   // TCP_USER_TIMEOUT, whole milliseconds; 0: not set
	KeepAlive     bool          `json:"keepalive,omitempty"`      // SO_KEEPALIVE
	KeepIdle      time.Duration `json:"keep_idle,omitempty"`      // TCP_KEEPIDLE, whole seconds; 0: tcp_keepalive_time rules
	KeepInterval  time.Duration `json:"keep_interval,omitempty"`  // TCP_KEEPINTVL, whole seconds; 0: tcp_keepalive_intvl rules
	KeepCount     int           `json:"keep_count,omitempty"`     // TCP_KEEPCNT, 1..127; 0: tcp_keepalive_probes rules
	Linger2       int           `json:"linger2,omitempty"`        // TCP_LINGER2 in seconds, up to 120; below 0: no FIN-WAIT-2; 0: tcp_fin_timeout rules
	LocalPort     int           `json:"local_port,omitempty"`     // the port it is bound to, 1..65535; 0: the kernel chooses one
	NoDelay       bool          `json:"nodelay,omitempty"`        // TCP_NODELAY: Nagle's algorithm off
	NoQuickAck    bool          `json:"no_quickack,omitempty"`    // TCP_QUICKACK=0: acknowledge late from the start, the third ACK included
	MaxSeg        int           `json:"maxseg,omitempty"`         // TCP_MAXSEG in bytes, options included: 88..32767; 0: the link's
	ReceiveBuffer int           `json:"receive_buffer,omitempty"` // SO_RCVBUF in bytes, which the kernel doubles; 0: tcp_rmem rules
	SendBuffer    int           `json:"send_buffer,omitempty"`    // SO_SNDBUF in bytes, which the kernel doubles; 0: tcp_wmem rules
	RTOMin        time.Duration `json:"rto_min,omitempty"`        // TCP_RTO_MIN_US, whole microseconds, which the kernel rounds up to jiffies; 0: tcp_rto_min_us rules
	RTOMax        time.Duration `json:"rto_max,omitempty"`        // TCP_RTO_MAX_MS, 1 s..120 s, whole milliseconds; 0: tcp_rto_max_ms rules
}

// Kind is what an Event reports.
type Kind string

// The events.
const (
	Ready      Kind = "ready"      // the agent runs
	Connecting Kind = "connecting" // the first SYN was sent between Before and After; Bytes: the data that the kernel took for it (Fast Open)
	Connected  Kind = "connected"  // the handshake is done
	Calling    Kind = "calling"    // Call blocks from Before on; what ended it comes in an event of its own
	Sent       Kind = "sent"       // Bytes were written; the first of them by a call between Before and After, all of them in Calls calls
	Response   Kind = "response"   // HTTP: Status and Bytes; At is when the last byte was read
	Received   Kind = "received"   // Data came from the peer; no Bytes: the peer closed. At is when poll(2) returned
	Quiet      Kind = "quiet"      // nothing came until Request.Until
	Failed     Kind = "failed"     // Call failed with Errno
	ShutDown   Kind = "shut-down"  // shutdown(2) was called between Before and After
	Closed     Kind = "closed"     // close(2) was called between Before and After; both are zero where there was no socket
)

// The events of the server, which lives in the parent's process and tells them in the same form. Received and Sent it tells too, without
// Data, and Closed with all the Bytes that the connection brought.
const (
	Accepted Kind = "accepted" // accept(2) returned a connection from Remote at At
	Resumed  Kind = "resumed"  // a program that did not read for a while read Bytes by a call between Before and After
)

// Event is one line from the agent. Times are CLOCK_MONOTONIC.
type Event struct {
	Event  Kind          `json:"event"`
	At     time.Duration `json:"at"`
	Before time.Duration `json:"before,omitempty"`
	After  time.Duration `json:"after,omitempty"`
	// Asked is Request.At, in the event of the call that was to be made at that time. Zero: it was to be made at once, or it follows from
	// an earlier one, as the write after a connection without a cookie does.
	Asked time.Duration `json:"asked,omitempty"`
	// Local and Remote are the ends of the connection: in Connecting and in a server's events; package lab adds them to what follows.
	Local  netip.AddrPort `json:"local,omitzero"`
	Remote netip.AddrPort `json:"remote,omitzero"`
	Call   string         `json:"call,omitempty"`  // "connect", "sendto", "write", "read", "shutdown", "close"
	Errno  string         `json:"errno,omitempty"` // "ETIMEDOUT"
	Text   string         `json:"text,omitempty"`  // the error in words
	Status int            `json:"status,omitempty"`
	Bytes  int            `json:"bytes,omitempty"`
	Calls  int            `json:"calls,omitempty"`
	Data   string         `json:"data,omitempty"`
	// Stalls are the times in which this process did not run although it was due, in Connected, Received, Response, Quiet and Failed: what
	// it tells of them may be late by as much.
	Stalls []Stall `json:"stalls,omitempty"`
	// KeepAlive is SO_KEEPALIVE as the kernel reports it, in Connecting and Accepted.
	KeepAlive bool `json:"keepalive,omitempty"`
}

// Stall is a time in which a process did not run. Due is CLOCK_MONOTONIC.
type Stall struct {
	Due time.Duration `json:"due"`
	For time.Duration `json:"for"`
}

func (e Event) line() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic("agent: event: " + err.Error()) // plain data: cannot fail
	}
	return append(b, '\n')
}
