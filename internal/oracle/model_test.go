package oracle

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
)

// TestModel catches a threshold that is off by one: the last doubling below the ceiling, the first value at it, a base above it.
func TestModel(t *testing.T) {
	s, ms := time.Second, time.Millisecond
	for _, tt := range []struct {
		retries    int
		base, most time.Duration
		want       time.Duration
	}{
		{0, RTOMin, RTOMax, 200 * ms},
		{9, RTOMin, RTOMax, 204600 * ms},
		{10, RTOMin, RTOMax, 324600 * ms},
		{15, RTOMin, RTOMax, 924600 * ms},
		{8, RTOMin, s, 7400 * ms},
		{15, RTOMin, 5 * s, 61200 * ms},
		{6, s, s, 7 * s},
		{6, s, RTOMax, 127 * s},
	} {
		if got := Model(tt.retries, tt.base, tt.most); got != tt.want {
			t.Errorf("%d retries from %v up to %v: got %v, want %v", tt.retries, tt.base, tt.most, got, tt.want)
		}
	}
}

// chainOf is a chain with these delays; the last one leads to its end.
func chainOf(delays ...time.Duration) Chain {
	c := Chain{Host: "client", First: timeline.Event{What: timeline.SYN}, LimitFrom: -1}
	for i, d := range delays[:len(delays)-1] {
		c.Steps = append(c.Steps, Step{What: timeline.SYNRetransmission, N: i + 1, Delay: d})
	}
	c.End = Step{What: timeline.ConnectError, Delay: delays[len(delays)-1]}
	return c
}

// TestChainAgainstConnect compares a chain with the oracle of connect(2), which shares no walk with it. It catches a phase that is left
// out, a gap that counts from the wrong fire, and, by the last case, a comparison that cannot fail.
func TestChainAgainstConnect(t *testing.T) {
	s := time.Second
	for _, tt := range []struct {
		name   string
		hz     int
		delays []time.Duration
		same   bool
	}{
		{"HZ=250", 250, []time.Duration{s, 2 * s, 4 * s, 8 * s}, true},
		{"HZ=1000", 1000, []time.Duration{s, 2 * s, 4 * s, 8 * s}, true},
		{"HZ=100", 100, []time.Duration{s, 2 * s, 4 * s, 8 * s}, true},
		{"one wait is another", 250, []time.Duration{s, 2 * s, 5 * s, 8 * s}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := facts(t, 6, 18, tt.hz)
			got, want := chainOf(tt.delays...).Predict(f), predict(t, Connect{SYNRetries: 3}, f, nil)
			same := len(got.Events) == len(want.Events) && sameBound(got.Outcome.Bound, want.Outcome.Bound)
			for i := range got.Events {
				same = same && sameBound(got.Events[i].Bound, want.Events[i].Bound)
			}
			if same != tt.same {
				t.Errorf("got %+v %+v, want %+v %+v", got.Events, got.Outcome, want.Events, want.Outcome)
			}
		})
	}
}

// sameBound reports whether two bounds are the same but for the open end of a phase: a nanosecond.
func sameBound(a, b timeline.Bound) bool {
	close := func(a, b time.Duration) bool { return (a - b).Abs() <= 2 }
	return close(a.At, b.At) && close(a.Earliest, b.Earliest) && close(a.Latest, b.Latest) && close(a.GapEarliest, b.GapEarliest) && close(a.GapLatest, b.GapLatest)
}

// TestChainLimit catches a limit that is looked at too early, counts from the wrong fire, or does not cut the timer.
func TestChainLimit(t *testing.T) {
	s, ms := time.Second, time.Millisecond
	f := facts(t, 6, 18, 250)
	c := chainOf(s, 2*s, 4*s, 8*s, 16*s)
	c.Limit, c.LimitFrom, c.Tested = 5*s, 0, 1
	if got := c.Predict(f); len(got.Events) != 3 || got.Outcome.Earliest < 7*s || got.Outcome.Latest > 7500*ms {
		t.Errorf("limit of 5 s from the first fire: got %d events, end %v to %v, want 3, at 7 s", len(got.Events), got.Outcome.Earliest, got.Outcome.Latest)
	}
	c.Clamp = true
	if got := c.Predict(f); len(got.Events) != 3 || got.Outcome.Earliest < 6*s || got.Outcome.Latest > 6300*ms {
		t.Errorf("the same with a timer that is cut: got %d events, end %v to %v, want 3, at 6 s", len(got.Events), got.Outcome.Earliest, got.Outcome.Latest)
	}
	c.Clamp, c.Limit, c.LimitFrom = false, 3030*ms, -1 // within the window of the second fire
	if got := c.Predict(f); len(got.Events) != 3 || !got.Events[2].Maybe {
		t.Errorf("limit inside a window: got %+v, want a second step that may be absent", got.Events)
	}
	c.Tested, c.Limit = 3, ms
	if got := c.Predict(f); len(got.Events) != 4 {
		t.Errorf("limit that is looked at from the fourth fire on: got %d events, want 4", len(got.Events))
	}
}

// TestChainOfDays catches a chain that takes as long as its phases are many, and a window that a left-out phase leaves.
func TestChainOfDays(t *testing.T) {
	f := facts(t, 6, 18, 1000)
	delays := make([]time.Duration, 1000)
	for i := range delays {
		delays[i] = 2 * time.Hour
	}
	got := chainOf(delays...).Predict(f).Outcome
	for j := uint64(1 << 40); j < 1<<40+100_000; j += 9973 {
		at := j
		for range delays {
			at, _ = Fire(f, at, 7200_000)
		}
		if d := time.Duration(at-j) * time.Millisecond; d < got.Earliest || d > got.Latest {
			t.Fatalf("start %d: got a window of %v to %v, want it to hold %v", j, got.Earliest, got.Latest, d)
		}
	}
}
