package page

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// head is the head of a column: a kernel.
type head struct{ Name, Detail string }

// kernelStep is what changes from one kernel to the next, and why.
type kernelStep struct {
	From    string // "6.1 → 6.12"
	Nothing bool
	Words   []text // "6 events moved"
	Causes  []causeLine
	Open    text // what of it has no cause
	Changes []change
	All     int  // changes
	More    text // that are not listed
}

type causeLine struct {
	Name, A, B    text
	Since, Effect text
	Code          string
}

// change is an event or a check that is otherwise.
type change struct {
	Host, Name, A, B, Note text
}

// mostChanges is how many changes of a step are listed; result.Matrix has them all.
const mostChanges = 40

// kernelMatrix is the table of a stored matrix. runs are those of its cells that have one, row by row.
func (c *composer) kernelMatrix(stored *result.Matrix, runs []*result.Result) (*matrix, error) {
	m := &matrix{Heading: c.text("Experiments on several kernels"), counts: map[result.Verdict]int{}}
	if !stored.Started.IsZero() {
		m.Facts = append(m.Facts, c.same(stored.Started.UTC().Format("2006-01-02 15:04:05 UTC")))
	}
	m.Facts = append(m.Facts, c.textf("profile %s", c.clean(stored.Profile)), c.same(fmt.Sprintf("%.1f s", stored.Wall.Duration().Seconds())))
	for _, k := range stored.Kernels {
		h := head{Name: c.clean(k.Name)}
		if k.Release != "" {
			h.Detail = fmt.Sprintf("%s · HZ=%d", c.clean(k.Release), k.HZ)
		}
		m.Kernels = append(m.Kernels, h)
	}
	n := 0 // runs so far
	for _, row := range stored.Rows {
		line := &matrixLine{Name: c.clean(row.Experiment), Profile: c.clean(stored.Profile), Flags: c.flags(row.Params), Summary: c.text(row.Summary)}
		for _, x := range row.Cells {
			var r *result.Result
			if x.Folder != "" {
				if n++; n <= len(runs) {
					r = runs[n-1]
				}
			}
			line.Cells = append(line.Cells, c.kernelCell(m, line, x, r, n))
		}
		for _, s := range row.Steps {
			line.Steps = append(line.Steps, c.kernelStep(s))
		}
		m.Lines = append(m.Lines, line)
	}
	if n != len(runs) {
		return nil, fmt.Errorf("report page: the matrix has %d runs, and %d were given", n, len(runs))
	}
	m.sum(c)
	return m, nil
}

// kernelCell is one experiment on one kernel: its verdict, and what was predicted. r is its run, the nth of the page; nil: there is none.
func (c *composer) kernelCell(m *matrix, line *matrixLine, x result.MatrixCell, r *result.Result, n int) cell {
	m.counts[x.Verdict]++
	k := chip{Verdict: x.Verdict, Word: c.verdict(x.Verdict)}
	here := "" // the run in this page
	if r != nil {
		here = fmt.Sprintf("#run%d", n)
		k.Href, k.Detail = here, chipDetail(x.Passed, x.Checks, x.Wall)
		if n <= len(c.pages) {
			k.Href = c.pages[n-1]
		}
	}
	if x.Verdict != result.Pass {
		reason := x.Reason
		if x.Error != "" {
			reason = x.Error
		}
		m.wrong(wrong{here, strings.TrimSpace(line.Name + " " + line.Flags), c.clean(x.Kernel), x.Verdict, k.Word, c.text(reason)})
	}
	out := cell{Chips: []chip{k}}
	for _, l := range report.PredictedLines(x.Events, x.Outcome) {
		out.Predicted = append(out.Predicted, c.text(l))
	}
	return out
}

// kernelStep puts a step into words.
func (c *composer) kernelStep(s result.MatrixStep) kernelStep {
	v := kernelStep{From: c.clean(s.A + " → " + s.B), Nothing: s.Nothing()}
	if v.Nothing {
		return v
	}
	for _, w := range report.StepWords(s.Difference) {
		v.Words = append(v.Words, c.text(w))
	}
	for _, k := range s.Causes {
		since, effect := report.CauseWords(k)
		v.Causes = append(v.Causes, causeLine{c.same(k.Name), c.value(k.A), c.value(k.B), c.text(since), c.text(effect), c.clean(k.Code)})
	}
	v.Open = c.text(report.Unexplained(s.Difference))
	for _, k := range report.ChangeRows(s.Predicted) {
		v.Changes = append(v.Changes, change{c.host(k.Host), c.text(k.Name), c.same(k.A), c.same(k.B), c.text(k.Note)})
	}
	for _, k := range s.Checks {
		v.Changes = append(v.Changes, change{c.text("check"), c.same(k.ID), c.judged(k.Verdicts[0]), c.judged(k.Verdicts[1]), text{}})
	}
	v.All = len(v.Changes)
	if more := v.All - mostChanges; more > 0 {
		v.Changes, v.More = slices.Clip(v.Changes[:mostChanges]), c.textf("and %d more", more)
	}
	return v
}

// value is that of a cause on one kernel; a kernel may have none.
func (c *composer) value(s string) text {
	if s == "" {
		return c.text("none")
	}
	return c.same(s)
}

// judged is a verdict on a check, or that the run has no such check.
func (c *composer) judged(v result.Verdict) text {
	if v == "" {
		return c.same("-")
	}
	return c.checkWord(v)
}
