package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/result"
)

// SummaryRow is what the runs of one experiment came to.
type SummaryRow struct {
	Name           string
	Runs           map[result.Verdict]int
	Verdict        result.Verdict // the gravest
	Passed, Checks int
	Wall           time.Duration // of the longest
	Reason         string        // of the gravest that is not a pass, or why it could not be carried out
}

// Add counts one run; nil is one that could not be carried out.
func (r *SummaryRow) Add(res *result.Result) {
	if res == nil {
		r.Runs[result.Unable]++
		r.Verdict = worse(r.Verdict, result.Unable)
		return
	}
	r.Runs[res.Verdict]++
	if w := worse(r.Verdict, res.Verdict); w != r.Verdict || r.Reason == "" {
		r.Verdict = w
		if res.Verdict == w && w != result.Pass {
			r.Reason = res.Reason
		}
	}
	passed, all := res.Tally()
	r.Passed, r.Checks = r.Passed+passed, r.Checks+all
	r.Wall = max(r.Wall, res.Wall.Duration())
}

// worse is result.Worse, where the first of a row has none before it.
func worse(a, b result.Verdict) result.Verdict {
	if a == "" {
		return b
	}
	return result.Worse(a, b)
}

// Summary writes a table of many runs, a line for each experiment.
func Summary(w io.Writer, rows []SummaryRow, s Style) error {
	p := newPen(s)
	cols := []column{{title: "experiment"}, {title: "verdict"}, {title: "checks", right: true}, {title: "wall", right: true}, {title: "runs"}, {title: "reason"}}
	var cells [][]cell
	for _, r := range rows {
		row := []cell{{text: r.Name}, {verdictWord(r.Verdict), verdictColor(r.Verdict)}, {}, {}, {text: r.runs()}, {text: r.Reason}}
		if r.Checks > 0 {
			row[2].text, row[3].text = fmt.Sprintf("%d/%d", r.Passed, r.Checks), fmt.Sprintf("%.1f s", r.Wall.Seconds())
		}
		cells = append(cells, row)
	}
	p.table(cols, cells)
	return p.flush(w)
}

// runs counts the verdicts of more than one run: "9 pass, 1 inconclusive".
func (r SummaryRow) runs() string {
	n := 0
	var parts []string
	for _, v := range []result.Verdict{result.Pass, result.Fail, result.Error, result.Inconclusive, result.Unable, result.Skip} {
		if r.Runs[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", r.Runs[v], v))
		}
		n += r.Runs[v]
	}
	if n == 1 {
		return ""
	}
	return strings.Join(parts, ", ")
}

// About says how long something takes: "7 s", "15 min 25 s", "2 h 11 min".
func About(d time.Duration) string { return about(d) }
