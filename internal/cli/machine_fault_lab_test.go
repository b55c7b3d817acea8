//go:build lab && !race

package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// onSmallDisk runs the program with its output on a tmpfs of its own, mounted with options, and returns what the disk holds at the end: a copy.
func onSmallDisk(t *testing.T, options string, args ...string) (disk, stdout, stderr string, code int) {
	t.Helper()
	dir := openFolder(t)
	disk = filepath.Join(dir, "held")
	if err := os.Mkdir(filepath.Join(dir, "disk"), 0o755); err != nil {
		t.Fatal(err)
	}
	words := append([]string{"--mount", "sh", "-c", `mount -t tmpfs -o "$1" tmpfs "$0" || exit 99
		shift; "$@" --out="$0"/runs; code=$?
		cp -r "$0" "$0"/../held
		exit $code`, filepath.Join(dir, "disk"), options, released(t)}, args...)
	stdout, stderr, code = runCommand(t, exec.Command("unshare", words...))
	return disk, stdout, stderr, code
}

// TestFullDiskOfMachine catches a run in a machine that is called a pass although the disk was full, and its folder went. It is TestFullDisk for what a guest
// sends: the sizes end the writing at different files.
func TestFullDiskOfMachine(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("unshare"), machinesHere)
	for _, size := range []string{"24k", "120k"} {
		t.Run(size, func(t *testing.T) {
			disk, stdout, stderr, code := onSmallDisk(t, "size="+size, "run", "exp1", "--profile=fast", "--kernel=6.12")
			if code != explain.ExitInternal || strings.Contains(stdout, "PASS") {
				t.Errorf("got exit code %d and %q, want %d and no pass", code, stdout, explain.ExitInternal)
			}
			wantParts(t, "stderr", stderr, "no space left on device", "make room", explain.DiskFull)
			wantFiles(t, disk)
		})
	}
	// As many files as the first run takes, and then those of the matrix, but not those of the second run: it is that one's cell.
	t.Run("matrix", func(t *testing.T) {
		disk, stdout, stderr, code := onSmallDisk(t, "nr_inodes=20", "matrix", "exp0", "exp1", "--profile=fast", "--kernels=6.12", "--parallel=1", "--json")
		if code != explain.ExitInternal {
			t.Errorf("exit code: got %d, want %d", code, explain.ExitInternal)
		}
		wantParts(t, "stderr", stderr, "no space left on device", "make room", explain.DiskFull)
		m, err := result.ReadMatrix(strings.NewReader(stdout))
		if err != nil || len(m.Rows) != 2 {
			t.Fatalf("got %v, %+v, want a matrix of two rows", err, m)
		}
		whole, lost := m.Rows[0].Cells[0], m.Rows[1].Cells[0]
		if whole.Verdict != result.Pass || lost.Verdict != result.Error || lost.Code != explain.DiskFull || m.Verdict != result.Error {
			t.Errorf("got %s, then %s (%s), %s in all, want pass, then an error (%s)", whole.Verdict, lost.Verdict, lost.Code, m.Verdict, explain.DiskFull)
		}
		found, err := filepath.Glob(filepath.Join(disk, "runs", "2*", "*", "*"))
		if err != nil || len(found) != 1 || filepath.Base(found[0]) != "exp0-handshake" {
			t.Errorf("got folders %v, %v, want that of exp0 alone", found, err)
		}
	})
}

// guestAtWork is a run in a machine whose guest has begun with it.
type guestAtWork struct {
	*underway
	held   *held // what the program has started
	engine int   // the engine's process
}

