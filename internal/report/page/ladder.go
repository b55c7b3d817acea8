package page

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// The columns of the ladder, in SVG units: time, brackets, state and life line of the left host; the same mirrored; what is off and how it is
// judged.
const (
	ladderWidth = 960
	leftX       = 262 // the life lines
	rightX      = 640
	lifeWidth   = 6
	bracketX    = 158
	offX        = 880
	markX       = 950
	glyph       = 7.3 // width of a letter of the labels, at most
	smallGlyph  = 6.3 // of those without an arrow
)

// ladderView is the ladder as its template draws it.
type ladderView struct {
	ID          string
	Name        string // of the experiment, for those who cannot see the picture
	Width       int
	Height      triple
	Left, Right text
	LeftX       int
	RightX      int
	Top         int
	Rows        []*rowView
	Bars        []*bar
	Brackets    []*bracket
	Empty       bool
}

// rowView is one line.
type rowView struct {
	ID          string
	Y, D        triple // place, and how much lower the arrow ends
	Time, Sub   string // "1.004", "213": the microseconds are printed paler
	Arrow       bool
	Head, Cross bool
	X1, X2      int // of the shaft
	TipX, TipY  float64
	LabelX      float64
	Angle       string
	Class       string // ok, lost, ghost
	Color       string
	Dash        string
	Label       text
	State       text
	StateX      int
	StateAnchor string
	Chip        text // where the packet died
	ChipX       int
	ChipAnchor  string
	Off         text
	Mark        text
	MarkColor   string
	Title       string
	Quiet       bool // no words on the linear scale
	transit     time.Duration
	rung        report.Rung
}

// bar is a stretch of a life line in one state.
type bar struct {
	X     int
	Y, H  triple
	State string
	Color string
}

// The colours are presentation attributes; style.css repaints them in the dark. Those of text have a contrast of at least 4.5 on white.
const (
	inkColor   = "#1c2430"
	paleColor  = "#5a6675"
	goodColor  = "#0a6b3d"
	badColor   = "#b3261e"
	warnColor  = "#8a4b00"
	arrowColor = "#24507f"
)

func (c *composer) ladder(r *result.Result, id string) *ladderView {
	rungs, left, right := report.Rungs(r)
	at := make([]time.Duration, len(rungs))
	for i, g := range rungs {
		at[i] = g.At
	}
	a := newAxis(at)
	v := &ladderView{ID: id, Name: c.clean(r.Experiment.Name), Width: ladderWidth, Height: a.total, Left: c.host(left), Right: c.host(right), LeftX: leftX, RightX: rightX,
		Top: topEdge - 22, Empty: len(rungs) == 0}
	for i, g := range rungs {
		row := c.row(g, left, right)
		row.Y, row.D = a.y[i], a.slant(row.transit)
		row.ID = fmt.Sprintf("%s-l%d", id, i+1)
		if g.Packet != nil {
			row.ID = packetID(id, g.Packet.ID)
		}
		row.turn()
		v.Rows = append(v.Rows, row)
	}
	quieten(v.Rows)
	unique(v.Rows, id)
	v.Brackets = c.brackets(v, left)
	v.Bars = c.bars(r, a, v.Rows, left, right)
	return v
}

// quieten takes their words, on the linear scale, from lines that would stand on the words of a line before, or that another's arrow would
// strike through. The words along an arrow stand above its middle, the others at the height of their line.
func quieten(rows []*rowView) {
	const line, above, beside = 26, 20, 13
	for i, row := range rows {
		middle := row.Y[linear] + row.D[linear]/2
		for j, other := range rows {
			if i == j {
				continue
			}
			away := middle - other.Y[linear] - other.D[linear]/2
			if j < i && !other.Quiet && (row.Y[linear]-other.Y[linear] < line || math.Abs(away) < line) ||
				other.Arrow && row.Arrow && away > 1 && away < above || other.Arrow && !row.Arrow && math.Abs(away) < beside {
				row.Quiet = true
				break
			}
		}
	}
}

// packetID is the name of a packet's line, which the story points at.
func packetID(id string, packet int) string { return fmt.Sprintf("%s-p%d", id, packet) }

