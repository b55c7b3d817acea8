package stall

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const helperEnv = "TCPLAB_STALL_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		os.Exit(helper())
	}
	os.Exit(m.Run())
}

// helper watches until its input ends and it has seen a stall of 40 ms, or half a minute has passed; then it prints what it saw.
func helper() int {
	w, err := Watch(2 * time.Millisecond)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return 1
	}
	eventually(func() bool {
		for _, s := range w.Stalls() {
			if s.For > 40*time.Millisecond {
				return true
			}
		}
		return false
	})
	if err := json.NewEncoder(os.Stdout).Encode(w.Stop()); err != nil {
		return 1
	}
	return 0
}

// eventually looks again and again until ok, and reports false after half a minute.
func eventually(ok func() bool) bool {
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

// TestStopped stops the watcher's whole process for 60 ms and reads what it noticed. It catches a watcher that sees nothing, or that
// measures from the wrong end.
func TestStopped(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	out := bufio.NewReader(stdout)
	if line, err := out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("helper: got %q, %v, want ready", line, err)
	}

	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(cmd.Process.Pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("wait for the stop: got %v, %v, want stopped", status, err)
	}
	from := now()
	<-time.After(60 * time.Millisecond) // the stall itself
	to := now()
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	var stalls []Stall
	if err := json.NewDecoder(out).Decode(&stalls); err != nil {
		t.Fatal(err)
	}
	after := now()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, s := range stalls { // a busy machine may have been late before, and may be late afterwards
		if s.Due <= from+period && s.Due+s.For >= to && s.Due+s.For <= after {
			return
		}
	}
	t.Errorf("got %v, want a stall from %v or before to %v or after, and to %v at most", stalls, from+period, to, after)
}

// TestEveryProcessor calls every look a stall. It catches watchers that are not spread: a stalled processor would go unseen.
func TestEveryProcessor(t *testing.T) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	w, err := Watch(-time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cpus := map[int]bool{}
	if !eventually(func() bool {
		for _, s := range w.Stalls() {
			cpus[s.CPU] = set.IsSet(s.CPU)
		}
		return len(cpus) == set.Count()
	}) {
		t.Errorf("got looks on %v, want all %d processors", cpus, set.Count())
	}
	for cpu, ours := range cpus {
		if !ours {
			t.Errorf("got a look on processor %d, want only those that this process may use", cpu)
		}
	}
	last := time.Duration(0)
	for _, s := range w.Stop() {
		if s.Due < last {
			t.Errorf("got %v after %v, want them by time", s.Due, last)
		}
		last = s.Due
	}
}

// TestStop catches a second Stop that panics, looks after Stop, and watchers that stay behind.
func TestStop(t *testing.T) {
	w, err := Watch(-time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return len(w.Stalls()) > 0 }) {
		t.Fatal("got no look in half a minute, want one every 4 ms")
	}
	n := len(w.Stop())
	if again := len(w.Stop()); again != n {
		t.Errorf("second Stop: got %d looks, want %d as the first time", again, n)
	}
	if n := watching(); n > 0 {
		t.Errorf("got %d watching after Stop, want none", n)
	}
}

// TestRest counts the looks of a crew that expects nothing: it catches one that goes on as if something were due, which is felt where many runs
// wait, one that sleeps through the beginning of a span or is late for it, and one that a new watcher does not wake.
func TestRest(t *testing.T) {
	const every = 7 * time.Hour // a threshold of this test's own: every look is a stall
	w, err := Watch(-every)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	began := now()
	span := Span{began + 350*time.Millisecond, began + 450*time.Millisecond}
	w.Expect([]Span{{began - time.Second, began - time.Millisecond}, span})
	looks := func(from, to time.Duration) (n int) {
		cpus := len(w.crew.threads)
		for _, s := range w.Stalls() {
			if at := s.Due + s.For; at >= from && at <= to {
				n++
			}
		}
		return n / cpus
	}
	if !eventually(func() bool { return now() > span.To+250*time.Millisecond }) {
		t.Fatal("time stands still")
	}
	// A busy machine looks less often, never more.
	if n := looks(began+20*time.Millisecond, span.From-period); n > 5 {
		t.Errorf("got %d looks of each processor in the 326 ms before something is due, want 4, and 5 at most", n)
	}
	if n := looks(span.To+period, span.To+250*time.Millisecond); n > 4 {
		t.Errorf("got %d looks of each processor in the 246 ms after it, want 3, and 4 at most", n)
	}
	// Or one was due before and came after: what lies between is on record.
	if !slices.ContainsFunc(w.Stalls(), func(s Stall) bool { return s.Due <= span.From+period && s.Due+s.For >= span.From }) {
		t.Errorf("no look was due when the span began, at %v: got %v", span.From, w.Stalls())
	}
	second, err := Watch(-every)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Stop()
	joined := now()
	if !eventually(func() bool { return looks(joined, joined+time.Hour) > 20 }) {
		t.Error("a crew with a watcher that expects something at any time still rests")
	}
	first := map[int]Stall{}
	for _, s := range second.Stalls() {
		if _, ok := first[s.CPU]; !ok && s.Due+s.For >= joined {
			first[s.CPU] = s
		}
	}
	for cpu, s := range first { // what stalls it meanwhile would not go unseen
		if s.Due > joined+period {
			t.Errorf("processor %d: the first look for a watcher that joined at %v was due at %v", cpu, joined, s.Due)
		}
	}
}

// TestShared has two watchers of one crew: each sees the stalls from its own beginning on, and the threads end with the last of them.
// It catches a crew for each watcher, which makes a machine with many labs late by itself, and a record that a neighbour's end cuts off.
func TestShared(t *testing.T) {
	first, err := Watch(2 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Stop()
	threads := len(first.crew.threads)
	if n := watching(); n != threads {
		t.Fatalf("got %d threads, want the %d of one crew", n, threads)
	}
	old := Stall{Due: now() - time.Second, For: 3 * time.Millisecond, CPU: 7}
	first.from = old.Due - time.Second
	note := func(s Stall) {
		first.crew.mu.Lock()
		defer first.crew.mu.Unlock()
		first.crew.stalls = append(first.crew.stalls, s)
	}
	note(old)
	second, err := Watch(2 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if n := watching(); n != threads {
		t.Errorf("a second watcher: %d threads, want the %d that were there", n, threads)
	}
	late := Stall{Due: now(), For: 3 * time.Millisecond, CPU: 8}
	note(late)
	if got := first.Stalls(); !slices.Contains(got, old) || !slices.Contains(got, late) {
		t.Errorf("the first watcher saw %v, want %v and %v in it", got, old, late)
	}
	if got := second.Stalls(); slices.Contains(got, old) || !slices.Contains(got, late) {
		t.Errorf("the second watcher saw %v, want %v in it and not %v", got, late, old)
	}
	first.Stop()
	if got := first.Stop(); !slices.Contains(got, old) {
		t.Errorf("stopped twice, the first watcher saw %v, want %v in it", got, old)
	}
	second.crew.mu.Lock() // the threads still note what they see
	kept := slices.Contains(second.crew.stalls, old)
	second.crew.mu.Unlock()
	if kept {
		t.Error("what is older than every watcher was not forgotten")
	}
	if got := second.Stop(); !slices.Contains(got, late) {
		t.Errorf("the second watcher saw %v, want %v in it", got, late)
	}
	if len(crews.of) != 0 {
		t.Errorf("after the last Stop there are %d crews", len(crews.of))
	}
}

// watching counts the goroutines that watch, each on a thread of its own.
func watching() int {
	buf := make([]byte, 1<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), "(*crew).watch(")
}
