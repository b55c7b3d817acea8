package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/vm"
)

// A machine that ended is an internal error, one that cannot be made is this machine's lack, and neither is taken for the other.
func TestCannotBoot(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want int
		ok   bool
	}{
		{"ended", fmt.Errorf("boot: %w", &vm.EndError{Why: "was ended by killed"}), explain.ExitInternal, true},
		{"missing", fmt.Errorf("%w: no QEMU", vm.ErrMissing), explain.ExitUnable, true},
		{"another", errors.New("disk full"), 0, false},
	} {
		if got, _, ok := cannotBoot(tt.err); got != tt.want || ok != tt.ok {
			t.Errorf("%s: got exit code %d, %v, want %d, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

// told hands an inbox what a guest says of its first run, up to a message, and returns what the inbox makes of the last one.
func told(t *testing.T, in *inbox, last string, before func()) error {
	t.Helper()
	r := &result.Result{Schema: result.Schema, Experiment: result.Experiment{Name: "a-short"}, Verdict: result.Pass}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []vm.Message{{Name: "0/" + sayBegin}, {Name: "0/" + sayResult, Data: data}, {Name: "0/" + sayFile + "events.ndjson", Data: []byte("{}\n")}, {Name: "0/" + sayEnd}} {
		if m.Name == "0/"+last {
			before()
			return in.receive(m)
		}
		if err := in.receive(m); err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
	}
	t.Fatalf("a guest says nothing of %q", last)
	return nil
}

// TestLostFiles catches a run in a machine that is called a pass although its files are not there: the folder cannot be written while the guest
// sends, or the machine dies after the result and before the run's end. A run that is whole, and the one after it, are the negative control.
func TestLostFiles(t *testing.T) {
	xs := three()
	for _, tt := range []struct {
		name string
		last string // the guest's last message of its first run
		lost bool   // the folder, before it
		dies bool   // the machine, after it
		ok   bool
	}{
		{"whole", sayEnd, false, false, true},
		{"the machine dies after it", sayEnd, false, true, true},
		{"no folder for the events", sayFile + "events.ndjson", true, false, false},
		{"no folder for the rest", sayEnd, true, false, false},
		{"the machine dies before the end", sayFile + "events.ndjson", false, true, false},
	} {
		var out, errs bytes.Buffer
		dir := t.TempDir()
		b := &batch{app: &app{out: &out, err: &errs}, flags: &runFlags{out: dir}, jobs: jobsOf(xs[0], xs[1]), results: make([]*result.Result, 2)}
		b.way = newWay(nil, dir)
		b.results[1] = &result.Result{Experiment: result.Experiment{Name: xs[1].Name}, Verdict: result.Pass} // of another machine
		in := &inbox{b: b, jobs: b.jobs[:1], folders: map[int]*folder{}, began: map[int]time.Time{}}
		err := told(t, in, tt.last, func() {
			if tt.lost {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
		})
		if tt.lost != (err != nil) {
			t.Errorf("%s: got %v of %s, want an error: %v", tt.name, err, tt.last, tt.lost)
		}
		if tt.dies {
			err = &vm.EndError{Why: "the guest ended before it had answered"}
		}
		if err != nil {
			in.unmade(err)
		}
		in.discard()
		_ = keepMade(b.way, nil)
		folders, _ := filepath.Glob(filepath.Join(dir, "2*"))
		if whole := b.results[0] != nil; whole != tt.ok || len(folders) > 0 != tt.ok {
			t.Errorf("%s: got a result: %v, and folders %v, want both: %v", tt.name, whole, folders, tt.ok)
		}
		if err := b.finish(); err != nil {
			t.Fatal(err)
		}
		if (b.app.code == 0) != tt.ok || (errs.Len() == 0) != tt.ok || strings.Contains(out.String(), "2 pass") != tt.ok {
			t.Errorf("%s: got exit code %d, %q and %q", tt.name, b.app.code, errs.String(), out.String())
		}
	}
}
