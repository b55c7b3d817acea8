//go:build lab && !race

// Built for the race detector a program answers ten times slower, and much of this is about when programs answer. What runs at once is
// the same for every experiment: exp1 is run under it.

package runner

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

const delayedACK = "exp10-delayed-ack"

// TestDelayedACKPasses is the other half of TestDelayedACKControls: the same runs, not broken, pass. It catches a rule of the oracle that this
// kernel does not follow.
func TestDelayedACKPasses(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string]map[string]string{
		"two writes": nil, "nodelay": {"writes": "nodelay"}, "cork": {"writes": "cork"}, "one write": {"writes": "one"},
		"a forgotten cork": {"writes": "forgotten-cork", "rounds": "2"}, "quickack": {"quickack": "always"}, "quickack once": {"quickack": "once", "rounds": "2"},
		"a threshold": {"pingpong-thresh": "2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r *result.Result
			for range attempts { // a busy machine leaves a run open; one that fails is never tried again
				x := copyOf(t, delayedACK)
				if r = perform(t, Options{Experiment: x, Plan: fast(t, x, flags)}); r.Verdict != result.Inconclusive || disturbed(r) {
					break
				}
			}
			if !passed(r) {
				t.Errorf("verdict: got %s (%s), want pass", r.Verdict, r.Reason)
				for _, c := range r.Checks {
					t.Logf("%-30s %-12s %s, observed %s %s", c.Name, c.Verdict, c.Expected, c.Observed, c.Detail)
				}
			}
		})
	}
}

// TestDelayedACKControls is the reason to believe a pass of exp10: each row breaks the kernel's side or the prediction's, and none may pass.
func TestDelayedACKControls(t *testing.T) {
	const ms = time.Millisecond
	server := func(change func(*lab.ListenOptions)) func(x *experiments.Experiment) {
		return func(x *experiments.Experiment) {
			honest := x.Setup
			x.Setup = func(o experiments.Options) experiments.Setup {
				s := honest(o)
				change(&s.Listen[0])
				return s
			}
		}
	}
	serverKnob := func(name, value string) func(x *experiments.Experiment) {
		return func(x *experiments.Experiment) {
			first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Server, "echo "+value+" > /proc/sys/net/ipv4/"+name)
			})
		}
	}
	kept := func(tl *timeline.Timeline) *timeline.Event {
		for i := range tl.Events {
			if strings.HasPrefix(tl.Events[i].Chain, "delayed ACK") {
				return &tl.Events[i]
			}
		}
		return &timeline.Event{}
	}
	controls(t, delayedACK, []control{
		// The programs do something else than the experiment says.
		{name: "the client has TCP_NODELAY", spoil: func(x *experiments.Experiment) { doing(x, "writes", "nodelay") }, want: result.Fail, code: explain.WrongWait, hypothesis: explain.NagleDelayed},
		{name: "the client writes once", spoil: func(x *experiments.Experiment) { doing(x, "writes", "one") }, want: result.Fail, code: explain.UnexpectedPacket, hypothesis: explain.NagleDelayed},
		{name: "the client corks", spoil: func(x *experiments.Experiment) { doing(x, "writes", "cork") }, want: result.Fail, code: explain.UnexpectedPacket},
		{name: "the client forgets a cork", spoil: func(x *experiments.Experiment) { doing(x, "writes", "forgotten-cork") }, want: result.Fail, code: explain.UnexpectedPacket},
		{name: "the client has no TCP_NODELAY", flags: map[string]string{"writes": "nodelay"}, spoil: func(x *experiments.Experiment) { doing(x, "writes", "two") },
			want: result.Fail, code: explain.WrongWait, hypothesis: explain.NagleDelayed},
		{name: "the server sets TCP_QUICKACK", spoil: server(func(o *lab.ListenOptions) { o.QuickACK = lab.QuickACKAlways }), want: result.Fail, code: explain.WrongWait, hypothesis: explain.NagleDelayed},
		{name: "the server does not set TCP_QUICKACK", flags: map[string]string{"quickack": "always"}, spoil: server(func(o *lab.ListenOptions) { o.QuickACK = lab.QuickACKNever }),
			want: result.Fail, code: explain.WrongWait, hypothesis: explain.NagleDelayed},
		{name: "the server answers halves", spoil: server(func(o *lab.ListenOptions) { o.Whole = 0 }), want: result.Fail, code: explain.UnexpectedPacket},

		// A guest changes the kernel behind the prediction's back.
		{name: "another threshold", spoil: serverKnob("tcp_pingpong_thresh", "3"), want: result.Fail, code: explain.WrongWait, hypothesis: explain.NagleDelayed},
		{name: "a shorter delay", spoil: func(x *experiments.Experiment) {
			first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error { // a listener has the sysctl from its socket(2) on
				return shell(ctx, l.Server, "ip route change 10.99.0.0/24 dev eth0 proto kernel scope link src 10.99.0.2 rto_min 20ms")
			})
		}, want: result.Fail, code: explain.TooEarly, hypothesis: explain.DelayedACK},

		// The prediction lies.
		{name: "another threshold than is set", spoil: func(x *experiments.Experiment) {
			believe(x, func(e experiments.Env) experiments.Env { return e.With("server", "net.ipv4.tcp_pingpong_thresh", "2") })
		}, want: result.Fail},
		{name: "sooner by 100 ms", spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) { shift(kept(tl), -100*ms, 4*ms) })
		}, want: result.Fail, code: explain.TooLate},
		{name: "later by 100 ms", spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) { shift(kept(tl), 100*ms, 4*ms) })
		}, want: result.Fail, code: explain.TooEarly},
	})
}
