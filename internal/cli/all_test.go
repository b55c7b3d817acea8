package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
)

// three are experiments of these tests alone: short, long, and one with a parameter of its own.
func three() []*experiments.Experiment {
	both := experiments.Param{Flag: "count", Min: 1, Max: 9}
	own := experiments.Param{Flag: "own", Min: 1, Max: 9}
	return []*experiments.Experiment{
		{Name: "a-short", Params: []experiments.Param{both}},
		{Name: "b-long", Params: []experiments.Param{both, own}},
		{Name: "c-bare"},
	}
}

func jobsOf(xs ...*experiments.Experiment) []job {
	var jobs []job
	for _, x := range xs {
		jobs = append(jobs, job{x: x, n: len(jobs) + 1})
	}
	return jobs
}

// TestExpand catches a catalogue that is not whole, is out of order, or has an experiment twice.
func TestExpand(t *testing.T) {
	whole, err := expand([]string{"all"})
	if err != nil || !cmp.Equal(names(whole), names(experiments.All())) {
		t.Errorf("all: got %v, %v, want %v", names(whole), err, names(experiments.All()))
	}
	last := experiments.All()[len(experiments.All())-1]
	again, err := expand([]string{last.Name, "all", last.Name})
	if err != nil || len(again) != len(experiments.All()) || again[0] != last {
		t.Errorf("one and all: got %v, %v, want it first and once", names(again), err)
	}
	if _, err := expand([]string{"all", "nosuch"}); err == nil {
		t.Error("all nosuch: got no error, want one")
	}
}

func names(xs []*experiments.Experiment) []string {
	var out []string
	for _, x := range xs {
		out = append(out, x.Name)
	}
	return out
}

// TestGiven catches a flag that nobody has being ignored, and one that reaches an experiment without it.
func TestGiven(t *testing.T) {
	three, four := "3", "4"
	c := &choice{params: map[string]*string{"count": &three, "own": &four, "other": &four}}
	only := func(flags ...string) func(string) bool {
		return func(f string) bool { return strings.Contains(" "+strings.Join(flags, " ")+" ", " "+f+" ") }
	}
	got, err := c.given(only("count", "own"), jobXs())
	want := []map[string]string{{"count": "3"}, {"count": "3", "own": "4"}, {}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := c.given(only("other"), jobXs()); err == nil || !strings.Contains(err.Error(), "none of the 3 experiments has a parameter --other") {
		t.Errorf("a flag of none: got %v, want an error", err)
	}
	if _, err := c.given(only("own"), jobXs()[:1]); err == nil || !strings.Contains(err.Error(), "a-short has no parameter --own") {
		t.Errorf("a flag of another: got %v, want an error", err)
	}
}

func jobXs() []*experiments.Experiment { return three() }

// TestAnnouncement catches a sum where the runs are at once, the longest one for a sum where they are not, and an order that leaves the
// longest for the end.
func TestAnnouncement(t *testing.T) {
	xs := three()
	jobs := jobsOf(xs[0], xs[1], xs[2])
	took := []time.Duration{5 * time.Second, 60 * time.Second, 20 * time.Second}
	for _, tt := range []struct {
		parallel int
		low, top time.Duration
		words    string
	}{
		{1, 85 * time.Second, 90 * time.Second, "3 runs, 1 lab at once: takes about 88 s; the longest is b-long with 60 s"},
		{2, 60 * time.Second, 62 * time.Second, "3 runs, 2 labs at once"},
		{3, 60 * time.Second, 62 * time.Second, "3 runs, 3 labs at once"},
		{50, 60 * time.Second, 62 * time.Second, "3 runs, 3 labs at once"},
	} {
		text, whole := announcement(jobs, took, tt.parallel)
		if whole < tt.low || whole > tt.top || !strings.Contains(text, tt.words) {
			t.Errorf("%d at once: got %q, %v, want %q, %v to %v", tt.parallel, text, whole, tt.words, tt.low, tt.top)
		}
	}
	var got []string
	for _, j := range order(jobs, took) {
		got = append(got, fmt.Sprint(j.n))
	}
	if want := []string{"2", "3", "1"}; !cmp.Equal(got, want) {
		t.Errorf("order: got %v, want %v", got, want)
	}
}

// TestSeveral catches an experiment that cannot run here ending the others, or being left out of the verdict; and one that was
// contradicted being hidden by a good one.
func TestSeveral(t *testing.T) {
	xs := three()
	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs, color: "never"}
	b := &batch{app: a, flags: &runFlags{}, jobs: jobsOf(xs[0], xs[0], xs[1], xs[2])}
	run := func(x *experiments.Experiment, v result.Verdict) *result.Result {
		return &result.Result{Experiment: result.Experiment{Name: x.Name}, Verdict: v, Wall: result.Seconds(time.Second), Checks: []result.Check{{Verdict: v}}, Reason: "because"}
	}
	b.results = []*result.Result{run(xs[0], result.Pass), run(xs[0], result.Inconclusive), nil, run(xs[2], result.Pass)}
	if !b.keepOn(context.Background(), b.jobs[2], fmt.Errorf("no such knob: %w", runner.ErrUnable)) {
		t.Error("an experiment that cannot run here: got the end of all, want the others to go on")
	}
	if err := b.finish(); err != nil {
		t.Fatal(err)
	}
	if a.code != explain.ExitInconclusive { // 5 before 3
		t.Errorf("exit code: got %d, want %d", a.code, explain.ExitInconclusive)
	}
	for _, line := range []string{"a-short     INCONCLUSIVE     1/2  1.0 s  1 pass, 1 inconclusive  because", "b-long      UNABLE", "no such knob", "c-bare      PASS"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("got\n%swant a line with %q", out.String(), line)
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if b.keepOn(ended, b.jobs[2], errors.New("interrupted")) {
		t.Error("a signal: got the others going on, want the end")
	}
	one := &batch{app: a, flags: &runFlags{}, jobs: jobsOf(xs[0], xs[0])}
	if one.keepOn(context.Background(), one.jobs[0], errors.New("no")) {
		t.Error("one experiment many times: got the others going on, want the end")
	}
}

// TestSummaryRow catches a pass after a failure that makes the row green.
func TestSummaryRow(t *testing.T) {
	r := report.SummaryRow{Runs: map[result.Verdict]int{}}
	for _, v := range []result.Verdict{result.Pass, result.Fail, result.Inconclusive, result.Pass} {
		r.Add(&result.Result{Verdict: v, Reason: string(v) + " it is", Checks: []result.Check{{Verdict: v}}})
	}
	if r.Verdict != result.Fail || r.Reason != "fail it is" || r.Passed != 2 || r.Checks != 4 {
		t.Errorf("got %+v, want fail, 2 of 4", r)
	}
}
