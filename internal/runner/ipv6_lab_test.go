//go:build lab && !race

// Without the race detector, for the reason that handshake_lab_test.go gives.

package runner

import (
	"context"
	"maps"
	"testing"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/lab"
)

// TestIPv6Passes runs the whole catalogue over IPv6, and what is different there: errors that are only noted, and a neighbour that does not
// answer. It is what the controls below stand against.
func TestIPv6Passes(t *testing.T) {
	type row struct {
		experiment string
		flags      map[string]string
	}
	rows := []row{
		{"exp0-handshake", map[string]string{"reject": "icmp6-no-route"}},
		{"exp0-handshake", map[string]string{"reject": "icmp6-adm-prohibited", "rtt": "20ms"}},
		{"exp0-handshake", map[string]string{"port": "closed"}},
		{"exp1-syn-loss", map[string]string{"drop-at": "no-neighbour", "syn-retries": "2"}},
		{"exp3-ack-loss", map[string]string{"cut": "mid", "idle": "1s", "retries2": "1"}}, // everything of the client is dropped
		{"exp7-zero-window", map[string]string{"peer": "gone", "retries2": "1"}},
	}
	for _, x := range experiments.All() {
		switch x.Name {
		case "exp3-ack-loss": // which takes ten seconds
		case timeouts:
			rows = append(rows, row{x.Name, map[string]string{"cases": "6,9,10,14"}})
		default:
			rows = append(rows, row{x.Name, nil})
		}
	}
	for _, tt := range rows {
		t.Run(tt.experiment, func(t *testing.T) {
			t.Parallel()
			x := copyOf(t, tt.experiment)
			flags := map[string]string{"ipv6": "yes"}
			maps.Copy(flags, tt.flags)
			r := perform(t, Options{Experiment: x, Plan: fast(t, x, flags)})
			late := tt.experiment == "exp6-fast-retransmit" && r.Verdict == result.Inconclusive // a link with an RTT on a busy machine
			if !passed(r) && !late {
				t.Errorf("%v: verdict: got %s (%s), want pass", tt.flags, r.Verdict, r.Reason)
			}
			if got, want := r.Hosts[1].Addr, lab.ServerAddr6.Addr().String(); got != want {
				t.Errorf("server: got %s, want %s", got, want)
			}
		})
	}
}

// TestIPv6Controls breaks what is different over IPv6: a family that is mixed up, a lying MSS, and the rules of IPv4 where IPv6 has its own.
func TestIPv6Controls(t *testing.T) {
	over := func(flags map[string]string) map[string]string {
		out := map[string]string{"ipv6": "yes"}
		maps.Copy(out, flags)
		return out
	}
	noRoute := over(map[string]string{"reject": "icmp6-no-route"})
	t.Run("handshake", func(t *testing.T) {
		controls(t, "exp0-handshake", []control{
			{name: "another MSS", flags: over(nil), spoil: func(x *experiments.Experiment) {
				first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error { return l.Server.ReceiveWindow(0, 1400) })
			}, want: result.Fail, code: explain.IPv6},
			{name: "another errno", flags: noRoute, spoil: pretend("reject", "icmp6-port-unreachable"), want: result.Fail, code: explain.WrongErrno},
		})
	})
	t.Run("SYN loss", func(t *testing.T) {
		controls(t, "exp1-syn-loss", []control{
			{name: "a rule of IPv4", flags: over(nil), spoil: func(x *experiments.Experiment) {
				withoutDrop(x, "iptables -A INPUT -p tcp --syn -j DROP")
			}, want: result.Fail, code: explain.ConnectSucceeded},
			{name: "a solicitation", flags: over(nil), spoil: func(x *experiments.Experiment) {
				first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
					return shell(ctx, l.Client, `bash -c "echo hello > /dev/udp/fd00:10:99::7/9"`)
				})
			}, want: result.Fail, code: explain.UnexpectedPacket},
			{name: "no neighbour, with the revert of IPv4", flags: over(map[string]string{"drop-at": "no-neighbour", "syn-retries": "2"}), spoil: pretend("ipv6", "no"),
				want: result.Fail, code: explain.WrongErrno},
		})
	})
}
