package stall

import (
	"testing"
	"time"
)

// TestUntil catches a look that rests while something is due, one that sleeps past the moment from which something may be, and one that never
// rests, which is felt where many programs wait.
func TestUntil(t *testing.T) {
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
		if got := Until(c.at, 7*ms, c.spans); got != c.want {
			t.Errorf("at %v with %v: the next look is %v later, want %v", c.at, c.spans, got, c.want)
		}
	}
}
