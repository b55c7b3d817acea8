// Package live shows a run while it goes on: finished events as permanent lines, and below them, on a terminal, a region of a few
// lines that says what is awaited next. Off a terminal it prints the permanent lines and a heartbeat, and no escape code ever.
//
// It is not for what the lines say (package report) and not for signals: whoever handles them calls Close. Close must be deferred
// right after New, so that a panic too leaves a terminal with its cursor shown.
//
// Its one trap: between two writes the cursor rests, hidden, on the first line of the region, because that is the one place that every
// terminal keeps when its window is resized. Whoever writes to the same terminal past the Region writes over that line.
package live

import (
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"
)

const (
	redrawEvery    = 100 * time.Millisecond
	heartbeatEvery = 10 * time.Second
	defaultWidth   = 80
	mostLines      = 6
)

// Options say what a Region writes to. The zero value is for a file or a pipe.
type Options struct {
	// TTY turns the live region on. The zero value prints plain lines and a heartbeat. See IsTerminal.
	TTY bool
	// Color lets SGR codes through, on a terminal only. The zero value removes them.
	Color bool
	// ASCII keeps the region's own signs in 7 bits; permanent lines are the caller's. The zero value uses Unicode.
	ASCII bool
	// Width returns the terminal's columns and is asked at every draw. nil asks the terminal if the writer is a file, and else means
	// 80. A value under 1 means 80.
	Width func() int
	// Height returns the terminal's rows. nil asks the terminal if the writer is a file; unknown (under 1) means high enough.
	Height func() int
	// Now is the clock of the heartbeat; nil means time.Now. It must not go backwards.
	Now func() time.Time
}

