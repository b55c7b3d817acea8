package analyse

import (
	"net/netip"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/pcapout"
)

// Left says why a connection that had not ended is not followed any more.
type Left string

// The reasons. Empty: it ended, or another took its ports.
const (
	AtEnd   Left = "the capture ends"
	TooMany Left = "too many connections at once"
)

// Fate is how a connection ended, in one word. The words appear in JSON and are stable.
type Fate string

// The fates.
const (
	Closed      Fate = "closed"      // FIN from both ends, acknowledged
	HalfClosed  Fate = "half-closed" // FIN from one end, when the capture ended
	ResetFate   Fate = "reset"       // a RST ended it
	Refused     Fate = "refused"     // a RST answered the SYN
	Unreachable Fate = "unreachable" // an ICMP error answered the SYN
	Unanswered  Fate = "unanswered"  // nothing answered the SYN
	HalfOpen    Fate = "half-open"   // a SYN-ACK, and nothing more of the client
	Silent      Fate = "silent"      // one end sent until it gave up, and nothing came back
	Open        Fate = "open"        // it was alive when the capture ended
	Stray       Fate = "stray"       // packets that belong to no connection: a lone RST, an ICMP error
)

// Dead reports whether a program has, or would have, met an error.
func (f Fate) Dead() bool {
	switch f {
	case ResetFate, Refused, Unreachable, Unanswered, HalfOpen, Silent:
		return true
	}
	return false
}

// Summary is a connection as a whole.
type Summary struct {
	Number         int
	Client, Server netip.AddrPort
	First          int // index of the first packet in the capture
	Start, End     time.Time
	Packets        int
	HasSYN         bool          // the handshake is in the capture
	Established    bool          // it was completed, or is not in the capture
	RTT            time.Duration // from the SYN to the acknowledgement of the SYN-ACK: between both ends; 0: not seen, or repeats lay between
	SACK           bool          // both offered it
	Ends           [2]EndSummary // the client's, the server's
	Copies         int           // packets that the capture holds twice
	Unseen         int64         // bytes that were acknowledged and are not in the capture
	Backwards      int           // packets whose time lies before that of the one before
	Largest        int           // bytes of data in the largest packet
	Waited         time.Duration // silences that a retransmission timer or a tail loss probe ended
	Fate           Fate
	Left           Left
	RSTBy          string
	Findings       []Finding // the gravest first
}

// EndSummary is what one end sent.
type EndSummary struct {
	Packets, DataPackets int
	Bytes, Again         int64 // of data: seen for the first time, and repeated
	Counts               Counts
	WindowClosed         int           // how often its window closed
	WindowClosedFor      time.Duration // how long it was closed, in all
}

// Repeats is how many packets repeat bytes, or a SYN, SYN-ACK or FIN.
func (e EndSummary) Repeats() int {
	n := 0
	for w, k := range e.Counts {
		if w.Again() {
			n += k
		}
	}
	return n
}

// summary makes the summary of a connection that is forgotten. now is the latest time of the capture.
func (f *flow) summary(now time.Time, why Left) Summary {
	t := &f.sum
	s := Summary{Number: f.c.Number, Client: f.c.Client, Server: f.c.Server, First: t.first, Start: t.start, End: f.lastAt, Packets: f.packets,
		HasSYN: f.client.syns > 0, Established: f.established, SACK: f.sack(), Copies: t.copies, Unseen: f.client.unseen + f.server.unseen,
		Backwards: t.backwards, Largest: t.largest, Waited: t.waited, Left: why}
	if f.reset {
		s.RSTBy = t.rstBy
	}
	for i := range t.ends {
		e := &t.ends[i]
		closed := e.closedFor
		if !e.closedAt.IsZero() && why == AtEnd {
			closed += now.Sub(e.closedAt)
		}
		s.Ends[i] = EndSummary{Packets: e.packets, DataPackets: e.dataPackets, Bytes: e.bytes, Again: e.again, Counts: Counts{},
			WindowClosed: e.zeroWindows, WindowClosedFor: closed}
		for k, n := range e.counts {
			if n > 0 && k > 0 {
				s.Ends[i].Counts[kindNames[k]] = int(n)
			}
		}
	}
	if f.client.syns == 1 && f.server.synACKs == 1 && !t.establish.IsZero() && f.client.isnSeen {
		s.RTT = t.establish.Sub(f.client.synAt)
	}
	s.Fate = f.fate(now, why)
	s.Findings = f.findings(now, &s)
	return s
}

