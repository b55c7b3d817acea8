//go:build lab

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
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
// look without a holder is the proof.
func (h *held) gone(t *testing.T) {
	t.Helper()
	left := maps.Clone(h.namespaces)
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		now := everyNamespace(t)
		maps.DeleteFunc(left, func(n uint64, _ bool) bool { return !now[n] })
		maps.DeleteFunc(h.children, func(pid int, started string) bool { return startTime(pid) != started })
		if len(left) == 0 && len(h.children) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("10 s after the end: namespaces %v are held and processes %v live, want none", slices.Collect(maps.Keys(left)), h.children)
			return
		}
	}
}

// everyNamespace finds the network namespaces of all processes.
func everyNamespace(t *testing.T) map[uint64]bool {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	all := map[uint64]bool{}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			maps.Copy(all, namespacesOf(pid))
		}
	}
	return all
}

// TestHoldings is the negative control of gone and holdings: a run in progress holds two namespaces and a client, and everyNamespace
// shows them. A look that saw nothing would find nothing left behind either.
func TestHoldings(t *testing.T) {
	t.Parallel()
	u := start(t)
	h := holdings(t, u.cmd.Process.Pid)
	if len(h.namespaces) != 2 || len(h.children) != 1 {
		t.Errorf("a run in progress: got namespaces %v and children %v, want 2 and 1", h.namespaces, h.children)
	}
	all := everyNamespace(t)
	for n := range h.namespaces {
		if !all[n] {
			t.Errorf("namespace %d: got it unseen by everyNamespace, want it seen", n)
		}
	}
	u.signal(t, syscall.SIGTERM)
	u.wait(t)
	h.gone(t)
}

// machine is what a run must leave as it was.
type machine struct{ Links, Mounts, Run, Lock string }

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
	return m
}

// TestKill kills 20 runs at random moments, with the one signal that nothing can catch, and wants the kernel to have undone everything:
// what this catches is a namespace with a name, a child that outlives its parent, a mount or a lock on the machine, and half a result
// under the name of a whole one. What is left is a folder, with what had been written until then: events.ndjson, perhaps a .part file.
func TestKill(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := openFolder(t)
	before := lookAtMachine(t)
	var wg sync.WaitGroup
	var inLab atomic.Int32
	for range 20 {
		after := time.Duration(random.Int64N(int64(3600 * time.Millisecond)))
		wg.Go(func() {
			if killAfter(t, dir, after) > 0 {
				inLab.Add(1)
			}
		})
	}
	wg.Wait()
	if n := inLab.Load(); n < 5 {
		t.Errorf("runs that held a namespace when they were killed: got %d of 20, want 5 or more, or this test shows nothing", n)
	}
	if after := lookAtMachine(t); after != before {
		t.Errorf("the machine: got %+v, want %+v", after, before)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "result.json" {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := result.Read(f); err != nil {
			t.Errorf("%s: got %v, want a whole result or none", path, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// killAfter starts a run and kills it, stopped first so that what it holds can be written down. It returns how many namespaces it held.
func killAfter(t *testing.T, dir string, after time.Duration) int {
	cmd := in(dir, "run", "exp1", "--profile=fast")
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return 0
	}
	<-time.After(after) // the random moment is the test
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		if !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		_ = cmd.Wait() // ended by itself before its moment came
		return 0
	}
	h := holdings(t, cmd.Process.Pid)
	n := len(h.namespaces)
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	_ = cmd.Wait() // "signal: killed"
	h.gone(t)
	return n
}
