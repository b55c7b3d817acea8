package analyse

import (
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/pcapout"
)

// Counts are how many packets of each kind an end sent.
type Counts map[timeline.What]int

// tally is what is counted of a connection while it is read: enough to say afterwards how it went.
type tally struct {
	start     time.Time
	first     int // index of the first packet in the capture
	ends      [2]endTally
	copies    int
	ignored   int
	icmp      *pcapout.ICMP // the last ICMP error
	icmpFrom  string
	icmps     int
	rstBy     string
	rstAt     time.Time
	rstAfter  time.Duration // since the packet before it
	establish time.Time     // when the client acknowledged the SYN-ACK
	backwards int           // packets with a time before that of the one before
	largest   int           // bytes of data in one packet
	lastAt    time.Time
	last      timeline.What
	waited    time.Duration // in silences that a timer ended
}

// endTally is what is counted of one end.
type endTally struct {
	packets, dataPackets int
	bytes, again         int64
	counts               [kindCount]uint32
	zeroWindows          int
	closedAt             time.Time     // since when its window has been 0; zero: it is open
	closedFor            time.Duration // how long it was, in all
	tail                 tail
	keepAnswered         int // keepalive probes of this end that were answered
	lastData             time.Time
	delayed              int // acknowledgements of the peer that came late and let the next small segment go
	delayedFor           time.Duration
	alone                bool      // the data sent last was less than a full segment, and the only one in flight
	waitFrom             time.Time // when the acknowledgement came for which a segment may have waited
}

// tail is what an end has sent since the other end was heard.
type tail struct {
	from     time.Time // when the other end was heard, or the connection began
	packets  int
	data     bool
	original time.Time // when what is repeated, or whatever came before a probe, was sent
	last     time.Time
	gaps     []time.Duration // before each repeat or probe, since original or the one before; the first maxGaps

	syns, synAcks, fins, probes, rtos, others, keep, window int
}

// repeats is how many packets of the tail repeat something or probe.
func (t *tail) repeats() int {
	return t.syns + t.synAcks + t.fins + t.probes + t.rtos + t.others + t.keep + t.window
}

// maxGaps bounds the gaps of a tail that are remembered.
const maxGaps = 16

// kindIndex numbers the kinds on the wire; 0 is what is none.
var kindIndex = map[timeline.What]int{}

var kindNames = []timeline.What{"", timeline.SYN, timeline.SYNRetransmission, timeline.SYNACK, timeline.SYNACKAnswer, timeline.SYNACKAgain, timeline.ACK,
	timeline.DuplicateACK, timeline.ChallengeACK, timeline.WindowUpdate, timeline.Data, timeline.DataAgain, timeline.TailLossProbe,
	timeline.RTORetransmission, timeline.FastRetransmit, timeline.KeepaliveProbe, timeline.KeepaliveACK, timeline.WindowProbe,
	timeline.WindowProbeACK, timeline.FIN, timeline.FINAgain, timeline.RST, timeline.ICMP}

// kindCount is len(kindNames).
const kindCount = 23

func init() {
	for i, w := range kindNames {
		kindIndex[w] = i
	}
}

// kind is the index of a kind, the frequent ones first.
func kind(w timeline.What) int {
	switch w {
	case timeline.ACK:
		return 6
	case timeline.Data:
		return 10
	}
	return kindIndex[w]
}

// end is the tally of an end by its name.
func (t *tally) end(name string) *endTally {
	if name == Client {
		return &t.ends[0]
	}
	return &t.ends[1]
}

// rename moves a packet from one kind to another.
func (t *tally) rename(was, is Named) {
	e := t.end(is.From)
	e.counts[kind(was.What)]-- // it was counted
	e.counts[kind(is.What)]++
	if is.What == timeline.Data && was.What == timeline.TailLossProbe {
		e.tail.probes--
	}
	if is.What == timeline.RTORetransmission && e.tail.probes > 0 {
		e.tail.probes--
		e.tail.rtos++
	}
}

// observe counts a packet that has its name.
func (f *flow) observe(n *Named, s *pcapout.Segment) {
	t := &f.sum
	if t.first < 0 {
		t.first = n.Segment
		t.ends[0].tail.from, t.ends[1].tail.from = n.Time, n.Time
	}
	if n.Time.Before(t.lastAt) {
		t.backwards++
	}
	if n.What == timeline.ICMP {
		t.icmp, t.icmpFrom = s.ICMP, s.Src.Addr().String()
		t.icmps++
		return
	}
	e, other := t.end(n.From), &t.ends[0]
	if e == other {
		other = &t.ends[1]
	}
	e.packets++
	e.counts[kind(n.What)]++
	switch {
	case n.What == "":
		t.ignored++
	case n.What == timeline.RST:
		t.rstBy, t.rstAt, t.rstAfter = n.From, n.Time, n.Time.Sub(t.lastAt)
	}
	if n.Len > 0 {
		f.observeData(n, e)
	}
	f.observeWindow(n, s, e)
	other.observeAnswer(n, f.roundTrip())
	if n.What != timeline.SYNACKAgain && n.What != timeline.SYNACKAnswer { // who repeats a SYN-ACK has heard nothing since
		other.tail = tail{gaps: other.tail.gaps[:0], from: n.Time}
	}
	e.tail.add(n)
	if f.established && t.establish.IsZero() {
		t.establish = n.Time
	}
	t.lastAt, t.last = n.Time, n.What
}

