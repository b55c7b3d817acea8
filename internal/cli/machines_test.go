package cli

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/vm"
)

// TestShare catches a run that no machine gets, or two do, one machine with all the work, another order than the catalogue's within a machine,
// and a division that is not the same each time.
func TestShare(t *testing.T) {
	xs := three()
	jobs := jobsOf(xs[0], xs[1], xs[2], xs[0], xs[1])
	weight := []time.Duration{1, 8, 2, 1, 3}
	for _, machines := range []int{1, 2, 3, 9} {
		parts := share(jobs, weight, machines)
		var all []int
		most := time.Duration(0)
		for _, p := range parts {
			load := time.Duration(0)
			for i, j := range p {
				all = append(all, j.n)
				load += weight[j.n-1]
				if i > 0 && p[i-1].n > j.n {
					t.Errorf("%d machines: run %d before %d", machines, p[i-1].n, j.n)
				}
			}
			most = max(most, load)
		}
		slices.Sort(all)
		if !slices.Equal(all, []int{1, 2, 3, 4, 5}) || len(parts) != min(machines, len(jobs)) {
			t.Errorf("%d machines: got %d with runs %v, want every run once", machines, len(parts), all)
		}
		if machines == 2 && most != 8 {
			t.Errorf("the busiest of two machines has %d of 15, want 8", most)
		}
		if again := share(jobs, weight, machines); !slices.EqualFunc(parts, again, func(a, b []job) bool {
			return slices.EqualFunc(a, b, func(x, y job) bool { return x.n == y.n })
		}) {
			t.Errorf("%d machines: got another division the second time", machines)
		}
	}
}

// TestWeights catches an estimate that is blind to how long a run waits, or to how much happens in it.
func TestWeights(t *testing.T) {
	facts := factsOf(vm.Kernel{Release: "6.12.117+deb12-cloud-amd64"})
	if facts == nil || !facts.Version.AtLeast(6, 12) {
		t.Fatalf("got facts %+v, want those of 6.12", facts)
	}
	var jobs []job
	for i, name := range []string{"exp1-syn-loss", "exp4-keepalive", "exp2-capture-point"} {
		x, err := experiments.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := x.Plan(experiments.Kernel, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, job{x: x, plan: plan, n: i + 1})
	}
	b := &batch{flags: &runFlags{evidence: "off"}, jobs: jobs}
	w := weights(jobs, lookAhead(vm.Kernel{}, facts, b).of(jobs))
	if w[1] <= w[0] || w[2] <= 2*w[1] {
		t.Errorf("got %v, want more for two hours than for one connection, and far more for ten connections", w)
	}
	if w := weights(jobs, lookAhead(vm.Kernel{}, nil, b).of(jobs)); w[0] != w[1] || w[2] <= 2*w[1] {
		t.Errorf("a kernel that is not known: got %v, want the same for all but ten connections", w)
	}
}

// TestDeadlines catches a deadline that a long run in real time, or a keepalive of a month, cannot meet.
func TestDeadlines(t *testing.T) {
	lasts := func(d time.Duration) *result.Prediction {
		return &result.Prediction{Events: []result.Event{{At: result.Seconds(d)}}}
	}
	for _, tt := range []struct {
		name                           string
		lasts                          time.Duration
		realTime                       bool
		leastSilence, leastVirtual, at time.Duration // at: the longest silence that a user would put up with
	}{
		{"short", time.Minute, false, time.Minute, 2 * time.Minute, 6 * time.Minute},
		{"a month in virtual time", 720 * time.Hour, false, 6 * time.Minute, 1440 * time.Hour, 24 * time.Hour},
		{"two hours in real time", 2 * time.Hour, true, 4 * time.Hour, 4 * time.Hour, 5 * time.Hour},
	} {
		silence, virtual, wall := deadlines([]*result.Prediction{lasts(tt.lasts), lasts(tt.lasts)}, 0, tt.realTime)
		if silence < tt.leastSilence || silence > tt.at || virtual < 2*tt.leastVirtual || wall < silence {
			t.Errorf("%s: got silence %v, virtual %v, wall %v", tt.name, silence, virtual, wall)
		}
	}
	if _, virtual, _ := deadlines([]*result.Prediction{nil}, 0, false); virtual < vm.DefaultVirtual {
		t.Errorf("not predicted: got %v of virtual time, want %v", virtual, vm.DefaultVirtual)
	}
}

