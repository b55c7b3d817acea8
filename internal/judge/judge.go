// Package judge compares a prediction with what was seen. It is the one place where the two meet: it is pure, it knows no lab, and it
// never changes a prediction to fit.
//
// Its one trap: not being able to tell is not a pass. Where the capture lost packets, a clock was stepped or the machine stalled at the
// moment an event was due, the judgement is Inconclusive.
package judge

import (
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Allowance is how long after the last instant that the timer wheel can reach an event may still come, without a stall on record. One
// jiffy, because packets were seen to come exactly one late on a machine without stalls. The likely reason, read in the source and not
// traced: a processor whose tick comes a moment before the jiffies counter is moved on runs its timers at the next tick
// (run_local_timers compares jiffies, which another processor counts in tick_do_update_jiffies64). And 5 ms for softirq and wake-up
// latency.
func Allowance(jiffy time.Duration) time.Duration { return jiffy + 5*time.Millisecond }

// maxStep is how far CLOCK_REALTIME, which stamps packets, may move against CLOCK_MONOTONIC, which times programs, within a run.
const maxStep = 500 * time.Microsecond

// Call is a program's call, by the port of its connection.
type Call struct {
	Port          uint16
	Before, After time.Duration
}

// Input is all that a judgement stands on. Times are offsets from the first packet.
type Input struct {
	Want, Got timeline.Timeline
	Jiffy     time.Duration
	// JiffyStart is where the jiffy of the first packet began (zero or negative); nil where the phase was not known.
	JiffyStart *time.Duration
	ClockError time.Duration // of JiffyStart
	// Ended is when observation ended. An event that was due later was not given its time.
	Ended  time.Duration
	Stalls []result.Stall
	Load   *result.Load // how short of processors the machine was meanwhile; nil: it is not known
	Lost   int          // packets that the captures could not hold
	// Calls are those that sent a packet: its timer starts before the end of the call.
	Calls []Call
	// Broken is why observation ended before its time: a capture that failed, a client that was killed. Nil: it did not.
	Broken error
	// Disorder says that the programs' calls came in another order than planned: the prediction is of another run. Nil: they did not.
	Disorder error
	// Link says by how much the link's time was off, where that is what a contradiction may come from. Nil: it was not.
	Link error
	Step time.Duration // of CLOCK_REALTIME against CLOCK_MONOTONIC

	open map[uint16]bool // ports of connections that fit no order, and not all orders of which are listed
	// byStart and byEnd are Stalls of a jiffy or more, the first to start first and the last to end first: a busy machine leaves thousands, and
	// they are looked through for each event of each order.
	byStart, byEnd []result.Stall
}

func schedule(in Input) (events []result.Event, outcome *result.Event, checks []result.Check) {
	whole := begin(in)
	pairs := slices.DeleteFunc(align(in.Want.Events, in.Got.Events), in.unwatched)
	checks = append(checks, whole.count(pairs))
	apart := map[uint16]*judgement{} // of connections side by side: what one of them is late by is nothing to another
	before := map[string]*pair{}     // what the next gap of a chain counts from; nil where that was not seen
	for i := range pairs {
		p, j := &pairs[i], whole
		if len(in.Want.Connections) > 0 {
			if apart[p.port()] == nil {
				apart[p.port()] = begin(in)
			}
			j = apart[p.port()]
		}
		e, c := j.event(p, before[p.chain()])
		p.excused = c != nil && (c.Verdict == result.Inconclusive || c.Code == explain.OnTheWheel)
		if c != nil && j.open[p.port()] {
			unlisted(c)
			e.Verdict = c.Verdict
		}
		events = append(events, e)
		if c != nil {
			checks = append(checks, *c)
		}
		if p.got == nil || p.want == nil {
			j.alone[p.family()] = true
		}
		switch {
		case p.got != nil:
			before[p.chain()] = p
		case !p.want.Maybe:
			before[p.chain()] = nil // one missing packet is one contradiction: the longer gap after it is not another
		}
	}
	chain := ""
	if in.Want.Outcome != nil {
		chain = (&pair{want: in.Want.Outcome}).chain()
	}
	outcome, more := whole.outcome(before[chain])
	checks = append(checks, more...)
	if len(in.open) > 0 && !Contradicted(checks[1:]) { // too many packets or too few: of those connections
		unlisted(&checks[0])
	}
	distinct(checks)
	return events, outcome, checks
}

// distinct makes the identifiers of checks different from each other, as a list of test cases needs them.
func distinct(checks []result.Check) {
	used := map[string]int{}
	for i := range checks {
		id := checks[i].ID
		used[id]++
		if n := used[id]; n > 1 {
			checks[i].ID = fmt.Sprintf("%s.%d", id, n)
		}
	}
}

type judgement struct {
	Input
	// slip is how long after its last tick the event before came, where that was a jiffy or more: the timer that it armed counts from
	// there, and may land in a later bucket. slips keeps the same for each chain.
	slip  time.Duration
	slips map[string]time.Duration
	chain string // of the event that is judged
	// fresh: it is the first of its chain, and its timer may count from any event before (tcp_clamp_probe0_to_user_timeout from the first probe). tardy is the most
	// that any of those was late by, a jiffy or more, and last when the newest was seen.
	fresh       bool
	tardy, last time.Duration
	due         time.Duration // when the timer wheel had the event's timer due, by its own record; 0: there is none
	proved      bool          // that was the predicted jiffy
	packet      bool          // the event is one, and not what a program learns
	answered    fired
	// alone are the families in which an event had no partner: their numbers are not compared from then on, because one missing packet is
	// one contradiction, or none.
	alone map[string]bool
}

func begin(in Input) *judgement {
	return &judgement{Input: in, slips: map[string]time.Duration{}, alone: map[string]bool{}}
}

// doubt says why this run can prove nothing about packets, or "".
func (j *judgement) doubt() (reason, code string) {
	switch {
	case j.Broken != nil:
		return j.Broken.Error(), explain.ObservationEnded
	case j.Disorder != nil:
		return j.Disorder.Error(), explain.Stall
	case j.Link != nil:
		return j.Link.Error(), explain.LinkRTT
	case j.Lost > 0:
		return fmt.Sprintf("the capture lost %d packets", j.Lost), explain.CaptureDrops
	case stepped(j.Step):
		return fmt.Sprintf("CLOCK_REALTIME moved by %v during the run", j.Step), explain.ClockStepped
	}
	return "", ""
}

// settle makes a verdict inconclusive where the whole run is in doubt.
func (j *judgement) settle(c *result.Check) {
	if reason, code := j.doubt(); reason != "" {
		c.Verdict, c.Detail, c.Code = result.Inconclusive, reason, code
	}
}

func (j *judgement) count(pairs []pair) result.Check {
	want, maybe, got, hurried := 0, 0, 0, 0
	for _, p := range pairs {
		if j.hurried(&p) {
			hurried++
		}
		if p.want != nil && p.want.Maybe {
			maybe++
		} else if p.want != nil {
			want++
		}
		if p.got != nil {
			got++
		}
	}
	c := result.Check{ID: "count", Name: "packets", Expected: fmt.Sprint(want), Observed: fmt.Sprint(got), Verdict: result.Pass}
	if maybe > 0 {
		c.Expected = fmt.Sprintf("%d to %d", want, want+maybe)
	}
	switch {
	case got < want && j.onlyCut(pairs):
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.CutShort, fmt.Sprintf("observation ended at %s, before the others were due", seconds(j.Ended))
	case got < want:
		c.Verdict, c.Code = result.Fail, explain.TooFewSYNs
		c.Detail = fmt.Sprintf("%d fewer than predicted", want-got)
	case got > want+maybe && got-hurried <= want+maybe:
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, tooHurried
	case got > want+maybe:
		c.Verdict, c.Code = result.Fail, explain.TooManySYNs
		c.Detail = fmt.Sprintf("%d more than predicted", got-want-maybe)
	}
	j.settle(&c)
	return c
}

// cut reports whether observation ended before an event was due. Where the host's connect(2) had returned by then, it was not going to
// come any more.
func (j *judgement) cut(want *timeline.Event) bool {
	over := j.Got.Outcome != nil && j.Got.Outcome.Host == want.Host
	return !over && j.Ended < want.Latest+Allowance(j.Jiffy)
}

// onlyCut reports whether each event that is missing was cut off by the end of observation.
func (j *judgement) onlyCut(pairs []pair) bool {
	for _, p := range pairs {
		if p.got == nil && !p.want.Maybe && !j.cut(p.want) {
			return false
		}
	}
	return true
}

// event judges one pair. The first packet is the origin of time, so it has no check of its own unless it is missing or unexpected.
func (j *judgement) event(p *pair, before *pair) (result.Event, *result.Check) {
	e := joined(p)
	j.chain = p.chain()
	c := result.Check{ID: id(e), Name: Title(e), Verdict: result.Pass}
	switch {
	case p.want == nil:
		c.Expected, c.Observed = "nothing", seconds(p.got.At)
		c.Verdict, c.Code, c.Detail = result.Fail, explain.UnexpectedPacket, "nobody predicted this packet"
		if j.hurried(p) {
			c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, tooHurried
		}
		c.ID += "-unexpected"
	case p.got == nil && p.want.Maybe:
		e.Verdict = result.Pass
		return e, nil
	case p.got == nil:
		c.Expected, c.Observed, c.Allowed = seconds(p.want.At), "never", j.window(p.want.Bound)
		c.Verdict, c.Code, c.Detail = result.Fail, explain.TooFewSYNs, "it never came"
		if j.cut(p.want) {
			c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.CutShort, fmt.Sprintf("observation ended at %s, before it was due", seconds(j.Ended))
		}
	case p.want.Latest == 0 && p.got.At == 0 && p.want.What == p.got.What:
		e.Verdict = result.Pass
		if reason, _ := j.doubt(); reason != "" {
			e.Verdict = result.Inconclusive
		}
		return e, nil
	default:
		c.Expected, c.Observed, c.Allowed = seconds(p.want.At), seconds(p.got.At), j.window(p.want.Bound)
		if p.got.Since != 0 {
			j.due = p.got.Due
			j.between(&c, p)
			e.OnTick = j.proved
			break
		}
		_, known := j.slips[j.chain]
		j.fresh = !known
		at := j.moment(&c, p, &e)
		if before != nil {
			j.gap(&c, p.want, at-before.got.At, before)
		}
		j.tardy, j.last = max(j.tardy, j.slip), p.got.At
		j.same(&c, p)
	}
	j.settle(&c)
	e.Verdict = c.Verdict
	return e, &c
}

// programLag is how late a program may be on a busy machine without a stall on record: it waits for its turn while others run, and the
// watchers, which go before all of them, do not. With six programs to a processor 31 ms were seen.
const programLag = 100 * time.Millisecond

// byProgram reports whether it is a program that an event comes from or that learns of it, and no timer says how soon that is; where none does,
// acknowledgements and repeats are the kernel's own.
func byProgram(want *timeline.Event) bool {
	w := want.What
	return want.ByProgram || want.Tick == 0 && ((w.Family() == timeline.Data || w.Family() == timeline.FIN) && !w.Again() || !w.OnWire())
}

// programLate is how late a program may be for it to be the machine's doing: a stall near by explains no more.
const programLate = 250 * time.Millisecond

// time judges an absolute time against its bound, and against the exact tick where the phase of jiffies was known. program: it is a program's.
func (j *judgement) time(c *result.Check, b timeline.Bound, seen time.Duration, program bool, e *result.Event) {
	exact := j.JiffyStart != nil && b.Tick > 0
	onTick := false
	late := seen - b.Latest
	early := b.Earliest - seen
	if exact {
		d, open := seen-(*j.JiffyStart+time.Duration(b.Tick)*j.Jiffy)-b.After, spread(b, j.Jiffy)
		late = d - open
		s := result.Seconds(d)
		switch {
		case late >= 0:
			s = result.Seconds(late) // the last of several ticks that were left open
		case d >= 0:
			s = result.Seconds(d % j.Jiffy) // one of them
		}
		e.OffTick = &s
		early = max(early, -d-j.ClockError)
		// A processor that stood still runs what it missed when it goes on, and that is at any time: what comes right after a tick was made
		// by that one, the predicted or, as it happens without any stall, the next.
		onTick = early <= 0 && (late < j.Jiffy || late < 2*j.Jiffy && late%j.Jiffy <= j.Jiffy/8)
	}
	// What a stall could have moved into a wide window cannot be told; in a narrow one there is nothing to tell. Narrow is what a later
	// call leaves open, a jiffy to either side, and an allowance.
	onTime := !exact && early <= 0 && late <= Allowance(j.Jiffy) && b.Latest-b.Earliest <= Allowance(j.Jiffy)+2*j.Jiffy
	// No timer rules what a program does, and one on a busy machine may be late by more than any one stall on record.
	untimed := j.JiffyStart != nil && (b.Tick == 0 || program)
	inWindow := seen >= b.Earliest && seen <= b.Latest+Allowance(j.Jiffy)
	switch {
	case exact && inWindow && (early > 0 || late > Allowance(j.Jiffy)) && j.stalledAtStart():
		c.Verdict, c.Code = result.Inconclusive, explain.Stall
		c.Detail = "off its tick, and the machine stalled while the first packet was sent: the jiffy that its timer counted from is not certain"
	case early > 0:
		c.Verdict, c.Code = result.Fail, explain.TooEarly
		c.Detail = fmt.Sprintf("%s too early: a kernel timer never fires before its time", short(early))
	case late > Allowance(j.Jiffy) && (j.excused(b, seen-late, seen) || late <= programLate && untimed && j.stalled(b, seen) || late-j.behind(b) <= programLag && program):
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, fmt.Sprintf("%s late, and the machine had stalled or was busy", short(late))
	case late > Allowance(j.Jiffy):
		c.Verdict, c.Code = result.Fail, explain.TooLate
		c.Detail = fmt.Sprintf("%s later than the timer wheel allows", short(late))
		if exact && seen <= b.Latest+Allowance(j.Jiffy) {
			c.Code = explain.WrongTick
			c.Detail = fmt.Sprintf("%s after its tick, though inside the window of all ticks", short(off(e)))
		}
	case exact && !onTick && !program && j.stalled(b, seen), !exact && !onTime && j.movedIn(b, seen):
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, "the machine stalled while it was due"
	}
	if j.proved = exact && early <= 0 && !program && j.onTime(b); j.proved {
		e.OnTick = true
		wound(c, late, j.packet)
		j.answered = fired{b, seen}
	} else if exact && early <= 0 && !program && j.answers(b, seen) && c.Verdict == result.Inconclusive {
		c.Verdict, c.Code, c.Detail = result.Pass, explain.OnTheWheel, "it answers a packet whose timer the kernel's timer wheel had due in the predicted jiffy"
	}
	j.slip = 0
	if late >= j.Jiffy {
		j.slip = late
	}
	j.slips[j.chain] = j.slip
}

// off is an event's distance from its tick.
func off(e *result.Event) time.Duration { return e.OffTick.Duration() }

// gap judges the time since the packet before. It may be short by what that packet was late, which is as much as Allowance: the next
// timer is rounded up to a bucket that does not move with a packet's lateness.
func (j *judgement) gap(c *result.Check, want *timeline.Event, gap time.Duration, before *pair) {
	b := want.Bound
	if b.GapLatest == 0 || before.want == nil {
		return
	}
	lo, hi := b.GapEarliest, b.GapLatest+Allowance(j.Jiffy)
	if before.want.Latest > 0 {
		lo -= Allowance(j.Jiffy)
	}
	c.Gap, c.AllowedGap = seconds(gap), bounds(lo, hi)
	if c.Verdict != result.Pass || j.proved { // its bucket says more than a gap to a packet that may have been late
		return
	}
	switch {
	case gap < lo && (before.excused || j.handledLate(want, before)) && lo-gap <= before.got.At-before.want.Earliest: // this one is in its time
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, fmt.Sprintf("the gap is %s too short, because the event before was late", short(lo-gap))
	case gap < lo && lo-gap <= before.got.At-before.want.Earliest && timers(want, before) && j.deferred(lo-gap) != "":
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, j.deferred(lo-gap)
	case gap < lo:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.WrongGap, fmt.Sprintf("the gap is %s too short", short(lo-gap))
	case gap > hi && gap-hi <= b.GapLatest/wheelShare && j.handledLate(want, before):
		c.Verdict, c.Code = result.Inconclusive, explain.Stall
		c.Detail = fmt.Sprintf("%s late, by no more than a step of the timer wheel, and the machine had stalled when the timer before it was due", short(gap-hi))
	case gap > hi && (j.heldUp(before.got.At+b.GapLatest, before.got.At+gap) || gap-hi <= programLag && byProgram(want)): // as for its time
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, fmt.Sprintf("%s late, and the machine had stalled or was busy", short(gap-hi))
	case gap > hi && gap-hi <= j.calling(before):
		c.Verdict, c.Code = result.Inconclusive, explain.Stall
		c.Detail = calledOn(gap-hi, j.calling(before))
	case gap > hi && told(want) && j.starved(gap-hi) != "":
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, hadToWait(gap-hi, j.starved(gap-hi))
	case gap > hi:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.WrongGap, fmt.Sprintf("the gap is %s too long", short(gap-hi))
	}
}

// outcome judges how the call ended: which error, and when.
func (j *judgement) outcome(before *pair) (*result.Event, []result.Check) {
	want, got := j.Want.Outcome, j.Got.Outcome
	if want == nil && got == nil {
		return nil, nil
	}
	p := pair{want: want, got: got}
	e := joined(&p)
	call := callOf(want, got)
	errno := result.Check{ID: "errno", Name: call, Expected: ending(want), Observed: ending(got), Verdict: result.Pass}
	death := result.Check{ID: "death", Name: "end of " + call, Verdict: result.Pass, Expected: "not predicted", Observed: "never"}
	if want != nil {
		death.Expected, death.Allowed = seconds(want.At), j.window(want.Bound)
	}
	switch {
	case got == nil && j.cut(want):
		errno.Verdict, errno.Code, errno.Detail = result.Inconclusive, explain.CutShort, "the run ended before "+call+" was due to return"
		death.Verdict, death.Code, death.Detail = errno.Verdict, errno.Code, errno.Detail
	case got == nil:
		errno.Verdict, errno.Code, errno.Detail = result.Fail, explain.WrongErrno, call+" never returned"
		death.Verdict, death.Code, death.Detail = result.Fail, explain.DiedLate, call+" never returned"
	case want == nil || ending(want) != ending(got):
		errno.Verdict, errno.Code, errno.Detail = result.Fail, explain.WrongErrno, "another ending than predicted"
		if got.What == timeline.Connected {
			errno.Code = explain.ConnectSucceeded
		}
		death.Observed, death.Verdict, death.Code, death.Detail = seconds(got.At), result.Fail, errno.Code, "another ending than predicted"
	default:
		death.Observed = seconds(got.At)
		_, known := j.slips[p.chain()]
		j.fresh = !known
		at := j.moment(&death, &p, &e)
		switch death.Code {
		case explain.TooEarly:
			death.Code = explain.DiedEarly
		case explain.TooLate:
			death.Code = explain.DiedLate
		}
		if before != nil {
			j.gap(&death, want, at-before.got.At, before)
		}
		j.settle(&death) // its time counts from the first packet that was captured
	}
	e.Verdict = result.Worse(errno.Verdict, death.Verdict)
	return &e, []result.Check{errno, death}
}

// callOf names the call whose end is judged.
func callOf(events ...*timeline.Event) string {
	for _, e := range events {
		if e != nil && (e.What.Family() == timeline.EndOfStream.Family() || e.What == timeline.Quiet) {
			return "read()"
		}
	}
	return "connect()"
}

// ending names how the call ended.
func ending(e *timeline.Event) string {
	switch {
	case e == nil:
		return "still waiting"
	case e.What == timeline.Connected:
		return "success"
	case e.What == timeline.EndOfStream:
		return "end of stream"
	case e.What == timeline.Quiet:
		return "nothing came"
	default:
		return e.Errno
	}
}

func (j *judgement) window(b timeline.Bound) string {
	if j.JiffyStart != nil && b.Tick > 0 {
		tick := *j.JiffyStart + time.Duration(b.Tick)*j.Jiffy + b.After
		return bounds(tick, tick+spread(b, j.Jiffy)+Allowance(j.Jiffy))
	}
	return bounds(b.Earliest, b.Latest+Allowance(j.Jiffy))
}

// spread is how much later than its first candidate tick an event may come.
func spread(b timeline.Bound, jiffy time.Duration) time.Duration {
	return time.Duration(max(b.TickLast-b.Tick, 0)) * jiffy
}
