package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Matrix writes experiments on several kernels: one table of verdicts, then what was predicted where and what changes from one kernel to
// the next, and why.
func Matrix(w io.Writer, m *result.Matrix, s Style) error {
	p := newPen(s)
	p.para(p.paint(bold, "matrix")+"  ", plain, fmt.Sprintf("%s on %s · profile %s", count(len(m.Rows), "experiment"), count(len(m.Kernels), "kernel"), m.Profile))
	for i, k := range m.Kernels {
		p.para("  "+padRight(p.text(k.Name), widestKernel(m))+"  ", plain, kernelLine(m, i))
	}
	p.section(func() { p.matrixTable(m) })
	for _, row := range m.Rows {
		p.section(func() { p.matrixRow(row) })
	}
	return p.flush(w)
}

func widestKernel(m *result.Matrix) int {
	n := 0
	for _, k := range m.Kernels {
		n = max(n, len(k.Name))
	}
	return n
}

// kernelLine says of one column what ran it, how fast, and how near to the predicted ticks.
func kernelLine(m *result.Matrix, i int) string {
	k := m.Kernels[i]
	if k.Release == "" {
		return "no run could be carried out"
	}
	var lasted, latest result.Seconds
	var ticks int64
	events := 0
	for _, row := range m.Rows {
		c := row.Cells[i]
		lasted += c.Wall
		events += c.Timed
		if c.Late != nil {
			ticks, latest = max(ticks, *c.Late), max(latest, c.OffTick)
		}
	}
	parts := []string{fmt.Sprintf("Linux %s HZ=%d", k.Release, k.HZ), "this machine, in real time"}
	if k.Machines > 0 {
		parts[1] = fmt.Sprintf("%s, up after %.1f s, %d MB at most", count(k.Machines, "virtual machine"), k.Boot.Duration().Seconds(), k.Peak>>20)
	}
	parts = append(parts, fmt.Sprintf("%s of runs in %.1f s", about(lasted.Duration()), k.Wall.Duration().Seconds()))
	if events > 0 {
		parts = append(parts, fmt.Sprintf("%s after its predicted tick at most, by %s (%s)", count(uint64(max(ticks, 0)), "tick"), small(latest.Duration()), count(events, "event")))
	}
	return strings.Join(parts, " · ")
}

// matrixTable is a line for each experiment and a column for each kernel.
func (p *pen) matrixTable(m *result.Matrix) {
	cols := []column{{title: "experiment"}}
	for _, k := range m.Kernels {
		cols = append(cols, column{title: k.Name}, column{title: "checks", right: true}, column{title: "lasted", right: true}, column{title: "took", right: true})
	}
	var rows [][]cell
	for _, r := range m.Rows {
		row := []cell{{text: r.Experiment + flagWords(r.Params)}}
		for _, c := range r.Cells {
			row = append(row, cell{verdictWord(c.Verdict), verdictColor(c.Verdict)})
			if c.Checks == 0 {
				row = append(row, cell{}, cell{}, cell{})
				continue
			}
			row = append(row, cell{text: fmt.Sprintf("%d/%d", c.Passed, c.Checks)}, cell{text: tenth(c.Wall)}, cell{text: tenth(c.Took)})
		}
		rows = append(rows, row)
	}
	p.table(cols, rows)
}

func tenth(s result.Seconds) string { return fmt.Sprintf("%.1f s", s.Duration().Seconds()) }

func flagWords(params []result.Param) string {
	var b strings.Builder
	for _, q := range params {
		fmt.Fprintf(&b, " --%s=%s", q.Name, q.Value)
	}
	return b.String()
}

// matrixRow says of one experiment what was predicted, what is wrong, and what changes.
func (p *pen) matrixRow(r result.MatrixRow) {
	p.para(p.paint(bold, p.text(r.Experiment))+"  ", plain, r.Summary)
	for _, group := range alikePredicted(r.Cells) {
		p.flow("  predicted for "+p.text(strings.Join(group.kernels, ", "))+"  ", group.lines, "; ")
	}
	for _, c := range r.Cells {
		if c.Verdict != result.Pass {
			p.para("  "+p.paint(verdictColor(c.Verdict), verdictWord(c.Verdict))+" on "+p.text(c.Kernel)+"  ", plain, cmp.Or(c.Error, c.Reason))
		}
	}
	for _, s := range r.Steps {
		if s.Nothing() {
			p.para("  "+p.text(s.A+" → "+s.B)+"  ", dim, "nothing changes")
			continue
		}
		p.para("  "+p.text(s.A+" → "+s.B)+"  ", plain, strings.Join(StepWords(s.Difference), ", "))
		p.difference(s.Difference, mostChanges, "    ")
	}
}

