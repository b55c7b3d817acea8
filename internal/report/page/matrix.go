package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// matrix is the table of several runs: a line for each experiment with its profile and flags, a column for each kernel.
type matrix struct {
	Heading text
	Facts   []text
	Kernels []head
	Lines   []*matrixLine
	Counts  []count
	Wrong   []wrong
	More    int // of what did not pass, and is not in Wrong

	counts map[result.Verdict]int
}

type matrixLine struct {
	Name, Profile, Flags string
	Summary              text
	Cells                []cell
	Steps                []kernelStep // of a stored matrix: what changes from column to column
}

// cell is the runs of one line on one kernel. What did not pass is always to be seen; many passes are folded.
type cell struct {
	Chips     []chip
	Passes    []chip
	Word      text
	Predicted []text // of a stored matrix
}

type chip struct {
	Href    string // empty: there is no run to show
	Verdict result.Verdict
	Word    text
	Detail  string
}

type count struct {
	Verdict result.Verdict
	Word    text
	N       int
}

// wrong is a run that did not pass, with its reason.
type wrong struct {
	Href, Name, Kernel string
	Verdict            result.Verdict
	Word, Reason       text
}

const (
	fewPasses = 3  // passes in a cell that are not folded
	mostWrong = 40 // reasons that are listed
)

func (c *composer) matrix(runs []*result.Result) *matrix {
	m := &matrix{Heading: c.text("Runs"), counts: map[result.Verdict]int{}}
	kernels := c.kernels(runs)
	for _, name := range kernels {
		m.Kernels = append(m.Kernels, head{Name: name})
	}
	lines := map[string]*matrixLine{}
	for i, r := range runs {
		name, profile, flags := c.clean(r.Experiment.Name), c.clean(r.Profile), c.flags(r.Params)
		key := strings.Join([]string{name, profile, flags}, "\x00")
		line := lines[key]
		if line == nil {
			line = &matrixLine{Name: name, Profile: profile, Flags: flags, Cells: make([]cell, len(kernels))}
			lines[key] = line
			m.Lines = append(m.Lines, line)
		}
		m.counts[r.Verdict]++
		passed, all := r.Tally()
		k := chip{fmt.Sprintf("#run%d", i+1), r.Verdict, c.verdict(r.Verdict), chipDetail(passed, all, r.Wall)}
		kernel := c.clean(report.KernelName(r.Kernel))
		at := &line.Cells[slices.Index(kernels, kernel)]
		if r.Verdict == result.Pass {
			at.Passes = append(at.Passes, k)
		} else {
			at.Chips = append(at.Chips, k)
			m.wrong(wrong{k.Href, strings.TrimSpace(name + " " + flags), kernel, r.Verdict, k.Word, c.text(r.Reason)})
		}
	}
	for _, line := range m.Lines {
		for i := range line.Cells {
			line.Cells[i].fold(c)
		}
	}
	slices.SortStableFunc(m.Lines, func(a, b *matrixLine) int { return natural(a.Name, b.Name) })
	m.sum(c)
	return m
}

func chipDetail(passed, all int, wall result.Seconds) string {
	return fmt.Sprintf("%d/%d · %.1f s", passed, all, wall.Duration().Seconds())
}

// sum counts the verdicts, the best first.
func (m *matrix) sum(c *composer) {
	for _, v := range []result.Verdict{result.Pass, result.Fail, result.Error, result.Inconclusive, result.Unable, result.Skip} {
		if m.counts[v] > 0 {
			m.Counts = append(m.Counts, count{v, c.verdict(v), m.counts[v]})
		}
	}
}

// kernels are the columns, the oldest first.
func (c *composer) kernels(runs []*result.Result) []string {
	var out []string
	for _, r := range runs {
		if name := c.clean(report.KernelName(r.Kernel)); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, natural)
	return out
}

func (m *matrix) wrong(w wrong) {
	if len(m.Wrong) == mostWrong {
		m.More++
		return
	}
	m.Wrong = append(m.Wrong, w)
}

// fold puts few passes beside the rest, and says how many they are where they are many.
func (k *cell) fold(c *composer) {
	if len(k.Passes) <= fewPasses {
		k.Chips, k.Passes = append(k.Chips, k.Passes...), nil
		return
	}
	k.Word = c.verdict(result.Pass)
}

// natural compares names so that numbers in them count: exp2 before exp10, 6.1 before 6.12.
func natural(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
			if d := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); d != 0 {
				return d
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits is how many digits a string begins with.
func digits(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789"))
}
