package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/stall"
	"github.com/tcplab/tcplab/internal/timeline"
)

func monoNow() (time.Duration, error) { return kernel.MonotonicNow() }

func (r *run) note(code, format string, a ...any) {
	r.res.Notes = append(r.res.Notes, result.Note{Code: code, Text: fmt.Sprintf(format, a...)})
}

// finish reads the counters, closes the captures and makes the final judgement.
func (r *run) finish(ctx context.Context) error {
	if err := r.readCounters(ctx); err != nil {
		return err
	}
	lost, err := r.closeCaptures()
	if err != nil {
		return err
	}
	if r.stall != nil {
		r.stall.Stop()
	}
	if r.link, err = r.lab.DelayStats(); err != nil {
		return err
	}
	if r.wallMoved, err = r.wallWatch.stop(); err != nil {
		return err
	}

	o := r.obs
	o.mu.Lock()
	defer o.mu.Unlock()
	v, err := o.finally()
	if err != nil {
		return err
	}
	r.judged = v
	res := r.res
	res.Packets, res.States, res.Samples = v.packets, v.states(o.looks), v.samples(slices.Concat(o.looks, o.aside))
	res.Stalls = append(r.stalls(v.origin), linkStalls(res.Packets, res.Link, r.facts.Jiffy())...)
	r.fillGaps(v)
	r.fillClock(v)
	r.fillLoad()
	in := v.judgeInput(r)
	in.Lost, in.Step, in.Broken, in.Load = lost, r.wallMoved, r.broken, res.Load
	var other string
	if res.Events, res.Outcome, res.Checks, other = scheduled(in, res.Packets, res.Link); other != "" {
		r.note("", "The usual prediction does not hold, another that a correct kernel may follow does: %s.", other)
	}
	r.againstPlan(v, o)
	res.Checks = append(res.Checks, r.evidence(v)...)
	if r.Experiment.Checks != nil {
		res.Checks = append(res.Checks, r.ownChecks()...)
	}
	judge.Unfit(res)
	comment(res)
	res.Judge()
	if res.Verdict == result.Fail {
		res.Hypothesis = r.hypothesis(in)
	}
	res.Reason = reason(res)
	if r.Experiment.Story != nil {
		res.Story = r.Experiment.Story(res)
	}
	o.write("end", map[string]any{"verdict": res.Verdict, "reason": res.Reason, "checks": res.Checks})
	return nil
}

// finally is what was seen, with the prediction that it is judged by. The caller holds the lock.
func (o *observer) finally() (*view, error) {
	if err := o.refreshClock(); err != nil {
		return nil, err
	}
	v := o.view()
	if v == nil {
		return nil, fmt.Errorf("%s: the client never called connect(2)", o.r.Experiment.Name)
	}
	if wider, err := o.r.widen(v.judgeInput(o.r)); err != nil || !wider {
		return v, err
	}
	return o.view(), nil
}

// ownChecks are the experiment's own. They, too, are about the run that was planned.
func (r *run) ownChecks() []result.Check {
	return leftOpen(r.Experiment.Checks(r.known, r.res), cmp.Or(r.late, r.unkept))
}

// againstPlan adds the other checks that are about the run as it was planned, and leaves all of them open where it broke something too late.
func (r *run) againstPlan(v *view, o *observer) {
	res := r.res
	res.Checks = leftOpen(append(res.Checks, r.otherChecks(v, o)...), r.late)
	open := func(e *result.Event) {
		if e != nil && e.Verdict == result.Fail && r.late != nil {
			e.Verdict = result.Inconclusive
		}
	}
	for i := range res.Events {
		open(&res.Events[i])
	}
	open(res.Outcome)
}

// leftOpen takes no contradiction for one where the run was not as it was planned. What the kernel and the captures say of each other is not about
// the plan, and stays.
func leftOpen(checks []result.Check, why error) []result.Check {
	for i := range checks {
		if c := &checks[i]; c.Verdict == result.Fail && why != nil {
			c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, why.Error()
		}
	}
	return checks
}

