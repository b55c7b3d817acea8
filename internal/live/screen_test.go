package live

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// A screen is a small terminal: what xterm does with the handful of codes that a Region sends. Any other code fails the test.
type screen struct {
	t        *testing.T
	w, h     int
	rows     []row // scrollback and screen; the screen is the last h rows
	x, y     int   // y counts from the first row of the scrollback
	nowrap   bool
	hidden   bool
	hides    int
	shows    int
	styled   bool // an SGR code other than reset is in force
	overflow bool // a cell was written past the right edge
}

type row struct {
	cells   []rune
	wrapped bool // goes on in the next row
}

func newScreen(t *testing.T, w, h int) *screen {
	return &screen{t: t, w: w, h: h, rows: make([]row, h)}
}

// Write takes any piece that ends at the end of a code, which is how a Region writes.
func (s *screen) Write(p []byte) (int, error) {
	for in := p; len(in) > 0; {
		if in[0] == 0x1b {
			in = in[s.escape(string(in)):]
			continue
		}
		c, n := utf8.DecodeRune(in)
		in = in[n:]
		switch {
		case c == '\r':
			s.x = 0
		case c == '\n':
			s.down()
		case c < ' ':
			s.t.Fatalf("screen: got control character %U in %q", c, p)
		default:
			s.put(c)
		}
	}
	return len(p), nil
}

func (s *screen) down() {
	s.y++
	for s.y >= len(s.rows) {
		s.rows = append(s.rows, row{})
	}
}

func (s *screen) put(c rune) {
	w := ansi.StringWidth(string(c))
	if s.x+w > s.w {
		if s.nowrap {
			s.overflow = true
			s.x = s.w - w
		} else {
			s.rows[s.y].wrapped = true
			s.down()
			s.x = 0
		}
	}
	r := &s.rows[s.y]
	for len(r.cells) < s.x+w {
		r.cells = append(r.cells, ' ')
	}
	r.cells[s.x] = c
	if w == 2 {
		r.cells[s.x+1] = -1
	}
	s.x += w
}

// escape obeys one code and returns its length.
func (s *screen) escape(in string) int {
	end := 2
	for end < len(in) && (in[end] < '@' || in[end] > '~') {
		end++
	}
	if len(in) < 3 || in[1] != '[' || end == len(in) {
		s.t.Fatalf("screen: got a code that is not CSI: %q", in)
	}
	args, final := in[2:end], in[end]
	switch code := args + string(final); {
	case code == "?25l":
		s.hidden, s.hides = true, s.hides+1
	case code == "?25h":
		s.hidden, s.shows = false, s.shows+1
	case code == "?7l", code == "?7h":
		s.nowrap = final == 'l'
	case final == 'm':
		s.styled = args != "" && args != "0"
	case code == "K":
		s.cut(s.y, s.x)
	case code == "C":
		s.x = min(s.x+1, s.w-1)
	case code == "J" && s.x == 0 && s.y == len(s.rows)-s.h:
		// As tmux does: a screen that is cleared as a whole goes into the scrollback.
		for len(s.rows) > s.y+1 && len(s.rows[len(s.rows)-1].cells) == 0 {
			s.rows = s.rows[:len(s.rows)-1]
		}
		s.y = len(s.rows)
		s.rows = append(s.rows, make([]row, s.h)...)
	case code == "J":
		s.cut(s.y, s.x)
		for y := s.y + 1; y < len(s.rows); y++ {
			s.cut(y, 0)
		}
	case final == 'A':
		n := 1
		if args != "" {
			n, _ = strconv.Atoi(args)
		}
		s.y = max(s.y-n, len(s.rows)-s.h)
	default:
		s.t.Fatalf("screen: got unknown code %q", in[:end+1])
	}
	return end + 1
}

func (s *screen) cut(y, x int) {
	r := &s.rows[y]
	if x < len(r.cells) {
		r.cells = r.cells[:x]
	}
	r.wrapped = false
}

// resize changes the width: as xterm does (rows are cropped) or as most others do (lines are wrapped anew, the cursor stays on its
// character, empty rows at the bottom give way first).
func (s *screen) resize(w int, reflow bool) {
	s.w = w
	if !reflow {
		for y := range s.rows {
			s.cut(y, w)
		}
		s.x = min(s.x, w-1)
		return
	}
	for len(s.rows) > s.y+1 && len(s.rows[len(s.rows)-1].cells) == 0 {
		s.rows = s.rows[:len(s.rows)-1]
	}
	var out []row
	newX, newY := 0, 0
	for y := 0; y < len(s.rows); y++ {
		var line []rune
		cursor := -1
		for ; ; y++ {
			if y == s.y {
				cursor = len(line) + s.x
			}
			line = append(line, s.rows[y].cells...)
			if !s.rows[y].wrapped || y+1 == len(s.rows) {
				break
			}
		}
		if cursor >= 0 {
			newX, newY = cursor%w, len(out)+cursor/w
		}
		for len(line) > w {
			out = append(out, row{cells: line[:w:w], wrapped: true})
			line = line[w:]
		}
		out = append(out, row{cells: line})
	}
	for len(out) < s.h {
		out = append(out, row{})
	}
	s.rows, s.x, s.y = out, newX, newY
}

// text is everything, scrollback included, without empty rows at the end.
func (s *screen) text() string {
	var b strings.Builder
	for _, r := range s.rows {
		line := ""
		for _, c := range r.cells {
			if c >= 0 {
				line += string(c)
			}
		}
		b.WriteString(strings.TrimRight(line, " "))
		if !r.wrapped {
			b.WriteByte('\n')
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// Catches an emulator that is blind: a writer that goes up one row too few, or that does not clear, must leave debris on it.
func TestScreenShowsDebris(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"overwritten without clearing", "long line\r\nx\r\x1b[Ashort", "shortline\nx"},
		{"one row too few", "one\r\ntwo\r\nthree\r\x1b[J", "one\ntwo"},
		{"cleared from the right row", "one\r\ntwo\r\nthree\r\x1b[A\x1b[J", "one"},
		{"cleared as a whole, as tmux does", "1\r\n2\r\n3\r\n4\r\n5\r\x1b[4A\x1b[J6", "1\n2\n3\n4\n5\n6"},
		{"wrapped", "123456789012", "123456789012"},
		{"not wrapped", "\x1b[?7l123456789012\x1b[?7h", "1234567892"},
	} {
		s := newScreen(t, 10, 5)
		if _, err := s.Write([]byte(tc.in)); err != nil {
			t.Fatal(err)
		}
		if got := s.text(); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
	s := newScreen(t, 10, 5)
	s.Write([]byte("abcdefgh\r\nijklmnop\r"))
	s.resize(4, true)
	if got, want := s.y, 2; got != want {
		t.Errorf("cursor after a reflow: got row %d, want %d", got, want)
	}
}
