//go:build lab && !race

package runner

import (
	"testing"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// overRTT are short runs on a link with a round trip, of experiments whose timers start when a packet has crossed it.
var overRTT = []struct {
	name  string
	flags map[string]string
}{
	{delayedACK, map[string]string{"rtt": "20ms", "rounds": "2"}},
	{"exp2-synack-loss", map[string]string{"rtt": "100ms"}},
	{"exp4-keepalive", map[string]string{"rtt": "100ms", "peer": "alive", "watch": "2s"}},
	{"exp7-zero-window", map[string]string{"rtt": "20ms", "drain-at": "2s"}},
	{"exp8-fin-loss", map[string]string{"rtt": "100ms"}},
	{"exp11-timeouts", map[string]string{"rtt": "20ms", "cases": "9,12,14"}},
}

// TestRTTPasses catches a prediction that forgets which end of the link a timer starts at.
func TestRTTPasses(t *testing.T) {
	t.Parallel()
	for _, tt := range overRTT {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var r *result.Result
			for range attempts { // a busy machine leaves a run open; one that fails is never tried again
				x := copyOf(t, tt.name)
				if r = perform(t, Options{Experiment: x, Plan: fast(t, x, tt.flags)}); r.Verdict != result.Inconclusive || disturbed(r) {
					break
				}
			}
			if !passed(r) {
				t.Errorf("verdict: got %s (%s), want pass", r.Verdict, r.Reason)
			}
		})
	}
}

// TestRTTControls has the prediction made for a longer round trip than the link's: it must fail. (What comes late may be a busy machine's; nothing
// comes early.)
func TestRTTControls(t *testing.T) {
	for _, tt := range overRTT {
		controls(t, tt.name, []control{{name: tt.name, flags: tt.flags, want: result.Fail, code: explain.TooEarly, spoil: func(x *experiments.Experiment) {
			honest := x.Predict
			x.Predict = func(e experiments.Env) (timeline.Timeline, error) { return honest(e.WithOption("rtt", "200ms")) }
		}}})
	}
}
