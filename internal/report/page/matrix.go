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
	Kernels []string
	Lines   []*matrixLine
	Counts  []count
	Wrong   []wrong
	More    int // of what did not pass, and is not in Wrong
}

type matrixLine struct {
	Name, Profile, Flags string
	Cells                []cell
}

// cell is the runs of one line on one kernel. What did not pass is always to be seen; many passes are folded.
type cell struct {
	Chips  []chip
	Passes []chip
	Word   text
}

type chip struct {
	Href    string
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
	m := &matrix{Kernels: c.kernels(runs)}
	lines := map[string]*matrixLine{}
	counts := map[result.Verdict]int{}
	for i, r := range runs {
		name, profile, flags := c.clean(r.Experiment.Name), c.clean(r.Profile), c.flags(r)
		key := strings.Join([]string{name, profile, flags}, "\x00")
		line := lines[key]
		if line == nil {
			line = &matrixLine{name, profile, flags, make([]cell, len(m.Kernels))}
			lines[key] = line
			m.Lines = append(m.Lines, line)
		}
		counts[r.Verdict]++
		passed, all := r.Tally()
		k := chip{fmt.Sprintf("#run%d", i+1), r.Verdict, c.verdict(r.Verdict), fmt.Sprintf("%d/%d · %.1f s", passed, all, r.Wall.Duration().Seconds())}
		at := &line.Cells[slices.Index(m.Kernels, c.clean(report.KernelName(r.Kernel)))]
		if r.Verdict == result.Pass {
			at.Passes = append(at.Passes, k)
		} else {
			at.Chips = append(at.Chips, k)
			m.wrong(c, r, k)
		}
	}
	for _, line := range m.Lines {
		for i := range line.Cells {
			line.Cells[i].fold(c)
		}
	}
	slices.SortStableFunc(m.Lines, func(a, b *matrixLine) int { return natural(a.Name, b.Name) })
	for _, v := range []result.Verdict{result.Pass, result.Fail, result.Error, result.Inconclusive, result.Unable, result.Skip} {
		if counts[v] > 0 {
			m.Counts = append(m.Counts, count{v, c.verdict(v), counts[v]})
		}
	}
	return m
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

func (m *matrix) wrong(c *composer, r *result.Result, k chip) {
	if len(m.Wrong) == mostWrong {
		m.More++
		return
	}
	m.Wrong = append(m.Wrong, wrong{k.Href, strings.TrimSpace(c.clean(r.Experiment.Name) + " " + c.flags(r)), c.clean(report.KernelName(r.Kernel)), r.Verdict, k.Word, c.text(r.Reason)})
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
