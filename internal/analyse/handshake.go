package analyse

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/pcapout"
)

// handshake is what a direction's SYNs and SYN-ACKs say.
type handshake struct {
	syns    int // SYNs with the number isn
	synACKs int // SYN-ACKs with that number; both only in a simultaneous open
	answers int // of the SYN-ACKs: those that a repeated SYN asked for
	timers  int // of the SYN-ACKs: those that nobody asked for
	synAt   time.Time
	synData bool // the last SYN carried data
	// asked is the number of the other end's newest repeated SYN that has had no answer, and askedAt when it passed. 0: none.
	asked   int
	askedAt time.Time

	sackPermitted bool
	hasScale      bool
	vague         bool // the options of the SYN are not all in the capture
	scale         uint8
}

// moment is how long after a segment the kernel's answer to it may leave and still be an answer. The kernel answers within microseconds; a
// processor that was taken away for some milliseconds must not turn an answer into a timer. Timers of the handshake are 1 s and more.
const moment = 50 * time.Millisecond

// patience is how long this end may take to answer, as seen from here. The round trip may be longer than the shortest one seen.
func (d *direction) patience() time.Duration {
	if !d.delayKnown {
		return time.Second
	}
	return 2*d.delay + moment
}

// nameSYN names a segment with the SYN flag.
func (f *flow) nameSYN(n *Named, s *pcapout.Segment, from, to *direction) {
	hasACK := s.Flags.Has(pcapout.ACK)
	if s.Seq != from.isn {
		n.What, n.Detail = timeline.SYN, "a stray of another connection"
		if hasACK {
			n.What = timeline.SYNACK
		}
		to.owe(timeline.ChallengeACK, "answers a stray SYN", s.Time)
		return
	}
	from.vague = s.OptionsCut
	from.sackPermitted, from.hasScale = s.Options.SACKPermitted, s.Options.HasWScale
	from.scale = min(s.Options.WScale, 14) // TCP_MAX_WSCALE
	if hasACK {
		f.nameSYNACK(n, s, from, to)
	} else {
		from.syns++
		n.What = timeline.SYN
		if from.syns > 1 {
			n.What, n.N = timeline.SYNRetransmission, from.syns-1
			to.asked, to.askedAt = n.N, s.Time
			if f.established {
				to.owe(timeline.ChallengeACK, fmt.Sprintf("answers SYN again %d", n.N), s.Time)
			}
		}
	}
	from.synAt, from.synData = s.Time, s.Length > 0
	n.Detail = join(n.Detail, fastOpen(s, to))
	if s.Length > 0 { // Fast Open: the data follows the SYN's own number
		lo := from.position(s.Seq + 1)
		from.sawData(lo, s.Length)
		from.sends(span{lo, lo + int64(s.Length)}, s.Time)
	}
}

// nameSYNACK tells why a SYN-ACK was sent. tcp_check_req() answers a repeated SYN at once, reqsk_timer_handler() sends when nobody asked.
// Where both happen in one tick the order is free: the first that comes after the SYN is the answer. Nothing in the segments tells them
// apart: both echo the timestamp of the first SYN.
func (f *flow) nameSYNACK(n *Named, s *pcapout.Segment, from, to *direction) {
	from.synACKs++
	switch {
	case from.synACKs == 1:
		n.What = timeline.SYNACK
		if !to.synAt.IsZero() {
			from.answered(s.Time.Sub(to.synAt))
			to.measured(from.delay)
			if f.c.RTT == 0 {
				f.c.RTT = s.Time.Sub(to.synAt)
			}
		}
		if f.renewed {
			n.Detail = "a new request: another initial sequence number"
		}
	case from.answersSYN(s.Time):
		from.answers++
		n.What, n.N, n.Detail = timeline.SYNACKAnswer, from.answers, fmt.Sprintf("answers SYN again %d", from.asked)
	default:
		from.timers++
		n.What, n.N = timeline.SYNACKAgain, from.timers
	}
	if n.What != timeline.SYNACKAgain {
		from.asked = 0
	}
	if f.established && from.synACKs > 1 {
		to.owe(timeline.ChallengeACK, "answers SYN-ACK again", s.Time)
	}
}

// soonest is the round trip from which on a SYN-ACK can come too soon to be an answer. Below it the kernel's own time counts more.
const soonest = 2 * time.Millisecond

// answersSYN reports whether a SYN-ACK that passes now answers the newest repeated SYN. One that was already under way when that SYN passed
// does not: it comes sooner than any answer could.
func (d *direction) answersSYN(at time.Time) bool {
	since := at.Sub(d.askedAt)
	return d.asked > 0 && since <= d.patience() && (d.delay < soonest || since >= d.delay*7/8)
}

// sack reports whether this connection has SACK. Where the options of the handshake are not in the capture it is taken to have: everybody has.
func (f *flow) sack() bool {
	if !f.agreed() {
		return true
	}
	return f.client.sackPermitted && f.server.sackPermitted
}

// agreed reports whether the options of both SYNs are known.
func (f *flow) agreed() bool {
	return f.client.isnSeen && f.server.isnSeen && !f.client.vague && !f.server.vague
}

// scale is the shift of the windows that an end announces (RFC 7323 section 2.2): both must have offered it, and none is used in a SYN.
func (f *flow) scale(from *direction, s *pcapout.Segment) uint8 {
	if s.Flags.Has(pcapout.SYN) || !f.client.hasScale || !f.server.hasScale {
		return 0
	}
	return from.scale
}

// fastOpen says in words what a SYN or SYN-ACK does about Fast Open (RFC 7413).
func fastOpen(s *pcapout.Segment, to *direction) string {
	var out string
	if s.Options.HasFastOpen {
		out = fmt.Sprintf("Fast Open cookie, %d bytes", len(s.Options.FastOpen))
		if len(s.Options.FastOpen) == 0 {
			out = "asks for a Fast Open cookie"
		}
	}
	if s.Flags.Has(pcapout.ACK) {
		if n := s.Ack - to.isn; to.isnSeen && n > 1 && n < 1<<16 {
			out = join(out, fmt.Sprintf("takes %d bytes of the SYN", n-1))
		} else if to.synData {
			out = join(out, "takes no data of the SYN")
		}
	}
	return out
}

// join puts two details together.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}
