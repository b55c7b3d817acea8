package oracle

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// FuzzConnect catches a panic, events out of order, and windows that are empty or begin before the nominal time.
func FuzzConnect(f *testing.F) {
	f.Add(uint8(18), uint16(250), 6, 0, 4, uint32(0), uint32(0), uint64(0), uint32(0), false)
	f.Add(uint8(18), uint16(1000), 127, 0, 127, uint32(1000), uint32(0), uint64(0), uint32(0), false)
	f.Add(uint8(5), uint16(100), 6, 3, 0, uint32(0), uint32(2500), uint64(1<<33), uint32(999), true)
	f.Add(uint8(200), uint16(300), 2, 0, 0, uint32(0), uint32(70), uint64(1<<64-1), uint32(7), true)
	f.Add(uint8(119), uint16(24), 9, 0, 0, uint32(0), uint32(2500), uint64(0), uint32(0), false)
	f.Fuzz(func(t *testing.T, minor uint8, hz uint16, retries, count, linear int, rtoMaxMS, userMS uint32, jiffies uint64, phase uint32, known bool) {
		v := kernel.Version{Major: 6, Minor: int(minor % 100)}
		if minor >= 100 {
			v = kernel.Version{Major: 3 + int(minor)/200, Minor: 1 + int(minor%20)}
		}
		model, err := kernel.Model(v, int(hz))
		if err != nil {
			return
		}
		c := Connect{SYNRetries: retries, SYNCount: count, LinearTimeouts: linear,
			RTOMax: time.Duration(rtoMaxMS) * time.Millisecond, UserTimeout: time.Duration(userMS) * time.Millisecond}
		var start *Start
		if known {
			start = &Start{Jiffies: jiffies, Phase: time.Duration(phase)}
		}
		tl, err := c.Predict(model, start)
		if err != nil {
			return
		}
		checkTimeline(t, model, c, tl)
	})
}

// early is how long before its nominal time an event may come: not at all through the wheel, part of the first jiffy without it,
// and part of a millisecond where a user timeout is finer than jiffies are coarse.
func early(f kernel.Facts, c Connect) time.Duration {
	switch {
	case !f.Wheel:
		return f.Jiffy()
	case f.HZ > 1000 && c.UserTimeout > 0:
		return time.Millisecond
	}
	return 0
}

func checkTimeline(t *testing.T, f kernel.Facts, c Connect, tl timeline.Timeline) {
	t.Helper()
	var before timeline.Event
	for i, e := range append(tl.Events, *tl.Outcome) {
		if e.Earliest < e.At-early(f, c) || e.Latest < e.Earliest || e.GapLatest < e.GapEarliest || e.GapEarliest < 0 || e.GapLatest > e.Latest {
			t.Errorf("%s %d: got %+v, want at <= earliest <= latest, and gaps within", e.What, e.N, e.Bound)
		}
		if wire := i < len(tl.Events); wire && i > 0 && (e.N != i || e.At <= before.At || e.Earliest <= before.Earliest || e.Latest <= before.Latest) {
			t.Errorf("event %d: got %+v after %+v, want it later", i, e, before)
		}
		if e.Why == "" || e.Host == "" {
			t.Errorf("event %d: got why %q at host %q, want both", i, e.Why, e.Host)
		}
		before = e
	}
	if tl.Outcome.Latest < tl.Events[len(tl.Events)-1].Earliest || len(tl.Events) < 2 {
		t.Errorf("got %d events and an end at %v, want a retransmission and a later end", len(tl.Events), tl.Outcome.Bound)
	}
}

// TestNeverEarly catches an event before its nominal time, over all rows and kernels.
func TestNeverEarly(t *testing.T) {
	for _, hz := range []int{24, 100, 250, 300, 1000, 1024, 10000} {
		for _, tt := range rows() {
			f := facts(t, 6, 18, hz)
			checkTimeline(t, f, tt.c, predict(t, tt.c, f, nil))
		}
		f := facts(t, 4, 19, hz)
		c := Connect{SYNRetries: 6, UserTimeout: 2500 * time.Millisecond}
		checkTimeline(t, f, c, predict(t, c, f, nil))
	}
}
