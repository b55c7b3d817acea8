//go:build lab && !race

package cli

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
)

// A job array under Slurm comes to what the runs without parts come to, and a task that is submitted again, of which Slurm says that it is one of
// one, makes its own part; a job that depends on them puts the parts together. It catches a script that asks Slurm for the number of parts, a part
// that is missing and not named, one that keeps what an earlier try left, and a report that does not wait. Slurm runs on this machine alone, in a folder of its own, and is gone afterwards.
func TestSlurmArray(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("munged"), labtest.Command("slurmctld"), labtest.Command("slurmd"), labtest.Command("sbatch"))
	t.Parallel()
	p := &partsOf{program: staticProgram(t, openFolder(t)), code: explain.ExitFail}
	p.args = []string{"exp0", "wrong.yaml", "exp5", "--profile=fast", "--on-inconclusive=retry:9"} // a busy machine has time to decide
	s := startSlurm(t, p)
	dir := filepath.Join(s.dir, "tcplab-parts")
	if err := os.WriteFile(filepath.Join(s.dir, "wrong.yaml"), []byte(wrongExperiment), 0o644); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := runCommand(t, p.command(s.dir, append([]string{"tcplab", "run", "--json", "--shard=none", "--parallel=3"}, p.args...)...))
	p.verdicts = verdictsOf(t, stdout)
	if got := strings.Join(p.verdicts, ", "); code != p.code || strings.Count(got, " pass") != 2 || !strings.Contains(got, "wrong fail") {
		t.Fatalf("the runs without parts: got %s, exit code %d, want two that pass and one that fails: %s", got, code, stderr)
	}
	s.whole(t, s.array(t, "1-3"))
	p.merged(t, dir) // and by hand, in another order
	if err := os.RemoveAll(filepath.Join(dir, "part-2")); err != nil {
		t.Fatal(err)
	}
	shown, said, code := s.report(t, "")
	if code != explain.ExitInternal || !strings.Contains(shown, `"tcplab.error/v1"`) || strings.Contains(shown, "verdict") {
		t.Errorf("the report without part 2: got exit code %d and %q, want %d and no verdict", code, shown, explain.ExitInternal)
	}
	wantParts(t, "the report without part 2", said, "part 2/3 is missing: run 2 of 3", explain.PartsMissing)
	id := s.array(t, "2")
	s.whole(t, id)
	if said := string(readFile(t, s.dir, "tcplab-"+id+"_2.log")); !strings.Contains(said, "shard 2/3: 1 of 3 runs") {
		t.Errorf("task 2 again: got %q, want part 2 of 3", said)
	}
	// Controls: what the scripts must refuse, because it would be another part, or none.
	for _, c := range []struct {
		script, env, want string
		code              int
	}{
		{"array", "SLURM_ARRAY_TASK_ID=1", "want how many parts the list has", explain.ExitUsage},
		{"array", "SLURM_ARRAY_TASK_ID=0 PARTS=3", "want 1 to 3", explain.ExitUsage},
		{"array", "SLURM_ARRAY_TASK_ID=4 PARTS=3", "want 1 to 3", explain.ExitUsage},
		{"array", "PARTS=3", "want 1 to 3", explain.ExitUsage},
		{"report", "OUT=nowhere", explain.PartsMissing, explain.ExitInternal},
	} {
		cmd := s.command(s.script(t, c.script))
		cmd.Env = append(cmd.Env, strings.Fields(c.env)...)
		if _, stderr, code := runCommand(t, cmd); code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%s.sbatch with %s: got exit code %d, %q, want %d and %q", c.script, c.env, code, stderr, c.code, c.want)
		}
	}
}

// wrongExperiment expects what no kernel does, so its verdict is certain.
const wrongExperiment = `schema: tcplab.experiment/v1
name: wrong
steps:
  - connect
expect:
  text: |
    0   client > S 0:0(0)
    +0  server > R. 0:0(0) ack 1
    +0  client connect = ECONNREFUSED
`

// cluster is Slurm on one node.
type cluster struct {
	*partsOf
	dir string
}

