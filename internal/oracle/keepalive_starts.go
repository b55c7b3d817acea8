package oracle

import (
	"iter"
	"maps"
	"slices"
)

// sweepWhole is the longest period of which every start is played: a second or two of a busy processor is too long for a prediction.
const sweepWhole = 512

// starts are the jiffies from which a start must be played to meet every behaviour. A timer of two hours lands on a multiple of 32768
// jiffies (HZ=250), of 262144 (HZ=1000): all starts in between that lead to the same one go on alike, and only their distance from it
// differs. So the ends of these stretches are enough, those of the timer before, and the starts at which a limit begins to hold. They are not
// looked for before they are wanted: where the start is known, nobody wants them.
func (r keepaliveRule) starts() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for _, j := range r.different() {
			if !yield(uint64(j)) {
				return
			}
		}
	}
}

// different are these starts, in order.
func (r keepaliveRule) different() []int64 {
	n := int64(period(r.facts, uint64(max(r.idleJ, r.intervJ))))
	seen := map[int64]bool{}
	around := func(j, by int64) {
		for d := -by; d <= by; d++ {
			seen[((j+d)%n+n)%n] = true
		}
	}
	step := int64(period(r.facts, uint64(r.idleJ))) // of the first timer
	lo, hi := Fire(r.facts, 0, uint64(r.idleJ))
	// Whether the peer's limit of answers holds may depend on where the first timer landed.
	if n <= sweepWhole || !r.facts.Wheel || lo != hi || step < n && r.limitJ >= r.intervJ {
		for j := range n {
			seen[j] = true
		}
		return slices.Sorted(maps.Keys(seen))
	}
	lands := func(j int64) int64 { // where the timer with the longest step lands
		at := r.fires(j, 0)
		if step < n {
			return r.fires(at, 1)
		}
		return at
	}
	for j := range n {
		if lands(j) != lands(j+1) {
			for k := int64(-1); k <= 1; k++ {
				around(j+k*step, 2)
			}
		}
	}
	for _, j := range slices.Collect(maps.Keys(seen)) {
		r.limits(j, n, around)
	}
	return slices.Sorted(maps.Keys(seen))
}

// fires is the jiffy in which the first timer, or one after it, fires.
func (r keepaliveRule) fires(j int64, nth int) int64 {
	d := r.idleJ
	if nth > 0 {
		d = r.intervJ
	} else {
		j += int64(RoundTrip(r.k.RTT, r.k.Link) / r.facts.Jiffy()) // it is armed when the SYN-ACK is there
	}
	_, at := Fire(r.facts, uint64(j)+1<<40, uint64(d))
	return int64(at - 1<<40)
}

// limits finds the starts at which TCP_USER_TIMEOUT begins to hold at a fire of the timer, or at which the close comes just after it, where
// the timer fires as it does from the start j.
func (r keepaliveRule) limits(j, n int64, around func(j, by int64)) {
	if r.userJ == 0 && r.k.Close == 0 {
		return
	}
	closeJ := ceilJiffies(r.facts, r.k.Close)
	free := r
	free.userJ, free.count = 0, 1<<30
	w := &world{facts: r.facts, tick: r.facts.Jiffy().Nanoseconds(), jiffies: uint64(j) + 1<<40}
	q := newQuiet(free, w)
	q.open()
	q.timer(w.fromJiffies(max(r.userJ, closeJ) + 2*n))
	for _, h := range q.out {
		for _, limit := range []int64{r.userJ, closeJ} {
			if at := h.jiffy + j - limit; limit > 0 && at > j-n && at < j+n { // the start from which this fire comes at the limit
				around(at, 4)
			}
		}
	}
}
