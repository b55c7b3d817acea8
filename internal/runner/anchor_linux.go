package runner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// anchor fixes the jiffies in which the programs' calls were made, from their own clock readings around each. Where they are the ones that
// were planned, the prediction stands as it was made; where the machine was late, the same rules are applied to the jiffies that they
// were; where a call took longer than a jiffy, the phase is not known. The capture has no say in it. The caller holds the lock.
func (o *observer) anchor() error {
	r := o.r
	made, served := calls(o.events, true), calls(o.served, false)
	slices.SortStableFunc(made, func(a, b lab.Event) int { return cmp.Compare(a.Before, b.Before) }) // of several processes
	if len(made) > 0 {
		served = slices.DeleteFunc(served, func(e lab.Event) bool { return e.Before < made[0].Before }) // of no connection of this run
	}
	if len(made) == 0 || r.anchored == len(made)+len(served) {
		return nil
	}
	r.anchored = len(made) + len(served)
	a := anchoring{r: r, start: r.env.Start, env: r.env, exact: r.env, origin: made[0].Before, called: r.clock != nil}
	if r.clock != nil && a.start != nil {
		before, phase := r.clock.At(made[0].Before)
		if before != a.start.Jiffies {
			a.say("The client's process started %d jiffies later than planned; the exact ticks were worked out again, by the same "+
				"rules, for the jiffy in which it did.", int64(before-a.start.Jiffies))
			a.start = &oracle.Start{Jiffies: before, Phase: phase}
		}
	}
	if first := made[0].After - made[0].Before; first > r.facts.Jiffy()/2 {
		a.sooner = first
	}
	a.compare("client", made)
	a.compare("server", served)
	if a.start != nil && a.called && a.planned > 0 {
		known := oracle.Start{Jiffies: a.start.Jiffies, Called: true}
		_, known.Phase = r.clock.At(made[0].Before)
		a.start = &known
	} else {
		a.exact = a.env
	}
	return o.reckon(a)
}

// anchoring is what the programs' own clock readings make of the start and of what was planned.
type anchoring struct {
	r       *run
	start   *oracle.Start
	env     experiments.Env // with the calls that are more than a jiffy from their time
	exact   experiments.Env // with each call where it was, to the nanosecond
	planned int             // calls
	moved   time.Duration   // the furthest of them from its time in env
	called  bool            // each of them was made, within one jiffy
	origin  time.Duration   // CLOCK_MONOTONIC of the first call
	why     []string        // what is not as it was planned
	// sooner and later are how much what a later call sets off may come outside its window, because of the time that the calls took: the first
	// packet, from which time counts, left at some moment of the first call, and what the later call sent left at some moment of that. Half a
	// jiffy is always inside: a window leaves one open, and no more than half of it is used up where a call counts as made in its time.
	sooner, later time.Duration
}

func (a *anchoring) say(format string, args ...any) {
	a.why = append(a.why, fmt.Sprintf(format, args...))
}

// took gives the phase up where a call took longer than a jiffy: forecast leaves one jiffy to either side open.
func (a *anchoring) took(host string, made []lab.Event) {
	for _, e := range made {
		if took := e.After - e.Before; a.start != nil && took > a.r.facts.Jiffy() {
			a.say("A call of the %s that sends a packet took %v, longer than a jiffy, so its phase is not known: each packet is "+
				"judged by its window, not by one tick.", host, took)
			a.start = nil
		}
	}
}

// compare holds a host's later calls against those that were planned.
func (a *anchoring) compare(host string, made []lab.Event) {
	jiffy := a.r.facts.Jiffy()
	planned := a.r.planned(host)
	if host == "client" || len(planned) > 0 { // a server whose calls are not planned may take its time
		a.took(host, made)
	}
	a.planned += len(planned)
	var far experiments.Call // the one that is furthest from its time, and by how much
	var by time.Duration
	n := 0
	for k, c := range planned {
		i := k
		if host == "client" {
			i++ // behind the first, which is not planned but done
		}
		if c.Port != 0 {
			i = callTo(made, c.Port, len(slices.DeleteFunc(slices.Clone(planned[:k]), func(p experiments.Call) bool { return p.Port != c.Port })))
		}
		if i < 0 || i >= len(made) {
			a.called = false
			continue
		}
		if took := made[i].After - made[i].Before; took > jiffy/2 {
			a.later = max(a.later, took)
		}
		moved := made[i].Before - a.origin - c.At
		a.exact = a.exact.Moved(c.Name, moved)
		a.called = a.called && a.r.sameJiffy(made[i].Before, made[i].After)
		// The first packet, from which time counts, leaves a little after the first call: a later call that came sooner comes sooner still.
		if moved = moved.Round(jiffy); moved > jiffy || moved < 0 {
			if n++; moved.Abs() > by.Abs() {
				far, by = c, moved
			}
			a.env, a.moved = a.env.Moved(c.Name, moved), max(a.moved, moved.Abs())
		}
	}
	switch {
	case n == 1:
		a.say("The %s's call %q was made %v %s than planned; what follows from it was worked out again, by the same rules, "+
			"for when it was made.", host, far.Name, by.Abs(), laterOrSooner(by))
	case n > 1: // of many clients side by side, all may be
		a.say("%d of the %s's calls were not made when planned, at most %q, %v %s; what follows from each was worked out again, by the same rules, "+
			"for when it was made.", n, host, far.Name, by.Abs(), laterOrSooner(by))
	}
}

