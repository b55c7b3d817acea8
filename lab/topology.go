// Package lab builds a client and a server on one Linux machine, lets a caller break what is between them, and takes everything down
// again: network namespaces joined by a veth pair, sysctls, iptables rules, TCP clients in processes of their own, a small server,
// a capture at each end. It changes nothing outside its own namespaces.
//
// It is not for judging what happened: that is what a capture and a prediction are for.
//
// Its one trap: an iptables rule in OUTPUT drops a packet before the sender's own capture sees it, and TCP sees an error; a rule in
// INPUT drops it after the receiver's capture saw it. Drop at the receiver unless the difference is the point.
package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"github.com/tcplab/tcplab/internal/agent"
	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/sysctl"
)

// ErrLeftBehind is wrapped by Close where something of the lab is still there.
var ErrLeftBehind = errors.New("left behind")

// ErrPrivilege is wrapped by errors that root, or CAP_SYS_ADMIN and CAP_NET_ADMIN, would mend. It is an fs.ErrPermission.
var ErrPrivilege = fmt.Errorf("a lab needs CAP_SYS_ADMIN and CAP_NET_ADMIN (run it with sudo): %w", fs.ErrPermission)

// ErrUnsupported is wrapped where the kernel, or the container around it, does not have or allow what a lab is made of.
var ErrUnsupported = errors.New("this kernel or container cannot do it")

// ErrClientEnded is wrapped where a client's process ended by itself, or was killed.
var ErrClientEnded = errors.New("client process ended")

// ErrNoIPTables is wrapped where the iptables program is missing.
var ErrNoIPTables = errors.New("iptables is not installed (install it with: apt-get install iptables)")

// Topology is a lab to be built. The zero value is a client 10.99.0.1 and a server 10.99.0.2 with the kernel's default sysctls.
type Topology struct {
	// Client and Server are the addresses, of one family. Zero: those of Addresses.
	Client, Server netip.Prefix
	// IPv6 gives the hosts addresses of IPv6 where none are named. They send nothing of their own: they have no link-local address, which
	// would look for routers, and are in no solicited-node group, which they would have to announce (MLD). Zero: IPv4.
	IPv6 bool
	// Baseline says what is set in both namespaces before the link comes up, given what this kernel has there: sysctl.Baseline.
	// Zero: nothing is set.
	Baseline func(exists func(name string) bool) []sysctl.Setting
	// Observe is called for every event of a client process and of a server, one at a time, on goroutines of the lab's. It must not call
	// the lab. Zero: nobody listens.
	Observe func(host string, e Event)
	// RTT is the round-trip time of the link: each frame arrives half of it after it was sent. Zero: a veth, some 20 µs. Lab.Delay says
	// how it is made, and Lab.DelayStats how well.
	RTT time.Duration
	// Link is what the link does besides to the segments with data that the client sends: a rate, segments that are held back. It wants an RTT,
	// and a process makes both. Zero: nothing.
	Link LinkPlan
	// HoldFrames has a process delay the frames of a link with an RTT. Zero: netem does where this kernel has it.
	HoldFrames bool
	// Router puts a third namespace between the hosts, Lab.Router, which forwards between two networks. Zero: there is none.
	Router bool
	// NoNeighbours leaves the neighbour entries to ARP. Zero: each host has a permanent entry for the other, because an ARP request that
	// nobody answers ends connect(2) with EHOSTUNREACH after three seconds, and takes SYNs with it. With IPv6 nobody answers: a neighbour
	// solicitation goes to a solicited-node group, in which no host is.
	NoNeighbours bool
	// Virtual says that time stands still while this machine has work to do: the client processes do not watch for stalls.
	Virtual bool
}

// ClientAddr and ServerAddr are the addresses of a Topology that names none.
var (
	ClientAddr = netip.MustParsePrefix("10.99.0.1/24")
	ServerAddr = netip.MustParsePrefix("10.99.0.2/24")
)

