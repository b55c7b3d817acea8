package judge

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// sorted puts the stalls in order.
func (in Input) sorted() Input {
	in.byStart = slices.DeleteFunc(slices.Clone(in.Stalls), func(s result.Stall) bool { return s.For.Duration() < in.Jiffy })
	in.byEnd = slices.Clone(in.byStart)
	slices.SortStableFunc(in.byStart, func(a, b result.Stall) int { return cmp.Compare(a.At, b.At) })
	slices.SortStableFunc(in.byEnd, func(a, b result.Stall) int { return cmp.Compare(b.At+b.For, a.At+a.For) })
	return in
}

// excused reports whether what is on record explains that an event was seen so long after due, the last instant at which it could be
// due: processors stood still until then without a break, or an event before was late, and took this one and the rounding of the wheel with
// it. A short stall does not excuse a long delay.
func (j *judgement) excused(b timeline.Bound, due, seen time.Duration) bool {
	behind := j.behind(b)
	if j.fresh && j.tardy > 0 && b.Tick > 0 { // the wait began after the event before at the latest
		behind = max(behind, j.tardy+(seen-j.last)/wheelShare)
	}
	return j.heldUp(due+behind, seen)
}

// behind is what an event before was late by that this one may answer: it was judged for that itself.
func (j *judgement) behind(b timeline.Bound) (behind time.Duration) {
	for _, slip := range j.slips {
		if slip > Allowance(j.Jiffy) {
			behind = max(behind, slip)
		}
	}
	if slip := max(j.slip, j.slips[j.chain]); slip > 0 {
		behind = max(behind, slip+b.GapLatest/wheelShare)
	}
	return behind
}

// handledLate reports whether a processor stood still until a timer's packet was sent, for as long as moves what the next timer of its chain counts
// from: that one then misses its bucket and fires with the one behind, or comes at its own time, so much sooner after the packet. The packet itself was in
// its window, or at one of several ticks that were left open.
func (j *judgement) handledLate(want *timeline.Event, before *pair) bool {
	if !timers(want, before) {
		return false
	}
	seen := before.got.At
	for _, s := range j.byStart {
		if s.At.Duration()-stallLook <= seen && s.At.Duration()+s.For.Duration() >= seen-Allowance(j.Jiffy) {
			return true
		}
	}
	return false
}

// timers reports whether both events are what one chain of timers did.
func timers(want *timeline.Event, before *pair) bool {
	return !byProgram(want) && !byProgram(before.want) && want.Chain != "" && want.Chain == before.want.Chain
}

// heldUp reports whether processors stood still without a break from when something was due until it was seen.
func (j *judgement) heldUp(due, seen time.Duration) bool {
	until := due + Allowance(j.Jiffy)
	for _, s := range j.byStart {
		from, to := s.At.Duration()-stallLook, s.At.Duration()+s.For.Duration()
		if from <= until && to >= due-j.Jiffy {
			until = max(until, to+Allowance(j.Jiffy))
		}
	}
	return seen <= until
}

const (
	// wheelShare: the wheel rounds a wait up by less than a seventh of it (LVL_GRAN(n) / LVL_START(n) is 8/63).
	wheelShare = 7
	// stallLook is how long a processor may have stood still before the look that found it so (package stall looks every 4 ms).
	stallLook = 4 * time.Millisecond
)

// stalledAtStart reports whether a processor stood still just before the first packet was sent. The counter of jiffies may then have been
// behind the clock by more than the one jiffy that a prediction leaves open.
func (j *judgement) stalledAtStart() bool {
	for _, s := range j.byStart {
		if s.At.Duration() <= j.Jiffy && s.At.Duration()+s.For.Duration() >= -2*j.Jiffy {
			return true
		}
	}
	return false
}

// stalled reports whether a processor stood still between the first instant at which an event was due and the moment it was seen, for
// long enough to matter.
func (j *judgement) stalled(b timeline.Bound, seen time.Duration) bool {
	from := b.Earliest
	if j.JiffyStart != nil && b.Tick > 0 {
		from = *j.JiffyStart + time.Duration(b.Tick)*j.Jiffy
	}
	for _, s := range j.byStart {
		if s.At.Duration() <= seen && s.At.Duration()+s.For.Duration() >= from-j.Jiffy {
			return true
		}
	}
	return false
}

// movedIn reports whether stalls, one close after the other until the event was seen, could have moved it into its window from before. One
// that had ended earlier held up nothing, and what waited inside the window for all of it was in its window.
func (j *judgement) movedIn(b timeline.Bound, seen time.Duration) bool {
	from := seen
	for _, s := range j.byEnd {
		if s.At.Duration() <= from && s.At.Duration()+s.For.Duration() >= from-Allowance(j.Jiffy) {
			from = min(from, s.At.Duration()-stallLook)
		}
	}
	return from < seen && from-j.Jiffy < b.Earliest
}

