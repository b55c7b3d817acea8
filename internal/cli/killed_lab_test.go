//go:build lab

package cli

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/labtest"
)

// kills is how many runs TestKill kills, and seed where it begins: `make kill KILLS=200` asks for more than CI does.
func kills(t *testing.T) (n int, seed uint64) {
	t.Helper()
	n, seed = 20, uint64(time.Now().UnixNano())
	var err error
	if v := os.Getenv("TCPLAB_KILLS"); v != "" {
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	if v := os.Getenv("TCPLAB_SEED"); v != "" {
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills, TCPLAB_SEED=%d", n, seed)
	return n, seed
}

// phase is where in a run a kill comes: so long, at most, after a line of its events; the empty line is the start of the program.
type phase struct {
	name  string
	event string
	most  time.Duration
}

var phases = []phase{
	{"building the lab", "", 500 * time.Millisecond},
	{"the first packets", `"start":{`, 300 * time.Millisecond},
	{"waiting for timers", `"event":"connecting"`, 2400 * time.Millisecond}, // of 4 s and more: a busy machine is late to kill
	{"judging, writing and taking down", `{"end":{`, 150 * time.Millisecond},
}

// doomed are the runs that are killed: two namespaces and a rule; a link that takes its time, whose processes carry every frame; and ten clients at
// once. Each goes on for four seconds or more.
var doomed = [][]string{
	{"exp1", "--syn-retries=2"},
	{"exp3", "--rtt=20ms"},
	{"exp2-capture-point", "--at=all", "--ipv6"},
}

// hopes is how often a run is started that shall be killed in one phase: on a busy machine it may end before.
const hopes = 6

// TestKill kills runs at random moments of every phase, as root and without, with the one signal that nothing can catch, and wants nothing to
// be left: what this catches is a namespace with a name, a child that outlives its parent, a mount, a lock or a rule on the machine, half a result
// under the name of a whole one, and a folder without a result. It fails where fewer were killed than was asked for.
func TestKill(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	n, seed := kills(t)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := openFolder(t)
	asNobody(t, dir) // its copy of the program, before many need it
	modes := []string{"root", "rootless"}
	for _, mode := range modes {
		if err := os.Mkdir(filepath.Join(dir, mode), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, mode), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	before := lookAtMachine(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	asked, killed, inLab, ended := map[string]int{}, map[string]int{}, map[string]int{}, 0
	slots := make(chan struct{}, 10)
	for i := range n {
		k := kill{mode: modes[i%2], phase: phases[i/2%len(phases)], run: doomed[(i/2+i/8)%len(doomed)], child: random.IntN(2) == 0}
		k.after = time.Duration(random.Int64N(int64(k.phase.most)))
		asked[k.name()]++
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			held, late := k.do(t, dir)
			mu.Lock()
			defer mu.Unlock()
			ended += late
			if late < hopes {
				killed[k.name()]++
			}
			if held > 0 {
				inLab[k.name()]++
			}
		})
	}
	wg.Wait()
	t.Logf("%d kills, %d runs had ended before; of those killed these held a lab: %v", n, ended, inLab)
	if diff := cmp.Diff(asked, killed); diff != "" {
		t.Errorf("runs that were killed (-asked for +got):\n%s", diff)
	}
	for _, mode := range modes {
		for _, p := range phases[1:3] { // before the lab is there, and when it is taken down, a run may hold nothing
			if k := (kill{mode: mode, phase: p}).name(); inLab[k] == 0 || inLab[k] < asked[k]*3/4 {
				t.Errorf("%s: got %d of %d runs that held a namespace when they were killed, want three quarters, or this test shows nothing", k, inLab[k], asked[k])
			}
		}
		wantWhole(t, filepath.Join(dir, mode))
	}
	if after := lookAtMachine(t); after != before {
		t.Errorf("the machine (-before +after):\n%s", cmp.Diff(before, after))
	}
}

// kill is one of them: whom, when, and which run.
type kill struct {
	mode  string
	phase phase
	after time.Duration
	run   []string
	child bool // without root, the process that does the work, instead of the one that was started
}

func (k kill) name() string { return k.mode + ", " + k.phase.name }

// do starts the run and kills it, earlier in the phase each time that it had ended. It returns how many namespaces it held and how many had ended.
func (k kill) do(t *testing.T, dir string) (held, late int) {
	args := append([]string{"run", "--profile=fast", "--events=-"}, k.run...)
	for ; late < hopes; late++ {
		var cmd *exec.Cmd
		if k.mode == "root" {
			cmd = in(filepath.Join(dir, k.mode), args...)
		} else {
			cmd = rootless(t, dir, append(args, "--out=rootless/tcplab-runs")...)
		}
		if held, did := killAfter(t, cmd, k.phase.event, k.after>>late, k.mode == "rootless" && k.child); did {
			return held, late
		}
	}
	return 0, late
}

// killAfter starts a run and kills it so long after an event, stopped first so that what it holds can be written down: the process itself or,
// without root, perhaps the one that does the work. It returns how many namespaces it held; did is false where it had ended before.
func killAfter(t *testing.T, cmd *exec.Cmd, event string, after time.Duration, child bool) (namespaces int, did bool) {
	events, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return 0, false
	}
	lines := bufio.NewReader(events)
	for line := ""; !strings.Contains(line, event); {
		if line, err = lines.ReadString('\n'); err != nil {
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }() // until Wait closes it
	<-time.After(after)                               // the random moment is the test
	defer func() { _ = cmd.Wait() }()                 // "signal: killed", mostly
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		if !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		return 0, false
	}
	h := holdings(t, cmd.Process.Pid)
	target := cmd.Process.Pid
	for pid := range maps.Clone(h.children) {
		inner := holdings(t, pid) // a client has neither
		maps.Copy(h.namespaces, inner.namespaces)
		maps.Copy(h.children, inner.children)
		if child && len(inner.children) > 0 {
			target = pid
		}
	}
	if err := syscall.Kill(target, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
	_ = cmd.Process.Signal(syscall.SIGCONT) // where it is not the target it is to see the end of its child
	h.gone(t)
	return len(h.namespaces), true
}
