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
		for _, cmd := range f.Rule.Commands() {
			fmt.Fprintf(w, "         %s\n", cmd)
		}
	}
	if err := describeParams(w, x); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nsee it   sudo tcplab run %s\n         tcplab predict %s\n", x.Title(), x.Title())
	return err
}

// describeParams lists the parameters with their values under each profile, and with what they take.
func describeParams(w io.Writer, x *experiments.Experiment) error {
	fmt.Fprintf(w, "\nparameters (a dash: left as the kernel has it, or not given)\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "  flag")
	for _, p := range experiments.Profiles() {
		fmt.Fprintf(t, "\t%s", p)
	}
	fmt.Fprintf(t, "\ttakes\n")
	for _, q := range x.Params {
		fmt.Fprintf(t, "  --%s", q.Flag)
		for _, p := range experiments.Profiles() {
			fmt.Fprintf(t, "\t%s", orDash(q.Under(p)))
		}
		fmt.Fprintf(t, "\t%s\n", q.Takes())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, q := range x.Params {
		is := ""
		switch {
		case q.Sysctl != "":
			is = "\t" + q.Host + " " + q.Sysctl
		case q.SocketOption != "":
			is = "\t" + q.SocketOption
		}
		fmt.Fprintf(t, "  --%s\t%s%s\n", q.Flag, q.Doc, is)
	}
	return t.Flush()
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
