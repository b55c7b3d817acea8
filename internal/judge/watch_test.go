package judge

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// TestLivesOn catches a packet that is held against a connection which nobody watches any more, because the run took longer to end than planned; and
// one that is forgiven though the program still waited, though more was predicted, or though the connection had ended.
func TestLivesOn(t *testing.T) {
	const ms = time.Millisecond
	at := func(host string, what timeline.What, at time.Duration) timeline.Event {
		return timeline.Event{Host: host, What: what, Bound: timeline.Bound{At: at, Earliest: at, Latest: at}}
	}
	quiet, end := at("client", timeline.Quiet, 500*ms), at("client", timeline.SocketError, 500*ms)
	for _, c := range []struct {
		name          string
		want, outcome timeline.Event
		more          []timeline.Event
		probe         time.Duration
		verdict       result.Verdict
	}{
		{"when nobody watched", quiet, quiet, nil, 520 * ms, result.Pass},
		{"while the program waited", quiet, quiet, nil, 480 * ms, result.Fail},
		{"more was predicted", quiet, quiet, []timeline.Event{at("server", timeline.FIN, 600*ms)}, 520 * ms, result.Fail},
		{"the connection had ended", end, end, nil, 520 * ms, result.Fail},
		{"it should have ended", end, quiet, nil, 520 * ms, result.Fail},
	} {
		syn := at("client", timeline.SYN, 0)
		events := append([]timeline.Event{syn}, c.more...)
		in := Input{Jiffy: 4 * ms, Ended: time.Second, Want: timeline.Timeline{Events: events, Outcome: &c.want},
			Got: timeline.Timeline{Events: inOrder(append([]timeline.Event{at("client", timeline.WindowProbe, c.probe)}, events...)), Outcome: &c.outcome}}
		if got, verdict := complaints(in); verdict != c.verdict {
			t.Errorf("%s: got %s %v, want %s", c.name, verdict, got, c.verdict)
		}
	}
}
