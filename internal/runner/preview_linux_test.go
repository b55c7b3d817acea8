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
		if o.order != step.order || contradicted != step.contradicted {
			t.Errorf("%s: got order %d, contradicted %v, want %d, %v", step.name, o.order, contradicted, step.order, step.contradicted)
		}
	}
}
