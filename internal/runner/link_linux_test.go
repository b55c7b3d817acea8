package runner

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// TestStretched has a SYN-ACK that is late on a link with a jitter, and a timer's packet behind its time, as in a run of exp11: 3.8 ms late, and the tail loss probe,
// whose wait is made of what the handshake measured, 10 ms. It catches such a run that is called a contradiction, and one that is left open although the link
// was as late as predictions leave open, or late for another connection, or after the packet, or has no jitter; or although a packet came too early, or never, or was not predicted.
func TestStretched(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name  string
		late  time.Duration // of the SYN-ACK
		port  int           // whose it is
		every bool
		probe time.Duration // when it was seen; 0: never. It may be from 400 ms to 413 ms.
		more  bool          // and a packet that nobody predicted
		want  result.Verdict
	}{
		{"late", 3800 * time.Microsecond, 8109, true, 420 * ms, false, result.Inconclusive},
		{"by less than a millisecond", 900 * time.Microsecond, 8109, true, 420 * ms, false, result.Fail},
		{"of another connection", 3800 * time.Microsecond, 8108, true, 420 * ms, false, result.Fail},
		{"without a jitter", 3800 * time.Microsecond, 8109, false, 420 * ms, false, result.Fail},
		{"too early", 3800 * time.Microsecond, 8109, true, 390 * ms, false, result.Fail},
		{"never", 3800 * time.Microsecond, 8109, true, 0, false, result.Fail},
		{"not predicted", 3800 * time.Microsecond, 8109, true, 420 * ms, true, result.Fail},
		{"in its time", 3800 * time.Microsecond, 8109, true, 410 * ms, false, result.Pass},
	} {
		at := func(d time.Duration) *result.Seconds {
			s := result.Seconds(d)
			return &s
		}
		link := result.Link{RTT: result.Seconds(100 * ms), Every: tt.every}
		packets := []result.Packet{{From: "server", What: string(timeline.SYNACK), SrcPort: tt.port, DstPort: 40000, SentAt: at(50 * ms), ArrivedAt: at(100*ms + tt.late)}}
		event := func(what timeline.What, when time.Duration) timeline.Event {
			return timeline.Event{Host: "client", What: what, Port: 8109, Bound: timeline.Bound{At: when, Earliest: when, Latest: when}}
		}
		in := judge.Input{Jiffy: 4 * ms, Ended: time.Minute}
		probe := event(timeline.TailLossProbe, 400*ms)
		probe.Latest += 4 * ms
		in.Want.Events = []timeline.Event{event(timeline.SYN, 0), probe}
		in.Got.Events = []timeline.Event{event(timeline.SYN, 0)}
		if tt.probe > 0 {
			in.Got.Events = append(in.Got.Events, event(timeline.TailLossProbe, tt.probe))
		}
		if tt.more {
			in.Got.Events = append(in.Got.Events, event(timeline.RTORetransmission, 700*ms))
		}
		_, _, checks, _ := scheduled(in, packets, &link)
		got := result.Pass
		for _, c := range checks {
			got = result.Worse(got, c.Verdict)
		}
		if got != tt.want {
			t.Errorf("%s: got %s, want %s: %+v", tt.name, got, tt.want, checks)
		}
	}
}
