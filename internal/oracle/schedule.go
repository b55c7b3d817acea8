package oracle

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
)

// timeline puts the nominal schedule and the windows together.
func (r rule) timeline(steps []step, known bool) timeline.Timeline {
	fires, last := r.nominal(len(steps))
	tl := timeline.Timeline{Events: []timeline.Event{{Host: r.c.Host, What: timeline.SYN, Why: "first SYN: time starts here"}}}
	var end window
	endEarly, ends := false, 0
	for i, s := range steps {
		if s.again.seen {
			e := timeline.Event{Host: r.c.Host, What: timeline.SYNRetransmission, N: i + 1, Bound: r.bound(fires[i].at, s.again, known)}
			e.Maybe = s.end.seen || ends > 0
			e.Why = fires[i].why
			if e.Maybe {
				e.Why += "; may be absent: " + r.limitName + " can end inside the window of this or an earlier timer"
			}
			tl.Events = append(tl.Events, e)
		}
		if s.end.seen {
			ends++
			endEarly = endEarly || i < last
			end = end.or(s.end)
		}
	}
	at, why := fires[last].at, r.whyEnd(last, fires[last].at)
	if endEarly {
		// Both clocks of the test are rounded down to a millisecond, so it can be true by part of one too early.
		at, why = min(at, r.limitTime, time.Duration(end.early)), "late timers let the time test end it before the count: elapsed time >= "+r.limitName
	}
	if ends > 1 {
		why += fmt.Sprintf("; the threshold falls inside the timers' window, so the end may come at any of %d timers", ends)
	}
	errno := r.c.SoftError
	if errno == "" {
		errno = "ETIMEDOUT"
	} else {
		why += "; the error is the last ICMP error's (sk_err_soft)"
	}
	tl.Outcome = &timeline.Event{Host: r.c.Host, What: timeline.ConnectError, Errno: errno, Bound: r.bound(at, end, known), Why: why}
	return tl
}

// or joins two windows. Both are of the same event.
func (w window) or(v window) window {
	if !w.seen {
		return v
	}
	return window{true, min(w.early, v.early), max(w.late, v.late), min(w.gapEarly, v.gapEarly), max(w.gapLat, v.gapLat), min(w.tick, v.tick)}
}

// nominalFire is a fire of the timer without wheel and rounding.
type nominalFire struct {
	at  time.Duration
	why string
}

// nominal returns the schedule by the formula, at least as long as atLeast fires, and the index of the fire that ends the
// connection. It goes on past that one as if nothing ended it.
func (r rule) nominal(atLeast int) (fires []nominalFire, last int) {
	timer := min(r.initialTime, r.mostTime)
	at, last := time.Duration(0), -1
	wait, note := timer, ", the initial RTO"
	for k := 1; last < 0 || k <= atLeast; k++ {
		prev := at
		at += wait
		n := k - 1
		if last < 0 && (r.byCount && n >= r.count || r.byTime && n > 0 && at >= r.limitTime) {
			last = n
		}
		fires = append(fires, nominalFire{at, fmt.Sprintf("%v + %v%s", prev, wait, note)})
		doubled := backoff(r, k, timer, r.mostTime)
		note = r.timerNote(k, timer, doubled)
		timer, wait = doubled, doubled
		if left := r.c.UserTimeout - at; r.clamps && left < wait {
			wait, note = left, ", what is left of TCP_USER_TIMEOUT"
			if left <= 0 {
				wait, note = r.facts.Jiffy(), ", one jiffy: TCP_USER_TIMEOUT has passed"
			}
		}
	}
	return fires, last
}

// timerNote says why the timer after the k-th retransmission is as long as it is.
func (r rule) timerNote(k int, before, timer time.Duration) string {
	switch {
	case k <= r.linear:
		return fmt.Sprintf(", linear timeout %d of %d", k, r.linear)
	case timer == r.mostTime && timer < 2*before:
		return fmt.Sprintf(", the largest RTO (%v)", r.mostTime)
	}
	return ", doubled"
}

// whyEnd says which test ends the connection at the nominal fire of index last.
func (r rule) whyEnd(last int, at time.Duration) string {
	if r.byCount && last >= r.count {
		return fmt.Sprintf("%v: the timer fired once more, after %s", at, plural(last, "retransmission"))
	}
	return fmt.Sprintf("%v: elapsed time >= %s", at, r.limitName)
}

// bound makes a Bound of a window. At is in the kernel's ticks where these run fast: TICK_NSEC is a second over HZ, rounded.
func (r rule) bound(at time.Duration, w window, known bool) timeline.Bound {
	if fast := int64(time.Second) - int64(r.facts.HZ)*r.tick; fast > 0 {
		at -= time.Duration((int64(at)*fast + int64(time.Second) - 1) / int64(time.Second))
	}
	b := timeline.Bound{
		At:          at,
		Earliest:    time.Duration(w.early),
		Latest:      time.Duration(w.late),
		GapEarliest: time.Duration(w.gapEarly),
		GapLatest:   time.Duration(w.gapLat),
	}
	if known {
		b.Tick = w.tick
	}
	return b
}
