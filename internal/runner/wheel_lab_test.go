//go:build lab

package runner

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/lab"
)

// ticked are the events of a run that a jiffy was predicted for, and that came; of what only looks can show, those are seen that have a timer behind them.
func ticked(r *result.Result) (out []result.Event) {
	for _, e := range r.Events {
		if e.Tick != 0 && e.Seen != nil {
			out = append(out, e)
		}
	}
	if r.Outcome != nil && r.Outcome.Tick != 0 && r.Outcome.Seen != nil {
		out = append(out, *r.Outcome)
	}
	return out
}

// TestWheelOfRuns catches a timer's record that is not found, or given to another event: of a run that passes, each timer has one and was due in its jiffy. The
// tracepoints of a busy machine are silent now and then, but not about the same thing again and again.
func TestWheelOfRuns(t *testing.T) {
	for name, flags := range map[string]map[string]string{
		"exp1-syn-loss": {"syn-retries": "2"}, "exp3-ack-loss": {"retries2": "2", "synack-retries": "1", "idle": "1200ms"},
		"exp4-keepalive": nil, "exp7-zero-window": nil, "exp8-fin-loss": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const most = 5
			for i := range most {
				x := copyOf(t, name)
				r := perform(t, Options{Experiment: x, Plan: fast(t, x, flags)})
				if disturbed(r) || !r.Clock.Known {
					continue
				}
				var wrong []string
				n := 0
				for _, e := range ticked(r) {
					switch {
					case e.What == "challenge-ack" || e.What == "keepalive-ack" || e.What == "window-probe-ack" || e.What == "ack": // answers have no timer of their own
					case e.Due == nil || !e.OnTick:
						wrong = append(wrong, fmt.Sprintf("%s %s %d: got %v, on its tick %v", e.Host, e.What, e.N, e.Due, e.OnTick))
					default:
						n++
					}
				}
				if len(wrong) == 0 && n > 0 {
					return
				}
				if t.Logf("run %d: %d right; %s", i+1, n, strings.Join(wrong, "; ")); i == most-1 {
					t.Errorf("the record of the timers is not whole in %d runs", most)
				}
			}
		})
	}
}

// TestWheelControl has a kernel whose timers are others than predicted: none of what fails was on its tick, and the record says when it was due.
func TestWheelControl(t *testing.T) {
	x := synLoss(t)
	first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
		return shell(ctx, l.Client, "sysctl -qw net.ipv4.tcp_syn_linear_timeouts=4")
	})
	r := perform(t, Options{Experiment: x, Plan: fast(t, x, map[string]string{"syn-retries": "2"})})
	if disturbed(r) {
		return
	}
	wrong := slices.DeleteFunc(ticked(r), func(e result.Event) bool { return e.Verdict != result.Fail })
	if r.Verdict != result.Fail || len(wrong) == 0 {
		t.Fatalf("got %s (%s), want a timer that is not the predicted one", r.Verdict, r.Reason)
	}
	for _, e := range wrong {
		if e.OnTick {
			t.Errorf("%s %d fails, and is said to be on its tick: due %v, seen %v", e.What, e.N, e.Due, e.Seen)
		}
	}
}