// moment judges when an event was seen, and returns the time that counts. A program on a busy machine learns late what a timer did, by a stall or by
// as much as any program may be late without one, and its time then says little; where the kernel recorded when it ended the connection, that is
// judged instead, by the same rules. Where there is no such record, what a program says so late decides nothing; nor does it where it is later than
// a busy machine makes a program and the record is in its time, because what is late then is no timer. How late that may be hangs on whether programs had
// to wait for processors all the time (starved).
func (j *judgement) moment(c *result.Check, p *pair, e *result.Event) time.Duration {
	at, ended := p.got.At, p.got.Ended
	j.due, j.packet = p.got.Due, p.want.What.OnWire()
	before, inChain := j.slip, j.slips[j.chain]
	j.time(c, p.want.Bound, at, byProgram(p.want), e)
	if on := j.opening(p.port()); c.Code == explain.TooLate && j.JiffyStart == nil && at-p.want.Latest <= Allowance(j.Jiffy)+on {
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, calledOn(at-p.want.Latest, on)
	}
	late := c.Code == explain.TooLate || c.Code == explain.WrongTick
	if late && ended == 0 && p.want.Tick > 0 && !p.want.What.OnWire() && off(e) <= programLag {
		c.Verdict, c.Code = result.Inconclusive, explain.Stall
		c.Detail = fmt.Sprintf("%s late, as a program on a busy machine may be, and the kernel's own record of it is missing", short(off(e)))
	}
	reach, starved := programLate, ""
	if late && told(p.want) {
		if starved = j.starved(behind(p, e)); starved != "" {
			reach = starvedLate
		}
	}
	if c.Verdict == result.Fail && starved != "" && ended == 0 {
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, hadToWait(behind(p, e), starved)
	}
	far := late && at-ended > programLag
	late = late && at-ended <= reach
	if c.Code != explain.Stall && !late || ended == 0 || ended > at || p.want.Tick == 0 {
		return at
	}
	after, so := j.slip, j.slips[j.chain]
	j.slip, j.slips[j.chain] = before, inChain
	kernel, off := *c, *e
	kernel.Verdict, kernel.Code, kernel.Detail = result.Pass, "", ""
	if j.time(&kernel, p.want.Bound, ended, false, &off); kernel.Verdict == result.Inconclusive || late && kernel.Verdict == result.Fail {
		j.slip, j.slips[j.chain] = after, so
		return at
	}
	*c = kernel
	c.Observed = seconds(ended)
	if c.Verdict == result.Pass {
		c.Detail = fmt.Sprintf("the kernel ended the connection then, and the program learned it %s later", short(at-ended))
		if p.got.What == timeline.Connected {
			c.Detail = fmt.Sprintf("the kernel established the connection then, and the program learned it %s later", short(at-ended))
		}
		if far {
			c.Verdict, c.Code = result.Inconclusive, explain.Stall
		}
		if far && at-ended > programLate {
			c.Detail += ": " + starved
		}
	}
	return ended
}

// tooHurried is why a probe that is not predicted proves nothing.
const tooHurried = "the probe did not wait for an acknowledgement that a busy machine held up"

// hurried reports whether a tail loss probe came because the machine held up the acknowledgement that it did not wait for: a processor stood
// still between the segment and the probe, which on a short link waits for two jiffies (tcp_schedule_loss_probe); or the acknowledgement came
// after the probe, as where a program must read before (ICSK_ACK_PUSHED2). Whether that was too late is judged for itself. What a rule dropped was not
// acknowledged by anybody: no stall held that up.
func (j *judgement) hurried(p *pair) bool {
	probe := p.got
	if p.want != nil || probe.What != timeline.TailLossProbe {
		return false
	}
	sent, lost := time.Duration(-1), false
	for _, e := range j.Got.Events { // in order
		if e.Host != probe.Host || e.Port != probe.Port || e.At >= probe.At {
			continue
		}
		if e.What == timeline.Data {
			sent = max(sent, e.At)
		}
		if e.Len > 0 && e.RelSeq == probe.RelSeq {
			lost = e.Dropped
		}
	}
	return sent >= 0 && !lost && (j.answeredAfter(probe, sent) || slices.ContainsFunc(j.byStart, func(s result.Stall) bool {
		return s.At.Duration() <= probe.At && s.At.Duration()+s.For.Duration() >= sent
	}))
}

// answeredAfter reports whether the other end had what a probe repeats and acknowledged it only after the probe, though no later than a busy machine makes
// a program, and the probe waited for as long as it must.
func (j *judgement) answeredAfter(probe *timeline.Event, sent time.Duration) bool {
	if probe.At-sent < 2*j.Jiffy {
		return false
	}
	for _, e := range j.Got.Events { // in order
		if e.Host == probe.Host && e.Port == probe.Port && e.What == timeline.Data && e.RelSeq == probe.RelSeq && e.Dropped {
			return false
		}
		if e.Host != probe.Host && e.Port == probe.Port && e.What.OnWire() && e.RelAck >= probe.RelSeq+uint32(probe.Len) {
			return e.At > probe.At && e.At-sent <= programLate
		}
	}
	return false
}
