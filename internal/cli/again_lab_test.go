//go:build lab

package cli

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// TestRetryLeavesFail catches a verdict that is tried until it pleases: a run that contradicts its prediction is not made again, whatever
// --on-inconclusive says. Its iptables drops what is for another port.
func TestRetryLeavesFail(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	t.Parallel()
	var verdicts []result.Verdict
	for range attempts / 2 {
		dir := openFolder(t)
		fakeIPTables(t, dir, `case "$*" in *-A*) exec $real $(echo "$@" | sed "s/--dport 8080/--dport 9/");; esac; exec $real "$@"`)
		cmd := in(dir, "run", "exp1", "--profile=fast", "--on-inconclusive=retry:2")
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, ".bin")+":"+os.Getenv("PATH"))
		stdout, stderr, code := runCommand(t, cmd)
		results, err := filepath.Glob(filepath.Join(dir, "tcplab-runs", "2*", "result.json"))
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(results)
		verdicts = nil
		for _, name := range results {
			verdicts = append(verdicts, readResult(t, readFile(t, name)).Verdict)
		}
		if code == explain.ExitInconclusive {
			continue // the machine disturbed all three
		}
		if failed := slices.Index(verdicts, result.Fail); code != explain.ExitFail || failed != len(verdicts)-1 {
			t.Errorf("got exit code %d and verdicts %v, want %d and a FAIL that is the last\n%s%s", code, verdicts, explain.ExitFail, stdout, stderr)
		}
		return
	}
	t.Errorf("got verdicts %v, want a FAIL; run this on a quieter machine", verdicts)
}
