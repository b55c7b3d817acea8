//go:build lab && !race

package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// TestRootless makes the whole catalogue as nobody, and what uses most of iptables with its other variant too, and wants what root gets: a pass
// of each experiment, in which the same things happened. It catches what works only for root, a lab that behaves otherwise without it, files that belong to somebody else, a lock on the machine's /run, and a run that
// does not say what it went without.
func TestRootless(t *testing.T) {
	labtest.Need(t, labtest.Command("iptables-legacy"))
	var catalogue []string
	for _, x := range experiments.All() {
		catalogue = append(catalogue, x.Name)
	}
	root := catalogueAsRoot(t)
	beside := []string{"8", "2", "2", "1", "1", "1", "1", "1"} // what the machine disturbed is made again, with less beside it
	for variant, names := range map[string][]string{"nft": catalogue, "legacy": {"exp0-handshake", "exp2-capture-point"}} {
		t.Run(variant, func(t *testing.T) {
			before := lookAtMachine(t)
			missing, tried := names, 0
			// A busy machine may leave one open each time. It must not be many of them that nobody ever saw pass.
			most := min(mostOpen, len(names)/2)
			for ; tried < len(beside) && len(missing) > 0 && (tried < 6 || len(missing) > most); tried++ {
				missing = withoutAPass(t, variant, beside[tried], missing, root)
			}
			if len(missing) > most {
				t.Errorf("without a pass after %d attempts: %v, want %d at most; run this on a quieter machine", tried, missing, most)
			} else if len(missing) > 0 {
				t.Logf("without a verdict after %d attempts: %v", tried, missing)
			}
			if after := lookAtMachine(t); after.Lock != before.Lock || after.Mounts != before.Mounts || after.Links != before.Links {
				t.Errorf("the machine: got %+v, want %+v", after, before)
			}
		})
	}
}

// happenings are what was seen in a run, without its times: where two runs of an experiment pass, they are the same.
func happenings(r *result.Result) []string {
	events := slices.Clone(r.Events)
	if r.Outcome != nil {
		events = append(events, *r.Outcome)
	}
	var all []string
	for _, e := range events {
		if e.Seen != nil && !e.Maybe {
			all = append(all, fmt.Sprintf("%s %s %d %s", e.Host, e.What, e.N, e.Errno))
		}
	}
	slices.Sort(all)
	return all
}

// asRoot is what happened in the runs of the catalogue that passed as root. TestRunAll leaves it, where it was not disturbed too much.
var asRoot map[string][]string

// passedAsRoot keeps them, where enough passed.
func passedAsRoot(results []*result.Result) (enough bool) {
	passed := map[string][]string{}
	for _, r := range results {
		if r.Verdict == result.Pass {
			passed[r.Experiment.Name] = happenings(r)
		}
	}
	if len(passed) >= len(experiments.All())*2/3 {
		asRoot = passed
	}
	return asRoot != nil
}

// catalogueAsRoot returns what happened as root, and makes the whole catalogue for that where nobody did.
func catalogueAsRoot(t *testing.T) map[string][]string {
	t.Helper()
	if asRoot != nil {
		return asRoot
	}
	stdout, stderr, code := runCommand(t, in(openFolder(t), "run", "all", "--profile=fast", "--json"))
	if code != explain.ExitPass && code != explain.ExitInconclusive {
		t.Fatalf("as root: got exit code %d, want %d\n%s", code, explain.ExitPass, stderr)
	}
	var doc struct{ Results []*result.Result }
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil {
		t.Fatal(err)
	}
	if !passedAsRoot(doc.Results) {
		t.Errorf("as root: got fewer than two thirds of the catalogue that passed; run this on a quieter machine\n%s", stderr)
	}
	return asRoot
}

// withoutAPass makes each experiment once, looks at the files, compares with what happened as root, and returns those that the machine disturbed.
func withoutAPass(t *testing.T, variant, atOnce string, names []string, root map[string][]string) (again []string) {
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
			if want, ok := root[r.Experiment.Name]; ok {
				if diff := cmp.Diff(want, happenings(r)); diff != "" || len(want) == 0 {
					t.Errorf("%s: what happened (-root +rootless):\n%s", r.Experiment.Name, diff)
				}
			}
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
