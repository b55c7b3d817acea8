//go:build lab && !race

// A guest is a process of its own, which the race detector does not see; its tests run once, without.

package cli

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/vm"
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

// Runs in virtual time leave the same each time, to the byte, on each kernel: of twenty-one runs of seven commands, from a guest that was kept and from one
// that was booted again, each one what the run in its place left in the others. Another parameter, and another place in the boot, leave something else. The
// command line and the version of the program are part of a result, so they are the same here; everything else is compared, the wall clock of the guest included.
func TestRunOnOtherKernels(t *testing.T) {
	labtest.Need(t, labtest.IPTables, machinesHere)
	const commands, runs = 7, 3
	program := released(t)
	for _, kernel := range otherKernels {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			k, err := vm.Find(kernel, nil)
			if err != nil || len(typesOf(k, nil)) == 0 { // else each guest decodes all of its kernel's, and says nothing
				t.Errorf("got no types of the kernel for the guest, %v", err)
			}
			out := filepath.Join(t.TempDir(), "runs")
			var first []map[string][]byte
			for n := range commands {
				if n == 3 { // a guest that is booted again is the same as the one that was kept
					_ = os.Remove(filepath.Join(k.Dir, "booted"))
				}
				made := makeRuns(t, program, out, "--kernel="+kernel, "--repeat="+strconv.Itoa(runs))
				if len(made) != runs {
					t.Fatalf("got %d runs, want %d", len(made), runs)
				}
				if first == nil {
					first = made
				}
				for i := range made {
					if err := sameFiles(first[i], made[i]); err != nil {
						t.Errorf("command %d, run %d: %v", n+1, i+1, err)
					}
				}
			}
			if sameFiles(first[0], first[1]) == nil {
				t.Error("the first and the second run of one boot are the same: the comparison sees nothing")
			}
			other := makeRuns(t, program, out, "--kernel="+kernel, "--syn-retries=2")
			if bytes.Equal(first[0]["client.pcapng"], other[0]["client.pcapng"]) {
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
		all = append(all, filesOf(t, dir))
	}
	if err := os.RemoveAll(out); err != nil {
		t.Fatal(err)
	}
	return all
}

// filesOf are those files of a run that another run like it must have, too.
func filesOf(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, name := range []string{"result.json", "events.ndjson", "client.pcapng", "server.pcapng", "junit.xml", "ladder.txt"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = b
	}
	for _, drawn := range []string{"ladder.svg", "report.html"} { // from result.json alone
		if info, err := os.Stat(filepath.Join(dir, drawn)); err != nil || info.Size() == 0 {
			t.Fatalf("%s: %v", drawn, err)
		}
	}
	return files
}

// sameFiles names the first file of two runs that differs in any byte.
func sameFiles(a, b map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if !bytes.Equal(a[name], b[name]) {
			return fmt.Errorf("%s: %d bytes and %d, from byte %d on others", name, len(a[name]), len(b[name]), common(a[name], b[name]))
		}
	}
	return nil
}

// common counts the bytes in front that are the same.
func common(a, b []byte) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
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
