//go:build lab && !race

// A guest is a process of its own, which the race detector does not see; its tests run once, without.

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/pcapout"
)

var otherKernels = []string{"6.1", "6.12"}

// machinesHere is what runs in virtual time need.
var machinesHere = labtest.Requirement{Name: "QEMU and the kernels 6.1 and 6.12", Missing: func() string {
	_, err := vm.FindEngine()
	for _, k := range otherKernels {
		if err == nil {
			_, err = vm.Find(k, nil)
		}
	}
	if err != nil {
		return err.Error()
	}
	return ""
}}

// released is the program as it is released, built once for all tests.
func released(t *testing.T) string {
	t.Helper()
	linking.Lock()
	defer linking.Unlock()
	if programFolder == "" {
		dir, err := os.MkdirTemp("", "tcplab-program-")
		if err != nil {
			t.Fatal(err)
		}
		programFolder = dir
		staticProgram(t, dir)
	}
	return filepath.Join(programFolder, "tcplab")
}

var linking sync.Mutex

// staticProgram builds the program as it is released.
func staticProgram(t *testing.T, dir string) string {
	t.Helper()
	program := filepath.Join(dir, "tcplab")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "../../cmd/tcplab")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return program
}

// Runs in virtual time leave the same each time, on each kernel: of twenty runs in four boots, each one what the run in its place left in
// the others. Something of a busy host's time may leak into one (docs/adr/0013), and what comes after it: then two boots more must be as the rest. Another parameter, and another place in the boot, leave something else. The command line and the version of the program
// are part of a result, so they are the same here; everything else is compared, the wall clock of the guest included.
func TestRunOnOtherKernels(t *testing.T) {
	labtest.Need(t, labtest.IPTables, machinesHere)
	const boots, runs = 4, 5
	program := released(t)
	for _, kernel := range otherKernels {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			k, err := vm.Find(kernel, nil)
			if err != nil || len(typesOf(k, nil)) == 0 { // else each guest decodes all of its kernel's, and says nothing
				t.Errorf("got no types of the kernel for the guest, %v", err)
			}
			out := filepath.Join(t.TempDir(), "runs")
			var made [][]map[string][]byte
			again := func() {
				made = append(made, makeRuns(t, program, out, "--kernel="+kernel, "--repeat="+strconv.Itoa(runs)))
			}
			for boot := range boots {
				if boot == 2 { // a guest that is booted again is the same as the one that was kept
					_ = os.Remove(filepath.Join(k.Dir, "booted"))
				}
				again()
			}
			usual, odd := oddBoots(made)
			if len(odd) == 1 {
				t.Logf("another than the others, so two more: %v", odd)
				again()
				again()
				usual, odd = oddBoots(made)
			}
			if len(odd) > 1 {
				t.Errorf("%d boots: got %d that are not as the others, want one at most: %v", len(made), len(odd), odd)
			}
			first := made[usual]
			t.Logf("%d of %d runs are the same to the byte", sameBytes(first, made)-runs, (len(made)-1)*runs)
			if sameRun(first[0], first[1]) == nil {
				t.Error("the first and the second run of one boot are the same: the comparison sees nothing")
			}
			other := makeRuns(t, program, out, "--kernel="+kernel, "--syn-retries=2")
			if sameCapture(first[0]["client.pcapng"], other[0]["client.pcapng"]) == nil {
				t.Error("another number of retries gave the same capture")
			}
			r, err := result.Read(bytes.NewReader(first[0]["result.json"]))
			if err != nil || !strings.HasPrefix(r.Kernel.Release, kernel+".") || !r.Clock.Known {
				t.Errorf("got a result of %+v, %v, clock %+v", r.Kernel.Release, err, r.Clock)
			} else if err := toldOf(r); err != nil {
				t.Errorf("the kernel's evidence: %v", err)
			}
		})
	}
}

// oddBoots says which boot most others are the same as, run by run, and how those that are not differ from it.
func oddBoots(made [][]map[string][]byte) (usual int, odd []error) {
	for a := range made {
		var others []error
		for b := range made {
			for n := range made[b] {
				if err := sameRun(made[a][n], made[b][n]); err != nil {
					others = append(others, fmt.Errorf("boot %d, run %d: %w", b+1, n+1, err))
					break
				}
			}
		}
		if a == 0 || len(others) < len(odd) {
			usual, odd = a, others
		}
	}
	return usual, odd
}

// sameBytes counts the runs that are the same to the byte as those of one boot.
func sameBytes(first []map[string][]byte, made [][]map[string][]byte) (n int) {
	for _, runs := range made {
		for i := range runs {
			if maps.EqualFunc(first[i], runs[i], bytes.Equal) {
				n++
			}
		}
	}
	return n
}

