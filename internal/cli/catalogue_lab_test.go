//go:build lab && !race

package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// The whole catalogue in virtual time, its hours included: on each kernel everything passes, no timer is a tick off, and where the same is asked
// again the same bytes come, of two machines side by side too.
func TestCatalogueInGuests(t *testing.T) {
	labtest.Need(t, labtest.IPTables, machinesHere)
	program, out := released(t), filepath.Join(t.TempDir(), "runs")
	first := catalogue(t, program, out, "--kernel=6.12")
	again := catalogue(t, program, out, "--kernel=6.12")
	for name := range first {
		if err := sameFiles(first[name], again[name]); err != nil {
			t.Errorf("%s, the same again: %v", name, err)
		}
	}
	other := catalogue(t, program, out, "--kernel=6.1", "--profile=kernel")
	if sameFiles(first["exp1-syn-loss"], other["exp1-syn-loss"]) == nil {
		t.Error("exp1 on another kernel with another profile left the same bytes")
	}
}

// catalogue makes all runs in two machines, and returns their files by the names of the experiments. The folder is gone afterwards: its name is in the results.
func catalogue(t *testing.T, program, out string, args ...string) map[string]map[string][]byte {
	t.Helper()
	began := time.Now()
	cmd := exec.Command(program, append([]string{"run", "all", "--parallel=2", "--out=" + out}, args...)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, text)
	}
	took := time.Since(began)
	all := map[string]map[string][]byte{}
	var virtual time.Duration
	for _, x := range experiments.All() {
		dirs, err := filepath.Glob(filepath.Join(out, "2*-"+x.Name))
		if err != nil || len(dirs) != 1 {
			t.Fatalf("%s: got folders %v, %v, want one", x.Name, dirs, err)
		}
		all[x.Name] = filesOf(t, dirs[0])
		r, err := result.Read(bytes.NewReader(all[x.Name]["result.json"]))
		if err != nil {
			t.Fatal(err)
		}
		virtual += r.Wall.Duration()
		onTheTick(t, r)
	}
	t.Logf("%v: %v of virtual time in %v", args, virtual.Round(time.Second), took.Round(100*time.Millisecond))
	if virtual < 4*time.Hour { // exp4's keepalive alone takes more than two, exp11's timeouts too
		t.Errorf("%v: got %v of virtual time, want hours", args, virtual)
	}
	if err := os.RemoveAll(out); err != nil {
		t.Fatal(err)
	}
	return all
}

// onTheTick wants a run that passed, each of whose timers went off in the very jiffy that was predicted.
func onTheTick(t *testing.T, r *result.Result) {
	t.Helper()
	if r.Verdict != result.Pass {
		t.Errorf("%s: got %s, want a pass: %s", r.Experiment.Name, r.Verdict, r.Reason)
	}
	jiffy := time.Second / time.Duration(r.Kernel.HZ)
	n := 0
	for i, e := range r.Events {
		if after := e.AfterTick(); after != nil {
			if n++; after.Duration() < 0 || after.Duration() >= jiffy {
				t.Errorf("%s, event %d: %v after its tick, want less than %v", r.Experiment.Name, i+1, after.Duration(), jiffy)
			}
		}
	}
	if r.Experiment.Name == "exp4-keepalive" && n == 0 {
		t.Error("exp4: no timer had a tick")
	}
}
