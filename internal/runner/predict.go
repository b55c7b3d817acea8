package runner

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/sysctl"
)

var fromTimeline = judge.FromTimeline

// minor is a version without its patch level, as predictions name it.
func minor(v kernel.Version) string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// hasKnob reports whether a kernel with these facts has the knob: by the facts where they say so, by the catalogue elsewhere.
func hasKnob(name string, f kernel.Facts) bool {
	switch name {
	case "net.ipv4.tcp_syn_linear_timeouts":
		return f.SYNLinear
	case "net.ipv4.tcp_rto_max_ms":
		return f.RTOMax
	}
	k, ok := sysctl.Lookup(name)
	if !ok {
		return true // not in the catalogue: only a lab can tell
	}
	since, err := kernel.ParseVersion(k.Since.First())
	return err != nil || f.Version.AtLeast(since.Major, since.Minor)
}

func since(name string) string {
	if k, ok := sysctl.Lookup(name); ok && k.Since.First() != "" {
		return ", which came with " + k.Since.String()
	}
	return ""
}

func defaultOf(name string, f kernel.Facts) (string, error) {
	k, ok := sysctl.Lookup(name)
	if !ok {
		return "", fmt.Errorf("%s: not in the catalogue, so its default is not known", name)
	}
	v, ok := k.DefaultFor(f.Version.String())
	if !ok {
		return "", fmt.Errorf("%s: the default of kernel %v is not known; set it with --set", name, f.Version)
	}
	return v, nil
}

func facts(f kernel.Facts) []result.Fact {
	var out []result.Fact
	for _, row := range f.Table() {
		out = append(out, result.Fact{Name: row[0], Value: row[1], From: row[2]})
	}
	return out
}

// params are the plan's, with the kernel's own values where the plan leaves them to it. A knob that the kernel lacks has none.
func params(x *experiments.Experiment, plan experiments.Plan, e experiments.Env) []result.Param {
	knob := map[string]string{}
	for _, q := range x.Params {
		knob[q.Flag] = q.Host + "." + q.Sysctl
	}
	var out []result.Param
	for _, p := range plan.Params {
		if p.Value == "" {
			v, ok := e.Sysctls[knob[p.Name]]
			if !ok {
				continue
			}
			p.Value = v
		}
		out = append(out, p)
	}
	return out
}

// notes says what a reader of the classic numbers would stumble over.
func notes(e experiments.Env) []result.Note {
	var out []result.Note
	linear, have, err := e.Int("client", "net.ipv4.tcp_syn_linear_timeouts")
	switch {
	case err != nil:
	case have && linear == 0 && e.Profile != experiments.Kernel:
		out = append(out, result.Note{Code: explain.LinearSYNTimeouts, Text: "This kernel has tcp_syn_linear_timeouts (default 4). It is pinned to 0 in the lab, " +
			"because the classic 1, 3, 7, 15, 31 s need it off."})
	case have && linear > 0:
		out = append(out, result.Note{Code: explain.LinearSYNTimeouts, Text: fmt.Sprintf("The first %d retransmissions come one second apart "+
			"(tcp_syn_linear_timeouts=%d); only then does the wait double.", linear, linear)})
	}
	if e.Facts.Wheel {
		out = append(out, result.Note{Code: explain.TimerWheel, Text: "Kernel timers fire late, never early: the timer wheel rounds a wait of d up to the next " +
			"step of about d/8. The windows follow from HZ=" + fmt.Sprint(e.Facts.HZ) + "."})
	}
	return out
}

// merge gives the windows of all phases the ticks of the one phase that was known. Which packets come is the exact prediction's to say.
func merge(window, exact timeline.Timeline, jiffy time.Duration) timeline.Timeline {
	type key struct {
		what timeline.What
		n    int
	}
	bounds := map[key]timeline.Bound{}
	for _, e := range window.Events {
		bounds[key{e.What, e.N}] = e.Bound
	}
	if window.Outcome != nil {
		bounds[key{window.Outcome.What, window.Outcome.N}] = window.Outcome.Bound
	}
	one := func(e timeline.Event) timeline.Event {
		b, ok := bounds[key{e.What, e.N}]
		if !ok {
			return e
		}
		b.Tick = e.Tick
		b.TickLast = e.Tick + int64((e.Latest-e.Earliest+jiffy/2)/jiffy)
		e.Bound = b
		return e
	}
	out := timeline.Timeline{}
	for _, e := range exact.Events {
		out.Events = append(out.Events, one(e))
	}
	if exact.Outcome != nil {
		o := one(*exact.Outcome)
		out.Outcome = &o
	}
	return out
}

// forecast predicts with the windows of all phases in any case, and with ticks where the phase of jiffies at the start is known.
//
// A jiffy is counted by one processor, and another may look at the counter a moment before: the SYN's timer can be armed in what is
// still the jiffy before, or already the next. Where that makes a difference, the ticks of all three are left open.
func forecast(x *experiments.Experiment, e experiments.Env, start *oracle.Start) (timeline.Timeline, error) {
	e.Start = nil
	out, err := x.Predict(e)
	if err != nil || start == nil {
		return out, err
	}
	jiffy := e.Facts.Jiffy()
	var near timeline.Timeline
	for i, shift := range []int64{0, -1, 1} {
		e.Start = &oracle.Start{Jiffies: start.Jiffies + uint64(shift), Phase: start.Phase}
		exact, err := x.Predict(e)
		if err != nil {
			return timeline.Timeline{}, err
		}
		if i == 0 {
			near = merge(out, exact, jiffy)
			continue
		}
		widen(&near, exact, shift, jiffy)
	}
	return near, nil
}

// widen adds the ticks of a neighbouring start, shift jiffies away, to those of t. Where the neighbour predicts other packets, an
// event that it lacks may stay away.
func widen(t *timeline.Timeline, other timeline.Timeline, shift int64, jiffy time.Duration) {
	one := func(e *timeline.Event, o timeline.Event) {
		if e.Tick == 0 || o.Tick == 0 {
			return
		}
		first := o.Tick + shift
		last := first + int64((o.Latest-o.Earliest+jiffy/2)/jiffy)
		e.Tick, e.TickLast = min(e.Tick, first), max(e.TickLast, last)
	}
	for i := range t.Events {
		if i < len(other.Events) {
			one(&t.Events[i], other.Events[i])
		} else {
			t.Events[i].Maybe = true
		}
	}
	for i := len(t.Events); i < len(other.Events); i++ {
		e := other.Events[i]
		e.Maybe = true
		t.Events = append(t.Events, e)
	}
	if t.Outcome != nil && other.Outcome != nil {
		one(t.Outcome, *other.Outcome)
	}
}

// sharp reports whether a forecast leaves one tick open for each event.
func sharp(t timeline.Timeline) bool {
	for _, e := range t.Events {
		if e.Maybe || e.TickLast > e.Tick {
			return false
		}
	}
	return t.Outcome == nil || t.Outcome.TickLast <= t.Outcome.Tick
}
