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
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// recovery is a copy of exp6 that a test may break.
func recovery(t *testing.T) *experiments.Experiment {
	t.Helper()
	labtest.Need(t, labtest.Root, labtest.IPTables)
	if _, err := lab.DelayMethod(); err != nil {
		t.Fatalf("a link with an RTT: %v", err)
	}
	x, err := experiments.Find("exp6-fast-retransmit")
	if err != nil {
		t.Fatal(err)
	}
	c := *x
	return &c
}

// burst are the flags of a run with an RTT that is long beside a jiffy, so that a wrong rule is late by more than a machine can be.
func burst(more ...string) map[string]string {
	flags := map[string]string{"rtt": "100ms"}
	for i := 0; i < len(more); i += 2 {
		flags[more[i]] = more[i+1]
	}
	return flags
}

// TestRecoveryPasses is the other half of TestRecoveryControls: the same runs, not broken, pass or, on a machine that stalls, are left open.
// It catches a rule of the oracle that this kernel does not follow.
func TestRecoveryPasses(t *testing.T) {
	few := make(chan struct{}, 3) // what delays the packets is a program, and late where many want a processor: with eight at once four of five runs were disturbed
	for name, flags := range map[string]map[string]string{
		"one": burst(), "two": burst("lose", "15,19"), "two without SACK": burst("lose", "15,19", "sack", "off"),
		"too few behind them": burst("lose", "17,19"), "the last": burst("lose", "last"), "the last without SACK": burst("lose", "last", "sack", "off"),
		"the last without probes": burst("lose", "last", "early-retrans", "0"), "after a recovery": burst("lose", "15,20"),
		"no shortcut": burst("recovery", "5"), "the first of four": burst("lose", "1", "segments", "4", "sack", "off"), "a short link": burst("rtt", "4ms"),
		"sixteen": burst("lose", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16"), "a whole window": burst("lose", "1,5,42", "segments", "42"),
		"the repeat too": burst("lose", "15,21"), "dice": burst("lose", "none", "loss", "10%", "seed", "3"), "a rate": burst("rate", "10mbit"),
		"a bad link": burst("lose", "none", "loss", "5%", "jitter", "5ms", "reorder", "15%", "reorder-by", "20ms", "rate", "20mbit", "seed", "4"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			few <- struct{}{}
			defer func() { <-few }()
			x := recovery(t)
			r := perform(t, Options{Experiment: x, Plan: fast(t, x, flags)})
			if r.Verdict != result.Inconclusive && !passed(r) {
				t.Errorf("verdict: got %s (%s), want pass", r.Verdict, r.Reason)
			}
		})
	}
}

