package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/live"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/userns"
)

// isTTY reports whether a live region can be shown on w.
func isTTY(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && live.IsTerminal(f)
}

// style is how text is laid out on w.
func (a *app) style(w io.Writer) report.Style {
	s := report.Style{ASCII: a.ascii || isTTY(w) && !utf8Locale()}
	switch a.color {
	case "always":
		s.Color = true
	case "auto":
		s.Color = isTTY(w) && os.Getenv("NO_COLOR") == ""
	}
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			s.Width = min(width, 120)
		}
	}
	return s
}

// utf8Locale reports whether the locale that counts for characters is one of UTF-8. A machine that names none is taken for one.
func utf8Locale() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(os.Getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return true
}

// liveStatus puts a run's status into the words of the live region.
func liveStatus(s runner.Status) live.Status {
	l := live.Status{ClientState: s.Client.State, ServerState: s.Server.State, KernelTimer: s.Client.Timer, KernelExpires: s.Client.Expires.Duration(),
		KernelSampled: s.Client.At.Duration(), RTO: s.Client.RTO.Duration(), Backoff: s.Client.Backoff}
	if s.Elapsed >= 0 {
		began := time.Now().Add(-s.Elapsed)
		l.Elapsed = func() time.Duration { return time.Since(began) }
	}
	if s.Next != nil {
		l.Next, l.NextLatest = judge.Title(*s.Next), s.Next.At.Duration()+s.Next.Late.Duration()
		l.NextAt = max(s.Next.At, s.Next.Earliest).Duration()
	}
	return l
}

// lines collects text and gives it back without its last newline.
type lines struct{ strings.Builder }

// String returns the text.
func (l *lines) String() string { return strings.TrimSuffix(l.Builder.String(), "\n") }

// locked is a writer for several goroutines.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

// Write writes p whole.
func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// hold keeps a lab up after its run: until Enter where standard input is a terminal, or a signal.
func (a *app) hold(ctx context.Context, n runner.Namespaces) {
	enter := make(chan struct{})
	until := "a signal (SIGINT or SIGTERM)"
	if isTTY(os.Stdin) {
		until = "you press Enter or Ctrl-C"
		go func() { // ends with the process: a read of standard input cannot be taken back
			if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err == nil {
				close(enter)
			}
		}()
	}
	who, door := "as root", ""
	if userns.Inside() { // whoever made the user namespace has every right in it
		who, door = "as the same user", fmt.Sprintf("--preserve-credentials --user=/proc/%d/ns/user ", os.Getpid())
	}
	fmt.Fprintf(a.err, "\nthe lab stands until %s; from another terminal, %s:\n  client  nsenter %s--net=%s\n  server  nsenter %s--net=%s\n",
		until, who, door, n.Client, door, n.Server)
	select {
	case <-ctx.Done():
	case <-enter:
	}
}