// startGuest makes a run, or the first of several, that takes a guest a few seconds. The program's file is gone when it starts: a guest gets what is running.
func startGuest(t *testing.T, args ...string) *guestAtWork {
	t.Helper()
	dir := openFolder(t)
	program := filepath.Join(dir, "program")
	b, err := os.ReadFile(released(t))
	if err == nil {
		err = os.WriteFile(program, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(program)
	if err == nil {
		err = errors.Join(os.Remove(program), os.Mkdir(filepath.Join(dir, ".bin"), 0o755)) // for temporary files; wantFiles does not look at it
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	u := &underway{dir: dir, ended: make(chan struct{})}
	u.cmd = exec.Command("/proc/self/fd/3", append([]string{"run", "exp4", "--profile=kernel", "--kernel=6.12"}, args...)...)
	u.cmd.Dir, u.cmd.ExtraFiles, u.cmd.Stderr = dir, []*os.File{file}, &u.stderr
	u.cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Join(dir, ".bin"))
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(u.ended)
		_ = u.cmd.Wait()
		u.code = u.cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		_ = u.cmd.Process.Kill() // only if the test failed: otherwise it has ended
		<-u.ended
	})
	await(t, "a guest that begins with its run", 5*time.Millisecond, func() bool { // then its folder is made
		begun, _ := filepath.Glob(filepath.Join(dir, "tcplab-runs", "2*"))
		select {
		case <-u.ended:
			t.Fatalf("the run ended with %d before it began:\n%s", u.code, u.stderr.String())
		default:
		}
		return len(begun) > 0
	})
	g := &guestAtWork{underway: u, held: &held{children: descendants(t, u.cmd.Process.Pid)}}
	for pid := range g.held.children {
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); strings.HasPrefix(string(name), "qemu-system") {
			g.engine = pid
		}
	}
	if g.engine == 0 {
		t.Fatalf("got no engine among %v\n%s", g.held.children, u.stderr.String())
	}
	return g
}

// gone wants nothing to be left of it: no process, no file.
func (g *guestAtWork) gone(t *testing.T) {
	t.Helper()
	g.held.gone(t)
	await(t, "an empty folder", 10*time.Millisecond, func() bool { // a guard may still be at work
		left, err := os.ReadDir(g.dir)
		return err == nil && len(left) == 1
	})
	wantFiles(t, filepath.Join(g.dir, ".bin"))
}

// TestGuestEnds ends a run in a machine while its guest is at work. It catches an engine that outlives the program, a file that stays, and an engine's
// death that is called anything but that.
func TestGuestEnds(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, machinesHere)
	for _, tt := range []struct {
		name   string
		signal syscall.Signal
		engine bool // it is sent to the engine, else to the program
		code   int
		says   []string
	}{
		{"SIGKILL", syscall.SIGKILL, false, -1, nil},
		{"SIGINT", syscall.SIGINT, false, 130, []string{"interrupted; everything was undone"}},
		{"the engine is killed", syscall.SIGKILL, true, explain.ExitInternal, []string{"qemu-system-x86_64 was ended by killed", explain.MachineEnded}},
		{"the engine ends itself", syscall.SIGTERM, true, explain.ExitInternal,
			[]string{"the guest ended before it had answered; the console's last lines:\n  ", "terminating on signal 15", explain.MachineEnded}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := startGuest(t)
			pid := g.cmd.Process.Pid
			if tt.engine {
				pid = g.engine
			}
			if err := syscall.Kill(pid, tt.signal); err != nil {
				t.Fatal(err)
			}
			if code := g.wait(t); code != tt.code {
				t.Errorf("exit code: got %d, want %d\n%s", code, tt.code, g.stderr.String())
			}
			wantParts(t, "stderr", g.stderr.String(), tt.says...)
			g.gone(t)
		})
	}
}

// TestRealTime catches a machine in real time that never comes up, and one whose clock does not run with this one's: a run of three seconds takes three of
// its own, and no less of ours.
func TestRealTime(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, machinesHere)
	dir := openFolder(t)
	began := time.Now()
	stdout, stderr, code := runCommand(t, exec.Command(released(t), "run", "exp1", "--profile=fast", "--kernel=6.12", "--real-time", "--json", "--out="+dir))
	if code != 0 && code != explain.ExitInconclusive { // a guest that has to wait for a processor is late
		t.Fatalf("exit code: got %d, want 0\n%s", code, stderr)
	}
	r := readResult(t, []byte(stdout))
	if r.Outcome == nil || r.Outcome.Seen == nil {
		t.Fatalf("got %s (%s) without an end of connect()", r.Verdict, r.Reason)
	}
	if took := r.Outcome.Seen.Duration(); took < 2900*time.Millisecond || time.Since(began) < took {
		t.Errorf("connect() ended after %v of the guest's time, the command after %v of ours: want 3 s or more, and more", took, time.Since(began))
	}
	wantParts(t, "stderr", stderr, "in real time")
}
