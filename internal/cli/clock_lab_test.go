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
// step that is taken for the kernel's doing, or is not noticed. The row without a step is the control: it passes.
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
	steps := []time.Duration{0, time.Hour, -time.Hour, 2 * time.Millisecond}
	request, err := json.Marshal(steps)
	if err != nil {
		t.Fatal(err)
	}
	var results []*result.Result
	if _, err := vm.Run(t.Context(), vm.Options{Kernel: k, Program: program, Request: request, Wall: 2 * time.Minute}, func(m vm.Message) error {
		results = append(results, readResult(t, m.Data))
		return nil
	}); err != nil || len(results) != len(steps) {
		t.Fatalf("got %d results, %v, want %d", len(results), err, len(steps))
	}
	for i, step := range steps {
		want := result.Inconclusive
		if step == 0 {
			want = result.Pass
		}
		r := results[i]
		if stepped := slices.ContainsFunc(r.Checks, func(c result.Check) bool { return c.Code == explain.ClockStepped }); r.Verdict != want || stepped != (step != 0) {
			t.Errorf("a step by %v: got %s (%s), want %s", step, r.Verdict, r.Reason, want)
		}
	}
}
