//go:build lab

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// synLoss is a copy of exp1 that a test may break.
func synLoss(t *testing.T) *experiments.Experiment { return copyOf(t, "exp1-syn-loss") }

// copyOf is a copy of an experiment that a test may break.
func copyOf(t *testing.T, name string) *experiments.Experiment {
	t.Helper()
	labtest.Need(t, labtest.Root, labtest.IPTables)
	x, err := experiments.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	c := *x
	return &c
}

// fast is the plan of the fast profile, with these flags on top.
func fast(t *testing.T, x *experiments.Experiment, flags map[string]string) experiments.Plan {
	t.Helper()
	p, err := x.Plan(experiments.Fast, flags, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// disturbed reports whether the machine, and nothing else, is why a run proves nothing.
func disturbed(r *result.Result) bool {
	if r.Verdict != result.Inconclusive {
		return false
	}
	return !slices.ContainsFunc(r.Checks, func(c result.Check) bool {
		return c.Verdict == result.Inconclusive && c.Code != explain.Stall && c.Code != explain.StatesUnseen && c.Code != explain.ClockStepped && c.Code != explain.EvidenceLost && c.Code != explain.LinkRTT
	})
}

// attempts is how often a run is made that the machine disturbed, and alone how many of these, the last, are made with none of perform's beside them. Each one is
// logged; a verdict is never made again.
const (
	attempts = 8
	alone    = 4
)

// patience is how long the tests of this package may take until what they disturb has three tries, with others beside it: a run by itself holds up
// all others, and on a busy machine they would never end.
const patience = 8 * time.Minute

var began = time.Now()

// crowd is held for reading by each run of perform, and for writing by one that the others beside it would disturb.
var crowd sync.RWMutex

// perform runs x and returns its result. What was disturbed again and again beside other labs is made with none beside it; what was disturbed each
// time is returned as it is: it decides nothing, neither for nor against what is tested, and tries counts how much of that there is.
func perform(t *testing.T, o Options) *result.Result {
	t.Helper()
	tries.asked.Add(1)
	most, beside := attempts, attempts-alone
	if time.Since(began) > patience {
		most, beside = 3, 3
	}
	for i := range most {
		r := once(t, o, i >= beside)
		if !disturbed(r) {
			return r
		}
		t.Logf("the machine disturbed the run: %s; %d stalls", r.Reason, len(r.Stalls))
		if i == most-1 {
			tries.open.Add(1)
			t.Logf("left open: the machine disturbed %d runs one after the other", most)
			return r
		}
	}
	return nil
}

// passed reports whether a run of perform's passed, or was left open.
func passed(r *result.Result) bool { return r.Verdict == result.Pass || disturbed(r) }

// tally is how often perform was asked, and how often the machine left that open.
type tally struct{ asked, open atomic.Int32 }

var tries tally

// verdict is the exit code of the tests, whose own is code: where more than a tenth was left open, a green one would prove nothing.
func (x *tally) verdict(code int) int {
	if asked, open := x.asked.Load(), x.open.Load(); open > max(2, asked/10) {
		fmt.Fprintf(os.Stderr, "%d of %d runs were left open, however often they were made: want a quieter machine\n", open, asked)
		return max(code, 1)
	}
	return code
}

// TestTally catches a machine on which nothing is decided and that is called a success, and one that is a failure for an accident.
func TestTally(t *testing.T) {
	for _, tt := range []struct{ asked, open, code, want int }{{100, 10, 0, 0}, {100, 11, 0, 1}, {3, 2, 0, 0}, {3, 3, 0, 1}, {100, 0, 2, 2}, {100, 99, 2, 2}} {
		var x tally
		x.asked.Store(int32(tt.asked))
		x.open.Store(int32(tt.open))
		if got := x.verdict(tt.code); got != tt.want {
			t.Errorf("%d of %d left open, exit code %d: got %d, want %d", tt.open, tt.asked, tt.code, got, tt.want)
		}
	}
}

// once makes a run, with none of perform's beside it where it is to be by itself.
func once(t *testing.T, o Options, byItself bool) *result.Result {
	t.Helper()
	if byItself {
		crowd.Lock()
		defer crowd.Unlock()
	} else {
		crowd.RLock()
		defer crowd.RUnlock()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := Run(ctx, o)
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	return r
}

// failed lists the codes of the checks that failed.
func failed(r *result.Result) []string {
	var codes []string
	for _, c := range r.Checks {
		if c.Verdict == result.Fail {
			codes = append(codes, c.Code)
		}
	}
	return codes
}

// TestPass is what all the negative controls beside it stand against: the same experiment, unbroken, passes, every check of it.
func TestPass(t *testing.T) {
	t.Parallel()
	x := synLoss(t)
	r := perform(t, Options{Experiment: x, Plan: fast(t, x, nil)})
	if disturbed(r) {
		return
	}
	if r.Verdict != result.Pass {
		t.Errorf("verdict: got %s (%s), want pass", r.Verdict, r.Reason)
	}
	for _, c := range r.Checks {
		if c.Verdict != result.Pass {
			t.Errorf("check %s: got %s (%s), want pass", c.ID, c.Verdict, c.Detail)
		}
	}
	var ids []string
	for _, c := range r.Checks {
		ids = append(ids, c.ID)
	}
	for _, want := range []string{"count", "syn-retransmission-1", "errno", "death", "states-client", "states-server", "rule-server-input", "arrivals",
		"isn", "orphans"} {
		if !slices.Contains(ids, want) {
			t.Errorf("checks: got %v, want %s among them", ids, want)
		}
	}
	if len(r.Packets) != 2 || r.Rules[0].Packets != 2 {
		t.Errorf("packets: got %d, the rule caught %d, want 2 and 2", len(r.Packets), r.Rules[0].Packets)
	}
	for _, p := range r.Packets {
		if p.Fate != result.Dropped || p.SentAt == nil || p.ArrivedAt == nil || *p.ArrivedAt < *p.SentAt {
			t.Errorf("packet %d: got fate %s, sent %v, arrived %v, want dropped, both seen, in order", p.ID, p.Fate, p.SentAt, p.ArrivedAt)
		}
	}
	if r.Hypothesis != nil {
		t.Errorf("hypothesis of a pass: got %q, want none", r.Hypothesis.Text)
	}
}

// TestPanic catches a panic that leaves the lab, its goroutines or its descriptors behind (TestMain looks), and one that is swallowed.
func TestPanic(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"run", "predict"} {
		x := synLoss(t)
		var path string
		boom := func() { panic("boom in " + where) }
		honest := x.Predict
		if where == "run" {
			x.Run = func(ctx context.Context, l *lab.Lab, e experiments.Env) error {
				path = l.Client.NamespacePath()
				if _, err := l.Client.Start(ctx); err != nil {
					return err
				}
				boom()
				return nil
			}
		} else {
			x.Predict = func(e experiments.Env) (timeline.Timeline, error) { boom(); return honest(e) }
		}
		r, err := Run(t.Context(), Options{Experiment: x, Plan: fast(t, x, nil)})
		if r != nil || err == nil || !strings.Contains(err.Error(), "boom in "+where) {
			t.Errorf("panic in %s: got result %v and error %v, want no result and an error that names it", where, r != nil, err)
		}
		if where == "run" {
			wantGone(t, path)
		}
	}
}

// wantGone waits until a namespace's path is gone: its thread ends a moment after the lab is closed.
func wantGone(t *testing.T, path string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("the client's namespace %s: still there 30 s after the run, want it gone", path)
			return
		}
	}
}

