package judge

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
)

// unfitStall is a stall after which a machine can prove nothing any more: whatever was due came in a heap, programs cut links and made calls
// in another order than planned, and what contradicts the prediction may be the machine's doing from there to the end.
const unfitStall = 150 * time.Millisecond

// Unfit makes what contradicts the prediction inconclusive where the machine stood still for too long while the run went on, where a capture lost
// packets, and where somebody stepped the clock that stamps packets. With fifty programs to two processors (stalls of 0.2 to 1.7 s) six of 166 runs were FAIL, each
// for another reason: a link that was cut a probe later, a call refused 0.3 s late, acknowledgements in another order. After a step packets seem
// to come in another order, and evidence that is joined by time is not. What passed stays: neither makes a wrong kernel look right.
func Unfit(r *result.Result) {
	why, code := "", ""
	longest := time.Duration(0)
	for _, s := range r.Stalls {
		if s.At.Duration()+s.For.Duration() > 0 { // before the first packet there was nothing to disturb
			longest = max(longest, s.For.Duration())
		}
	}
	lost := 0
	for _, c := range r.Captures {
		lost += c.Dropped
	}
	switch step := r.Clock.Step.Duration(); {
	case stepped(step):
		why, code = fmt.Sprintf("CLOCK_REALTIME moved by %v in this run, which proves nothing", step.Round(time.Microsecond)), explain.ClockStepped
	case lost > 0:
		why, code = fmt.Sprintf("the captures lost %d packets", lost), explain.CaptureDrops
	case longest >= unfitStall:
		why, code = fmt.Sprintf("the machine stood still for %s in this run, which proves nothing", short(longest)), explain.Stall
	default:
		return
	}
	for i := range r.Checks {
		if c := &r.Checks[i]; c.Verdict == result.Fail {
			c.Verdict, c.Code, c.Detail = result.Inconclusive, code, joinDetail(c.Detail, why)
		}
	}
	for i := range r.Events {
		if e := &r.Events[i]; e.Verdict == result.Fail {
			e.Verdict = result.Inconclusive
		}
	}
	if r.Outcome != nil && r.Outcome.Verdict == result.Fail {
		r.Outcome.Verdict = result.Inconclusive
	}
}

func joinDetail(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// stepped reports whether CLOCK_REALTIME moved by more than two clocks drift apart.
func stepped(by time.Duration) bool { return by > maxStep || by < -maxStep }
