package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
)

// storeMatrix writes a matrix of one experiment on two kernels, as `tcplab matrix` leaves it.
func storeMatrix(t *testing.T, change func(*result.Matrix)) string {
	t.Helper()
	dir := t.TempDir()
	m := &result.Matrix{Schema: result.MatrixSchema, Profile: "fast", Verdict: result.Fail}
	row := result.MatrixRow{Experiment: "exp1-syn-loss", Summary: "every SYN is lost"}
	for i, kernel := range []string{"6.1", "6.12"} {
		r := &result.Result{Schema: result.Schema, Experiment: result.Experiment{Name: row.Experiment}, Kernel: result.Kernel{Release: kernel, Version: kernel, HZ: 250},
			Verdict: []result.Verdict{result.Pass, result.Fail}[i], Prediction: &result.Prediction{Events: []result.Event{{What: "syn-retransmission", Host: "client", N: 1, At: result.Seconds(1e9 * (i + 1))}}}}
		cell := result.Cell(kernel, r)
		cell.Folder = kernel + "/" + row.Experiment
		row.Cells = append(row.Cells, cell)
		m.Kernels = append(m.Kernels, result.MatrixKernel{Name: kernel, Release: kernel, HZ: 250, Folder: kernel})
		put(t, filepath.Join(dir, cell.Folder, "result.json"), r.Write)
	}
	row.Steps = []result.MatrixStep{{A: "6.1", B: "6.12", Difference: result.Difference{Predicted: []result.Change{{Host: "client", What: "syn-retransmission", N: 1, A: &row.Cells[0].Events[0], B: &row.Cells[1].Events[0]}},
		Causes: []result.Cause{{Name: "net.ipv4.tcp_some_knob", A: "1", B: "2", Whole: true}}, Explained: true}}}
	m.Rows = append(m.Rows, row)
	change(m)
	put(t, filepath.Join(dir, matrixFile), m.Write)
	return dir
}

func put(t *testing.T, name string, fill func(io.Writer) error) {
	t.Helper()
	var b bytes.Buffer
	if err := fill(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestReportMatrix catches a stored matrix that cannot be shown again, one whose page does not say why a kernel differs, and a matrix.json
// that reaches for files outside of its folder.
func TestReportMatrix(t *testing.T) {
	const because = "net.ipv4.tcp_some_knob"
	page := filepath.Join(t.TempDir(), "m.html")
	dir := storeMatrix(t, func(*result.Matrix) {})
	outside := storeMatrix(t, func(m *result.Matrix) { m.Rows[0].Cells[1].Folder = "../" + filepath.Base(dir) + "/6.1/exp1-syn-loss" })
	missing := storeMatrix(t, func(m *result.Matrix) { m.Rows[0].Cells[1].Folder = "6.13/exp1-syn-loss" })
	for _, tt := range []struct {
		name string
		args []string
		want string
		code int
	}{
		{"text", []string{dir}, because, 0},
		{"its document", []string{dir + "/matrix.json"}, because, 0},
		{"json", []string{dir, "--json"}, `"schema": "tcplab.matrix/v1"`, 0},
		{"markdown", []string{dir, "--markdown"}, "| exp1-syn-loss |", 0},
		{"junit", []string{dir, "--junit"}, `name="exp1-syn-loss on 6.12"`, 0},
		{"ladder", []string{dir, "--format=ladder"}, "", 0},
		{"svg", []string{dir, "--svg"}, "<svg", 0},
		{"page", []string{dir, "--html"}, "it alone makes all of it", 0},
		{"page in Chinese", []string{dir, "--html", "--lang=zh"}, "单凭它就造成全部变化", 0},
		{"page in a file", []string{dir, "--html=" + page}, page, 0},
		{"among runs", []string{dir + "/6.1/exp1-syn-loss", dir}, "a matrix is shown alone", explain.ExitUsage},
		{"outside", []string{outside, "--html"}, "want one inside the folder of the matrix", explain.ExitUsage},
		{"missing", []string{missing, "--html"}, "exp1-syn-loss on 6.12: ", explain.ExitUsage},
		{"missing, and not needed", []string{missing}, because, 0},
	} {
		var out, errs bytes.Buffer
		a := &app{out: &out, err: &errs}
		if code := a.main(append([]string{"report"}, tt.args...)); code != tt.code {
			t.Errorf("%s: got exit code %d, want %d: %s", tt.name, code, tt.code, errs.String())
		}
		if said := out.String() + errs.String(); !strings.Contains(said, tt.want) {
			t.Errorf("%s: got %.300s, want %q in it", tt.name, said, tt.want)
		}
	}
	if b, err := os.ReadFile(page); err != nil || !bytes.Contains(b, []byte(because)) {
		t.Errorf("the page in a file: %v, want %s in it", err, because)
	}
}
