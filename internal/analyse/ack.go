package analyse

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/pcapout"
)

// idle is what a direction's probes and answers need.
type idle struct {
	keepalives   int       // keepalive probes without an answer
	windowProbes int       // window probes since the window closed
	owed         debt      // what the other end asked for last
	spoke        time.Time // when this end's last acknowledgement passed
}

// debt is an acknowledgement that an end will send though it has nothing new to say.
type debt struct {
	what timeline.What // "": none
	why  string
	at   time.Time // when the segment passed that asks for it
}

// owe notes that this end will answer a segment that passed now.
func (d *direction) owe(what timeline.What, why string, at time.Time) { d.owed = debt{what, why, at} }

// pays returns the debt that an acknowledgement at this time pays, if it says nothing new, and whether there is one. An end may also not
// answer at all: tcp_invalid_ratelimit allows one answer in 500 ms.
func (d *direction) pays(at time.Time) (debt, bool) {
	ok := d.owed.what != "" && at.Sub(d.owed.at) <= d.patience()
	return d.owed, ok
}

// nameACK names a segment that has the ACK flag and nothing else. What it is depends on what the same end acknowledged before, which is
// kept with the other direction.
func (f *flow) nameACK(n *Named, s *pcapout.Segment, from, to *direction) {
	n.Detail = sackText(s, to)
	if s.Window == 0 {
		n.Detail = join("window 0", n.Detail)
	}
	p := to.position(s.Ack)
	if f.nameProbe(n, s, from, to) {
		return
	}
	n.What = timeline.ACK
	switch {
	case !to.acked || p > to.una:
		return
	case p < to.una:
		n.Detail = join("older than the one before", n.Detail)
		return
	}
	f.nameSameACK(n, s, from, to)
	if n.What == timeline.DuplicateACK {
		to.dups++
		n.N, to.hinted = to.dups, s.Time
	}
	if at := from.position(s.Seq); from.acked && (at < from.una || at > from.high+farAhead) && n.What != timeline.KeepaliveProbe {
		to.owe(timeline.ChallengeACK, "answers a number outside the window", s.Time) // tcp_sequence()
	}
}

// nameSameACK names an ACK with the same number as the one before.
func (f *flow) nameSameACK(n *Named, s *pcapout.Segment, from, to *direction) {
	d, pays := from.pays(s.Time)
	news := newSACK(s, to)
	switch {
	case pays && d.what != timeline.DuplicateACK && !news:
		n.What, n.Detail = d.what, join(d.why, n.Detail)
		from.owed = debt{}
		if d.what == timeline.ChallengeACK {
			f.reset = false // the RST, if it was one, was not accepted
		}
	case news || isDSACK(s, to): // whatever its window: tcp_sacktag_write_queue() reads the blocks first
		n.What = timeline.DuplicateACK
	case to.window>>f.scale(from, s) != int64(s.Window): // the window of a SYN is finer than the scale can say
		n.What, n.Detail = timeline.WindowUpdate, windowText(int64(s.Window)<<f.scale(from, s), s)
	case to.high > to.una: // RFC 5681 section 2
		n.What = timeline.DuplicateACK
	case pays || to.repeatedWithin(s.Time, from.patience()):
		n.What, n.Detail = timeline.DuplicateACK, join("it had these bytes", n.Detail)
		from.owed = debt{}
	case !from.isnSeen && from.position(s.Seq) == from.high && from.spoke.After(to.spoke) && (!to.spoke.IsZero() || s.Time.Sub(from.spoke) >= leastInterval):
		// Nobody sends an ACK that says nothing and answers nothing, but who probes. Its number would tell, had the capture begun earlier. Where the
		// capture sees one direction only, it may answer what is not seen, unless it comes as slowly as a probe.
		from.keepalives++
		n.What, n.N = timeline.KeepaliveProbe, from.keepalives
		to.owe(timeline.KeepaliveACK, "", s.Time)
	default:
		n.Detail = join("says nothing new", n.Detail)
	}
}

// leastInterval is the shortest time between two keepalive probes, TCP_KEEPINTVL of 1 s, and less what a capture's clock may lack.
const leastInterval = 900 * time.Millisecond

// nameProbe names a probe of the peer, if s is one: a segment with the last number that the peer has acknowledged, so that it must answer
// (RFC 9293 section 3.8.4; tcp_xmit_probe_skb). With a closed window it asks for the window, otherwise whether the peer is there. The two
// are the same segment: a keepalive probe into a closed window is named a window probe, and a probe of a window that this capture point
// did not see close is named a keepalive probe. Linux probes so too when its own OUTPUT chain drops data.
func (f *flow) nameProbe(n *Named, s *pcapout.Segment, from, to *direction) bool {
	if s.Length > 1 || !from.allAcked() || to.acked && to.position(s.Ack) < to.una {
		return false
	}
	at := from.position(s.Seq)
	closed := from.windowKnown && from.window == 0
	switch {
	case at == from.una-1 && closed && s.Length == 0:
	case at == from.una && closed && s.Length == 1: // other systems send a byte
	case at == from.una-1 && s.Length == 0:
		closed = false
	case at == from.una-1 && s.Length == 1 && !s.Flags.Has(pcapout.PSH) && s.Time.Sub(from.sentAt) >= time.Second:
		closed = false // a byte that says nothing (RFC 1122 section 4.2.3.6); data again would have come sooner
	default:
		return false
	}
	if closed {
		from.windowProbes++
		n.What, n.N = timeline.WindowProbe, from.windowProbes
		to.owe(timeline.WindowProbeACK, "", s.Time)
		return true
	}
	from.keepalives++
	n.What, n.N = timeline.KeepaliveProbe, from.keepalives
	to.owe(timeline.KeepaliveACK, "", s.Time)
	return true
}

// newSACK reports whether s says of any bytes for the first time that they arrived.
func newSACK(s *pcapout.Segment, to *direction) bool {
	for _, b := range to.blocks(s) {
		if b.lo = max(b.lo, to.una); b.lo < b.hi && !covers(to.sacked, b) {
			return true
		}
	}
	return false
}

// isDSACK reports whether the first block of s tells of bytes that arrived twice: it lies below the acknowledgement, or within the second
// block (RFC 2883 section 4).
func isDSACK(s *pcapout.Segment, to *direction) bool {
	b := to.blocks(s)
	if len(b) == 0 {
		return false
	}
	return b[0].hi <= to.position(s.Ack) || len(b) > 1 && b[1].lo <= b[0].lo && b[0].hi <= b[1].hi
}

// sackText is the SACK blocks in words, with relative numbers.
func sackText(s *pcapout.Segment, to *direction) string {
	var out string
	for i, b := range to.blocks(s) {
		name := "SACK"
		if i == 0 && isDSACK(s, to) {
			name = "D-SACK"
		}
		out = join(out, fmt.Sprintf("%s %d-%d", name, to.relative(b.lo), to.relative(b.hi)))
	}
	return out
}

func windowText(window int64, s *pcapout.Segment) string {
	if s.Window == 0 {
		return "window 0"
	}
	return fmt.Sprintf("window %d", window)
}
