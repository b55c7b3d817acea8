package judge

import (
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
)

// TestUnfit catches a run on a machine that stood still, whose capture lost packets, or whose clock was stepped, which is called a contradiction, and a short or early stall
// that hides one.
func TestUnfit(t *testing.T) {
	at := func(at, d time.Duration) result.Stall {
		return result.Stall{At: result.Seconds(at), For: result.Seconds(d)}
	}
	for _, tt := range []struct {
		name   string
		stalls []result.Stall
		step   time.Duration
		lost   int
		want   result.Verdict
	}{
		{"none", nil, 0, 0, result.Fail},
		{"many short ones", []result.Stall{at(0, 40*ms), at(ms, 149*ms)}, 0, 0, result.Fail},
		{"a long one, over before the first packet", []result.Stall{at(-2*time.Second, time.Second)}, 0, 0, result.Fail},
		{"a long one over the first packet", []result.Stall{at(-100*ms, 200*ms)}, 0, 0, result.Inconclusive},
		{"a long one in the run", []result.Stall{at(time.Second, 150*ms)}, 0, 0, result.Inconclusive},
		{"clocks that drift", nil, -maxStep, 0, result.Fail},
		{"a capture that lost a packet", nil, 0, 1, result.Inconclusive},
		{"a clock set forth", nil, time.Hour, 0, result.Inconclusive},
		{"a clock set back", nil, -time.Hour, 0, result.Inconclusive},
	} {
		r := &result.Result{
			Stalls:   tt.stalls,
			Clock:    result.Clock{Step: result.Seconds(tt.step)},
			Captures: []result.Capture{{Host: "client"}, {Host: "server", Dropped: tt.lost}},
			Checks:   []result.Check{{ID: "a", Verdict: result.Pass}, {ID: "b", Verdict: result.Fail, Code: explain.TooLate, Detail: "late"}, {ID: "c", Verdict: result.Inconclusive}},
			Events:   []result.Event{{Verdict: result.Fail}, {Verdict: result.Pass}},
			Outcome:  &result.Event{Verdict: result.Fail},
		}
		Unfit(r)
		if r.Checks[0].Verdict != result.Pass || r.Checks[1].Verdict != tt.want || r.Checks[2].Verdict != result.Inconclusive ||
			r.Events[0].Verdict != tt.want || r.Events[1].Verdict != result.Pass || r.Outcome.Verdict != tt.want {
			t.Errorf("%s: got %+v, want the failed check to be %s", tt.name, r.Checks, tt.want)
		}
		code, why := explain.Stall, "late; the machine stood still for "
		switch {
		case tt.lost != 0:
			code, why = explain.CaptureDrops, "late; the captures lost 1 packets"
		case tt.step != 0:
			code, why = explain.ClockStepped, "late; CLOCK_REALTIME moved by "
		}
		if tt.want == result.Inconclusive && (r.Checks[1].Code != code || !strings.HasPrefix(r.Checks[1].Detail, why)) {
			t.Errorf("%s: got %s %q", tt.name, r.Checks[1].Code, r.Checks[1].Detail)
		}
	}
}
