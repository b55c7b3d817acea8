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

// TestFastOpenPasses is what the controls below stand against: every value of the knob at both ends, and each loss.
func TestFastOpenPasses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags map[string]string
	}{
		{"as it is", nil},
		{"client 0", map[string]string{"client-fastopen": "0"}},
		{"client 2", map[string]string{"client-fastopen": "2"}},
		{"both 3", map[string]string{"client-fastopen": "3", "server-fastopen": "3"}},
		{"client 5, server 0x602", map[string]string{"client-fastopen": "5", "server-fastopen": "0x602", "listener": "off"}},
		{"client 7", map[string]string{"client-fastopen": "7"}},
		{"server 0", map[string]string{"server-fastopen": "0"}},
		{"server 1", map[string]string{"server-fastopen": "1", "requests": "4"}},
		{"server 0x202", map[string]string{"server-fastopen": "0x202"}},
		{"server 0x402, listener off", map[string]string{"server-fastopen": "0x402", "listener": "off"}},
		{"listener off", map[string]string{"listener": "off"}},
		{"one byte", map[string]string{"bytes": "1"}},
		{"a full SYN", map[string]string{"bytes": "1420"}},
		{"SYN with data lost", map[string]string{"lose": "syn-data"}},
		{"SYN without data lost", map[string]string{"lose": "syn-data", "server-fastopen": "1"}},
		{"SYN-ACK that takes data lost", map[string]string{"lose": "syn-ack"}},
		{"SYN-ACK that takes no data lost", map[string]string{"lose": "syn-ack", "client-fastopen": "5"}},
		{"SYN-ACK without Fast Open lost", map[string]string{"lose": "syn-ack", "client-fastopen": "0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const most = 5 // a busy machine's tracepoints are silent now and then, but not about every connect(2) of so many runs
			for range most {
				x := copyOf(t, "exp5-fastopen")
				r := perform(t, Options{Experiment: x, Plan: fast(t, x, tt.flags)})
				if !passed(r) {
					t.Fatalf("verdict: got %s (%s), want pass", r.Verdict, r.Reason)
				}
				if disturbed(r) || recorded(t, r) {
					return
				}
			}
			t.Errorf("connect() succeeds: got no record of the kernel's in %d runs, want some", most)
		})
	}
}

// recorded reports whether the kernel's record of a connect(2) that succeeded is there, and wants each from before the program learned of it.
func recorded(t *testing.T, r *result.Result) (some bool) {
	t.Helper()
	for _, e := range r.Events {
		if e.What == string(timeline.Connected) && e.Ended != nil {
			if some = true; e.Seen == nil || *e.Ended > *e.Seen {
				t.Errorf("connect() succeeds: got the kernel's record %v, seen %v, want it from before", e.Ended, e.Seen)
			}
		}
	}
	return some
}

// after makes x do something in the lab when the first request is over.
func after(x *experiments.Experiment, do func(ctx context.Context, l *lab.Lab) error) {
	beside(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
		if err := shell(ctx, l.Client, "until ip tcp_metrics show | grep -q fo_cookie; do sleep 0.01; done; sleep 0.05"); err != nil {
			return err
		}
		return do(ctx, l)
	})
}

