//go:build lab

package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/labtest"
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

// kills is how many runs TestKill kills, and seed where it begins: `make kill KILLS=200` asks for more than CI does.
func kills(t *testing.T) (n int, seed uint64) {
	t.Helper()
	n, seed = 20, uint64(time.Now().UnixNano())
	var err error
	if v := os.Getenv("TCPLAB_KILLS"); v != "" {
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	if v := os.Getenv("TCPLAB_SEED"); v != "" {
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills, TCPLAB_SEED=%d", n, seed)
	return n, seed
}

// phase is where in a run a kill comes: so long, at most, after a line of its events; the empty line is the start of the program.
type phase struct {
	name  string
	event string
	most  time.Duration
	flags []string
}

var phases = []phase{
	{"building the lab", "", 500 * time.Millisecond, nil},
	{"the first packets", `"start":{`, 300 * time.Millisecond, nil},
	{"waiting for timers", `"event":"connecting"`, 2400 * time.Millisecond, []string{"--syn-retries=2"}}, // of 7 s: a busy machine is late to kill
	{"judging, writing and taking down", `{"end":{`, 150 * time.Millisecond, nil},
}

// TestKill kills runs at random moments of every phase, as root and without, with the one signal that nothing can catch, and wants nothing to
// be left: what this catches is a namespace with a name, a child that outlives its parent, a mount or a lock on the machine, half a result
// under the name of a whole one, and a folder without a result.
func TestKill(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	n, seed := kills(t)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := openFolder(t)
	asNobody(t, dir) // its copy of the program, before many need it
	for _, mode := range []string{"root", "rootless"} {
		if err := os.Mkdir(filepath.Join(dir, mode), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, mode), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	before := lookAtMachine(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	inLab, ended := map[string]int{}, 0
	slots := make(chan struct{}, 10)
	for i := range n {
		mode, p, after := []string{"root", "rootless"}[i%2], phases[i/2%len(phases)], time.Duration(random.Int64N(int64(time.Second)))
		after = after * p.most / time.Second
		parent := random.IntN(2) == 0
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			var cmd *exec.Cmd
			if mode == "root" {
				cmd = in(filepath.Join(dir, mode), append([]string{"run", "exp1", "--profile=fast", "--events=-"}, p.flags...)...)
			} else {
				cmd = rootless(t, dir, append([]string{"run", "exp1", "--profile=fast", "--events=-", "--out=rootless/tcplab-runs"}, p.flags...)...)
			}
			held, did := killAfter(t, cmd, p.event, after, mode == "rootless" && !parent)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case !did:
				ended++
			case held > 0:
				inLab[mode+", "+p.name]++
			}
		})
	}
	wg.Wait()
	t.Logf("%d kills, %d runs had ended before; of those killed these held a lab: %v", n, ended, inLab)
	for _, mode := range []string{"root", "rootless"} {
		for _, p := range phases[1:3] {
			if inLab[mode+", "+p.name] == 0 {
				t.Errorf("%s, %s: got no run that held a namespace when it was killed, want one or more, or this test shows nothing", mode, p.name)
			}
		}
		wantWhole(t, filepath.Join(dir, mode))
	}
	if after := lookAtMachine(t); after != before {
		t.Errorf("the machine: got %+v, want %+v", after, before)
	}
}

// killAfter starts a run and kills it so long after an event, stopped first so that what it holds can be written down: the process itself or,
// without root, perhaps the one that does the work. It returns how many namespaces it held; did is false where it had ended before.
func killAfter(t *testing.T, cmd *exec.Cmd, event string, after time.Duration, child bool) (namespaces int, did bool) {
	events, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return 0, false
	}
	lines := bufio.NewReader(events)
	for line := ""; !strings.Contains(line, event); {
		if line, err = lines.ReadString('\n'); err != nil {
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }() // until Wait closes it
	<-time.After(after)                               // the random moment is the test
	defer func() { _ = cmd.Wait() }()                 // "signal: killed", mostly
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		if !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		return 0, false
	}
	h := holdings(t, cmd.Process.Pid)
	target := cmd.Process.Pid
	for pid := range maps.Clone(h.children) {
		inner := holdings(t, pid) // a client has neither
		maps.Copy(h.namespaces, inner.namespaces)
		maps.Copy(h.children, inner.children)
		if child && len(inner.children) > 0 {
			target = pid
		}
	}
	if err := syscall.Kill(target, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
	_ = cmd.Process.Signal(syscall.SIGCONT) // where it is not the target it is to see the end of its child
	h.gone(t)
	return len(h.namespaces), true
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
