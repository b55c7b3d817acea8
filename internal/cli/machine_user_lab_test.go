//go:build lab && !race

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/explain"
)

// A user without any privilege, not even that to open /dev/kvm, makes a run on another kernel; and what no machine can do ends with the
// code that says so, and leaves nothing. Two machines share the runs.
func machineAsUser(t *testing.T) {
	takeProcessor(t)
	home, cache := openFolder(t), cacheOf(t, "6.12")
	const user = 64321
	run := func(args ...string) (string, int) {
		cmd := exec.Command("setpriv", append([]string{"--reuid=64321", "--regid=64321", "--clear-groups", "--no-new-privs", staticProgram(t)}, args...)...)
		cmd.Dir = home
		cmd.Env = []string{"HOME=" + home, "XDG_CACHE_HOME=" + cache, "PATH=/usr/bin:/bin"}
		stdout, stderr, code := runCommand(t, cmd)
		return stdout + stderr, code
	}
	if text, code := run("run", "exp1-syn-loss", "--profile=fast", "--kernel=6.12", "--repeat=2", "--parallel=2"); code != 0 || strings.Count(text, "PASS exp1-syn-loss") != 2 ||
		!strings.Contains(text, "2 machines") {
		t.Errorf("got exit code %d, want 0 and two passes in two machines: %s", code, text)
	}
	wantOwner(t, filepath.Join(home, "tcplab-runs"), user)
	if text, code := run("run", "exp1-syn-loss", "--kernel=4.99", "--out=none"); code != explain.ExitUnable {
		t.Errorf("a kernel that is not there: got exit code %d, want %d: %s", code, explain.ExitUnable, text)
	}
	if _, err := os.Stat(filepath.Join(home, "none")); !os.IsNotExist(err) {
		t.Errorf("a folder was left behind (%v)", err)
	}
}
