//go:build lab

package runner

import (
	"errors"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// TestDisorder catches calls of several processes that are held against the plan of others: one that was overtaken, and none that came in
// its order, however late.
func TestDisorder(t *testing.T) {
	call := func(asked, before time.Duration) lab.Event {
		return lab.Event{Asked: asked, Before: before, After: before + 1}
	}
	const ms = time.Millisecond
	for _, tt := range []struct {
		name   string
		events []lab.Event
		want   bool
	}{
		{"in order", []lab.Event{call(10*ms, 10*ms), call(20*ms, 20*ms), call(30*ms, 35*ms)}, false},
		{"told in another order than made", []lab.Event{call(20*ms, 20*ms), call(10*ms, 10*ms)}, false},
		{"all late", []lab.Event{call(10*ms, 50*ms), call(20*ms, 51*ms)}, false},
		{"the first is overtaken", []lab.Event{call(20*ms, 20*ms), call(10*ms, 25*ms)}, true},
		{"what was not planned does not count", []lab.Event{call(10*ms, 10*ms), call(0, 5*ms)}, false},
	} {
		if err := disorder(tt.events); (err != nil) != tt.want {
			t.Errorf("%s: got %v, want an error: %v", tt.name, err, tt.want)
		}
	}
}

// TestTooLateToPredict catches a run that is held against what was planned, when a call was so late that nothing is predicted for it. Seen in
// exp9, whose last client came 712 ms late on a busy machine: its packets were called a contradiction. The control is the same run with
// calls in time.
func TestTooLateToPredict(t *testing.T) {
	x := &experiments.Experiment{
		Name: "late",
		Predict: func(e experiments.Env) (timeline.Timeline, error) {
			if e.Call("second", 0) > 0 {
				return timeline.Timeline{}, errors.New("want it within 900 ms")
			}
			return timeline.Timeline{Events: []timeline.Event{{Host: "client", What: timeline.SYN}}}, nil
		},
		Checks: func(experiments.Env, *result.Result) []result.Check {
			return []result.Check{{ID: "own", Verdict: result.Fail}}
		},
	}
	for _, tt := range []struct {
		late time.Duration
		want result.Verdict
	}{{0, result.Fail}, {time.Second, result.Inconclusive}} {
		r := &run{Options: Options{Experiment: x}, res: &result.Result{Prediction: &result.Prediction{}}}
		r.obs = newObserver(r)
		if err := r.obs.reckon(anchoring{r: r, env: experiments.Env{}.Moved("second", tt.late), why: []string{"late"}}); err != nil {
			t.Fatal(err)
		}
		r.want = timeline.Timeline{Events: []timeline.Event{{Host: "client", What: timeline.SYN}, {Host: "client", What: timeline.SYN, N: 1}}}
		_, _, checks, _ := judge.Schedule((&view{ended: time.Hour}).judgeInput(r))
		for _, c := range append(checks, r.ownChecks()...) {
			if c.Verdict != tt.want || tt.want == result.Inconclusive && c.Code != explain.Stall {
				t.Errorf("%v late: %s: got %s %s (%s), want %s", tt.late, c.ID, c.Verdict, c.Code, c.Detail, tt.want)
			}
		}
	}
}
