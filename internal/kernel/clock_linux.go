package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	procTimerList = "/proc/timer_list"
	clockReadings = 5                       // of /proc/timer_list in one ReadClock
	clockSpacing  = 1200 * time.Microsecond // between two of them: with HZ=250 they span more than a tick
)

// MonotonicNow returns CLOCK_MONOTONIC: the clock of Clock, of the kernel's timers and of packet timestamps less their wall clock.
func MonotonicNow() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("kernel: clock_gettime CLOCK_MONOTONIC: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// ReadClock finds the phase of jiffies in /proc/timer_list. It takes about 6 ms and needs root: without it the error wraps
// fs.ErrPermission. A prediction made with the phase is exact to the jiffy; without it, it is a window.
func ReadClock() (Clock, error) {
	var res unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &res); err != nil {
		return Clock{}, fmt.Errorf("kernel: clock_getres CLOCK_MONOTONIC_COARSE: %w", err)
	}
	return readClock(procTimerList, time.Duration(res.Nano()))
}

// readClock reads the timer list several times and combines the readings.
func readClock(path string, jiffy time.Duration) (Clock, error) {
	lists := make([]timerList, 0, clockReadings)
	for i := range clockReadings {
		if i > 0 {
			// This sleep is the measurement: the readings must fall at different places of a tick, and a CPU that wakes from
			// sleep brings the jiffies up to date (tick_irq_enter).
			time.Sleep(clockSpacing)
		}
		l, err := readTimerList(path)
		if err != nil {
			return Clock{}, err
		}
		lists = append(lists, l)
	}
	return clockOf(lists, jiffy)
}

// readTimerList reads the timer list once and notes the time after it.
func readTimerList(path string) (timerList, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrPermission) {
		found := fmt.Sprintf("user %d", os.Geteuid())
		if os.Geteuid() == 0 { // the file's owner is root of the first user namespace
			found = "root of a user namespace"
		}
		return timerList{}, fmt.Errorf("kernel: read the phase of jiffies: want root of the machine, found %s; run with sudo or do without the phase: %w", found, err)
	}
	if err != nil {
		return timerList{}, fmt.Errorf("kernel: read the phase of jiffies: %w", err)
	}
	after, err := MonotonicNow()
	if err != nil {
		return timerList{}, err
	}
	l, err := parseTimerList(b)
	if err != nil {
		return timerList{}, fmt.Errorf("kernel: %s: %w", path, err)
	}
	l.after = after
	return l, nil
}