// ClientAddr6 and ServerAddr6 are those of a Topology with IPv6: unique local addresses (RFC 4193), which never leave a site.
var (
	ClientAddr6 = netip.MustParsePrefix("fd00:10:99::1/64")
	ServerAddr6 = netip.MustParsePrefix("fd00:10:99::2/64")
)

// Addresses are the addresses of a Topology that names none.
func Addresses(ipv6 bool) (client, server netip.Prefix) {
	if ipv6 {
		return ClientAddr6, ServerAddr6
	}
	return ClientAddr, ServerAddr
}

// Iface is the name of the link in each namespace.
const Iface = "eth0"

func (t Topology) withDefaults() Topology {
	client, server := Addresses(t.IPv6)
	if !t.Client.IsValid() {
		t.Client = client
	}
	if !t.Server.IsValid() {
		t.Server = server
	}
	t.IPv6 = t.Client.Addr().Is6()
	return t
}

// Event is what a client process or a server tells. Times are CLOCK_MONOTONIC.
type Event = agent.Event

// What an Event tells.
const (
	Connecting = agent.Connecting // the first SYN was sent between Event.Before and Event.After; Event.Bytes went with it (Fast Open)
	Connected  = agent.Connected  // connect(2) succeeded
	Calling    = agent.Calling    // Event.Call blocks from Event.Before on
	Sent       = agent.Sent       // Event.Bytes were written, the first of them between Event.Before and Event.After, all in Event.Calls calls
	Received   = agent.Received   // Event.Bytes came, or, without any, the peer's end of stream
	Response   = agent.Response   // the whole HTTP answer is there: Event.Status, Event.Bytes
	Quiet      = agent.Quiet      // nothing came until ReceiveOptions.Until
	ShutDown   = agent.ShutDown   // shutdown(2) was called between Event.Before and Event.After
	Closed     = agent.Closed     // close(2) was called between Event.Before and Event.After
	Accepted   = agent.Accepted   // a server's accept(2) returned a connection from Event.Remote
	Resumed    = agent.Resumed    // a server read again, between Event.Before and Event.After: ListenOptions.ReadAfter
	Failed     = agent.Failed     // Event.Call failed with Event.Errno
)

// LinkPlan is what a link does to segments besides its delay.
type LinkPlan = link.Plan

// Stall is a time in which something that was due did not happen, because this machine did not run it.
type Stall = agent.Stall

// SocketOptions are the options of a client's socket.
type SocketOptions = agent.Options

// DialOptions are a client's socket options, and when it starts. The zero value sets nothing, keepalive off, and starts at once.
type DialOptions struct {
	SocketOptions
	// At is the CLOCK_MONOTONIC time at which connect(2) is called. Zero or past: at once.
	At time.Duration
}

// ReceiveOptions say when a client reads. The zero value reads at once, and waits for ever.
type ReceiveOptions struct {
	// At is the CLOCK_MONOTONIC time at which it starts to wait. Zero or past: at once.
	At time.Duration
	// Until is the CLOCK_MONOTONIC time at which it stops waiting: ErrQuiet. Zero: never.
	Until time.Duration
}

// AskOptions are a request in pieces: Writes times Size bytes, at a CLOCK_MONOTONIC time (0: at once).
type AskOptions struct {
	Writes, Size int
	Cork         string // TCP_CORK: Cork around the writes, ForgetCork on and never off. Zero: not touched
	At           time.Duration
}

// The values of AskOptions.Cork.
const (
	Cork       = agent.Cork
	ForgetCork = agent.ForgetCork
)

// ErrQuiet is wrapped by the error of Receive where nothing came in its time. The connection is as it was.
var ErrQuiet = errors.New("nothing came in the time given")

// Change is one sysctl that was set.
type Change struct {
	Name string // "net.ipv4.tcp_syn_retries"
	Was  string // before
	Now  string // read back
	Why  string
}

