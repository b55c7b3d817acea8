package oracle

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// TestLateOpen catches a SYN-ACK that does not follow the SYN that arrives, in time and in ticks, a connect(2) that succeeds though the kernel
// had given up, and a link that takes no time.
func TestLateOpen(t *testing.T) {
	facts, err := kernel.Model(kernel.Version{Major: 6, Minor: 12}, 250)
	if err != nil {
		t.Fatal(err)
	}
	const rtt = 100 * time.Millisecond
	for _, start := range []*Start{nil, {Jiffies: 1 << 33, Phase: time.Millisecond}} {
		c := Connect{SYNRetries: 3}
		whole, err := Near(facts, start, c.Predict)
		if err != nil {
			t.Fatal(err)
		}
		for lost := range 6 {
			got, err := LateOpen{Connect: c, Lost: lost, RTT: rtt}.Predict(facts, start)
			if err != nil {
				t.Fatal(err)
			}
			if lost >= 4 { // one SYN and three repeats
				if len(got.Events) != 4 || got.Outcome.Errno != "ETIMEDOUT" {
					t.Errorf("%d lost: got %d events and %+v, want the death of Connect", lost, len(got.Events), got.Outcome)
				}
				continue
			}
			syn, answer, ack := got.Events[lost], got.Events[lost+1], got.Events[lost+2]
			switch {
			case len(got.Events) != lost+3 || got.Outcome.What != timeline.Connected:
				t.Errorf("%d lost: got %+v", lost, got)
			case syn != whole.Events[lost]:
				t.Errorf("%d lost: got SYN %+v, want %+v", lost, syn, whole.Events[lost])
			case answer.What != timeline.SYNACK || answer.Earliest != syn.Earliest+rtt/2 || answer.Tick != syn.Tick || ack.Earliest != syn.Earliest+rtt || ack.Latest <= syn.Latest+rtt:
				t.Errorf("%d lost: got %+v and %+v after %+v", lost, answer.Bound, ack.Bound, syn.Bound)
			}
		}
	}
	if _, err := (LateOpen{Connect: Connect{SYNRetries: 1}, RTT: time.Second}).Predict(facts, nil); err == nil {
		t.Error("got no error for a round trip as long as the first timeout")
	}
}

// TestLatestFire catches a last instant that some phase of jiffies exceeds, or that none reaches.
func TestLatestFire(t *testing.T) {
	facts, err := kernel.Model(kernel.Version{Major: 6, Minor: 12}, 250)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []time.Duration{time.Millisecond, 40 * time.Millisecond, 200 * time.Millisecond, time.Second, 75 * time.Second} {
		var most uint64
		n := uint64(ceilJiffies(facts, d))
		for j := range uint64(1 << 15) {
			_, hi := Fire(facts, j, n)
			most = max(most, hi-j)
		}
		if got, want := LatestFire(facts, d), time.Duration(most)*facts.Jiffy(); got != want {
			t.Errorf("%v: got %v, want %v", d, got, want)
		}
	}
}