// TestDeadlinesOfTimeout catches a machine that ends before the time after which its runs were to be given up, and sums that overflow.
func TestDeadlinesOfTimeout(t *testing.T) {
	p := &result.Prediction{}
	for _, realTime := range []bool{false, true} {
		silence, virtual, wall := deadlines([]*result.Prediction{p, p}, time.Hour, realTime)
		if virtual < 2*time.Hour || realTime && (silence < time.Hour || wall < 2*time.Hour) {
			t.Errorf("two runs of an hour, real time %v: got silence %v, virtual %v, wall %v", realTime, silence, virtual, wall)
		}
		if _, short, _ := deadlines([]*result.Prediction{p, p}, time.Second, realTime); short >= time.Hour {
			t.Errorf("two runs of a second: got %v of virtual time", short)
		}
		silence, virtual, wall = deadlines([]*result.Prediction{p, p, p}, math.MaxInt64, realTime)
		if min(silence, virtual, wall) <= 0 || virtual != longest || !time.Now().Add(wall).After(time.Now()) {
			t.Errorf("for ever: got silence %v, virtual %v, wall %v", silence, virtual, wall)
		}
	}
}

// TestTasks catches a guest that is asked more than it can be, a run that no machine or two get, and machines for what one can be asked.
func TestTasks(t *testing.T) {
	x, err := experiments.Find("exp1-syn-loss")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := x.Plan(experiments.Fast, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		runs     int
		machines bool // more than one
	}{{1, false}, {100, false}, {12000, true}} {
		jobs := list([]*experiments.Experiment{x}, []experiments.Plan{plan}, tt.runs)
		b := &batch{app: &app{}, flags: &runFlags{}, jobs: jobs}
		all, err := b.tasks(vm.Kernel{}, foresight{runs: make([]runner.Foresight, len(jobs))}, [][]job{jobs})
		if err != nil || len(all) > 1 != tt.machines {
			t.Errorf("%d runs: got %d machines, %v, want several: %v", tt.runs, len(all), err, tt.machines)
		}
		next := 1
		for _, w := range all {
			if len(w.machine.Request) > vm.MostRequest || w.machine.Virtual <= 0 {
				t.Errorf("%d runs: a machine with %d of them is asked %d bytes within %v, want at most %d", tt.runs, len(w.jobs), len(w.machine.Request), w.machine.Virtual, vm.MostRequest)
			}
			for _, j := range w.jobs {
				if j.n != next {
					t.Fatalf("%d runs: got run %d where %d is to come", tt.runs, j.n, next)
				}
				next++
			}
		}
		if next != tt.runs+1 {
			t.Errorf("%d runs: got %d", tt.runs, next-1)
		}
	}
}

// TestMachineEndsAmongOthers catches a machine that dies and takes the verdicts of the others, or the knowledge of its own dead runs, with it.
func TestMachineEndsAmongOthers(t *testing.T) {
	xs := three()
	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs}
	b := &batch{app: a, flags: &runFlags{}, jobs: jobsOf(xs[0], xs[1], xs[2]), results: make([]*result.Result, 3)}
	b.results[0] = &result.Result{Experiment: result.Experiment{Name: xs[0].Name}, Verdict: result.Pass}
	in := &inbox{b: b, jobs: b.jobs[1:], ended: 0}
	in.unmade(&vm.EndError{Why: "the guest ended before it had answered"})
	if err := b.finish(); err != nil {
		t.Fatal(err)
	}
	if a.code != explain.ExitInternal || len(b.failed) != 2 {
		t.Errorf("got exit code %d, %d failed, want %d, 2", a.code, len(b.failed), explain.ExitInternal)
	}
	if !strings.Contains(out.String(), "3 runs: 1 pass") || !strings.Contains(errs.String(), "c-bare: tcplab: the guest ended") {
		t.Errorf("got %q and %q", out.String(), errs.String())
	}
}

// TestColumns catches kernels that are named twice, and a name of nothing.
func TestColumns(t *testing.T) {
	cols, err := kernelColumns([]string{"host", " host"}, nil)
	if err != nil || len(cols) != 1 || !cols[0].host {
		t.Errorf("host twice: got %+v, %v, want it once", cols, err)
	}
	if _, err := kernelColumns([]string{"host", ""}, nil); err == nil {
		t.Error("an empty name: got no error")
	} else if exit, _ := classify(err); exit != explain.ExitUsage {
		t.Errorf("an empty name: got exit code %d, want %d", exit, explain.ExitUsage)
	}
	if _, err := kernelColumns([]string{"0.99"}, nil); !errors.Is(err, vm.ErrMissing) {
		t.Errorf("a kernel that is not here: got %v, want %v", err, vm.ErrMissing)
	}
}
