//go:build lab && !race

// Built for the race detector a program answers ten times slower, and much of this is about when programs answer. What runs at once is
// the same for every experiment: exp1 is run under it.

package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

const finLoss = "exp8-fin-loss"

// TestFINLossPasses is the other half of TestFINLossControls: the same runs, not broken, pass. It catches a rule of the oracle that this
// kernel does not follow. TIME-WAIT takes a minute: it is for virtual time (TestCatalogueOnOtherKernels, and by hand).
func TestFINLossPasses(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string]map[string]string{
		"fin": nil, "fin, simultaneous close": {"close": "both"}, "ack": {"lose": "ack"}, "second fin": {"lose": "second-fin", "close": "both"},
		"nothing": {"lose": "none"}, "above 60 s": {"lose": "none", "fin-timeout": "61"}, "too late for FIN-WAIT-2": {"lose": "none", "close": "both", "server-after": "2200ms", "fin-timeout": "1"},
		"TCP_LINGER2": {"lose": "none", "linger2": "1"}, "no FIN-WAIT-2": {"lose": "none", "linger2": "-1"}, "TCP_USER_TIMEOUT": {"user-timeout": "700"},
		"ceiling of the wait": {"orphan-retries": "0", "rto-max-ms": "1000"}, "shutdown": {"call": "shutdown", "retries2": "1"},
		"shutdown, quiet": {"call": "shutdown", "lose": "none", "fin-timeout": "1"}, "shutdown, end of stream": {"call": "shutdown", "close": "both", "retries2": "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := copyOf(t, finLoss)
			r := perform(t, Options{Experiment: x, Plan: fast(t, x, flags)})
			if !passed(r) {
				t.Errorf("verdict: got %s (%s), want pass", r.Verdict, r.Reason)
			}
		})
	}
}

// meanwhile makes x do something in the lab from its first SYN on, which may take longer than its own run: the programs are done long before
// the kernel is. What was done later than by after the start changes nothing that is predicted any more: such a run is late, and proves nothing.
func meanwhile(x *experiments.Experiment, by time.Duration, do func(context.Context, *lab.Lab) error) {
	honest := x.Run
	x.Run = func(ctx context.Context, l *lab.Lab, e experiments.Env) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		done := make(chan error, 1)
		var at time.Duration // valid after done
		go func() {
			err := underWay(ctx, l)
			if err == nil {
				err = do(ctx, l)
			}
			now, clockErr := kernel.MonotonicNow()
			at = now - e.StartAt
			done <- errors.Join(err, clockErr)
		}()
		if err := honest(ctx, l, e); err != nil {
			cancel()
			<-done
			return err
		}
		err := <-done
		if err == nil && at > by {
			err = fmt.Errorf("it was done at %v, want it by %v", at, by)
		}
		if err != nil {
			return fmt.Errorf("%w: what was to be done meanwhile: %w", experiments.ErrLate, err)
		}
		return nil
	}
}

// onHost sets a knob of a host behind the prediction's back.
func onHost(server bool, name, value string) func(context.Context, *lab.Lab, experiments.Env) error {
	return func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
		h := l.Client
		if server {
			h = l.Server
		}
		return shell(ctx, h, "echo "+value+" > /proc/sys/net/ipv4/"+name)
	}
}

