package cli

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// tcplab runs the program and returns what it printed and its exit code.
func tcplab(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return runCommand(t, exec.Command("tcplab", args...))
}

// modelled is what predict says about each kernel, worked out by hand: the nominal second of each SYN, and of the end of connect().
// Before Linux 6.5 the wait doubles from 1 s on. From 6.5 on the default is four repetitions a second apart, on top of
// tcp_syn_retries (Documentation/networking/ip-sysctl.rst: 67 s for the last of them, 131 s for the end).
var modelled = []struct {
	kernel, profile string
	want            []float64
}{
	{"4.4", "textbook", []float64{0, 1, 3, 7, 15, 31, 63}},
	{"6.12", "textbook", []float64{0, 1, 3, 7, 15, 31, 63}},
	{"4.4", "kernel", []float64{0, 1, 3, 7, 15, 31, 63, 127}},
	{"4.19", "kernel", []float64{0, 1, 3, 7, 15, 31, 63, 127}},
	{"5.15", "kernel", []float64{0, 1, 3, 7, 15, 31, 63, 127}},
	{"6.1", "kernel", []float64{0, 1, 3, 7, 15, 31, 63, 127}},
	{"6.12", "kernel", []float64{0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67, 131}},
	{"5.15", "fast", []float64{0, 1, 3}},
	{"6.12", "fast", []float64{0, 1, 3}},
}

// TestPredictKernels catches a schedule that belongs to another kernel, a window that does not follow from HZ, and a golden that
// nobody worked out: the nominal times stand above, the windows of each HZ are in the goldens, where a person can read them.
func TestPredictKernels(t *testing.T) {
	for _, m := range modelled {
		for _, hz := range []string{"100", "250", "1000"} {
			t.Run(m.kernel+"-"+hz+"-"+m.profile, func(t *testing.T) {
				t.Parallel()
				args := []string{"predict", "exp1", "--kernel=" + m.kernel, "--hz=" + hz, "--profile=" + m.profile}
				text, stderr, code := tcplab(t, args...)
				if code != 0 || stderr != "" {
					t.Fatalf("predict: got exit code %d and %q on stderr, want 0 and nothing", code, stderr)
				}
				labtest.Golden(t, fmt.Sprintf("predict/%s-%s-%s.txt", m.kernel, hz, m.profile), text)
				out, stderr, code := tcplab(t, append(args, "--json")...)
				if code != 0 || stderr != "" {
					t.Fatalf("predict --json: got exit code %d and %q on stderr, want 0 and nothing", code, stderr)
				}
				if m.profile == "kernel" {
					labtest.Golden(t, fmt.Sprintf("predict/%s-%s-%s.json", m.kernel, hz, m.profile), out)
				}
				checkPrediction(t, out, m.kernel, hz, m.want)
			})
		}
	}
}

// checkPrediction checks the JSON form against the nominal times, and each window against the timer wheel's rule.
func checkPrediction(t *testing.T, out, kernel, hz string, want []float64) {
	t.Helper()
	if _, err := oneJSON([]byte(out)); err != nil {
		t.Fatal(err)
	}
	var p result.Prediction
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatal(err)
	}
	if p.Schema != result.PredictionSchema || p.Kernel != kernel || fmt.Sprint(p.HZ) != hz {
		t.Errorf("head: got %s, kernel %s, HZ %d, want %s, %s, %s", p.Schema, p.Kernel, p.HZ, result.PredictionSchema, kernel, hz)
	}
	var got []float64
	for _, e := range append(p.Events, *p.Outcome) {
		got = append(got, e.At.Duration().Seconds())
		// The wheel of Linux 4.8 and later rounds a wait up by an eighth of it at most, and every wait before it added its own; the
		// wheel before it only had a slack of 1/256 (apply_slack); each of at most 12 waits may add a jiffy of its own.
		limit := e.At.Duration().Seconds()/7 + 12.0/float64(p.HZ)
		if kernel == "4.4" {
			limit = e.At.Duration().Seconds()/256 + 13.0/float64(p.HZ)
		}
		if late := e.Late.Duration().Seconds(); late < 0 || late > limit {
			t.Errorf("%s %d at %v: got a window of %.3f s, want 0 to %.3f s", e.What, e.N, e.At, late, limit)
		}
		if e.What != "syn" && e.Why == "" {
			t.Errorf("%s %d: got no formula, want one", e.What, e.N)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nominal times (-want +got):\n%s", diff)
	}
	if p.Outcome.Errno != "ETIMEDOUT" {
		t.Errorf("end of connect(): got %q, want ETIMEDOUT", p.Outcome.Errno)
	}
}
