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
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// ackLoss is a copy of exp3 that a test may break.
func ackLoss(t *testing.T) *experiments.Experiment {
	t.Helper()
	labtest.Need(t, labtest.Root, labtest.IPTables)
	x, err := experiments.Find("exp3-ack-loss")
	if err != nil {
		t.Fatal(err)
	}
	c := *x
	return &c
}

// ackLossQuick are the flags of the shortest honest run: it ends within 3 s.
func ackLossQuick(more ...string) map[string]string {
	flags := map[string]string{"retries2": "1", "synack-retries": "0", "idle": "1200ms"}
	for i := 0; i < len(more); i += 2 {
		flags[more[i]] = more[i+1]
	}
	return flags
}

// TestACKLossPasses is the other half of TestACKLossControls: the same runs, not broken, pass. It catches a rule of the oracle that this
// kernel does not follow.
func TestACKLossPasses(t *testing.T) {
	for name, flags := range map[string]map[string]string{
		"quick": ackLossQuick(), "mid": ackLossQuick("cut", "mid"), "no probe": ackLossQuick("early-retrans", "0"),
		"written while the server repeats":           ackLossQuick("synack-retries", "1", "idle", "500ms", "retries2", "2"),
		"one repeat, and no probe":                   ackLossQuick("early-retrans", "0", "retries2", "0"),
		"the client is dead before the half-open is": ackLossQuick("synack-retries", "2", "idle", "400ms", "retries2", "0"),
		"TCP_USER_TIMEOUT":                           ackLossQuick("user-timeout", "700"), "a low floor": ackLossQuick("rto-min-us", "50000", "retries2", "2"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := ackLoss(t)
			r := perform(t, Options{Experiment: x, Plan: fast(t, x, flags)})
			if !passed(r) {
				t.Errorf("verdict: got %s (%s), want pass", r.Verdict, r.Reason)
			}
		})
	}
}

// TestACKLossControls is the reason to believe a pass of exp3: each row breaks the kernel's side or the prediction's, and none may pass.
func TestACKLossControls(t *testing.T) {
	dropACK := func(ctx context.Context, l *lab.Lab) error {
		_, err := l.Server.Drop(ctx, lab.DropACK(httpPort))
		return err
	}
	controlsOf(t, "exp3-ack-loss", ackLossQuick(), []control{
		// The lab does something else than the experiment says.
		{name: "no drop", spoil: func(x *experiments.Experiment) { faults(x) }, code: explain.TooFewSYNs},
		{name: "the drop begins after the handshake", spoil: func(x *experiments.Experiment) {
			faults(x)
			beside(x, func(ctx context.Context, l *lab.Lab, e experiments.Env) error {
				if err := shell(ctx, l.Client, "sleep 0.6"); err != nil {
					return err
				}
				return dropACK(ctx, l)
			})
		}, code: explain.WrongState},
		{name: "the peer comes back", spoil: func(x *experiments.Experiment) {
			beside(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Server, "sleep 1.1; "+mended)
			})
		}, code: explain.WrongErrno},
		{name: "mid: nobody pulls the cable", flags: ackLossQuick("cut", "mid"), spoil: func(x *experiments.Experiment) {
			beside(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Server, mended)
			})
		}, code: explain.TooFewSYNs},

		// The kernel is set otherwise, behind the prediction's back.
		{name: "tcp_retries2", spoil: func(x *experiments.Experiment) { first(x, set("tcp_retries2", "3")) }, code: explain.TooManySYNs, hypothesis: explain.RetriesAreTime},
		{name: "tcp_early_retrans", spoil: func(x *experiments.Experiment) { first(x, set("tcp_early_retrans", "0")) }, hypothesis: explain.TailLossProbe},
		{name: "tcp_rto_min_us", spoil: func(x *experiments.Experiment) { first(x, set("tcp_rto_min_us", "100000")) }, code: explain.TooEarly},
		{name: "tcp_thin_linear_timeouts", flags: ackLossQuick("retries2", "2"), spoil: func(x *experiments.Experiment) { first(x, set("tcp_thin_linear_timeouts", "1")) },
			code: explain.TooManySYNs},
		{name: "tcp_synack_retries", spoil: func(x *experiments.Experiment) {
			first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Server, "echo 1 > /proc/sys/net/ipv4/tcp_synack_retries")
			})
		}, code: explain.TooManySYNs, hypothesis: explain.CountAndTime},

		// The prediction lies.
		{name: "a fire too many", spoil: func(x *experiments.Experiment) {
			believe(x, func(e experiments.Env) experiments.Env { return e.With("client", "net.ipv4.tcp_retries2", "2") })
		}, code: explain.TooFewSYNs},
		{name: "no probe", spoil: func(x *experiments.Experiment) {
			believe(x, func(e experiments.Env) experiments.Env { return e.With("client", "net.ipv4.tcp_sack", "0") })
		}},
		{name: "no probe, by tcp_early_retrans", spoil: func(x *experiments.Experiment) {
			believe(x, func(e experiments.Env) experiments.Env { return e.With("client", "net.ipv4.tcp_early_retrans", "0") })
		}},
		{name: "a write that was not made then", spoil: func(x *experiments.Experiment) {
			believe(x, func(e experiments.Env) experiments.Env { return e.Moved("write", 200*time.Millisecond) })
		}, code: explain.TooEarly},
		{name: "another number of bytes", spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) {
				for i := range t.Events {
					if t.Events[i].What == timeline.RTORetransmission {
						t.Events[i].Len = 7
					}
				}
			})
		}},
		{name: "another error", spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) { t.Outcome.Errno = "ECONNRESET" })
		}, code: explain.WrongErrno},
		{name: "no challenge ACK", flags: ackLossQuick("synack-retries", "1"), spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) {
				t.Events = slices.DeleteFunc(t.Events, func(e timeline.Event) bool { return e.What == timeline.ChallengeACK })
			})
		}, code: explain.UnexpectedPacket},
		{name: "the half-open connection lives longer", spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) {
				for i := range t.Events {
					if t.Events[i].What == timeline.RequestGone {
						shift(&t.Events[i], time.Second, 4*time.Millisecond)
					}
				}
			})
		}},
	})
}
