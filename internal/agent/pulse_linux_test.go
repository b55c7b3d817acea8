package agent

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/judge"
)

// TestDueSpans catches spans that do not survive the environment.
func TestDueSpans(t *testing.T) {
	t.Setenv(Due, `[{"From":1000000,"To":2000000}]`)
	if got := dueSpans(); len(got) != 1 || got[0] != (Span{From: time.Millisecond, To: 2 * time.Millisecond}) {
		t.Errorf("got %v", got)
	}
	t.Setenv(Due, "")
	if got := dueSpans(); got != nil {
		t.Errorf("not set: got %v, want none", got)
	}
}

// TestBeatEvery catches a pulse that sees less than the judge asks for: a stop by which an event is later than is allowed, and of which nothing
// is on record, would make a failure of a busy machine. One that sees more beats more often than it must.
func TestBeatEvery(t *testing.T) {
	for _, hz := range []time.Duration{100, 250, 300, 1000} {
		jiffy := time.Second / hz
		if got, want := beatEvery(jiffy)+beatLate, judge.Allowance(jiffy); got != want {
			t.Errorf("HZ=%d: a stop is sure to be seen if longer than %v, want judge.Allowance's %v", hz, got, want)
		}
	}
}
