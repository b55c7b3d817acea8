package agent

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/judge"
)

// TestUntilBeat catches a pulse that rests while something is due, one that sleeps past the moment from which something may be, and one that never
// rests, which is felt where many programs wait.
func TestUntilBeat(t *testing.T) {
	const ms = time.Millisecond
	spans := []Span{{0, 500 * ms}, {2900 * ms, 3400 * ms}}
	for _, c := range []struct {
		at    time.Duration
		spans []Span
		want  time.Duration
	}{
		{0, spans, 7 * ms}, {500 * ms, spans, 7 * ms}, {501 * ms, spans, 100 * ms}, {2850 * ms, spans, 50 * ms}, {2899 * ms, spans, 7 * ms},
		{3 * time.Second, spans, 7 * ms}, {time.Hour, spans, 100 * ms}, {time.Hour, nil, 7 * ms},
	} {
		if got := untilBeat(c.at, 7*ms, c.spans); got != c.want {
			t.Errorf("at %v with %v: the next beat is %v later, want %v", c.at, c.spans, got, c.want)
		}
	}
}

// TestDueSpans catches spans that do not survive the environment.
func TestDueSpans(t *testing.T) {
	t.Setenv(Due, `[{"From":1000000,"To":2000000}]`)
	if got := dueSpans(); len(got) != 1 || got[0] != (Span{time.Millisecond, 2 * time.Millisecond}) {
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
