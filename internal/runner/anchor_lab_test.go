//go:build lab

package runner

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/lab"
)

// TestDisorder catches calls of several processes that are held against the plan of others: one that was overtaken, and none that came in
// its order, however late.
func TestDisorder(t *testing.T) {
	call := func(asked, before time.Duration) lab.Event {
		return lab.Event{Asked: asked, Before: before, After: before + 1}
	}
	const ms = time.Millisecond
	for _, tt := range []struct {
		name   string
		events []lab.Event
		want   bool
	}{
		{"in order", []lab.Event{call(10*ms, 10*ms), call(20*ms, 20*ms), call(30*ms, 35*ms)}, false},
		{"told in another order than made", []lab.Event{call(20*ms, 20*ms), call(10*ms, 10*ms)}, false},
		{"all late", []lab.Event{call(10*ms, 50*ms), call(20*ms, 51*ms)}, false},
		{"the first is overtaken", []lab.Event{call(20*ms, 20*ms), call(10*ms, 25*ms)}, true},
		{"what was not planned does not count", []lab.Event{call(10*ms, 10*ms), call(0, 5*ms)}, false},
	} {
		if err := disorder(tt.events); (err != nil) != tt.want {
			t.Errorf("%s: got %v, want an error: %v", tt.name, err, tt.want)
		}
	}
}
