package oracle

import "time"

// One timer after another, for every start: this file steps the SYN timer in jiffies and collects when it can fire.
//
// What is not known of a start is the jiffy J in which the first SYN goes out, how far into it (the phase, p) and how far into a
// millisecond of CLOCK_MONOTONIC (g). The kernel's time tests compare milliseconds, both ends rounded down: a timer that fires
// D jiffies after J sees floor((g + D*tick - p) / 1 ms). So g and p matter as x = g - p alone, and a path carries the range of x
// that leads to it. Where a test splits the range, the path splits.

const millisecond = int64(time.Millisecond)

// span is a range of x in nanoseconds: from <= x < to.
type span struct{ from, to int64 }

// path is one way to the coming fire of the timer.
type path struct {
	jiffies, before int64 // jiffies from the start to this fire, and to the event before it
	x               span
}

// window collects the instants at which something can happen, in nanoseconds since the first SYN.
type window struct {
	seen             bool
	early, late      int64
	gapEarly, gapLat int64 // time since the event before
	tick             int64 // fewest jiffies since the start
}

// step is what can happen at the k-th fire of the timer, k from 1: a retransmission, the end, or either.
type step struct{ again, end window }

// walker steps the paths of one start.
type walker struct {
	rule
	known   bool  // the start's phase is known
	phase   int64 // if so: nanoseconds into the jiffy
	steps   []step
	now     []path
	next    []path
	jiffies uint64 // of the start
}

// walk returns what can happen at each fire, over the given start or, with nil, over every start.
func walk(r rule, start *Start) []step {
	if start != nil {
		p := start.Phase.Nanoseconds()
		w := walker{rule: r, known: true, phase: p, jiffies: start.Jiffies}
		w.run(span{-p, millisecond - p})
		return w.steps
	}
	w := walker{rule: r}
	for j := range period(r.facts, r.longest()) {
		w.jiffies = j
		w.run(span{-r.tick, millisecond})
	}
	return w.steps
}

// longest is the longest timer that can be armed, in jiffies.
func (r rule) longest() uint64 {
	timer := min(r.initial, r.most)
	longest := timer
	for n := 1; n <= r.count; n++ {
		timer = backoff(r, n, timer, r.most)
		longest = max(longest, timer)
	}
	return longest
}

// run follows every path of one start to its end. It ends: each fire is later than the one before, and the count or the time
// test is true from some moment on.
func (w *walker) run(x span) {
	timer := min(w.initial, w.most) // inet_csk_reset_xmit_timer cuts the first one too
	w.now = w.now[:0]
	w.now = w.arm(w.now, 0, timer, x)
	for k := 1; len(w.now) > 0; k++ {
		if len(w.steps) < k {
			w.steps = append(w.steps, step{})
		}
		timer = backoff(w.rule, k, timer, w.most)
		w.next = w.next[:0]
		for _, p := range w.now {
			w.fire(p, k, timer)
		}
		w.now, w.next = w.next, w.now
	}
}

// fire is tcp_retransmit_timer at the k-th fire: the connection ends, or the SYN goes out again and the timer is armed anew.
func (w *walker) fire(p path, k int, timer uint64) {
	n := k - 1 // icsk_retransmits
	alive := p.x
	if w.byCount && n >= w.count {
		alive.to = alive.from
	} else if w.byTime && n > 0 {
		switch {
		case !w.inJiffies:
			alive.to = min(alive.to, max(alive.from, w.limitMS*millisecond-p.jiffies*w.tick))
		case uint64(p.jiffies) >= w.limitJiffies:
			alive.to = alive.from
		}
	}
	if alive.to < p.x.to {
		w.note(&w.steps[k-1].end, p, span{alive.to, p.x.to})
	}
	if alive.from >= alive.to {
		return
	}
	w.note(&w.steps[k-1].again, p, alive)
	if !w.clamps {
		w.next = w.arm(w.next, p.jiffies, timer, alive)
		return
	}
	for alive.from < alive.to {
		d, to := w.clamp(p.jiffies, timer, alive.from)
		to = min(to, alive.to)
		w.next = w.arm(w.next, p.jiffies, d, span{alive.from, to})
		alive.from = to
	}
}

// clamp is tcp_clamp_rto_to_user_timeout: the timer, cut to what is left of TCP_USER_TIMEOUT, and the x up to which this holds.
func (w *walker) clamp(jiffies int64, timer uint64, x int64) (d uint64, to int64) {
	const never = 1 << 62
	ut := w.c.UserTimeout.Milliseconds()
	left := ut - floorDiv(jiffies*w.tick+x, millisecond)
	if left <= 0 {
		return 1, never
	}
	hz := int64(w.facts.HZ)
	d = min(timer, uint64((left*hz+999)/1000)) // msecs_to_jiffies rounds up
	if d <= 1 {
		return 1, never
	}
	// d holds for as long as more than (d-1) jiffies are left.
	return d, (ut-(int64(d)-1)*1000/hz)*millisecond - jiffies*w.tick
}

// arm adds the fires of a timer armed a number of jiffies after the start.
func (w *walker) arm(paths []path, jiffies int64, d uint64, x span) []path {
	lo, hi := Fire(w.facts, w.jiffies+uint64(jiffies), d)
	paths = join(paths, path{int64(lo - w.jiffies), jiffies, x})
	if hi != lo {
		paths = join(paths, path{int64(hi - w.jiffies), jiffies, x})
	}
	return paths
}

// join adds a path, or widens one that is the same but for a range of x that touches: otherwise 127 choices would make 2^127 paths.
func join(paths []path, p path) []path {
	for i := len(paths) - 1; i >= 0; i-- {
		q := &paths[i]
		if q.jiffies == p.jiffies && q.before == p.before && q.x.from <= p.x.to && p.x.from <= q.x.to {
			q.x = span{min(q.x.from, p.x.from), max(q.x.to, p.x.to)}
			return paths
		}
	}
	return append(paths, p)
}

// note widens a window by the instants of a path. The phase p = g - x, with 0 <= g < 1 ms and 0 <= p < tick, says how much of the
// first jiffy had passed; the window takes in its open ends.
func (w *walker) note(to *window, p path, x span) {
	least, most := max(0, -x.to), min(w.tick, millisecond-x.from)
	if w.known {
		least, most = w.phase, w.phase
	}
	at := p.jiffies * w.tick
	early, late := at-most, at-least
	gapEarly, gapLate := early, late
	if p.before > 0 {
		gapEarly = at - p.before*w.tick
		gapLate = gapEarly
	}
	if !to.seen {
		*to = window{true, early, late, gapEarly, gapLate, p.jiffies}
		return
	}
	to.early, to.late = min(to.early, early), max(to.late, late)
	to.gapEarly, to.gapLat = min(to.gapEarly, gapEarly), max(to.gapLat, gapLate)
	to.tick = min(to.tick, p.jiffies)
}

// floorDiv divides and rounds towards minus infinity.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