// callTo is the index of the n-th call, from 0, of the client that has this port at either end; -1: there is none.
func callTo(made []lab.Event, port uint16, n int) int {
	for i, e := range made {
		if e.Remote.Port() != port && e.Local.Port() != port {
			continue
		}
		if n == 0 {
			return i
		}
		n--
	}
	return -1
}

func laterOrSooner(d time.Duration) string {
	if d < 0 {
		return "sooner"
	}
	return "later"
}

// sameJiffy reports whether two instants lie in one jiffy: what was armed between them was armed in that one.
func (r *run) sameJiffy(a, b time.Duration) bool {
	first, _ := r.clock.At(a)
	last, _ := r.clock.At(b)
	return first == last
}

// planned are a host's calls that follow the client's first.
func (r *run) planned(host string) []experiments.Call {
	if r.Experiment.Calls == nil {
		return nil
	}
	var out []experiments.Call
	for _, c := range r.Experiment.Calls(r.env) {
		if c.Host == host || c.Host == "" && host == "client" {
			out = append(out, c)
		}
	}
	return out
}

// calls are those of a program's calls that sent something, and its last looks at a silent connection, in order, each with its clock readings. Of a client's, asked leaves the first
// and those that were asked for at a time: what follows from one of them (the write after a connection without a Fast Open cookie) is not
// planned for itself.
func calls(events []lab.Event, asked bool) []lab.Event {
	var out []lab.Event
	for _, e := range events {
		switch e.Event {
		case lab.Connecting, lab.Sent, lab.ShutDown, lab.Closed, lab.Resumed:
			if !asked || len(out) == 0 || e.Asked != 0 {
				out = append(out, e)
			}
		case lab.Quiet: // sends nothing, but its time was planned too
			e.Before, e.After = e.At, e.At
			out = append(out, e)
		}
	}
	return out
}

// disorder reports that the client's calls were made in another order than they were asked for: several processes make them, and on a busy
// machine one may overtake another. What was planned for the first one would be said of the second.
func disorder(events []lab.Event) error {
	made := slices.DeleteFunc(slices.Clone(events), func(e lab.Event) bool { return e.Asked == 0 || e.After == 0 })
	slices.SortStableFunc(made, func(a, b lab.Event) int { return cmp.Compare(a.Asked, b.Asked) })
	for i := 1; i < len(made); i++ {
		if a, b := made[i-1], made[i]; a.Asked < b.Asked && a.Before > b.Before {
			return fmt.Errorf("the machine was so busy that a call of the client that was to come %v after another came %v before it", b.Asked-a.Asked, a.Before-b.Before)
		}
	}
	return nil
}

// reckon works the prediction out for where the calls really were, and notes why. The windows leave a jiffy open for each call; the ticks do
// not where the calls' own are known.
func (o *observer) reckon(a anchoring) error {
	r := o.r
	r.res.Notes = slices.Clone(r.res.Prediction.Notes)
	for _, text := range a.why {
		code := ""
		if a.start == nil {
			code = explain.PhaseUnknown
		}
		r.note(code, "%s", text)
	}
	t := r.foretold
	r.near = nil
	if len(a.why) > 0 || a.start != nil && a.start.Called {
		var err error
		if t, err = r.reckoned(a); err != nil { // calls so late that nothing is predicted for them, or for the order in which they came
			r.unkept = fmt.Errorf("the machine was so busy that the calls cannot be predicted as they were made: %w", err)
			return nil
		}
	}
	r.judgeBy(a.loosened(t))
	r.start, r.known, r.unkept = a.start, a.exact, a.blurred()
	o.expect()
	return nil
}

// mostBlur is how long a call may take for what it leaves open to be worth a verdict: windows that are wider by more would let pass what is another
// mechanism's, and did so once with a control that lied by 100 ms.
const mostBlur = 50 * time.Millisecond

// blurred says that a call took so long that the windows of what follows from it prove nothing; nil: none did.
func (a *anchoring) blurred() error {
	if by := max(a.sooner, a.later); a.planned > 0 && by > mostBlur {
		return fmt.Errorf("the machine was so busy that a call which sends a packet took %v, longer than the %v for which its windows can be left open", by, mostBlur)
	}
	return nil
}

// loosened leaves open what the time that the calls took leaves open.
func (a *anchoring) loosened(t timeline.Timeline) timeline.Timeline {
	if a.planned == 0 {
		return t
	}
	return loosened(t, a.sooner, a.later)
}