// TestFastOpenControls breaks the kernel's side or the prediction's side of exp5: none of these runs may pass.
func TestFastOpenControls(t *testing.T) {
	write := func(host, name, value string) func(context.Context, *lab.Lab, experiments.Env) error {
		return func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
			h := l.Client
			if host == "server" {
				h = l.Server
			}
			return shell(ctx, h, "echo "+value+" > /proc/sys/net/ipv4/"+name)
		}
	}
	controls(t, "exp5-fastopen", []control{
		{name: "the client's bit is cleared", spoil: func(x *experiments.Experiment) { first(x, write("client", "tcp_fastopen", "0")) },
			want: result.Fail, code: explain.RoundTrips, hypothesis: explain.FastOpenBits},
		{name: "the server's bit is cleared", spoil: func(x *experiments.Experiment) { first(x, write("server", "tcp_fastopen", "0")) },
			want: result.Fail, code: explain.RoundTrips, hypothesis: explain.FastOpenBits},
		{name: "the client needs no cookie", spoil: func(x *experiments.Experiment) { first(x, write("client", "tcp_fastopen", "5")) },
			want: result.Fail, code: explain.FastOpenOption, hypothesis: explain.FastOpenBits},
		{name: "the server needs no cookie", spoil: func(x *experiments.Experiment) { first(x, write("server", "tcp_fastopen", "0x202")) },
			want: result.Fail, code: explain.FastOpenOption, hypothesis: explain.FastOpenBits},
		{name: "the listener did not ask", spoil: func(x *experiments.Experiment) {
			honest := x.Setup
			x.Setup = func(o experiments.Options) experiments.Setup {
				s := honest(o)
				s.Listen[0].FastOpen = 0
				return s
			}
		}, want: result.Fail, code: explain.RoundTrips},
		{name: "the client forgets its cookie", spoil: func(x *experiments.Experiment) {
			after(x, func(_ context.Context, l *lab.Lab) error { return l.Client.FlushMetrics() })
		}, want: result.Fail, code: explain.FastOpenOption},
		{name: "the server changes its key", spoil: func(x *experiments.Experiment) {
			after(x, func(ctx context.Context, l *lab.Lab) error {
				return shell(ctx, l.Server, "echo 00000001-00000002-00000003-00000004 > /proc/sys/net/ipv4/tcp_fastopen_key")
			})
		}, want: result.Fail, code: explain.RoundTrips},
		{name: "nothing is lost", flags: map[string]string{"lose": "syn-data"}, spoil: func(x *experiments.Experiment) { faults(x) },
			want: result.Fail, code: explain.TooFewSYNs},
		{name: "the other packet is lost", flags: map[string]string{"lose": "syn-data"}, spoil: func(x *experiments.Experiment) {
			r := lab.DropSYNACK(httpPort)
			r.Nth = []int{2}
			faults(x, experiments.Fault{Host: "client", Rule: r})
		}, want: result.Fail, code: explain.UnexpectedPacket},

		// The prediction lies.
		{name: "the SYN again is later", flags: map[string]string{"lose": "syn-data"}, spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) {
				for i := range t.Events {
					if t.Events[i].What == timeline.SYNRetransmission {
						shift(&t.Events[i], 100*time.Millisecond, 4*time.Millisecond)
					}
				}
			})
		}, want: result.Fail, code: explain.TooEarly},
		{name: "the SYN-ACK takes nothing", spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) {
				for i := range t.Events {
					if t.Events[i].What == timeline.SYNACK {
						t.Events[i].RelAck = 1
					}
				}
			})
		}, want: result.Fail, code: explain.UnexpectedPacket},
		{name: "no cookie is needed", spoil: func(x *experiments.Experiment) {
			believe(x, func(e experiments.Env) experiments.Env { return e.With("client", "net.ipv4.tcp_fastopen", "5") })
		}, want: result.Fail},
		{name: "another first timeout", flags: map[string]string{"lose": "syn-data"}, spoil: func(x *experiments.Experiment) {
			believe(x, func(e experiments.Env) experiments.Env { e.Facts.InitialRTO = 3 * time.Second; return e })
		}, want: result.Fail},
	})
}

// TestFastOpenKeys: the key that makes the cookies belongs to a network namespace, so that two servers with one address give two cookies.
// It catches a lab that shares it.
func TestFastOpenKeys(t *testing.T) {
	var cookies []string
	for range 2 {
		x := copyOf(t, "exp5-fastopen")
		r := perform(t, Options{Experiment: x, Plan: fast(t, x, map[string]string{"requests": "1"})}) // a verdict is not what is asked for
		for _, c := range r.Checks {
			if c.ID == "cookie-1" {
				cookies = append(cookies, c.Observed)
			}
		}
	}
	if len(cookies) != 2 || cookies[0] == cookies[1] {
		t.Errorf("got cookies %q, want two that differ", cookies)
	}
}
