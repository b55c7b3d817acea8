//go:build lab

package peer

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/netns"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/timeline"
)

// update reports whether pairs.txt is to be written anew. labtest has the flag.
func update() bool { return flag.Lookup("update").Value.String() == "true" }

// The test binary is the lab's client program too, and must hold its main thread where tcplab does.
func init() { netns.PinMain() }

func TestMain(m *testing.M) { os.Exit(labtest.Leaks(m)) }

// variants are flags under which an experiment shows packets that it does not show without.
var variants = map[string][]map[string]string{
	"exp4-keepalive":       {{"peer": "alive"}},
	"exp6-fast-retransmit": {{"sack": "off"}, {"lose": "15,19"}},
}

// TestTshark runs every experiment of the catalogue in its fast profile, and holds the names of its packets against what tshark says of the
// same captures. It catches a name of ours or of Wireshark's that changed, and an experiment whose packets nobody has compared.
func TestTshark(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("tshark"))
	want, err := Recorded()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	got, disturbed := Pairs{}, map[string]bool{}
	slots := make(chan struct{}, 6) // labs at once: they mostly wait
	for _, x := range experiments.All() {
		for _, flags := range append([]map[string]string{nil}, variants[x.Name]...) {
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				name, pairs, whole := compare(t, x, flags)
				mu.Lock()
				defer mu.Unlock()
				got[name], disturbed[name] = pairs, !whole
			})
		}
	}
	wg.Wait()
	if update() {
		for run, is := range disturbed {
			if is {
				t.Errorf("%s: no attempt passed, and what a busy machine shows is not recorded: want it again on one that has nothing else to do", run)
			}
		}
		if t.Failed() {
			return
		}
		if err := os.WriteFile("pairs.txt", []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for run, pairs := range got {
		if disturbed[run] { // what a busy machine made of it: other packets may have come
			for _, p := range pairs {
				if _, ok := Judge(p); !ok {
					t.Logf("%s: %s: nobody has judged who is right; see judgement.go", run, p)
				}
			}
			continue
		}
		for _, d := range Differences(run, want[run], pairs) {
			t.Errorf("%s; go test -tags lab ./internal/peer -update, and judge it in judgement.go", d)
		}
	}
	for run := range want {
		if got[run] == nil {
			t.Errorf("%s: recorded, and not run", run)
		}
	}
}

// compare makes a run and returns what both call its packets. A run that did not pass is made again; whole is false where that was of
// no use.
func compare(t *testing.T, x *experiments.Experiment, flags map[string]string) (name string, pairs []Pair, whole bool) {
	name = x.Name
	for f, v := range flags {
		name += " --" + f + "=" + v
	}
	plan, err := x.Plan(experiments.Fast, flags, nil)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return name, nil, false
	}
	for range 3 {
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return name, nil, false
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		r, err := runner.Run(ctx, runner.Options{Experiment: x, Plan: plan, Dir: root, NoEvidence: true})
		cancel()
		root.Close()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return name, nil, false
		}
		pairs = both(t, r, map[string]map[int]string{"client": tshark(t, filepath.Join(dir, "client.pcapng")), "server": tshark(t, filepath.Join(dir, "server.pcapng"))})
		if r.Verdict == result.Pass {
			return name, pairs, true
		}
		t.Logf("%s: %s: %s", name, r.Verdict, r.Reason) // other tests judge the times
	}
	return name, pairs, false
}

// both takes each packet in the capture of the end that sent it; where that has not seen it, in the other.
func both(t *testing.T, r *result.Result, said map[string]map[int]string) []Pair {
	var out []Pair
	for _, p := range r.Packets {
		end := p.From
		if p.SentAt == nil {
			end = p.To
		}
		s, ok := said[end][p.ID]
		if !ok {
			t.Errorf("%s: packet %d is not in tshark's reading of the %s's capture", r.Experiment.Name, p.ID, end)
			continue
		}
		out = append(out, Pair{timeline.What(p.What), s})
	}
	slices.SortFunc(out, func(a, b Pair) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(out)
}

// tshark reads what Wireshark's analysis says of each packet, by the packet's id.
func tshark(t *testing.T, file string) map[int]string {
	args := []string{"-n", "-r", file, "-T", "fields", "-e", "frame.packet_id"}
	for _, f := range Fields {
		args = append(args, "-e", "tcp.analysis."+f)
	}
	cmd := exec.Command("tshark", args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C.UTF-8")
	b, err := cmd.Output()
	if err != nil {
		t.Errorf("tshark %s: %v", file, err)
		return nil
	}
	out := map[int]string{}
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(strings.TrimRight(line, "\n"), "\t")
		id, err := strconv.Atoi(cells[0])
		if err != nil || len(cells) != len(Fields)+1 {
			continue // a packet without an id: ARP
		}
		var set []string
		for i, c := range cells[1:] {
			if c != "" {
				set = append(set, Fields[i])
			}
		}
		out[id] = strings.Join(set, "+")
	}
	return out
}
