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
	"sync/atomic"
	"time"
	"unsafe"

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
	due  []Span        // when something may be; nil: at any time
	seen []Stall       // after Stop
}

// crew are the watching threads. All watchers of a process with the same threshold share one: a thread for each processor wakes up 250
// times a second, and with a crew for each of fifty labs the watching would be what makes the machine late.
type crew struct {
	threshold time.Duration
	wg        sync.WaitGroup
	watchers  map[*Watcher]bool // guarded by crews.mu
	threads   []*thread

	// What a look reads, without a lock: a thread that waited for one which a stalled one holds would seem to be on that one's processor.
	due    atomic.Pointer[[]Span] // of all watchers; none: something may be due at any time
	over   atomic.Bool
	called atomic.Int64  // CLOCK_MONOTONIC of the first call that not all threads have heard
	calls  atomic.Uint32 // a futex: how often the threads were called out of their sleep

	mu     sync.Mutex
	stalls []Stall
}

// thread is one watching thread.
type thread struct {
	cpu    int
	looked atomic.Int64 // CLOCK_MONOTONIC of its newest look
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
		c = &crew{threshold: threshold, watchers: map[*Watcher]bool{}}
		c.due.Store(&[]Span{})
		if err := c.start(); err != nil {
			return nil, err
		}
		crews.of[threshold] = c
	}
	w := &Watcher{crew: c, from: now()}
	c.watchers[w] = true
	c.gather()
	return w, nil
}

// Expect says when something may be due, until it is called again: elsewhere the threads look every Rest only, where no other watcher of the
// process wants more. Without spans, and before the first call, something may be due at any time.
func (w *Watcher) Expect(due []Span) {
	crews.mu.Lock()
	defer crews.mu.Unlock()
	if w.due = due; w.crew != nil {
		w.crew.gather()
	}
}

// gather puts together what the watchers expect. The caller holds crews.mu.
func (c *crew) gather() {
	var all []Span
	for w := range c.watchers {
		if len(w.due) == 0 {
			all = nil
			break
		}
		all = append(all, w.due...)
	}
	c.due.Store(&all)
	c.call()
}

// start starts the threads.
func (c *crew) start() error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return err
	}
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			c.threads = append(c.threads, &thread{cpu: cpu})
		}
	}
	var started sync.WaitGroup // from when this returns, nothing goes unseen
	for _, t := range c.threads {
		started.Add(1)
		c.wg.Go(func() { c.watch(t, started.Done) })
	}
	started.Wait()
	return nil
}

// watch pins its thread, and never unlocks it: a thread with a changed affinity must not go back to the runtime.
func (c *crew) watch(t *thread, started func()) {
	runtime.LockOSThread()
	var one unix.CPUSet
	one.Set(t.cpu)
	err := unix.SchedSetaffinity(0, &one)
	due, heard := now(), c.calls.Load()
	started()
	if err != nil {
		t.looked.Store(1<<63 - 1)
		return // the processor went offline or out of our cpuset: nothing of ours runs there
	}
	for {
		calls := c.calls.Load()
		if calls != heard { // it was due from then on
			due, heard = min(due, time.Duration(c.called.Load())), calls
		}
		at := now()
		if late := at - due; late > c.threshold {
			c.mu.Lock()
			c.stalls = append(c.stalls, Stall{Due: due, For: late, CPU: t.cpu})
			c.mu.Unlock()
		}
		t.looked.Store(int64(at))
		if c.over.Load() {
			return
		}
		due = at + Until(at, period, *c.due.Load())
		c.sleep(calls, due)
	}
}

// The operation of futex(2) that waits until a time of CLOCK_MONOTONIC, for a word that no other process has.
const (
	futexWaitBitset = 9   // FUTEX_WAIT_BITSET
	futexWake       = 1   // FUTEX_WAKE
	futexPrivate    = 128 // FUTEX_PRIVATE_FLAG
	futexAny        = 1<<32 - 1
)

// sleep returns at the CLOCK_MONOTONIC time until, on a signal, or when the number of calls is another than it was.
func (c *crew) sleep(calls uint32, until time.Duration) {
	ts := unix.NsecToTimespec(int64(until))
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&c.calls)), futexWaitBitset|futexPrivate, uintptr(calls), uintptr(unsafe.Pointer(&ts)), 0, futexAny)
}

// call ends the threads' sleep. The caller holds crews.mu.
func (c *crew) call() {
	if before := c.called.Load(); !slices.ContainsFunc(c.threads, func(t *thread) bool { return t.looked.Load() < before }) {
		c.called.Store(int64(now()))
	}
	c.calls.Add(1)
	_, _, _ = unix.Syscall(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&c.calls)), futexWake|futexPrivate, uintptr(len(c.threads)))
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
		c.over.Store(true)
		c.call()
		c.wg.Wait()
	} else {
		c.gather()
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
