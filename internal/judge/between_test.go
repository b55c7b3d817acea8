package judge

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// TestBetween catches the end of a socket that came before its time or after it, one that is inside the window of all ticks and not at its own,
// and one that nobody looked for while it may have come at any time.
func TestBetween(t *testing.T) {
	const ms, jiffy = time.Millisecond, 4 * time.Millisecond
	begin := -time.Millisecond // of the first packet's jiffy
	window := timeline.Bound{At: 2000 * ms, Earliest: 2004 * ms, Latest: 2040 * ms}
	exact := window
	exact.Tick = 505 // 2019 ms
	open := exact
	open.TickLast = 507
	for _, tt := range []struct {
		name      string
		want      timeline.Bound
		since, at time.Duration
		stalls    []result.Stall
		verdict   result.Verdict
		code      string
		due       time.Duration // by the timer wheel's record; 0: there is none
	}{
		{"no look for long, and its timer was due at its tick", exact, 1900 * ms, 2290 * ms, nil, result.Pass, explain.OnTheWheel, 2019 * ms},
		{"no look for long, and its timer was due at another", exact, 1900 * ms, 2290 * ms, nil, result.Inconclusive, explain.Stall, 2023 * ms},
		{"gone before, and a timer was due at its tick", exact, 2010 * ms, 2018 * ms, nil, result.Fail, explain.TooEarly, 2019 * ms},
		{"there long after, and its timer was due at its tick", exact, 2050 * ms, 2060 * ms, nil, result.Fail, explain.TooLate, 2019 * ms},
		{"no look for long, the jiffies not known, and a record", window, 1800 * ms, 2100 * ms, nil, result.Inconclusive, explain.Stall, 2019 * ms},
		{"in the window", window, 2010 * ms, 2030 * ms, nil, result.Pass, "", 0},
		{"a look shortly before and after", window, 1980 * ms, 2060 * ms, nil, result.Pass, "", 0},
		{"no look for long around it", window, 1800 * ms, 2100 * ms, nil, result.Inconclusive, explain.Stall, 0},
		{"no look for long before it", window, 1950 * ms, 2010 * ms, nil, result.Inconclusive, explain.Stall, 0},
		{"no look for long after its tick", exact, 2018 * ms, 2090 * ms, nil, result.Inconclusive, explain.Stall, 0},
		{"gone before", window, 1900 * ms, 2003 * ms, nil, result.Fail, explain.TooEarly, 0},
		{"there after", window, 2050 * ms, 2060 * ms, nil, result.Fail, explain.TooLate, 0},
		{"there after, the machine stood still", window, 2050 * ms, 2060 * ms, []result.Stall{{At: result.Seconds(2030 * ms), For: result.Seconds(25 * ms)}}, result.Inconclusive, explain.Stall, 0},
		{"at its tick", exact, 2018 * ms, 2019*ms + 100*time.Microsecond, nil, result.Pass, "", 0},
		{"one tick late", exact, 2019*ms + 200*time.Microsecond, 2024 * ms, nil, result.Pass, "", 0}, // the allowance
		{"before its tick, in the window", exact, 2010 * ms, 2018 * ms, nil, result.Fail, explain.TooEarly, 0},
		{"after its tick, in the window", exact, 2029 * ms, 2030 * ms, nil, result.Fail, explain.TooLate, 0},
		{"before its tick, stalled at the start", exact, 2010 * ms, 2018 * ms, []result.Stall{{At: 0, For: result.Seconds(9 * ms)}}, result.Inconclusive, explain.Stall, 0},
		{"before its tick, stalled long before the start", exact, 2010 * ms, 2018 * ms, []result.Stall{{At: result.Seconds(-100 * ms), For: result.Seconds(9 * ms)}}, result.Fail, explain.TooEarly, 0},
		{"one of three ticks", open, 2031 * ms, 2033 * ms, nil, result.Pass, "", 0},
	} {
		want := timeline.Event{Host: "client", What: timeline.SocketGone, Bound: tt.want}
		got := timeline.Event{Host: "client", What: timeline.SocketGone, Since: tt.since, Due: tt.due, Bound: timeline.Bound{At: tt.at}}
		_, _, checks, _ := Schedule(Input{Want: timeline.Timeline{Events: []timeline.Event{want}}, Got: timeline.Timeline{Events: []timeline.Event{got}}, Jiffy: jiffy,
			JiffyStart: &begin, Ended: 5 * time.Second, Stalls: tt.stalls})
		for _, c := range checks {
			if c.ID == string(timeline.SocketGone) && (c.Verdict != tt.verdict || c.Code != tt.code) {
				t.Errorf("%s: got %s %s (%s), want %s %s", tt.name, c.Verdict, c.Code, c.Detail, tt.verdict, tt.code)
			}
		}
		if len(checks) != 2 {
			t.Errorf("%s: got %d checks, want 2", tt.name, len(checks))
		}
	}
}
