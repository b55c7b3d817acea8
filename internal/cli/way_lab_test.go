//go:build lab

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
)

// TestWaySwapped catches root acting by name on a folder that it made: during the run whoever owns the folder above puts a link in its place that leads
// to files of the machine's. They must keep their owner and stay, whatever the end of the run is.
func TestWaySwapped(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	t.Parallel()
	for _, tt := range []struct {
		name   string
		signal syscall.Signal // 0: none
	}{{"pass", 0}, {"SIGINT", syscall.SIGINT}, {"SIGKILL", syscall.SIGKILL}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := &underway{dir: openFolder(t), ended: make(chan struct{})}
			victim := filepath.Join(u.dir, "etc")
			for _, name := range []string{"shadow", "group/x"} {
				if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(victim, name)), 0o755), os.WriteFile(filepath.Join(victim, name), []byte("root's\n"), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			u.cmd = in(u.dir, "run", "exp1", "--profile=fast", "--events=-", "--out=a/shadow")
			u.cmd.Env = append(os.Environ(), "SUDO_UID=65534", "SUDO_GID=65534")
			u.await(t)
			held := holdings(t, u.cmd.Process.Pid)
			if err := errors.Join(os.Rename(filepath.Join(u.dir, "a"), filepath.Join(u.dir, "b")), os.Symlink("etc", filepath.Join(u.dir, "a"))); err != nil {
				t.Fatal(err)
			}
			if tt.signal != 0 {
				u.signal(t, tt.signal)
			}
			code := u.wait(t)
			held.gone(t)
			for _, name := range []string{".", "shadow", "group", "group/x"} {
				if got := ownerOf(t, filepath.Join(victim, name)); got != 0 {
					t.Errorf("%s: got owner %d, want 0", name, got)
				}
			}
			wantFiles(t, victim, "group", "shadow")
			if tt.signal == 0 && code != explain.ExitPass && code != explain.ExitInconclusive {
				t.Errorf("exit code: got %d, want 0\n%s", code, u.stderr.String())
			}
			if tt.signal == syscall.SIGINT {
				wantFiles(t, filepath.Join(u.dir, "b")) // through the descriptor, wherever it is by now
			}
			if tt.signal == 0 {
				wantOwner(t, filepath.Join(u.dir, "b"), 65534)
			}
		})
	}
}

// TestHandOverInterrupted catches runs that are whole and that their user cannot remove, because a later one was interrupted, or killed.
func TestHandOverInterrupted(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			u := &underway{dir: openFolder(t), ended: make(chan struct{})}
			u.cmd = in(u.dir, "run", "exp1", "--profile=fast", "--events=-", "--repeat=10")
			u.cmd.Env = append(os.Environ(), "SUDO_UID=65534", "SUDO_GID=65534")
			u.await(t)
			deadline := time.After(soon)
			for found := []string(nil); len(found) < 2; { // a run is whole, and the next one is at work
				var err error
				if found, err = filepath.Glob(filepath.Join(u.dir, "tcplab-runs", "2*")); err != nil {
					t.Fatal(err)
				}
				select {
				case <-deadline:
					t.Fatalf("no second run within %v", soon)
				case <-time.After(5 * time.Millisecond):
				}
			}
			held := holdings(t, u.cmd.Process.Pid)
			u.signal(t, s)
			if code := u.wait(t); s == syscall.SIGINT && code != 130 {
				t.Errorf("exit code: got %d, want 130\n%s", code, u.stderr.String())
			}
			held.gone(t)
			wantWhole(t, u.dir)
			found, err := filepath.Glob(filepath.Join(u.dir, "tcplab-runs", "2*", "result.json"))
			if err != nil || len(found) == 0 {
				t.Errorf("results: got %q, %v, want one", found, err)
			}
			wantOwner(t, filepath.Join(u.dir, "tcplab-runs"), 65534)
		})
	}
}

