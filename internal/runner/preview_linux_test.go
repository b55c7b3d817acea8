package runner

import (
	"slices"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// TestPreview catches an order that is told as a contradiction although an alternative has it, one that is not stuck to, and hundreds of orders
// that are tried at every packet of a run that none of them fits.
func TestPreview(t *testing.T) {
	again := func(at time.Duration) timeline.Timeline {
		return timeline.Timeline{Events: []timeline.Event{{Host: "client", What: timeline.SYN},
			{Host: "client", What: timeline.SYNRetransmission, N: 1, Bound: timeline.Bound{At: at, Earliest: at, Latest: at}}}}
	}
	want := again(time.Second)
	want.Alternatives = []timeline.Timeline{again(2 * time.Second), again(3 * time.Second)}
	o := newObserver(&run{})
	for _, step := range []struct {
		name         string
		seen, ended  time.Duration
		order        int
		contradicted bool
	}{
		{"the usual", time.Second, 1100 * time.Millisecond, 0, false},
		{"the last", 3 * time.Second, 3100 * time.Millisecond, 2, false},
		{"the last again", 3 * time.Second, 3200 * time.Millisecond, 2, false},
		{"none", 5 * time.Second, 5100 * time.Millisecond, 0, true},
		{"not tried within a second", 2 * time.Second, 5200 * time.Millisecond, 0, true},
		{"the second", 2 * time.Second, 6200 * time.Millisecond, 1, false},
		{"the usual, from the second", time.Second, 6300 * time.Millisecond, 0, false},
	} {
		got := again(step.seen)
		events, _ := o.preview(judge.Input{Want: want, Got: got, Jiffy: 4 * time.Millisecond, Ended: step.ended})
		contradicted := slices.ContainsFunc(events, func(e result.Event) bool { return e.Verdict == result.Fail })
		if o.orders[0].last != step.order || contradicted != step.contradicted {
			t.Errorf("%s: got order %d, contradicted %v, want %d, %v", step.name, o.orders[0].last, contradicted, step.order, step.contradicted)
		}
	}
}

// TestPreviewConnections catches a connection that is shown by the order of another.
func TestPreviewConnections(t *testing.T) {
	again := func(port uint16, at time.Duration) timeline.Timeline {
		return timeline.Timeline{Events: []timeline.Event{{Host: "client", What: timeline.SYN, Port: port},
			{Host: "client", What: timeline.SYNRetransmission, N: 1, Port: port, Bound: timeline.Bound{At: at, Earliest: at, Latest: at}}}}
	}
	connection := func(port uint16) timeline.Connection {
		c := timeline.Connection{Port: port, Timeline: again(port, time.Second)}
		c.Alternatives = []timeline.Timeline{again(port, 2*time.Second), again(port, 3*time.Second)}
		return c
	}
	want := timeline.SideBySide([]timeline.Connection{connection(1), connection(2)})
	o := newObserver(&run{})
	for _, step := range []struct {
		name   string
		seen   [2]time.Duration
		orders [2]int
		wrong  []int // ports
	}{
		{"the usual", [2]time.Duration{time.Second, time.Second}, [2]int{0, 0}, nil},
		{"one goes another way", [2]time.Duration{time.Second, 3 * time.Second}, [2]int{0, 2}, nil},
		{"one goes no way", [2]time.Duration{5 * time.Second, 3 * time.Second}, [2]int{0, 2}, []int{1}},
	} {
		got := timeline.Timeline{Events: append(again(1, step.seen[0]).Events, again(2, step.seen[1]).Events...)}
		events, _ := o.preview(judge.Input{Want: want, Got: got, Jiffy: 4 * time.Millisecond, Ended: 6 * time.Second})
		var wrong []int
		for _, e := range events {
			if e.Verdict == result.Fail && !slices.Contains(wrong, e.Port) {
				wrong = append(wrong, e.Port)
			}
		}
		if got := [2]int{o.orders[0].last, o.orders[1].last}; got != step.orders || !slices.Equal(wrong, step.wrong) {
			t.Errorf("%s: got orders %v, contradicted %v, want %v, %v", step.name, got, wrong, step.orders, step.wrong)
		}
	}
}