// fate tells how the connection ended.
func (f *flow) fate(now time.Time, why Left) Fate {
	t := &f.sum
	handshake := f.client.syns > 0 && f.client.isnSeen
	switch {
	case f.packets == 0 || f.client.syns+f.server.synACKs == 0 && t.ends[0].dataPackets+t.ends[1].dataPackets == 0 && t.ends[0].packets+t.ends[1].packets <= 1:
		return Stray
	case f.isClosed() && !f.reset:
		return Closed
	case handshake && !f.established && f.reset && t.rstBy == Server:
		return Refused
	case handshake && !f.established && f.server.synACKs == 0 && t.icmps > 0 && t.ends[1].packets == 0:
		return Unreachable
	case f.reset:
		return ResetFate
	case handshake && !f.established && f.server.synACKs == 0 && f.client.synACKs == 0:
		if t.ends[0].tail.syns > 0 || now.Sub(t.ends[0].tail.last) > 3*time.Second {
			return Unanswered
		}
		return Open
	case !f.established:
		if f.server.synACKs > 1 || now.Sub(t.ends[1].tail.last) > 3*time.Second {
			return HalfOpen
		}
		return Open
	case f.silent(Client, now) || f.silent(Server, now):
		return Silent
	case f.client.finSeen != f.server.finSeen:
		return HalfClosed
	}
	return Open
}

// silent reports whether an end has asked again and again, with data, FIN or probes, and nothing came back.
func (f *flow) silent(host string, now time.Time) bool {
	t := &f.sum.end(host).tail
	asked := t.rtos + t.probes + t.keep + t.fins
	if asked == 0 {
		return false
	}
	if asked >= 3 || len(t.gaps) == 0 {
		return true
	}
	return now.Sub(t.last) > t.gaps[len(t.gaps)-1]*5/2+time.Second // the next should have come
}

// icmpText is an ICMP error in words.
func icmpText(m *pcapout.ICMP, v6 bool) string {
	if v6 {
		switch m.Type {
		case 1:
			return [...]string{"no route", "prohibited", "beyond scope", "address unreachable", "port unreachable", "policy", "rejected route"}[min(int(m.Code), 6)]
		case 2:
			return "packet too big"
		case 3:
			return "hop limit exceeded"
		}
		return "parameter problem"
	}
	switch m.Type {
	case 3:
		switch m.Code {
		case 0, 6, 11:
			return "network unreachable"
		case 1, 7, 12:
			return "host unreachable"
		case 2:
			return "protocol unreachable"
		case 3:
			return "port unreachable"
		case 4:
			return "fragmentation needed"
		case 9, 10, 13:
			return "prohibited"
		}
		return "unreachable"
	case 4:
		return "source quench"
	case 5:
		return "redirect"
	case 11:
		return "time to live exceeded"
	}
	return "parameter problem"
}

// count is a number of packets of one kind that an end sent.
func (f *flow) count(host string, w timeline.What) int { return int(f.sum.end(host).counts[kind(w)]) }

// synACKs is how many SYN-ACKs there were, also of a half-open connection that was made anew.
func (f *flow) synACKs() int {
	return f.count(Server, timeline.SYNACK) + f.count(Server, timeline.SYNACKAnswer) + f.count(Server, timeline.SYNACKAgain)
}
