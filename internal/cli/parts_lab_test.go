//go:build lab && !race

// What is started here are processes of their own, which the race detector does not see.

package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// partsOf is a list of runs, the program where every user can start it, and what the list comes to without parts.
type partsOf struct {
	program  string
	args     []string
	env      []string // besides PATH and the like
	code     int
	verdicts []string
}

// command runs in dir, with the program in PATH, and with nothing of this process's environment: it may have a scheduler's variables.
func (p *partsOf) command(dir string, words ...string) *exec.Cmd {
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + filepath.Dir(p.program) + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir, "TMPDIR=" + dir}, p.env...)
	for _, kv := range os.Environ() { // the leak check finds processes by it
		if strings.HasPrefix(kv, "TCPLAB_LEAKS_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	return cmd
}

// verdictsOf reads what run --json or report --json printed of several runs.
func verdictsOf(t *testing.T, doc string) (out []string) {
	t.Helper()
	var d struct {
		Schema  string           `json:"schema"`
		Results []*result.Result `json:"results"`
	}
	if err := yaml.Unmarshal([]byte(doc), &d); err != nil || d.Schema != "tcplab.results/v1" {
		t.Fatalf("got %q, %v, want tcplab.results/v1", d.Schema, err)
	}
	for _, r := range d.Results {
		out = append(out, r.Experiment.Name+" "+string(r.Verdict))
	}
	return out
}

// merged wants the parts to come to what the runs without parts came to.
func (p *partsOf) merged(t *testing.T, dir string) {
	t.Helper()
	parts, err := filepath.Glob(filepath.Join(dir, "part-*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(parts) // their order must not matter
	stdout, stderr, code := runCommand(t, p.command(dir, append([]string{p.program, "report", "--json"}, parts...)...))
	if got := verdictsOf(t, stdout); !slices.Equal(got, p.verdicts) || code != p.code {
		t.Errorf("merged: got %q, exit code %d, want %q, %d: %s", got, code, p.verdicts, p.code, stderr)
	}
}

// without takes a part away, and wants the merge to name it and to show nothing.
func (p *partsOf) without(t *testing.T, dir, part, want string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, part)); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := runCommand(t, p.command(dir, "sh", "-c", "exec tcplab report part-*"))
	if code != explain.ExitInternal || stdout != "" {
		t.Errorf("without %s: got exit code %d and %q, want %d and nothing", part, code, stdout, explain.ExitInternal)
	}
	wantParts(t, "without "+part, stderr, want, explain.PartsMissing)
}

// The containers of the Kubernetes Jobs do what they should, with as little as the level restricted leaves them: the command, arguments and variables
// of the manifests, a user without name, no capability and none to be had. It catches a command that only root can run, an index that begins at
// the wrong number, a variable that the manifest forgot, and a part of a guest's run that does not know which it is. The third pod has nothing to
// do. What the cluster does (volumes, the file system read-only) is not tried.
func TestKubernetesParts(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("setpriv"), machinesHere)
	t.Parallel()
	dir := openFolder(t)
	p := &partsOf{program: staticProgram(t, openFolder(t)), env: []string{"XDG_CACHE_HOME=" + cacheOf(t, "6.1")}, code: explain.ExitInconclusive}
	p.args = []string{"exp0", "exp1", "--profile=fast", "--kernel=6.1", "--timeout=1500ms"} // cut short, so that the verdicts differ
	part := containerOf(t, "tcplab.yaml")
	t.Run("pods", func(t *testing.T) { // at once, as in a cluster
		for index, want := range []int{explain.ExitPass, explain.ExitInconclusive, explain.ExitPass} {
			t.Run(strconv.Itoa(index), func(t *testing.T) {
				t.Parallel()
				_, stderr, code := p.pod(t, dir, part, p.args, "JOB_COMPLETION_INDEX="+strconv.Itoa(index))
				if told := fmt.Sprintf("shard %d/3: %d of 2 runs", index+1, []int{1, 1, 0}[index]); code != want || !strings.Contains(stderr, told) {
					t.Errorf("got exit code %d and %q, want %d and %q", code, stderr, want, told)
				}
			})
		}
	})
	stdout, _, _ := runCommand(t, p.command(dir, "sh", "-c", "exec tcplab report --json part-*"))
	if p.verdicts = verdictsOf(t, stdout); len(p.verdicts) != 2 || p.verdicts[0] != "exp0-handshake pass" || p.verdicts[1] != "exp1-syn-loss inconclusive" {
		t.Errorf("got %q, want exp0 to pass and exp1 to be inconclusive", p.verdicts)
	}
	report := containerOf(t, "report.yaml")
	stdout, stderr, code := p.pod(t, dir, report, report.Args)
	if code != p.code || !strings.Contains(stdout, "<testsuites") {
		t.Errorf("the report: got exit code %d, %q, want %d and JUnit: %s", code, stdout, p.code, stderr)
	}
	if page, err := os.ReadFile(filepath.Join(dir, "all.html")); err != nil || !bytes.Contains(page, []byte("exp1-syn-loss")) {
		t.Errorf("the page: %v", err)
	}
	p.without(t, dir, "part-1", "part 2/3 is missing: run 2 of 2")
}

// pod runs a container's command as such a user.
func (p *partsOf) pod(t *testing.T, results string, c container, args []string, more ...string) (stdout, stderr string, code int) {
	words := slices.Concat([]string{"setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"}, c.Command, args)
	cmd := p.command(results, words...)
	for _, e := range c.Env {
		if e.Name == "RESULTS" {
			e.Value = results
		}
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	cmd.Env = append(cmd.Env, more...)
	return runCommand(t, cmd)
}

// container is what the test needs of a Job's.
type container struct {
	Command, Args []string
	Env           []struct{ Name, Value string }
}

func containerOf(t *testing.T, manifest string) container {
	t.Helper()
	text, err := os.ReadFile("../../deploy/kubernetes/" + manifest)
	if err != nil {
		t.Fatal(err)
	}
	docs := bytes.Split(text, []byte("\n---\n"))
	var job struct {
		Spec struct {
			Template struct {
				Spec struct{ Containers []container }
			}
		}
	}
	if err := yaml.Unmarshal(docs[len(docs)-1], &job); err != nil {
		t.Fatal(err)
	}
	return job.Spec.Template.Spec.Containers[0]
}
