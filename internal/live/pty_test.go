package live

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// onTerminal runs f with a real terminal of 24 rows and returns everything that f wrote to it.
func onTerminal(t *testing.T, cols uint16, f func(tty *os.File)) []byte {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatalf("open a pseudo-terminal: %v", err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: cols}); err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte)
	go func() {
		var all bytes.Buffer
		// Reading ends with EIO when the last descriptor of the terminal is closed.
		_, _ = all.ReadFrom(master)
		got <- all.Bytes()
	}()
	f(tty)
	if err := tty.Close(); err != nil {
		t.Errorf("close the terminal: %v", err)
	}
	out := <-got
	if err := master.Close(); err != nil {
		t.Errorf("close the master: %v", err)
	}
	return out
}

// Catches a real terminal that is left without a cursor: after Close, and after a panic with a deferred Close. Nothing is faked here:
// the ticker runs, and the size comes from the terminal.
func TestRealTerminal(t *testing.T) {
	for _, tc := range []struct {
		name  string
		panic bool
	}{{"closed", false}, {"panic", true}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("TERM", "xterm")
			const cols = 40
			redrawn := make(chan struct{}, 100)
			out := onTerminal(t, cols, func(tty *os.File) {
				if !IsTerminal(tty) {
					t.Errorf("IsTerminal: got false for a pseudo-terminal, want true")
				}
				defer func() {
					if got := recover(); (got != nil) != tc.panic {
						t.Errorf("recover: got %v, want a panic: %t", got, tc.panic)
					}
				}()
				r := New(tty, Options{TTY: true, Color: true})
				defer func() {
					if err := r.Close(); err != nil {
						t.Errorf("Close: got error %v, want none", err)
					}
				}()
				start := time.Now()
				r.Line("first")
				r.Set(Status{Next: "SYN again 2", NextAt: 3 * time.Second, ClientState: "SYN-SENT", Elapsed: func() time.Duration {
					select {
					case redrawn <- struct{}{}:
					default:
					}
					return time.Since(start)
				}})
				for range 8 {
					<-redrawn // asked more than once at each draw: the ticker must have drawn again
				}
				r.Line("second")
				if tc.panic {
					panic("as an experiment may")
				}
			})
			s := newScreen(t, cols, 24)
			if _, err := s.Write(out); err != nil {
				t.Fatal(err)
			}
			check(t, s, "first", "second")
			if s.hidden || s.hides != 1 || s.shows != 1 || s.nowrap || s.styled || s.overflow {
				t.Errorf("terminal: got hidden %t, %d hides, %d shows, nowrap %t, styled %t, overflow %t; want one hide, one show, nothing left",
					s.hidden, s.hides, s.shows, s.nowrap, s.styled, s.overflow)
			}
			if n := strings.Count(string(out), "SYN again 2"); n < 3 {
				t.Errorf("draws: got %d, want at least 3", n)
			}
		})
	}
}

// Catches a file or a dumb terminal that is taken for one that can show a region.
func TestIsTerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if IsTerminal(f) || IsTerminal(nil) {
		t.Errorf("IsTerminal: got true for a file or nil, want false")
	}
	t.Setenv("TERM", "dumb")
	onTerminal(t, 80, func(tty *os.File) {
		if IsTerminal(tty) {
			t.Errorf("IsTerminal: got true with TERM=dumb, want false")
		}
	})
}
