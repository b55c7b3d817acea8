//go:build lab && !race

// Built for the race detector a program answers ten times slower, and much of this is about when programs answer. What runs at once is
// the same for every experiment: exp1 is run under it.

package runner

import (
	"context"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// full is a copy of exp7 that a test may break.
func full(t *testing.T) *experiments.Experiment {
	t.Helper()
	labtest.Need(t, labtest.Root, labtest.IPTables)
	x, err := experiments.Find("exp7-zero-window")
	if err != nil {
		t.Fatal(err)
	}
	c := *x
	return &c
}

// TestZeroWindowPasses is the other half of TestZeroWindowControls: the same runs, not broken, pass or, on a machine that stalls, are left open.
// It catches a rule of the oracle that this kernel does not follow.
func TestZeroWindowPasses(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string]map[string]string{
		"read again":            nil,
		"gone":                  {"peer": "gone", "retries2": "2"},
		"gone, no probes":       {"peer": "gone", "retries2": "0"},
		"never read":            {"drain-at": "never", "watch": "2s"},
		"user timeout":          {"user-timeout": "1500"},
		"user timeout and gone": {"peer": "gone", "user-timeout": "700"},
		"one answer left out":   {"retries2": "1", "drain-at": "never"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := full(t)
			r := perform(t, Options{Experiment: x, Plan: fast(t, x, flags)})
			if r.Verdict != result.Inconclusive && !passed(r) {
				t.Errorf("verdict: got %s (%s), want pass", r.Verdict, r.Reason)
			}
		})
	}
}

// TestZeroWindowControls is the reason to believe a pass of exp7: each row breaks the kernel's side or the prediction's, and none may pass.
func TestZeroWindowControls(t *testing.T) {
	t.Parallel()
	gone := map[string]string{"peer": "gone"}
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
	probe := func(tl *timeline.Timeline, n int) *timeline.Event {
		for i := range tl.Events {
			if tl.Events[i].What == timeline.WindowProbe && tl.Events[i].N == n {
				return &tl.Events[i]
			}
		}
		return &timeline.Event{}
	}
	controls(t, "exp7-zero-window", []control{
		// The lab does something else than the experiment says.
		{name: "the peer is gone", spoil: func(x *experiments.Experiment) { doing(x, "peer", "gone") }, code: explain.TooFewSYNs},
		{name: "the peer is there", flags: gone, spoil: func(x *experiments.Experiment) { doing(x, "peer", "alive") }, code: explain.UnexpectedPacket},
		{name: "the program reads at once", spoil: server(func(o *lab.ListenOptions) { o.ReadAfter = 0 }), code: explain.UnexpectedPacket},
		{name: "the program never reads", spoil: server(func(o *lab.ListenOptions) { o.ReadAfter = lab.NeverReads }), code: explain.TooFewSYNs},
		{name: "the buffer is larger", spoil: server(func(o *lab.ListenOptions) { o.ReceiveBuffer = 100_000 }), code: explain.WrongWindow},
		{name: "the program set TCP_USER_TIMEOUT", spoil: func(x *experiments.Experiment) { doing(x, "user-timeout", "1000") }, code: explain.WrongErrno},
		{name: "the program did not set TCP_USER_TIMEOUT", flags: map[string]string{"user-timeout": "1500", "peer": "gone"},
			spoil: func(x *experiments.Experiment) { doing(x, "user-timeout", "") }, code: explain.DiedLate, hypothesis: explain.ZeroWindow},

		// A guest changes the kernel behind the prediction's back.
		{name: "one probe more", flags: gone, spoil: func(x *experiments.Experiment) { first(x, set("tcp_retries2", "4")) }, code: explain.TooManySYNs, hypothesis: explain.ZeroWindow},
		{name: "one probe less", flags: gone, spoil: func(x *experiments.Experiment) { first(x, set("tcp_retries2", "2")) }, code: explain.TooFewSYNs, hypothesis: explain.ZeroWindow},
		{name: "each probe is answered", spoil: func(x *experiments.Experiment) {
			first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Server, "echo 0 > /proc/sys/net/ipv4/tcp_invalid_ratelimit")
			})
		}, code: explain.UnexpectedPacket},

		// The prediction lies.
		{name: "no timer wheel", flags: gone, spoil: func(x *experiments.Experiment) {
			believe(x, func(e experiments.Env) experiments.Env { e.Facts.Wheel = false; return e })
		}},
		{name: "a probe with another number", spoil: func(x *experiments.Experiment) { lie(x, func(tl *timeline.Timeline) { probe(tl, 1).RelSeq = 501 }) }, code: explain.UnexpectedPacket},
		{name: "sooner by 100 ms", spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) { shift(probe(tl, 2), -100*time.Millisecond, 4*time.Millisecond) })
		}, code: explain.TooLate},
		{name: "later by 100 ms", spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) { shift(probe(tl, 2), 100*time.Millisecond, 4*time.Millisecond) })
		}, code: explain.TooEarly},
		{name: "another error", flags: gone, spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) { tl.Outcome.Errno = "EHOSTUNREACH" })
		}, code: explain.WrongErrno},
	})
}
