package judge

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// TestGapOfProgram catches a program that is told late on a busy machine and is held against the kernel, and a wrong gap that is forgiven: of a packet,
// which no program sends, or one that is too long for any busy machine.
func TestGapOfProgram(t *testing.T) {
	const ms = time.Millisecond
	bound := func(at, gap time.Duration) timeline.Bound {
		return timeline.Bound{At: at, Earliest: at, Latest: at + 500*ms, GapEarliest: gap, GapLatest: gap + 10*ms}
	}
	for _, tt := range []struct {
		name string
		what timeline.What
		late time.Duration
		want result.Verdict
	}{{"in time", timeline.SocketError, 10 * ms, result.Pass}, {"the program is late", timeline.SocketError, 30 * ms, result.Inconclusive},
		{"later than programs are", timeline.SocketError, 200 * ms, result.Fail}, {"a packet", timeline.WindowProbe, 30 * ms, result.Fail}} {
		probe := timeline.Event{Host: "client", What: timeline.WindowProbe, N: 1, Port: 1, Chain: "probe", Bound: bound(time.Second, 0)}
		end := timeline.Event{Host: "client", What: tt.what, N: 2, Port: 1, Chain: "probe", Bound: bound(2*time.Second, time.Second)}
		syn := timeline.Event{Host: "client", What: timeline.SYN, Port: 1}
		seen := func(e timeline.Event, at time.Duration) timeline.Event {
			e.Bound, e.Chain = timeline.Bound{At: at}, ""
			return e
		}
		in := Input{Want: timeline.Timeline{Events: []timeline.Event{syn, probe, end}}, Jiffy: 4 * ms, Ended: time.Minute,
			Got: timeline.Timeline{Events: []timeline.Event{seen(syn, 0), seen(probe, 1100*ms), seen(end, 2100*ms+tt.late)}}}
		_, _, checks, _ := Schedule(in)
		got := result.Pass
		for _, c := range checks {
			got = result.Worse(got, c.Verdict)
		}
		if got != tt.want {
			t.Errorf("%s: got %s, want %s: %+v", tt.name, got, tt.want, checks)
		}
	}
}

// TestGapBounds catches a gap that is forgiven a jiffy more than the timer and the allowance leave it, and one that is called too short because of
// a late event before it, however late that was. A timer that is handled a jiffy late may cost the next one a bucket: seen in exp11 on a busy machine, 956 ms
// for 928, in the window of its own.
func TestGapBounds(t *testing.T) {
	const ms, µs = time.Millisecond, time.Microsecond
	allowance := Allowance(4 * ms)
	bound := func(at, gap time.Duration) timeline.Bound {
		return timeline.Bound{At: at, Earliest: at, Latest: at + 500*ms, GapEarliest: gap, GapLatest: gap + 10*ms}
	}
	stall := []result.Stall{{At: result.Seconds(1490 * ms), For: result.Seconds(110 * ms)}}
	late := []result.Stall{{At: result.Seconds(1094 * ms), For: result.Seconds(5 * ms)}}
	early := []result.Stall{{At: result.Seconds(1000 * ms), For: result.Seconds(50 * ms)}}
	for _, tt := range []struct {
		name   string
		first  time.Duration // when the event before was seen; it was due from 1 s on
		gap    time.Duration
		stalls []result.Stall
		want   result.Verdict
	}{
		{"the shortest", 1100 * ms, 1000*ms - allowance, nil, result.Pass},
		{"shorter", 1100 * ms, 1000*ms - allowance - µs, nil, result.Fail},
		{"the longest", 1100 * ms, 1010*ms + allowance, nil, result.Pass},
		{"longer", 1100 * ms, 1010*ms + allowance + µs, nil, result.Fail},
		{"short by what the one before was late", 1600 * ms, 1000*ms - allowance - 600*ms, stall, result.Inconclusive},
		{"the one before was handled late, and this one is a step of the wheel later", 1100 * ms, 1040 * ms, late, result.Inconclusive},
		{"the one before was handled late, in its window, and this one is in its time", 1100 * ms, 1000*ms - allowance - 20*ms, late, result.Inconclusive},
		{"shorter than that explains", 1100 * ms, 1000*ms - allowance - 101*ms, late, result.Fail},
		{"short, and the stall was over long before", 1100 * ms, 1000*ms - allowance - 20*ms, early, result.Fail},
		{"without that", 1100 * ms, 1040 * ms, nil, result.Fail},
		{"the stall was over long before", 1100 * ms, 1040 * ms, early, result.Fail},
		{"more than a step later", 1100 * ms, 1170 * ms, late, result.Fail},
		{"by more than that", 1600 * ms, 1000*ms - allowance - 600*ms - µs, stall, result.Fail},
	} {
		probe := func(n int, b timeline.Bound) timeline.Event {
			return timeline.Event{Host: "client", What: timeline.WindowProbe, N: n, Port: 1, Chain: "probe", Bound: b}
		}
		syn := timeline.Event{Host: "client", What: timeline.SYN, Port: 1}
		in := Input{Want: timeline.Timeline{Events: []timeline.Event{syn, probe(1, bound(time.Second, 0)), probe(2, bound(1700*ms, time.Second))}}, Jiffy: 4 * ms,
			Ended: time.Minute, Stalls: tt.stalls}
		for n, at := range []time.Duration{0, tt.first, tt.first + tt.gap} {
			e := in.Want.Events[n]
			e.Bound, e.Chain = timeline.Bound{At: at}, ""
			in.Got.Events = append(in.Got.Events, e)
		}
		_, _, checks, _ := Schedule(in)
		if got := checks[len(checks)-1]; got.Verdict != tt.want || got.Gap == "" {
			t.Errorf("%s: got %s (%s) of a gap of %q, want %s", tt.name, got.Verdict, got.Detail, got.Gap, tt.want)
		}
	}
}

