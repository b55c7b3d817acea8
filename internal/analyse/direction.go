package analyse

import (
	"cmp"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/pcapout"
)

// direction is what one end has sent, as far as the capture saw it, and what the other end has said about that. Positions are sequence
// numbers without wrap-around: the low 32 bits of a position are the number on the wire.
type direction struct {
	started bool // isn is set
	isn     uint32
	isnSeen bool // isn comes from a SYN

	handshake
	acknowledged
	repeats
	idle
	points points

	finSeen bool
	fin     int64 // position of the FIN
	fins    int
	high    int64  // position behind the highest byte seen
	seen    []span // bytes that passed, sorted, apart

	// inFlight are the segments that passed and are not acknowledged, as they were sent first.
	inFlight []sent
	sentAt   time.Time // when the last data or FIN passed

	// delay is the shortest time that this end took to answer something that passed here: the round trip between this capture point and
	// that end. Meaningless until delayKnown.
	delay      time.Duration
	delayKnown bool
	unseen     int64         // bytes that were acknowledged and did not pass here
	srtt       time.Duration // smoothed round trip as this end measures it, roughly (RFC 6298); 0: no sample
}

// span is a range of positions: [lo, hi).
type span struct{ lo, hi int64 }

// sent is a segment in flight: its bytes, a FIN included, when it passed first, and whether it was repeated since.
type sent struct {
	span
	at    time.Time
	again bool
}

// maxInFlight bounds inFlight where no acknowledgement is ever seen, as in a capture of one direction. The oldest are forgotten: they
// would only have told how long an answer took.
const maxInFlight = 1 << 14

// farAhead is how much farther than anything sent an acknowledgement may be and still be believed: packets may be missing from the
// capture, but no window is larger (RFC 7323 section 2.3).
const farAhead = 1 << 30

// unwrapped is the position of the first number of a direction. The offset keeps earlier numbers positive.
func unwrapped(seq uint32) int64 { return 1<<32 + int64(seq) }

// begin starts a direction without its SYN: seq gets the relative number 1.
func (d *direction) begin(seq uint32) {
	*d = direction{started: true, isn: seq - 1, high: unwrapped(seq)}
}

// position unwraps a sequence number: of all positions with these low 32 bits, the one closest to the highest seen (RFC 9293 section
// 3.4: comparisons are modulo 2^32, within half the space).
func (d *direction) position(seq uint32) int64 {
	return d.high + int64(int32(seq-uint32(d.high)))
}

// relative is the relative number of a position.
func (d *direction) relative(p int64) uint32 { return uint32(p) - d.isn }

// sawFIN counts a FIN at position p.
func (d *direction) sawFIN(p int64) (timeline.What, int) {
	if d.finSeen && p == d.fin {
		d.fins++
		return timeline.FINAgain, d.fins
	}
	d.finSeen, d.fin, d.fins = true, p, 0
	return timeline.FIN, 0
}

// sawData adds the n bytes from lo on, and says whether the first of them was here before.
func (d *direction) sawData(lo int64, n int) bool {
	if n <= 0 {
		return false
	}
	i := reaches(d.seen, lo+1)
	again := i < len(d.seen) && d.seen[i].lo <= lo
	d.seen = bounded(add(d.seen, span{lo, lo + int64(n)}))
	return again
}

// sends remembers that [lo, hi) left at a time.
func (d *direction) sends(s span, at time.Time) {
	d.sentAt = at
	if s.hi > d.high {
		d.high = s.hi
		if len(d.inFlight) >= maxInFlight {
			d.inFlight = slices.Delete(d.inFlight, 0, maxInFlight/2)
		}
		d.inFlight = append(d.inFlight, sent{span: s, at: at})
		return
	}
	i, _ := slices.BinarySearchFunc(d.inFlight, s.lo, func(x sent, p int64) int { return cmp.Compare(x.hi, p+1) })
	for ; i < len(d.inFlight) && d.inFlight[i].lo < s.hi; i++ {
		d.inFlight[i].again = true
	}
}

// answered is one sample of how long this end takes to answer.
func (d *direction) answered(after time.Duration) {
	if !d.delayKnown || after < d.delay {
		d.delay, d.delayKnown = max(after, 0), true
	}
}

// measured is one sample of the round trip that this end sees (RFC 6298 section 2).
func (d *direction) measured(rtt time.Duration) {
	if d.srtt == 0 {
		d.srtt = rtt
		return
	}
	d.srtt += (rtt - d.srtt) / 8
}

