// Command clockguest is the first process of a machine whose clock the tests step, where that harms nobody. The request is a list of runs,
// each a list of steps in nanoseconds; each answer is the result.json of exp1 in the fast profile, with CLOCK_REALTIME stepped by the first of them at its
// first event, by the second at its second, and so on.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/netns"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/vm"
)

func init() { netns.PinMain() }

func main() {
	if !vm.InGuest() {
		fmt.Fprintln(os.Stderr, "clockguest: want to be the first process of a machine")
		os.Exit(2)
	}
	vm.Guest(func(request []byte, send func(vm.Message) error) error {
		var runs [][]time.Duration
		if err := json.Unmarshal(request, &runs); err != nil {
			return err
		}
		for i, steps := range runs {
			r, err := run(steps)
			if err != nil {
				return err
			}
			b, err := json.Marshal(r)
			if err != nil {
				return err
			}
			if err := send(vm.Message{Name: strconv.Itoa(i), Data: b}); err != nil {
				return err
			}
		}
		return nil
	})
}

func run(steps []time.Duration) (*result.Result, error) {
	x, err := experiments.Find("exp1-syn-loss")
	if err != nil {
		return nil, err
	}
	plan, err := x.Plan(experiments.Fast, nil, nil)
	if err != nil {
		return nil, err
	}
	w := &stepper{steps: steps}
	r, err := runner.Run(context.Background(), runner.Options{Experiment: x, Plan: plan, Watch: w, Virtual: true})
	if err == nil {
		err = w.err
	}
	return r, err
}

// stepper steps the clock at each event.
type stepper struct {
	mu    sync.Mutex
	steps []time.Duration // to come
	err   error
}

// Ready does nothing.
func (*stepper) Ready(*result.Result) {}

// Status does nothing.
func (*stepper) Status(runner.Status) {}

// Event steps the clock.
func (w *stepper) Event(*result.Result, result.Event, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.steps) == 0 {
		return
	}
	step := w.steps[0]
	w.steps = w.steps[1:]
	if step != 0 {
		t := unix.NsecToTimespec(time.Now().Add(step).UnixNano())
		w.err = errors.Join(w.err, unix.ClockSettime(unix.CLOCK_REALTIME, &t))
	}
}
