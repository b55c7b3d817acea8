package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/setting"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/sysctl"
)

// textWidth is how wide explain writes sentences.
const textWidth = 96

// write prints the answer: what it means, the times, what differs elsewhere, and the settings themselves.
func (d *answer) write(out io.Writer) error {
	w := &lines{}
	for i, m := range d.meanings {
		if i == 0 {
			fmt.Fprintf(w, "%s  on Linux %s\n\n", d.words(), kernelWords(d.facts))
		} else {
			fmt.Fprintf(w, "\n%s\n\n", strings.ToUpper(m.About[:1])+m.About[1:])
		}
		writeMeaning(w, m)
	}
	if len(d.other) > 0 {
		fmt.Fprintf(w, "\nElsewhere\n")
		d.writeOthers(w)
	}
	version := ""
	if d.facts.Version != (kernel.Version{}) {
		version = d.facts.Version.String()
	}
	for i, k := range d.knobs {
		if i > 0 || len(d.meanings) > 0 {
			fmt.Fprintln(w)
		}
		if err := explainKnob(w, k, version); err != nil {
			return err
		}
	}
	for i, o := range d.options {
		if i > 0 || len(d.knobs)+len(d.meanings) > 0 {
			fmt.Fprintln(w)
		}
		if err := explainOption(w, o); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out, w.String())
	return err
}

// words names what was given.
func (d *answer) words() string {
	var words []string
	for _, g := range d.given {
		words = append(words, g.String())
	}
	return strings.Join(words, " ")
}

func kernelWords(f kernel.Facts) string { return fmt.Sprintf("%v, HZ=%d", f.Version, f.HZ) }

func writeMeaning(w io.Writer, m setting.Meaning) {
	fmt.Fprintln(w, wrap(m.Says[0], textWidth))
	if len(m.Says) > 1 {
		fmt.Fprintf(w, "\n%s\n", wrap(strings.Join(m.Says[1:], " "), textWidth))
	}
	if m.Timeline != nil {
		fmt.Fprintln(w)
		writeTimeline(w, *m.Timeline)
	}
	var defaults []string
	from := ""
	for _, v := range m.Settings {
		if v.From != setting.Given && v.From != setting.BuiltIn {
			defaults, from = append(defaults, v.Name+"="+v.Value), v.From
		}
	}
	if len(defaults) > 0 {
		fmt.Fprintf(w, "\n%s\n", wrap(strings.ToUpper(from[:1])+from[1:]+": "+strings.Join(defaults, ", "), textWidth))
	}
	for i, n := range m.Notes {
		if i == 0 {
			fmt.Fprintln(w)
		}
		text := n.Text
		if n.Code != "" {
			text += " See " + n.Code + "."
		}
		fmt.Fprintf(w, "  - %s\n", strings.ReplaceAll(wrap(text, textWidth-4), "\n", "\n    "))
	}
}

// writeTimeline is the table of what happens when nobody answers. A long one is cut in its middle.
func writeTimeline(w io.Writer, t timeline.Timeline) {
	const most = 24 // rows
	events := t.Events
	if t.Outcome != nil {
		events = append(events[:len(events):len(events)], *t.Outcome)
	}
	rows := [][]string{{"event", "nominal", "window", "formula"}}
	for i, e := range events {
		if len(events) > most && i == most-4 {
			rows = append(rows, []string{fmt.Sprintf("... %d more", len(events)-most), "", "", ""})
		}
		if len(events) > most && i >= most-4 && i < len(events)-4 {
			continue
		}
		name := report.EventName(judge.FromTimeline(e))
		if e.Maybe {
			name += " (may be absent)"
		}
		rows = append(rows, []string{name, at(e.At), span(e.Bound), e.Why})
	}
	writeColumns(w, rows, 1, 2)
}

// writeColumns writes rows with two blanks between the columns and before the first; the named columns are aligned to the right.
func writeColumns(w io.Writer, rows [][]string, right ...int) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], len([]rune(c)))
		}
	}
	aligned := map[int]bool{}
	for _, i := range right {
		aligned[i] = true
	}
	for _, row := range rows {
		var b strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(c)))
			if aligned[i] {
				c = pad + c
			} else {
				c += pad
			}
			b.WriteString("  " + c)
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

func at(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) + " s" }

func span(b timeline.Bound) string {
	if b.Latest == 0 {
		return ""
	}
	return strconv.FormatFloat(b.Earliest.Seconds(), 'f', 3, 64) + " to " + at(b.Latest)
}

