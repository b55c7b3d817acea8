//go:build lab

package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
)

// archive stands for apt and dpkg-deb: one kernel, of 64 MiB, so that storing it takes a while. The program whose step it is says so in the folder
// and hangs, with a child that hangs too, when its work is half done. The kernel is a pipe where tcplab is to hang, which reads it.
var archive = map[string]string{
	"apt-cache": `step asking; echo linux-image-99.1.0-1-cloud-amd64`,
	"apt-get":   `echo half >linux-image.deb; step downloading`,
	"dpkg-deb": `mkdir -p "$3/boot" "$3/lib/modules/99.1.0-1-cloud-amd64"; step unpacking
kernel=$3/boot/vmlinuz-99.1.0-1-cloud-amd64
if [ "$STEP" = reading ]; then mkfifo "$kernel"; echo >>"$HERE/reading"; else cp "$HERE/image" "$kernel"; truncate -s 64M "$kernel"; fi`,
}

const archiveSteps = `#!/bin/sh
step() { if [ "$STEP" = "$1" ]; then sleep 1000 & echo >>"$HERE/$1"; sleep 1000; fi; }
`

// unpacking is tcplab on the way of a kernel into the cache.
type unpacking struct {
	dir, step string
	cmd       *exec.Cmd
	started   *held // what was started for it
}

// unpack starts it in a folder with a temporary one, "tmp"; the cache is to be made.
func unpack(t *testing.T, step string, args ...string) *unpacking {
	t.Helper()
	u := &unpacking{dir: openFolder(t), step: step, cmd: exec.Command("tcplab", args...)}
	for name, text := range archive {
		name = filepath.Join(u.dir, ".bin", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(archiveSteps+text+"\n"), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	const entry = 18 // XEN_ELFNOTE_PHYS32_ENTRY
	if err := errors.Join(os.Mkdir(filepath.Join(u.dir, "tmp"), 0o755), os.WriteFile(filepath.Join(u.dir, "x.deb"), nil, 0o644),
		os.WriteFile(filepath.Join(u.dir, "image"), labtest.Kernel("99.1.0-1-cloud-amd64", entry), 0o644)); err != nil {
		t.Fatal(err)
	}
	u.cmd.Dir = u.dir
	u.cmd.Env = append(os.Environ(), "PATH="+filepath.Join(u.dir, ".bin")+":"+os.Getenv("PATH"), "TMPDIR="+filepath.Join(u.dir, "tmp"),
		"XDG_CACHE_HOME="+filepath.Join(u.dir, "cache"), "STEP="+step, "HERE="+u.dir)
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return u
}

// stop stops tcplab at its step, and reports whether that was in time: storing a kernel ends by itself.
func (u *unpacking) stop(t *testing.T) bool {
	t.Helper()
	// A kernel that is fetched is kept by its release, one of a package that is named by its ID.
	inCache := func(pattern string) bool {
		found, _ := filepath.Glob(filepath.Join(u.dir, "cache", "tcplab", "*", pattern)) // the patterns are sound
		return len(found) > 0
	}
	storing := func() bool { return inCache(".new-*") }
	if u.step == "storing" {
		await(t, filepath.Join(u.dir, "cache"), time.Millisecond, func() bool { return storing() || inCache("[0-9a-f]*") })
	} else {
		waitFor(t, filepath.Join(u.dir, u.step))
	}
	if err := u.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	u.started = &held{children: descendants(t, u.cmd.Process.Pid)}
	return u.step != "storing" || storing()
}

// kill kills it with the one signal that nothing can catch, and waits until all that it had started is gone.
func (u *unpacking) kill(t *testing.T) {
	t.Helper()
	if err := u.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = u.cmd.Wait() // "signal: killed"
	u.started.gone(t)
}

// left is what lies in the temporary folder and of the cache.
func (u *unpacking) left() []string {
	inTmp, _ := filepath.Glob(filepath.Join(u.dir, "tmp", "*"))
	cache, _ := filepath.Glob(filepath.Join(u.dir, "cache"))
	return append(inTmp, cache...)
}

// TestKillUnpacking kills tcplab at each step of a kernel's way into the cache: what this catches is a folder that stays, in the one for temporary
// files or in the cache, and a download that goes on.
func TestKillUnpacking(t *testing.T) {
	labtest.Need(t, labtest.Root)
	t.Parallel()
	fetch, run, matrix := []string{"kernels", "fetch", "99.1"}, []string{"run", "exp1", "--kernel=./x.deb"}, []string{"matrix", "exp1", "--kernels=./x.deb"}
	for _, tt := range []struct {
		step string
		args []string
	}{
		{"asking", fetch}, {"downloading", fetch}, {"unpacking", fetch}, {"reading", fetch}, {"storing", fetch},
		{"unpacking", run}, {"storing", run}, {"reading", matrix},
	} {
		t.Run(tt.args[0]+", "+tt.step, func(t *testing.T) {
			t.Parallel()
			for range 10 {
				u := unpack(t, tt.step, tt.args...)
				inTime := u.stop(t)
				u.kill(t)
				if !inTime {
					continue
				}
				if left := u.left(); len(left) > 0 {
					t.Errorf("got %q left, want nothing", left)
				}
				return
			}
			t.Error("10 times the kernel was stored before tcplab was stopped")
		})
	}
}

// TestKillUnpackingControl is its negative control: without the guard, which is killed first, something is left; and nobody who is not killed
// leaves more than the kernel.
func TestKillUnpackingControl(t *testing.T) {
	labtest.Need(t, labtest.Root)
	t.Parallel()
	u := unpack(t, "reading", "kernels", "fetch", "99.1")
	u.stop(t)
	for pid := range u.started.children {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	u.kill(t)
	if left := u.left(); len(left) != 2 { // of fetch and of the package
		t.Errorf("without a guard: got %q left, want two folders", left)
	}
	u = unpack(t, "", "kernels", "fetch", "99.1")
	if err := u.cmd.Wait(); err != nil {
		t.Errorf("fetch: %v", err)
	}
	if left := u.left(); len(left) != 1 {
		t.Errorf("not killed: got %q left, want the cache", left)
	}
	wantFiles(t, filepath.Join(u.dir, "cache", "tcplab", "kernels"), "99.1.0-1-cloud-amd64")
}