// TestCancelled catches a run that goes on, or reports something else, after its context ended: before the start, and in the middle.
func TestCancelled(t *testing.T) {
	t.Parallel()
	x := synLoss(t)
	why := errors.New("the test says so")
	early, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if r, err := Run(early, Options{Experiment: x, Plan: fast(t, x, nil)}); r != nil || !errors.Is(err, context.Canceled) && !errors.Is(err, why) {
		t.Errorf("cancelled before: got result %t, error %v, want none and the cancellation", r != nil, err)
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	began := time.Now()
	long := fast(t, x, map[string]string{"syn-retries": "5"}) // connect() would go on for 63 s
	r, err := Run(ctx, Options{Experiment: x, Plan: long, Watch: &onFirst{do: func() { cancel(why) }}})
	if r != nil || !errors.Is(err, why) {
		t.Errorf("cancelled in the middle: got result %t, error %v, want none and %v", r != nil, err, why)
	}
	if d := time.Since(began); d > 40*time.Second {
		t.Errorf("cancelled in the middle: returned after %v, want long before connect() gives up at 63 s", d)
	}
}

// onFirst calls do at the first event.
type onFirst struct{ do func() }

// Ready says nothing.
func (w *onFirst) Ready(*result.Result) {}

// Event calls do.
func (w *onFirst) Event(*result.Result, result.Event, string) { w.do() }

// Status says nothing.
func (w *onFirst) Status(Status) {}

// TestCutShort catches a run that was given too little time and calls what it did not wait for a contradiction, or a pass.
func TestCutShort(t *testing.T) {
	t.Parallel()
	x := synLoss(t)
	r := perform(t, Options{Experiment: x, Plan: fast(t, x, nil), Timeout: 500 * time.Millisecond})
	if r.Verdict != result.Inconclusive || r.Verdict.ExitCode() != 5 {
		t.Errorf("verdict: got %s, want inconclusive", r.Verdict)
	}
	if !slices.ContainsFunc(r.Checks, func(c result.Check) bool { return c.ID == "errno" && c.Code == explain.CutShort }) {
		t.Errorf("checks: got %+v, want errno with %s", r.Checks, explain.CutShort)
	}
}
