package runner

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
)

// What was foreseen is what the run would have found, for every experiment; and a run that reads another value of any setting that the
// prediction stands on does not take it: that would be the timeline of the old value, where another follows from the new one.
func TestForesee(t *testing.T) {
	facts, err := kernel.Model(kernel.Version{Major: 6, Minor: 12}, 250)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range experiments.All() {
		t.Run(x.Name, func(t *testing.T) {
			t.Parallel()
			plan, err := x.Plan(experiments.Fast, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			e, err := Env(x, plan, facts)
			if err != nil {
				t.Fatal(err)
			}
			asked := map[string]bool{}
			want, err := x.Predict(e.Watched(asked))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := windows(x, e); err != nil { // as whoever divides the runs among machines does before
				t.Fatal(err)
			}
			ahead := Foresee(facts, []Wanted{{x, plan}, {x, plan}})
			foreseen := ahead[0].Answers
			e.Memory = oracle.NewMemory(foreseen)
			if again, err := Predict(x, plan, e); err != nil || !cmp.Equal(again, ahead[0].Prediction) || !cmp.Equal(ahead[0], ahead[1]) {
				t.Errorf("got another prediction than the run's own, or two for one plan, %v", err)
			}
			got, err := x.Predict(e)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("foreseen (-want +got):\n%s", d)
			}
			if n := len(e.Memory.Answers()); n != len(foreseen) {
				t.Errorf("the run asked %d questions of its own: want none", n-len(foreseen))
			}
			if len(foreseen) == 0 {
				if x.Name == "exp2-synack-loss" {
					t.Error("nothing was foreseen of what takes a guest half a minute")
				}
				return // worked out each time, because it is quick
			}
			for name := range asked {
				changedSetting(t, x, e, foreseen, name)
			}
		})
	}
}

// changedSetting predicts with another value of one setting, from the answers that were foreseen. Some of them may still hold, where an experiment asks
// several questions; values of which nothing follows show nothing.
func changedSetting(t *testing.T, x *experiments.Experiment, e experiments.Env, foreseen Foreseen, name string) {
	t.Helper()
	host, knob, _ := strings.Cut(name, ".")
	v, _, err := e.Int(host, knob)
	if err != nil {
		t.Fatal(err)
	}
	e.Memory = nil
	other := e.With(host, knob, strconv.FormatInt(v+1, 10))
	want, err := x.Predict(other)
	if err != nil {
		return // no such value
	}
	before, err := x.Predict(e)
	if err != nil {
		t.Fatal(err)
	}
	if cmp.Equal(before, want) {
		return
	}
	other.Memory = oracle.NewMemory(foreseen)
	got, err := x.Predict(other)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s=%d: an answer to %d was taken (-want +got):\n%s", name, v+1, v, d)
	}
}
