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
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// TestLossPasses is what the controls below stand against: the packets of the handshake lost at each place, and every run passes.
func TestLossPasses(t *testing.T) {
	for _, tt := range []struct {
		name, experiment string
		flags            map[string]string
	}{
		{"SYN, its sender's OUTPUT", "exp1-syn-loss", map[string]string{"drop-at": "client-output"}},
		{"SYN, the link is down", "exp1-syn-loss", map[string]string{"drop-at": "link-down"}},
		{"SYN, no hardware address, too few repeats", "exp1-syn-loss", map[string]string{"drop-at": "no-neighbour", "syn-retries": "2"}},
		{"SYN, no hardware address", "exp1-syn-loss", map[string]string{"drop-at": "no-neighbour", "syn-retries": "4"}},
		{"SYN-ACK, its receiver's INPUT", "exp2-synack-loss", nil},
		{"SYN-ACK, linear SYN timeouts", "exp2-synack-loss", map[string]string{"syn-linear-timeouts": "2", "syn-retries": "2"}},
		{"SYN-ACK, its sender's OUTPUT", "exp2-synack-loss", map[string]string{"synack-drop-at": "server-output"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			x := copyOf(t, tt.experiment)
			if r := perform(t, Options{Experiment: x, Plan: fast(t, x, tt.flags)}); !passed(r) {
				t.Errorf("verdict: got %s (%s), want pass", r.Verdict, r.Reason)
			}
		})
	}
}

// TestSYNLossElsewhereControls breaks what exp1 says of the places where no capture sees a SYN.
func TestSYNLossElsewhereControls(t *testing.T) {
	controls(t, "exp1-syn-loss", []control{
		{name: "OUTPUT does not drop", flags: map[string]string{"drop-at": "client-output"}, spoil: func(x *experiments.Experiment) { faults(x) },
			want: result.Fail, code: explain.ConnectSucceeded},
		{name: "OUTPUT's counter is set to zero", flags: map[string]string{"drop-at": "client-output"}, spoil: func(x *experiments.Experiment) {
			beside(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Client, "sleep 0.5; iptables -Z")
			})
		}, want: result.Fail, code: explain.RuleCounterOff},
		{name: "INPUT instead", flags: map[string]string{"drop-at": "client-output"}, spoil: func(x *experiments.Experiment) {
			faults(x, experiments.Fault{Host: "server", Rule: lab.DropSYN(httpPort)})
		}, want: result.Fail, code: explain.UnexpectedPacket},
		{name: "the link stays up", flags: map[string]string{"drop-at": "link-down"}, spoil: func(x *experiments.Experiment) {
			x.Setup = func(experiments.Options) experiments.Setup {
				return experiments.Setup{Listen: []lab.ListenOptions{{Port: httpPort}}}
			}
		}, want: result.Fail, code: explain.ConnectSucceeded},
		{name: "somebody answers ARP", flags: map[string]string{"drop-at": "no-neighbour"}, spoil: func(x *experiments.Experiment) {
			beside(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Server, "sleep 0.3; echo 0 > /proc/sys/net/ipv4/conf/all/arp_ignore")
			})
		}, want: result.Fail, code: explain.ConnectSucceeded},
		{name: "the error takes nothing back", flags: map[string]string{"drop-at": "no-neighbour", "syn-retries": "2"}, spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) { t.Outcome.Errno = "EHOSTUNREACH" })
		}, want: result.Fail, code: explain.WrongErrno},
	})
}

// TestSYNACKLossControls breaks both sides of exp2.
func TestSYNACKLossControls(t *testing.T) {
	controls(t, "exp2-synack-loss", []control{
		{name: "no drop", spoil: func(x *experiments.Experiment) { faults(x) }, want: result.Fail, code: explain.ConnectSucceeded},
		{name: "drop at the server", spoil: func(x *experiments.Experiment) {
			faults(x, experiments.Fault{Host: "server", Rule: lab.Rule{Chain: "OUTPUT", FromPort: httpPort, Text: "x"}})
		}, want: result.Fail, code: explain.TooFewSYNs},
		{name: "one SYN-ACK more before", spoil: func(x *experiments.Experiment) {
			first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Server, "echo 2 > /proc/sys/net/ipv4/tcp_synack_retries")
			})
		}, want: result.Fail, code: explain.UnexpectedPacket, hypothesis: explain.CountAndTime},
		{name: "repeated SYNs are never answered", spoil: func(x *experiments.Experiment) {
			first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Server, "iptables -A INPUT -p tcp --syn -m statistic --mode nth --every 1000 --packet 1 -j DROP")
			})
		}, want: result.Fail, code: explain.TooFewSYNs},
		{name: "by syncookies there is no timer", spoil: func(x *experiments.Experiment) {
			first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Server, "echo 2 > /proc/sys/net/ipv4/tcp_syncookies")
			})
		}, want: result.Fail, code: explain.TooFewSYNs},
		{name: "the timer is said to go on where it was", spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) {
				for i := range t.Events {
					if e := &t.Events[i]; e.What == timeline.RequestGone {
						shift(e, -time.Second, 4*time.Millisecond)
					}
				}
				t.Alternatives = nil
			})
		}, want: result.Fail, code: explain.TooLate},
		{name: "the answer is said to be the timer's", spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) {
				for i := range t.Events {
					if e := &t.Events[i]; e.What == timeline.SYNACKAnswer {
						e.What = timeline.SYNACKAgain
					}
				}
				t.Alternatives = nil
			})
		}, want: result.Fail, code: explain.UnexpectedPacket},
		{name: "another state", spoil: func(x *experiments.Experiment) {
			x.States = func(experiments.Env) map[string][]string { return map[string][]string{"server": {"LISTEN"}} }
		}, want: result.Fail, code: explain.WrongState},
	})
}
