//go:build lab

package cli

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// held is what a process has in its hands: the network namespaces that its threads and descriptors hold, and its children.
type held struct {
	namespaces map[uint64]bool
	children   map[int]string // start time, which tells a process from a later one of the same number
}

// holdings looks at a process. Its own first namespace, the machine's, is not counted.
func holdings(t *testing.T, pid int) *held {
	t.Helper()
	h := &held{namespaces: map[uint64]bool{}, children: map[int]string{}}
	for inode := range namespacesOf(pid) {
		if inode != hostNamespace(t) {
			h.namespaces[inode] = true
		}
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range tasks {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the thread ended
		}
		for _, f := range strings.Fields(string(b)) {
			child, err := strconv.Atoi(f)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if s := startTime(child); s != "" {
				h.children[child] = s
			}
		}
	}
	return h
}

func hostNamespace(t *testing.T) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// namespacesOf finds the network namespaces that a process's threads are in and its descriptors hold.
func namespacesOf(pid int) map[uint64]bool {
	found := map[uint64]bool{}
	for _, pattern := range []string{"/proc/%d/task/*/ns/net", "/proc/%d/fd/*"} {
		paths, _ := filepath.Glob(fmt.Sprintf(pattern, pid)) // the patterns are sound
		for _, p := range paths {
			link, err := os.Readlink(p)
			if err != nil {
				continue // gone meanwhile
			}
			if n, ok := strings.CutPrefix(link, "net:["); ok {
				if inode, err := strconv.ParseUint(strings.TrimSuffix(n, "]"), 10, 64); err == nil {
					found[inode] = true
				}
			}
		}
	}
	return found
}

// startTime is field 22 of /proc/PID/stat; empty where there is no such process, or only what is left of one.
func startTime(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 20 || f[0] == "Z" {
		return ""
	}
	return f[19]
}

// gone waits until each namespace was seen without a holder, and each child is dead. A namespace's number is given again soon, so one
// look without a holder is the proof, and a run that other tests have in progress is none: what a dead one left is nobody's child.
func (h *held) gone(t *testing.T) {
	t.Helper()
	const gone = 30 * time.Second // on a busy machine
	left := maps.Clone(h.namespaces)
	deadline := time.After(gone)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		now := everyNamespace(t, ofLiveRuns)
		maps.DeleteFunc(left, func(n uint64, _ bool) bool { return !now[n] })
		maps.DeleteFunc(h.children, func(pid int, started string) bool { return startTime(pid) != started })
		if len(left) == 0 && len(h.children) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("%v after the end: namespaces %v are held and processes %v live, want none", gone, holders(left), h.children)
			return
		}
	}
}

// holders says who holds each namespace.
func holders(namespaces map[uint64]bool) map[uint64][]string {
	who := map[uint64][]string{}
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is sound
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		for n := range namespacesOf(pid) {
			if namespaces[n] {
				stat, _ := os.ReadFile(dir + "/stat")
				line, _ := os.ReadFile(dir + "/cmdline")
				who[n] = append(who[n], fmt.Sprintf("%.60s: %q", stat, line))
			}
		}
	}
	return who
}

// everyNamespace finds the network namespaces of all processes but some.
func everyNamespace(t *testing.T, except func(pid int) bool) map[uint64]bool {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	all := map[uint64]bool{}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && !except(pid) {
			maps.Copy(all, namespacesOf(pid))
		}
	}
	return all
}

// ofLiveRuns reports whether a process descends from this one: its parent, or that one's, has not ended.
func ofLiveRuns(pid int) bool {
	for pid > 1 && pid != os.Getpid() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return false
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		if len(f) < 2 {
			return false
		}
		if pid, err = strconv.Atoi(f[1]); err != nil {
			return false
		}
	}
	return pid == os.Getpid()
}

// TestHoldings is the negative control of gone and holdings: a run in progress holds two namespaces, a client and a guard, and everyNamespace
// shows them. A look that saw nothing would find nothing left behind either.
func TestHoldings(t *testing.T) {
	t.Parallel()
	u := start(t, "--syn-retries=5") // still in progress when a busy machine has looked
	h := holdings(t, u.cmd.Process.Pid)
	if len(h.namespaces) != 2 || len(h.children) != 2 {
		t.Errorf("a run in progress: got namespaces %v and children %v, want 2 and 2", h.namespaces, h.children)
	}
	all, others := everyNamespace(t, func(int) bool { return false }), everyNamespace(t, ofLiveRuns)
	for n := range h.namespaces {
		if !all[n] || others[n] {
			t.Errorf("namespace %d: got it seen %t, and held by others %t, want true and false", n, all[n], others[n])
		}
	}
	u.signal(t, syscall.SIGTERM)
	u.wait(t)
	h.gone(t)
}

// machine is what a run must leave as it was.
type machine struct{ Links, Mounts, Run, Lock, Rules string }

func lookAtMachine(t *testing.T) machine {
	t.Helper()
	var m machine
	links, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		m.Links += l.Name() + " "
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	m.Mounts = string(mounts)
	run, err := os.ReadDir("/run")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range run {
		m.Run += f.Name() + " "
	}
	// iptables-legacy locks this file. A lab has a /run of its own, so that the machine's firewall scripts are never held up.
	if st, err := os.Stat("/run/xtables.lock"); err == nil {
		m.Lock = st.ModTime().String()
	}
	for _, c := range [][]string{{"iptables-save"}, {"ip6tables-save"}, {"nft", "list", "ruleset"}} {
		out, errs, code := runHere(t, exec.Command(c[0], c[1:]...))
		if code != 0 {
			t.Fatalf("%v: got exit code %d, want 0: %s", c, code, errs)
		}
		m.Rules += strings.Join(c, " ") + ":\n" + comments(out)
	}
	return m
}

// TestKillHanging kills tcplab while an iptables hangs that it has started, and what that has started in turn. Nothing of the kernel's ends
// those: the guard does.
func TestKillHanging(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"root", "rootless"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dir := openFolder(t)
			cmd := rootless(t, dir, "run", "exp1", "--profile=fast")
			if mode == "root" {
				cmd = in(dir, "run", "exp1", "--profile=fast")
			}
			fakeIPTables(t, dir, `sleep 1000 & echo >>hangs; sleep 1000`)
			cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, ".bin")+":"+os.Getenv("PATH"))
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, filepath.Join(dir, "hangs"))
			left := descendants(t, cmd.Process.Pid)
			if len(left) < 3 { // the guard, iptables, and what that started
				t.Errorf("a hanging iptables: got processes %v, want 3 or more", left)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // "signal: killed"
			(&held{children: left}).gone(t)
			wantFiles(t, dir, "hangs")
		})
	}
}

// fakeIPTables puts an iptables in front of PATH that says its version, and does what a script says for everything else.
func fakeIPTables(t *testing.T, dir, script string) {
	t.Helper()
	bin := filepath.Join(dir, ".bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	real, err := exec.LookPath("iptables")
	if err != nil {
		t.Fatal(err)
	}
	text := "#!/bin/sh\nreal=" + real + "\n[ \"$1\" = --version ] && exec $real --version\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(bin, "iptables"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// waitFor waits until there is a file.
func waitFor(t *testing.T, path string) {
	t.Helper()
	await(t, path, 10*time.Millisecond, func() bool { _, err := os.Stat(path); return err == nil })
}

// descendants are the processes that a process has started, and those in turn, with their start times.
func descendants(t *testing.T, pid int) map[int]string {
	t.Helper()
	all := holdings(t, pid).children
	for child := range maps.Clone(all) {
		maps.Copy(all, descendants(t, child))
	}
	return all
}