// readCounters reads those of the rules and of the kernel.
func (r *run) readCounters(ctx context.Context) error {
	r.listRules(r.res)
	r.uncounted = make([]error, len(r.rules))
	var err error
	if r.counted, err = kernel.MonotonicNow(); err != nil {
		return err
	}
	err = r.told.reckon(r, func() {
		for i, f := range r.rules {
			r.res.Rules[i].Packets, r.res.Rules[i].Bytes, r.uncounted[i] = f.Count(ctx)
		}
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (r *run) closeCaptures() (lost int, err error) {
	for _, host := range []string{"client", "server"} {
		src := r.obs.capture[host]
		if err := src.Close(); err != nil && r.broken == nil && !r.down(host, err) {
			r.broken = fmt.Errorf("%s: %w: %w", host, errCapture, err)
		}
		st, err := src.Stats()
		if err != nil {
			return 0, fmt.Errorf("%s: capture: %w", host, err)
		}
		lost += int(st.Dropped)
		c := result.Capture{Host: host, Packets: len(src.Packets()), Dropped: int(st.Dropped)}
		for _, p := range src.Packets() {
			if isARP(p) {
				c.ARP++
			} else if isSolicitation(p) {
				c.Solicitations++
			}
		}
		r.res.Captures = append(r.res.Captures, c)
	}
	return lost, nil
}

// fillGaps says when packets were lost: between which of those that were not.
func (r *run) fillGaps(v *view) {
	for i := range r.res.Captures {
		c := &r.res.Captures[i]
		from, left := result.Seconds(r.wall.mono(r.began)-v.origin), c.Dropped
		for _, p := range r.obs.capture[c.Host].Packets() {
			at := result.Seconds(r.wall.mono(p.Time) - v.origin)
			if p.Lost > 0 {
				c.Gaps = append(c.Gaps, result.Gap{From: from, To: at, Packets: int(p.Lost)})
				left -= int(p.Lost)
			}
			from = at
		}
		if left > 0 {
			c.Gaps = append(c.Gaps, result.Gap{From: from, To: result.Seconds(v.ended), Packets: left})
		}
	}
}

// down reports whether a capture ended because the experiment took that end of the link down.
func (r *run) down(host string, err error) bool {
	return (r.setup.LinkDown == host || r.setup.LinkFalls == host) && errors.Is(err, unix.ENETDOWN)
}

func (r *run) fillClock(v *view) {
	c := &r.res.Clock
	c.Step = result.Seconds(r.wallMoved)
	switch {
	case r.clock == nil:
		c.From = r.noise.Error()
	case r.start == nil:
		c.From, c.Error = "/proc/timer_list, but sending the first packet took longer than a jiffy", result.Seconds(r.clock.Uncertainty)
	default:
		c.Known, c.From, c.Error = true, "/proc/timer_list", result.Seconds(r.clock.Uncertainty)
		c.Start = r.start.Jiffies
		c.Phase = result.Seconds(v.origin - r.clock.Start(r.start.Jiffies))
	}
}

// fillLoad says how short of processors the machine was meanwhile, and which attempts that cost. Virtual time stands still while it is.
func (r *run) fillLoad() {
	if n := len(r.Earlier); n > 0 {
		r.note(explain.Stall, "This is attempt %d: those before it decided nothing, and are kept in %s.", n+1, folders(r.Earlier))
	}
	if r.Virtual {
		return
	}
	seconds := func(d time.Duration) *result.Seconds {
		if d < 0 {
			return nil
		}
		s := result.Seconds(d)
		return &s
	}
	l := stall.ReadLoad().Since(r.load)
	r.res.Load = &result.Load{Over: result.Seconds(time.Since(r.began)), Waited: seconds(l.Waited), Stolen: seconds(l.Stolen)}
}

// otherChecks are the expectations beside the schedule: states, rules, and that nothing else was on the wire.
func (r *run) otherChecks(v *view, o *observer) []result.Check {
	var out []result.Check
	var states map[string][]string
	if r.Experiment.States != nil {
		states = r.Experiment.States(r.known)
	}
	for _, host := range []string{"client", "server"} {
		if want, ok := states[host]; ok {
			out = append(out, judge.States(host, want, r.res.States, o.failed, !o.over()))
		}
	}
	for i, f := range r.rules {
		caught, late := 0, 0
		for k, by := range v.caught {
			switch {
			case by != f:
			case v.origin+lastSeen(v.packets[k]) >= r.counted:
				late++
			default:
				caught++
			}
		}
		if r.uncounted[i] != nil {
			out = append(out, judge.RuleGone(r.res.Rules[i], r.uncounted[i]))
			continue
		}
		out = append(out, judge.Rule(r.res.Rules[i], caught, late, r.lostPackets()))
	}
	if r.res.Link != nil {
		r.res.Link.Frames, r.res.Link.Lost, r.res.Link.Worst = r.link.Frames, r.link.Lost, result.Seconds(r.link.Worst)
		out = append(out, judge.Link(*r.res.Link, r.res.Packets, r.facts.Jiffy(), r.Virtual))
	}
	return append(out, judge.Arrivals(v.watched(r), r.lostPackets(), r.setup.OneSided), judge.SameISN(r.res.Packets), judge.Orphans(v.orphans))
}

func (r *run) lostPackets() int {
	n := 0
	for _, c := range r.res.Captures {
		n += c.Dropped
	}
	return n
}

// hypothesis tests the experiment's rival models against the same capture and returns the one that explains most, if it explains more
// than the prediction did.
func (r *run) hypothesis(in judge.Input) *result.Hypothesis {
	best := result.Hypothesis{Fits: judge.Fits(in)}
	best.Of = judge.Of(in)
	found := false
	if r.Experiment.Rivals == nil {
		return nil
	}
	for _, rival := range r.Experiment.Rivals(r.known) {
		t, err := r.rival(rival.Env)
		if err != nil {
			continue // a model that this kernel's facts do not allow explains nothing
		}
		alt := in
		alt.Want = t
		if fits := judge.Fits(alt); fits > best.Fits || fits == best.Fits && found && judge.Of(alt) < best.Of {
			found = true
			best = result.Hypothesis{Code: rival.Code, Text: rival.Text, Fits: fits, Of: judge.Of(alt),
				Command: r.show(rival)}
		}
	}
	if !found {
		return nil
	}
	return &best
}

// rival predicts for another Env: where the start is known for that start alone, because to look through all of them for each rival would
// take longer than the run.
func (r *run) rival(e experiments.Env) (timeline.Timeline, error) {
	if r.start == nil {
		return forecast(r.Experiment, e, nil)
	}
	e.Start = r.start
	t, err := r.Experiment.Predict(e)
	return eachBound(t, r.loosen), err // as phased
}

// show is the command that shows what a rival predicts: this run's own flags, and the rival's on top. A rival that no flag makes is
// explained by its code.
func (r *run) show(rival experiments.Rival) string {
	if len(rival.Flags) == 0 {
		return "tcplab explain " + rival.Code
	}
	words := []string{"tcplab predict", r.Experiment.Name, "--profile=" + string(r.Plan.Profile)}
	for _, p := range r.Plan.Params {
		if p.From == "flag" {
			words = append(words, "--"+p.Name+"="+p.Value)
		}
	}
	return strings.Join(append(words, rival.Flags...), " ")
}

// reason is the one line that says why a run is not a pass.
func reason(res *result.Result) string {
	if res.Verdict == result.Pass {
		return ""
	}
	for _, c := range res.Checks {
		if c.Verdict == res.Verdict {
			return fmt.Sprintf("%s: expected %s, observed %s (%s)", c.Name, c.Expected, c.Observed, c.Detail)
		}
	}
	return ""
}
