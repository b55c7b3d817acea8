package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// findings writes one paragraph for each kind of a grade: the connection that it cost most, and who else has it.
func (p *pen) findings(doc *result.Analysis, rows *Rows, grade, title string) {
	groups := slices.DeleteFunc(slices.Clone(rows.groups), func(g group) bool { return g.grade != grade })
	if len(groups) == 0 {
		return
	}
	slices.SortStableFunc(groups, func(a, b group) int { return cmp.Compare(b.worst.Cost, a.worst.Cost) })
	p.line(p.paint(bold, title))
	for i := range groups {
		g := &groups[i]
		p.finding(&g.worst, fmt.Sprintf("#%d", g.conn.Number), g.conn.Client+" → "+g.conn.Server+", at "+seconds(g.conn.Start.Duration()))
		if g.n > 1 {
			p.para(spaces(7), dim, sameFinding(g))
		}
		if doc.File.Name != "-" && grade != "note" && !slices.Contains(rows.shown, g.conn.Number) {
			rows.shown = append(rows.shown, g.conn.Number)
			p.command("       see it      ", []string{"tcplab", "analyse", quote(doc.File.Name), "--stream", strconv.Itoa(g.conn.Number)})
		}
	}
}

// finding writes one finding: a mark, where, what, and the experiment that shows the same.
func (p *pen) finding(f *result.Finding, number, where string) {
	mark, color := "·", plain
	switch f.Grade {
	case "died":
		mark, color = "✗", red
	case "slow":
		mark, color = "!", yellow
	}
	first := "  " + p.paint(color, p.text(mark)) + " "
	if number != "" {
		p.para(first+p.paint(bold, padRight(p.text(number), 3))+" ", plain, where)
		first = spaces(7)
	}
	p.para(first, plain, f.Text)
	if f.Like != "" && f.Grade != "note" {
		p.command("       looks like  "+p.paint(bold, p.text(f.Like))+": ", strings.Fields(f.Try))
	}
}

