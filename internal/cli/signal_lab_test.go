//go:build lab

package cli

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// soon is how long something that has to happen may take to, on a busy machine: less than the 63 s of a connect(2) that nobody interrupts.
const soon = 45 * time.Second

// underway is a run in progress whose client has called connect(2).
type underway struct {
	cmd    *exec.Cmd
	dir    string
	stderr bytes.Buffer
	ended  chan struct{} // closed when the program has ended
	code   int           // valid after ended; negative: killed by a signal
}

// start starts a fast run in a new folder and returns when its client has called connect(2).
func start(t *testing.T, args ...string) *underway {
	t.Helper()
	labtest.Need(t, labtest.Root, labtest.IPTables)
	u := &underway{dir: openFolder(t), ended: make(chan struct{})}
	u.cmd = in(u.dir, append([]string{"run", "exp1", "--profile=fast", "--events=-"}, args...)...)
	u.await(t)
	return u
}

// await starts the program, whose events go to its standard output, and returns when its client has called connect(2).
func (u *underway) await(t *testing.T) {
	t.Helper()
	u.cmd.Stderr = &u.stderr
	events, err := u.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	connecting := make(chan struct{})
	go func() {
		defer close(u.ended)
		lines, told := bufio.NewReader(events), false
		for {
			line, err := lines.ReadString('\n')
			if !told && strings.Contains(line, `"event":"connecting"`) {
				told = true
				close(connecting)
			}
			if err != nil {
				break
			}
		}
		_ = u.cmd.Wait()
		u.code = u.cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		_ = u.cmd.Process.Kill() // only if the test failed: otherwise it has ended
		<-u.ended
	})
	select {
	case <-connecting:
	case <-u.ended:
		t.Fatalf("the run ended with %d before it connected:\n%s", u.code, u.stderr.String())
	case <-time.After(soon):
		t.Fatalf("the run did not connect within %v", soon)
	}
}

// wait waits for the end and returns the exit code.
func (u *underway) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-u.ended:
		return u.code
	case <-time.After(soon):
		t.Fatalf("the run did not end within %v", soon)
		return 0
	}
}

// signal sends a signal to the program alone.
func (u *underway) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := u.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// TestSignals catches a signal that is not reported as the shells report it, a teardown that is left out (TestMain looks for processes,
// namespaces and links too), and files of a run that did not happen.
func TestSignals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		send syscall.Signal
		code int
		says string
	}{{"SIGINT", syscall.SIGINT, 130, "interrupted"}, {"SIGTERM", syscall.SIGTERM, 143, "signal 15"}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := start(t, "--syn-retries=5") // connect() would go on for 63 s, and wait gives up long before
			held := holdings(t, u.cmd.Process.Pid)
			u.signal(t, tt.send)
			if code := u.wait(t); code != tt.code {
				t.Errorf("exit code: got %d, want %d\n%s", code, tt.code, u.stderr.String())
			}
			wantParts(t, "stderr", u.stderr.String(), tt.says, "everything was undone")
			wantFiles(t, u.dir)
			held.gone(t)
		})
	}
	t.Run("SIGINT twice", func(t *testing.T) {
		t.Parallel()
		u := start(t, "--keep")
		held := holdings(t, u.cmd.Process.Pid)
		u.signal(t, syscall.SIGINT)
		// The second may come after the end: that is as good.
		if err := u.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		if code := u.wait(t); code != 130 {
			t.Errorf("exit code: got %d, want 130\n%s", code, u.stderr.String())
		}
		held.gone(t)
		wantFiles(t, u.dir) // the second may have come before the folder was removed
	})
	t.Run("several labs", func(t *testing.T) {
		t.Parallel()
		u := start(t, "--repeat=6", "--parallel=3")
		u.signal(t, syscall.SIGINT)
		if code := u.wait(t); code != 130 {
			t.Errorf("exit code: got %d, want 130\n%s", code, u.stderr.String())
		}
		wantFiles(t, u.dir)
	})
}

