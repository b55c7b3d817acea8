package link

import (
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

// TestDue plays frames across a link of 10 ms. Each row catches another way to forget what was on the link before.
func TestDue(t *testing.T) {
	type sent struct {
		at    time.Duration
		bytes int
		data  bool
		want  time.Duration
	}
	for _, tt := range []struct {
		name string
		plan Plan
		send []sent
	}{
		{"nothing besides the delay", Plan{}, []sent{{0, 1000, true, 10 * ms}, {0, 1000, true, 10 * ms}, {3 * ms, 60, false, 13 * ms}}},
		{"a rate: 1000 bytes take 1 ms, and the next waits", Plan{Rate: 8e6}, []sent{{0, 1000, true, 11 * ms}, {0, 500, true, 11*ms + 500*time.Microsecond}, {5 * ms, 1000, true, 16 * ms}}},
		{"a rate and a packet without data, which takes no room", Plan{Rate: 8e6}, []sent{{0, 1000, true, 11 * ms}, {0, 60, false, 10 * ms}, {0, 1000, true, 12 * ms}}},
		{"held, and the order is kept", Plan{Hold: []time.Duration{4 * ms, ms}}, []sent{{0, 1000, true, 14 * ms}, {2 * ms, 1000, true, 14 * ms}, {5 * ms, 1000, true, 15 * ms}}},
		{"held, and overtaken", Plan{Behind: []time.Duration{4 * ms, 0}}, []sent{{0, 1000, true, 14 * ms}, {2 * ms, 1000, true, 12 * ms}}},
		{"held behind others, which keep their own order", Plan{Hold: []time.Duration{2 * ms, ms, 0}, Behind: []time.Duration{0, 4 * ms}}, []sent{{0, 1000, true, 12 * ms}, {0, 1000, true, 16 * ms}, {0, 1000, true, 12 * ms}}},
		{"packets without data are not counted", Plan{Hold: []time.Duration{4 * ms}}, []sent{{0, 60, false, 10 * ms}, {1 * ms, 1000, true, 15 * ms}}},
		{"held behind a rate", Plan{Rate: 8e6, Hold: []time.Duration{0, 3 * ms}}, []sent{{0, 1000, true, 11 * ms}, {0, 1000, true, 15 * ms}, {0, 1000, true, 15 * ms}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := Way{Plan: tt.plan, Delay: 10 * ms}
			for i, s := range tt.send {
				if got := w.Due(s.at, s.bytes, s.data); got != s.want {
					t.Errorf("frame %d at %v: got %v, want %v", i+1, s.at, got, s.want)
				}
			}
		})
	}
}

// TestLongest catches a bound that a burst breaks.
func TestLongest(t *testing.T) {
	p := Plan{Rate: 8e6, Hold: []time.Duration{0, 3 * ms, ms}, Behind: []time.Duration{0, 0, 2 * ms}}
	w := Way{Plan: p, Delay: 10 * ms}
	var most time.Duration
	for range 5 {
		most = max(most, w.Due(0, 1000, true)-w.Delay)
	}
	if got := p.Longest(5, 1000); got < most || got > most+5*ms {
		t.Errorf("got %v, want %v or a little more", got, most)
	}
	if got := (Plan{}).Longest(5, 1000); got != 0 || !(Plan{}).Zero() || p.Zero() {
		t.Errorf("got %v, want 0 of a link without a plan, and Zero to say which that is", got)
	}
}

// TestEvery catches a plan for each packet that forgets those without data, those of the server, or what is no TCP.
func TestEvery(t *testing.T) {
	p := Plan{Every: true, Hold: []time.Duration{4 * ms, 0}, Back: []time.Duration{9 * ms}}
	there, back := Way{Plan: p, Delay: 10 * ms}, Way{Plan: p.Reverse(), Delay: 10 * ms}
	for i, tt := range []struct {
		way       *Way
		at        time.Duration
		tcp, data bool
		want      time.Duration
	}{
		{&there, 0, false, false, 10 * ms}, // ICMP
		{&there, 0, true, false, 14 * ms},
		{&back, 14 * ms, true, false, 33 * ms},
		{&there, 33 * ms, true, true, 43 * ms},
		{&back, 43 * ms, true, true, 53 * ms},
	} {
		if got := tt.way.Due(tt.at, 60, tt.way.Counts(tt.tcp, tt.data)); got != tt.want {
			t.Errorf("packet %d: got %v, want %v", i+1, got, tt.want)
		}
	}
	if p.Zero() || (Plan{Back: p.Back}).Zero() || !(Plan{Every: true}).Zero() {
		t.Error("Zero: got a plan that does something, or the other way round")
	}
	if got := p.Longest(0, 0); got != 9*ms {
		t.Errorf("longest: got %v, want 9ms, of the server's", got)
	}
}

// TestFlows has two connections, and a third without a count of its own. It catches a packet that moves the number or the order of another connection's, a
// flow that is not known by the port at its other end, and draws of one way that are taken for the other's.
func TestFlows(t *testing.T) {
	p := Plan{Every: true, Flows: []Flow{{Port: 8001, Hold: []time.Duration{6 * ms, 0}, Back: []time.Duration{ms}}, {Port: 40002, Hold: []time.Duration{2 * ms, 3 * ms}, Back: []time.Duration{9 * ms}}}}
	there, back := Way{Plan: p, Delay: 10 * ms}, Way{Plan: p.Reverse(), Delay: 10 * ms}
	for i, tt := range []struct {
		way      *Way
		from, to uint16
		at, want time.Duration
	}{
		{&there, 50000, 8001, 0, 16 * ms},
		{&there, 40002, 80, 0, 12 * ms}, // it need not wait
		{&there, 50000, 8001, ms, 16 * ms},
		{&there, 40002, 80, ms, 14 * ms},
		{&there, 50001, 80, ms, 11 * ms},
		{&back, 8001, 50000, 0, 11 * ms},
		{&back, 80, 40002, 0, 19 * ms},
		{&there, 40002, 80, 20 * ms, 30 * ms}, // after the end of the list
	} {
		if got := tt.way.Of(tt.from, tt.to).Due(tt.at, 60, true); got != tt.want {
			t.Errorf("packet %d: got %v, want %v", i+1, got, tt.want)
		}
	}
	if p.Zero() || p.Longest(0, 0) != 9*ms {
		t.Errorf("got Zero %v and %v at most, want a plan that does something, and 9ms", p.Zero(), p.Longest(0, 0))
	}
	if one := p.Of(40002); one.Zero() || !slices.Equal(one.Back, p.Flows[1].Back) || len(one.Flows) > 0 {
		t.Errorf("alone: got %+v, want the flow's own draws", one)
	}
}

// TestDice catches dice that fall otherwise the next time, that do not depend on the seed or the use, or that are loaded.
func TestDice(t *testing.T) {
	draw := func(seed uint64, use string) []int { return NewDice(seed, use).Chosen(200, 10) }
	first := draw(7, "loss")
	if want := draw(7, "loss"); !slices.Equal(first, want) {
		t.Errorf("the same seed: got %v and %v", first, want)
	}
	if slices.Equal(first, draw(8, "loss")) || slices.Equal(first, draw(7, "jitter")) {
		t.Error("another seed, or another use: got the same numbers")
	}
	// The numbers are part of what a seed promises: a result that names a seed can be played again with a later version.
	if want := []int{3, 12, 21, 24}; len(first) < 4 || !slices.Equal(first[:4], want) {
		t.Errorf("seed 7: got %v, want %v first", first, want)
	}
	n := 0
	for seed := range uint64(100) {
		n += len(draw(seed, "loss"))
	}
	if n < 1800 || n > 2200 { // of 20,000, with a standard deviation of 42
		t.Errorf("10 %%: got %d of 20000", n)
	}
	if got := NewDice(1, "loss").Chosen(200, 0); got != nil {
		t.Errorf("0 %%: got %v", got)
	}
	if got := NewDice(1, "loss").Chosen(200, 100); len(got) != 200 {
		t.Errorf("100 %%: got %d of 200", len(got))
	}
	var least, most time.Duration = time.Hour, 0
	for _, d := range NewDice(1, "jitter").Spread(1000, 5*ms) {
		least, most = min(least, d), max(most, d)
	}
	if least < 0 || least > ms || most > 5*ms || most < 4*ms {
		t.Errorf("up to 5 ms: got %v to %v", least, most)
	}
}
