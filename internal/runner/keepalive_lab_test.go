//go:build lab && !race

// Built for the race detector a program answers ten times slower, and much of this is about when programs answer. What runs at once is
// the same for every experiment: exp1 is run under it.

package runner

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// quiet is a copy of exp4 that a test may break.
func quiet(t *testing.T) *experiments.Experiment {
	t.Helper()
	labtest.Need(t, labtest.Root, labtest.IPTables)
	x, err := experiments.Find("exp4-keepalive")
	if err != nil {
		t.Fatal(err)
	}
	c := *x
	return &c
}

// doing makes x do in the lab what other options say; the prediction stands.
func doing(x *experiments.Experiment, options ...string) {
	honest := x.Run
	x.Run = func(ctx context.Context, l *lab.Lab, e experiments.Env) error {
		e.Options = maps.Clone(e.Options)
		for i := 0; i < len(options); i += 2 {
			e.Options[options[i]] = options[i+1]
		}
		return honest(ctx, l, e)
	}
}

// onServer makes x run a command on the server while it waits.
func onServer(x *experiments.Experiment, command string) {
	beside(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error { return shell(ctx, l.Server, command) })
}

// TestKeepalivePass is what the controls below stand against: each form of exp4, unbroken, passes.
func TestKeepalivePass(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string]map[string]string{
		"gone":                  nil,
		"gone, user timeout":    {"user-timeout": "1500", "keepalive-probes": "9"},
		"gone, socket options":  {"keepidle": "2", "keepintvl": "1", "keepcnt": "1"},
		"gone, no probes":       {"keepalive-probes": "0"},
		"alive":                 {"peer": "alive"},
		"alive, interval above": {"peer": "alive", "keepalive-intvl": "2", "watch": "4s"},
		"off":                   {"no-keepalive": "yes"},
		"off, alive":            {"no-keepalive": "yes", "peer": "alive", "watch": "2s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := quiet(t)
			r := perform(t, Options{Experiment: x, Plan: fast(t, x, flags)})
			if disturbed(r) {
				return
			}
			for _, c := range r.Checks {
				if c.Verdict == result.Skip && strings.HasPrefix(c.ID, "rule-") && flags["no-keepalive"] == "yes" {
					continue // nothing was sent to this rule: that is the point
				}
				if c.Verdict != result.Pass {
					t.Errorf("check %s: got %s (%s), want pass", c.ID, c.Verdict, c.Detail)
				}
			}
			var ids []string
			for _, c := range r.Checks {
				ids = append(ids, c.ID)
			}
			for _, want := range []string{"count", "silence", "death", "states-client", "states-server", "arrivals", "orphans"} {
				if !slices.Contains(ids, want) {
					t.Errorf("checks: got %v, want %s among them", ids, want)
				}
			}
			if r.Hypothesis != nil {
				t.Errorf("hypothesis of a pass: got %q, want none", r.Hypothesis.Text)
			}
		})
	}
}

