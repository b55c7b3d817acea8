package oracle

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Constants of include/net/tcp.h that settings are measured in.
const (
	RTOMin      = 200 * time.Millisecond // TCP_RTO_MIN: the unit of tcp_retries2, whatever the real RTO
	RTOMax      = rtoMax                 // TCP_RTO_MAX, default of tcp_rto_max_ms
	TimeWaitLen = 60 * time.Second       // TCP_TIMEWAIT_LEN
)

// Model is tcp_model_timeout (net/ipv4/tcp_timer.c): the time that a number of retries stands for, with timers that double from base
// and stop growing at most. It is what tcp_retries1, tcp_retries2, tcp_orphan_retries and tcp_syn_retries mean as a time.
func Model(retries int, base, most time.Duration) time.Duration {
	return time.Duration(model(retries, uint64(base), uint64(most)))
}

// Jiffies rounds a time up to whole jiffies of a kernel, as usecs_to_jiffies does, and returns it as time.
func Jiffies(f kernel.Facts, d time.Duration) time.Duration {
	return time.Duration(ceilJiffies(f, d) * f.Jiffy().Nanoseconds())
}

// Chain is one timer that is armed again each time it fires, until the steps are used up or a time has passed. It is what a setting
// means where nobody answers: data into a black hole, keepalive probes, SYN-ACKs, the wait in FIN-WAIT-2. The zero Limit leaves the
// end to the steps alone.
//
// It is for explaining a setting by itself. Two timers that meet are for the other mechanisms of this package.
type Chain struct {
	Host  string
	First timeline.Event // what the time counts from: Host, What and Why
	Steps []Step         // what each fire does, in order
	End   Step           // what the fire after the last step does, or the first at which the limit has passed
	Errno string         // of End

	Limit     time.Duration // a fire at which this much has passed is the end
	LimitFrom int           // the step from whose fire Limit counts; -1: from the start
	Tested    int           // the first step before which the limit is looked at
	Clamp     bool          // after LimitFrom a timer is cut to what is left of Limit: tcp_clamp_rto_to_user_timeout
	InJiffies bool          // the limit is compared in jiffies, not in milliseconds of CLOCK_MONOTONIC
	LimitName string        // for the formula
}

// Step is one fire of a Chain's timer.
type Step struct {
	What  timeline.What
	N     int
	Delay time.Duration // the timer that leads to it; the kernel rounds it up to jiffies
	Why   string
}

// mostFires bounds the work of Predict: half a second or so. The default of keepalive needs fewer at any HZ.
const mostFires = 1 << 23

// Predict returns the events with the windows over every phase of jiffies, and End as the outcome. Steps that come only in some phases
// may be absent (Maybe).
func (c Chain) Predict(f kernel.Facts) timeline.Timeline {
	g := chainGather{steps: make([]window, len(c.Steps)), count: make([]int, len(c.Steps))}
	var longest int64
	for _, s := range append(c.Steps[:len(c.Steps):len(c.Steps)], c.End) {
		longest = max(longest, ceilJiffies(f, s.Delay))
	}
	grains := []int64{0, millisecond / 2, millisecond - 1}
	if c.Limit == 0 || c.InJiffies {
		grains = grains[:1]
	}
	tick := f.Jiffy().Nanoseconds()
	all := period(f, uint64(longest))
	// A chain of days has more phases than anyone waits for. A timer armed later does not fire sooner, so the phases in between lie within
	// a stride of one that was tried.
	stride := 1 + all*2*uint64(len(grains)*(len(c.Steps)+1))/mostFires
	if stride > 1 {
		g.slack = int64(stride) * tick
	}
	for j := uint64(0); j < all; j += stride {
		for _, phase := range []int64{0, tick - 1} {
			for _, grain := range grains {
				w := world{facts: f, tick: tick, jiffies: j + 1<<40, phase: phase, grain: grain}
				c.play(&w, &g)
				if w.sawEarly {
					w.early = true
					c.play(&w, &g)
				}
			}
		}
	}
	return c.join(f, g)
}