// acknowledged is what the other end said about a direction.
type acknowledged struct {
	acked       bool      // una is known
	una         int64     // the highest acknowledgement
	dups        int       // duplicate ACKs with that number
	learned     time.Time // when una moved last
	hinted      time.Time // when una moved, or a duplicate ACK or a new SACK block came
	window      int64
	windowKnown bool
	sacked      []span // above una, sorted, apart
}

// unseenOK reports whether an acknowledgement of what did not pass here is no sign of a lossy capture: nothing of this direction has passed
// yet, or only a window probe.
func (d *direction) unseenOK() bool { return !d.acked || d.windowProbes > 0 }

// allAcked reports whether nothing is in flight.
func (d *direction) allAcked() bool { return d.acked && d.una >= d.high }

// acknowledge takes the acknowledgement of a segment that the other end sent. window is in bytes.
func (d *direction) acknowledge(s *pcapout.Segment, window int64, other *direction) {
	p := d.position(s.Ack)
	if p > d.high+farAhead || d.acked && p < d.una {
		return // of something never sent, or older than what is known
	}
	d.window, d.windowKnown = window, true
	if window > 0 {
		d.windowProbes = 0
	}
	if !s.Flags.Has(pcapout.SYN) {
		d.keepalives = 0 // tcp_ack() clears icsk_probes_out; a repeated SYN-ACK does not get there
	}
	if !d.acked || p > d.una {
		d.advance(p, s.Time, other)
	}
	for _, b := range d.blocks(s) {
		if b.lo = max(b.lo, d.una); b.lo < b.hi && !covers(d.sacked, b) {
			d.sacked = bounded(add(d.sacked, b))
			d.hinted = s.Time
		}
	}
}

// advance moves una to p.
func (d *direction) advance(p int64, at time.Time, other *direction) {
	d.acked, d.una, d.dups = true, p, 0
	d.learned, d.hinted = at, at
	if p > d.high { // a packet is missing from the capture, or the byte of a window probe was taken
		if !d.unseenOK() {
			d.unseen += p - d.high
		}
		d.high = p
	}
	d.progress()
	d.early = d.early && p <= d.position(d.isn+1) // the third packet acknowledges the SYN-ACK alone
	n := 0
	for ; n < len(d.inFlight) && d.inFlight[n].hi <= p; n++ {
		if x := d.inFlight[n]; !x.again { // Karn
			other.answered(at.Sub(x.at))
			d.measured(at.Sub(x.at) + d.delay)
		}
	}
	d.inFlight = d.inFlight[n:]
	n = 0
	for ; n < len(d.sacked) && d.sacked[n].hi <= p; n++ {
	}
	d.sacked = d.sacked[n:]
}

// blocks are the SACK blocks of a segment as positions in d, without those that cannot be.
func (d *direction) blocks(s *pcapout.Segment) []span {
	var out []span
	for _, b := range s.Options.SACK {
		lo := d.position(b.Left)
		if n := int64(b.Right - b.Left); n > 0 && lo+n <= d.high+farAhead {
			out = append(out, span{lo, lo + n})
		}
	}
	return out
}

// add joins s with what it touches in spans.
func add(spans []span, s span) []span {
	i := reaches(spans, s.lo)
	j := i
	for ; j < len(spans) && spans[j].lo <= s.hi; j++ {
		s.lo, s.hi = min(s.lo, spans[j].lo), max(s.hi, spans[j].hi)
	}
	return slices.Replace(spans, i, j, s)
}

// maxSpans bounds the holes that are remembered in a direction. A capture that lost packets leaves holes that nothing fills.
const maxSpans = 1 << 12

// bounded joins the older half of spans where they are too many: what lies between them then counts as seen.
func bounded(spans []span) []span {
	if len(spans) < maxSpans {
		return spans
	}
	spans[maxSpans/2].lo = spans[0].lo
	return slices.Delete(spans, 0, maxSpans/2)
}

// covers reports whether s lies in one of spans.
func covers(spans []span, s span) bool {
	i := reaches(spans, s.hi)
	return i < len(spans) && spans[i].lo <= s.lo
}

// reaches is the index of the first span that ends at p or behind it.
func reaches(spans []span, p int64) int {
	i, _ := slices.BinarySearchFunc(spans, p, func(s span, p int64) int { return cmp.Compare(s.hi, p) })
	return i
}
