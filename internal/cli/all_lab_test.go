//go:build lab && !race

// Built for the race detector a program answers ten times slower; the batch is run under it by the tests of exp1.

package cli

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
)

// mostOpen is how many experiments of the catalogue a busy machine may leave open after they were made again, alone.
const mostOpen = 2

// TestRunAll catches an experiment that is left out, results in the order in which they ended, a table that is not whole, a verdict that
// is worse than alone, and runs that are made one after the other. What the machine disturbed is made again alone; it must not be many that nobody saw pass.
// It does not run beside other tests, which would disturb that many labs.
func TestRunAll(t *testing.T) {
	dir := openFolder(t)
	stdout, stderr, code := runCommand(t, in(dir, "run", "all", "--profile=fast", "--json", "--on-inconclusive=keep"))
	if code != explain.ExitPass && code != explain.ExitInconclusive {
		t.Errorf("exit code: got %d, want %d\n%s", code, explain.ExitPass, stderr)
	}
	var doc struct {
		Schema  string           `json:"schema"`
		Results []*result.Result `json:"results"`
	}
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil {
		t.Fatal(err)
	}
	var got, open []string
	var sum time.Duration
	var first, last time.Time
	for i, r := range doc.Results {
		got = append(got, r.Experiment.Name)
		sum += r.Wall.Duration()
		if i == 0 || r.Started.Before(first) {
			first = r.Started
		}
		if end := r.Started.Add(r.Wall.Duration()); end.After(last) {
			last = end
		}
		if r.Verdict == result.Inconclusive { // a busy machine: alone it passes, or is left open again
			t.Logf("%s: %s", r.Experiment.Name, r.Reason)
			_, stderr, code := runCommand(t, in(openFolder(t), "run", r.Experiment.Name, "--profile=fast", "--on-inconclusive=retry:2"))
			if code != explain.ExitPass && code != explain.ExitInconclusive {
				t.Errorf("%s alone: got exit code %d, want %d\n%s", r.Experiment.Name, code, explain.ExitPass, stderr)
			}
			if code != explain.ExitPass {
				open = append(open, r.Experiment.Name)
			}
		}
	}
	passedAsRoot(doc.Results)
	if len(open) > mostOpen {
		t.Errorf("without a pass, alone too: got %v, want %d at most; run this on a quieter machine", open, mostOpen)
	}
	if diff := cmp.Diff(names(experiments.All()), got); diff != "" || doc.Schema != "tcplab.results/v1" {
		t.Errorf("results, schema %q (-want +got):\n%s", doc.Schema, diff)
	}
	// One after the other they would take the sum of all, however slow the machine is.
	if whole := last.Sub(first); whole > sum*2/3 {
		t.Errorf("from the first start to the last end: got %v, want far less than the sum of all runs, %v", whole, sum)
	}
	wantParts(t, "stderr", stderr, "labs at once: takes about", "experiment", "wall", "PASS")
	if made, err := filepath.Glob(filepath.Join(dir, "tcplab-runs", "2*")); err != nil || len(made) != len(got) {
		t.Errorf("folders: got %d, %v, want %d", len(made), err, len(got))
	}
}
