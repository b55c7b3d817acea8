package runner

import (
	"slices"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// TestCloser catches looks that come close on each other only where the usual order of things has the request vanish, one that goes on looking closely when it
// has, and orders of which each is gone through anew though all have it at the same time.
func TestCloser(t *testing.T) {
	const ms = time.Millisecond
	gone := func(at time.Duration) timeline.Event {
		return timeline.Event{Host: "server", What: timeline.RequestGone, Bound: timeline.Bound{At: at, Earliest: at, Latest: at + 8*ms}}
	}
	syn := timeline.Event{Host: "client", What: timeline.SYN}
	want := timeline.Timeline{Events: []timeline.Event{syn, gone(3000 * ms)}}
	for range 100 {
		want.Alternatives = append(want.Alternatives, timeline.Timeline{Events: []timeline.Event{syn, gone(7000 * ms)}})
	}
	r := &run{}
	r.facts.HZ = 250
	r.judgeBy(want)
	if len(r.byLook) != 2 {
		t.Errorf("got %d events to look for, want 2: the other orders are alike", len(r.byLook))
	}
	for _, tt := range []struct {
		name    string
		elapsed time.Duration
		state   string
		want    time.Duration
	}{
		{"before either", 1000 * ms, "SYN-RECV", lookEvery},
		{"in the usual order", 3004 * ms, "SYN-RECV", closeLook},
		{"between them", 5000 * ms, "SYN-RECV", lookEvery},
		{"a moment before the other order's", 6900 * ms, "SYN-RECV", 96 * ms * 127 / 128},
		{"in another order", 7004 * ms, "SYN-RECV", closeLook},
		{"overdue in another order", 7070 * ms, "SYN-RECV", closeLook},
		{"long after it", 7300 * ms, "SYN-RECV", lookEvery},
		{"in another order, and gone", 7004 * ms, "LISTEN", lookEvery},
	} {
		newest := look{host: "server"}
		newest.State = tt.state
		o := &observer{r: r, looks: []look{newest}}
		if got := o.closer(tt.elapsed, lookEvery); got != tt.want {
			t.Errorf("%s: got a pause of %v, want %v", tt.name, got, tt.want)
		}
	}
	r.judgeBy(timeline.Timeline{Events: []timeline.Event{syn}})
	if len(r.byLook) != 0 {
		t.Errorf("another prediction: got %d events to look for, want none of the one before", len(r.byLook))
	}
}

// TestDue catches a watch for stalls that goes on for the whole of a window of minutes in which the tick is known (ten waiting labs with such windows
// kept two processors busy), one that trusts a tick where the start is not known, and one that looks elsewhere than where the event is due.
func TestDue(t *testing.T) {
	const jiffy = 4 * time.Millisecond
	second := func(n int) time.Duration { return time.Duration(n) * time.Second }
	start := second(1000)
	soon := timeline.Event{Bound: timeline.Bound{At: second(1), Earliest: second(1), Latest: second(1) + 32*time.Millisecond, Tick: 251}}
	late := timeline.Event{Bound: timeline.Bound{At: second(7200), Earliest: second(7200), Latest: second(7700), Tick: 1_800_100}}
	want := timeline.Timeline{Events: []timeline.Event{soon, late}}
	soonSpan := lab.Span{From: start + 900*time.Millisecond, To: start + 1432*time.Millisecond}
	for _, tt := range []struct {
		name string
		run  run
		want []lab.Span
	}{
		{"known", run{clock: &kernel.Clock{Jiffy: jiffy}, start: &oracle.Start{Jiffies: uint64(start / jiffy)}},
			[]lab.Span{soonSpan, {From: start + 1_800_100*jiffy - time.Second, To: start + 1_800_100*jiffy + time.Second}}},
		{"not known", run{}, []lab.Span{soonSpan, {From: start + second(7200) - 100*time.Millisecond, To: start + second(7700) + 400*time.Millisecond}}},
	} {
		tt.run.facts.HZ = 250
		if got := tt.run.due(want, start); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
