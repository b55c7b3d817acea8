package oracle

import (
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
)

// world is one way in which a run can go: the moment at which it starts, and how what is left open turns out. A mechanism plays one
// world at a time, as the kernel does; sweep plays them all and joins what came of it.
//
// Jiffies are counted from the one in which the first packet is sent, instants from the first packet.
type world struct {
	facts   kernel.Facts
	tick    int64  // nanoseconds in a jiffy: TICK_NSEC
	jiffies uint64 // the kernel's counter at the origin
	phase   int64  // nanoseconds into that jiffy
	grain   int64  // nanoseconds into a millisecond of CLOCK_MONOTONIC at the origin
	early   bool   // where Fire leaves two jiffies open, take the first
	slip    int64  // jiffies by which an application's later calls come earlier or later than planned
	lag     int64  // 1: what arrives from another host is dealt with as late as may be; 0: at once

	// What the world was asked: worlds that differ only in what was not asked are the same.
	sawGrain, sawEarly, sawSlip, sawLag bool
}

// fire returns the jiffy in which a timer fires that is armed in jiffy at with a delay of d jiffies.
func (w *world) fire(at, d int64) int64 {
	lo, hi := Fire(w.facts, w.jiffies+uint64(at), uint64(max(d, 0)))
	if lo != hi {
		w.sawEarly = true
		if w.early {
			hi = lo
		}
	}
	return int64(hi - w.jiffies)
}

// instant is the start of jiffy j.
func (w *world) instant(j int64) time.Duration { return time.Duration(j*w.tick - w.phase) }

// jiffy is the jiffy in which an instant lies.
func (w *world) jiffy(at time.Duration) int64 { return floorDiv(int64(at)+w.phase, w.tick) }

// around are the jiffies next to the origin's in which another processor may have been at the first packet, counted from the origin's:
// both, or the one that its phase is next to.
func (w *world) around() []int64 {
	switch w.phase {
	case 0:
		return []int64{-1}
	case w.tick - 1:
		return []int64{1}
	}
	return []int64{-1, 1}
}

// call is the instant of an application's call that is planned at an offset of the first one. A process wakes up a little late, and the
// first one did too: the call may fall into a neighbouring jiffy.
func (w *world) call(planned time.Duration) time.Duration {
	w.sawSlip = true
	return planned + time.Duration(w.slip*w.tick)
}

// late is how much later than it should something is dealt with that another host sent: by most in some worlds, not at all in the others.
func (w *world) late(most time.Duration) time.Duration {
	w.sawLag = true
	return time.Duration(w.lag) * most
}

// ms is what CLOCK_MONOTONIC in whole milliseconds, as tcp_clock_ms() reads it, has advanced since the origin.
func (w *world) ms(at time.Duration) int64 {
	w.sawGrain = true
	return floorDiv(w.grain+int64(at), millisecond)
}

// toJiffies is usecs_to_jiffies and msecs_to_jiffies: rounded up.
func (w *world) toJiffies(d time.Duration) int64 { return ceilJiffies(w.facts, d) }

func ceilJiffies(f kernel.Facts, d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	hz := int64(f.HZ)
	whole, rest := int64(d)/int64(time.Second), int64(d)%int64(time.Second)
	return whole*hz + (rest*hz+int64(time.Second)-1)/int64(time.Second)
}

// fromJiffies is a number of jiffies as time.
func (w *world) fromJiffies(n int64) time.Duration { return time.Duration(n * w.tick) }
