//go:build lab && !race

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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
	t.Parallel()
	program := filepath.Join(t.TempDir(), "clockguest")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "./testdata/clockguest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the guest: %v: %s", err, out)
	}
	k, err := vm.Find("6.12")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		step time.Duration
		want result.Verdict
	}{
		{0, result.Pass}, {time.Hour, result.Inconclusive}, {-time.Hour, result.Inconclusive}, {2 * time.Millisecond, result.Inconclusive},
	} {
		t.Run(tt.step.String(), func(t *testing.T) {
			var r *result.Result
			o := vm.Options{Kernel: k, Program: program, Request: []byte(strconv.FormatInt(int64(tt.step), 10)), Wall: 2 * time.Minute}
			if _, err := vm.Run(t.Context(), o, func(m vm.Message) error { r = readResult(t, m.Data); return nil }); err != nil {
				t.Fatal(err)
			}
			if r == nil || r.Verdict != tt.want {
				t.Fatalf("verdict: got %+v, want %s", r, tt.want)
			}
			stepped := slices.ContainsFunc(r.Checks, func(c result.Check) bool { return c.Code == explain.ClockStepped })
			if stepped != (tt.step != 0) {
				t.Errorf("checks with %s: got %t, want %t: %s", explain.ClockStepped, stepped, tt.step != 0, r.Reason)
			}
		})
	}
}
