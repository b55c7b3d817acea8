package vm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// pinned counts the machines of this process on each processor.
var pinned = struct {
	sync.Mutex
	on map[int]int
}{on: map[int]int{}}

// pin makes the threads of an engine that was just started share one processor, those that it will have too, and returns what to call when it
// has ended. The engine moves the clock of an idle guest on in one thread (icount_start_warp_timer), and the other calls the guest idle
// (cpu->halted) just before it counts the last instructions: when both run at once, now and then some are counted twice, and what follows drifts
// apart (docs/adr/0013).
func pin(pid int) (unpin func(), err error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &all); err != nil {
		return nil, fmt.Errorf("read the processors of process %d: %w", pid, err)
	}
	pinned.Lock()
	cpu := freest(&all, pinned.on)
	pinned.on[cpu]++
	pinned.Unlock()
	unpin = func() {
		pinned.Lock()
		defer pinned.Unlock()
		pinned.on[cpu]--
	}
	var one unix.CPUSet
	one.Set(cpu)
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, t := range threads { // the first one, which makes those that matter, is there from the start
		tid, aerr := strconv.Atoi(filepath.Base(t))
		if aerr == nil {
			aerr = unix.SchedSetaffinity(tid, &one)
		}
		if err == nil && !errors.Is(aerr, unix.ESRCH) {
			err = aerr
		}
	}
	if err != nil {
		unpin()
		return nil, fmt.Errorf("give process %d one processor: %w", pid, err)
	}
	return unpin, nil
}

// goFirst gives the first thread of an engine real-time priority: before the one that makes the guest's instructions, and as soon as it is woken. It moves the
// clock of an idle guest on, and works for some microseconds each time. Where this may not be done it is not: an ordinary user's machine boots as well, and
// on a busy host gives way for longer (giveWay).
func (m *machine) goFirst() {
	if !m.virtual {
		return
	}
	a := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	m.first = unix.SchedSetAttr(m.cmd.Process.Pid, &a, 0) == nil
}

// freest is a processor of the set with as few machines as any. Which one is left to chance: another tcplab chooses too.
func freest(set *unix.CPUSet, on map[int]int) int {
	var best []int
	for cpu := range len(set) * 64 {
		switch {
		case !set.IsSet(cpu):
		case len(best) > 0 && on[cpu] > on[best[0]]:
		case len(best) > 0 && on[cpu] == on[best[0]]:
			best = append(best, cpu)
		default:
			best = []int{cpu}
		}
	}
	return best[rand.IntN(len(best))]
}