func (f *flow) observeData(n *Named, e *endTally) {
	e.dataPackets++
	f.sum.largest = max(f.sum.largest, n.Len)
	if n.What.Again() && n.What != timeline.TailLossProbe || n.What == timeline.TailLossProbe && f.isOld(n) {
		e.again += int64(n.Len)
		if w := n.Time.Sub(e.lastData); w > 0 && !e.lastData.IsZero() && (n.What == timeline.RTORetransmission || n.What == timeline.TailLossProbe) {
			f.sum.waited += w
		}
	} else {
		e.bytes += int64(n.Len)
	}
	e.observeDelay(n)
	from, to, _ := f.side(f.addr(n.From))
	e.alone = n.What == timeline.Data && len(from.inFlight) == 1 && n.Len < f.sum.largest && from.delayKnown && to.delayKnown
	e.lastData = n.Time
}

// isOld reports whether a tail loss probe repeats bytes.
func (f *flow) isOld(n *Named) bool { return n.Detail != newAfterSilence }

// observeDelay looks for a small segment that waited for the acknowledgement of the one before, which came late: Nagle's rule at this end,
// a delayed acknowledgement at the other (RFC 1122 section 4.2.3.2 and 4.2.3.4).
func (e *endTally) observeDelay(n *Named) {
	if !e.waitFrom.IsZero() && n.What == timeline.Data && n.Time.Sub(e.waitFrom) < promptDelay {
		e.delayed++
		e.delayedFor += e.waitFrom.Sub(e.lastData)
	}
	e.waitFrom = time.Time{}
}

// Times of a delayed acknowledgement: Linux's least and most (TCP_DELACK_MIN, TCP_DELACK_MAX), and how soon the waiting segment follows it.
const (
	delackMin   = 35 * time.Millisecond
	delackMax   = 250 * time.Millisecond
	promptDelay = 5 * time.Millisecond
)

// observeAnswer looks at what an end hears.
func (e *endTally) observeAnswer(n *Named, rtt time.Duration) {
	switch n.What {
	case timeline.KeepaliveACK:
		e.keepAnswered++
	case timeline.ACK:
		if w := n.Time.Sub(e.lastData) - rtt; e.alone && w >= delackMin && w <= delackMax {
			e.waitFrom = n.Time
			return
		}
	}
	e.waitFrom = time.Time{}
}

// observeWindow follows how long an end's window is closed.
func (f *flow) observeWindow(n *Named, s *pcapout.Segment, e *endTally) {
	if !s.Flags.Has(pcapout.ACK) || n.What == timeline.RST || s.Flags.Has(pcapout.SYN) {
		return
	}
	if s.Window == 0 {
		if e.closedAt.IsZero() {
			e.closedAt = n.Time
			e.zeroWindows++
		}
		return
	}
	if !e.closedAt.IsZero() {
		e.closedFor += n.Time.Sub(e.closedAt)
		e.closedAt = time.Time{}
	}
}

// add counts a packet into a tail.
func (t *tail) add(n *Named) {
	t.packets++
	t.data = t.data || n.Len > 0
	switch n.What {
	case timeline.SYNRetransmission:
		t.syns++
	case timeline.SYNACKAnswer, timeline.SYNACKAgain:
		t.synAcks++
	case timeline.TailLossProbe:
		t.probes++
	case timeline.RTORetransmission:
		t.rtos++
	case timeline.DataAgain, timeline.FastRetransmit:
		t.others++
	case timeline.KeepaliveProbe:
		t.keep++
	case timeline.WindowProbe:
		t.window++
	case timeline.FINAgain:
		t.fins++
	case timeline.RST:
		return
	default:
		if t.repeats() == 0 {
			t.original = n.Time
		}
		t.last = n.Time
		return
	}
	before := t.last
	if before.IsZero() {
		before = t.from
	}
	if t.original.IsZero() {
		t.original = before
	}
	if len(t.gaps) < maxGaps {
		t.gaps = append(t.gaps, n.Time.Sub(before))
	}
	t.last = n.Time
}
