package runner

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Foreseen are predictions over every start, worked out before a run and for a kernel that is not running, by all that they stand on. A
// run takes one only where it comes to the same question from what it read in its lab.
type Foreseen map[string]timeline.Timeline

// Wanted is a run whose prediction is wanted beforehand.
type Wanted struct {
	Experiment *experiments.Experiment
	Plan       experiments.Plan
}

// Foresee works predictions out on all processors. One that cannot be made is left to the run itself, which says why.
func Foresee(facts kernel.Facts, wanted []Wanted) Foreseen {
	memory := oracle.NewMemory(nil)
	slots := make(chan struct{}, runtime.NumCPU())
	var wg sync.WaitGroup
	asked := map[string]bool{} // a repeated run asks once
	for _, w := range wanted {
		question := fmt.Sprintf("%s %#v", w.Experiment.Name, w.Plan)
		if asked[question] {
			continue
		}
		asked[question] = true
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if e, err := Env(w.Experiment, w.Plan, facts); err == nil {
				e.Memory = memory
				_, _ = w.Experiment.Predict(e) // not windows: what this process has predicted before would teach memory nothing
			}
		})
	}
	wg.Wait()
	return memory.Answers()
}
