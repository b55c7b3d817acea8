package report

import (
	"io"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/tcplab/tcplab/internal/result"
)

// An sgr is the parameter of an SGR sequence (ECMA-48, 8.3.117); empty for none.
type sgr string

const (
	plain  sgr = ""
	bold   sgr = "1"
	dim    sgr = "2"
	red    sgr = "1;31"
	green  sgr = "32"
	yellow sgr = "33"
)

// verdictColor is the colour of a judgement.
func verdictColor(v result.Verdict) sgr {
	switch v {
	case result.Pass:
		return green
	case result.Fail, result.Error:
		return red
	case result.Inconclusive, result.Unable:
		return yellow
	default:
		return dim
	}
}

// A pen collects lines in one style and writes them at once.
type pen struct {
	style Style
	width int
	b     strings.Builder
}

func newPen(s Style) *pen {
	w := s.Width
	if w == 0 {
		w = defaultWidth
	}
	return &pen{style: s, width: max(w, leastWidth)}
}

func (p *pen) flush(w io.Writer) error {
	_, err := io.WriteString(w, p.b.String())
	return err
}

// section runs f and, if it wrote something, puts an empty line before it.
func (p *pen) section(f func()) {
	before := p.b.String()
	p.b.Reset()
	f()
	part := p.b.String()
	p.b.Reset()
	p.b.WriteString(before)
	if part != "" && before != "" {
		p.b.WriteByte('\n')
	}
	p.b.WriteString(part)
}

// text is the only way of a string into the output: safe to print, and in 7 bits if the style wants it.
func (p *pen) text(s string) string {
	s = clean(s)
	if p.style.ASCII {
		s = ascii(s)
	}
	return s
}

// paint wraps s, which has been through text, in a colour. It must come after measuring and padding.
func (p *pen) paint(c sgr, s string) string {
	if !p.style.Color || c == plain || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[m"
}

// line writes one line without trailing spaces.
func (p *pen) line(parts ...string) {
	p.b.WriteString(strings.TrimRight(strings.Join(parts, ""), " "))
	p.b.WriteByte('\n')
}

// para writes s, wrapped, in the column where first ends; first must be printable already.
func (p *pen) para(first string, c sgr, s string) {
	col := ansi.StringWidth(first)
	for _, l := range wrap(p.text(s), p.width-col) {
		p.line(first, p.paint(c, l))
		first = spaces(col)
	}
}

// flow writes parts on as few lines as it can, in the column where first ends; it breaks between parts where it may.
func (p *pen) flow(first string, parts []string, sep string) {
	col := ansi.StringWidth(first)
	line := ""
	for i, part := range parts {
		part = p.text(part)
		if i > 0 && col+ansi.StringWidth(line+sep+part) <= p.width {
			line += sep + part
			continue
		}
		if i > 0 {
			p.para(first, plain, line)
			first = spaces(col)
		}
		line = part
	}
	p.para(first, plain, line)
}

// command writes a shell command in the column where first ends. It breaks between words only, with a backslash, so that what is
// copied still runs.
func (p *pen) command(first string, words []string) {
	col := ansi.StringWidth(first)
	rest, line := spaces(col), ""
	for _, w := range words {
		w = p.text(w)
		switch {
		case line == "":
			line = w
		case col+ansi.StringWidth(line)+1+ansi.StringWidth(w) <= p.width-2:
			line += " " + w
		default:
			p.line(first, line, ` \`)
			first, line = rest, "  "+w
		}
	}
	p.line(first, line)
}

// wrap breaks s into lines of at most width cells, between words where that is possible. It returns at least one line.
func wrap(s string, width int) []string {
	if width < 1 {
		width = 1
	}
	if ansi.StringWidth(s) <= width {
		return []string{s}
	}
	var out []string
	line := ""
	for _, w := range words(s) {
		if line != "" && ansi.StringWidth(line)+1+ansi.StringWidth(w) <= width {
			line += " " + w
			continue
		}
		if line != "" {
			out = append(out, line)
		}
		pieces := strings.Split(ansi.Hardwrap(w, width, true), "\n")
		out = append(out, pieces[:len(pieces)-1]...)
		line = pieces[len(pieces)-1]
	}
	return append(out, line)
}

// words splits s at spaces, but keeps a unit with its number.
func words(s string) []string {
	var out []string
	for _, w := range strings.Fields(s) {
		switch last := len(out) - 1; {
		case last >= 0 && (w == "s" || w == "ms" || w == "µs" || w == "us") && endsInDigit(out[last]):
			out[last] += " " + w
		default:
			out = append(out, w)
		}
	}
	return out
}

func endsInDigit(s string) bool {
	c := s[len(s)-1]
	return c >= '0' && c <= '9'
}

func spaces(n int) string { return strings.Repeat(" ", max(n, 0)) }

// padRight and padLeft fill s with spaces to n cells; s must be printable and not painted.
func padRight(s string, n int) string { return s + spaces(n-ansi.StringWidth(s)) }
func padLeft(s string, n int) string  { return spaces(n-ansi.StringWidth(s)) + s }

// trim cuts s to n cells and marks the cut.
func (p *pen) trim(s string, n int) string { return ansi.Truncate(s, max(n, 0), p.text("…")) }
