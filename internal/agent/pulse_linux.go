package agent

import (
	"encoding/json"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/stall"
)

// pulse notes when this process does not run: stopped by a signal, frozen, waiting for its memory. The machine may be idle meanwhile, and
// the kernel's timers on time; only what the process tells is late.
type pulse struct {
	end  chan struct{}
	done sync.WaitGroup
	once sync.Once

	stalls []Stall // read after done
}

const (
	beatLate   = 2 * time.Millisecond // less moves nothing
	mostStalls = 1000
)

// beatEvery is how often the pulse beats. A stop is sure to be noticed if it is longer than this and beatLate together, which is a jiffy and 5 ms:
// as much as an event may be late by without anybody asking why (judge.Allowance, to which a test holds it). A beat costs some 0.1 ms of a
// processor, so that many programs at once, which all do nothing but wait, are felt.
func beatEvery(jiffy time.Duration) time.Duration { return jiffy + 5*time.Millisecond - beatLate }

// jiffy is this kernel's jiffy.
func jiffy() time.Duration {
	var res unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &res); err != nil {
		return 4 * time.Millisecond
	}
	return time.Duration(res.Nano()) // TICK_NSEC
}

func startPulse() *pulse {
	p := &pulse{end: make(chan struct{})}
	if os.Getenv(VirtualTime) != "" {
		return p
	}
	every, spans := beatEvery(jiffy()), dueSpans()
	t := now()
	due := t + stall.Until(t, every, spans) // from here on nothing goes unnoticed, though the goroutine may start later
	p.done.Go(func() { p.run(due, every, spans) })
	return p
}

// dueSpans reads Due; nil where it is not set.
func dueSpans() []Span {
	text := os.Getenv(Due)
	var spans []Span
	if text == "" || json.Unmarshal([]byte(text), &spans) != nil {
		return nil
	}
	return spans
}

func (p *pulse) run(due, every time.Duration, spans []Span) {
	next := time.NewTimer(due - now())
	defer next.Stop()
	for {
		ended := false
		select {
		case <-p.end:
			ended = true
		case <-next.C:
		}
		t := now()
		if late := t - due; late > beatLate && len(p.stalls) < mostStalls {
			p.stalls = append(p.stalls, Stall{Due: due, For: late})
		}
		if ended {
			return
		}
		due = t + stall.Until(t, every, spans)
		next.Reset(due - t)
	}
}

// stop ends the pulse and returns what it noted. It may be called again.
func (p *pulse) stop() []Stall {
	p.once.Do(func() { close(p.end) })
	p.done.Wait()
	return p.stalls
}
