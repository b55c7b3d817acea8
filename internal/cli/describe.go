package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/tcplab/tcplab/experiments"
)

// Describe writes what an experiment asks, breaks and takes as parameters. The generated pages in docs/ hold the same text.
func Describe(w io.Writer, x *experiments.Experiment) error {
	fmt.Fprintf(w, "%s  %s\n\n%s\n\n", x.Name, x.Summary, wrap(x.Question, 96))
	for _, f := range x.Setup(x.Defaults()).Faults {
		where := "after its capture, which still sees it"
		if !f.Rule.AfterCapture() {
			where = "before its capture, which never sees it"
		}
		fmt.Fprintf(w, "breaks   %s %s %s, %s\n", f.Host, f.Rule.Verb(), f.Rule.Text, where)
		for _, spec := range f.Rule.Specs() {
			fmt.Fprintf(w, "         iptables -t %s -A %s %s\n", f.Rule.TableName(), f.Rule.Chain, strings.Join(spec, " "))
		}
	}
	fmt.Fprintf(w, "\nparameters (under textbook / fast; the kernel profile leaves the kernel's own defaults)\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, q := range x.Params {
		fmt.Fprintf(t, "  --%s\t%s / %s\t%s\n", q.Flag, orDash(q.Textbook), orDash(q.Fast), q.Doc)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nsee it   sudo tcplab run %s\n         tcplab predict %s\n", x.Name, x.Name)
	return err
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// wrap breaks text into lines of at most width bytes, at blanks.
func wrap(text string, width int) string {
	var b strings.Builder
	col := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case col+1+len(word) > width:
			b.WriteByte('\n')
			col = 0
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(word)
		col += len(word)
	}
	return b.String()
}