// sameFinding says which other connections have the same finding.
func sameFinding(g *group) string {
	names := make([]string, len(g.others))
	for i, n := range g.others {
		names[i] = fmt.Sprintf("#%d", n)
	}
	s := "also " + strings.Join(names, " ")
	if more := g.n - 1 - len(g.others); more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// analysisEnd is the last line: the sum, and what a capture cannot tell.
func (p *pen) analysisEnd(doc *result.Analysis, rows *Rows) {
	died, slow := rows.grades[3], rows.grades[2]
	if died+slow == 0 {
		p.para("", plain, count(doc.File.Connections, "connection")+": nothing died, nothing was slow.")
		return
	}
	p.para("", plain, fmt.Sprintf("%s: %d died, %d slow. This is what passed one capture point: where a packet died, only a capture at the other end tells.",
		count(doc.File.Connections, "connection"), died, slow))
}

// ConnectionText writes one connection: its ends, the ladder of its packets, what was found. also are the numbers of other connections that
// fit what was asked for, all is how many there are.
func ConnectionText(w io.Writer, doc *result.Analysis, also []int, all int, s Style) error {
	p := newPen(s)
	c := &doc.Connections[0]
	p.para(p.paint(bold, p.text(fmt.Sprintf("#%d", c.Number)))+"  ", plain, fmt.Sprintf("client %s → server %s", c.Client, c.Server))
	facts := []string{fmt.Sprintf("packet %d of %s, at %s", c.First, doc.File.Name, seconds(c.Start.Duration())), "lasted " + lasted((c.End - c.Start).Duration()),
		count(c.Packets, "packet")}
	if c.RTT != nil {
		facts = append(facts, "RTT "+brief(c.RTT.Duration()))
	}
	facts = append(facts, fmt.Sprintf("sent %s, received %s", cmp.Or(size(c.FromClient.Bytes), "nothing"), cmp.Or(size(c.FromServer.Bytes), "nothing")))
	if !c.Handshake {
		facts = append(facts, "its beginning is not in the capture")
	}
	p.para("    ", dim, strings.Join(facts, " · "))
	p.captureDoubts(&doc.File)
	p.section(func() { p.steps(doc) })
	text, color := ending(c)
	p.section(func() {
		p.para("  ", color, text)
		for i := range c.Findings {
			p.finding(&c.Findings[i], "", "")
		}
	})
	if all > 0 {
		names := make([]string, len(also))
		for i, n := range also {
			names[i] = strconv.Itoa(n)
		}
		more := ""
		if all > len(also) {
			more = fmt.Sprintf(" and %d more", all-len(also))
		}
		p.section(func() { p.para("", dim, "Others fit, too: --stream "+strings.Join(names, ", ")+more) })
	}
	return p.flush(w)
}

// steps is the ladder of a capture: what passed one point, so every arrow goes all the way, and nothing says that it arrived.
func (p *pen) steps(doc *result.Analysis) {
	shaft := min(mostShaft, max(leastShaft, p.width-14-2-len("client  server")-24))
	p.line(p.paint(dim, p.text(spaces(14+len("client ")+shaft+len(" server"))+"  packet")))
	for i := range doc.Packets {
		x := &doc.Packets[i]
		at := padLeft(seconds(x.At.Duration()), 12) + "  "
		label := stepLabel(x)
		var body string
		switch x.From {
		case "client":
			body = "client " + p.arrow(label, shaft, false, endDelivered) + " server"
		case "server":
			body = "client " + p.arrow(label, shaft, true, endDelivered) + " server"
		default:
			body = p.text(label)
		}
		detail := x.Detail
		if x.What == "copy" {
			detail = "the same packet at another point"
		}
		p.step(at, body, detail, x)
		if x.Skipped > 0 {
			p.line(spaces(14), p.paint(dim, p.text(fmt.Sprintf("⋮ %d packets that go on like these", x.Skipped))))
		}
	}
}

// step writes a line of the ladder, and its detail behind it or below.
func (p *pen) step(at, body, detail string, x *result.Step) {
	color := stepColor(x.What)
	body = p.paint(color, body)
	frame := p.paint(dim, p.text(fmt.Sprintf("  %6d", x.Frame)))
	if detail == "" {
		p.line(at, body, frame)
		return
	}
	p.line(at, body, frame, p.paint(dim, p.text("  "+detail)))
}

// stepColor makes a ladder show at a glance where it went wrong.
func stepColor(what string) sgr {
	switch {
	case what == "rst" || what == "icmp-error":
		return red
	case what == "copy":
		return dim
	case strings.Contains(againKinds, " "+what+" ") || what == "keepalive-probe" || what == "window-probe":
		return yellow
	}
	return plain
}

// size is a number of bytes in few letters: "310 B", "12 kB", "1.4 MB".
func size(n int64) string {
	f := float64(n)
	switch {
	case n == 0:
		return ""
	case n < 10_000:
		return fmt.Sprintf("%d B", n)
	case f < 1e6:
		return fmt.Sprintf("%.0f kB", f/1e3)
	case f < 1e9:
		return fmt.Sprintf("%.1f MB", f/1e6)
	}
	return fmt.Sprintf("%.2f GB", f/1e9)
}

// brief is a time in few letters: "41 ms", "1.02 s", "2 h 11 min".
func brief(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + brief(-d)
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
	case d < 2*time.Minute:
		return fmt.Sprintf("%.3g s", d.Seconds())
	}
	return about(d)
}

// lasted is a duration for a head.
func lasted(d time.Duration) string {
	if d < 2*time.Minute {
		return seconds(d)
	}
	return about(d)
}

// stepLabel is what an arrow carries: "SYN seq=0", "1448 bytes again, RTO (2) seq=1449", "dup ACK 3 ack=1".
func stepLabel(x *result.Step) string {
	w := timeline.What(x.What)
	name := w.Words()
	switch {
	case w == "":
		return "ignored by TCP"
	case x.What == "copy":
		return "copy"
	case w == timeline.DuplicateACK && x.N > 0:
		return fmt.Sprintf("dup ACK %d ack=%d", x.N, x.RelAck)
	case x.Len > 0 && w == timeline.TailLossProbe:
		name = count(x.Len, "byte") + ", " + name
	case x.Len > 0 && w.Family() == timeline.Data && w != timeline.FastRetransmit:
		name = count(x.Len, "byte") + strings.TrimPrefix(name, "data")
	}
	if x.N > 0 {
		name += fmt.Sprintf(" (%d)", x.N)
	}
	switch {
	case w == timeline.ICMP:
	case w.Family() == timeline.ACK && x.Len == 0, w == timeline.WindowProbeACK, w == timeline.KeepaliveACK:
		name += fmt.Sprintf(" ack=%d", x.RelAck)
	case w == timeline.SYN || w == timeline.SYNRetransmission:
		name += " seq=0"
	default:
		name += fmt.Sprintf(" seq=%d", x.RelSeq)
	}
	return name
}
