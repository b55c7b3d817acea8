package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
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

// untilSignal returns a context that the first SIGINT or SIGTERM cancels, so that everything is undone in order. A second one ends the
// process at once; the kernel then undoes the rest, because nothing of a lab has a name.
func untilSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case s := <-ch:
				e := &signalError{s.(syscall.Signal)}
				if n > 0 {
					os.Exit(e.exit())
				}
				cancel(e)
			}
		}
	}()
	return ctx, func() { signal.Stop(ch); close(done); cancel(nil) }
}
