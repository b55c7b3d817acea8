package judge

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// socket steps a socket in SYN-SENT from jiffy to jiffy. It shares nothing with package oracle but the kernel's documented rules: a
// timer of d jiffies fires in the first jiffy after its time that is a whole multiple of its level's step.
type socket struct {
	hz, retries, linear int
	most                time.Duration // tcp_rto_max_ms
	byTime              bool          // since 5.4 the time ends it too
	jiffies             uint64        // of the first SYN
	phase               time.Duration // into that jiffy
	clock               time.Duration // CLOCK_MONOTONIC of the first SYN, less whole milliseconds
}

func (s socket) tick() time.Duration { return time.Second / time.Duration(s.hz) }

// fire waits for a timer that is armed at a jiffy.
func fire(at, delay uint64) uint64 {
	step := uint64(1)
	for delay >= 63*step {
		step *= 8
	}
	t := at + delay + 1
	for t%step != 0 {
		t++
	}
	return t
}

// run returns the jiffies since the start of each retransmission, and of the end.
func (s socket) run() (again []int64, end int64) {
	wait, now := uint64(s.hz), s.jiffies
	limit := time.Duration(0) // what the same number of retransmissions takes without linear timeouts
	for n, d := 0, time.Second; n <= s.retries; n++ {
		limit += d
		d = min(2*d, s.most)
	}
	for n := 0; ; n++ {
		now = fire(now, wait)
		since := time.Duration(now-s.jiffies)*s.tick() - s.phase
		elapsed := (s.clock + since).Truncate(ms) // the kernel compares whole milliseconds
		if n >= s.retries+s.linear || s.byTime && n > 0 && elapsed >= limit {
			return again, int64(now - s.jiffies)
		}
		again = append(again, int64(now-s.jiffies))
		if n+1 > s.linear {
			wait = min(2*wait, uint64(s.most/s.tick()))
		}
	}
}

// world is a random kernel, knobs and start.
func world(r *rand.Rand) (socket, oracle.Connect, kernel.Facts, error) {
	version := []string{"4.19", "5.15", "6.18"}[r.IntN(3)]
	s := socket{
		hz: []int{100, 250, 1000}[r.IntN(3)], retries: 1 + r.IntN(6), most: 120 * time.Second,
		byTime: version != "4.19", jiffies: 1<<32 + r.Uint64N(1<<20), clock: time.Duration(r.Int64N(int64(ms))),
	}
	if version == "6.18" {
		s.linear = r.IntN(5)
		s.most = []time.Duration{120 * time.Second, time.Second, 2 * time.Second, 5 * time.Second}[r.IntN(4)]
	}
	s.phase = time.Duration(r.Int64N(int64(s.tick())))
	v, err := kernel.ParseVersion(version)
	if err != nil {
		return s, oracle.Connect{}, kernel.Facts{}, err
	}
	f, err := kernel.Model(v, s.hz)
	c := oracle.Connect{SYNRetries: s.retries, LinearTimeouts: s.linear}
	if version == "6.18" {
		c.RTOMax = s.most
	}
	return s, c, f, err
}

// input puts the oracle's prediction beside what the stepped socket does, each event up to 300 µs after its tick.
func (s socket) input(c oracle.Connect, f kernel.Facts, exact bool, r *rand.Rand) (Input, error) {
	window, err := c.Predict(f, nil)
	if err != nil {
		return Input{}, err
	}
	in := Input{Want: window, Jiffy: s.tick()}
	if exact {
		tick, err := c.Predict(f, &oracle.Start{Jiffies: s.jiffies, Phase: s.phase})
		if err != nil {
			return Input{}, err
		}
		in.Want = withTicks(window, tick, s.tick())
		at := -s.phase
		in.JiffyStart, in.ClockError = &at, 20*time.Microsecond
	}
	seenAt := func(tick int64) time.Duration {
		return time.Duration(tick)*s.tick() - s.phase + time.Duration(r.Int64N(int64(300*time.Microsecond)))
	}
	again, end := s.run()
	in.Got.Events = []timeline.Event{seen(timeline.SYN, 0, 0)}
	for i, tick := range again {
		in.Got.Events = append(in.Got.Events, seen(timeline.SYNRetransmission, i+1, seenAt(tick)))
	}
	in.Got.Outcome = &timeline.Event{Host: "client", What: timeline.ConnectError, Errno: "ETIMEDOUT", Bound: timeline.Bound{At: seenAt(end)}}
	in.Ended = in.Got.Outcome.At + 100*ms
	return in, nil
}

// withTicks takes which events come, and their ticks, from the exact prediction, and the windows from the other.
func withTicks(window, exact timeline.Timeline, jiffy time.Duration) timeline.Timeline {
	one := func(w, e timeline.Event) timeline.Event {
		b := w.Bound
		b.Tick = e.Tick
		b.TickLast = e.Tick + int64((e.Latest-e.Earliest+jiffy/2)/jiffy)
		e.Bound = b
		return e
	}
	var out timeline.Timeline
	for i, e := range exact.Events {
		out.Events = append(out.Events, one(window.Events[i], e))
	}
	end := one(*window.Outcome, *exact.Outcome)
	out.Outcome = &end
	return out
}

// mutations are all single defects that no kernel and no machine without a stall can produce: the i-th event missing, earlier,
// later, an extra one after it.
func mutations(in Input, exact bool) map[string]Input {
	out := map[string]Input{}
	for i := range in.Got.Events {
		add := func(name string, change func(*Input)) {
			m := in
			m.Got.Events = slices.Clone(in.Got.Events)
			change(&m)
			out[fmt.Sprintf("%s %d", name, i)] = m
		}
		if !in.Want.Events[i].Maybe {
			add("drop", drop(i))
		}
		if certain(in.Want.Events) == len(in.Got.Events) {
			add("extra after", insert(seen(timeline.SYNRetransmission, i, in.Got.Events[i].At+100*ms)))
		}
		if i == 0 {
			continue
		}
		b := in.Want.Events[i].Bound
		early, late := in.Got.Events[i].At-b.Earliest+1, b.Latest+Allowance(in.Jiffy)-in.Got.Events[i].At+1
		if exact {
			early, late = in.Jiffy+ms, in.Jiffy+Allowance(in.Jiffy)+time.Duration(b.TickLast-b.Tick)*in.Jiffy
		}
		add("earlier", move(i, -early))
		add("later", move(i, late))
	}
	return out
}

// certain is the number of events that must come, or -1 where some may stay away.
func certain(events []timeline.Event) int {
	for _, e := range events {
		if e.Maybe {
			return -1
		}
	}
	return len(events)
}

// TestProperty takes random kernels, knobs and phases. What an independent socket does must pass, by window and by tick; every single
// defect of it must not. It catches an oracle or a judge that is too strict for some phase, and any defect that slips through.
func TestProperty(t *testing.T) {
	const seed = 20260101
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range 150 {
		s, c, f, err := world(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, exact := range []bool{false, true} {
			in, err := s.input(c, f, exact, r)
			if err != nil {
				t.Fatal(err)
			}
			if got, verdict := complaints(in); verdict != result.Pass {
				t.Fatalf("world %d, exact=%v, %+v: got %s with %q, want pass", i, exact, s, verdict, got)
			}
			for name, m := range mutations(in, exact) {
				if _, verdict := complaints(m); verdict == result.Pass {
					t.Errorf("world %d, exact=%v, %+v: %s: got pass, want anything else", i, exact, s, name)
				}
			}
		}
	}
}
