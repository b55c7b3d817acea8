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

// TestHandshakePasses is what the controls below stand against: whole connections and refused ones, at both places where an ICMP error is
// taken in another way, and a drop at each place of the way.
func TestHandshakePasses(t *testing.T) {
	for _, tt := range []struct {
		name, experiment string
		flags            map[string]string
	}{
		{"client first, 3", "exp0-handshake", nil},
		{"client first, 4", "exp0-handshake", map[string]string{"close": "4"}},
		{"server first, 3", "exp0-handshake", map[string]string{"closer": "server"}},
		{"server first, 4", "exp0-handshake", map[string]string{"closer": "server", "close": "4"}},
		{"near the timer: 3 or 4", "exp0-handshake", map[string]string{"linger": "40ms"}},
		{"with an RTT", "exp0-handshake", map[string]string{"close": "4", "rtt": "20ms"}},
		{"closed port", "exp0-handshake", map[string]string{"port": "closed"}},
		{"reset", "exp0-handshake", map[string]string{"reject": "tcp-reset"}},
		{"ICMP, noted and told at once", "exp0-handshake", map[string]string{"reject": "icmp-net-unreachable"}},
		{"ICMP, with an RTT", "exp0-handshake", map[string]string{"reject": "icmp-admin-prohibited", "rtt": "20ms"}},
		{"capture points", "exp2-capture-point", nil},
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

// pretend makes x predict for another option than it runs with.
func pretend(flag, value string) func(*experiments.Experiment) {
	return func(x *experiments.Experiment) {
		believe(x, func(e experiments.Env) experiments.Env { return e.WithOption(flag, value) })
	}
}

// serve makes x's server another one than it says.
func serve(x *experiments.Experiment, change func(*lab.ListenOptions)) {
	honest := x.Setup
	x.Setup = func(o experiments.Options) experiments.Setup {
		s := honest(o)
		for i := range s.Listen {
			change(&s.Listen[i])
		}
		return s
	}
}

// TestHandshakeControls breaks the kernel's side, the server's or the prediction's of exp0. Where a program is late the prediction follows
// its clock, so it is the kernel that has to be made another, or the prediction.
func TestHandshakeControls(t *testing.T) {
	const ms = time.Millisecond
	four := map[string]string{"close": "4"}
	controls(t, "exp0-handshake", []control{
		{name: "a shorter delayed ACK", flags: four, spoil: func(x *experiments.Experiment) {
			first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Server, "ip route change 10.99.0.0/24 dev eth0 proto kernel scope link src 10.99.0.2 rto_min 20ms")
			})
		}, want: result.Fail, code: explain.TooEarly, hypothesis: explain.DelayedACK},
		{name: "no delayed ACK", flags: four, spoil: func(x *experiments.Experiment) {
			first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Server, "ip route change 10.99.0.0/24 dev eth0 proto kernel scope link src 10.99.0.2 quickack 1")
			})
		}, want: result.Fail, code: explain.TooEarly},
		{name: "no delayed ACK, where none is due", spoil: func(x *experiments.Experiment) {
			first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Server, "ip route change 10.99.0.0/24 dev eth0 proto kernel scope link src 10.99.0.2 quickack 1")
			})
		}, want: result.Fail, code: explain.DelayedACK},
		{name: "four predicted", spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) {
				t.Events = append(t.Events, timeline.Event{Host: "server", What: timeline.ACK, RelSeq: 129, RelAck: 60, Exact: true,
					Bound: timeline.Bound{At: 240 * ms, Earliest: 240 * ms, Latest: 244 * ms}})
			})
		}, want: result.Fail, code: explain.TooFewSYNs},
		{name: "another request", spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) {
				for i := range t.Events {
					if t.Events[i].What == timeline.Data {
						t.Events[i].Len++
					}
				}
			})
		}, want: result.Fail, code: explain.UnexpectedPacket},
		{name: "another number", spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) { t.Events[len(t.Events)-1].RelAck++ })
		}, want: result.Fail, code: explain.UnexpectedPacket},
		{name: "the other end closes first", spoil: pretend("closer", "server"), want: result.Fail},
		{name: "a server that closes after its answer", spoil: func(x *experiments.Experiment) {
			serve(x, func(o *lab.ListenOptions) { o.Close = lab.AfterAnswer })
		}, want: result.Fail},
		{name: "an answer is lost", spoil: func(x *experiments.Experiment) {
			faults(x, experiments.Fault{Host: "client", Rule: lab.Rule{Chain: "INPUT", FromPort: httpPort, MinLength: lab.DataLength, Nth: []int{1}, Text: "the answer"}})
		}, want: result.Fail, code: explain.UnexpectedPacket},
		{name: "a handshake that is refused", spoil: func(x *experiments.Experiment) {
			rule := lab.DropSYN(httpPort)
			rule.Reject = "tcp-reset"
			faults(x, experiments.Fault{Host: "server", Rule: rule})
		}, want: result.Fail, code: explain.WrongErrno, hypothesis: explain.SoftICMP},
		{name: "a port that is open", flags: map[string]string{"port": "closed"}, spoil: func(x *experiments.Experiment) {
			serve(x, func(o *lab.ListenOptions) { o.Port = httpPort + 1 })
		}, want: result.Fail, code: explain.ConnectSucceeded},
		{name: "another ICMP error", flags: map[string]string{"reject": "icmp-host-unreachable"}, spoil: pretend("reject", "icmp-net-unreachable"),
			want: result.Fail, code: explain.WrongErrno},
		{name: "a RST that is an ICMP error", flags: map[string]string{"reject": "tcp-reset"}, spoil: pretend("reject", "icmp-port-unreachable"), want: result.Fail},
	})
}

