//go:build lab && !race

package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// matrixOf runs a matrix, with the result as it is on standard output and in the folder. One that the machine disturbed is made again.
func matrixOf(t *testing.T, program string, wantCode int, args ...string) (m *result.Matrix, dir, said string) {
	t.Helper()
	for range attempts {
		out := t.TempDir()
		stdout, stderr, code := runCommand(t, exec.Command(program, append([]string{"matrix", "--json", "--out=" + out}, args...)...))
		if code == explain.ExitInconclusive {
			t.Logf("the machine disturbed a run:\n%s", stderr)
			continue
		}
		if code != wantCode {
			t.Fatalf("%s: got exit code %d, want %d: %s", strings.Join(args, " "), code, wantCode, stderr)
		}
		m, err := result.ReadMatrix(strings.NewReader(stdout))
		if err != nil {
			t.Fatalf("%s: %v", strings.Join(args, " "), err)
		}
		return m, filepath.Join(out, "latest"), stderr
	}
	t.Fatalf("the machine disturbed %d matrices one after the other; run this on a quieter one", attempts)
	return
}

// A matrix over two kernels in machines and the host's own: every cell passes on the timeline that is its kernel's, the change between
// kernels has its cause, and all files are there. It catches predictions of one kernel for all, causes that are not looked for, and a run
// that is lost between the machines.
func TestMatrix(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, machinesHere)
	program := released(t)
	m, dir, _ := matrixOf(t, program, 0, "exp1", "exp0", "--profile=kernel", "--syn-retries=1", "--kernels=6.1,6.12,host")
	if len(m.Rows) != 2 || len(m.Kernels) != 3 || m.Verdict != result.Pass {
		t.Fatalf("got %d rows, %d kernels, %s, want 2, 3, pass", len(m.Rows), len(m.Kernels), m.Verdict)
	}
	row := m.Rows[0]
	for i, want := range []int{2, 3, 3} { // SYNs: on 6.12 and the host the first repeats do not double their wait (tcp_syn_linear_timeouts=4), so one more fits in
		c := row.Cells[i]
		late := c.Late == nil || *c.Late > 0 && c.Kernel != "host" // in virtual time nothing is; on the host its run was judged
		if len(c.Events) != want || c.Passed != c.Checks || late || c.Took <= 0 {
			t.Errorf("%s: got %d events, %d/%d checks, %+v, want %d, all, and in virtual time none late", c.Kernel, len(c.Events), c.Passed, c.Checks, c, want)
		}
	}
	if s := row.Steps; len(s) != 2 || len(s[0].Causes) != 1 || s[0].Causes[0].Name != "net.ipv4.tcp_syn_linear_timeouts" || !s[0].Explained || len(s[1].Predicted) != 0 {
		t.Errorf("got steps %+v, want one cause from 6.1 to 6.12, and nothing predicted otherwise on the host", s)
	}
	for _, k := range m.Kernels {
		for _, name := range []string{"result.json", "client.pcapng", "report.html"} {
			if _, err := os.Stat(filepath.Join(dir, k.Folder, "exp0-handshake", name)); err != nil {
				t.Error(err)
			}
		}
	}
	for _, name := range []string{matrixFile, matrixText, matrixJUnit, pageFile} {
		if s, err := os.Stat(filepath.Join(dir, name)); err != nil || s.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What one kernel cannot do is that kernel's cell: the others keep theirs, and the exit code says it. Who has no root has the host's
// column too, where user namespaces are allowed.
func TestMatrixOfWhatCannotBe(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, machinesHere)
	program := released(t)
	m, _, said := matrixOf(t, program, explain.ExitUnable, "exp1", "--profile=fast", "--kernels=6.1,6.12", "--set=client.net.ipv4.tcp_syn_linear_timeouts=1")
	cells := m.Rows[0].Cells
	if cells[0].Verdict != result.Unable || cells[1].Verdict != result.Pass || m.Verdict != result.Unable {
		t.Errorf("got %s, %s, %s, want unable, pass, unable", cells[0].Verdict, cells[1].Verdict, m.Verdict)
	}
	if !strings.Contains(cells[0].Error, "tcp_syn_linear_timeouts") || !strings.Contains(said, cells[0].Error) {
		t.Errorf("got %q, want the knob's name, also in %q", cells[0].Error, said)
	}
	dir := openFolder(t)
	text, err := rootless(t, dir, "matrix", "exp1", "--profile=fast", "--kernels=host").CombinedOutput()
	// A busy machine may leave the run undecided; that it was made is what counts here.
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 5) || !strings.Contains(string(text), "exp1-syn-loss") || !strings.Contains(string(text), "in real time") {
		t.Errorf("host without root: got %v: %s", err, text)
	}
}
