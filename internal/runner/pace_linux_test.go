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