// TestStopped stops tcplab and its client for 1.5 s over a moment at which the kernel does something. The kernel goes on meanwhile: its
// timers are right, and its stamps too. What must not come out is a contradiction.
func TestStopped(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		after time.Duration
		hit   func(*result.Result) result.Event // what falls into the stop
	}{
		{"over a retransmission", 300 * time.Millisecond, func(r *result.Result) result.Event { return r.Events[1] }},
		{"over the end of connect()", 2300 * time.Millisecond, func(r *result.Result) result.Event { return *r.Outcome }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, code, inTime := paused(t, tt.after)
			for range attempts {
				if inTime {
					break
				}
				t.Logf("the run had ended before it was stopped, with %d", code)
				r, code, inTime = paused(t, tt.after)
			}
			switch {
			case !inTime:
				t.Fatalf("%d runs had ended before they were stopped; run this on a quieter machine", attempts+1)
			case code == explain.ExitInconclusive && r.Verdict == result.Inconclusive:
				if len(r.Stalls) == 0 {
					t.Errorf("stalls: got none on record, want one: %s", r.Reason)
				}
			case code == 0 && r.Verdict == result.Pass:
				e := tt.hit(r)
				if e.OffTick == nil {
					t.Errorf("%s %d passed without a tick to justify that, want inconclusive", e.What, e.N)
				} else if off := e.OffTick.Duration(); off >= 2*r.Clock.Tick.Duration() { // a timer may run at the tick after its own
					t.Errorf("%s %d passed %v off its tick, want less than two ticks, or inconclusive", e.What, e.N, off)
				}
			default:
				t.Errorf("got exit code %d and %s (%s), want inconclusive, or a pass to the tick", code, r.Verdict, r.Reason)
			}
		})
	}
}

// paused makes a run that is stopped for 1.5 s, with its client, so long after its connect(2). inTime is false where one of them had ended before.
func paused(t *testing.T, after time.Duration) (r *result.Result, code int, inTime bool) {
	t.Helper()
	u := start(t)
	children := holdings(t, u.cmd.Process.Pid).children
	<-time.After(after) // this and the next wait are the experiment
	inTime = true
	if err := u.cmd.Process.Signal(syscall.SIGSTOP); errors.Is(err, os.ErrProcessDone) {
		return nil, u.wait(t), false
	} else if err != nil {
		t.Fatal(err)
	}
	tell := func(s syscall.Signal) { // while the program is stopped nobody waits for them, and each keeps its number
		for pid, started := range children {
			if startTime(pid) != started {
				inTime = false
			} else if err := unix.Kill(pid, s); err != nil {
				t.Errorf("signal %v to process %d: %v", s, pid, err)
			}
		}
	}
	tell(unix.SIGSTOP)
	<-time.After(1500 * time.Millisecond)
	tell(unix.SIGCONT)
	u.signal(t, syscall.SIGCONT)
	code = u.wait(t)
	return readResult(t, readFile(t, u.dir, "tcplab-runs", "latest", "result.json")), code, inTime
}

// TestTerminal catches a terminal that is left without its cursor or with another setting, and colours against NO_COLOR: a run that ends
// by itself, and one that ends with Ctrl-C.
func TestTerminal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		args   []string
		typed  string
		colour bool
		code   int
	}{{"to the end", nil, "", true, 0}, {"interrupted", []string{"--syn-retries=5"}, "\x03", false, 130}} { // which goes on for a minute
		t.Run(tt.name, func(t *testing.T) {
			labtest.Need(t, labtest.Root, labtest.IPTables)
			t.Parallel()
			cmd := in(openFolder(t), append([]string{"run", "exp1", "--profile=fast"}, tt.args...)...)
			cmd.Env = append(os.Environ(), "TERM=xterm")
			if !tt.colour {
				cmd.Env = append(cmd.Env, "NO_COLOR=1")
			}
			out, code, same := onTerminal(t, cmd, tt.typed)
			if code != tt.code && (tt.code != 0 || code != explain.ExitInconclusive) {
				t.Errorf("exit code: got %d, want %d\n%q", code, tt.code, out)
			}
			if !same {
				t.Error("settings of the terminal: got others after the run, want the same")
			}
			hidden, shown := strings.LastIndex(out, "\x1b[?25l"), strings.LastIndex(out, "\x1b[?25h")
			if hidden < 0 || shown < hidden {
				t.Errorf("cursor: last hidden at %d, last shown at %d, want it hidden and then shown", hidden, shown)
			}
			if got := strings.Contains(out, "\x1b[32m") || strings.Contains(out, "\x1b[1m") || strings.Contains(out, "\x1b[31m"); got != tt.colour {
				t.Errorf("colours: got %t, want %t", got, tt.colour)
			}
		})
	}
}

