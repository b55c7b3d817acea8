package result

import (
	"testing"
	"time"
)

// TestCompare doctors one thing of a prediction at a time. It catches a difference that goes unseen, and one that is made up.
func TestCompare(t *testing.T) {
	make2 := func() *Prediction {
		return &Prediction{
			Events: []Event{
				{Host: "client", What: "syn"},
				{Host: "client", What: "syn-retransmission", N: 1, At: Seconds(time.Second), Late: Seconds(time.Millisecond), Why: "a", Tick: 3},
				{Host: "client", What: "ack"}, {Host: "client", What: "ack", At: Seconds(time.Second)},
			},
			Outcome: &Event{Host: "client", What: "connect-error", Errno: "ETIMEDOUT"},
		}
	}
	for _, c := range []struct {
		name   string
		doctor func(p *Prediction)
		want   int
		window bool
	}{
		{"nothing", func(*Prediction) {}, 0, false},
		{"words and the tick of a run", func(p *Prediction) { p.Events[1].Why, p.Events[1].Tick = "b", 4 }, 0, false},
		{"a time", func(p *Prediction) { p.Events[1].At++ }, 1, false},
		{"a window", func(p *Prediction) { p.Events[1].Late++ }, 1, true},
		{"the second of two alike", func(p *Prediction) { p.Events[3].At++ }, 1, false},
		{"the outcome", func(p *Prediction) { p.Outcome.Errno = "ECONNREFUSED" }, 1, false},
		{"no outcome", func(p *Prediction) { p.Outcome = nil }, 1, false},
		{"one less", func(p *Prediction) { p.Events = p.Events[:3] }, 1, false},
		{"one more", func(p *Prediction) { p.Events = append(p.Events, Event{Host: "server", What: "rst"}) }, 1, false},
	} {
		b := make2()
		c.doctor(b)
		for _, got := range [][]Change{Compare(make2(), b), Compare(b, make2())} {
			if len(got) != c.want || len(got) > 0 && got[0].Window != c.window {
				t.Errorf("%s: %+v; want %d", c.name, got, c.want)
			}
		}
	}
}
