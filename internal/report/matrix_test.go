package report

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/result"
)

// twoKernels is exp1 on two kernels, and an experiment that the second one could not carry out.
func twoKernels() (*result.Matrix, map[[2]string]*result.Result) {
	old, new := passing(), extraSYN()
	old.Prediction, new.Prediction = synPrediction("exp1-syn-loss"), synPrediction("exp1-syn-loss")
	new.Prediction.Events[2].At = sec(2 * time.Second)
	m := &result.Matrix{
		Schema: result.MatrixSchema, Profile: "kernel",
		Kernels: []result.MatrixKernel{
			{Name: "6.1", Release: "6.1.0-56-cloud-amd64", HZ: 250, Machines: 1, Boot: sec(2900 * ms), Wall: sec(6 * time.Second), Peak: 320 << 20},
			{Name: "host", Release: "6.18.44", HZ: 250, Wall: sec(9 * time.Second)},
		},
	}
	cells := []result.MatrixCell{result.Cell("6.1", old), result.Cell("host", new)}
	cells[0].Took, cells[1].Took = sec(800*ms), sec(8*time.Second)
	m.Rows = []result.MatrixRow{
		{Experiment: "exp1-syn-loss", Summary: "every SYN is lost", Params: old.Params, Cells: cells, Steps: []result.MatrixStep{{A: "6.1", B: "host", Difference: result.Difference{
			Predicted: result.Compare(old.Prediction, new.Prediction), Checks: []result.CheckChange{{ID: "count", Verdicts: [2]result.Verdict{result.Pass, result.Fail}}},
			Causes: []result.Cause{{Name: "net.ipv4.tcp_syn_linear_timeouts", B: "4", Since: "6.5", Code: "TL1203", Whole: true, Changes: 1}}, Explained: true,
		}}}},
		{Experiment: "exp9-evil\x1b[2J", Summary: "|<b>", Cells: []result.MatrixCell{result.Cell("6.1", old), {Kernel: "host", Verdict: result.Unable, Error: "no such knob", Exit: 3}}},
	}
	m.Gravest()
	return m, map[[2]string]*result.Result{{"6.1", "exp1-syn-loss"}: old, {"host", "exp1-syn-loss"}: new, {"6.1", "exp9-evil\x1b[2J"}: old}
}

// Catches any change of what people see of a matrix, and a string from a stored file that reaches the terminal or becomes markup.
func TestMatrixGolden(t *testing.T) {
	m, _ := twoKernels()
	var b, md bytes.Buffer
	if err := Matrix(&b, m, Style{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "matrix.txt", b.Bytes())
	if err := MatrixMarkdown(&md, m); err != nil {
		t.Fatal(err)
	}
	golden(t, "matrix.md", md.Bytes())
	for name, s := range map[string]string{"text": b.String(), "markdown": md.String()} {
		if strings.ContainsRune(s, '\x1b') {
			t.Errorf("%s: an escape came through", name)
		}
	}
}

// Catches a matrix in which a CI does not see a run that failed, or one that was never made.
func TestMatrixJUnit(t *testing.T) {
	m, runs := twoKernels()
	var b bytes.Buffer
	if err := MatrixJUnit(&b, m, runs); err != nil {
		t.Fatal(err)
	}
	var got readSuites
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Suites) != 4 || got.Failures == 0 || got.Errors != 1 {
		t.Fatalf("got %d suites, %d failures, %d errors, want 4, some and 1:\n%s", len(got.Suites), got.Failures, got.Errors, b.String())
	}
	if s := got.Suites[1]; s.Name != "exp1-syn-loss on host" || s.Failures != got.Failures {
		t.Errorf("got suite %q with %d of %d failures, want exp1-syn-loss on host with all", s.Name, s.Failures, got.Failures)
	}
	if s := got.Suites[3]; s.Tests != 1 || s.Cases[0].Error == nil || s.Cases[0].Error.Message != "no such knob" {
		t.Errorf("a run that was never made: got %+v, want one case, an error that says why", s)
	}
	if names := strings.Count(b.String(), `classname="tcplab.exp1-syn-loss on 6.1"`); names != 0 {
		t.Errorf("%d class names have a version's dot in them, which parts packages", names)
	}
}

// Catches a summary of a prediction that leaves a kind of event out, counts one twice, or is in another order than time.
func TestPredictedLines(t *testing.T) {
	p := synPrediction("exp1-syn-loss")
	got := strings.Join(PredictedLines(p.Events, p.Outcome), "; ")
	if want := "client SYN again at 1, 3 s; connect() = ETIMEDOUT at 7 s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got = strings.Join(PredictedLines(p.Events[:1], nil), "; ")
	if want := "client SYN at 0 s"; got != want {
		t.Errorf("where nothing is repeated: got %q, want %q", got, want)
	}
	many := make([]result.Event, 30)
	for i := range many {
		many[i] = result.Event{Host: "client", What: "syn-retransmission", N: i + 1, At: sec(time.Duration(30-i) * time.Second)}
	}
	got = PredictedLines(many, nil)[0]
	if !strings.HasPrefix(got, "client SYN again at 1, 2, ") || !strings.HasSuffix(got, "and 10 more, up to 30.000 s") {
		t.Errorf("many: got %q", got)
	}
}
