//go:build lab && !race

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
)

// loadRow is a batch of exp1 and what it came to.
type loadRow struct {
	labs, parallel, pass, fail, open int
	off                              []time.Duration // of each repeated SYN with a tick: how long after the start of that it was seen
	onTick, due                      int             // timers whose record the kernel gave, and those of them that it had due in the predicted jiffy
	whys                             []string        // reasons of what did not pass
}

// batch makes so many runs of exp1, some at once, and none again.
func batchUnderLoad(t *testing.T, labs, parallel int) (row loadRow) {
	t.Helper()
	dir := openFolder(t)
	document, err := os.Create(filepath.Join(dir, "results")) // a thousand of them are long
	if err != nil {
		t.Fatal(err)
	}
	defer document.Close()
	var said bytes.Buffer
	cmd := in(dir, "run", "exp1", "--profile=fast", "--repeat="+strconv.Itoa(labs), "--parallel="+strconv.Itoa(parallel), "--on-inconclusive=keep", "--json")
	cmd.Stdout, cmd.Stderr = document, &said
	code, err := exitCode(cmd.Run())
	if err != nil || code != explain.ExitPass && code != explain.ExitInconclusive {
		t.Errorf("%d labs, %d at once: got exit code %d, %v, want %d or %d\n%.4000s", labs, parallel, code, err, explain.ExitPass, explain.ExitInconclusive, said.String())
	}
	var doc struct{ Results []*result.Result }
	text := readFile(t, dir, "results")
	if labs == 1 {
		doc.Results = []*result.Result{readResult(t, text)}
	} else if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatalf("%d labs: %v", labs, err)
	}
	row = loadRow{labs: labs, parallel: parallel}
	for i, r := range doc.Results {
		row.add(i, r)
	}
	if got := row.pass + row.fail + row.open; got != labs || row.fail > 0 {
		t.Errorf("%d labs, %d at once: got %d results, %d of them FAIL, want %d and none\n%s", labs, parallel, got, row.fail, labs, strings.Join(row.whys, "\n"))
	}
	return row
}

func (row *loadRow) add(i int, r *result.Result) {
	switch r.Verdict {
	case result.Pass:
		row.pass++
	case result.Inconclusive:
		row.open++
	default:
		row.fail++
	}
	if r.Verdict != result.Pass {
		row.whys = append(row.whys, fmt.Sprintf("run %d: %s (%s)", i+1, r.Verdict, r.Reason))
	}
	events := slices.Clone(r.Events)
	if r.Outcome != nil {
		events = append(events, *r.Outcome)
	}
	for _, e := range events {
		if e.OffTick != nil && e.What == "syn-retransmission" {
			row.off = append(row.off, e.OffTick.Duration())
		}
		if e.Due != nil {
			row.due++
			if e.OnTick {
				row.onTick++
			}
		}
	}
}

// loadHead is the head of the table of docs/load.md.
const loadHead = `| labs at once | beside them | pass | fail | inconclusive | after the predicted tick: median | 99th percentile | packets with a tick |
|---|---|---|---|---|---|---|---|`

// line is the row as docs/load.md has it.
func (row *loadRow) line(beside string) string {
	slices.Sort(row.off)
	micros := func(of float64) string {
		if len(row.off) == 0 {
			return ""
		}
		return fmt.Sprintf("%d µs", row.off[int(of*float64(len(row.off)-1)+0.5)].Microseconds())
	}
	high := ""
	if len(row.off) > 1 {
		high = micros(0.99)
	}
	return fmt.Sprintf("| %d | %s | %d | %d | %d | %s | %s | %d |", row.parallel, beside, row.pass, row.fail, row.open, micros(0.5), high, len(row.off))
}

// busy keeps every processor busy until the test calls stop: with stress-ng, or loops of our own where that is not there.
func busy(t *testing.T) (how string, stop func()) {
	t.Helper()
	n := strconv.Itoa(runtime.NumCPU())
	commands := []*exec.Cmd{exec.Command("stress-ng", "--cpu", n, "--quiet")}
	how = "`stress-ng --cpu " + n + "`"
	if _, err := exec.LookPath("stress-ng"); err != nil || os.Getenv("TCPLAB_LOAD") == "" { // CI's is the same everywhere
		how, commands = n+" busy loops", nil
		for range runtime.NumCPU() {
			commands = append(commands, exec.Command("sh", "-c", "while :; do :; done"))
		}
	}
	for _, c := range commands {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
	}
	stop = func() {
		for _, c := range commands {
			if c.ProcessState == nil {
				_ = c.Process.Signal(os.Interrupt) // stress-ng ends its children; a shell ends
				_ = c.Wait()                       // "signal: interrupt"
			}
		}
	}
	t.Cleanup(stop)
	return how, stop
}

// TestLoad catches a run that is called FAIL because the machine was busy. CI makes ten labs at once beside a busy loop for each processor; TCPLAB_LOAD asks
// for more: "table" (make load) for the table of docs/load.md, "thousand" (make thousand) for a thousand runs that all have to pass. It does not run beside other
// tests.
func TestLoad(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	switch what := os.Getenv("TCPLAB_LOAD"); what {
	case "":
		_, stop := busy(t)
		defer stop()
		row := batchUnderLoad(t, 10, 10)
		for i := 1; i < 3 && row.pass < row.labs/2; i++ { // a weak machine
			row = batchUnderLoad(t, 10, 10)
		}
		if t.Logf("%s", row.line("busy loops")); row.pass < row.labs/2 {
			t.Errorf("got %d of %d that passed, want half; run this on a quieter machine\n%s", row.pass, row.labs, strings.Join(row.whys, "\n"))
		}
	case "table":
		fmt.Println(loadHead)
		for _, loaded := range []bool{false, true} {
			beside, stop := "nothing", func() {}
			if loaded {
				beside, stop = busy(t)
			}
			for _, n := range []int{1, 10, 50, 200} {
				row := batchUnderLoad(t, n, n)
				fmt.Println(row.line(beside))
			}
			stop()
		}
	case "thousand":
		row := batchUnderLoad(t, 1000, 5)
		fmt.Printf("%s\n%s\n\nof %d timers on record %d were due in their predicted jiffy\n", loadHead, row.line("nothing"), row.due, row.onTick)
		if row.pass != row.labs || row.onTick != row.due {
			t.Errorf("got %d of %d runs that passed, and %d of %d timers on their tick, want all\n%s", row.pass, row.labs, row.onTick, row.due, strings.Join(row.whys, "\n"))
		}
	default:
		t.Fatalf("TCPLAB_LOAD=%s: want table or thousand", what)
	}
}
