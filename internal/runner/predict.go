package runner

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

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
func notes(e experiments.Env, t timeline.Timeline) []result.Note {
	var out []result.Note
	if e.Facts.Unread() {
		out = append(out, result.Note{Code: explain.KernelUnread, Text: fmt.Sprintf("Linux %v is newer than %d.%d, the newest whose source the rules were read from, and is predicted as that one.",
			e.Facts.Version, kernel.Newest.Major, kernel.Newest.Minor)})
	}
	linear, have, err := e.Int("client", "net.ipv4.tcp_syn_linear_timeouts")
	again := slices.ContainsFunc(t.Events, func(e timeline.Event) bool { return e.What == timeline.SYNRetransmission })
	switch {
	case err != nil || !again:
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

// unread tells of knobs that the user set and that no part of the prediction asked for.
func unread(x *experiments.Experiment, plan experiments.Plan, e experiments.Env) []result.Note {
	a, err := ask(x, e)
	if err != nil {
		return nil
	}
	var out []result.Note
	for _, s := range plan.Settings {
		if s.Origin == "--set" && !a.asked[s.Host+"."+s.Name] {
			out = append(out, result.Note{Code: explain.NotPredicted, Text: fmt.Sprintf("%s %s=%s was set, and the prediction does not read it: "+
				"what it changes here, if anything, is not predicted.", s.Host, s.Name, s.Value)})
		}
	}
	return out
}

// forecast predicts with the windows of all phases in any case, and with ticks where the phase of jiffies at the start is known.
func forecast(x *experiments.Experiment, e experiments.Env, start *oracle.Start) (timeline.Timeline, error) {
	e.Start = nil
	out, err := windows(x, e)
	if err != nil || start == nil {
		return out, err
	}
	e.Start = start
	exact, err := x.Predict(e)
	if err != nil {
		return timeline.Timeline{}, err
	}
	return oracle.Merge(out, exact), nil
}

// known are the windows that were worked out before: many runs of one experiment share them, and looking through every phase of jiffies
// takes a while.
var known sync.Map

type question struct {
	x   *experiments.Experiment
	env string
}

// answer is what windows found, and the knobs that it stands on.
type answer struct {
	timeline timeline.Timeline
	asked    map[string]bool
}

func windows(x *experiments.Experiment, e experiments.Env) (timeline.Timeline, error) {
	a, err := ask(x, e)
	return a.timeline, err
}

func ask(x *experiments.Experiment, e experiments.Env) (answer, error) {
	e.StartAt, e.Start = 0, nil
	key := question{x, writtenOut(e)}
	if a, ok := known.Load(key); ok {
		return a.(answer), nil
	}
	a := answer{asked: map[string]bool{}}
	var err error
	if a.timeline, err = x.Predict(e.Watched(a.asked)); err == nil {
		known.Store(key, a)
	}
	return a, err
}

// writtenOut is all that a prediction stands on. A run asks for it again and again, and fmt is slow over a map of knobs.
func writtenOut(e experiments.Env) string {
	knobs := e.Sysctls
	e.Sysctls, e.Memory = nil, nil // the second changes no answer
	var b strings.Builder
	fmt.Fprintf(&b, "%+v", e)
	for _, name := range slices.Sorted(maps.Keys(knobs)) {
		for _, s := range [...]string{name, knobs[name]} { // with its length, so that no two look alike
			b.WriteByte(' ')
			b.WriteString(strconv.Itoa(len(s)))
			b.WriteByte(' ')
			b.WriteString(s)
		}
	}
	return b.String()
}

// settings are the knobs that a prediction stands on, and those that the plan sets, with their values.
func settings(x *experiments.Experiment, plan experiments.Plan, e experiments.Env) map[string]string {
	out := map[string]string{}
	if a, err := ask(x, e); err == nil {
		for name := range a.asked {
			out[name] = e.Sysctls[name]
		}
	}
	for _, s := range plan.Settings {
		if v, ok := e.Sysctls[s.Host+"."+s.Name]; ok {
			out[s.Host+"."+s.Name] = v
		}
	}
	return out
}

// openness is how many ticks and absences a forecast leaves open: 0 where each event has one tick.
func openness(t timeline.Timeline) int {
	n := 0
	one := func(e timeline.Event) {
		n += int(max(e.TickLast-e.Tick, 0))
		if e.Maybe {
			n++
		}
	}
	for _, e := range t.Events {
		one(e)
	}
	if t.Outcome != nil {
		one(*t.Outcome)
	}
	return n
}
