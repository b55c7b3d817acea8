package kernel

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const tick = 4 * time.Millisecond

// TestParseTimerList catches a field read from the wrong line: the sample was recorded on 6.18 with HZ=250, timers cut out.
func TestParseTimerList(t *testing.T) {
	b, err := os.ReadFile("testdata/timer_list.txt")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseTimerList(b)
	if err != nil {
		t.Fatal(err)
	}
	want := timerList{now: 1556683572475, jiffies: []uint64{4295281408, 4295281408}, ticks: []time.Duration{1556652000000, 1556632000000}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(timerList{})); d != "" {
		t.Errorf("timer list (-want +got):\n%s", d)
	}
}

// TestParseTimerListRefuses catches an unknown format that passes for a reading.
func TestParseTimerListRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"empty", ""},
		{"no jiffies", "now at 5 nsecs\n"},
		{"no time", "jiffies: 5\n"},
		{"bad time", "now at five nsecs\njiffies: 5\n"},
		{"other unit", "now at 5 usecs\njiffies: 5\n"},
		{"bad jiffies", "now at 5 nsecs\njiffies: -5\n"},
		{"too large", "now at 5 nsecs\njiffies: 18446744073709551615\n"},
		{"bad tick", "now at 5 nsecs\n.last_tick : x nsecs\njiffies: 5\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := parseTimerList([]byte(tt.text)); err == nil {
				t.Errorf("got %+v, want an error", got)
			}
		})
	}
	if _, err := parseTimerList(nil); !errors.Is(err, errTimerList) {
		t.Errorf("got %v, want an error that says what a timer list looks like", err)
	}
}

// reading is a timer list of a machine whose jiffy 0 began at zero, with a counter that lags by some jiffies.
func reading(zero, at, took time.Duration, lag uint64, ticks ...time.Duration) timerList {
	return timerList{now: at, after: at + took, jiffies: []uint64{uint64((at-zero)/tick) - lag}, ticks: ticks}
}

// TestClockOf catches a counter that lags (idle CPUs), a slow reading and ticks out of step, each taken for the true phase.
func TestClockOf(t *testing.T) {
	const zero, ms, us = -17 * time.Hour / 7 * 7, time.Millisecond, time.Microsecond
	on := zero % tick // a tick instant, modulo a tick
	aligned := []time.Duration{on + 7*tick, on + 9*tick}
	tests := []struct {
		name  string
		lists []timerList
		want  Clock
	}{
		{"one fresh reading", []timerList{reading(zero, 50*ms, 300*us, 0, aligned...)}, Clock{tick, zero, 0}},
		{"the counter lags twice", []timerList{
			reading(zero, 50*ms, 300*us, 2, aligned...), reading(zero, 60*ms, 300*us, 1, aligned...), reading(zero, 63*ms, 300*us, 0, aligned...),
		}, Clock{tick, zero, 0}},
		{"a reading takes five ticks", []timerList{
			reading(zero, 50*ms, 20*ms, 0, aligned...), reading(zero, 71*ms, 300*us, 0, aligned...),
		}, Clock{tick, zero, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := clockOf(tt.lists, tick)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	for _, ticks := range [][]time.Duration{nil, {on + tick, on + tick + 2*ms}} { // none, and skew_tick
		got, err := clockOf([]timerList{reading(zero, 50*ms, 300*us, 0, ticks...), reading(zero, 53*ms, 300*us, 0, ticks...)}, tick)
		if err != nil {
			t.Fatal(err)
		}
		if got.Zero < zero || got.Zero-got.Uncertainty > zero || got.Uncertainty <= 0 || got.Uncertainty > tick {
			t.Errorf("ticks %v: got %+v, want an interval of at most a tick that holds %v", ticks, got, zero)
		}
	}
	if c, err := clockOf(nil, tick); err == nil {
		t.Errorf("no readings: got %+v, want an error", c)
	}
	if c, err := clockOf([]timerList{{jiffies: []uint64{1 << 62}}}, tick); err == nil {
		t.Errorf("absurd jiffies: got %+v, want an error", c)
	}
}

// TestClockAt catches a phase that is off at the edges of a jiffy, and a Start that is not At's inverse.
func TestClockAt(t *testing.T) {
	c := Clock{Jiffy: tick, Zero: -10 * tick}
	for _, tt := range []struct {
		name    string
		mono    time.Duration
		jiffies uint64
		phase   time.Duration
	}{{"edge", 0, 10, 0}, {"last nanosecond", tick - 1, 10, tick - 1}, {"next", tick, 11, 0}, {"before", -11 * tick, 0, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			if j, p := c.At(tt.mono); j != tt.jiffies || p != tt.phase {
				t.Errorf("got jiffy %d + %v, want %d + %v", j, p, tt.jiffies, tt.phase)
			}
		})
	}
	if got, want := c.Start(11), tick; got != want {
		t.Errorf("start of jiffy 11: got %v, want %v", got, want)
	}
}

// FuzzTimerList catches a panic on outside bytes, and a clock that contradicts its own reading.
func FuzzTimerList(f *testing.F) {
	b, err := os.ReadFile("testdata/timer_list.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("now at 8000000 nsecs\n.last_tick : 4000000 nsecs\njiffies: 3\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseTimerList(b)
		if err != nil {
			return
		}
		l.after = l.now
		c, err := clockOf([]timerList{l}, tick)
		if err != nil {
			return
		}
		for _, j := range l.jiffies {
			if start := c.Start(j); start > l.after {
				t.Errorf("got jiffy %d from %v on, want no later than %v, when it was read", j, start, l.after)
			}
		}
	})
}
