package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Clock is the phase of jiffies: which part of CLOCK_MONOTONIC each jiffy covers. It is good for as long as the machine runs, but
// a suspend stops both clocks at different moments, so read it shortly before use.
type Clock struct {
	Jiffy time.Duration // length of a jiffy: TICK_NSEC
	// Zero is the CLOCK_MONOTONIC time at which jiffy 0 would have begun. It is far below zero: jiffies start at
	// INITIAL_JIFFIES, five minutes before a 32-bit counter wraps.
	Zero time.Duration
	// Uncertainty is how much earlier than Zero jiffy 0 may have begun. It is 0 where the ticks' own alignment was known.
	Uncertainty time.Duration
}

// At returns the jiffy that covers a CLOCK_MONOTONIC time, and how far into it the time is: 0 <= phase < Jiffy. A zero Clock
// knows nothing and returns 0, 0.
func (c Clock) At(mono time.Duration) (jiffies uint64, phase time.Duration) {
	if c.Jiffy <= 0 || mono < c.Zero {
		return 0, 0
	}
	since := mono - c.Zero
	return uint64(since / c.Jiffy), since % c.Jiffy
}

// Start returns the CLOCK_MONOTONIC time at which a jiffy begins.
func (c Clock) Start(jiffies uint64) time.Duration { return c.Zero + time.Duration(jiffies)*c.Jiffy }

// timerList is what tcplab needs of one reading of /proc/timer_list.
type timerList struct {
	now     time.Duration   // "now at N nsecs": CLOCK_MONOTONIC, taken before any line was printed
	after   time.Duration   // CLOCK_MONOTONIC after the reading
	jiffies []uint64        // "jiffies: J", one for each CPU
	ticks   []time.Duration // ".last_tick", one for each CPU that has ever stopped its tick
}

// errTimerList says what a readable timer list looks like.
var errTimerList = errors.New(`want a line "now at N nsecs" and a line "jiffies: N" for each CPU (kernel/time/timer_list.c, needs CONFIG_TICK_ONESHOT)`)

// parseTimerList reads the text of /proc/timer_list (timer_list_header and print_cpu in kernel/time/timer_list.c).
func parseTimerList(b []byte) (timerList, error) {
	var l timerList
	header := false
	for line := range bytes.Lines(b) {
		line = bytes.TrimSpace(line)
		switch {
		case !header && bytes.HasPrefix(line, []byte("now at ")):
			n, ok := digits(line[len("now at "):], " nsecs")
			if !ok {
				return timerList{}, fmt.Errorf("timer list: line %q: %w", clip(line), errTimerList)
			}
			l.now, header = time.Duration(n), true
		case bytes.HasPrefix(line, []byte("jiffies:")):
			n, ok := digits(line[len("jiffies:"):], "")
			if !ok {
				return timerList{}, fmt.Errorf("timer list: line %q: %w", clip(line), errTimerList)
			}
			l.jiffies = append(l.jiffies, n)
		case bytes.HasPrefix(line, []byte(".last_tick")):
			_, value, _ := bytes.Cut(line, []byte(":"))
			n, ok := digits(value, " nsecs")
			if !ok {
				return timerList{}, fmt.Errorf("timer list: line %q: want \".last_tick : N nsecs\"", clip(line))
			}
			if n > 0 { // 0: this CPU has never stopped its tick
				l.ticks = append(l.ticks, time.Duration(n))
			}
		}
	}
	if !header || len(l.jiffies) == 0 {
		return timerList{}, fmt.Errorf("timer list: %d bytes: %w", len(b), errTimerList)
	}
	return l, nil
}

// digits reads "  123<suffix>" as a number that fits a signed 64-bit count of nanoseconds.
func digits(b []byte, suffix string) (uint64, bool) {
	s, ok := bytes.CutSuffix(bytes.TrimSpace(b), []byte(suffix))
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(string(s), 10, 63)
	return n, err == nil
}

// clip keeps an error short when the input is not a timer list at all.
func clip(line []byte) []byte { return line[:min(len(line), 80)] }

// clockOf derives the phase of jiffies from several readings.
//
// The counter never runs ahead: whoever reads J at time t proves Zero + J*jiffy <= t. It may lag, by a tick or two, when the CPU
// that keeps it sleeps, so the other side (t < Zero + (J+1)*jiffy) holds for a fresh reading only. The readings with the smallest
// t - J*jiffy are the fresh ones, and they bound Zero from above. Where all CPUs' ticks share one phase (no skew_tick), the jiffies
// change in that phase as well (tick_do_update_jiffies64 and sched_timer start from the same tick_next_period), and Zero is the
// last such instant below the bound: exact. Otherwise Zero is the bound, and Uncertainty what the readings leave open.
func clockOf(lists []timerList, jiffy time.Duration) (Clock, error) {
	if jiffy <= 0 || len(lists) == 0 {
		return Clock{}, errors.New("timer list: want at least one reading and a jiffy above zero")
	}
	var high, low time.Duration
	first, aligned, seen := true, true, false
	var phase time.Duration
	for _, l := range lists {
		for _, j := range l.jiffies {
			if j > uint64((1<<62)/int64(jiffy)) {
				return Clock{}, fmt.Errorf("timer list: jiffies %d: want a count that fits 146 years of %v each", j, jiffy)
			}
			span := time.Duration(j) * jiffy
			if first || l.after-span < high {
				high = l.after - span
			}
			if first || l.now-span-jiffy > low {
				low = l.now - span - jiffy
			}
			first = false
		}
		for _, t := range l.ticks {
			aligned = aligned && (!seen || t%jiffy == phase)
			phase, seen = t%jiffy, true
		}
	}
	if first {
		return Clock{}, fmt.Errorf("timer list: no jiffies: %w", errTimerList)
	}
	if seen && aligned {
		back := (high - phase) % jiffy // Zero is congruent to the ticks
		if back < 0 {
			back += jiffy
		}
		return Clock{Jiffy: jiffy, Zero: high - back}, nil
	}
	// low can be above high when a lagging reading is among them: then only the width of a jiffy is certain.
	width := high - low
	if width < 0 || width > jiffy {
		width = jiffy
	}
	return Clock{Jiffy: jiffy, Zero: high, Uncertainty: width}, nil
}