// TestRecoveryControls is the reason to believe a pass of exp6: each row breaks the kernel's side or the prediction's, and none may pass.
func TestRecoveryControls(t *testing.T) {
	believing := func(name, value string) func(x *experiments.Experiment) {
		return func(x *experiments.Experiment) {
			believe(x, func(e experiments.Env) experiments.Env { return e.With("client", "net.ipv4."+name, value) })
		}
	}
	dropping := func(k ...int) func(x *experiments.Experiment) {
		return func(x *experiments.Experiment) {
			faults(x, experiments.Fault{Host: "server", Rule: lab.DropData(httpPort, k...)})
		}
	}
	planned := func(change func(*lab.LinkPlan)) func(x *experiments.Experiment) {
		return func(x *experiments.Experiment) {
			honest := x.Setup
			x.Setup = func(o experiments.Options) experiments.Setup {
				s := honest(o)
				change(&s.Link)
				return s
			}
		}
	}
	setting := func(name, value string) func(x *experiments.Experiment) {
		return func(x *experiments.Experiment) { first(x, set(name, value)) }
	}
	controlsOf(t, "exp6-fast-retransmit", burst(), []control{
		// The lab does something else than the experiment says.
		{name: "nothing is lost", spoil: func(x *experiments.Experiment) { faults(x) }, code: explain.TooFewSYNs},
		{name: "another segment is lost", spoil: dropping(14)},
		{name: "two are lost", spoil: dropping(15, 18), flags: burst("sack", "off"), code: explain.UnexpectedPacket},
		{name: "the repeat is lost too", spoil: dropping(15, 21), code: explain.UnexpectedPacket},
		{name: "the link is slower", open: true, spoil: func(x *experiments.Experiment) {
			honest := x.Setup
			x.Setup = func(o experiments.Options) experiments.Setup {
				s := honest(o)
				s.RTT += 60 * time.Millisecond
				return s
			}
		}},

		{name: "the link has no rate", spoil: planned(func(p *lab.LinkPlan) { p.Rate = 0 }), flags: burst("rate", "1mbit"), code: explain.TooEarly},
		{name: "no segment is overtaken", spoil: planned(func(p *lab.LinkPlan) { p.Behind = nil }), flags: burst("lose", "none", "reorder", "5%", "reorder-by", "60ms", "seed", "5")},
		{name: "the link holds nothing back", spoil: planned(func(p *lab.LinkPlan) { p.Hold = nil }), flags: burst("jitter", "50ms"), code: explain.TooEarly},
		{name: "other dice", spoil: func(x *experiments.Experiment) {
			believe(x, func(e experiments.Env) experiments.Env { return e.WithOption("seed", "4") })
		}, flags: burst("lose", "none", "loss", "10%", "seed", "3")},

		// The kernel is set otherwise, behind the prediction's back.
		{name: "tcp_sack", spoil: setting("tcp_sack", "0"), flags: burst("lose", "15,19"), code: explain.WrongSACK, hypothesis: explain.FastRetransmits},
		{name: "tcp_recovery", spoil: setting("tcp_recovery", "5"), flags: burst("rtt", "300ms"), code: explain.TooLate},
		{name: "tcp_reordering", spoil: setting("tcp_reordering", "6"), flags: burst("sack", "off")},
		{name: "tcp_early_retrans", spoil: setting("tcp_early_retrans", "0"), flags: burst("lose", "19,20")},

		// The prediction lies.
		{name: "believed without SACK", spoil: believing("tcp_sack", "0"), flags: burst("lose", "15,19")},
		{name: "believed with SACK", spoil: believing("tcp_sack", "1"), flags: burst("lose", "15,19", "sack", "off"), code: explain.WrongRounds},
		{name: "another segment again", spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) {
				for i := range t.Events {
					if t.Events[i].What == timeline.FastRetransmit {
						t.Events[i].RelSeq += 1000
					}
				}
			})
		}},
		{name: "a repeat a jiffy and a half of allowance later", spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) {
				for i := range t.Events {
					if t.Events[i].What == timeline.FastRetransmit {
						shift(&t.Events[i], 30*time.Millisecond, 4*time.Millisecond)
					}
				}
			})
		}, code: explain.TooEarly},
		{name: "a repeat that nobody predicted", spoil: func(x *experiments.Experiment) {
			lie(x, func(t *timeline.Timeline) {
				t.Events = slices.DeleteFunc(t.Events, func(e timeline.Event) bool { return e.What == timeline.FastRetransmit })
			})
		}, code: explain.UnexpectedPacket},
		{name: "a write that was not made then", spoil: func(x *experiments.Experiment) {
			believe(x, func(e experiments.Env) experiments.Env { return e.Moved("write", 300*time.Millisecond) })
		}, code: explain.TooEarly},
	})
}

// TestWrittenTwice catches a burst in two writes that is judged as one: the second comes later than a busy machine could make it.
func TestWrittenTwice(t *testing.T) {
	x := recovery(t)
	x.Run = func(ctx context.Context, l *lab.Lab, e experiments.Env) error {
		if err := l.Client.InitialWindow(20); err != nil {
			return err
		}
		c, err := l.Client.Start(ctx)
		if err != nil {
			return err
		}
		o := lab.DialOptions{At: e.StartAt}
		o.MaxSeg = 1012
		if err := c.Connect(ctx, l.Server.Port(httpPort), o); err != nil {
			return err
		}
		at := e.StartAt + x.Calls(e)[0].At
		first, err := c.Write(ctx, 10, 1000, at)
		if err != nil {
			return err
		}
		_, err = c.Write(ctx, 10, 1000, first.After+150*time.Millisecond) // not from when the first was to be: on a busy machine both would come at once
		return err
	}
	r := perform(t, Options{Experiment: x, Plan: fast(t, x, burst())})
	if disturbed(r) {
		t.Logf("left open: %s", r.Reason) // the delay line of a busy machine was never in time
	} else if r.Verdict != result.Fail {
		t.Errorf("verdict: got %s (%s), want fail", r.Verdict, r.Reason)
	}
}