// mostChanges is how many changed events of a step are listed in text; JSON has them all.
const mostChanges = 8

// StepWords sum a step up: "5 events moved", "3 events more", "1 event gone".
func StepWords(d result.Difference) []string {
	var moved, come, gone, windows int
	for _, c := range d.Predicted {
		switch {
		case c.A == nil:
			come++
		case c.B == nil:
			gone++
		case c.Window:
			windows++
		default:
			moved++
		}
	}
	var parts []string
	for _, x := range []struct {
		n    int
		text string
	}{{moved, "moved"}, {come, "more"}, {gone, "gone"}, {windows, "with another window"}} {
		if x.n > 0 {
			parts = append(parts, count(x.n, "event")+" "+x.text)
		}
	}
	if len(d.Checks) > 0 {
		parts = append(parts, count(len(d.Checks), "check")+" judged otherwise")
	}
	return parts
}

// Difference writes what two runs do not share, and why: the body of `tcplab diff`.
func Difference(w io.Writer, d result.Difference, s Style) error {
	p := newPen(s)
	p.difference(d, len(d.Predicted)+len(d.Checks), "  ")
	return p.flush(w)
}

func (p *pen) difference(d result.Difference, most int, indent string) {
	for _, c := range ChangeRows(d.Predicted[:min(most, len(d.Predicted))]) {
		if c.Note != "" {
			c.Note = " (" + c.Note + ")"
		}
		p.para(indent+"predicted  ", plain, fmt.Sprintf("%s %s: %s → %s%s", c.Host, c.Name, c.A, c.B, c.Note))
	}
	if rest := len(d.Predicted) - most; rest > 0 {
		p.para(indent+"predicted  ", dim, fmt.Sprintf("and %d more", rest))
	}
	for _, c := range d.Checks[:min(most, len(d.Checks))] {
		p.para(indent+"check      ", plain, fmt.Sprintf("%s: %s → %s", c.ID, cmp.Or(string(c.Verdicts[0]), "-"), cmp.Or(string(c.Verdicts[1]), "-")))
	}
	if rest := len(d.Checks) - most; rest > 0 {
		p.para(indent+"check      ", dim, fmt.Sprintf("and %d more", rest))
	}
	p.causes(d, indent)
}

// ChangeRow is a change between two predictions, in words. A and B are the nominal times; "-" where only the other predicts it.
type ChangeRow struct{ Host, Name, A, B, Note string }

// ChangeRows puts changes into words.
func ChangeRows(changes []result.Change) []ChangeRow {
	at := func(e *result.Event) string {
		if e == nil {
			return "-"
		}
		return seconds(e.At.Duration())
	}
	var out []ChangeRow
	for _, c := range changes {
		e := cmp.Or(c.A, c.B)
		if e == nil || c.A != nil && c.B != nil && c.A.Errno != c.B.Errno { // one name for both
			e = &result.Event{What: c.What, N: c.N, Port: c.Port}
		}
		row := ChangeRow{Host: c.Host, Name: EventName(*e), A: at(c.A), B: at(c.B)}
		if c.Window {
			row.Note = "only the window differs"
		}
		out = append(out, row)
	}
	return out
}

// CauseWords say since when a cause is there, where that is known, and how much of the change it makes.
func CauseWords(c result.Cause) (since, effect string) {
	if c.Since != "" {
		since = "which came with " + c.Since
	}
	if c.Whole {
		return since, "it alone makes all of it"
	}
	return since, "alone it changes " + count(c.Changes, "event")
}

// causes says why. It was tried: see result.Cause.
func (p *pen) causes(d result.Difference, indent string) {
	for _, c := range d.Causes {
		text := fmt.Sprintf("%s: %s → %s", c.Name, cmp.Or(c.A, "none"), cmp.Or(c.B, "none"))
		since, effect := CauseWords(c)
		text += prefixed(", ", since) + "; " + effect
		if c.Code != "" {
			text += " (" + c.Code + ")"
		}
		p.para(indent+"because    ", plain, text)
	}
	if open := Unexplained(d); open != "" {
		p.para(indent+"because    ", dim, open)
	}
}

