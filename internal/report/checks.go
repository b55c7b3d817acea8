package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/result"
)

// Checks writes the table of what was expected and what was observed, one row for each check.
func Checks(w io.Writer, r *result.Result, s Style) error {
	p := newPen(s)
	p.checks(r)
	return p.flush(w)
}

func (p *pen) checks(r *result.Result) {
	cols := []column{{title: "check"}, {title: "expected", right: true}, {title: "observed", right: true},
		{title: "gap", right: true}, {title: "allowed gap", right: true}, {title: "result"}}
	var rows [][]cell
	for _, c := range CheckRows(r) {
		rows = append(rows, []cell{{c.Name, plain}, {c.Expected, plain}, {c.Observed, plain}, {c.Gap, plain},
			{c.AllowedGap, plain}, {verdictCell(c.Verdict), verdictColor(c.Verdict)}})
	}
	p.table(cols, rows)
}

// CheckRows are r's checks, each with a name. Many of one name that passed, one after the other, share a row: "data × 19", with their
// values as a range.
func CheckRows(r *result.Result) []result.Check {
	var rows []result.Check
	for i := 0; i < len(r.Checks); {
		c, n := r.Checks[i], alike(r.Checks[i:])
		c.Name = checkName(c)
		if n > 1 {
			last := r.Checks[i+n-1]
			c.Name = fmt.Sprintf("%s × %d", groupName(c), n)
			c.Expected, c.Observed, c.Allowed = upTo(c.Expected, last.Expected), upTo(c.Observed, last.Observed), ""
		}
		rows = append(rows, c)
		i += n
	}
	return rows
}

// Shared is a reason that several checks give for what they leave open.
type Shared struct {
	Text   string
	Code   string
	Checks int
}

// SharedReasons takes out of checks the reasons that two or more of them have in common, where they are inconclusive: a machine that stood still
// is a reason for each of them, and is to be read once. What a check says besides stays with it. The slice that is given stays as it is.
func SharedReasons(checks []result.Check) (shared []Shared, rest []result.Check) {
	type reason struct{ text, code string }
	count := map[reason]int{}
	for _, c := range checks {
		for _, text := range endings(c) {
			count[reason{text, c.Code}]++
		}
	}
	rest = slices.Clone(checks)
	for i := range rest {
		c, best := &rest[i], reason{}
		for _, text := range endings(*c) { // the longest first
			if r := (reason{text, c.Code}); count[r] > max(1, count[best]) {
				best = r
			}
		}
		if best.text == "" {
			continue
		}
		c.Detail = strings.TrimSuffix(strings.TrimSuffix(c.Detail, best.text), "; ")
		at := slices.IndexFunc(shared, func(s Shared) bool { return s.Text == best.text && s.Code == best.code })
		if at < 0 {
			at, shared = len(shared), append(shared, Shared{Text: best.text, Code: best.code})
		}
		shared[at].Checks++
	}
	return shared, rest
}

// endings are an inconclusive check's detail, and what follows each "; " in it.
func endings(c result.Check) (all []string) {
	for text, more := c.Detail, c.Verdict == result.Inconclusive && c.Detail != ""; more; _, text, more = strings.Cut(text, "; ") {
		all = append(all, text)
	}
	return all
}

// fewAlike is the least number of checks of one name, one after the other, that share a row.
const fewAlike = 4

// alike counts the checks from the first on that passed, without a gap to show, under one name: the segments of a burst.
func alike(checks []result.Check) int {
	n := 0
	for _, c := range checks {
		if c.Verdict != result.Pass || c.Gap != "" || groupName(c) != groupName(checks[0]) {
			break
		}
		n++
	}
	if n < fewAlike {
		return 1
	}
	return n
}

// groupName is a check's name without the number at its end: "duplicate ACK" for "duplicate ACK 3".
func groupName(c result.Check) string {
	name := checkName(c)
	return strings.TrimRight(strings.TrimRight(name, "0123456789"), " ")
}

// upTo writes two values as a range, in one unit.
func upTo(first, last string) string {
	if first == last {
		return first
	}
	return strings.TrimSuffix(first, " s") + " … " + last
}

func checkName(c result.Check) string {
	if c.Name == "" {
		return c.ID
	}
	return c.Name
}

// Failure writes what a reader needs where the run is not a pass: the checks that decided it with expected and seen, the most likely
// cause as the hypothesis that was tested against the same capture, the command that shows more, and the stable code. For a pass it
// writes nothing.
func Failure(w io.Writer, r *result.Result, s Style) error {
	p := newPen(s)
	p.failure(r)
	return p.flush(w)
}

