package runner

import (
	"fmt"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// TestSlowCalls catches a run that is called a contradiction because a call took long on a busy machine: a process that lost its processor
// between its look at the clock and the SYN, for a tick and some microseconds, made all that follows seem 25 µs too early. The controls are
// packets as far from their time although the calls took none.
func TestSlowCalls(t *testing.T) {
	x, plan, facts, env := modelled(t, "exp6-fast-retransmit", experiments.Fast, v618)
	foretold, err := windows(x, env)
	if err != nil {
		t.Fatal(err)
	}
	const us, begin, write = time.Microsecond, time.Hour, 200 * time.Millisecond
	for _, c := range []struct {
		name           string
		connect, wrote time.Duration // how long the calls took
		moved          time.Duration // the write, from its plan
		shift          time.Duration // of what the write sends, from its plan
		want           result.Verdict
	}{
		{"quick calls", 30 * us, 50 * us, 0, 0, result.Pass},
		{"the SYN left a tick after its call began", 4025 * us, 50 * us, 0, -4025 * us, result.Pass},
		{"control: too early without that", 30 * us, 50 * us, 0, -4025 * us, result.Fail},
		{"the call came late, and the SYN later", 2500 * us, 50 * us, -1900 * us, -4400 * us, result.Pass},
		{"control: too early for that", 2500 * us, 50 * us, -1900 * us, -6600 * us, result.Fail},
		{"the data left late", 30 * us, 20_000 * us, 0, 20_000 * us, result.Pass},
		{"control: too late for that", 30 * us, 50 * us, 0, 20_000 * us, result.Fail},
		{"control: later than the call", 30 * us, 5_000 * us, 0, 20_000 * us, result.Fail},
	} {
		r := &run{Options: Options{Experiment: x, Plan: plan}, facts: facts, env: env, foretold: foretold, want: foretold, res: &result.Result{Prediction: &result.Prediction{}}}
		r.obs = newObserver(r)
		r.obs.events = []lab.Event{{Event: lab.Connecting, Before: begin, After: begin + c.connect},
			{Event: lab.Sent, Asked: begin + write, Before: begin + write + c.moved, After: begin + write + c.moved + c.wrote}}
		if err := r.obs.anchor(); err != nil {
			t.Fatal(err)
		}
		in := judge.Input{Want: r.want, Jiffy: facts.Jiffy(), Ended: time.Minute}
		for _, e := range foretold.Events {
			if e.Maybe {
				continue
			}
			at := max(e.At, e.Earliest)
			if e.At >= write {
				at += c.shift
			}
			e.Bound = timeline.Bound{At: at}
			in.Got.Events = append(in.Got.Events, e)
		}
		judged(t, c.name, in, c.want)
	}
}

// judged holds the verdict on a schedule against the one that is wanted.
func judged(t *testing.T, name string, in judge.Input, want result.Verdict) {
	t.Helper()
	_, _, checks, _ := judge.Schedule(in)
	got := result.Pass
	for _, k := range checks {
		got = result.Worse(got, k.Verdict)
	}
	if got == want {
		return
	}
	t.Errorf("%s: got %s, want %s", name, got, want)
	for _, k := range checks {
		if k.Verdict != result.Pass {
			t.Logf("%s: expected %s, seen %s: %s", k.ID, k.Expected, k.Observed, k.Detail)
		}
	}
}

// TestNear has a call come twelve jiffies late where the phase is known. It catches windows that are not those of its start, a run on its ticks that
// does not pass by them, and one off its ticks that is judged by them alone. A wrong kernel fails either way.
func TestNear(t *testing.T) {
	x, plan, facts, env := modelled(t, "exp3-ack-loss", experiments.Fast, v618)
	clock := kernel.Clock{Jiffy: facts.Jiffy(), Uncertainty: 1}
	const start = 100_000
	begin := clock.Start(start) + time.Millisecond
	env.Start = &oracle.Start{Jiffies: start, Phase: time.Millisecond}
	foretold, err := forecast(x, env, env.Start)
	if err != nil {
		t.Fatal(err)
	}
	moved := 12 * facts.Jiffy()
	write := x.Calls(env)[0].At
	for _, tt := range []struct {
		off  time.Duration // of what a timer sends, from the last tick that is left open
		want result.Verdict
	}{{0, result.Pass}, {-4 * facts.Jiffy(), result.Fail}, {3 * facts.Jiffy(), result.Fail}} {
		r := &run{Options: Options{Experiment: x, Plan: plan}, facts: facts, clock: &clock, env: env, foretold: foretold, want: foretold, res: &result.Result{Prediction: &result.Prediction{}}}
		r.obs = newObserver(r)
		r.obs.events = []lab.Event{{Event: lab.Connecting, Before: begin, After: begin + 30*time.Microsecond},
			{Event: lab.Sent, Asked: begin + write, Before: begin + write + moved, After: begin + write + moved + 50*time.Microsecond}}
		if err := r.obs.anchor(); err != nil {
			t.Fatal(err)
		}
		if r.near == nil || r.near.moved != moved {
			t.Fatal("want the windows of its start alone")
		}
		near := r.want
		in := (&view{origin: begin, ended: time.Minute}).judgeInput(r)
		timers := 0
		seen := func(e timeline.Event) timeline.Event {
			at := max(e.At, e.Earliest)
			if e.Tick > 0 {
				timers++
				at = *in.JiffyStart + time.Duration(max(e.Tick, e.TickLast))*facts.Jiffy() + e.After + tt.off
			}
			e.Bound = timeline.Bound{At: at}
			return e
		}
		for _, e := range near.Events {
			if !e.Maybe {
				in.Got.Events = append(in.Got.Events, seen(e))
			}
		}
		died := seen(*near.Outcome)
		in.Got.Outcome = &died
		if timers == 0 {
			t.Fatal("no timer sends anything")
		}
		wider, err := r.widen(in)
		if err != nil || wider != (tt.want != result.Pass) {
			t.Errorf("%v off: widened: %v, %v", tt.off, wider, err)
		}
		in.Want = r.want
		judged(t, fmt.Sprintf("%v off", tt.off), in, tt.want)
		if !wider {
			continue
		}
		for i, e := range r.want.Events {
			if n := near.Events[i]; e.Tick != n.Tick || e.Tick > 0 && (n.Earliest < e.Earliest-2*facts.Jiffy() || n.Latest > e.Latest+2*facts.Jiffy()) {
				t.Errorf("%s %s: the windows of its start %v..%v, want them inside those of all, but for two jiffies, %v..%v", e.Host, e.What, n.Earliest, n.Latest, e.Earliest, e.Latest)
			}
		}
	}
}

// TestServedFirst catches a call of the server's that is forgotten because it was told before the client's connect(2), which another goroutine tells:
// the calls behind it would be taken for the ones before. Its control is a call of before that connect(2), which counts for nothing.
func TestServedFirst(t *testing.T) {
	const ms, begin = time.Millisecond, time.Hour
	for _, first := range []bool{false, true} {
		var at time.Duration
		x := &experiments.Experiment{
			Name: "served",
			Calls: func(experiments.Env) []experiments.Call {
				return []experiments.Call{{Name: "answer", At: 100 * ms, Host: "server"}}
			},
			Predict: func(e experiments.Env) (timeline.Timeline, error) {
				at = e.Call("answer", 100*ms)
				return timeline.Timeline{Events: []timeline.Event{{Host: "client", What: timeline.SYN}}}, nil
			},
		}
		r := &run{Options: Options{Experiment: x}, res: &result.Result{Prediction: &result.Prediction{}}, expire: time.NewTimer(time.Hour), bound: time.Hour}
		defer r.expire.Stop()
		r.facts.HZ = 250
		r.obs = newObserver(r)
		answer := func(before time.Duration) lab.Event {
			return lab.Event{Event: lab.Sent, Before: before, After: before + 1}
		}
		r.obs.client("server", answer(begin-time.Second))
		if first {
			r.obs.client("server", answer(begin+300*ms))
		}
		r.obs.client("client", lab.Event{Event: lab.Connecting, Before: begin, After: begin + 1})
		if !first {
			r.obs.client("server", answer(begin+300*ms))
		}
		if err := r.obs.anchor(); err != nil {
			t.Fatal(err)
		}
		if at != 300*ms {
			t.Errorf("told first: %t: got the answer at %v, want 300 ms", first, at)
		}
	}
}