// TestOddBoots is the negative control of TestRunOnOtherKernels: it catches a comparison that takes the first boot for the usual one, and one that
// does not see that every boot is another.
func TestOddBoots(t *testing.T) {
	for _, tt := range []struct {
		boots      string // a letter for each
		usual, odd int
	}{{"aaaa", 0, 0}, {"baaa", 1, 1}, {"abaa", 0, 1}, {"aabb", 0, 2}, {"abcd", 0, 3}, {"abaaca", 0, 2}} {
		var made [][]map[string][]byte
		for _, letter := range tt.boots {
			made = append(made, []map[string][]byte{{"ladder.txt": []byte("same")}, {"ladder.txt": []byte(string(letter))}})
		}
		if usual, odd := oddBoots(made); usual != tt.usual || len(odd) != tt.odd {
			t.Errorf("%s: got boot %d and %v, want %d and %d others", tt.boots, usual, odd, tt.usual, tt.odd)
		}
	}
}

// makeRuns makes runs of exp1 and returns the files of each. The folder is gone afterwards: its name is in the result.
func makeRuns(t *testing.T, program, out string, args ...string) []map[string][]byte {
	t.Helper()
	cmd := exec.Command(program, append([]string{"run", "exp1-syn-loss", "--profile=fast", "--out=" + out}, args...)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, text)
	}
	dirs, err := filepath.Glob(filepath.Join(out, "2*-exp1-syn-loss*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("got folders %v, %v", dirs, err)
	}
	var all []map[string][]byte
	for _, dir := range dirs {
		files := map[string][]byte{}
		for _, name := range []string{"result.json", "events.ndjson", "client.pcapng", "server.pcapng", "junit.xml", "ladder.txt"} {
			if files[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, drawn := range []string{"ladder.svg", "report.html"} { // from result.json alone
			if info, err := os.Stat(filepath.Join(dir, drawn)); err != nil || info.Size() == 0 {
				t.Fatalf("%s: %v", drawn, err)
			}
		}
		all = append(all, files)
	}
	if err := os.RemoveAll(out); err != nil {
		t.Fatal(err)
	}
	return all
}

// sameRun compares the files of two runs: byte for byte, but for times, which are compared to the microsecond.
func sameRun(a, b map[string][]byte) error {
	for name := range a {
		var err error
		switch filepath.Ext(name) {
		case ".pcapng":
			err = sameCapture(a[name], b[name])
		case ".json", ".ndjson":
			err = sameJSON(a[name], b[name])
		default:
			if !bytes.Equal(a[name], b[name]) {
				err = errors.New("other bytes")
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// jsonTime is a number with a fraction, or an instant: what a time looks like in a result.
var jsonTime = regexp.MustCompile(`-?\d+\.\d+|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// sameJSON compares everything but times as it is.
func sameJSON(a, b []byte) error {
	if x, y := jsonTime.ReplaceAll(a, nil), jsonTime.ReplaceAll(b, nil); !bytes.Equal(x, y) {
		return errors.New("other words")
	}
	x, y := jsonTime.FindAllString(string(a), -1), jsonTime.FindAllString(string(b), -1)
	for i := range x {
		if d := (jsonNanos(x[i]) - jsonNanos(y[i])).Abs(); d > time.Microsecond {
			return fmt.Errorf("time %d: %s and %s", i+1, x[i], y[i])
		}
	}
	return nil
}

func jsonNanos(s string) time.Duration {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return time.Duration(t.UnixNano())
	}
	f, _ := strconv.ParseFloat(s, 64)
	return time.Duration(f * 1e9)
}

// sameCapture compares packets, byte for byte, and their times to the microsecond: of the nanoseconds a few leak from the host.
func sameCapture(a, b []byte) error {
	x, err := pcapout.Read(bytes.NewReader(a))
	if err != nil {
		return err
	}
	y, err := pcapout.Read(bytes.NewReader(b))
	if err != nil {
		return err
	}
	if len(x.Records) != len(y.Records) {
		return fmt.Errorf("%d packets and %d", len(x.Records), len(y.Records))
	}
	for i, p := range x.Records {
		q := y.Records[i]
		if d := p.Time.Sub(q.Time).Abs(); !bytes.Equal(p.Data, q.Data) || d > time.Microsecond {
			return fmt.Errorf("packet %d: other bytes, or %v apart", i+1, d)
		}
	}
	return nil
}

// toldOf wants the kernel's account of each SYN's end.
func toldOf(r *result.Result) error {
	if r.Evidence == nil || !r.Evidence.Tracepoints || len(r.Packets) == 0 {
		return fmt.Errorf("there is none: notes %+v", r.Notes)
	}
	for _, p := range r.Packets {
		if p.DropReason != "NETFILTER_DROP" || p.DropHook == "" || (p.N > 0) != (p.Cause == "RTO") {
			return fmt.Errorf("packet %d, %s: dropped by %q in %q, cause %q", p.ID, p.What, p.DropReason, p.DropHook, p.Cause)
		}
	}
	return nil
}