// IsTerminal reports whether f is a terminal that can show a live region: a TTY whose TERM is not "dumb".
func IsTerminal(f *os.File) bool {
	return f != nil && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// A Region is the bottom of a terminal, or a plain stream. Its methods may be called from several goroutines.
//
// One kind of resize can leave debris: where the terminal's own rewrapping to a narrower window pushes the region's first line, and
// the cursor with it, out of the top of the screen. It takes a very low window, or tmux with the region in the first few rows.
type Region struct {
	w    io.Writer
	o    Options
	stop chan struct{}
	done sync.WaitGroup
	once sync.Once

	mu     sync.Mutex
	status Status
	frame  string    // what is drawn, empty for nothing
	hidden bool      // the cursor is hidden
	closed bool      // nothing is drawn any more
	last   time.Time // of the last write off a terminal
	err    error     // the first write error
}

// New starts a Region on w. The caller must call Close, best by defer.
func New(w io.Writer, o Options) *Region {
	r := prepare(w, o)
	t := time.NewTicker(redrawEvery)
	r.done.Go(func() {
		defer t.Stop()
		for {
			select {
			case <-r.stop:
				return
			case <-t.C:
				r.tick()
			}
		}
	})
	return r
}

// prepare makes a Region without its ticker.
func prepare(w io.Writer, o Options) *Region {
	if f, ok := w.(*os.File); ok {
		if o.Width == nil {
			o.Width = func() int { n, _, _ := term.GetSize(int(f.Fd())); return n }
		}
		if o.Height == nil {
			o.Height = func() int { _, n, _ := term.GetSize(int(f.Fd())); return n }
		}
	}
	if o.Width == nil {
		o.Width = func() int { return defaultWidth }
	}
	if o.Height == nil {
		o.Height = func() int { return 0 }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Region{w: w, o: o, stop: make(chan struct{}), last: o.Now()}
}

// Line prints s, which may be several lines, above the region for good. Escape sequences other than colours never get through, and
// colours only where Options allow them. After Close it still prints, without a region.
func (r *Region) Line(s string) {
	s = strings.TrimSuffix(s, "\n")
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	if !r.o.TTY {
		for l := range strings.SplitSeq(s, "\n") {
			b.WriteString(safe(l, false) + "\n")
		}
		r.last = r.o.Now()
		r.write(b.String())
		return
	}
	r.erase(&b)
	for l := range strings.SplitSeq(s, "\n") {
		b.WriteString(safe(l, r.o.Color) + "\r\n")
	}
	if !r.closed {
		r.draw(&b)
	}
	r.write(b.String())
}

// Set says what the region shows from now on. On a terminal it is drawn at once.
func (r *Region) Set(s Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = s
	r.redraw()
}

// Close stops the Region, waits for its goroutine, and leaves the terminal as it was: region erased, colours reset, cursor shown. It
// may be called more than once, and returns the first error of any write.
func (r *Region) Close() error {
	r.once.Do(func() {
		close(r.stop)
		r.done.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.closed = true
		if !r.hidden {
			return
		}
		var b strings.Builder
		r.erase(&b)
		b.WriteString(ansi.ResetStyle + ansi.SetModeAutoWrap + ansi.ShowCursor)
		r.hidden = false
		// The cursor matters more than an error that is known already: try once more even after one.
		if _, err := io.WriteString(r.w, b.String()); err != nil && r.err == nil {
			r.err = err
		}
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// tick is what happens ten times a second.
func (r *Region) tick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.o.TTY {
		r.redraw()
		return
	}
	if now := r.o.Now(); !r.closed && now.Sub(r.last) >= heartbeatEvery {
		if s := r.status.heartbeat(r.o.ASCII); s != "" {
			r.last = now
			r.write(s + "\n")
		}
	}
}

// redraw draws the region if it would look different. The lock is held.
func (r *Region) redraw() {
	if !r.o.TTY || r.closed {
		return
	}
	var b strings.Builder
	before := r.frame
	r.draw(&b)
	if r.frame != before {
		r.write(b.String())
	}
}

// erase removes the region. The cursor is on its first line already, so that no row needs counting: a terminal that has rewrapped
// the region's lines meanwhile is cleaned as well. The step to the right is for tmux (seen with 3.3a): it takes "erase below" in the
// screen's first cell for a cleared screen, and saves the region in its history.
func (r *Region) erase(b *strings.Builder) {
	if r.frame != "" {
		b.WriteString("\r" + ansi.EraseLineRight + ansi.CUF1 + ansi.EraseScreenBelow + "\r")
		r.frame = ""
	}
}

// draw writes the region over what is there, from its first line on, and puts the cursor back. Lines are cut to the width, and
// wrapping is off meanwhile, so that a window that has just become narrower cuts a line rather than breaking it into two.
func (r *Region) draw(b *strings.Builder) {
	lines := r.lines()
	frame := strings.Join(lines, "\n")
	if frame == "" {
		r.erase(b)
		return
	}
	r.frame = frame
	if !r.hidden {
		r.hidden = true
		b.WriteString(ansi.HideCursor)
	}
	b.WriteString("\r" + ansi.ResetModeAutoWrap)
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(l + ansi.EraseLineRight)
	}
	b.WriteString(ansi.EraseScreenBelow + "\r")
	if n := len(lines) - 1; n > 0 {
		b.WriteString(ansi.CursorUp(n))
	}
	b.WriteString(ansi.SetModeAutoWrap)
}

// lines are the region's lines, safe and cut to the terminal's size. The last column stays free: some terminals wrap when it is
// written. A line of height stays free for the permanent lines.
func (r *Region) lines() []string {
	width := r.o.Width()
	if width < 1 {
		width = defaultWidth
	}
	lines := r.status.lines(r.o.ASCII, r.o.Color)
	most := mostLines
	if h := r.o.Height(); h > 0 {
		most = min(most, max(h-1, 1))
	}
	if len(lines) > most {
		lines = lines[:most]
	}
	for i, l := range lines {
		lines[i] = ansi.Truncate(l, width-1, sign("…", r.o.ASCII))
	}
	return lines
}

// write sends one piece in one call, so that a terminal never shows half of it. After an error nothing more is written.
func (r *Region) write(s string) {
	if r.err != nil || s == "" {
		return
	}
	_, r.err = io.WriteString(r.w, s)
}
