package result

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Catches a matrix that does not survive being stored, and one whose cells belong to no kernel.
func TestMatrixRoundTrip(t *testing.T) {
	late := int64(0)
	m := &Matrix{Schema: MatrixSchema, Started: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), Kernels: []MatrixKernel{{Name: "6.1"}}, Verdict: Pass,
		Rows: []MatrixRow{{Experiment: "x", Cells: []MatrixCell{{Kernel: "6.1", Verdict: Pass, Late: &late}}}}}
	var b bytes.Buffer
	if err := m.Write(&b); err != nil {
		t.Fatal(err)
	}
	got, err := ReadMatrix(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{
		"another schema":     strings.Replace(b.String(), MatrixSchema, "tcplab.matrix/v9", 1),
		"a cell too few":     strings.Replace(b.String(), `"cells": [`, `"cells": [], "x": [`, 1),
		"an unknown verdict": strings.Replace(b.String(), `"verdict": "pass"`, `"verdict": "fine"`, 1),
		"trailing bytes":     b.String() + "{}",
	} {
		if _, err := ReadMatrix(strings.NewReader(text)); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

// Catches a cell that speaks of the mean instead of the latest event, counts one that had no tick, or takes an early event for an exact one.
func TestCellLate(t *testing.T) {
	off := func(d time.Duration) *Seconds { s := Seconds(d); return &s }
	r := &Result{Clock: Clock{Tick: Seconds(4 * time.Millisecond)}, Events: []Event{{}, {OffTick: off(3 * time.Millisecond)}, {OffTick: off(9 * time.Millisecond)}}}
	for _, tt := range []struct {
		name    string
		outcome *Event
		late    int64
		timed   int
	}{
		{"two ticks", nil, 2, 2},
		{"the outcome is later", &Event{OffTick: off(13 * time.Millisecond)}, 3, 3},
		{"early", &Event{OffTick: off(-time.Microsecond)}, 2, 3},
	} {
		r.Outcome = tt.outcome
		if c := Cell("k", r); c.Late == nil || *c.Late != tt.late || c.Timed != tt.timed {
			t.Errorf("%s: got %v of %d, want %d of %d", tt.name, c.Late, c.Timed, tt.late, tt.timed)
		}
	}
	r.Events, r.Outcome = r.Events[:1], &Event{OffTick: off(-time.Microsecond)}
	if c := Cell("k", r); c.Late == nil || *c.Late != -1 {
		t.Errorf("early alone: got %v, want -1", c.Late)
	}
	r.Outcome = nil
	if c := Cell("k", r); c.Late != nil {
		t.Errorf("nothing had a tick: got %d, want none", *c.Late)
	}
}

func FuzzReadMatrix(f *testing.F) {
	var b bytes.Buffer
	if err := (&Matrix{Schema: MatrixSchema, Kernels: []MatrixKernel{{Name: "6.1"}}, Rows: []MatrixRow{{Cells: []MatrixCell{{Verdict: Pass}}}}}).Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"schema":"tcplab.matrix/v1","kernels":[{}],"rows":[{"cells":[]}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := ReadMatrix(bytes.NewReader(in))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := m.Write(&out); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := ReadMatrix(&out); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}
