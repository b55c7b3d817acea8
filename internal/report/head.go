package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/tcplab/tcplab/internal/result"
)

// Head writes what is known before the first packet: tool, kernel, profile, how long it takes, the lab, what is broken, what is set
// and what is captured. estimate is how long the run will take; 0 takes it from r.Prediction. The rule counters, packet counts and
// verdict of r are not read, so a live run and a stored one have the same head.
func Head(w io.Writer, r *result.Result, s Style, estimate time.Duration) error {
	p := newPen(s)
	p.head(r, estimate)
	return p.flush(w)
}

func (p *pen) head(r *result.Result, estimate time.Duration) {
	if estimate <= 0 {
		estimate = Estimate(r.Prediction)
	}
	p.title(r, estimate)
	p.para(p.paint(bold, p.text(r.Experiment.Name))+"  ", plain, r.Experiment.Summary)
	p.lab(r.Hosts, r.Link)
	p.rules(r.Rules)
	p.settings(r.Sysctls)
	p.captures(r.Captures)
}

// Estimate is when the last predicted event is due at the latest, from the first packet on; 0 where nothing is predicted.
func Estimate(p *result.Prediction) time.Duration {
	if p == nil {
		return 0
	}
	var last time.Duration
	events := p.Events
	if p.Outcome != nil {
		events = append(events[:len(events):len(events)], *p.Outcome)
	}
	for _, e := range events {
		last = max(last, (e.At + e.Late).Duration())
	}
	return last
}

func (p *pen) title(r *result.Result, estimate time.Duration) {
	name := r.Tool.Name
	if name == "" {
		name = "tcplab"
	}
	left := []string{strings.TrimSpace(name + " " + r.Tool.Version), kernelName(r.Kernel)}
	if r.Profile != "" {
		left = append(left, "profile "+r.Profile)
	}
	sep := p.text(" · ")
	title := p.text(strings.Join(left, " · "))
	if estimate <= 0 {
		p.flow("", left, sep)
		return
	}
	takes := p.text("takes about " + about(estimate))
	gap := min(p.width, 84) - ansi.StringWidth(title) - ansi.StringWidth(takes)
	if gap < 2 {
		p.flow("", left, sep)
		p.line(takes)
		return
	}
	p.line(title, spaces(gap), takes)
}

func kernelName(k result.Kernel) string {
	name := k.Release
	if name == "" {
		name = k.Version
	}
	name = "Linux " + name
	if k.Arch != "" {
		name += " " + k.Arch
	}
	if k.HZ > 0 {
		name += fmt.Sprintf(" HZ=%d", k.HZ)
	}
	return name
}

// labelled writes rows of a block: a label once, then what belongs to it and, in a column of its own, a remark.
func (p *pen) labelled(label string, rows [][2]string) {
	const labelWidth = 9
	wide := 0
	for i := range rows {
		rows[i] = [2]string{p.text(rows[i][0]), p.text(rows[i][1])}
		wide = max(wide, ansi.StringWidth(rows[i][0]))
	}
	first := "  " + p.paint(dim, p.text(label)) + spaces(labelWidth-ansi.StringWidth(label))
	col := 2 + labelWidth
	wide = max(wide+2, 36)
	for _, row := range rows {
		if row[1] != "" && col+wide+ansi.StringWidth(row[1]) <= p.width {
			p.line(first, padRight(row[0], wide), p.paint(dim, row[1]))
		} else {
			p.para(first, plain, row[0])
			if row[1] != "" {
				p.para(spaces(col+2), dim, row[1])
			}
		}
		first = spaces(col)
	}
}

func (p *pen) lab(hosts []result.Host, link *result.Link) {
	switch len(hosts) {
	case 0:
		return
	case 2:
		a, b, kind, how := hosts[0], hosts[1], "veth", ""
		if link != nil {
			kind, how = "RTT "+small(link.RTT.Duration()), link.How
		}
		p.labelled("lab", [][2]string{{fmt.Sprintf("%s %s ──%s── %s %s%s", a.Name, a.Addr, kind, b.Addr, b.Name, listening(b)), how}})
	default:
		var rows [][2]string
		for _, h := range hosts {
			rows = append(rows, [2]string{fmt.Sprintf("%s %s%s", h.Name, h.Addr, listening(h)), ""})
		}
		p.labelled("lab", rows)
	}
}

func listening(h result.Host) string {
	if h.Port == 0 {
		return ""
	}
	return fmt.Sprintf(", listening on :%d", h.Port)
}

func (p *pen) rules(rules []result.Rule) {
	var rows [][2]string
	for _, r := range rules {
		where := r.Tool() + " " + chain(r) + ", before capture"
		switch {
		case r.AfterCapture:
			where = r.Tool() + " " + chain(r) + ", after capture"
		case r.Between():
			where = r.Tool() + " " + chain(r) + ", between the captures"
		}
		verb := " drops "
		if r.Reject != "" {
			verb = " rejects "
		}
		rows = append(rows, [2]string{r.Host + verb + r.Text, where})
	}
	p.labelled("break", rows)
}

// chain names where a rule sits; the filter table goes without saying.
func chain(r result.Rule) string {
	if r.Table == "" || r.Table == "filter" {
		return r.Chain
	}
	return r.Table + " " + r.Chain
}

func (p *pen) settings(sysctls []result.Sysctl) {
	var rows [][2]string
	others := 0
	for _, s := range sysctls {
		if !s.Matters {
			others++
			continue
		}
		rows = append(rows, [2]string{s.Host + " " + knob(s.Name) + "=" + s.Now, remark(s)})
	}
	if others > 0 {
		rows = append(rows, [2]string{fmt.Sprintf("and %d more pinned as the baseline", others), ""})
	}
	p.labelled("set", rows)
}

// remark compares a setting of the lab with the machine that runs tcplab, which keeps its own.
func remark(s result.Sysctl) string {
	out := ""
	switch s.Here {
	case "":
	case s.Now:
		out = "as on the host"
	default:
		out = "host keeps " + s.Here
	}
	if s.Code == "" {
		return out
	}
	if out != "" {
		out += ": "
	}
	return out + "see " + s.Code
}

func (p *pen) captures(captures []result.Capture) {
	var files []string
	for _, c := range captures {
		if c.File != "" {
			files = append(files, c.File)
		}
	}
	if len(files) > 0 {
		p.labelled("capture", [][2]string{{strings.Join(files, "  "), ""}})
	}
}
