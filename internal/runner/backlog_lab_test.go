//go:build lab && !race

// Built for the race detector a program answers ten times slower, and much of this is about when programs answer. What runs at once is
// the same for every experiment: exp1 is run under it.

package runner

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

const backlog = "exp9-backlog"

// TestBacklogPasses is the other half of TestBacklogControls: the same runs, not broken, pass. It catches a rule of the oracle that this
// kernel does not follow.
func TestBacklogPasses(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string]map[string]string{
		"ignored": nil, "reset": {"abort-on-overflow": "1"}, "cookies": {"syncookies": "2"}, "cookies and abort": {"syncookies": "2", "abort-on-overflow": "1"},
		"no cookies": {"syncookies": "0"}, "three places": {"backlog": "3", "synack-retries": "0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := copyOf(t, backlog)
			r := perform(t, Options{Experiment: x, Plan: fast(t, x, flags)})
			if !passed(r) {
				t.Errorf("verdict: got %s (%s), want pass", r.Verdict, r.Reason)
				for _, c := range r.Checks {
					t.Logf("%-30s %-12s %s, observed %s %s", c.Name, c.Verdict, c.Expected, c.Observed, c.Detail)
				}
			}
			if !disturbed(r) {
				everyConnection(t, r)
			}
		})
	}
}

// unasked are the connections of several about which inet_diag was not asked at an end, by the port that tells them apart.
func unasked(r *result.Result) (wrong []string) {
	asked, told := map[string]bool{}, map[string]bool{}
	for _, s := range r.Samples {
		asked[fmt.Sprint(s.Host, cmp.Or(s.Port, r.LookAt))] = true
	}
	for _, p := range r.Packets {
		port := p.DstPort
		if (p.From == "client") == (r.LookAt != 0) {
			port = p.SrcPort
		}
		for _, host := range []string{"client", "server"} {
			if of := fmt.Sprint(host, port); !asked[of] && !told[of] {
				told[of] = true
				wrong = append(wrong, fmt.Sprintf("%s: port %d", host, port))
			}
		}
	}
	return wrong
}

// everyConnection catches a connection of several that has no line in what inet_diag said. Its control is the result without the looks aside.
func everyConnection(t *testing.T, r *result.Result) {
	t.Helper()
	for _, wrong := range unasked(r) {
		t.Errorf("inet_diag was not asked: %s", wrong)
	}
	without := *r
	without.Samples = slices.DeleteFunc(slices.Clone(r.Samples), func(s result.Sample) bool { return s.Port != 0 })
	if len(unasked(&without)) == 0 {
		t.Error("the control: without looks aside no connection is missing")
	}
}

// TestBacklogControls is the reason to believe a pass of exp9: each row breaks the kernel's side or the prediction's, and none may pass.
func TestBacklogControls(t *testing.T) {
	abort := map[string]string{"abort-on-overflow": "1"}
	const ms = time.Millisecond
	controls(t, backlog, []control{
		// The lab does something else than the experiment says.
		{name: "no ACK is lost", spoil: func(x *experiments.Experiment) { faults(x) }, want: result.Fail},
		{name: "every ACK of it is lost", spoil: func(x *experiments.Experiment) {
			faults(x, experiments.Fault{Host: "server", Rule: lab.DropPlainFrom(40002)})
		}, want: result.Fail, code: explain.AcceptQueue},
		{name: "the server accepts", spoil: func(x *experiments.Experiment) {
			honest := x.Setup
			x.Setup = func(o experiments.Options) experiments.Setup {
				s := honest(o)
				s.Listen[0].Service = lab.Sink
				return s
			}
		}, want: result.Fail, code: explain.AcceptQueue},
		{name: "a longer queue", spoil: func(x *experiments.Experiment) {
			honest := x.Setup
			x.Setup = func(o experiments.Options) experiments.Setup {
				s := honest(o)
				s.Listen[0].Backlog = 2
				return s
			}
		}, want: result.Fail, code: explain.AcceptQueue},

		// A guest changes the kernel behind the prediction's back.
		{name: "tcp_abort_on_overflow", spoil: func(x *experiments.Experiment) { first(x, onHost(true, "tcp_abort_on_overflow", "1")) }, want: result.Fail,
			code: explain.UnexpectedPacket, hypothesis: explain.AcceptQueue},
		{name: "no tcp_abort_on_overflow", flags: abort, spoil: func(x *experiments.Experiment) {
			first(x, onHost(true, "tcp_abort_on_overflow", "0"))
			honest := x.Run
			x.Run = func(ctx context.Context, l *lab.Lab, e experiments.Env) error { // its read(2) never ends
				return honest(ctx, l, e.With("server", "net.ipv4.tcp_abort_on_overflow", "0"))
			}
		}, want: result.Fail, code: explain.TooFewSYNs, hypothesis: explain.AcceptQueue},
		{name: "tcp_syncookies", spoil: func(x *experiments.Experiment) { first(x, onHost(true, "tcp_syncookies", "2")) }, want: result.Fail,
			code: explain.TooFewSYNs, hypothesis: explain.SYNCookies},
		{name: "tcp_synack_retries", spoil: func(x *experiments.Experiment) { first(x, onHost(true, "tcp_synack_retries", "2")) }, want: result.Fail,
			hypothesis: explain.CountAndTime},

		// The prediction lies.
		{name: "a queue of N", spoil: func(x *experiments.Experiment) {
			honest := x.Checks
			x.Checks = func(e experiments.Env, r *result.Result) []result.Check {
				return honest(e.With("server", "net.core.somaxconn", "1").WithOption("backlog", "2"), r)
			}
		}, want: result.Fail, code: explain.AcceptQueue},
		{name: "no challenge", spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) {
				tl.Events = slices.DeleteFunc(tl.Events, func(e timeline.Event) bool { return e.What == timeline.ChallengeACK })
			})
		}, want: result.Fail, code: explain.UnexpectedPacket},
		{name: "the half-open connection lives longer", spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) {
				for i := range tl.Events {
					if tl.Events[i].What == timeline.RequestGone {
						shift(&tl.Events[i], 60*ms, 4*ms)
					}
				}
			})
		}, want: result.Fail, code: explain.TooEarly},
		{name: "another client is refused", spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) {
				for i := range tl.Events {
					if e := &tl.Events[i]; e.Port == 40004 {
						e.Port = 40003
					}
				}
			})
		}, want: result.Fail},
		{name: "another state", spoil: func(x *experiments.Experiment) {
			x.States = func(experiments.Env) map[string][]string { return map[string][]string{"server": {"LISTEN"}} }
		}, want: result.Fail, code: explain.WrongState},
	})
}
