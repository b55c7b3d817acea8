package oracle

import (
	"testing"
	"time"
)

// TestMillisecond has the timers of a run of exp11 over IPv6 on 6.18.44 (HZ=250): every repeat came within 84 µs of its tick, and the end 8 jiffies
// after the one that whole milliseconds give: 1256 ms were 1255, because a millisecond ended between the two readings. It catches a
// prediction that knows one bucket of the wheel there.
func TestMillisecond(t *testing.T) {
	for _, c := range []struct {
		grain int64
		want  int64
	}{{0, 1256}, {millisecond / 2, 1257}, {millisecond - 1, 1255}} {
		w := &world{facts: linux618(t), tick: (4 * time.Millisecond).Nanoseconds(), grain: c.grain}
		h := &hole{w: w}
		if got := h.onElapsed(100, 414, func(ms int64) int64 { return ms }); got != c.want || !w.sawGrain {
			t.Errorf("grain %d: got %d ms, asked for the grain %v, want %d and true", c.grain, got, w.sawGrain, c.want)
		}
		w.sawGrain = false
		if got := h.onElapsed(100, 414, func(ms int64) int64 { return ms / 100 }); got != 12 || w.sawGrain {
			t.Errorf("grain %d, of no matter: got %d, asked for the grain %v, want 12 and false", c.grain, got, w.sawGrain)
		}
	}
	b := BlackHole{Bytes: 100, Write: 1500 * time.Millisecond, UserTimeout: 2500 * time.Millisecond, EarlyRetrans: 3, Retries2: 15}
	open := false
	for j := range uint64(64) {
		tl, err := b.Predict(linux618(t), &Start{Jiffies: 1<<32 + j, Phase: 1 * time.Millisecond, Called: true})
		if err != nil {
			t.Fatal(err)
		}
		end := tl.Outcome
		open = open || end.TickLast >= end.Tick+8
	}
	if !open {
		t.Error("no start of 64 leaves a second bucket open: want some, where the rest is a whole number of jiffies")
	}
}
