//go:build lab

package cli

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// TestFaults runs on machines that fail tcplab in one way each. It catches a run that is called FAIL for what the kernel did not do, that leaves a
// folder without a result, or that does not say what was wrong.
func TestFaults(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	t.Parallel()
	for _, tt := range []struct {
		name     string
		limit    string // shell commands before the program
		iptables string // what iptables does instead of its work; $real is the real one
		code     int    // the exit code that says so
		says     string
	}{
		{"descriptors for nothing", "ulimit -n 12", "", explain.ExitUnable, "ulimit -n"},
		{"descriptors for half a lab", "ulimit -n 20", "", explain.ExitUnable, "ulimit -n"},
		{"iptables is locked", "", `echo "Another app is currently holding the xtables lock" >&2; exit 4`, explain.ExitUnable, "holding the xtables lock"},
		{"iptables knows no such rule", "", `echo "No chain/target/match by that name." >&2; exit 1`, explain.ExitUnable, "No chain/target/match"},
		{"iptables is killed", "", `kill -9 $$`, explain.ExitInternal, "a signal ended it"},
		{"iptables makes the rule and no counters", "", `case "$*" in *-A*) exec $real "$@";; esac; echo "no counters today" >&2; exit 3`, explain.ExitInconclusive, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := openFolder(t)
			cmd := exec.Command("sh", "-c", "set -e\n"+tt.limit+"\nexec tcplab run exp1 --profile=fast")
			cmd.Dir = dir
			if tt.iptables != "" {
				fakeIPTables(t, dir, tt.iptables)
				cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, ".bin")+":"+os.Getenv("PATH"))
			}
			stdout, stderr, code := runCommand(t, cmd)
			if code != tt.code {
				t.Errorf("exit code: got %d, want %d\n%s%s", code, tt.code, stdout, stderr)
			}
			wantParts(t, "stderr", stderr, tt.says)
			if code == explain.ExitInconclusive {
				wantWhole(t, dir)
				return
			}
			wantFiles(t, dir)
		})
	}
}

// TestFolderRemoved catches a run whose folder somebody removes being called a pass with its files, or leaving half of them.
func TestFolderRemoved(t *testing.T) {
	t.Parallel()
	u := start(t, "--syn-retries=2") // 7 s: a busy machine is late to remove it
	held := holdings(t, u.cmd.Process.Pid)
	if err := os.RemoveAll(filepath.Join(u.dir, "tcplab-runs")); err != nil {
		t.Fatal(err)
	}
	if code := u.wait(t); code == 0 || code == 1 {
		t.Errorf("exit code: got %d, want one that says that the files are not there", code)
	}
	wantParts(t, "stderr", u.stderr.String(), "no such file or directory")
	held.gone(t)
	wantFiles(t, u.dir)
}

// TestRetry catches a run that decided nothing and is not made again, one that is made again for ever, and an attempt that is lost or not named.
// A run that is given up early decides nothing, each time.
func TestRetry(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	t.Parallel()
	dir := openFolder(t)
	_, stderr, code := runCommand(t, in(dir, "run", "exp1", "--profile=fast", "--timeout=1200ms", "--on-inconclusive=retry:2"))
	if code != explain.ExitInconclusive {
		t.Errorf("exit code: got %d, want %d\n%s", code, explain.ExitInconclusive, stderr)
	}
	wantParts(t, "stderr", stderr, "attempt 2 of at most 3", "attempt 3 of at most 3")
	results, err := filepath.Glob(filepath.Join(dir, "tcplab-runs", "2*", "result.json"))
	if err != nil || len(results) != 3 {
		t.Fatalf("results: got %q, %v, want 3", results, err)
	}
	r := readResult(t, readFile(t, dir, "tcplab-runs", "latest", "result.json"))
	if r.Verdict != result.Inconclusive || len(r.Earlier) != 2 {
		t.Fatalf("the last attempt: got %s after %v, want inconclusive after 2", r.Verdict, r.Earlier)
	}
	for _, a := range r.Earlier {
		if _, err := os.Stat(filepath.Join(dir, "tcplab-runs", a.Folder, "result.json")); err != nil || a.Reason == "" {
			t.Errorf("an earlier attempt: got %+v, %v, want its folder and a reason", a, err)
		}
	}
	if r.Load == nil || r.Load.Over <= 0 {
		t.Errorf("load: got %+v, want how long was looked", r.Load)
	}
	if !slices.ContainsFunc(r.Notes, func(n result.Note) bool { return strings.Contains(n.Text, "attempt 3") }) {
		t.Errorf("notes: got %v, want one that names the attempt", r.Notes)
	}
}

// wantWhole wants every folder of a run below dir to hold a whole result, and no file that is half written. The guard of a run that was killed may
// still be at work: it began after the look at what the run had started, or that was its parent's.
func wantWhole(t *testing.T, dir string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		wrong := broken(dir)
		if len(wrong) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			for _, w := range wrong {
				t.Error(w)
			}
			return
		}
	}
}

// broken is what below dir is half a run.
func broken(dir string) (wrong []string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(path, ".part"), strings.HasPrefix(d.Name(), ".latest"):
			wrong = append(wrong, path+": got it left, want it gone")
		case d.IsDir() && strings.Contains(d.Name(), "-exp"):
			f, err := os.Open(filepath.Join(path, "result.json"))
			if err != nil {
				wrong = append(wrong, fmt.Sprintf("got a folder without a result: %v", err))
				return nil
			}
			defer f.Close()
			if _, err := result.Read(f); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s: got %v, want a whole result or none", path, err))
			}
		}
		return nil
	})
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	return wrong
}

// TestRemadeAlone catches runs that decided nothing beside each other and are not made again, or not alone. Runs that are given up early decide nothing.
func TestRemadeAlone(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	t.Parallel()
	for _, tt := range []struct {
		flags    []string
		attempts int // of each
	}{{nil, 2}, {[]string{"--on-inconclusive=keep"}, 1}} {
		dir := openFolder(t)
		_, stderr, code := runCommand(t, in(dir, append([]string{"run", "exp1", "exp3", "--profile=fast", "--timeout=1200ms", "--parallel=2"}, tt.flags...)...))
		if code != explain.ExitInconclusive {
			t.Errorf("%v: exit code: got %d, want %d\n%s", tt.flags, code, explain.ExitInconclusive, stderr)
		}
		paths, err := filepath.Glob(filepath.Join(dir, "tcplab-runs", "2*", "result.json"))
		if err != nil || len(paths) != 2*tt.attempts {
			t.Fatalf("%v: results: got %q, %v, want %d of each experiment", tt.flags, paths, err, tt.attempts)
		}
		var over time.Time // the last of those that ran beside another, then each that ran alone
		var later []*result.Result
		for _, p := range paths {
			r := readResult(t, readFile(t, p))
			if end := r.Started.Add(r.Wall.Duration()); len(r.Earlier) == 0 && end.After(over) {
				over = end
			} else if len(r.Earlier) > 0 {
				later = append(later, r)
			}
		}
		if len(later) != 2*(tt.attempts-1) {
			t.Errorf("%v: got %d runs that name an earlier attempt, want %d", tt.flags, len(later), 2*(tt.attempts-1))
		}
		slices.SortFunc(later, func(a, b *result.Result) int { return a.Started.Compare(b.Started) })
		for _, r := range later {
			if r.Started.Before(over) {
				t.Errorf("%s: began at %v, before another was over (%v)", r.Experiment.Name, r.Started, over)
			}
			over = r.Started.Add(r.Wall.Duration())
			wantParts(t, "stderr", stderr, r.Experiment.Name+" decided nothing: again, alone")
		}
	}
}
