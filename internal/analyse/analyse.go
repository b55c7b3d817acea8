// Package analyse names the packets of a capture: which SYN is a repeat, which SYN-ACK was asked for, which data was repeated and why,
// which acknowledgement says something new, who is the client. It turns the segments of one capture point into connections, and a
// connection into a timeline.
//
// It is not for judging: it never sees a prediction, so it cannot bend what was seen towards what was expected. It is not for joining
// the captures of two hosts either: give it one capture at a time.
//
// Its one trap: a packet is named by what this capture point has seen. At the sender a repeated segment is a retransmission. At a
// receiver whose network lost the first copy the same segment is data seen for the first time. And a cause is inferred from times and
// acknowledgements, never known: what a kernel does in silence (a timer, a full window, a program that writes) is told apart by the rules in
// ack.go and repeat.go, and the comments there say where two causes look alike.
package analyse

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/pcapout"
)

// The ends of a connection, as Named.From and timeline.Event.Host name them.
const (
	Client = "client"
	Server = "server"
)

// Options guide Analyse. The zero value works.
type Options struct {
	// ServerPort is the port that the server listens on. It decides who is the client of a connection whose handshake is not in
	// the capture. Zero: the end with the higher port is the client.
	ServerPort uint16
}

// Connection is one TCP connection, or an attempt at one.
type Connection struct {
	// Number counts connections from 0 in the order of their first packet, as Wireshark's tcp.stream does.
	Number         int
	Client, Server netip.AddrPort
	// ClientISN and ServerISN are the initial sequence numbers as on the wire. Where the SYN is not in the capture, the number is
	// chosen so that the first byte that was seen has relative number 1, and ISNSeen is false. A server that gave up a half-open
	// connection and made it anew has a new number: ServerISN is the last.
	ClientISN, ServerISN         uint32
	ClientISNSeen, ServerISNSeen bool
	// RTT is the time from the SYN to the first SYN-ACK at this capture point: the round trip between this point and the server. Of a
	// repeated SYN the last before the SYN-ACK counts, so that it is too short where an earlier one was answered. 0: not seen.
	RTT     time.Duration
	Packets []Named // in the order of the capture
}

// Named is a packet with its part in the connection.
type Named struct {
	Segment int       // index into the slice that Analyse was given
	Time    time.Time // of that segment
	// What it is; "" for a segment that TCP ignores: none of SYN, RST, FIN, ACK and no data. A segment that is several things is
	// named by the first of: RST, SYN, FIN, data, ACK.
	What timeline.What
	// N counts from 1 what the kind repeats, at this capture point. 0: not a repeat, or a kind that is not counted.
	//   - SYN, FIN and data without a known cause: the repeats of the same number.
	//   - SYNACKAnswer and SYNACKAgain: each for itself, from the first SYN-ACK with that number.
	//   - DuplicateACK: those with the same acknowledgement.
	//   - RTORetransmission: fires of the timer since the last acknowledgement of something new.
	//   - KeepaliveProbe: those without an answer. WindowProbe: those since the window closed, answered or not.
	// TailLossProbe, FastRetransmit, ChallengeACK and the answers to probes are not counted.
	N int
	// Len is the data in bytes: without the SYN's or FIN's own number. 0 for an ICMP error.
	Len int
	// Detail is for people, and may be empty: "SACK 15001-16001", "answers SYN again 2". Its words are not stable.
	Detail string
	From   string // Client or Server; "" for an ICMP error from neither
	// RelSeq and RelAck are relative to the initial sequence numbers of the sender and the other end: the SYN is 0, the first byte
	// 1. RelAck is 0 without the ACK flag. RelSeq of an ICMP error is that of the segment it quotes.
	RelSeq, RelAck uint32
}

// Analyse takes the segments of one capture point, in the order of the capture, apart into connections, in the order of their first
// packet. It does not keep segs.
//
// A connection is a pair of addresses with ports. A SYN with another initial sequence number begins a new one between the same pair
// if the one before is closed (RST, or FIN from both) or its handshake was not completed; otherwise the SYN is a stray of the old.
// The client is who sent the first SYN; failing that, whoever got the first SYN-ACK; failing that, see Options.ServerPort.
//
// A data segment is a repeat if its first byte has passed this capture point before in the same direction. So a segment that arrives late
// and out of order is data, not a repeat, and one that joins old bytes with new ones is a repeat. Sequence numbers may wrap around. An
// ICMP error belongs to the connection whose addresses and ports it quotes.
//
// A name may depend on what follows: the first repeat after a silence is a tail loss probe or the retransmission timer, and only the next
// one tells. So a longer capture may give a packet another name than its beginning did. The time is linear in the number of segments, the
// memory beside the result is that of what is in flight.
func Analyse(segs []pcapout.Segment, o Options) []Connection {
	var conns []*Connection
	st := NewStream(StreamOptions{Options: o, MaxOpen: math.MaxInt, keep: true, begun: func(f *flow) { conns = append(conns, &f.c) }, Packet: func(c *Connection, n Named) {
		c.Packets = append(c.Packets, n)
	}, Renamed: func(c *Connection, index int, n Named) { c.Packets[index] = n }})
	for i := range segs {
		st.Add(i, &segs[i])
	}
	st.Close()
	out := make([]Connection, len(conns))
	for i, c := range conns {
		out[i] = *c
	}
	return out
}

// Timeline returns what happened as offsets from origin, usually the time of the first packet of the experiment, in time order. It has
// no outcome: what connect(2) returned is not on the wire. Segments that TCP ignores are left out.
func (c Connection) Timeline(origin time.Time) timeline.Timeline {
	var t timeline.Timeline
	for _, p := range c.Packets {
		if p.What == "" {
			continue
		}
		t.Events = append(t.Events, timeline.Event{Bound: timeline.Bound{At: p.Time.Sub(origin)}, Host: p.From, What: p.What, N: p.N,
			RelSeq: p.RelSeq, RelAck: p.RelAck, Len: p.Len})
	}
	slices.SortStableFunc(t.Events, func(a, b timeline.Event) int { return cmp.Compare(a.At, b.At) })
	return t
}
