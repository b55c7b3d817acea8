package judge

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// onTime reports whether the kernel's timer wheel had the event's timer due in the very jiffy that was predicted, by its own record. Then the timer is
// as predicted, and how much later the packet came is how late the kernel came to its timers (__run_timers goes through the buckets that it missed,
// and names each).
func (j *judgement) onTime(b timeline.Bound) bool {
	if j.due == 0 || j.JiffyStart == nil || b.Tick == 0 || b.After != 0 { // after: the timer is the other end's
		return false
	}
	tick := (j.due - *j.JiffyStart + j.Jiffy/2) / j.Jiffy
	return int64(tick) >= b.Tick && int64(tick) <= max(b.TickLast, b.Tick)
}

// fired is the last event whose timer was due in its jiffy, and when it was seen.
type fired struct {
	timeline.Bound
	at time.Duration
}

// answers reports whether an event follows at once from one whose timer was due in its jiffy: it has the same tick, none of its own timers has fired, and it came
// as soon after that one as it should.
func (j *judgement) answers(b timeline.Bound, seen time.Duration) bool {
	a := j.answered
	return j.due == 0 && b.Tick > 0 && a.Tick == b.Tick && a.TickLast == b.TickLast && seen >= a.at && seen-a.at <= b.After-a.After+Allowance(j.Jiffy)
}

// wound settles a time that is late, of a timer that the wheel had due in its jiffy: what a stall leaves open elsewhere is a pass. Where nothing on record
// explains how late a packet is, that stays open, but contradicts no timer; how late a program learns of it is judged by other rules (moment).
func wound(c *result.Check, late time.Duration, packet bool) {
	switch {
	case c.Verdict == result.Inconclusive:
		c.Verdict, c.Code = result.Pass, explain.OnTheWheel
		c.Detail = fmt.Sprintf("the kernel's timer wheel had it due in the predicted jiffy, and came to it %s late", short(max(late, 0)))
	case c.Verdict == result.Fail && packet:
		c.Verdict, c.Code = result.Inconclusive, explain.Stall
		c.Detail = fmt.Sprintf("%s late, though the kernel's timer wheel had it due in the predicted jiffy, and no stall is on record", short(late))
	}
}