// chainGather collects the instants of a chain's fires over the worlds.
type chainGather struct {
	steps  []window
	count  []int // worlds in which a step came
	end    window
	worlds int
	slack  int64 // nanoseconds by which the windows are wider than what was seen
	sooner bool  // the limit ended it before the steps were used up
}

// play steps one world.
func (c Chain) play(w *world, g *chainGather) {
	g.worlds++
	var at, from int64 // jiffies
	for i := 0; ; i++ {
		s := c.End
		if i < len(c.Steps) {
			s = c.Steps[i]
		}
		d := w.toJiffies(s.Delay)
		if c.Clamp && c.Limit > 0 && i > c.LimitFrom {
			left := c.Limit.Milliseconds() - w.elapsed(from, at)
			d = min(d, max(1, w.toJiffies(time.Duration(left)*time.Millisecond)))
		}
		before := at
		at = w.fire(at, d)
		passed := c.Limit > 0 && i >= c.Tested && c.passed(w, from, at)
		if i == len(c.Steps) || passed {
			g.sooner = g.sooner || i < len(c.Steps)
			g.end = g.end.or(w.window(before, at))
			return
		}
		g.steps[i] = g.steps[i].or(w.window(before, at))
		g.count[i]++
		if i == c.LimitFrom {
			from = at
		}
	}
}

// passed is retransmits_timed_out: at least the limit lies between two fires.
func (c Chain) passed(w *world, from, at int64) bool {
	if c.InJiffies {
		return at-from >= w.toJiffies(c.Limit)
	}
	return w.elapsed(from, at) >= c.Limit.Milliseconds()
}

// elapsed is the time between two jiffies as tcp_clock_ms() shows it: both ends are rounded down.
func (w *world) elapsed(from, at int64) int64 {
	if from == 0 {
		return w.ms(w.instant(at)) - w.ms(0)
	}
	return w.ms(w.instant(at)) - w.ms(w.instant(from))
}

// window is the instant of one fire.
func (w *world) window(before, at int64) window {
	now := int64(w.instant(at))
	gap := now
	if before > 0 {
		gap = (at - before) * w.tick
	}
	return window{seen: true, early: now, late: now, gapEarly: gap, gapLat: gap, tick: at}
}

// join puts the nominal times and the windows together.
func (c Chain) join(f kernel.Facts, g chainGather) timeline.Timeline {
	c.First.Host = c.Host
	out := timeline.Timeline{Events: []timeline.Event{c.First}}
	at, from := time.Duration(0), time.Duration(0)
	for i, s := range c.Steps {
		why := fmt.Sprintf("%v + %v%s", at, s.Delay, s.Why)
		at += s.Delay
		if i == c.LimitFrom {
			from = at
		}
		if g.count[i] == 0 {
			continue
		}
		e := timeline.Event{Host: c.Host, What: s.What, N: s.N, Why: why, Maybe: g.count[i] < g.worlds, Bound: c.bound(f, at, g.steps[i], g.slack)}
		out.Events = append(out.Events, e)
	}
	why := fmt.Sprintf("%v + %v%s", at, c.End.Delay, c.End.Why)
	at += c.End.Delay
	switch {
	case c.Clamp && from+c.Limit < at:
		at, why = from+c.Limit, fmt.Sprintf("%v + %v: the last timer is cut to what is left of %s", from, c.Limit, c.LimitName)
	case g.sooner:
		at, why = min(at, from+c.Limit), "the first fire at which "+c.LimitName+" has passed"
	}
	out.Outcome = &timeline.Event{Host: c.Host, What: c.End.What, Errno: c.Errno, Why: why, Bound: c.bound(f, at, g.end, g.slack)}
	return out
}

func (c Chain) bound(f kernel.Facts, at time.Duration, w window, slack int64) timeline.Bound {
	b := timeline.Bound{At: at, Earliest: time.Duration(w.early - slack), Latest: time.Duration(w.late + slack),
		GapEarliest: time.Duration(w.gapEarly - slack), GapLatest: time.Duration(w.gapLat + slack)}
	if f.Wheel {
		b.At = min(at, b.Earliest) // above a whole millisecond a tick may run fast
	}
	return b
}