// onTerminal runs cmd on a terminal of its own, types when the live region is up, and returns what was shown.
func onTerminal(t *testing.T, cmd *exec.Cmd, typed string) (out string, code int, same bool) {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 30, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	settings := func() unix.Termios {
		s, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return *s
	}
	before := settings()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&typist{shown: &shown, terminal: master, when: "SYN again", what: typed}, master) // ends with EIO: everybody closed the terminal
	}()
	kill := time.AfterFunc(soon, func() { _ = cmd.Process.Kill() })
	code, err = exitCode(cmd.Wait())
	kill.Stop()
	if err != nil {
		t.Error(err)
	}
	same = before == settings()
	if err := tty.Close(); err != nil {
		t.Error(err)
	}
	<-read
	if err := master.Close(); err != nil {
		t.Error(err)
	}
	return shown.String(), code, same
}

// typist keeps what is shown, and types once when it reads its cue.
type typist struct {
	shown      *bytes.Buffer
	terminal   io.Writer
	when, what string
}

// Write takes what is shown.
func (w *typist) Write(p []byte) (int, error) {
	w.shown.Write(p)
	if w.what != "" && strings.Contains(w.shown.String(), w.when) {
		if _, err := io.WriteString(w.terminal, w.what); err != nil {
			return 0, err
		}
		w.what = ""
	}
	return len(p), nil
}

// TestKeep catches nsenter lines that do not lead into the lab, a lab that does not end on a signal, and a result that is lost with it.
func TestKeep(t *testing.T) {
	labtest.Need(t, labtest.Command("nsenter"), labtest.Command("ip"))
	t.Parallel()
	labtest.Need(t, labtest.Root, labtest.IPTables)
	dir := openFolder(t)
	cmd := in(dir, "run", "exp1", "--profile=fast", "--keep")
	stdin, err := cmd.StdinPipe() // stays open: nobody presses Enter
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(soon, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	var doors []string
	lines := bufio.NewScanner(stderr)
	for len(doors) < 2 && lines.Scan() {
		host := []string{"client", "server"}[len(doors)]
		if door, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), host+"  nsenter "); ok {
			doors = append(doors, "nsenter "+door)
		}
	}
	for i, addr := range []string{"10.99.0.1/24", "10.99.0.2/24"} {
		if i >= len(doors) {
			t.Fatalf("nsenter lines: got %q, want 2", doors)
		}
		out, errs, code := runCommand(t, exec.Command("sh", "-c", doors[i]+" ip -o address show dev eth0"))
		if code != 0 {
			t.Errorf("%s: got exit code %d, want 0: %s", doors[i], code, errs)
		}
		wantParts(t, doors[i], out, addr)
	}
	held := holdings(t, cmd.Process.Pid)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // until the program closes it
	}
	code, err := exitCode(cmd.Wait())
	if err != nil || code != 0 && code != explain.ExitInconclusive {
		t.Errorf("exit code: got %d, %v, want 0: the run had ended before the signal", code, err)
	}
	readResult(t, readFile(t, dir, "tcplab-runs", "latest", "result.json"))
	if _, err := os.Stat(filepath.Join(dir, "tcplab-runs", "latest", "client.pcapng")); err != nil {
		t.Error(err)
	}
	held.gone(t)
}
