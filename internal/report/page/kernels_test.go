package page

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/result"
)

// kernelsOf is the matrix of the stored runs that are there from two kernels, with a kernel on which nothing could be run.
func kernelsOf(t testing.TB) (*result.Matrix, []*result.Result) {
	t.Helper()
	all := stored(t)
	m := &result.Matrix{Schema: result.MatrixSchema, Profile: "kernel", Kernels: []result.MatrixKernel{{Name: "5.10"}, {Name: "6.12", Release: "6.12.117+deb12", HZ: 250}, {Name: "host", Release: "6.18.44", HZ: 250}}}
	var runs []*result.Result
	for _, name := range slices.Sorted(maps.Keys(all)) {
		a, ok := all[name+"-6.12"]
		if !ok {
			continue
		}
		b := all[name]
		none := result.MatrixCell{Kernel: "5.10", Verdict: result.Error, Error: "the machine ended"}
		cells := []result.MatrixCell{none, result.Cell("6.12", a), result.Cell("host", b)}
		cells[1].Folder, cells[2].Folder = "6.12/"+name, "host/"+name
		d := result.Difference{Predicted: result.Compare(a.Prediction, b.Prediction)}
		if len(d.Predicted) > 0 {
			d.Causes = []result.Cause{{Name: "net.ipv4.tcp_syn_linear_timeouts", B: "4", Since: "6.5 (not yet in 6.4)", Code: "TL1203", Whole: true}, {Name: "SYN expiry", A: "1 s", B: "2 s", Changes: 1},
				{Name: "SYN expiry", A: "1 s", B: "2 s", Changes: 2}}
			d.Checks = []result.CheckChange{{ID: "errno", Verdicts: [2]result.Verdict{result.Pass, ""}}}
		} else {
			d.Explained = true
		}
		m.Rows = append(m.Rows, result.MatrixRow{Experiment: name, Summary: a.Experiment.Summary, Params: []result.Param{{Name: "syn-retries", Value: "2", From: "flag"}}, Cells: cells,
			Steps: []result.MatrixStep{{A: "6.12", B: "host", Difference: d}}})
		runs = append(runs, a, b)
	}
	return m, runs
}

// TestKernels catches a matrix whose cells lead to the runs of others, and one that does not say what was predicted, what changes and why.
func TestKernels(t *testing.T) {
	m, runs := kernelsOf(t)
	v, err := newComposer(Options{}).kernelMatrix(m, runs)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i, line := range v.Lines {
		if k := line.Cells[0]; k.Chips[0].Href != "" || k.Chips[0].Verdict != result.Error || len(k.Predicted) > 0 {
			t.Errorf("%s: got %+v for a kernel without a run, want its verdict and no link", line.Name, k)
		}
		for j, k := range line.Cells[1:] {
			n++
			if want := fmt.Sprint("#run", n); k.Chips[0].Href != want {
				t.Errorf("%s: cell %d leads to %s, want %s", line.Name, j+2, k.Chips[0].Href, want)
			}
			if len(m.Rows[i].Cells[j+1].Events) > 0 && len(k.Predicted) == 0 {
				t.Errorf("%s: cell %d: nothing is predicted", line.Name, j+2)
			}
		}
	}
	page := html(t, Options{Matrix: m}, runs...)
	wantUnique(t, page)
	wantPolicy(t, page)
	var own []string
	for i := range runs {
		own = append(own, fmt.Sprintf("/run/%d/", i))
	}
	served := html(t, Options{Matrix: m, Pages: own}, runs...)
	for i, at := range own {
		if a, b := strings.Count(page, at), strings.Count(served, `href="`+at+`"`); a != 0 || b != 1 {
			t.Errorf("run %d: got %d links to its own page without Pages and %d with them, want 0 and 1", i+1, a, b)
		}
	}
	for _, want := range []string{"client SYN again at 1 s", "net.ipv4.tcp_syn_linear_timeouts", "which came with 6.5 (not yet in 6.4)", "it alone makes all of it", "tcplab explain TL1203",
		"the causes that were found do not explain all of it", "the machine ended", "6.12 → host", "HZ=250"} {
		if !strings.Contains(page, want) {
			t.Errorf("got no %q in the page", want)
		}
	}
	if zh := html(t, Options{Matrix: m, Lang: Chinese}, runs...); !strings.Contains(zh, "单凭它就造成全部变化") {
		t.Error("the reasons are not Chinese in a Chinese page")
	}
	if err := HTML(discard{}, Options{Matrix: m}, runs[1:]...); err == nil {
		t.Error("a run is missing: got no error")
	}
	one := &result.Matrix{Kernels: m.Kernels[:1], Rows: []result.MatrixRow{{Experiment: "x", Cells: m.Rows[0].Cells[:1]}}}
	if page := html(t, Options{Matrix: one}); !strings.Contains(page, "the machine ended") {
		t.Error("a matrix without any run has no page")
	}
}

// TestKernelsTranslated catches a text of a matrix without a Chinese form, whatever the stored runs predict.
func TestKernelsTranslated(t *testing.T) {
	m, runs := kernelsOf(t)
	for i := range m.Rows {
		m.Rows[i].Cells[0].Error = "1" // the errors of a machine may be English
		d := result.Difference{Predicted: result.Compare(runs[0].Prediction, &result.Prediction{}), NoCause: "this tcplab predicts 3 events of a run otherwise than its result.json"}
		m.Rows[i].Steps = append(m.Rows[i].Steps, result.MatrixStep{A: "6.12", B: "host", Difference: d})
	}
	c := newComposer(Options{Lang: Chinese})
	v, err := c.kernelMatrix(m, runs)
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := c.templates()
	if err != nil {
		t.Fatal(err)
	}
	if err := fill(discard{}, tmpl, "page", document{Lang: Chinese, Matrix: v}); err != nil {
		t.Fatal(err)
	}
	for en, ok := range c.asked {
		if !ok {
			t.Errorf("no Chinese form of %q", en)
		}
	}
}

// TestKernelsHostile catches a string of a stored matrix that becomes markup.
func TestKernelsHostile(t *testing.T) {
	m, runs := kernelsOf(t)
	m.Profile += attack
	for i := range m.Kernels {
		m.Kernels[i].Name, m.Kernels[i].Release = attack, attack
	}
	for i := range m.Rows {
		row := &m.Rows[i]
		row.Experiment, row.Summary, row.Params[0].Name = attack, attack, attack
		for j := range row.Cells {
			k := &row.Cells[j]
			k.Kernel, k.Reason, k.Error, k.Verdict = attack, attack, attack, result.Fail
			for e := range k.Events {
				k.Events[e].Host, k.Events[e].What = attack, attack
			}
		}
		for j := range row.Steps {
			d := &row.Steps[j]
			d.A, d.B, d.NoCause = attack, attack, attack
			d.Causes = append(d.Causes, result.Cause{Name: attack, A: attack, B: attack, Since: attack, Code: attack})
			d.Checks = append(d.Checks, result.CheckChange{ID: attack, Verdicts: [2]result.Verdict{attack, attack}})
			d.Predicted = append(d.Predicted, result.Change{Host: attack, What: attack})
		}
	}
	page := html(t, Options{Matrix: m}, runs...)
	for _, bad := range []string{"<script>document", "<img", "\x1b", "\x00", "\u202e"} {
		if strings.Contains(page, bad) {
			t.Errorf("got %q in the page, want it escaped", bad)
		}
	}
	wantUnique(t, page)
}
