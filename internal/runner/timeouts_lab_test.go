//go:build lab && !race

// Built for the race detector a program answers ten times slower, and much of this is about when programs answer. What runs at once is
// the same for every experiment: exp1 is run under it.

package runner

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

const timeouts = "exp11-timeouts"

// TestTimeoutsPasses is the other half of TestTimeoutsControls: every row of the table, not broken, passes. It catches a rule of the oracle that
// this kernel does not follow. The rows are parts of several runs: a stall of the machine leaves one part open, and not the whole table.
func TestTimeoutsPasses(t *testing.T) {
	t.Parallel()
	for name, cases := range map[string]string{"connecting": "1,2,3", "idle": "4,5,6", "data": "7,8,9", "closed window": "10,11,12", "closing": "13,14"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r *result.Result
			for range attempts { // a busy machine leaves a run open; one that fails is never tried again
				x := copyOf(t, timeouts)
				if r = perform(t, Options{Experiment: x, Plan: fast(t, x, map[string]string{"cases": cases})}); r.Verdict != result.Inconclusive || disturbed(r) {
					break
				}
			}
			if !disturbed(r) {
				everyConnection(t, r)
			}
			if !passed(r) {
				t.Errorf("verdict: got %s (%s), want pass", r.Verdict, r.Reason)
				for _, c := range r.Checks {
					if c.Verdict != result.Pass {
						t.Logf("%-30s %-12s %s, observed %s %s", c.Name, c.Verdict, c.Expected, c.Observed, c.Detail)
					}
				}
			}
		})
	}
}

// TestTimeoutsControls is the reason to believe a pass of exp11: each row breaks the kernel's side or the prediction's, and none may pass. Each has
// the connections that it is about, and one that nothing happens to.
func TestTimeoutsControls(t *testing.T) {
	cases := func(list string) map[string]string { return map[string]string{"cases": list} }
	end := func(tl *timeline.Timeline, port uint16) *timeline.Event {
		i := slices.IndexFunc(tl.Events, func(e timeline.Event) bool {
			return e.Port == port && (e.What == timeline.SocketError || e.What == timeline.ConnectError)
		})
		return &tl.Events[max(i, 0)]
	}
	controls(t, timeouts, []control{
		// The lab does something else than the experiment says.
		{name: "a server that refuses", flags: cases("1,2"), spoil: func(x *experiments.Experiment) {
			honest := x.Setup
			x.Setup = func(o experiments.Options) experiments.Setup {
				s := honest(o)
				s.Faults[0].Rule.Reject = "tcp-reset"
				return s
			}
		}, want: result.Fail, code: explain.WrongErrno},
		{name: "nobody dies on the way", flags: cases("2,9"), spoil: func(x *experiments.Experiment) {
			beside(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Server, "for i in $(seq 400); do sleep 0.05; iptables -D INPUT -p tcp --dport 8109 -j DROP 2>/dev/null && exit; done; exit 1")
			})
		}, want: result.Fail},
		{name: "a program that asks for another TCP_USER_TIMEOUT", flags: cases("2,9"), spoil: func(x *experiments.Experiment) { doing(x, "user-timeout", "1000") },
			want: result.Fail, hypothesis: explain.RetriesAreTime},

		// A guest changes the kernel behind the prediction's back.
		{name: "tcp_retries2", flags: cases("2,10"), spoil: func(x *experiments.Experiment) { first(x, set("tcp_retries2", "1")) }, want: result.Fail, hypothesis: explain.RetriesAreTime},
		{name: "tcp_keepalive_probes", flags: cases("2,5"), spoil: func(x *experiments.Experiment) { first(x, set("tcp_keepalive_probes", "1")) }, want: result.Fail, hypothesis: explain.Keepalive},
		{name: "tcp_synack_retries", flags: cases("2,3"), spoil: func(x *experiments.Experiment) { first(x, onHost(true, "tcp_synack_retries", "2")) },
			want: result.Fail, hypothesis: explain.CountAndTime},
		{name: "tcp_orphan_retries", flags: cases("2,14"), spoil: func(x *experiments.Experiment) { first(x, set("tcp_orphan_retries", "2")) }, want: result.Fail, hypothesis: explain.Orphans},

		// The prediction lies.
		{name: "one of them later by 100 ms", flags: cases("2,12"), spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) { shift(end(tl, 8112), 100*time.Millisecond, 4*time.Millisecond) })
		}, want: result.Fail},
		{name: "the end of one is that of another", flags: cases("2,6"), spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) { a, b := end(tl, 8102), end(tl, 8106); a.Port, b.Port = b.Port, a.Port })
		}, want: result.Fail},
	})
}