// TestKeepaliveControls breaks the kernel's side or the prediction's side of exp4 on purpose, on the real kernel: none may pass.
func TestKeepaliveControls(t *testing.T) {
	t.Parallel()
	alive, off := map[string]string{"peer": "alive"}, map[string]string{"no-keepalive": "yes"}
	probe := func(tl *timeline.Timeline, n int) *timeline.Event {
		for i := range tl.Events {
			if tl.Events[i].What == timeline.KeepaliveProbe && tl.Events[i].N == n {
				return &tl.Events[i]
			}
		}
		return &timeline.Event{}
	}
	controls(t, "exp4-keepalive", []control{
		// The lab does something else than the experiment says.
		{name: "the peer is not gone", spoil: func(x *experiments.Experiment) { doing(x, "peer", "alive") }, code: explain.UnexpectedPacket, hypothesis: explain.Keepalive},
		{name: "the peer comes back", spoil: func(x *experiments.Experiment) { onServer(x, "sleep 1.2; "+mended) }, code: explain.UnexpectedPacket},
		{name: "the peer has forgotten the connection", spoil: func(x *experiments.Experiment) {
			onServer(x, "sleep 0.7; iptables -I INPUT -p tcp -j REJECT --reject-with tcp-reset")
		}, code: explain.WrongErrno},
		{name: "the peer vanishes", flags: alive, spoil: func(x *experiments.Experiment) { doing(x, "peer", "gone") }, code: explain.WrongErrno, hypothesis: explain.Keepalive},
		{name: "answers are held back", flags: alive, spoil: func(x *experiments.Experiment) {
			first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Server, "echo 2500 > /proc/sys/net/ipv4/tcp_invalid_ratelimit")
			})
		}, code: explain.TooFewSYNs},
		{name: "keepalive is off", spoil: func(x *experiments.Experiment) { doing(x, "no-keepalive", "yes") }, code: explain.TooFewSYNs},
		{name: "keepalive is on", flags: off, spoil: func(x *experiments.Experiment) { doing(x, "no-keepalive", "no") }, code: explain.UnexpectedPacket,
			hypothesis: explain.Keepalive},
		{name: "the program has its own idle time", spoil: func(x *experiments.Experiment) { doing(x, "keepidle", "2") }, code: explain.TooLate},
		{name: "the program has its own interval", spoil: func(x *experiments.Experiment) { doing(x, "keepintvl", "2") }, code: explain.TooLate},
		{name: "the program has its own count", spoil: func(x *experiments.Experiment) { doing(x, "keepcnt", "3") }, code: explain.TooManySYNs},
		{name: "the program has a user timeout", spoil: func(x *experiments.Experiment) { doing(x, "user-timeout", "3500") }, code: explain.TooManySYNs},

		// A guest changes the kernel behind the prediction's back.
		{name: "another time", spoil: func(x *experiments.Experiment) { first(x, set("tcp_keepalive_time", "2")) }, code: explain.TooLate, hypothesis: explain.Keepalive},
		{name: "another interval", spoil: func(x *experiments.Experiment) { first(x, set("tcp_keepalive_intvl", "2")) }, code: explain.TooLate, hypothesis: explain.Keepalive},
		{name: "one more probe", spoil: func(x *experiments.Experiment) { first(x, set("tcp_keepalive_probes", "3")) }, code: explain.TooManySYNs, hypothesis: explain.Keepalive},
		{name: "one probe less", spoil: func(x *experiments.Experiment) { first(x, set("tcp_keepalive_probes", "1")) }, code: explain.TooFewSYNs, hypothesis: explain.Keepalive},
		{name: "one more probe on the way", spoil: func(x *experiments.Experiment) {
			beside(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
				return shell(ctx, l.Client, "sleep 1.2; echo 3 > /proc/sys/net/ipv4/tcp_keepalive_probes")
			})
		}, code: explain.TooManySYNs, hypothesis: explain.Keepalive},

		// The prediction lies.
		{name: "no timer wheel", spoil: func(x *experiments.Experiment) {
			believe(x, func(e experiments.Env) experiments.Env { e.Facts.Wheel = false; return e })
		}},
		{name: "another error", spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) { tl.Outcome.Errno = "EHOSTUNREACH" })
		}, code: explain.WrongErrno},
		{name: "a probe with another number", spoil: func(x *experiments.Experiment) { lie(x, func(tl *timeline.Timeline) { probe(tl, 1).RelSeq = 1 }) }, code: explain.UnexpectedPacket},
		{name: "a probe with data", spoil: func(x *experiments.Experiment) { lie(x, func(tl *timeline.Timeline) { probe(tl, 2).Len = 1 }) }, code: explain.UnexpectedPacket},
		{name: "later by 100 ms", spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) { shift(probe(tl, 1), 100*time.Millisecond, 4*time.Millisecond) })
		}, code: explain.TooEarly},
		{name: "sooner by 100 ms", spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) { shift(probe(tl, 1), -100*time.Millisecond, 4*time.Millisecond) })
		}, code: explain.TooLate},
		{name: "a later end", spoil: func(x *experiments.Experiment) {
			lie(x, func(tl *timeline.Timeline) { shift(tl.Outcome, 200*time.Millisecond, 4*time.Millisecond) })
		}, code: explain.DiedEarly},
		{name: "the server learns of it", spoil: func(x *experiments.Experiment) {
			x.States = func(experiments.Env) map[string][]string {
				return map[string][]string{"server": {"(LISTEN)", "(SYN-RECV)", "LISTEN"}}
			}
		}, code: explain.WrongState},
		{name: "silence that is broken", spoil: func(x *experiments.Experiment) {
			honest := x.Checks
			x.Checks = func(e experiments.Env, r *result.Result) []result.Check {
				return honest(e.With("client", "net.ipv4.tcp_keepalive_time", "2"), r)
			}
		}, code: explain.TooEarly},
	})
}