// startSlurm starts munged, slurmctld and slurmd, and ends them when the test ends.
func startSlurm(t *testing.T, p *partsOf) *cluster {
	t.Helper()
	s := &cluster{p, openFolder(t)}
	if err := os.Chmod(s.dir, 0o755); err != nil { // munged refuses a folder that everybody can write to
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 1024) // a secret of nobody's: all who use it are root of this machine
	for name, b := range map[string][]byte{"munge.key": key, "slurm.conf": fmt.Appendf(nil, slurmConf, host, s.dir, freePort(t), freePort(t))} {
		if err := os.WriteFile(filepath.Join(s.dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(s.dir, name) }
	s.start(t, "munged", "--foreground", "--key-file="+in("munge.key"), "--socket="+in("munge.socket"), "--pid-file="+in("munge.pid"), "--log-file="+in("munge.log"),
		"--seed-file="+in("munge.seed"), "--num-threads=2")
	await(t, "munged", 50*time.Millisecond, func() bool { _, err := os.Stat(in("munge.socket")); return err == nil })
	s.start(t, "slurmctld", "-D", "-f", in("slurm.conf"))
	s.start(t, "slurmd", "-D", "-f", in("slurm.conf"))
	await(t, "an idle node", 50*time.Millisecond, func() bool {
		out, _ := s.command("sinfo", "--noheader", "--format=%T").Output()
		return strings.TrimSpace(string(out)) == "idle"
	})
	return s
}

// slurmConf has everything below one folder and nothing that is not needed: no accounting, no cgroups, no binding to processors,
// no delay before a job begins, and as many processors as there are parts: most of a part is waiting.
const slurmConf = `ClusterName=tcplab
SlurmctldHost=%[1]s(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=%[2]s/munge.socket
CredType=cred/munge
SlurmctldPort=%[3]d
SlurmdPort=%[4]d
SlurmctldPidFile=%[2]s/slurmctld.pid
SlurmdPidFile=%[2]s/slurmd.pid
SlurmctldLogFile=%[2]s/slurmctld.log
SlurmdLogFile=%[2]s/slurmd.log
StateSaveLocation=%[2]s/state
SlurmdSpoolDir=%[2]s/spool
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
NodeName=%[1]s NodeAddr=127.0.0.1 CPUs=3 RealMemory=2048 State=UNKNOWN
PartitionName=all Nodes=%[1]s Default=YES MaxTime=INFINITE State=UP
`

func (s *cluster) command(words ...string) *exec.Cmd {
	cmd := s.partsOf.command(s.dir, words...)
	cmd.Env = append(cmd.Env, "SLURM_CONF="+filepath.Join(s.dir, "slurm.conf"))
	return cmd
}

// start starts a daemon in the foreground. It is ended by its number.
func (s *cluster) start(t *testing.T, words ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(s.dir, words[0]+".out"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := s.command(words...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{words[0] + ".out", words[0] + ".log"} {
				text, _ := os.ReadFile(filepath.Join(s.dir, name))
				t.Logf("%s: %s", name, text[max(0, len(text)-3000):])
			}
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		ended := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer ended.Stop()
		_ = cmd.Wait()
	})
}

// script is one of those under test.
func (s *cluster) script(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("../../deploy/slurm/" + name + ".sbatch")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// submit submits a script and returns the job's number.
func (s *cluster) submit(t *testing.T, script string, options, args []string) (id string) {
	t.Helper()
	stdout, stderr, code := runCommand(t, s.command(slices.Concat([]string{"sbatch", "--parsable"}, options, []string{s.script(t, script)}, args)...))
	if code != 0 {
		t.Fatalf("sbatch: got exit code %d: %s", code, stderr)
	}
	return strings.TrimSpace(stdout)
}

// array submits the script for some tasks.
func (s *cluster) array(t *testing.T, tasks string) (id string) {
	t.Helper()
	return s.submit(t, "array", []string{"--export=ALL,PARTS=3", "--array=" + tasks}, s.args)
}

// report puts the parts together in a job that waits for another, or for none; it returns what the job printed, said, and came to.
func (s *cluster) report(t *testing.T, after string) (shown, said string, code int) {
	t.Helper()
	options := []string{"--output=report-%j.json", "--error=report-%j.err"}
	if after != "" {
		options = append(options, "--dependency=afterany:"+after)
	}
	id := s.submit(t, "report", options, []string{"--json"})
	var job string
	await(t, "job "+id, 50*time.Millisecond, func() bool {
		out, err := s.command("scontrol", "--oneliner", "show", "job", id).Output()
		job = string(out)
		return err == nil && (strings.Contains(job, "JobState=COMPLETED") || strings.Contains(job, "JobState=FAILED"))
	})
	_, exit, _ := strings.Cut(job, " ExitCode=")
	exit, _, _ = strings.Cut(exit, ":")
	code, err := strconv.Atoi(exit)
	if err != nil {
		t.Fatalf("the job's exit code: %v: %s", err, job)
	}
	return string(readFile(t, s.dir, "report-"+id+".json")), string(readFile(t, s.dir, "report-"+id+".err")), code
}

// whole wants the report that waits for an array to come to what the runs without parts came to. One that does not wait finds no parts.
func (s *cluster) whole(t *testing.T, array string) {
	t.Helper()
	shown, said, code := s.report(t, array)
	if code != s.code {
		logs, _ := filepath.Glob(filepath.Join(s.dir, "tcplab-"+array+"_*.log"))
		for _, name := range logs {
			text, _ := os.ReadFile(name)
			t.Logf("%s: %s", name, text)
		}
		t.Fatalf("the report of job %s: got exit code %d, want %d: %s", array, code, s.code, said)
	}
	if got := verdictsOf(t, shown); !slices.Equal(got, s.verdicts) {
		t.Errorf("the report of job %s: got %q, want %q", array, got, s.verdicts)
	}
}

// freePort is one that nobody listens on now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
