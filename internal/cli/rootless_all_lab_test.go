//go:build lab && !race

package cli

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// TestRootless makes the whole catalogue as nobody, and what uses most of iptables with its other variant too, and wants what root gets: a pass
// of each experiment. It catches what works only for root, files that belong to somebody else, a lock on the machine's /run, and a run that
// does not say what it went without.
func TestRootless(t *testing.T) {
	labtest.Need(t, labtest.Command("iptables-legacy"))
	var catalogue []string
	for _, x := range experiments.All() {
		catalogue = append(catalogue, x.Name)
	}
	beside := []string{"8", "2", "2", "1", "1", "1"} // what the machine disturbed is made again, with less beside it
	for variant, names := range map[string][]string{"nft": catalogue, "legacy": {"exp0-handshake", "exp2-capture-point"}} {
		t.Run(variant, func(t *testing.T) {
			before := lookAtMachine(t)
			missing := names
			for _, atOnce := range beside {
				if len(missing) > 0 {
					missing = withoutAPass(t, variant, atOnce, missing)
				}
			}
			// A busy machine may leave one open each time. It must not be most of them that nobody ever saw pass; those that a stall leaves open first are four of the catalogue.
			if len(missing) > len(names)/2 {
				t.Errorf("without a pass after %d attempts: %v; run this on a quieter machine", len(beside), missing)
			} else if len(missing) > 0 {
				t.Logf("without a verdict after %d attempts: %v", len(beside), missing)
			}
			if after := lookAtMachine(t); after.Lock != before.Lock || after.Mounts != before.Mounts || after.Links != before.Links {
				t.Errorf("the machine: got %+v, want %+v", after, before)
			}
		})
	}
}

// withoutAPass makes each experiment once, looks at the files, and returns those that the machine disturbed.
func withoutAPass(t *testing.T, variant, atOnce string, names []string) (again []string) {
	t.Helper()
	dir := openFolder(t)
	cmd := rootless(t, dir, append([]string{"run", "--profile=fast", "--json", "--repeat=1", "--parallel=" + atOnce}, names...)...)
	if variant == "legacy" {
		legacy, err := exec.LookPath("iptables-legacy")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(legacy, filepath.Join(dir, ".bin", "iptables")); err != nil {
			t.Fatal(err)
		}
	}
	stdout, stderr, code := runCommand(t, cmd)
	if code != 0 && code != explain.ExitInconclusive {
		t.Errorf("exit code: got %d, want 0\n%s", code, stderr)
	}
	var doc struct{ Results []*result.Result }
	if len(names) == 1 {
		doc.Results = []*result.Result{readResult(t, []byte(stdout))}
	} else if err := json.Unmarshal([]byte(stdout), &doc); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	if len(doc.Results) != len(names) {
		t.Errorf("results: got %d, want %d\n%s", len(doc.Results), len(names), stderr)
	}
	for _, r := range doc.Results {
		codes := ""
		for _, n := range r.Notes {
			codes += n.Code + " "
		}
		wantParts(t, r.Experiment.Name+": notes", codes, explain.PhaseUnknown, explain.NoTracepoints)
		switch r.Verdict {
		case result.Pass:
		case result.Inconclusive:
			t.Logf("the machine disturbed %s: %s", r.Experiment.Name, r.Reason)
			again = append(again, r.Experiment.Name)
		default:
			t.Errorf("%s: got %s (%s), want pass", r.Experiment.Name, r.Verdict, r.Reason)
		}
	}
	wantOwner(t, filepath.Join(dir, "tcplab-runs"), nobody)
	return again
}