// TestFINLossControls is the reason to believe a pass of exp8: each row breaks the kernel's side or the prediction's, and none may pass.
func TestFINLossControls(t *testing.T) {
	none, both := map[string]string{"lose": "none"}, map[string]string{"close": "both"}
	second := map[string]string{"lose": "second-fin", "close": "both"}
	gone := func(tl *timeline.Timeline) *timeline.Event {
		i := slices.IndexFunc(tl.Events, func(e timeline.Event) bool { return e.What == timeline.SocketGone })
		return &tl.Events[max(i, 0)]
	}
	const ms = time.Millisecond
	controls(t, finLoss, []control{
		// The lab does something else than the experiment says.
		{name: "no drop", spoil: func(x *experiments.Experiment) { faults(x) }, want: result.Fail, code: explain.TooFewSYNs},
		{name: "the path heals", spoil: func(x *experiments.Experiment) {
			meanwhile(x, time.Second, func(ctx context.Context, l *lab.Lab) error {
				return shell(ctx, l.Server, "sleep 0.3; "+mended)
			})
		}, want: result.Fail, code: explain.UnexpectedPacket},
		{name: "the peer has forgotten the connection", spoil: func(x *experiments.Experiment) {
			meanwhile(x, time.Second, func(ctx context.Context, l *lab.Lab) error { // the programs are done at 0.4 s; the FIN is repeated until 1.2 s
				return shell(ctx, l.Server, "sleep 0.2; iptables -w -I INPUT -p tcp -j REJECT --reject-with tcp-reset")
			})
		}, want: result.Fail, code: explain.UnexpectedPacket},
		{name: "another packet is lost", flags: none, spoil: func(x *experiments.Experiment) {
			faults(x, experiments.Fault{Host: "client", Rule: lab.DropPlainFrom(httpPort)})
		}, want: result.Fail, code: explain.UnexpectedPacket},
		{name: "the program only shuts down", flags: none, spoil: func(x *experiments.Experiment) { doing(x, "call", "shutdown") }, want: result.Fail},
		{name: "the program has its own FIN-WAIT-2", flags: none, spoil: func(x *experiments.Experiment) { doing(x, "linger2", "1") }, want: result.Fail, code: explain.TooEarly},
		{name: "the program has a user timeout", spoil: func(x *experiments.Experiment) { doing(x, "user-timeout", "2000") }, want: result.Fail, code: explain.UnexpectedPacket},
		{name: "somebody ends the socket", flags: none, spoil: func(x *experiments.Experiment) {
			meanwhile(x, 2*time.Second, func(ctx context.Context, l *lab.Lab) error {
				return shell(ctx, l.Client, "sleep 0.5; ss -K dport = 8080")
			})
		}, want: result.Fail, code: explain.TooEarly},

		// A guest changes the kernel behind the prediction's back.
		{name: "tcp_orphan_retries", spoil: func(x *experiments.Experiment) { first(x, onHost(false, "tcp_orphan_retries", "2")) }, want: result.Fail,
			code: explain.UnexpectedPacket, hypothesis: explain.Orphans},
		{name: "tcp_orphan_retries of the server", flags: second, spoil: func(x *experiments.Experiment) { first(x, onHost(true, "tcp_orphan_retries", "2")) },
			want: result.Fail, code: explain.UnexpectedPacket, hypothesis: explain.Orphans},
		{name: "tcp_fin_timeout", flags: none, spoil: func(x *experiments.Experiment) { first(x, onHost(false, "tcp_fin_timeout", "1")) }, want: result.Fail,
			code: explain.TooEarly, hypothesis: explain.FINTimeout},
		{name: "tcp_fin_timeout, longer", flags: none, spoil: func(x *experiments.Experiment) { first(x, onHost(false, "tcp_fin_timeout", "3")) }, want: result.Fail,
			code: explain.FINTimeout, hypothesis: explain.FINTimeout},
		{name: "tcp_fin_timeout of the server", flags: both, spoil: func(x *experiments.Experiment) { first(x, onHost(true, "tcp_fin_timeout", "1")) },
			want: result.Fail, code: explain.TooEarly, hypothesis: explain.FINTimeout},
		{name: "tail loss probes", spoil: func(x *experiments.Experiment) { first(x, onHost(false, "tcp_early_retrans", "0")) }, want: result.Fail},

		// The prediction lies.
		{name: "a count, not a time", spoil: func(x *experiments.Experiment) {
			believe(x, func(e experiments.Env) experiments.Env { return e.With("client", "net.ipv4.tcp_orphan_retries", "2") })
		}, want: result.Fail, code: explain.TooFewSYNs},
		{name: "60 s and what exceeds it", flags: map[string]string{"lose": "none", "fin-timeout": "61"}, spoil: func(x *experiments.Experiment) {
			believe(x, func(e experiments.Env) experiments.Env { return e.With("client", "net.ipv4.tcp_fin_timeout", "3") })
		}, want: result.Fail, code: explain.TooEarly},
		{name: "gone 60 ms later", flags: none, spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) { shift(gone(tl), 60*ms, 4*ms) })
		}, want: result.Fail, code: explain.TooEarly},
		{name: "gone 60 ms sooner", flags: none, spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) { shift(gone(tl), -60*ms, 4*ms) })
		}, want: result.Fail, code: explain.TooLate},
		{name: "never gone", flags: none, spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) {
				gone(tl).What, gone(tl).Host = timeline.SocketGone, "server"
			})
		}, want: result.Fail},
		{name: "another state", spoil: func(x *experiments.Experiment) {
			x.States = func(experiments.Env) map[string][]string {
				return map[string][]string{"client": {"(SYN-SENT)", "ESTABLISHED", "FIN-WAIT-2", "CLOSED"}}
			}
		}, want: result.Fail, code: explain.WrongState},
	})
}
