//go:build lab

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/guard"
	"github.com/tcplab/tcplab/internal/labtest"
)

// TestSecondSignal catches a second signal that does nothing: the ten clients of a run are stopped, so that to take them down after the first takes a second
// for each, and the second has to end the program before that. Nothing may be left all the same.
func TestSecondSignal(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	for _, mode := range []string{"root", "rootless"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			u := &underway{dir: openFolder(t), ended: make(chan struct{})}
			args := []string{"run", "exp2-capture-point", "--at=all", "--profile=fast", "--events=-"}
			worker := 0
			if mode == "root" {
				u.cmd = in(u.dir, args...)
				u.await(t)
				worker = u.cmd.Process.Pid
			} else {
				u.cmd = rootless(t, u.dir, args...)
				u.await(t)
				worker = inItsNamespace(t, u.cmd.Process.Pid)
			}
			held := holdings(t, worker)
			stopped := 0
			for pid := range held.children {
				line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				if err != nil || strings.HasPrefix(string(line), guard.Name) {
					continue
				}
				if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				stopped++
			}
			u.signal(t, syscall.SIGINT)
			select {
			case <-u.ended:
				t.Errorf("with %d clients stopped: it ended with %d after one signal at once, so the second shows nothing", stopped, u.code)
			case <-time.After(300 * time.Millisecond): // the pause between two signals is the test
			}
			begun := time.Now()
			u.signal(t, syscall.SIGINT)
			code := u.wait(t)
			if took := time.Since(begun); code != 130 || took > time.Second {
				t.Errorf("after the second signal: got exit code %d after %v, want 130 within a second\n%s", code, took, u.stderr.String())
			}
			held.gone(t)
			await(t, "the run's folder is gone", 10*time.Millisecond, func() bool { // the guard may be at it
				_, err := os.Stat(filepath.Join(u.dir, "tcplab-runs"))
				return errors.Is(err, fs.ErrNotExist)
			})
		})
	}
}
