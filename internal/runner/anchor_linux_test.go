package runner

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// TestSlowCalls catches a run that is called a contradiction because a call took long on a busy machine: a process that lost its processor
// between its look at the clock and the SYN, for a tick and some microseconds, made all that follows seem 25 µs too early. The controls are
// packets as far from their time although the calls took none.
func TestSlowCalls(t *testing.T) {
	x, err := experiments.Find("exp6-fast-retransmit")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := x.Plan(experiments.Fast, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := kernel.ParseVersion("6.18")
	if err != nil {
		t.Fatal(err)
	}
	facts, err := kernel.Model(v, 250)
	if err != nil {
		t.Fatal(err)
	}
	env, err := Env(x, plan, facts)
	if err != nil {
		t.Fatal(err)
	}
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
		_, _, checks, _ := judge.Schedule(in)
		got := result.Pass
		for _, k := range checks {
			got = result.Worse(got, k.Verdict)
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
			for _, k := range checks {
				if k.Verdict != result.Pass {
					t.Logf("%s: expected %s, seen %s: %s", k.ID, k.Expected, k.Observed, k.Detail)
				}
			}
		}
	}
}
