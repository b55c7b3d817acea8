//go:build lab

package runner

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/lab"
)

// told lists a host's events of one tracepoint, in short.
func told(r *result.Result, host, hook string) (out []string) {
	for _, e := range r.Evidence.Events {
		if e.Host == host && e.Hook == hook {
			out = append(out, strings.TrimSpace(e.Cause+e.Was+" "+e.State))
		}
	}
	return out
}

// testifying is a run, and what the kernel's tracepoints are to tell of it.
type testifying struct {
	name    string
	flags   map[string]string
	repeats map[string][]string // by host: cause and state
	client  []string            // transitions
}

// TestEvidenceOfLosses catches a tracepoint that is not followed, one that is named wrongly, and a packet that does not get what was told of it. A busy
// machine's tracepoints are silent now and then (judge.Evidence), but not about the same thing again and again.
func TestEvidenceOfLosses(t *testing.T) {
	for _, tt := range []testifying{
		{"exp1-syn-loss", map[string]string{"syn-retries": "2"}, map[string][]string{"client": {"RTO SYN-SENT", "RTO SYN-SENT"}},
			[]string{"CLOSED SYN-SENT", "SYN-SENT CLOSED"}},
		{"exp2-synack-loss", nil, map[string][]string{"client": {"RTO SYN-SENT"}, "server": {"request timer SYN-RECV", "answer to a repeated SYN SYN-RECV"}},
			[]string{"CLOSED SYN-SENT", "SYN-SENT CLOSED"}},
		{"exp3-ack-loss", map[string]string{"retries2": "1", "synack-retries": "0", "idle": "1200ms"}, map[string][]string{"client": {"TLP ESTABLISHED", "RTO ESTABLISHED", "RTO ESTABLISHED"}},
			[]string{"CLOSED SYN-SENT", "SYN-SENT ESTABLISHED", "ESTABLISHED CLOSED"}},
		{"exp6-fast-retransmit", nil, map[string][]string{"client": {"fast retransmit ESTABLISHED"}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const most = 5
			for i := range most {
				x := copyOf(t, tt.name)
				r := perform(t, Options{Experiment: x, Plan: fast(t, x, tt.flags)})
				// A delay line that was late leaves a run open, and what the kernel told of is the same.
				if r.Verdict != result.Pass && r.Verdict != result.Inconclusive || r.Evidence == nil || !r.Evidence.Tracepoints {
					t.Fatalf("verdict %s (%s), notes %+v", r.Verdict, r.Reason, r.Notes)
				}
				if r.Evidence.Lost > 0 { // the run is still judged by what both have; what was told is not whole
					t.Logf("%d events were lost", r.Evidence.Lost)
					return
				}
				wrong := tt.missing(r)
				if len(wrong) == 0 {
					return
				}
				if t.Logf("run %d: %s", i+1, strings.Join(wrong, "; ")); i == most-1 && r.Verdict == result.Pass { // else other packets may have come
					t.Errorf("the kernel's own evidence is not whole in %d runs: %s", most, strings.Join(wrong, "; "))
				}
			}
		})
	}
}

// missing is what the tracepoints told otherwise.
func (tt testifying) missing(r *result.Result) (wrong []string) {
	say := func(format string, a ...any) { wrong = append(wrong, fmt.Sprintf(format, a...)) }
	for host, want := range tt.repeats {
		got := slices.Concat(told(r, host, result.HookRetransmit), told(r, host, result.HookSynAck))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			say("%s repeats: got %q, want %q", host, got, want)
		}
	}
	if got := told(r, "client", result.HookState); tt.client != nil && !slices.Equal(got, tt.client) {
		say("client states: got %q, want %q", got, tt.client)
	}
	if o := r.Outcome; o != nil && (o.Ended == nil || o.Seen == nil || *o.Ended > *o.Seen) {
		say("end of the call: got the kernel's record %v, seen %v, want it from before", o.Ended, o.Seen)
	}
	for _, p := range r.Packets {
		if p.Fate == result.Dropped && (p.DropReason != "NETFILTER_DROP" || p.DropHook == "" || !strings.Contains(p.Comment, "NETFILTER_DROP")) {
			say("packet %d: got %q in %q, comment %q, want NETFILTER_DROP", p.ID, p.DropReason, p.DropHook, p.Comment)
		}
		if again := strings.Contains(p.What, "-retransmission") || strings.Contains(p.What, "-answer"); again != (p.Cause != "") && p.What != "tail-loss-probe" {
			say("packet %d, %s: got cause %q", p.ID, p.What, p.Cause)
		}
	}
	return wrong
}

// TestEvidenceControls is the reason to believe the checks: a drop that no rule of the lab counts, and evidence that cannot be had.
func TestEvidenceControls(t *testing.T) {
	t.Run("a rule that nobody counts", func(t *testing.T) {
		t.Parallel()
		x := synLoss(t)
		first(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
			return shell(ctx, l.Server, "iptables -t raw -A PREROUTING -p tcp --syn -j DROP")
		})
		r := perform(t, Options{Experiment: x, Plan: fast(t, x, nil)})
		if disturbed(r) {
			return
		}
		i := slices.IndexFunc(r.Checks, func(c result.Check) bool { return c.ID == "kernel-drops" })
		if i < 0 || r.Checks[i].Verdict != result.Fail || r.Checks[i].Code != explain.EvidenceDisagrees {
			t.Errorf("got %+v, want kernel-drops to fail", r.Checks)
		}
	})
	t.Run("switched off", func(t *testing.T) {
		t.Parallel()
		x := synLoss(t)
		r := perform(t, Options{Experiment: x, Plan: fast(t, x, nil), NoEvidence: true})
		if !passed(r) || r.Evidence != nil || slices.ContainsFunc(r.Checks, func(c result.Check) bool { return strings.HasPrefix(c.ID, "kernel-") }) {
			t.Errorf("got %s, evidence %+v, want a pass without", r.Verdict, r.Evidence)
		}
	})
}
