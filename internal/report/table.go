package report

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// A column has a title and may be aligned to the right. A column without a single filled cell is left out.
type column struct {
	title string
	right bool
	whole bool // never narrowed
}

type cell struct {
	text  string
	color sgr
}

const (
	columnGap   = 2 // cells between two columns
	leastColumn = 7 // "1.000 s"
)

// table writes rows under their titles, indented by two. Cells are wrapped, widest column first, until the table fits.
func (p *pen) table(cols []column, rows [][]cell) {
	cols, rows = p.filled(cols, rows)
	if len(rows) == 0 || len(cols) == 0 {
		return
	}
	widths := p.widths(cols, rows)
	head := make([]cell, len(cols))
	for i, c := range cols {
		head[i] = cell{c.title, dim}
	}
	for _, row := range append([][]cell{head}, rows...) {
		p.row(cols, widths, row)
	}
}

// filled drops empty columns and makes every cell printable.
func (p *pen) filled(cols []column, rows [][]cell) ([]column, [][]cell) {
	used := make([]bool, len(cols))
	for _, row := range rows {
		for i, c := range row {
			used[i] = used[i] || c.text != ""
		}
	}
	var keep []column
	for i, c := range cols {
		if used[i] {
			keep = append(keep, column{p.text(c.title), c.right, c.whole})
		}
	}
	out := make([][]cell, len(rows))
	for n, row := range rows {
		for i, c := range row {
			if used[i] {
				out[n] = append(out[n], cell{p.text(c.text), c.color})
			}
		}
	}
	return keep, out
}

func (p *pen) widths(cols []column, rows [][]cell) []int {
	w := make([]int, len(cols))
	sum := 2 + columnGap*(len(cols)-1)
	for i, c := range cols {
		w[i] = ansi.StringWidth(c.title)
		for _, row := range rows {
			w[i] = max(w[i], ansi.StringWidth(row[i].text))
		}
		sum += w[i]
	}
	for ; sum > p.width; sum-- {
		widest := -1
		for i := range w {
			if !cols[i].whole && (widest < 0 || w[i] > w[widest]) {
				widest = i
			}
		}
		if widest < 0 || w[widest] <= leastColumn {
			break
		}
		w[widest]--
	}
	return w
}

func (p *pen) row(cols []column, widths []int, row []cell) {
	lines := make([][]string, len(row))
	height := 0
	for i, c := range row {
		lines[i] = wrap(c.text, widths[i])
		height = max(height, len(lines[i]))
	}
	for n := range height {
		var b strings.Builder
		pending := 2
		for i := range row {
			s := ""
			if n < len(lines[i]) {
				s = lines[i][n]
			}
			fill := widths[i] - ansi.StringWidth(s)
			if cols[i].right {
				pending, fill = pending+fill, 0
			}
			if s != "" {
				b.WriteString(spaces(pending) + p.paint(row[i].color, s))
				pending = 0
			} else if cols[i].right {
				fill = 0
			}
			pending += fill + columnGap
		}
		p.line(b.String())
	}
}
