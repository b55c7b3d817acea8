package agent

import (
	"os"
	"sync"
	"time"
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
	beatEvery  = 4 * time.Millisecond
	beatLate   = 2 * time.Millisecond // less moves nothing
	mostStalls = 1000
)

func startPulse() *pulse {
	p := &pulse{end: make(chan struct{})}
	if os.Getenv(VirtualTime) != "" {
		return p
	}
	due := now() + beatEvery // from here on nothing goes unnoticed, though the goroutine may start later
	p.done.Go(func() { p.run(due) })
	return p
}

func (p *pulse) run(due time.Duration) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		ended := false
		select {
		case <-p.end:
			ended = true
		case <-tick.C:
		}
		t := now()
		if late := t - due; late > beatLate && len(p.stalls) < mostStalls {
			p.stalls = append(p.stalls, Stall{Due: due, For: late})
		}
		if ended {
			return
		}
		due = t + beatEvery
	}
}

// stop ends the pulse and returns what it noted. It may be called again.
func (p *pulse) stop() []Stall {
	p.once.Do(func() { close(p.end) })
	p.done.Wait()
	return p.stalls
}
