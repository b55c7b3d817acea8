package judge

import (
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
)

// TestEvidence is the negative control of each of the three checks: every way in which the witnesses can differ, and that what was lost
// leaves it open.
func TestEvidence(t *testing.T) {
	good := Side{Host: "client", Dropped: 2, DroppedTold: 2, Drops: 3, Rules: 3, OwnDrops: 1, Repeats: 2, RepeatsTold: 2, Sent: 2, ByTimer: 2, RetransSegs: 2, Timeouts: 3}
	for _, tt := range []struct {
		name          string
		change        func(s *Side)
		capture, ring int
		id            string
		want          result.Verdict
		code, detail  string
	}{
		{"all agree", func(*Side) {}, 0, 0, "", result.Pass, "", ""},
		{"a drop without its event, and the rules have fewer", func(s *Side) { s.DroppedTold-- }, 0, 0, "kernel-drops", result.Fail, explain.EvidenceDisagrees, "1 of 2 packets that a rule dropped have no kfree_skb"},
		{"the same, with events lost", func(s *Side) { s.DroppedTold-- }, 0, 7, "kernel-drops", result.Inconclusive, explain.EvidenceLost, "7 events"},
		{"the same, with packets lost", func(s *Side) { s.DroppedTold-- }, 4, 0, "kernel-drops", result.Inconclusive, explain.CaptureDrops, "lost 4"},
		{"a tracepoint that is silent about a drop that the rules counted", func(s *Side) { s.DroppedTold, s.Drops = s.DroppedTold-1, s.Drops-1 }, 0, 0, "kernel-drops", result.Pass, explain.EvidenceLost, "silent for 1 of 3 packets"},
		{"one that is silent about all", func(s *Side) { s.Dropped, s.DroppedTold, s.Drops = 3, 0, 0 }, 0, 0, "kernel-drops", result.Inconclusive, explain.EvidenceLost, "silent for 3 of 3 packets"},
		{"a repeat that only the counter has", func(s *Side) { s.Repeats, s.RetransSegs, s.Untold = 3, 3, 5 }, 0, 0, "kernel-repeats", result.Pass, explain.EvidenceLost, "silent for 1 of 3 repeats that its counter has, first packet 5"},
		{"more events than the rules counted", func(s *Side) { s.Drops++ }, 0, 0, "kernel-drops", result.Fail, explain.EvidenceDisagrees, "counted 3 packets, and kfree_skb told of 4"},
		{"one of them while the rules were read", func(s *Side) { s.Drops++; s.DropsMaybe++ }, 0, 0, "", result.Pass, "", ""},
		{"fewer events than the rules counted, of packets that no capture sees", func(s *Side) { s.Rules++ }, 0, 0, "kernel-drops", result.Pass, explain.EvidenceLost, "silent for 1 of 4 packets"},
		{"a rule that cannot be read", func(s *Side) { s.RuleGone, s.Rules = true, 0 }, 0, 0, "kernel-drops", result.Inconclusive, explain.EvidenceLost, "could not be read"},
		{"a repeat without its event", func(s *Side) { s.Repeats++; s.Untold = 5 }, 0, 0, "kernel-repeats", result.Fail, explain.EvidenceDisagrees, "first packet 5"},
		{"an event without its packet", func(s *Side) { s.Uncaptured++ }, 0, 0, "kernel-repeats", result.Fail, explain.EvidenceDisagrees, "1 repeats that the kernel told of are in no capture"},
		{"a counter that is too low", func(s *Side) { s.RetransSegs-- }, 0, 0, "kernel-counters", result.Fail, explain.EvidenceDisagrees, "grew by 1, and the tracepoints told of 2"},
		{"a counter that is too high", func(s *Side) { s.RetransSegs += 2 }, 0, 0, "kernel-counters", result.Fail, explain.EvidenceDisagrees, "grew by 4"},
		{"one more, that its own rule dropped", func(s *Side) { s.RetransSegs++ }, 0, 0, "", result.Pass, "", ""},
		{"one more, that failed", func(s *Side) { s.RetransSegs++; s.OwnDrops = 0; s.Failed = 1 }, 0, 0, "", result.Pass, "", ""},
		{"fewer timeouts than a timer sent", func(s *Side) { s.Timeouts = 1 }, 0, 0, "kernel-counters", result.Fail, explain.EvidenceDisagrees, "TcpExtTCPTimeouts grew by 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := good
			tt.change(&s)
			for _, c := range Evidence([]Side{s, {Host: "server"}}, tt.capture, tt.ring) {
				want, code, detail := result.Pass, "", ""
				if c.ID == tt.id {
					want, code, detail = tt.want, tt.code, tt.detail
				}
				if c.Verdict != want || c.Code != code || !strings.Contains(c.Detail, detail) {
					t.Errorf("%s: got %s %s %q, want %s %s %q", c.ID, c.Verdict, c.Code, c.Detail, want, code, detail)
				}
			}
		})
	}
	for _, c := range Evidence([]Side{{Host: "client"}}, 0, 0) {
		if c.Verdict != result.Pass {
			t.Errorf("nothing happened, and nobody told of anything: %s: got %s, want a pass", c.ID, c.Verdict)
		}
	}
}

// TestTransitions catches a state that only one of the witnesses knows, and a wrong order.
func TestTransitions(t *testing.T) {
	seen := []result.State{{Host: "client", State: "SYN-SENT"}, {Host: "server", State: "LISTEN"}, {Host: "client", State: "ESTABLISHED"},
		{Host: "server", State: "ESTABLISHED"}, {Host: "client", State: "TIME-WAIT"}}
	told := func(client ...string) []result.KernelEvent {
		events := []result.KernelEvent{{Host: "server", Hook: result.HookState, State: "ESTABLISHED"}, {Host: "client", Hook: result.HookDrop, State: "SYN-SENT"}}
		for _, s := range client {
			events = append(events, result.KernelEvent{Host: "client", Hook: result.HookState, State: s})
		}
		return events
	}
	for _, tt := range []struct {
		name string
		told []result.KernelEvent
		lost int
		want result.Verdict
	}{
		{"all agree", told("SYN-SENT", "ESTABLISHED", "FIN-WAIT-1", "CLOSED"), 0, result.Pass},
		{"a state that the tracepoint was silent about", told("ESTABLISHED"), 0, result.Pass},
		{"the other order", told("ESTABLISHED", "SYN-SENT"), 0, result.Fail},
		{"nothing told", []result.KernelEvent{}, 0, result.Inconclusive},
		{"something was lost", nil, 1, result.Inconclusive},
	} {
		if c := Transitions(seen, tt.told, tt.lost); c.Verdict != tt.want {
			t.Errorf("%s: got %s (%s), want %s", tt.name, c.Verdict, c.Detail, tt.want)
		}
	}
	if c := Transitions(nil, nil, 0); c.Verdict != result.Skip {
		t.Errorf("no looks: got %s, want a skip", c.Verdict)
	}
}
