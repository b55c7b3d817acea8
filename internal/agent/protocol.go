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
)

// Name is argv[0] of an agent.
const Name = "tcplab-agent"

// Op is what a Request asks for.
type Op string

// The requests.
const (
	Connect Op = "connect" // open a connection; answered by Connecting, then Connected or Failed
	Send    Op = "send"    // write Data; answered by Sent or Failed
	Receive Op = "receive" // read what the peer sends next; answered by Received or Failed
	Get     Op = "get"     // HTTP GET of Data (a path), reads the whole answer; answered by Response or Failed
	Close   Op = "close"   // close the socket; answered by Closed
)

// Request is one line to the agent.
type Request struct {
	Op      Op             `json:"op"`
	To      netip.AddrPort `json:"to,omitzero"`
	Options Options        `json:"options,omitzero"`
	// At is the CLOCK_MONOTONIC time to start at; zero or past: at once.
	At   time.Duration `json:"at,omitempty"`
	Data string        `json:"data,omitempty"`
}

// Options are the socket options of a connection. The zero value is what a plain C client gets: nothing set, keepalive off.
type Options struct {
	SYNCount    int           `json:"syn_count,omitempty"`    // TCP_SYNCNT, 1..127; 0: not set
	UserTimeout time.Duration `json:"user_timeout,omitempty"` // TCP_USER_TIMEOUT, whole milliseconds; 0: not set
	KeepAlive   bool          `json:"keepalive,omitempty"`    // SO_KEEPALIVE
	NoDelay     bool          `json:"nodelay,omitempty"`      // TCP_NODELAY
}

// Kind is what an Event reports.
type Kind string

// The events.
const (
	Ready      Kind = "ready"      // the agent runs
	Connecting Kind = "connecting" // the first SYN was sent between Before and After
	Connected  Kind = "connected"  // the handshake is done
	Sent       Kind = "sent"
	Response   Kind = "response" // HTTP: Status and Bytes
	Received   Kind = "received" // telnet-like: Data came from the peer; empty: the peer closed
	Failed     Kind = "failed"   // Call failed with Errno
	Closed     Kind = "closed"
)

// Event is one line from the agent. Times are CLOCK_MONOTONIC.
type Event struct {
	Event  Kind           `json:"event"`
	At     time.Duration  `json:"at"`
	Before time.Duration  `json:"before,omitempty"`
	After  time.Duration  `json:"after,omitempty"`
	Local  netip.AddrPort `json:"local,omitzero"`
	Call   string         `json:"call,omitempty"`  // "connect", "write"
	Errno  string         `json:"errno,omitempty"` // "ETIMEDOUT"
	Text   string         `json:"text,omitempty"`  // the error in words
	Status int            `json:"status,omitempty"`
	Bytes  int            `json:"bytes,omitempty"`
	Data   string         `json:"data,omitempty"`
	// Stalls are the times in which this process did not run although it was due, in Connected and Failed: what it tells of them may be
	// late by as much.
	Stalls []Stall `json:"stalls,omitempty"`
	// KeepAlive is SO_KEEPALIVE as the kernel reports it, in Connecting.
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