// TestCapturePointControls breaks the table of exp2-capture-point: the same rule at another place, a rule that is not there, other numbers.
func TestCapturePointControls(t *testing.T) {
	swap := func(from, table, chain string) func(*experiments.Experiment) {
		return func(x *experiments.Experiment) {
			honest := x.Setup
			x.Setup = func(o experiments.Options) experiments.Setup {
				s := honest(o)
				for i, f := range s.Faults {
					if f.Host+" "+f.Rule.Chain == from && f.Rule.TableName() == "filter" {
						s.Faults[i].Rule.Table, s.Faults[i].Rule.Chain = table, chain
					}
				}
				return s
			}
		}
	}
	controls(t, "exp2-capture-point", []control{
		{name: "SYN dropped behind the capture instead", flags: map[string]string{"at": "client-output"}, spoil: func(x *experiments.Experiment) {
			faults(x, experiments.Fault{Host: "server", Rule: lab.DropSYN(8003)})
		}, want: result.Fail, code: explain.CapturePoint},
		{name: "SYN dropped before the capture instead", flags: map[string]string{"at": "server-input"}, spoil: func(x *experiments.Experiment) {
			r := lab.DropSYN(8006)
			r.Chain = "OUTPUT"
			faults(x, experiments.Fault{Host: "client", Rule: r})
		}, want: result.Fail, code: explain.CapturePoint},
		{name: "SYN-ACK dropped at home instead", flags: map[string]string{"at": "client-input"}, spoil: func(x *experiments.Experiment) {
			r := lab.DropSYNACK(8001)
			r.Chain = "OUTPUT"
			faults(x, experiments.Fault{Host: "server", Rule: r})
		}, want: result.Fail, code: explain.CapturePoint},
		{name: "one of ten rules at another place", spoil: swap("client OUTPUT", "mangle", "OUTPUT"), want: result.Fail, code: explain.CapturePoint},
		{name: "no rules", spoil: func(x *experiments.Experiment) { faults(x) }, want: result.Fail, code: explain.CapturePoint},
		{name: "a counter is set to zero", spoil: func(x *experiments.Experiment) {
			beside(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Client, "sleep 1.2; iptables -t raw -Z OUTPUT")
			})
		}, want: result.Fail, code: explain.CapturePoint},
		{name: "one SYN more before", spoil: func(x *experiments.Experiment) { first(x, set("tcp_syn_retries", "2")) }, want: result.Fail, code: explain.TooManySYNs},
		{name: "another errno", spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) {
				for i := range t.Events {
					if t.Events[i].What == timeline.ConnectError {
						t.Events[i].Errno = "ECONNREFUSED"
					}
				}
				t.Alternatives = nil
			})
		}, want: result.Fail, code: explain.WrongErrno},
	})
}