// CallError is how a system call of a client failed.
type CallError struct {
	Call  string        // "connect", "sendto", "write", "read", "shutdown"
	Errno string        // "ETIMEDOUT"; empty: not the kernel's error
	At    time.Duration // CLOCK_MONOTONIC: when poll(2), or the call itself, returned
	Text  string
}

// Error says which call failed and how.
func (e *CallError) Error() string {
	if e.Errno == "" {
		return e.Call + ": " + e.Text
	}
	return e.Call + ": " + e.Errno + " (" + e.Text + ")"
}

// ConnectError is the CallError of a connect(2).
type ConnectError = CallError

// Service is what a server does with its connections.
type Service string

// The services.
const (
	HTTP Service = ""     // answers each GET with 200 and one line of text, in one write(2)
	Echo Service = "echo" // sends back what comes
	Sink Service = "sink" // reads and forgets
	Hold Service = "hold" // never accepts: connections stay in the listener's queue
)

// CloseWhen says when a server closes a connection.
type CloseWhen string

// The occasions.
const (
	AfterFIN    CloseWhen = ""             // when it has read the peer's end of stream
	AfterAnswer CloseWhen = "after-answer" // first, as soon as its first answer is written: HTTP, Echo
	AfterAccept CloseWhen = "after-accept" // by itself, counted from accept(2), whatever the peer does, and without reading: Sink
	Never       CloseWhen = "never"        // not at all, also when it has read the peer's end of stream: Sink
)

// ListenOptions say what a server does. The zero value is an HTTP server on port 8080 that closes when the client has closed, with
// every socket option as the kernel has it: keepalive off, Nagle's algorithm on, no Fast Open.
type ListenOptions struct {
	Port    uint16  // zero: 8080
	Service Service // zero: HTTP
	// Close says when it closes a connection, and CloseDelay how long after that. Zero: after the peer's FIN, at once.
	Close      CloseWhen
	CloseDelay time.Duration
	Backlog    int // of listen(2), 1 and up; zero: 4096, which the kernel cuts to net.core.somaxconn
	// FastOpen is the length of the queue for Fast Open connections (TCP_FASTOPEN). Zero: off, unless tcp_fastopen has bit 0x400.
	FastOpen  int
	NoDelay   bool // TCP_NODELAY on accepted connections
	KeepAlive bool // SO_KEEPALIVE on accepted connections
	// KeepIdle, KeepInterval (whole seconds) and KeepCount are theirs too. Zero: the server's tcp_keepalive_* rule.
	KeepIdle, KeepInterval time.Duration
	KeepCount              int
	// ReceiveBuffer is SO_RCVBUF of the listener, in bytes, which the kernel doubles. Zero: tcp_rmem rules.
	ReceiveBuffer int
	// LowWater is SO_RCVLOWAT in bytes: the program sleeps until so much is there, so that no segment before meets a socket that the
	// program holds, where the kernel merges segments and their acknowledgements (tcp_add_backlog). Zero: 1.
	LowWater int
	// Whole is how many bytes an Echo server reads before it sends them back, with one write. Zero: what it reads.
	Whole int
	// QuickACK says when the program sets TCP_QUICKACK. Zero: never.
	QuickACK QuickACK
	// ReadAfter is how long after accept(2) a Sink begins to read: what comes before stays in the kernel's buffer. Zero: at once; NeverReads:
	// not before the server is closed.
	ReadAfter time.Duration
}

// QuickACK is when a server's program sets TCP_QUICKACK on a connection.
type QuickACK string

// The occasions.
const (
	QuickACKNever  QuickACK = ""
	QuickACKOnce   QuickACK = "once"   // after accept(2)
	QuickACKAlways QuickACK = "always" // and after each answer
)

// NeverReads is a ListenOptions.ReadAfter.
const NeverReads time.Duration = -1