// writeOthers is a row for each kernel and mechanism: the time by the formula, how long it takes, and which settings are not the same.
func (d *answer) writeOthers(w io.Writer) {
	rows := [][]string{{"", "by the formula", "it takes", "sent again", "other defaults"}}
	add := func(name string, ms, first []setting.Meaning) {
		for i, m := range ms {
			row := []string{name, "", "", "", ""}
			if len(ms) > 1 {
				row[0] += ", " + m.About
			}
			if m.Nominal > 0 {
				row[1] = at(m.Nominal)
			}
			if m.Timeline != nil {
				row[2], row[3] = span(m.Timeline.Outcome.Bound), repeatsOf(*m.Timeline)
			}
			if i < len(first) {
				row[4] = differences(m.Settings, first[i].Settings)
			}
			rows = append(rows, row)
		}
	}
	add(kernelWords(d.facts), d.meanings, nil)
	for _, o := range d.other {
		if o.err != nil {
			rows = append(rows, []string{kernelWords(o.facts), "", "", "", o.err.Error()})
			continue
		}
		add(kernelWords(o.facts), o.meanings, d.meanings)
	}
	writeColumns(w, rows, 1, 2)
}

// repeatsOf counts what is sent again: "10", "8 or 9".
func repeatsOf(t timeline.Timeline) string {
	most, least := 0, 0
	for _, e := range t.Events[1:] {
		most++
		if !e.Maybe {
			least++
		}
	}
	if most == least {
		return strconv.Itoa(most)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

// differences lists the settings that are not as in another meaning.
func differences(these, those []setting.Value) string {
	was := map[string]string{}
	for _, v := range those {
		was[v.Name] = v.Value
	}
	var out []string
	for _, v := range these {
		if was[v.Name] != v.Value {
			out = append(out, v.Name+"="+v.Value)
		}
		delete(was, v.Name)
	}
	for _, v := range those {
		if _, gone := was[v.Name]; gone {
			out = append(out, "no "+v.Name)
		}
	}
	return strings.Join(out, ", ")
}

// explainKnob writes a sysctl's entry in the manner of a manual page. version is the kernel that was asked about, "" for none.
func explainKnob(w io.Writer, k sysctl.Knob, version string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s  %s\n\n%s\n\n", k.Name, k.Summary, wrap(k.Meaning, textWidth))
	fmt.Fprintf(t, "unit\t%s\nvalues\t%s\n", k.Unit, k.Range())
	for _, c := range k.Choices {
		value := strconv.FormatInt(c.Value, 10)
		if k.Kind == sysctl.Bits {
			value = fmt.Sprintf("0x%x", c.Value)
		}
		fmt.Fprintf(t, "\t%s: %s\n", value, c.Meaning)
	}
	for _, d := range k.Defaults {
		since := "default"
		if d.Since != "" {
			since = "default since " + d.Since
		}
		fmt.Fprintf(t, "%s\t%s\n", since, d.Value+d.Computed)
	}
	fmt.Fprintf(t, "since\t%s\n", k.Since)
	if k.Gone != "" {
		fmt.Fprintf(t, "gone\t%s\n", k.Gone)
	}
	if version != "" && !k.In(version) {
		fmt.Fprintf(t, "here\tLinux %s does not have it\n", version)
	}
	scope := "never: one value for the machine"
	if k.PerNamespace.First() != "" {
		scope = k.PerNamespace.String()
	}
	fmt.Fprintf(t, "per namespace\t%s\n", scope)
	fmt.Fprintf(t, "read\t%v\nsource\t%s\n", k.ReadAt, k.Source)
	return t.Flush()
}

// explainOption writes a socket option's entry.
func explainOption(w io.Writer, o setting.Option) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s  %s\n\n%s\n\n", o.Name, o.Summary, wrap(o.Meaning, textWidth))
	fmt.Fprintf(t, "option\tsetsockopt(fd, IPPROTO_TCP, %s (%d), ...)\nunit\t%s\nvalues\t%d to %d\n", o.Name, o.Number, o.Unit, o.Min, o.Max)
	if o.Overrides != "" {
		fmt.Fprintf(t, "goes before\t%s\n", o.Overrides)
	}
	if o.Since != "" {
		fmt.Fprintf(t, "since\t%s\n", o.Since)
	}
	fmt.Fprintf(t, "source\t%s\n", o.Source)
	return t.Flush()
}