// TestGiveAll catches a folder that becomes its user's before what is in it: from then on he can put a second name of anybody's file there, which root
// would give to him.
func TestGiveAll(t *testing.T) {
	calledBy(t, 65534, 65534)
	dir := t.TempDir()
	const files = 2000
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	early := make(chan int)
	go func() {
		for ownerOf(t, dir) == 0 {
		}
		left := 0
		for i := range files {
			if ownerOf(t, filepath.Join(dir, fmt.Sprint(i))) == 0 {
				left++
			}
		}
		early <- left
	}()
	if _, err := handOver(func(uid, gid int) error { return giveAll(root, uid, gid) }); err != nil {
		t.Fatal(err)
	}
	if left := <-early; left > 0 {
		t.Errorf("%d files were still root's when the folder was the user's, want none", left)
	}
	if got := ownerOf(t, filepath.Join(dir, "0")); got != 65534 {
		t.Errorf("owner: got %d, want 65534", got)
	}
}

// TestGiveAllSpares catches what is given away and is not root's alone: a folder inside that is the user's already may hold a second name of anybody's
// file, and so may one that others can write.
func TestGiveAllSpares(t *testing.T) {
	calledBy(t, 65534, 65534)
	for _, tt := range []struct {
		name string
		mode os.FileMode
		uid  int
		want uint32
	}{{"root's", 0o755, 0, 65534}, {"the user's", 0o755, 65534, 0}, {"writable by others", 0o777, 0, 0}} {
		dir := t.TempDir()
		sub, foreign := filepath.Join(dir, "sub"), filepath.Join(dir, "..", "foreign-"+filepath.Base(dir))
		if err := errors.Join(os.Mkdir(sub, 0o700), os.Chmod(sub, tt.mode), os.Chown(sub, tt.uid, tt.uid), os.WriteFile(foreign, nil, 0o600),
			os.Link(foreign, filepath.Join(sub, "second"))); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, err = handOver(func(uid, gid int) error { return giveAll(root, uid, gid) })
		root.Close()
		if got := ownerOf(t, foreign); got != tt.want || err != nil {
			t.Errorf("%s: got owner %d, %v, want %d", tt.name, got, err, tt.want)
		}
		if err := os.Remove(foreign); err != nil {
			t.Error(err)
		}
	}
}

// TestFewDescriptors catches half a folder where there are no more descriptors, wherever that happens: every end leaves whole folders or none.
func TestFewDescriptors(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	t.Parallel()
	for n := 8; n <= 26; n++ { // with 25 there are enough
		dir := openFolder(t)
		// The first knob that only a lab can refuse ends the run early; --events=events is a file more.
		cmd := exec.Command("sh", "-c", fmt.Sprintf("ulimit -n %d; exec tcplab run exp1 --profile=fast --out=a/b --events=events --set=client.net.ipv4.tcp_congestion_control=nosuch", n))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "SUDO_UID=65534", "SUDO_GID=65534")
		stdout, stderr, code := runCommand(t, cmd)
		if want := strings.Contains(stderr, "too many open files"); stdout != "" || want != (code == explain.ExitUnable) || want == (code == explain.ExitUsage) {
			t.Errorf("%d descriptors: got exit code %d and %q on stdout, want %d for want of descriptors and %d for the knob\n%s", n, code, stdout, explain.ExitUnable, explain.ExitUsage, stderr)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%d descriptors: got %v left, %v, want nothing\n%s", n, left, err, stderr)
		}
	}
}

// withDescriptors calls fn where this process can open so many more files. It is not for a test beside others.
func withDescriptors(t *testing.T, more uint64, fn func() error) error {
	t.Helper()
	next, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(next.Fd()) + 1 + more, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
	}()
	return fn()
}

// TestNoDescriptorForFolder catches a folder that is made, cannot be opened, and stays; and one that cannot be emptied for want of a descriptor.
func TestNoDescriptorForFolder(t *testing.T) {
	dir := t.TempDir()
	made := 0
	for n := range uint64(8) { // for the way, the folder, its list
		w := newWay(nil, filepath.Join(dir, "a", "b"))
		var f *folder
		err := withDescriptors(t, n, func() (err error) {
			f, err = makeFolder(w, "exp1")
			return err
		})
		if err == nil {
			made++
			if err := os.WriteFile(filepath.Join(f.path, "events.ndjson"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			err = withDescriptors(t, 0, func() error { return f.done(errors.New("enough of it")) })
		}
		_ = keepMade(w, err)
		wantFiles(t, dir)
	}
	if made == 0 || made == 8 {
		t.Errorf("got %d folders in 8 attempts, want some and not all", made)
	}
}