// TestFreshChain has a connection that ends by TCP_USER_TIMEOUT, which counts from the first window probe. A processor that counts the jiffy later handles that one a jiffy
// late, which every machine may, and the end then misses its bucket: 24 ms, in one of 20 runs of exp11. It catches such an end that is called a contradiction, and one
// that is forgiven where each probe was in its time, or by more than a step of the wheel, or where it is too early.
func TestFreshChain(t *testing.T) {
	const ms, jiffy = time.Millisecond, 4 * time.Millisecond
	begin := time.Duration(0)
	tick := func(n int64) timeline.Bound {
		at := time.Duration(n) * jiffy
		return timeline.Bound{At: at, Earliest: at, Latest: at + 60*ms, Tick: n, TickLast: n}
	}
	for _, tt := range []struct {
		name       string
		probe, end time.Duration // how late each was seen
		want       result.Verdict
	}{
		{"a jiffy late, and the end a bucket", 4050 * time.Microsecond, 24 * ms, result.Inconclusive},
		{"in its time, and the end a bucket late", 50 * time.Microsecond, 24 * ms, result.Fail},
		{"a jiffy late, and the end more than a bucket", 4050 * time.Microsecond, 70 * ms, result.Fail},
		{"a jiffy late, and the end too early", 4050 * time.Microsecond, -8 * ms, result.Fail},
		{"a jiffy late, and the end in its time", 4050 * time.Microsecond, 50 * time.Microsecond, result.Pass},
	} {
		in := Input{Jiffy: jiffy, JiffyStart: &begin, Ended: time.Minute}
		for i, n := range []int64{0, 323, 867, 949} {
			e := timeline.Event{Host: "client", What: timeline.WindowProbe, N: i, Chain: "persist timer"}
			late := []time.Duration{0, tt.probe, 50 * time.Microsecond, tt.end}[i]
			switch i {
			case 0:
				e.What, e.Chain = timeline.SYN, ""
			case 3:
				e.What, e.Chain = timeline.SocketError, "TCP_USER_TIMEOUT"
			}
			seen := e
			if n > 0 {
				e.Bound = tick(n)
				seen.Bound = timeline.Bound{At: e.At + late}
			}
			if i == 3 {
				seen.Ended = seen.At - 20*time.Microsecond
			}
			in.Want.Events, in.Got.Events = append(in.Want.Events, e), append(in.Got.Events, seen)
		}
		if got, verdict := complaints(in); verdict != tt.want {
			t.Errorf("%s: got %s %v, want %s", tt.name, verdict, got, tt.want)
		}
	}
}
