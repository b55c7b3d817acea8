package lab

import (
	"testing"
	"time"
)

// A delay that is rounded down would make frames early, which nothing else can.
func TestTicks(t *testing.T) {
	for _, c := range []struct {
		delay time.Duration
		want  uint32
	}{{0, 0}, {1, 1}, {64, 1}, {65, 2}, {50 * time.Millisecond, 781250}, {time.Second / 2, 7812500}} {
		if got := ticks(c.delay); got != c.want {
			t.Errorf("%v: got %d ticks of 64 ns, want %d", c.delay, got, c.want)
		}
	}
	for d := time.Duration(0); d <= netemLongest/2; d += 999_983 {
		if got := time.Duration(ticks(d)) << pschedShift; got < d || got >= d+64 {
			t.Fatalf("%v became %v, want less than 64 ns more", d, got)
		}
	}
}
