package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
)

// floor is shared by the commands of all tests, and held by one that must be alone.
var floor sync.RWMutex

// runCommand runs a command to its end. A program that was killed fails the test.
func runCommand(t testing.TB, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	floor.RLock()
	defer floor.RUnlock()
	return runHere(t, cmd)
}

func runHere(t testing.TB, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	code, err := exitCode(cmd.Run())
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, errs.String())
	}
	return out.String(), errs.String(), code
}

// openFolder is a new folder that everybody may enter and write, away from t.TempDir, which only its owner may enter.
func openFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tcplab-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

const nobody = 65534

// asNobody is the program, to be started by a user without any privilege, in dir. A user without privilege runs it as that.
func asNobody(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		cmd := exec.Command("tcplab", args...)
		cmd.Dir = dir
		return cmd
	}
	bin := filepath.Join(dir, ".bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(bin, "tcplab")
	if _, err := os.Stat(program); err != nil {
		copyProgram(t, program)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}

// copyProgram has another process copy: a descriptor that is open for writing here would be inherited by whatever another test starts at
// the same moment, and executing the copy would fail with ETXTBSY.
func copyProgram(t *testing.T, to string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "--", self, to).CombinedOutput(); err != nil {
		t.Fatalf("copy the program: %v: %s", err, out)
	}
	if err := os.Chmod(to, 0o755); err != nil {
		t.Fatal(err)
	}
}

// wantParts wants text to hold each part.
func wantParts(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s: got %q, want it to hold %q", what, text, p)
		}
	}
}

// wantFiles wants dir to hold these names and nothing else but what asNobody put there.
func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.Name() != ".bin" {
			got = append(got, e.Name())
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("files in %s: got %q, want %q", dir, got, want)
	}
}

// withoutNamespaces is the program, to be started in dir by a user who has no privilege and may make no user namespace: in one whose own
// limit is 0.
func withoutNamespaces(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := asNobody(t, dir, args...)
	words := append([]string{"unshare", "--user", "--map-root-user", "sh", "-c", `echo 0 >/proc/sys/user/max_user_namespaces
		exec setpriv --securebits=+noroot,+no_setuid_fixup --bounding-set=-all --inh-caps=-all --ambient-caps=-all -- "$0" "$@"`, cmd.Path}, args...)
	path, err := exec.LookPath(words[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Args = path, words
	return cmd
}

// TestNoPrivilege catches a run without root that leaves a folder behind, exits with another code than 3, or does not say what to do.
func TestNoPrivilege(t *testing.T) {
	labtest.Need(t, labtest.IPTables, labtest.Command("unshare"), labtest.Command("setpriv"))
	t.Parallel()
	dir := openFolder(t)
	for _, args := range [][]string{
		{"run", "exp1", "--profile=fast"},
		{"run", "exp1", "--profile=fast", "--json"},
		{"run", "exp1", "--profile=fast", "--repeat=3", "--parallel=3"},
		{"run", "exp1", "--profile=fast", "--out=a/b/c"},
	} {
		stdout, stderr, code := runCommand(t, withoutNamespaces(t, dir, args...))
		var doc struct{ Schema, Code string }
		if args[len(args)-1] == "--json" { // one document, also of an error
			if err := json.Unmarshal([]byte(stdout), &doc); err != nil || doc.Schema != "tcplab.error/v1" || doc.Code != "TL1410" {
				t.Errorf("%v: got %q on stdout (%v), want one tcplab.error/v1 with TL1410", args, stdout, err)
			}
			stdout = ""
		}
		if code != 3 || stdout != "" {
			t.Errorf("%v: got exit code %d and %q on stdout, want 3 and nothing", args, code, stdout)
		}
		wantParts(t, "stderr", stderr, "CAP_SYS_ADMIN", "user.max_user_namespaces", "sudo", "tcplab predict", "tcplab explain TL1410")
		wantFiles(t, dir)
	}
	// What needs no privilege works without.
	if stdout, stderr, code := runCommand(t, asNobody(t, dir, "predict", "exp1")); code != 0 || stderr != "" || stdout == "" {
		t.Errorf("predict: got exit code %d, %q on stderr, %d bytes on stdout, want 0, nothing, some", code, stderr, len(stdout))
	}
	stdout, _, code := runCommand(t, withoutNamespaces(t, dir, "doctor"))
	if code != 3 {
		t.Errorf("doctor: got exit code %d, want 3", code)
	}
	wantParts(t, "doctor", stdout, "privilege", "user.max_user_namespaces", "sudo", "experiments cannot run here")
	wantFiles(t, dir)
}

// TestUnwritable catches a folder that cannot be written being found out only after the run, or blamed on tcplab itself.
func TestUnwritable(t *testing.T) {
	t.Parallel()
	dir := openFolder(t)
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o555); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"run", "exp1", "--out=closed"},
		{"run", "exp1", "--out=closed/new"},
		{"run", "exp1", "--events=closed/events"},
	} {
		stdout, stderr, code := runCommand(t, asNobody(t, dir, args...))
		if code != 2 || stdout != "" {
			t.Errorf("%v: got exit code %d and %q on stdout, want 2 and nothing", args, code, stdout)
		}
		wantParts(t, "stderr", stderr, "closed", "permission denied", "tcplab explain TL1503")
		wantFiles(t, dir, "closed")
		wantFiles(t, closed)
	}
}

// TestNoIPTables catches a machine without iptables being told anything but that, and how to mend it.
func TestNoIPTables(t *testing.T) {
	t.Parallel()
	dir := openFolder(t)
	program, err := exec.LookPath("tcplab")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "run", "exp1", "--profile=fast")
	cmd.Dir, cmd.Env = dir, []string{"PATH=/nonexistent"} // also without a bin whose sbin is looked at
	stdout, stderr, code := runCommand(t, cmd)
	if code != 3 || stdout != "" {
		t.Errorf("got exit code %d and %q on stdout, want 3 and nothing", code, stdout)
	}
	wantParts(t, "stderr", stderr, "iptables is not installed", "apt-get install iptables", "tcplab explain TL1402")
	wantFiles(t, dir)
}

// awaited is how long something that is to come may take on a busy machine.
const awaited = 3 * time.Minute

// await looks every so often until something is so.
func await(t *testing.T, what string, every time.Duration, so func() bool) {
	t.Helper()
	deadline := time.After(awaited)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not after %v", what, awaited)
		}
	}
}