// loosened is a timeline with wider windows. Ticks stay: they do not count from the first packet.
func loosened(t timeline.Timeline, sooner, later time.Duration) timeline.Timeline {
	if sooner == 0 && later == 0 {
		return t
	}
	return eachBound(t, func(b *timeline.Bound) {
		if b.Latest > 0 { // not the first packet itself
			b.Earliest, b.Latest = b.Earliest-sooner, b.Latest+later
		}
	})
}

// eachBound is a timeline whose bounds, in all its orders, are changed.
func eachBound(t timeline.Timeline, change func(*timeline.Bound)) timeline.Timeline {
	t.Events = slices.Clone(t.Events)
	for i := range t.Events {
		change(&t.Events[i].Bound)
	}
	if t.Outcome != nil {
		end := *t.Outcome
		change(&end.Bound)
		t.Outcome = &end
	}
	t.Alternatives = slices.Clone(t.Alternatives)
	for i, alt := range t.Alternatives {
		t.Alternatives[i] = eachBound(alt, change)
	}
	t.Connections = slices.Clone(t.Connections)
	for i, c := range t.Connections {
		t.Connections[i].Timeline = eachBound(c.Timeline, change)
	}
	return t
}

// reckoned predicts for the calls as they were made. Where they were moved, the windows over every start would have to be worked out anew,
// which takes seconds, and in a guest half a minute; where the start is known, those that it leaves open say the same of a run that keeps its ticks. A run that
// does not is judged by all of them: see widen.
func (r *run) reckoned(a anchoring) (timeline.Timeline, error) {
	if a.start == nil || a.moved == 0 {
		return r.overAll(a)
	}
	open := a.env
	open.Start = &oracle.Start{Jiffies: a.start.Jiffies, Phase: a.start.Phase}
	t, err := r.Experiment.Predict(open)
	if err != nil {
		return t, err
	}
	t = r.phased(t)
	if a.start.Called {
		ticks, err := r.ticks(a)
		if err != nil {
			return t, err
		}
		t = oracle.Merge(t, ticks)
	}
	r.near = &a
	return t, nil
}

// overAll predicts for the calls as they were made with the windows of every start and, where theirs is known, its ticks.
func (r *run) overAll(a anchoring) (timeline.Timeline, error) {
	t, err := windows(r.Experiment, a.env)
	if err != nil || a.start == nil {
		return t, err
	}
	ticks, err := r.ticks(a)
	if err != nil {
		return t, err
	}
	return oracle.Merge(t, ticks), nil
}

// ticks predicts for the start that is known, and the calls as they were made.
func (r *run) ticks(a anchoring) (timeline.Timeline, error) {
	a.exact.Start = a.start
	return r.Experiment.Predict(a.exact)
}

// phased is a timeline that was predicted for one phase, to the nanosecond, where that of the first packet is known to a part of a jiffy: what a
// timer sends is loosened by a jiffy. Its ticks decide.
func (r *run) phased(t timeline.Timeline) timeline.Timeline {
	return eachBound(t, func(b *timeline.Bound) {
		if b.Tick > 0 {
			r.loosen(b)
		}
	})
}

func (r *run) loosen(b *timeline.Bound) {
	jiffy := r.facts.Jiffy()
	if b.Latest > 0 {
		b.Earliest, b.Latest = b.Earliest-jiffy, b.Latest+jiffy
	}
	if b.GapLatest > 0 {
		b.GapEarliest, b.GapLatest = b.GapEarliest-jiffy, b.GapLatest+jiffy
	}
}

// widen takes the windows of every start where a run does not keep those that were reckoned for its own: what is said of it, and whether a
// stall explains it, hangs on them. It reports whether it did.
func (r *run) widen(in judge.Input) (bool, error) {
	if r.near == nil {
		return false, nil
	}
	if _, _, checks, _ := judge.Schedule(in); judge.Passes(checks) {
		return false, nil
	}
	a := *r.near
	t, err := r.overAll(a)
	if err != nil {
		return false, err
	}
	r.near = nil
	r.judgeBy(a.loosened(t))
	return true, nil
}

// refreshClock reads the phase of jiffies again. A reading can only be stale: on a machine that stood still for more than a jiffy in the
// middle of each of them, the first ones made the counter seem one behind, and every tick one late. Where the new one is fresher, the
// ticks are worked out again.
func (o *observer) refreshClock() error {
	r := o.r
	if r.clock == nil {
		return nil
	}
	const tries = 3
	freshest := *r.clock
	for range tries {
		c, err := kernel.ReadClock()
		if err != nil {
			return nil // it was readable before: what is known stands
		}
		if c.Zero < freshest.Zero-r.clock.Jiffy/2 {
			freshest = c
		}
	}
	if freshest == *r.clock {
		return nil
	}
	behind := (r.clock.Zero - freshest.Zero + r.clock.Jiffy/2) / r.clock.Jiffy
	*r.clock, r.anchored = freshest, 0
	if err := o.anchor(); err != nil {
		return err
	}
	r.note("", "The counter of jiffies had been read stale before the run, by %d: the machine was that busy. It was read again afterwards, and the exact ticks were "+
		"worked out by that.", behind)
	return nil
}
