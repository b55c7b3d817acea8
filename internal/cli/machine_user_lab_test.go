//go:build lab && !race

package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/vm"
)

// A user without any privilege, not even that to open /dev/kvm, makes a run on another kernel; and what no machine can do ends with the
// code that says so, and leaves nothing. The user has a copy of the kernel in a home of its own.
func TestRunOnOtherKernelAsUser(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("setpriv"), machinesHere)
	home, err := os.MkdirTemp("", "tcplab-user-") // a test's own folder is below one that only its user can enter
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	program := staticProgram(t, home)
	k, err := vm.Find("6.12", nil)
	if err != nil {
		t.Fatal(err)
	}
	if k.Dir == "" {
		t.Fatalf("%s is not unpacked: fetch it first", k.Release)
	}
	cache := filepath.Join(home, ".cache", "tcplab", "kernels", k.Release)
	if err := os.CopyFS(cache, os.DirFS(k.Dir)); err != nil {
		t.Fatal(err)
	}
	const user = 64321
	err = filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, user, user))
	})
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, int) {
		cmd := exec.Command("setpriv", append([]string{"--reuid=64321", "--regid=64321", "--clear-groups", "--no-new-privs", program}, args...)...)
		cmd.Dir = home
		cmd.Env = []string{"HOME=" + home, "PATH=/usr/bin:/bin"}
		text, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(text), cmd.ProcessState.ExitCode()
	}
	if text, code := run("run", "exp1-syn-loss", "--profile=fast", "--kernel=6.12"); code != 0 || !strings.Contains(text, "PASS exp1-syn-loss") {
		t.Errorf("got exit code %d, want 0 and a pass: %s", code, text)
	}
	info, err := os.Stat(filepath.Join(home, "tcplab-runs", "latest", "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); !ok || s.Uid != user {
		t.Errorf("the result belongs to %+v, want user %d", info.Sys(), user)
	}
	if text, code := run("run", "exp1-syn-loss", "--kernel=4.99", "--out=none"); code != explain.ExitUnable {
		t.Errorf("a kernel that is not there: got exit code %d, want %d: %s", code, explain.ExitUnable, text)
	}
	if _, err := os.Stat(filepath.Join(home, "none")); !os.IsNotExist(err) {
		t.Errorf("a folder was left behind (%v)", err)
	}
}
