package cli

import (
	"testing"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/result"
)

func storedRun(t *testing.T, version string) *result.Result {
	t.Helper()
	x, err := experiments.Find("exp1-syn-loss")
	if err != nil {
		t.Fatal(err)
	}
	v, err := kernel.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	f, err := kernel.Model(v, 250)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := x.Plan(experiments.Kernel, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := predict(x, plan, f)
	if err != nil {
		t.Fatal(err)
	}
	return &result.Result{
		Experiment: result.Experiment{Name: x.Name}, Profile: p.Profile, Kernel: result.Kernel{Version: version, HZ: 250}, Prediction: p,
		Verdict: result.Pass, Checks: []result.Check{{ID: "errno", Verdict: result.Pass}},
	}
}

// TestDiffRuns compares kernels, and doctored runs. It catches a difference that goes unseen, and a cause found for a difference that
// was never computed.
func TestDiffRuns(t *testing.T) {
	d, err := diffRuns(storedRun(t, "6.1"), storedRun(t, "6.12"))
	if err != nil || d.Same || len(d.Causes) != 1 || d.Causes[0].Name != "net.ipv4.tcp_syn_linear_timeouts" || !d.Explained {
		t.Errorf("6.1 and 6.12: %+v, %v", d, err)
	}
	d, err = diffRuns(storedRun(t, "6.12"), storedRun(t, "6.12"))
	if err != nil || !d.Same {
		t.Errorf("equal runs: %+v, %v", d, err)
	}
	r := storedRun(t, "6.12")
	r.Checks[0].Verdict, r.Verdict = result.Fail, result.Fail
	if d, err = diffRuns(storedRun(t, "6.12"), r); err != nil || d.Same || len(d.Checks) != 1 {
		t.Errorf("another verdict: %+v, %v", d, err)
	}
	r = storedRun(t, "6.12")
	r.Prediction.Events[1].At++
	if d, err = diffRuns(storedRun(t, "6.12"), r); err != nil || d.Same || d.NoCause == "" || d.Explained || len(d.Causes) != 0 {
		t.Errorf("a doctored prediction: %+v, %v", d, err)
	}
	r.Experiment.Name = "exp4-keepalive"
	if _, err = diffRuns(storedRun(t, "6.12"), r); err == nil {
		t.Error("two experiments were compared")
	}
}
