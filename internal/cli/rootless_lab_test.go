//go:build lab

package cli

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
)

// rootless is the program as nobody starts it, with setpriv, in dir. Some machines give /dev/net/tun to root alone, and a kernel without
// netem needs it for an RTT: in a mount namespace of its own there is one as udev makes it.
func rootless(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("setpriv"), labtest.Command("unshare"))
	program := asNobody(t, dir, args...).Path
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", `mount -t tmpfs tmpfs /dev/net && mknod -m 0666 /dev/net/tun c 10 200 || exit 99
		exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs -- "$0" "$@"`, program}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":/usr/sbin:/usr/bin:/sbin:/bin", "SUDO_UID=1", "SUDO_GID=1")
	return cmd
}

// inItsNamespace finds the process that does the work of one that was started without privilege, which is its child.
func inItsNamespace(t *testing.T, parent int) int {
	t.Helper()
	deadline := time.After(soon)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		for pid := range holdings(t, parent).children {
			return pid
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("process %d has no child after %v, want the one in its user namespace", parent, soon)
		}
	}
}

// wantOwner wants everything at and below root to belong to a user and a group of that number.
func wantOwner(t *testing.T, root string, id uint32) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != id || st.Gid != id {
			t.Errorf("%s: got owner %d:%d, want %d", path, st.Uid, st.Gid, id)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestRootlessRefused catches a refusal of the kernel that is told as anything else, or that leaves a folder: in a chroot no user namespace
// can be made, whatever the settings say.
func TestRootlessRefused(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("unshare"), labtest.Command("chroot"))
	t.Parallel()
	dir := openFolder(t)
	program := asNobody(t, dir).Path
	if err := os.Mkdir(filepath.Join(dir, "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount --rbind / root && exec chroot --userspec=65534:65534 root "$0" run exp1 --profile=fast --out=/tmp/none`, program)
	cmd.Dir = dir
	stdout, stderr, code := runCommand(t, cmd)
	if code != explain.ExitUnable || stdout != "" {
		t.Errorf("got exit code %d and %q on stdout, want %d and nothing", code, stdout, explain.ExitUnable)
	}
	wantParts(t, "stderr", stderr, "no user namespace", "chroot", "sudo", explain.NoUserNamespace)
}

// TestRootlessSignals catches a signal that does not reach the process that does the work, that counts twice, or that leaves one of the
// two processes: what a terminal sends to both, what kill sends to one, and SIGKILL to either.
func TestRootlessSignals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		send   syscall.Signal
		whom   string // parent, child or both
		parent int    // exit code; -1: killed
		says   string
	}{
		{"SIGTERM to the parent", syscall.SIGTERM, "parent", 143, "everything was undone"},
		{"SIGINT to the child", syscall.SIGINT, "child", 130, "everything was undone"},
		{"SIGINT to both", syscall.SIGINT, "both", 130, "everything was undone"},
		{"SIGKILL to the parent", syscall.SIGKILL, "parent", -1, ""},
		{"SIGKILL to the child", syscall.SIGKILL, "child", explain.ExitInternal, "killed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := &underway{dir: openFolder(t), ended: make(chan struct{})}
			u.cmd = rootless(t, u.dir, "run", "exp1", "--syn-retries=5", "--events=-")
			u.await(t)
			child := inItsNamespace(t, u.cmd.Process.Pid)
			h := holdings(t, child)
			if len(h.namespaces) < 2 {
				t.Errorf("the child holds namespaces %v, want 2", h.namespaces)
			}
			if len(h.children) != 2 {
				t.Errorf("the child has children %v, want a client and a guard", h.children)
			}
			h.children[child] = startTime(child)
			if tt.whom != "child" {
				u.signal(t, tt.send)
			}
			if tt.whom != "parent" {
				if err := syscall.Kill(child, tt.send); err != nil {
					t.Fatal(err)
				}
			}
			if code := u.wait(t); code != tt.parent {
				t.Errorf("exit code: got %d, want %d\n%s", code, tt.parent, u.stderr.String())
			}
			wantParts(t, "stderr", u.stderr.String(), tt.says)
			h.gone(t)
			wantFiles(t, u.dir)
		})
	}
}

// TestRootlessTerminal catches a Ctrl-C on a terminal, which reaches both processes, that ends the run without undoing it.
func TestRootlessTerminal(t *testing.T) {
	t.Parallel()
	dir := openFolder(t)
	cmd := rootless(t, dir, "run", "exp1", "--profile=fast", "--syn-retries=5") // which goes on for a minute
	cmd.Env = append(cmd.Env, "TERM=xterm")
	out, code, same := onTerminal(t, cmd, "\x03")
	if code != 130 || !same {
		t.Errorf("got exit code %d and the terminal as it was: %t, want 130 and true", code, same)
	}
	wantParts(t, "the terminal", out, "interrupted; everything was undone")
	wantFiles(t, dir)
}

// TestRootlessKeep catches lines that do not lead the same user into the lab, without any privilege.
func TestRootlessKeep(t *testing.T) {
	labtest.Need(t, labtest.Command("nsenter"), labtest.Command("ip"))
	t.Parallel()
	dir := openFolder(t)
	cmd := rootless(t, dir, "run", "exp1", "--profile=fast", "--keep")
	master, tty, err := pty.Open() // a terminal: Enter ends it
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	cmd.Stdin = tty
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
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
	for i, door := range doors {
		out, errs, code := runCommand(t, exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", door+" ip -o address show dev eth0"))
		if code != 0 {
			t.Errorf("%s: got exit code %d, want 0: %s", door, code, errs)
		}
		wantParts(t, door, out, fmt.Sprintf("10.99.0.%d/24", i+1))
	}
	if len(doors) != 2 {
		t.Errorf("nsenter lines: got %q, want 2", doors)
	}
	if _, err := master.WriteString("\n"); err != nil {
		t.Error(err)
	}
	for lines.Scan() { // until the program closes it
	}
	if code, err := exitCode(cmd.Wait()); err != nil || code != 0 && code != explain.ExitInconclusive {
		t.Errorf("exit code: got %d, %v, want 0", code, err)
	}
}

// TestRootlessDoctor catches a doctor that does not say by what right an ordinary user makes labs.
func TestRootlessDoctor(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := runCommand(t, rootless(t, openFolder(t), "doctor"))
	if code != 0 {
		t.Errorf("exit code: got %d, want 0: %s", code, stderr)
	}
	wantParts(t, "doctor", stdout, "root of a user namespace", "experiments can run here")
}
