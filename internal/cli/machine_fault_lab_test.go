//go:build lab && !race

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// onSmallDisk runs the program with its output on a tmpfs of its own, mounted with options, and returns what the disk holds at the end: a copy.
func onSmallDisk(t *testing.T, options string, args ...string) (disk, stdout, stderr string, code int) {
	t.Helper()
	dir := openFolder(t)
	disk = filepath.Join(dir, "held")
	if err := os.Mkdir(filepath.Join(dir, "disk"), 0o755); err != nil {
		t.Fatal(err)
	}
	words := append([]string{"--mount", "sh", "-c", `mount -t tmpfs -o "$1" tmpfs "$0" || exit 99
		shift; "$@" --out="$0"/runs; code=$?
		cp -r "$0" "$0"/../held
		exit $code`, filepath.Join(dir, "disk"), options, released(t)}, args...)
	stdout, stderr, code = runCommand(t, exec.Command("unshare", words...))
	return disk, stdout, stderr, code
}

// TestFullDiskOfMachine catches a run in a machine that is called a pass although the disk was full, and its folder went. It is TestFullDisk for what a guest
// sends: the sizes end the writing at different files.
func TestFullDiskOfMachine(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("unshare"), machinesHere)
	for _, size := range []string{"24k", "120k"} {
		t.Run(size, func(t *testing.T) {
			disk, stdout, stderr, code := onSmallDisk(t, "size="+size, "run", "exp1", "--profile=fast", "--kernel=6.12")
			if code != explain.ExitInternal || strings.Contains(stdout, "PASS") {
				t.Errorf("got exit code %d and %q, want %d and no pass", code, stdout, explain.ExitInternal)
			}
			wantParts(t, "stderr", stderr, "no space left on device", "make room", explain.DiskFull)
			wantFiles(t, disk)
		})
	}
	// As many files as the first run takes, and then those of the matrix, but not those of the second run: it is that one's cell.
	t.Run("matrix", func(t *testing.T) {
		disk, stdout, stderr, code := onSmallDisk(t, "nr_inodes=20", "matrix", "exp0", "exp1", "--profile=fast", "--kernels=6.12", "--parallel=1", "--json")
		if code != explain.ExitInternal {
			t.Errorf("exit code: got %d, want %d", code, explain.ExitInternal)
		}
		wantParts(t, "stderr", stderr, "no space left on device", "make room", explain.DiskFull)
		m, err := result.ReadMatrix(strings.NewReader(stdout))
		if err != nil || len(m.Rows) != 2 {
			t.Fatalf("got %v, %+v, want a matrix of two rows", err, m)
		}
		whole, lost := m.Rows[0].Cells[0], m.Rows[1].Cells[0]
		if whole.Verdict != result.Pass || lost.Verdict != result.Error || lost.Code != explain.DiskFull || m.Verdict != result.Error {
			t.Errorf("got %s, then %s (%s), %s in all, want pass, then an error (%s)", whole.Verdict, lost.Verdict, lost.Code, m.Verdict, explain.DiskFull)
		}
		found, err := filepath.Glob(filepath.Join(disk, "runs", "2*", "*", "*"))
		if err != nil || len(found) != 1 || filepath.Base(found[0]) != "exp0-handshake" {
			t.Errorf("got folders %v, %v, want that of exp0 alone", found, err)
		}
	})
}
