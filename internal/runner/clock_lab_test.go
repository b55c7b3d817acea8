//go:build lab

package runner

import (
	"testing"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// TestStaleClock catches a run that is judged by a counter of jiffies that was read stale: every packet of a correct kernel would be a tick
// too early. A fresh reading must stay as it is.
func TestStaleClock(t *testing.T) {
	labtest.Need(t, labtest.Root)
	fresh, err := kernel.ReadClock()
	if err != nil {
		t.Fatal(err)
	}
	for name, behind := range map[string]int{"fresh": 0, "one behind": 1, "two behind": 2} {
		clock := fresh
		for range behind {
			clock.Zero += clock.Jiffy
		}
		r := &run{clock: &clock, res: &result.Result{}}
		o := newObserver(r)
		if err := o.refreshClock(); err != nil {
			t.Fatal(err)
		}
		if off := r.clock.Zero - fresh.Zero; off > fresh.Jiffy/2 || off < -fresh.Jiffy/2 {
			t.Errorf("%s: got a clock that is %v off, want it read again", name, off)
		}
		if told := len(r.res.Notes) == 1; told != (behind > 0) {
			t.Errorf("%s: got notes %+v", name, r.res.Notes)
		}
	}
}
