//go:build lab && !race

package cli

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/vm"
)

// TestClockStepped steps CLOCK_REALTIME, which stamps the packets, in the middle of a run: in a guest, where that harms nobody. It catches a
// step that is taken for the kernel's doing, or is not noticed: also one that is taken back before the end, and one behind the first packet. The row
// without a step is the control: it passes.
func TestClockStepped(t *testing.T) {
	labtest.Need(t, labtest.IPTables, machinesHere)
	program := filepath.Join(t.TempDir(), "clockguest")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "./testdata/clockguest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the guest: %v: %s", err, out)
	}
	k, err := vm.Find("6.12", nil)
	if err != nil {
		t.Fatal(err)
	}
	runs := [][]time.Duration{{}, {time.Hour}, {2 * time.Millisecond}, {time.Hour, -time.Hour}, {-3 * time.Millisecond, 3 * time.Millisecond}, {0, -time.Hour}}
	request, err := json.Marshal(runs)
	if err != nil {
		t.Fatal(err)
	}
	var results []*result.Result
	if _, err := vm.Run(t.Context(), vm.Options{Kernel: k, Program: program, Request: request, Wall: 2 * time.Minute}, func(m vm.Message) error {
		results = append(results, readResult(t, m.Data))
		return nil
	}); err != nil || len(results) != len(runs) {
		t.Fatalf("got %d results, %v, want %d", len(results), err, len(runs))
	}
	for i, steps := range runs {
		want, most := result.Inconclusive, time.Duration(0)
		for _, step := range steps {
			most = max(most, step.Abs())
		}
		if most == 0 {
			want = result.Pass
		}
		r := results[i]
		if stepped := slices.ContainsFunc(r.Checks, func(c result.Check) bool { return c.Code == explain.ClockStepped }); r.Verdict != want || stepped != (most != 0) {
			t.Errorf("steps by %v: got %s (%s), want %s", steps, r.Verdict, r.Reason, want)
		}
		if got := r.Clock.Step.Duration().Abs(); (got - most).Abs() > 500*time.Microsecond { // at most, in the middle of the run
			t.Errorf("steps by %v: got the clock moved by %v, want %v", steps, r.Clock.Step.Duration(), most)
		}
	}
}
