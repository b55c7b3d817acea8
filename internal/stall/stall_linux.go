// Package stall watches whether this machine runs what is due, when it is due: one thread per processor sleeps for short, absolute
// times and notes when it was woken late. A TCP timer that fires late on a processor that stalled says nothing about the kernel.
//
// It is not a benchmark, and a quiet record does not prove that nothing stalled between two looks. Its one trap: the watcher's own
// threads must be spread, one per processor, or a stalled processor goes unseen.
package stall

import (
	"runtime"
	"slices"
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
	crew *crew
	from time.Duration // CLOCK_MONOTONIC when it began
	seen []Stall       // after Stop
}

// crew are the watching threads. All watchers of a process with the same threshold share one: a thread for each processor wakes up 250
// times a second, and with a crew for each of fifty labs the watching would be what makes the machine late.
type crew struct {
	threshold time.Duration
	stop      chan struct{}
	wg        sync.WaitGroup
	watchers  map[*Watcher]bool // guarded by crews.mu

	mu     sync.Mutex
	stalls []Stall
}

var crews = struct {
	mu sync.Mutex
	of map[time.Duration]*crew // by threshold
}{of: map[time.Duration]*crew{}}

// Watch starts one watching thread on each processor that this process may use, or joins those that are there, and returns when all of
// them watch. A wake-up later than threshold is a stall.
func Watch(threshold time.Duration) (*Watcher, error) {
	crews.mu.Lock()
	defer crews.mu.Unlock()
	c := crews.of[threshold]
	if c == nil {
		c = &crew{threshold: threshold, stop: make(chan struct{}), watchers: map[*Watcher]bool{}}
		if err := c.start(); err != nil {
			return nil, err
		}
		crews.of[threshold] = c
	}
	w := &Watcher{crew: c, from: now()}
	c.watchers[w] = true
	return w, nil
}

// start starts the threads.
func (c *crew) start() error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return err
	}
	var started sync.WaitGroup // from when this returns, nothing goes unseen
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			started.Add(1)
			c.wg.Go(func() { c.watch(cpu, started.Done) })
		}
	}
	started.Wait()
	return nil
}

// watch pins its thread, and never unlocks it: a thread with a changed affinity must not go back to the runtime.
func (c *crew) watch(cpu int, started func()) {
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
		case <-c.stop:
			return
		default:
		}
		ts := unix.NsecToTimespec(int64(due))
		if err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil); err == unix.EINTR {
			continue
		}
		t := now()
		if late := t - due; late > c.threshold {
			c.mu.Lock()
			c.stalls = append(c.stalls, Stall{Due: due, For: late, CPU: cpu})
			c.mu.Unlock()
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

// Stalls returns what was seen so far, by time: also a stall that had begun before Watch was called.
func (w *Watcher) Stalls() []Stall {
	crews.mu.Lock()
	defer crews.mu.Unlock()
	return w.stalls()
}

// stalls is Stalls for a caller who holds the lock.
func (w *Watcher) stalls() []Stall {
	if w.crew == nil {
		return w.seen
	}
	w.crew.mu.Lock()
	defer w.crew.mu.Unlock()
	var out []Stall
	for _, s := range w.crew.stalls {
		if s.Due+s.For >= w.from {
			out = append(out, s)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Due < out[j].Due })
	return out
}

// Stop ends the watching and returns all stalls. The threads end with the last watcher, and Stop waits for them. It may be called again.
func (w *Watcher) Stop() []Stall {
	crews.mu.Lock()
	defer crews.mu.Unlock()
	c := w.crew
	if c == nil {
		return w.seen
	}
	if delete(c.watchers, w); len(c.watchers) == 0 {
		delete(crews.of, c.threshold)
		close(c.stop)
		c.wg.Wait()
	}
	w.seen = w.stalls()
	w.crew = nil
	c.forget()
	return w.seen
}

// forget drops what is older than every watcher. The caller holds crews.mu.
func (c *crew) forget() {
	oldest := now()
	for w := range c.watchers {
		oldest = min(oldest, w.from)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalls = slices.DeleteFunc(c.stalls, func(s Stall) bool { return s.Due+s.For < oldest })
}
