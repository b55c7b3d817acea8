package judge

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// TestPorts catches a packet that is taken for another connection's: two connections side by side send the same kinds at the same times, in
// an order that nobody knows, and each must match its own prediction.
func TestPorts(t *testing.T) {
	event := func(port uint16, what timeline.What, at time.Duration) timeline.Event {
		return timeline.Event{Host: "server", What: what, Port: port, Bound: timeline.Bound{At: at, Earliest: at, Latest: at + 4*time.Millisecond}}
	}
	want := []timeline.Event{event(1, timeline.SYNACKAgain, time.Second), event(2, timeline.SYNACKAnswer, time.Second)}
	for _, c := range []struct {
		name string
		got  []timeline.Event
		want result.Verdict
	}{
		{"in order", []timeline.Event{event(1, timeline.SYNACKAgain, time.Second), event(2, timeline.SYNACKAnswer, time.Second+time.Millisecond)}, result.Pass},
		{"the other first", []timeline.Event{event(2, timeline.SYNACKAnswer, time.Second), event(1, timeline.SYNACKAgain, time.Second+time.Millisecond)}, result.Pass},
		{"each other's", []timeline.Event{event(1, timeline.SYNACKAnswer, time.Second), event(2, timeline.SYNACKAgain, time.Second)}, result.Fail},
		{"one twice", []timeline.Event{event(1, timeline.SYNACKAgain, time.Second), event(1, timeline.SYNACKAnswer, time.Second)}, result.Fail},
	} {
		in := Input{Want: timeline.Timeline{Events: want}, Got: timeline.Timeline{Events: c.got}, Jiffy: 4 * time.Millisecond, Ended: time.Minute}
		if got, verdict := complaints(in); verdict != c.want {
			t.Errorf("%s: got %s %v, want %s", c.name, verdict, got, c.want)
		}
	}
}

// TestErrnoOfEvents catches an errno that is judged only where it is the outcome's.
func TestErrnoOfEvents(t *testing.T) {
	end := func(errno string) timeline.Timeline {
		return timeline.Timeline{Events: []timeline.Event{{Host: "client", What: timeline.ConnectError, Errno: errno,
			Bound: timeline.Bound{At: time.Second, Earliest: time.Second, Latest: time.Second}}}}
	}
	for errno, want := range map[string]result.Verdict{"ETIMEDOUT": result.Pass, "ECONNREFUSED": result.Fail} {
		in := Input{Want: end("ETIMEDOUT"), Got: end(errno), Jiffy: 4 * time.Millisecond, Ended: time.Minute}
		if got, verdict := complaints(in); verdict != want {
			t.Errorf("%s: got %s %v, want %s", errno, verdict, got, want)
		}
	}
}
