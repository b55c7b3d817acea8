package agent

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// init lets the client go before everybody else where time is virtual: the guest has one processor, and what a call wakes up, a capture's
// reader say, would else run in the middle of the call, and the call would seem to take so long.
func init() {
	if len(os.Args) == 0 || os.Args[0] != Name || os.Getenv(VirtualTime) == "" {
		return
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	fifo := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	for _, t := range threads { // those that the runtime adds later inherit it
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.SchedSetAttr(tid, &fifo, 0) // without it a call may take longer, and the run says so
		}
	}
}
