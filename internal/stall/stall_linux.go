// Package stall watches whether this machine runs what is due, when it is due: one thread per processor sleeps for short, absolute
// times and notes when it was woken late. A TCP timer that fires late on a processor that stalled says nothing about the kernel.
//
// It is not a benchmark, and a quiet record does not prove that nothing stalled between two looks. Its one trap: the watcher's own
// threads must be spread, one per processor, or a stalled processor goes unseen.
package stall

import (
	"runtime"
	"sort"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Stall is a time in which a processor did not run the watcher although it was due.
type Stall struct {
	Due time.Duration // CLOCK_MONOTONIC
	For time.Duration
	CPU int
}

// period between two looks. A stall is seen if it is longer than the threshold and covers a look.
const period = 4 * time.Millisecond

// Watcher records stalls from Watch until Stop.
type Watcher struct {
	threshold time.Duration
	stop      chan struct{}
	wg        sync.WaitGroup

	mu     sync.Mutex
	stalls []Stall
}

// Watch starts one watcher thread on each processor that this process may use, and returns when all of them watch. A wake-up later than
// threshold is a stall.
func Watch(threshold time.Duration) (*Watcher, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	w := &Watcher{threshold: threshold, stop: make(chan struct{})}
	var started sync.WaitGroup // from when this returns, nothing goes unseen
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			started.Add(1)
			w.wg.Go(func() { w.watch(cpu, started.Done) })
		}
	}
	started.Wait()
	return w, nil
}

// watch pins its thread, and never unlocks it: a thread with a changed affinity must not go back to the runtime.
func (w *Watcher) watch(cpu int, started func()) {
	runtime.LockOSThread()
	var one unix.CPUSet
	one.Set(cpu)
	err := unix.SchedSetaffinity(0, &one)
	due := now() + period
	started()
	if err != nil {
		return // the processor went offline or out of our cpuset: nothing of ours runs there
	}
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		ts := unix.NsecToTimespec(int64(due))
		if err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil); err == unix.EINTR {
			continue
		}
		t := now()
		if late := t - due; late > w.threshold {
			w.mu.Lock()
			w.stalls = append(w.stalls, Stall{Due: due, For: late, CPU: cpu})
			w.mu.Unlock()
		}
		due = t + period
	}
}

func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("stall: CLOCK_MONOTONIC: " + err.Error()) // cannot fail on Linux
	}
	return time.Duration(ts.Nano())
}

// Stalls returns what was seen so far, by time.
func (w *Watcher) Stalls() []Stall {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := append([]Stall(nil), w.stalls...)
	sort.Slice(out, func(i, j int) bool { return out[i].Due < out[j].Due })
	return out
}

// Stop ends the watchers, waits for them and returns all stalls.
func (w *Watcher) Stop() []Stall {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.wg.Wait()
	return w.Stalls()
}
