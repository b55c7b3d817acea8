package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// PredictionText writes what `tcplab predict` shows: each event with its nominal time, the window that the timer wheel allows, and
// the formula behind it. No run is needed.
func PredictionText(w io.Writer, pr result.Prediction, s Style) error {
	p := newPen(s)
	k := result.Kernel{Version: pr.Kernel, HZ: pr.HZ}
	p.para(p.paint(bold, p.text(pr.Experiment))+"  ", plain, kernelName(k)+" · profile "+pr.Profile)
	p.predictedSettings(pr)
	if len(pr.Cases) > 0 { // the answer; hundreds of packets behind it would hide it
		p.section(func() { p.caseTable(pr.Cases) })
		p.section(func() { p.para("  ", dim, fmt.Sprintf("every packet of it, %d events: see --json", len(pr.Events))) })
	} else {
		p.section(func() { p.predictedEvents(pr) })
	}
	p.section(func() { p.noteList(pr.Notes) })
	return p.flush(w)
}

func (p *pen) predictedSettings(pr result.Prediction) {
	var params, settings [][2]string
	for _, x := range pr.Params {
		remark := ""
		if x.From != "" {
			remark = "from the " + x.From
		}
		params = append(params, [2]string{x.Name + "=" + x.Value, remark})
	}
	others := 0
	for _, name := range slices.Sorted(maps.Keys(pr.Sysctls)) {
		host, short, _ := strings.Cut(name, ".")
		short = knob(short)
		if !named(pr, short) {
			others++
			continue
		}
		settings = append(settings, [2]string{host + " " + short + "=" + pr.Sysctls[name], ""})
	}
	if others > 0 {
		settings = append(settings, [2]string{fmt.Sprintf("and %d more pinned as the baseline: see --json", others), ""})
	}
	p.labelled("params", params)
	p.labelled("set", settings)
}

// named reports whether a prediction speaks of a sysctl: in a parameter, a formula or a note. The others are the pinned baseline.
func named(pr result.Prediction, short string) bool {
	for _, x := range pr.Params {
		if strings.TrimPrefix(short, "tcp_") == strings.ReplaceAll(x.Name, "-", "_") {
			return true
		}
	}
	for _, e := range pr.Events {
		if strings.Contains(e.Why, short) {
			return true
		}
	}
	if pr.Outcome != nil && strings.Contains(pr.Outcome.Why, short) {
		return true
	}
	return slices.ContainsFunc(pr.Notes, func(n result.Note) bool { return strings.Contains(n.Text, short) })
}

// caseTable answers the experiment's question, a row for each case.
func (p *pen) caseTable(cases []result.Case) {
	var rows [][]cell
	for _, c := range cases {
		at, open := "never", ""
		if !c.Never {
			at, open = seconds(c.At.Duration()), window(c.Earliest.Duration(), c.Latest.Duration())
		}
		rows = append(rows, []cell{{text: strconv.Itoa(c.N)}, {text: c.Name}, {text: c.Rule}, {text: c.From}, {text: at}, {text: open}, {text: c.Told}})
	}
	p.table([]column{{title: "#", right: true}, {title: "when the peer dies"}, {title: "what decides"}, {title: "time since"}, {title: "nominal", right: true}, {title: "window", right: true}, {title: "the program is told"}}, rows)
}

// leastFormula is the width under which a formula gets lines of its own instead of a column.
const leastFormula = 22

func (p *pen) predictedEvents(pr result.Prediction) {
	events := slices.Clone(pr.Events)
	if pr.Outcome != nil {
		events = append(events, *pr.Outcome)
		slices.SortStableFunc(events, func(a, b result.Event) int { return cmp.Compare(a.At, b.At) })
	}
	cols := []column{{title: "event"}, {title: "nominal", right: true}, {title: "window", right: true}, {title: "gap", right: true}, {title: "formula"}}
	taken := 2 + columnGap*(len(cols)-1)
	rows := make([][]cell, len(events))
	for i, e := range events {
		rows[i] = []cell{{text: predictedName(e)}, {text: seconds(e.At.Duration())}, {text: eventWindow(e)}, {text: gapWindow(e)}, {text: e.Why}}
	}
	for i, c := range cols[:len(cols)-1] {
		wide := ansi.StringWidth(c.title)
		for _, row := range rows {
			wide = max(wide, ansi.StringWidth(p.text(row[i].text)))
		}
		taken += wide
	}
	if p.width-taken >= leastFormula {
		p.table(cols, rows)
		return
	}
	for i, e := range events {
		p.para("  ", bold, predictedName(e))
		p.flow("    ", nonEmpty("nominal "+rows[i][1].text, prefixed("window ", rows[i][2].text), prefixed("gap ", rows[i][3].text)), "  ")
		if e.Why != "" {
			p.para("    ", dim, e.Why)
		}
	}
}

func predictedName(e result.Event) string {
	name := EventName(e)
	if (timeline.What(e.What).OnWire() || timeline.What(e.What) == timeline.SocketGone) && e.Host != "" {
		name = e.Host + " " + name
	}
	if e.Maybe {
		name += " (may be left out)"
	}
	return name
}

func eventWindow(e result.Event) string {
	if e.At == 0 && e.Late == 0 {
		return ""
	}
	return window(soonest(e).Duration(), (e.At + e.Late).Duration())
}

func gapWindow(e result.Event) string {
	if e.GapLatest == 0 {
		return ""
	}
	return window(e.GapEarliest.Duration(), e.GapLatest.Duration())
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func nonEmpty(all ...string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}
