package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/tcplab/tcplab/internal/result"
)

// Markdown writes runs for where Markdown is shown, such as the summary of a CI job: a table of all runs, then for each its checks, its
// ladder and its story. Strings of the result are escaped, so that none becomes markup.
func Markdown(w io.Writer, runs ...*result.Result) error {
	var b strings.Builder
	b.WriteString("| experiment | verdict | checks | wall | kernel | profile | reason |\n|---|---|--:|--:|---|---|---|\n")
	for _, r := range runs {
		passed, all := r.Tally()
		fmt.Fprintf(&b, "| %s | **%s** | %d/%d | %.1f s | %s | %s | %s |\n", markdown(r.Experiment.Name), verdictWord(r.Verdict), passed, all,
			r.Wall.Duration().Seconds(), markdown(kernelName(r.Kernel)), markdown(r.Profile), markdown(r.Reason))
	}
	for _, r := range runs {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| check | expected | observed | gap | allowed gap | result |\n|---|--:|--:|--:|--:|---|\n", markdown(r.Experiment.Name),
			markdown(r.Experiment.Summary))
		for _, c := range CheckRows(r) {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", markdown(c.Name), markdown(c.Expected), markdown(c.Observed), markdown(c.Gap), markdown(c.AllowedGap),
				verdictCell(c.Verdict))
		}
		p := newPen(Style{})
		p.ladder(r)
		b.WriteString("\n")
		for l := range strings.Lines(p.b.String()) {
			b.WriteString("    " + l) // indented: no fence that a text could close
		}
		if len(r.Story) > 0 {
			b.WriteString("\n")
		}
		for _, s := range r.Story {
			b.WriteString("- " + markdown(s.Text) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// markdown escapes what Markdown or HTML would read as markup.
func markdown(s string) string {
	var b strings.Builder
	for _, r := range clean(s) {
		if strings.ContainsRune("\\`*_{}[]<>()#+!|~&", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
