package analyse

import (
	"cmp"
	"slices"

	"github.com/tcplab/tcplab/internal/timeline"
)

// direction is what one end has sent, as far as the capture saw it. Positions are sequence numbers without wrap-around: the low 32 bits
// of a position are the number on the wire.
type direction struct {
	started bool // isn is set
	isn     uint32
	isnSeen bool // isn comes from a SYN
	syns    int  // SYNs with that number
	synACKs int  // SYN-ACKs with that number; both only in a simultaneous open
	finSeen bool
	fin     int64 // position of the FIN
	fins    int
	high    int64         // position behind the highest byte seen
	seen    []span        // bytes that passed, sorted, apart
	repeats map[int64]int // first byte of a retransmission -> how often
}

// span is a range of positions: [lo, hi).
type span struct{ lo, hi int64 }

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

// sawSYN counts a SYN. One with another number than isn is a stray of an established connection, and nobody's repeat.
func (d *direction) sawSYN(seq uint32, ack bool) (timeline.What, int) {
	first, again, count := timeline.SYN, timeline.SYNRetransmission, &d.syns
	if ack {
		first, again, count = timeline.SYNACK, timeline.SYNACKAgain, &d.synACKs
	}
	if seq != d.isn {
		return first, 0
	}
	*count++
	if *count == 1 {
		return first, 0
	}
	return again, *count - 1
}

// sawFIN counts a FIN at sequence number seq.
func (d *direction) sawFIN(seq uint32) (timeline.What, int) {
	p := d.position(seq)
	if d.finSeen && p == d.fin {
		d.fins++
		return timeline.FINAgain, d.fins
	}
	d.finSeen, d.fin, d.fins = true, p, 0
	d.high = max(d.high, p+1)
	return timeline.FIN, 0
}

// sawData adds the n bytes from seq on, and says whether the first of them was here before.
func (d *direction) sawData(seq uint32, n int) (timeline.What, int) {
	if n <= 0 {
		return timeline.ACK, 0
	}
	lo := d.position(seq)
	i := d.reaches(lo + 1)
	again := i < len(d.seen) && d.seen[i].lo <= lo
	d.add(span{lo, lo + int64(n)})
	d.high = max(d.high, lo+int64(n))
	if !again {
		return timeline.Data, 0
	}
	if d.repeats == nil {
		d.repeats = map[int64]int{}
	}
	d.repeats[lo]++
	return timeline.DataAgain, d.repeats[lo]
}

// add joins s with what it touches.
func (d *direction) add(s span) {
	i := d.reaches(s.lo)
	j := i
	for ; j < len(d.seen) && d.seen[j].lo <= s.hi; j++ {
		s.lo, s.hi = min(s.lo, d.seen[j].lo), max(s.hi, d.seen[j].hi)
	}
	d.seen = slices.Replace(d.seen, i, j, s)
}

// reaches is the index of the first span that ends at p or behind it.
func (d *direction) reaches(p int64) int {
	i, _ := slices.BinarySearchFunc(d.seen, p, func(s span, p int64) int { return cmp.Compare(s.hi, p) })
	return i
}
