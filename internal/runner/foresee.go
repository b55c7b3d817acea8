package runner

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
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

// Foresight is what can be said of a run before it is made.
type Foresight struct {
	Prediction *result.Prediction // nil: none can be made; the run itself says why
	Answers    Foreseen
}

// Foresee works predictions out on all processors, each question once. What it returns is beside what was wanted.
func Foresee(facts kernel.Facts, wanted []Wanted) []Foresight {
	slots := make(chan struct{}, runtime.NumCPU())
	var wg sync.WaitGroup
	out := make([]Foresight, len(wanted))
	asked := map[string]int{} // a repeated run asks once
	same := make([]int, len(wanted))
	for i, w := range wanted {
		question := fmt.Sprintf("%s %#v", w.Experiment.Name, w.Plan)
		first, ok := asked[question]
		if same[i] = first; ok {
			continue
		}
		asked[question], same[i] = i, i
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			out[i] = foresee(facts, w)
		})
	}
	wg.Wait()
	for i, first := range same {
		out[i] = out[first]
	}
	return out
}

func foresee(facts kernel.Facts, w Wanted) Foresight {
	e, err := Env(w.Experiment, w.Plan, facts)
	if err != nil {
		return Foresight{}
	}
	e.Memory = oracle.NewMemory(nil)
	if _, err := w.Experiment.Predict(e); err != nil { // not windows: what this process has predicted before would teach memory nothing
		return Foresight{Answers: e.Memory.Answers()}
	}
	p, err := Predict(w.Experiment, w.Plan, e) // remembered by now
	if err != nil {
		p = nil
	}
	return Foresight{Prediction: p, Answers: e.Memory.Answers()}
}
