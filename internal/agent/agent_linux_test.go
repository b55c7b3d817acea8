package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// program is an agent started as its parent does: the same binary under another name.
type program struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	out    *bufio.Scanner
	stderr strings.Builder
}

// command prepares an agent; the test starts it where it wants it.
func command(t testing.TB) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command("/proc/self/exe")}
	p.cmd.Args = []string{Name}
	p.cmd.Env = append(os.Environ(), "GOMAXPROCS=2")
	p.cmd.Stderr = &p.stderr
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(stdout)
	return p
}

// ready kills the agent when the test ends, or after a minute, and waits for its first word.
func (p *program) ready() *program {
	p.t.Helper()
	guard := time.AfterFunc(time.Minute, func() { p.cmd.Process.Kill() })
	p.t.Cleanup(func() {
		guard.Stop()
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
	if e := p.next(); e.Event != Ready || e.At <= 0 {
		p.t.Fatalf("first event: got %+v, want ready with its time", e)
	}
	return p
}

func start(t testing.TB) *program {
	t.Helper()
	p := command(t)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p.ready()
}

func (p *program) ask(q Request) {
	p.t.Helper()
	b, err := json.Marshal(q)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(string(b) + "\n")
}

func (p *program) write(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line); err != nil {
		p.t.Fatal(err)
	}
}

func (p *program) next() Event {
	p.t.Helper()
	var e Event
	if !p.out.Scan() {
		p.t.Fatalf("the agent ended: %v, %s", p.out.Err(), p.stderr.String())
	}
	if err := json.Unmarshal(p.out.Bytes(), &e); err != nil {
		p.t.Fatalf("the agent said %q: %v", p.out.Text(), err)
	}
	return e
}

// want reads the next event and checks what it is.
func (p *program) want(kind Kind, errno string) Event {
	p.t.Helper()
	e := p.next()
	if e.Event != kind || e.Errno != errno {
		p.t.Fatalf("got %+v, want %s %s", e, kind, errno)
	}
	return e
}

// exit waits for the end of the agent and checks its exit code.
func (p *program) exit(code int, message string) {
	p.t.Helper()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	got := 0
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		p.t.Errorf("wait: %v", err)
	}
	if got != code || !strings.Contains(p.stderr.String(), message) {
		p.t.Errorf("got exit code %d and %q, want %d and %q", got, p.stderr.String(), code, message)
	}
}

// TestEndOfInput catches an agent that outlives its parent.
func TestEndOfInput(t *testing.T) {
	p := start(t)
	p.stdin.Close()
	p.exit(0, "")
}

// TestGarbage catches a request that is not understood and silently skipped: the parent would wait for ever.
func TestGarbage(t *testing.T) {
	for _, tt := range []struct{ name, line, want string }{
		{"not JSON", "connect 10.99.0.2\n", `tcplab-agent: request "connect 10.99.0.2"`},
		{"wrong type", `{"op":7}` + "\n", `request "{\"op\":7}"`},
		{"bad address", `{"op":"connect","to":"nowhere"}` + "\n", "nowhere"},
		{"too long a line", strings.Repeat("x", 1<<20+1) + "\n", "token too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t)
			_, _ = io.WriteString(p.stdin, tt.line) // the agent may go before the end of a long line
			p.exit(2, tt.want)
		})
	}
}

// TestOutOfOrder catches requests that cannot be done and are answered with nothing, or with success.
func TestOutOfOrder(t *testing.T) {
	p := start(t)
	for _, tt := range []struct {
		q     Request
		call  string
		errno string
	}{
		{Request{Op: Send, Data: "x"}, "write", "ENOTCONN"},
		{Request{Op: Receive}, "read", "ENOTCONN"},
		{Request{Op: Get, Data: "/"}, "get", "ENOTCONN"},
		{Request{Op: "dance"}, "dance", ""},
		{Request{Op: Connect}, "connect", ""}, // no address
	} {
		p.ask(tt.q)
		if e := p.want(Failed, tt.errno); e.Call != tt.call || e.Text == "" {
			t.Errorf("%s: got %+v, want a failed %s with a text", tt.q.Op, e, tt.call)
		}
	}
	p.ask(Request{Op: Close})
	p.want(Closed, "")
}

// TestName catches an errno under a name that the kernel's source does not have.
func TestName(t *testing.T) {
	for errno, want := range map[unix.Errno]string{unix.EOPNOTSUPP: "EOPNOTSUPP", unix.ETIMEDOUT: "ETIMEDOUT", unix.EAGAIN: "EAGAIN"} {
		if got := name(errno); got != want {
			t.Errorf("%d: got %s, want %s", int(errno), got, want)
		}
	}
}

// TestWhole catches a time that setsockopt(2) would be given cut off, or as none.
func TestWhole(t *testing.T) {
	for _, bad := range []Options{
		{UserTimeout: time.Microsecond}, {KeepIdle: 1500 * time.Millisecond}, {KeepInterval: time.Millisecond}, {RTOMin: time.Nanosecond},
		{RTOMax: time.Microsecond}, {KeepIdle: -time.Second},
	} {
		if err := bad.whole(); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%+v: got %v, want EINVAL", bad, err)
		}
	}
	good := Options{UserTimeout: time.Millisecond, KeepIdle: time.Second, KeepInterval: time.Minute, RTOMin: time.Microsecond, RTOMax: time.Second}
	if err := good.whole(); err != nil {
		t.Errorf("got %v, want no error", err)
	}
}

// TestNumbered catches pieces of another size, or that cannot be told apart.
func TestNumbered(t *testing.T) {
	for _, tt := range []struct {
		n, size int
		want    string
	}{{2, 5, "[1][1[2][2"}, {3, 1, "[[["}, {1, 3, "[1]"}} {
		if got := string(numbered(tt.n, tt.size)); got != tt.want {
			t.Errorf("%d of %d: got %q, want %q", tt.n, tt.size, got, tt.want)
		}
	}
	if got := numbered(100, 1448); len(got) != 144_800 || string(got[99*1448:99*1448+5]) != "[100]" {
		t.Errorf("100 of 1448: got %d bytes, the last piece begins with %q", len(got), got[99*1448:99*1448+5])
	}
}
