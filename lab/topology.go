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
	"net/netip"
	"strconv"
	"time"

	"github.com/tcplab/tcplab/internal/agent"
	"github.com/tcplab/tcplab/pcapout"
	"github.com/tcplab/tcplab/sysctl"
)

// ErrLeftBehind is wrapped by Close where something of the lab is still there.
var ErrLeftBehind = errors.New("left behind")

// ErrUnsupported is wrapped where the kernel, or the container around it, does not have or allow what a lab is made of.
var ErrUnsupported = errors.New("this kernel or container cannot do it")

// ErrClientEnded is wrapped where a client's process ended by itself, or was killed.
var ErrClientEnded = errors.New("client process ended")

// ErrNoIPTables is wrapped where the iptables program is missing.
var ErrNoIPTables = errors.New("iptables is not installed (install it with: apt-get install iptables)")

// Topology is a lab to be built. The zero value is a client 10.99.0.1 and a server 10.99.0.2 with the kernel's default sysctls.
type Topology struct {
	// Client and Server are the addresses. Zero: 10.99.0.1/24 and 10.99.0.2/24.
	Client, Server netip.Prefix
	// Baseline says what is set in both namespaces before the link comes up, given what this kernel has there: sysctl.Baseline.
	// Zero: nothing is set.
	Baseline func(exists func(name string) bool) []sysctl.Setting
	// Observe is called for every event of a client process, on a goroutine of the lab's. Zero: nobody listens.
	Observe func(host string, e Event)
}

// ClientAddr and ServerAddr are the addresses of a Topology that names none.
var (
	ClientAddr = netip.MustParsePrefix("10.99.0.1/24")
	ServerAddr = netip.MustParsePrefix("10.99.0.2/24")
)

// Iface is the name of the veth in each namespace.
const Iface = "eth0"

func (t Topology) withDefaults() Topology {
	if !t.Client.IsValid() {
		t.Client = ClientAddr
	}
	if !t.Server.IsValid() {
		t.Server = ServerAddr
	}
	return t
}

// Event is what a client process tells. Times are CLOCK_MONOTONIC.
type Event = agent.Event

// What an Event tells.
const (
	Connecting = agent.Connecting // the first SYN was sent between Event.Before and Event.After
	Connected  = agent.Connected  // connect(2) succeeded
	Failed     = agent.Failed     // Event.Call failed with Event.Errno
	Received   = agent.Received   // the peer sent Event.Bytes; 0: it has closed
	Response   = agent.Response   // the answer to a request is complete
)

// SocketOptions are the options of a client's socket.
type SocketOptions = agent.Options

// DialOptions are a client's socket options, and when it starts. The zero value sets nothing, keepalive off, and starts at once.
type DialOptions struct {
	SocketOptions
	// At is the CLOCK_MONOTONIC time at which connect(2) is called. Zero or past: at once.
	At time.Duration
}

// Change is one sysctl that was set.
type Change struct {
	Name string // "net.ipv4.tcp_syn_retries"
	Was  string // before
	Now  string // read back
	Why  string
}

// Rule is an iptables rule that drops TCP segments.
type Rule struct {
	Table string // zero: "filter"
	Chain string // "INPUT" or "OUTPUT"
	// FromPort and ToPort are the ports it matches. Zero: any.
	FromPort, ToPort uint16
	// Mask and Flags: of the flags in Mask, exactly those in Flags are set. Zero: any flags.
	Mask, Flags pcapout.Flags
	Text        string // what it matches, in words: "TCP SYN to :8080"
}

// DropSYN drops the packets that open a connection to port, where they arrive.
func DropSYN(port uint16) Rule {
	return Rule{
		Chain: "INPUT", ToPort: port, Mask: pcapout.FIN | pcapout.SYN | pcapout.RST | pcapout.ACK, Flags: pcapout.SYN,
		Text: "TCP SYN to :" + strconv.Itoa(int(port)),
	}
}

// AfterCapture reports whether the host's own capture still sees what the rule drops: a packet socket sits between the link and
// netfilter, so it sees what INPUT drops and never what OUTPUT drops.
func (r Rule) AfterCapture() bool { return r.Chain == "INPUT" || r.Chain == "PREROUTING" }

// Spec returns the rule as iptables arguments after "-A CHAIN".
func (r Rule) Spec() []string {
	spec := []string{"-p", "tcp"}
	if r.FromPort != 0 {
		spec = append(spec, "--sport", strconv.Itoa(int(r.FromPort)))
	}
	if r.ToPort != 0 {
		spec = append(spec, "--dport", strconv.Itoa(int(r.ToPort)))
	}
	if r.Mask != 0 {
		spec = append(spec, "--tcp-flags", flagList(r.Mask), flagList(r.Flags))
	}
	return append(spec, "-j", "DROP")
}

func flagList(f pcapout.Flags) string {
	if f == 0 {
		return "NONE"
	}
	return f.String()
}

// Matches reports whether the rule catches a segment that passes its chain.
func (r Rule) Matches(s pcapout.Segment) bool {
	return s.ICMP == nil && (r.FromPort == 0 || r.FromPort == s.Src.Port()) && (r.ToPort == 0 || r.ToPort == s.Dst.Port()) &&
		s.Flags&r.Mask == r.Flags
}

// TableName is Table, or its default.
func (r Rule) TableName() string {
	if r.Table == "" {
		return "filter"
	}
	return r.Table
}

// ConnectError is how connect(2) failed.
type ConnectError struct {
	Errno string        // "ETIMEDOUT"
	At    time.Duration // CLOCK_MONOTONIC
	Text  string
}

// Error says which call failed and how.
func (e *ConnectError) Error() string { return "connect: " + e.Errno + " (" + e.Text + ")" }

// ListenOptions say what a server does. The zero value is an HTTP server on port 8080 with keepalive off.
type ListenOptions struct {
	Port      uint16 // zero: 8080
	Echo      bool   // send back what comes, instead of HTTP
	KeepAlive bool   // SO_KEEPALIVE on accepted connections, which is Go's habit and not the kernel's
}
