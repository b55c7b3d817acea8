// Package oracle predicts what a Linux kernel does on the wire, from its facts and the knobs alone: same input, same output.
//
// It is not for looking: it opens nothing, reads no clock and has never seen a packet, so a comparison with what was seen can fail.
//
// Its one trap: a window is what the kernel's timers can do, not what a machine can do. Whoever compares adds the time that a
// busy machine needs to run a timer that is due, and never less than a jiffy: on 6.18 with two
// busy CPUs about one end in five came exactly one tick late. The likely cause, not traced: that CPU's tick came before the jiffies
// were counted up.
package oracle

import (
	"math/bits"

	"github.com/tcplab/tcplab/internal/kernel"
)

// The non-cascading timer wheel of kernel/time/timer.c, in jiffies.
const (
	levelShift = 3  // LVL_CLK_SHIFT: each level is 8 times coarser than the one below
	levelMax   = 63 // LVL_SIZE-1: a level takes delays of up to 63 of its buckets
)

// levelStart is the first delay that is too long for the level below n: LVL_START(n), n >= 1.
func levelStart(n int) uint64 { return levelMax << ((n - 1) * levelShift) }

// levels is LVL_DEPTH.
func levels(hz int) int {
	if hz > 100 {
		return 9
	}
	return 8
}

// wheelLevel returns the level of a delay, and the delay itself or, beyond the wheel's capacity, what the kernel cuts it to:
// WHEEL_TIMEOUT_MAX (calc_wheel_index). The capacity is 12 days or more, so no TCP timer is cut.
func wheelLevel(hz int, d uint64) (level int, cut uint64) {
	depth := levels(hz)
	if limit := levelStart(depth); d >= limit {
		return depth - 1, limit - 1<<((depth-1)*levelShift)
	}
	for level < depth-1 && d >= levelStart(level+1) {
		level++
	}
	return level, d
}

// Fire returns the jiffy at whose start a timer runs that was armed during jiffy j with a delay of d jiffies.
//
// On a kernel with Facts.Wheel the delay chooses a level and the expiry is rounded up to the level's next bucket (calc_index): the
// timer is late by 1 to 8^level jiffies. lo and hi differ only where d is exactly the first delay of a level: the wheel's own
// clock may be one jiffy ahead of j while it runs handlers (base->clk in __run_timers), and then d counts as one less and still
// fits the level below.
//
// On older kernels the expiry may slip by 1/256 of a delay of 256 jiffies or more (apply_slack): it goes to the value with the most
// low bits zero, after j+d and up to j+d+d/256. The timer runs at the start of that jiffy, so it can be early by part of a jiffy,
// the part of j that had passed.
func Fire(f kernel.Facts, j, d uint64) (lo, hi uint64) {
	if !f.Wheel {
		at := slack(j+d, d)
		return at, at
	}
	level, cut := wheelLevel(f.HZ, d)
	hi = bucket(j+cut, level)
	if level == 0 || cut != levelStart(level) {
		return hi, hi
	}
	return bucket(j+cut, level-1), hi
}

// bucket rounds an expiry up to the next bucket of a level: calc_index.
func bucket(expires uint64, level int) uint64 {
	shift := level * levelShift
	return (expires>>shift + 1) << shift
}

// slack is apply_slack of kernel/timer.c, 2.6.35 to 4.7, for a timer without a slack of its own.
func slack(expires, d uint64) uint64 {
	if d < 256 {
		return expires
	}
	limit := expires + d/256
	return limit &^ (1<<(bits.Len64(expires^limit)-1) - 1)
}

// period is how often the start jiffy must be varied to meet every behaviour of delays up to d: where a timer lands depends on
// the jiffy modulo this power of two only.
func period(f kernel.Facts, d uint64) uint64 {
	if f.Wheel {
		level, _ := wheelLevel(f.HZ, d)
		return 1 << (level * levelShift)
	}
	if d < 256 {
		return 1
	}
	// The window of apply_slack holds d/256 jiffies, so at most one multiple of a power of two that large: higher bits change nothing.
	return 1 << bits.Len64(d/256-1)
}
