package labtest

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain runs the check on the check's own tests: the leaks below must be mended by them.
func TestMain(m *testing.M) { os.Exit(Leaks(m)) }

// TestLeaksReports is the negative control of every TestMain: each kind of leak must be seen and must turn the exit code.
func TestLeaksReports(t *testing.T) {
	tests := []struct {
		name string
		leak func(t *testing.T) // leaves something behind and mends it in t.Cleanup
		want string             // part of the report
	}{
		{"descriptor", func(t *testing.T) {
			f, err := os.Open("leaks_test.go")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { closed(t, f) })
		}, "internal/labtest/leaks_test.go"},
		{"goroutine", func(t *testing.T) {
			stop, done := make(chan struct{}), make(chan struct{})
			go waitFor(stop, done)
			t.Cleanup(func() { close(stop); <-done })
		}, "labtest.waitFor("},
		{"child that runs", func(t *testing.T) {
			startSleeper(t, "sleep", "60")
		}, "(sleep), state S"},
		{"child that was never waited for", func(t *testing.T) {
			cmd := exec.Command("true")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			await(t, cmd.Process.Pid, "true", "Z")
			t.Cleanup(func() { waited(t, cmd) })
		}, "(true), state Z"},
		{"orphan", leaveOrphan, "(sleep), state S, parent "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			code := leaks(func() int { tt.leak(t); return 0 }, 300*time.Millisecond, &out)
			if code != 1 {
				t.Errorf("got exit code %d, want 1", code)
			}
			if got := out.String(); !strings.Contains(got, tt.want) {
				t.Errorf("got report %q, want it to hold %q", got, tt.want)
			}
		})
	}
}

// TestLeaksQuiet catches a check that cries wolf (about what settles, or about the poller of the first socket), and one that
// swallows the tests' own exit code.
func TestLeaksQuiet(t *testing.T) {
	tests := []struct {
		name string
		run  func(t *testing.T) int
		want int
	}{
		{"nothing", func(*testing.T) int { return 0 }, 0},
		{"failing tests", func(*testing.T) int { return 2 }, 2},
		{"a goroutine that ends soon", func(*testing.T) int {
			stop, done := make(chan struct{}), make(chan struct{})
			go waitFor(stop, done)
			time.AfterFunc(100*time.Millisecond, func() { close(stop) })
			return 0
		}, 0},
		{"a child that is waited for", func(t *testing.T) int {
			if err := exec.Command("true").Run(); err != nil {
				t.Error(err)
			}
			return 0
		}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			got := leaks(func() int { return tt.run(t) }, time.Minute, &out)
			if got != tt.want || out.Len() > 0 {
				t.Errorf("got exit code %d and report %q, want %d and no report", got, out.String(), tt.want)
			}
		})
	}
}

// TestSnapshotMinus catches a difference taken the wrong way round: what ended during the tests is no leak.
func TestSnapshotMinus(t *testing.T) {
	before := snapshot{"fd 1 a": "descriptor 1", "link 2": "link 2"}
	after := snapshot{"fd 1 a": "descriptor 1", "ns 9": "namespace 9", "fd 1 b": "descriptor 1: b"}
	want := []string{"descriptor 1: b", "namespace 9"}
	if diff := cmp.Diff(want, after.minus(before)); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
}

// TestParseStat catches splitting at the first bracket or space of a process's name, which the process chooses itself.
func TestParseStat(t *testing.T) {
	const tail = " S 7 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 424242 1 1"
	tests := []struct {
		name, stat string
		want       process
		wantErr    string
	}{
		{"plain", "12 (sleep)" + tail, process{"sleep", "S", "7", "424242"}, ""},
		{"brackets and spaces", "12 (a) b (c)" + tail, process{"a) b (c", "S", "7", "424242"}, ""},
		{"no name", "12 sleep S 7", process{}, "want the name in brackets"},
		{"cut off", "12 (sleep) S 7", process{}, "got 2 fields after the name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat(tt.stat)
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("got error %v, want %q", err, tt.wantErr)
			}
		})
	}
}

// TestNsfsMounts catches missing a namespace that ip netns add made, and taking a mount or pid namespace for a network one.
func TestNsfsMounts(t *testing.T) {
	const mountinfo = "22 1 0:20 / /proc rw,nosuid - proc proc rw\n" +
		"90 24 0:4 net:[4026532281] /run/netns/client rw shared:9 - nsfs nsfs rw\n" +
		"91 24 0:4 mnt:[4026532290] /run/mnt/x rw - nsfs nsfs rw\n" +
		"broken\n"
	want := []string{"/run/netns/client net:[4026532281]"}
	if diff := cmp.Diff(want, nsfsMounts(mountinfo)); diff != "" {
		t.Errorf("named namespaces (-want +got):\n%s", diff)
	}
}

// TestMarker catches a marker that matches the beginning of another process's marker, or a value.
func TestMarker(t *testing.T) {
	tests := []struct {
		name, environ string
		want          bool
	}{
		{"first", "TCPLAB_LEAKS_12=1\x00HOME=/\x00", true},
		{"last", "HOME=/\x00TCPLAB_LEAKS_12=1\x00", true},
		{"longer number", "TCPLAB_LEAKS_123=1\x00", false},
		{"inside a value", "X=TCPLAB_LEAKS_12=1\x00", false},
		{"empty", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := marker("TCPLAB_LEAKS_12").in([]byte(tt.environ)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// waitFor is a goroutine with a name that the report must show.
func waitFor(stop <-chan struct{}, done chan<- struct{}) {
	<-stop
	close(done)
}

// await waits until a process has this name and state: what a program is before that, on a busy machine, is another report.
func await(t *testing.T, pid int, name, state string) {
	t.Helper()
	deadline, tick := time.After(time.Minute), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		p, err := parseStat(string(stat))
		if err != nil {
			t.Fatal(err)
		}
		if p.name == name && p.state == state {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("process %d: got %+v after a minute, want %s in state %s", pid, p, name, state)
		}
	}
}

// startSleeper starts a child that becomes sleep(1), and ends it when the test is over.
func startSleeper(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // reports the signal just sent
	})
	await(t, cmd.Process.Pid, "sleep", "S")
}

// leaveOrphan starts a process whose parent ends at once. The pipe closes when the orphan has ended.
func leaveOrphan(t *testing.T) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "sleep 60 >/dev/null & echo $! >&4")
	pidR, pidW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{w, pidW} // descriptors 3 and 4
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	closed(t, w)
	closed(t, pidW)
	pid := make([]byte, 16)
	n, err := pidR.Read(pid)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, pidR)
	orphan, err := strconv.Atoi(strings.TrimSpace(string(pid[:n])))
	if err != nil {
		t.Fatal(err)
	}
	await(t, orphan, "sleep", "S")
	t.Cleanup(func() {
		if err := syscall.Kill(orphan, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadAll(r); err != nil {
			t.Error(err)
		}
		closed(t, r)
	})
}

func closed(t *testing.T, f *os.File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// waited reaps a child that ended by itself.
func waited(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