// unique renames lines that would share a name: a stored result may name a packet twice.
func unique(rows []*rowView, id string) {
	seen := map[string]bool{}
	for i, row := range rows {
		if seen[row.ID] {
			row.ID = fmt.Sprintf("%s-x%d", id, i+1)
		}
		seen[row.ID] = true
	}
}

// host is a host's name. Those of the lab have a Chinese form.
func (c *composer) host(name string) text {
	switch name {
	case "client", "server", "client and server":
		return c.text(name)
	}
	return c.same(short(name, 12))
}

// short cuts a string from outside to n runes.
func short(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

func (c *composer) row(g report.Rung, left, right string) *rowView {
	row := &rowView{rung: g, Class: "ok", Color: arrowColor}
	if g.Seen {
		row.Time, row.Sub = stamp(g.At)
	} else {
		row.Time, _ = stamp(g.At)
		row.Time, row.Class, row.Color = "("+row.Time+")", "ghost", paleColor
	}
	row.Off = c.text(g.Off)
	row.Mark, row.MarkColor = c.mark(g.Mark)
	fromRight := g.Host == right
	if g.State != "" {
		row.State = c.same(short(g.State, 12))
		row.StateX, row.StateAnchor = leftX-12, "end"
		if fromRight {
			row.StateX, row.StateAnchor = rightX+12, "start"
		}
	}
	if g.OnWire && (g.Host == left || fromRight) {
		c.arrow(row, fromRight)
	}
	label := g.Label
	if !row.Arrow && label != "" {
		label = c.words(g)
	}
	row.Label = c.label(label, row.Arrow)
	row.Title = c.facts(g)
	row.LabelX = float64(row.X1+row.X2) / 2
	if !row.Arrow {
		row.LabelX = float64(leftX+rightX) / 2
	}
	if g.Mark == "missing" {
		row.Color, row.Class = badColor, "lost"
	}
	return row
}

// words says in a line without an arrow what did not come, or who sent what.
func (c *composer) words(g report.Rung) string {
	switch {
	case g.Mark == "optional":
		return g.Label + ": did not come, which is right too"
	case !g.Seen:
		return g.Label + ": did not come"
	case g.OnWire:
		return g.Host + ": " + g.Label
	}
	return g.Label
}

// label fits a text between the life lines. Along an arrow it is larger.
func (c *composer) label(s string, arrow bool) text {
	room := (rightX - leftX - 24) / smallGlyph
	if arrow {
		room = (rightX - leftX - 40) / glyph
	}
	t := c.text(s)
	cut := func(s string) string {
		n, w := 0, 0.0
		for _, r := range s {
			w++
			if r > 0x2e80 { // a Chinese character is two cells wide
				w += 0.7
			}
			if w > room {
				return short(s, n)
			}
			n++
		}
		return s
	}
	return text{Text: cut(t.Text), Other: cut(t.Other)}
}

// arrow draws a packet from its sender as far as it came.
func (c *composer) arrow(row *rowView, leftward bool) {
	g := row.rung
	row.Arrow, row.Head = true, true
	from, to := leftX+lifeWidth, rightX-lifeWidth
	out, chipAnchor := rightX+14, "start"
	if leftward {
		from, to, out, chipAnchor = to, from, leftX-14, "end"
	}
	row.X1, row.X2 = from, to
	row.TipX = float64(to)
	if p := g.Packet; p != nil && p.SentAt != nil && p.ArrivedAt != nil {
		row.transit = (*p.ArrivedAt - *p.SentAt).Duration()
	}
	if !g.Seen && g.End == report.Unknown {
		row.Head, row.Dash = true, "2 6" // it was expected, and nobody saw it
		return
	}
	if g.End == report.Arrived || g.End == report.Unknown {
		return
	}
	row.Cross, row.Class, row.Color = true, "lost", badColor
	row.Chip, row.ChipX, row.ChipAnchor = c.place(g.Where), out, chipAnchor
	switch g.End {
	case report.DiedOnWire:
		row.X2 = from + (to-from)*4/5
		row.TipX, row.Head = float64(row.X2), false
	case report.DiedAtSender:
		row.TipX, row.Head, row.Dash = float64(from), false, "2 6"
		row.ChipX, row.ChipAnchor = leftX-14, "end"
		if leftward {
			row.ChipX, row.ChipAnchor = rightX+14, "start"
		}
	}
}

// place is where a packet died, in few words: the host is plain from the side on which they stand.
func (c *composer) place(where string) text {
	where = strings.Replace(strings.Replace(where, "ip6tables ", "", 1), "iptables ", "", 1)
	if _, rest, ok := strings.Cut(where, " "); ok {
		where = rest
	}
	if where == "" {
		return c.text("lost")
	}
	return c.same(short(where, 18))
}

// turn places the words along the arrow and the tip at its end, on the first scale.
func (row *rowView) turn() {
	d := row.D[compressed]
	if !row.Arrow {
		row.Angle = "0"
		return
	}
	row.Angle = fmt.Sprintf("%.2f", math.Atan(d/float64(row.X2-row.X1))*180/math.Pi)
	row.TipY = d
	if row.Cross && !row.Head && row.rung.End == report.DiedAtSender {
		row.TipY = 0
	}
}

// LabelY is the height of the words, above the middle of the arrow.
func (row *rowView) LabelY() string {
	if !row.Arrow {
		return "4"
	}
	return num(row.D[compressed]/2 - 6)
}

// Fixed reports whether the tip stays at the height of the line on every scale.
func (row *rowView) Fixed() bool { return row.rung.End == report.DiedAtSender }

// Leftward reports whether the arrow points to the left.
func (row *rowView) Leftward() bool { return row.X2 < row.X1 }

// stamp prints an instant in seconds, its microseconds apart.
func stamp(t time.Duration) (ms, us string) {
	s := fmt.Sprintf("%.6f", t.Seconds())
	if t >= 10000*time.Second { // there is no room
		return s[:len(s)-3], ""
	}
	return s[:len(s)-3], s[len(s)-3:]
}

var marks = map[string]string{"ok": goodColor, "late": badColor, "early": badColor, "wrong": badColor, "FAIL": badColor, "missing": badColor,
	"unexpected": badColor, "unsure": warnColor, "unseen": paleColor, "optional": goodColor}

func (c *composer) mark(m string) (text, string) {
	color, ok := marks[m]
	if !ok {
		return c.same(m), paleColor
	}
	return c.text(m), color
}

// facts are a packet's numbers, which need no translation.
func (c *composer) facts(g report.Rung) string {
	p := g.Packet
	if p == nil {
		return ""
	}
	s := fmt.Sprintf("#%d %s → %s  %s  seq=%d (%d) ack=%d (%d) len=%d win=%d", p.ID, p.From, p.To, p.Flags, p.RelSeq, p.Seq, p.RelAck, p.Ack, p.Len, p.Window)
	if p.SentAt != nil {
		s += fmt.Sprintf("  %s: %.6f s", p.From, p.SentAt.Duration().Seconds())
	}
	if p.ArrivedAt != nil {
		s += fmt.Sprintf("  %s: %.6f s", p.To, p.ArrivedAt.Duration().Seconds())
	}
	if p.Where != "" {
		s += "  ✗ " + p.Where
	}
	if p.DropReason != "" {
		s += "  " + p.DropReason + " (" + p.DropHook + ")"
	}
	if p.Cause != "" {
		s += "  ↻ " + p.Cause
	}
	return c.clean(s)
}

// pictures are several ladders, each below its title.
type pictures struct {
	Width  int
	Height string
	Each   []picture
}

type picture struct {
	Title   string
	Verdict text
	Y, Down string // of the title, of the ladder
	Ladder  *ladderView
}

func (c *composer) pictures(runs []*result.Result) pictures {
	const title = 34
	p, y := pictures{Width: ladderWidth}, 0.0
	for i, r := range runs {
		l := c.ladder(r, fmt.Sprintf("run%d", i+1))
		name := strings.TrimSpace(c.clean(r.Experiment.Name) + " " + c.flags(r.Params))
		p.Each = append(p.Each, picture{name + " · " + c.clean(report.KernelName(r.Kernel)), c.verdict(r.Verdict), num(y + title - 10), num(y + title), l})
		y += title + l.Height[compressed]
	}
	p.Height = num(y)
	return p
}
