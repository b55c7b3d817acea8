package wire

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is a socket pair that keeps packets apart, as a TAP device does frames; mine is the test's side.
func pair(t *testing.T) (mine, wires *os.File) {
	t.Helper()
	fd, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mine, wires = os.NewFile(uintptr(fd[0]), "mine"), os.NewFile(uintptr(fd[1]), "wire's")
	t.Cleanup(func() { mine.Close(); wires.Close() })
	return mine, wires
}

// TestOrder catches frames that overtake each other, go to the wrong end, change, or come before their time.
func TestOrder(t *testing.T) {
	a, wa := pair(t)
	b, wb := pair(t)
	w := &wire{delay: 20 * time.Millisecond, end: [2]end{{tap: int(wa.Fd())}, {tap: int(wb.Fd())}}}
	began := now()
	const n = 50
	for i := range n {
		fmt.Fprintf(a, "to b %d", i)
		fmt.Fprintf(b, "to a %d", i)
		if err := w.read(); err != nil {
			t.Fatal(err)
		}
	}
	if sent, err := w.send(); sent || err != nil {
		t.Errorf("at once: got %v, %v, want nothing delivered yet", sent, err)
	}
	for w.stats.Frames < 2*n {
		if err := w.carry(); err != nil {
			t.Fatal(err)
		}
		if w.stats.Frames > 0 && now()-began < w.delay {
			t.Fatalf("got a frame after %v, want none before %v", now()-began, w.delay)
		}
	}
	for i := range n {
		for to, f := range map[string]*os.File{"a": a, "b": b} {
			buf := make([]byte, 100)
			k, err := f.Read(buf)
			if got, want := string(buf[:k]), fmt.Sprintf("to %s %d", to, i); err != nil || got != want {
				t.Fatalf("got %q, %v, want %q", got, err, want)
			}
		}
	}
	if w.stats.Lost != 0 || w.next() != nil {
		t.Errorf("got %+v and %+v left, want none", w.stats, w.next())
	}
}

// TestFull catches a queue that grows without end, and frames that are lost without being counted.
func TestFull(t *testing.T) {
	a, wa := pair(t)
	_, wb := pair(t)
	w := &wire{delay: time.Hour, end: [2]end{{tap: int(wa.Fd())}, {tap: int(wb.Fd())}}}
	const more = 7
	for range QueueLength + more {
		if _, err := a.Write([]byte("frame")); err != nil {
			t.Fatal(err)
		}
		if err := w.read(); err != nil {
			t.Fatal(err)
		}
	}
	if w.stats.Lost != more || w.end[0].n != QueueLength {
		t.Errorf("got %d lost and %d on their way, want %d and %d", w.stats.Lost, w.end[0].n, more, QueueLength)
	}
}

// TestLate catches a delivery that is late and not told.
func TestLate(t *testing.T) {
	w := &wire{}
	w.delivered(time.Second, 0)
	w.delivered(2*time.Second, 5*time.Millisecond)
	w.delivered(3*time.Second, tellLate)
	if w.stats.Worst != 5*time.Millisecond || len(w.stats.Late) != 1 || w.stats.Late[0] != (Late{2 * time.Second, 5 * time.Millisecond}) || w.stats.Frames != 3 {
		t.Errorf("got %+v, want three frames, the second late by 5 ms", w.stats)
	}
}

// TestProcess catches a wire that outlives its parent, does not answer, or runs with arguments that it does not understand.
func TestProcess(t *testing.T) {
	_, wa := pair(t)
	_, wb := pair(t)
	start := func(args ...string) (*exec.Cmd, func() (string, error)) {
		cmd := exec.Command("/proc/self/exe")
		cmd.Args = append([]string{Name}, args...)
		cmd.ExtraFiles = []*os.File{wa, wb}
		var text strings.Builder
		cmd.Stderr = &text
		return cmd, func() (string, error) { err := cmd.Wait(); return text.String(), err }
	}
	cmd, wait := start("1000000")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte(Ask)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var s Stats
	if jerr := json.Unmarshal(line, &s); err != nil || jerr != nil {
		t.Errorf("asked: got %q, %v, %v, want its numbers", line, err, jerr)
	}
	in.Close()
	if text, err := wait(); err != nil || text != "" {
		t.Errorf("after its input closed: got %v, %q, want exit code 0", err, text)
	}
	for _, args := range [][]string{nil, {"soon"}, {"-1"}, {"1", "2"}} {
		cmd, wait := start(args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		text, err := wait()
		if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(text, Name) {
			t.Errorf("%q: got %v, %q, want exit code 2 and why", args, err, text)
		}
	}
}
