package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/tcplab/tcplab/internal/userns"
)

// signalError is the cause with which a signal cancels a run.
type signalError struct{ sig syscall.Signal }

// Error names the signal.
func (e *signalError) Error() string {
	if e.sig == syscall.SIGINT {
		return "interrupted"
	}
	return fmt.Sprintf("ended by signal %d (%v)", int(e.sig), e.sig)
}

func (e *signalError) exit() int { return 128 + int(e.sig) }

// interrupts takes SIGINT and SIGTERM. The first cancels what goes on, so that everything is undone in order. A second one ends the process
// at once; the kernel and the guard then undo the rest, because nothing of a lab has a name.
//
// Where another process does the work in a user namespace, both get what comes from the terminal, and this one passes on what it gets. A
// signal that came both ways is one signal: of each kind, the larger number of the two counts.
type interrupts struct {
	cancel context.CancelCauseFunc
	exit   func(code int) // ends the process

	mu        sync.Mutex
	own       map[syscall.Signal]int
	forwarded map[syscall.Signal]int
	handled   int
	child     *userns.Child // nil: the work is done here
}

// untilSignal returns a context that the first SIGINT or SIGTERM cancels.
func untilSignal(parent context.Context) (context.Context, *interrupts, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	in := newInterrupts(cancel, os.Exit)
	ch := make(chan os.Signal, 8)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case s := <-ch:
				in.got(in.own, s.(syscall.Signal))
			}
		}
	}()
	if userns.Inside() {
		go userns.Forwarded(func(s syscall.Signal) { in.got(in.forwarded, s) }) // ends with the process
	}
	return ctx, in, func() { signal.Stop(ch); close(done); cancel(nil) }
}

func newInterrupts(cancel context.CancelCauseFunc, exit func(int)) *interrupts {
	return &interrupts{cancel: cancel, exit: exit, own: map[syscall.Signal]int{}, forwarded: map[syscall.Signal]int{}}
}

// got takes one signal that came one way.
func (in *interrupts) got(way map[syscall.Signal]int, s syscall.Signal) {
	in.mu.Lock()
	defer in.mu.Unlock()
	way[s]++
	if in.child != nil {
		in.child.Signal(s)
		return
	}
	total := 0
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		total += max(in.own[s], in.forwarded[s])
	}
	if total == in.handled {
		return
	}
	in.handled = total
	e := &signalError{s}
	if total > 1 {
		in.exit(e.exit())
	}
	in.cancel(e)
}

// handTo passes everything on to the process that does the work, from now on and what came before.
func (in *interrupts) handTo(c *userns.Child) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.child = c
	for s, n := range in.own {
		for range n {
			c.Signal(s)
		}
	}
}
