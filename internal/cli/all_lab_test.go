//go:build lab && !race

// Built for the race detector a program answers ten times slower; the batch is run under it by the tests of exp1.

package cli

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
)

// TestRunAll catches an experiment that is left out, results in the order in which they ended, a table that is not whole, a verdict that
// is worse than alone, and runs that are made one after the other. It does not run beside other tests: its subject is how long it takes.
func TestRunAll(t *testing.T) {
	dir := openFolder(t)
	began := time.Now()
	stdout, stderr, code := runCommand(t, in(dir, "run", "all", "--profile=fast", "--json"))
	took := time.Since(began)
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
	var got []string
	var sum, longest time.Duration
	for _, r := range doc.Results {
		got = append(got, r.Experiment.Name)
		sum += r.Wall.Duration()
		longest = max(longest, r.Wall.Duration())
		if r.Verdict == result.Inconclusive { // a busy machine: alone it passes
			t.Logf("%s: %s", r.Experiment.Name, r.Reason)
			if _, _, stderr, code := settled(t, func(dir string) *exec.Cmd { return in(dir, "run", r.Experiment.Name, "--profile=fast") }); code != explain.ExitPass {
				t.Errorf("%s alone: got exit code %d, want %d\n%s", r.Experiment.Name, code, explain.ExitPass, stderr)
			}
		}
	}
	if diff := cmp.Diff(names(experiments.All()), got); diff != "" || doc.Schema != "tcplab.results/v1" {
		t.Errorf("results, schema %q (-want +got):\n%s", doc.Schema, diff)
	}
	if limit := longest + time.Duration(len(got))*stagger + 5*time.Second; took > limit || took > time.Minute {
		t.Errorf("wall time: got %v, want %v, near the longest run's %v (the sum is %v)", took, limit, longest, sum)
	}
	wantParts(t, "stderr", stderr, "labs at once: takes about", "experiment", "wall", "PASS")
	if made, err := filepath.Glob(filepath.Join(dir, "tcplab-runs", "2*")); err != nil || len(made) != len(got) {
		t.Errorf("folders: got %d, %v, want %d", len(made), err, len(got))
	}
}
