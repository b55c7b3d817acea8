//go:build lab && !race

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	internal "github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/lab/labtest"
)

// A stranger's go test runs in a machine where TCPLAB_KERNEL names a kernel, as a user without any privilege: the example module's, as the guide says.
// The control is the same binary without a kernel: on the host that user gets no lab, so what passed was in the machine.
func TestGoTestOnOtherKernel(t *testing.T) {
	internal.Need(t, internal.Root, internal.Command("setpriv"), machinesHere)
	t.Parallel()
	dir, cache := openFolder(t), cacheOf(t, "6.12")
	binary := filepath.Join(dir, "deadpeer.test")
	build := exec.Command("go", "test", "-c", "-trimpath", "-o", binary, ".")
	build.Dir = "../../docs/examples/deadpeer"
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tests: %v: %s", err, out)
	}
	run := func(kernel string) (said string, code int) {
		cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", binary, "-test.v")
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + dir, "XDG_CACHE_HOME=" + cache, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", labtest.Require + "=1", labtest.Kernel + "=" + kernel}
		stdout, stderr, code := runCommand(t, cmd)
		return stdout + stderr, code
	}
	said, code := run("6.12")
	if code != 0 {
		t.Errorf("in a machine: got exit code %d, want 0", code)
	}
	wantParts(t, "in a machine", said, "--- PASS: TestDeadPeer", "--- PASS: TestLateSYN")
	if said, code := run(""); code == 0 || strings.Contains(said, "--- PASS") {
		t.Errorf("without a kernel: got exit code %d, want a failure for want of privilege: %s", code, said)
	}
}

// cacheOf is a cache of kernels that every user can read, with a copy of one.
func cacheOf(t *testing.T, version string) string {
	t.Helper()
	k, err := vm.Find(version, nil)
	if err != nil {
		t.Fatal(err)
	}
	if k.Dir == "" {
		t.Fatalf("%s is not unpacked: fetch it first", k.Release)
	}
	cache := openFolder(t)
	if err := os.CopyFS(filepath.Join(cache, "tcplab", "kernels", k.Release), os.DirFS(k.Dir)); err != nil {
		t.Fatal(err)
	}
	return cache
}