func (p *pen) failure(r *result.Result) {
	if r.Verdict == result.Pass {
		return
	}
	heading := map[result.Verdict]string{
		result.Fail:         "What contradicts the prediction",
		result.Inconclusive: "Why this run decides nothing",
		result.Error:        "What went wrong in tcplab itself",
		result.Unable:       "Why this machine cannot run it",
		result.Skip:         "Why nothing was judged",
	}[r.Verdict]
	if heading == "" {
		heading = "Why this is not a pass"
	}
	p.line(p.paint(verdictColor(r.Verdict), p.text(heading)))
	told := slices.ContainsFunc(r.Checks, func(c result.Check) bool { return c.Verdict != result.Pass && c.Verdict != result.Skip })
	if r.Reason != "" && !told { // else the first check below says it
		p.para("  ", plain, r.Reason)
	}
	shared, checks := SharedReasons(r.Checks)
	for _, s := range shared {
		why := fmt.Sprintf("%s: %s", s.Text, count(s.Checks, "check"))
		if s.Code != "" {
			why += "  " + s.Code
		}
		p.para("  ", plain, why)
	}
	for _, c := range checks {
		if c.Verdict != result.Pass && c.Verdict != result.Skip {
			p.failedCheck(c)
		}
	}
	p.cause(r)
}

const fieldWidth = 13

func (p *pen) field(name string) string {
	return "    " + p.paint(dim, p.text(name)) + spaces(fieldWidth-len(name))
}

func (p *pen) failedCheck(c result.Check) {
	name := "  " + p.paint(bold, p.text(checkName(c)))
	if c.Verdict != result.Fail {
		name += "  " + p.paint(verdictColor(c.Verdict), p.text(string(c.Verdict)))
	}
	if c.Code != "" {
		name += "  " + p.text(c.Code)
	}
	p.line(name)
	expected := c.Expected
	if c.Allowed != "" {
		expected += ", allowed " + c.Allowed
	}
	observed := c.Observed
	if observed == "" {
		observed = "nothing"
	}
	for _, f := range [][2]string{{"expected", expected}, {"seen", observed}, {"why", c.Detail}} {
		if f[1] != "" {
			p.para(p.field(f[0]), plain, f[1])
		}
	}
}

// cause writes the hypothesis, and how to learn more about each code that was named.
func (p *pen) cause(r *result.Result) {
	if h := r.Hypothesis; h != nil {
		fits := fmt.Sprintf("fits %d of %s of this run", h.Fits, count(h.Of, "event"))
		if h.Code != "" {
			fits += ", " + h.Code
		}
		p.para(p.field("most likely"), bold, h.Text)
		p.para(p.field(""), plain, fits)
	} else if r.Verdict == result.Fail {
		p.para(p.field("most likely"), plain, "not known: no other model fits this run")
	}
	commands := moreCommands(r)
	for i, c := range commands {
		name := ""
		if i == 0 {
			name = "show more"
		}
		p.command(p.field(name), strings.Fields(c))
	}
}

func moreCommands(r *result.Result) []string {
	var out []string
	seen := map[string]bool{}
	add := func(c string) {
		if c != "" && !seen[c] {
			seen[c] = true
			out = append(out, c)
		}
	}
	explain := func(code string) {
		if code != "" {
			add("tcplab explain " + code)
		}
	}
	if r.Hypothesis != nil {
		add(r.Hypothesis.Command)
		explain(r.Hypothesis.Code)
	}
	for _, c := range r.Checks {
		if c.Verdict != result.Pass && c.Verdict != result.Skip {
			explain(c.Code)
		}
	}
	if r.Verdict == result.Unable {
		add("tcplab doctor")
	}
	return out
}

// VerdictLine writes the last line of a run: verdict, experiment, checks passed of checks judged, wall time and, where it is not a
// pass, the code that tcplab explain knows.
func VerdictLine(w io.Writer, r *result.Result, s Style) error {
	p := newPen(s)
	p.verdictLine(r)
	return p.flush(w)
}

func (p *pen) verdictLine(r *result.Result) {
	passed, all := r.Tally()
	parts := []string{p.paint(bold, p.text(r.Experiment.Name)), fmt.Sprintf("%d/%d checks", passed, all), fmt.Sprintf("%.1fs", r.Wall.Duration().Seconds())}
	if code := firstCode(r); code != "" {
		parts = append(parts, p.text(code))
	}
	p.line(p.paint(verdictColor(r.Verdict), p.text(verdictWord(r.Verdict))), " ", strings.Join(parts, "  "))
}

// firstCode is the code of the gravest check, or else of the hypothesis.
func firstCode(r *result.Result) string {
	if r.Verdict == result.Pass {
		return ""
	}
	for _, c := range r.Checks {
		if c.Verdict == r.Verdict && c.Code != "" {
			return c.Code
		}
	}
	if r.Hypothesis != nil {
		return r.Hypothesis.Code
	}
	return ""
}