// Unexplained says what of a difference has no cause, and why; empty: all of it has.
func Unexplained(d result.Difference) string {
	switch {
	case d.NoCause != "":
		return "no cause was looked for: " + d.NoCause
	case !d.Explained:
		return "the causes that were found do not explain all of it"
	}
	return ""
}

// predicted is what kernels with the same prediction share.
type predicted struct {
	kernels []string
	lines   []string
}

// alikePredicted groups the kernels of a row by what was predicted for them.
func alikePredicted(cells []result.MatrixCell) []predicted {
	var out []predicted
	for _, c := range cells {
		if len(c.Events) == 0 {
			continue
		}
		lines := PredictedLines(c.Events, c.Outcome)
		if i := slices.IndexFunc(out, func(g predicted) bool { return slices.Equal(g.lines, lines) }); i >= 0 {
			out[i].kernels = append(out[i].kernels, c.Kernel)
			continue
		}
		out = append(out, predicted{[]string{c.Kernel}, lines})
	}
	return out
}

// mostTimes is how many times of one kind of event are named.
const mostTimes = 20

// PredictedLines sums a prediction up by its nominal times: "SYN again at 1, 3, 7 s", "connect() = ETIMEDOUT at 15 s". First packets and
// what answers them are left out where something is repeated or waited for: they say nothing about a kernel.
func PredictedLines(events []result.Event, outcome *result.Event) []string {
	if outcome != nil {
		events = append(slices.Clone(events), *outcome)
	}
	telling := slices.ContainsFunc(events, timed)
	type group struct {
		name  string
		times []result.Seconds
	}
	var groups []*group
	for _, e := range events {
		if telling && !timed(e) {
			continue
		}
		e.N, e.Port = 0, 0
		name := predictedName(e)
		i := slices.IndexFunc(groups, func(g *group) bool { return g.name == name })
		if i < 0 {
			i = len(groups)
			groups = append(groups, &group{name: name})
		}
		groups[i].times = append(groups[i].times, e.At)
	}
	var out []string
	for _, g := range groups {
		out = append(out, g.name+" at "+times(g.times))
	}
	return out
}

// timed reports whether a timer of the kernel decides when an event comes, or it is how a call ends.
func timed(e result.Event) bool { return repeats(e.What) || !timeline.What(e.What).OnWire() }

// times lists offsets in order, each once: "1, 3, 7 and 15 s".
func times(all []result.Seconds) string {
	slices.Sort(all)
	all = slices.Compact(all)
	var words []string
	for _, t := range all[:min(len(all), mostTimes)] {
		s := fmt.Sprintf("%.3f", t.Duration().Seconds())
		words = append(words, strings.TrimSuffix(strings.TrimRight(s, "0"), "."))
	}
	s := strings.Join(words, ", ")
	if more := len(all) - len(words); more > 0 {
		s += fmt.Sprintf(" and %d more, up to %.3f", more, all[len(all)-1].Duration().Seconds())
	}
	return s + " s"
}

// MatrixMarkdown writes a matrix where Markdown is shown: the table, then what changes.
func MatrixMarkdown(w io.Writer, m *result.Matrix) error {
	var b strings.Builder
	b.WriteString("| experiment |")
	rule := "|---|"
	for _, k := range m.Kernels {
		fmt.Fprintf(&b, " %s |", markdown(k.Name))
		rule += "---|"
	}
	b.WriteString("\n" + rule + "\n")
	for _, r := range m.Rows {
		fmt.Fprintf(&b, "| %s |", markdown(r.Experiment+flagWords(r.Params)))
		for _, c := range r.Cells {
			if c.Checks > 0 {
				fmt.Fprintf(&b, " **%s** %d/%d, %s in %s |", verdictWord(c.Verdict), c.Passed, c.Checks, tenth(c.Wall), tenth(c.Took))
			} else {
				fmt.Fprintf(&b, " **%s** |", verdictWord(c.Verdict))
			}
		}
		b.WriteByte('\n')
	}
	for i, k := range m.Kernels {
		fmt.Fprintf(&b, "\n- %s: %s", markdown(k.Name), markdown(kernelLine(m, i)))
	}
	b.WriteByte('\n')
	for _, r := range m.Rows {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", markdown(r.Experiment), markdown(r.Summary))
		p := newPen(Style{})
		p.matrixRow(r)
		_, body, _ := strings.Cut(p.b.String(), "\n")
		for l := range strings.Lines(body) {
			b.WriteString("    " + l) // indented: no fence that a text could close
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
