package judge

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// load is a machine on which something waited for a processor in so much of a run of 11.7 s.
func load(waited time.Duration) *result.Load {
	w := result.Seconds(waited)
	return &result.Load{Over: result.Seconds(11700 * time.Millisecond), Waited: &w}
}

// TestStarved is a program that a read(2) told late of an end which a timer made. Seen in exp11: 0.2 to 1.2 s late, the kernel's own record of the end missing, in
// a run in 11.2 s of whose 11.7 s something waited for a processor. It catches such a run that is called a contradiction, and one that is forgiven: on a machine
// that was idle, or half busy, or does not say; by more than a starved program takes, or more than all of them waited together; of a packet that the kernel sends; before
// its time; or where the kernel's own record says that it was the kernel.
func TestStarved(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name        string
		what        timeline.What
		late, ended time.Duration // after its tick
		load        *result.Load
		want        result.Verdict
	}{
		{"starved", timeline.SocketError, 1200 * ms, 0, load(11200 * ms), result.Inconclusive},
		{"starved, less late", timeline.SocketError, 200 * ms, 0, load(11200 * ms), result.Inconclusive},
		{"idle", timeline.SocketError, 1200 * ms, 0, load(300 * ms), result.Fail},
		{"idle, less late", timeline.SocketError, 200 * ms, 0, load(300 * ms), result.Fail},
		{"half busy", timeline.SocketError, 1200 * ms, 0, load(6 * time.Second), result.Fail},
		{"a machine that does not say", timeline.SocketError, 1200 * ms, 0, &result.Load{Over: result.Seconds(11700 * ms)}, result.Fail},
		{"nobody asked", timeline.SocketError, 1200 * ms, 0, nil, result.Fail},
		{"later than starving explains", timeline.SocketError, 2100 * ms, 0, load(11200 * ms), result.Fail},
		{"a packet of the kernel's", timeline.RTORetransmission, 200 * ms, 0, load(11200 * ms), result.Fail},
		{"too early", timeline.SocketError, -20 * ms, 0, load(11200 * ms), result.Fail},
		{"the kernel had it on its tick", timeline.SocketError, 1200 * ms, 60 * time.Microsecond, load(11200 * ms), result.Inconclusive},
		{"the same, idle", timeline.SocketError, 1200 * ms, 60 * time.Microsecond, load(300 * ms), result.Fail},
		{"the kernel was late", timeline.SocketError, 1200 * ms, 1100 * ms, load(11200 * ms), result.Fail},
		{"the kernel was early", timeline.SocketError, 1200 * ms, -20 * ms, load(11200 * ms), result.Fail},
		{"in its time", timeline.SocketError, ms, 0, load(11200 * ms), result.Pass},
		{"another program waits in vain", timeline.Quiet, 1200 * ms, 0, load(11200 * ms), result.Inconclusive},
	} {
		in := answered(0)
		tick := *in.JiffyStart + 101*in.Jiffy
		e := timeline.Event{Host: "client", What: tt.what, Chain: "end", Bound: timeline.Bound{At: 400 * ms, Earliest: 400 * ms, Latest: 432 * ms, Tick: 101}}
		if tt.what == timeline.Quiet {
			e.Tick, e.Earliest, e.Latest = 0, tick, tick
		}
		in.Want.Events = append(in.Want.Events, e)
		got := timeline.Event{Host: "client", What: tt.what, Bound: timeline.Bound{At: tick + tt.late}}
		if tt.ended != 0 {
			got.Ended = tick + tt.ended
		}
		in.Got.Events, in.Ended, in.Load = append(in.Got.Events, got), time.Minute, tt.load
		_, _, checks, _ := Schedule(in)
		last := checks[len(checks)-1]
		if last.Verdict != tt.want {
			t.Errorf("%s: got %s (%s), want %s", tt.name, last.Verdict, last.Detail, tt.want)
		}
		if tt.want == result.Inconclusive && !strings.Contains(last.Detail, "in 11.200 s of 11.700 s something waited for a processor") {
			t.Errorf("%s: got %q, want that it names how short of processors the machine was", tt.name, last.Detail)
		}
	}
}

// TestStarvedShort catches a machine that is said to have starved a program for longer than anything waited there.
func TestStarvedShort(t *testing.T) {
	l := load(900 * time.Millisecond)
	l.Over = result.Seconds(time.Second)
	j := &judgement{Input: Input{Load: l}}
	for late, want := range map[time.Duration]bool{800 * time.Millisecond: true, time.Second: false} {
		if got := j.starved(late) != ""; got != want {
			t.Errorf("%v late where something waited for 0.9 s of 1 s: got %v, want %v", late, got, want)
		}
	}
}

// TestGapOfStarved is TestGapOfProgram where the gap alone tells.
func TestGapOfStarved(t *testing.T) {
	const ms = time.Millisecond
	for waited, want := range map[time.Duration]result.Verdict{11200 * ms: result.Inconclusive, 300 * ms: result.Fail} {
		bound := func(at, gap time.Duration) timeline.Bound {
			return timeline.Bound{At: at, Earliest: at, Latest: at + 900*ms, GapEarliest: gap, GapLatest: gap + 10*ms}
		}
		in := Input{Jiffy: 4 * ms, Ended: time.Minute, Load: load(waited)}
		for i, what := range []timeline.What{timeline.SYN, timeline.WindowProbe, timeline.SocketError} {
			e := timeline.Event{Host: "client", What: what, Chain: "probe"}
			seen := e
			if i > 0 {
				e.Bound = bound(time.Duration(i)*time.Second, time.Duration(i-1)*time.Second)
				seen.At = e.At + time.Duration(i-1)*500*ms
			}
			seen.Chain = ""
			in.Want.Events, in.Got.Events = append(in.Want.Events, e), append(in.Got.Events, seen)
		}
		_, _, checks, _ := Schedule(in)
		if last := checks[len(checks)-1]; last.Verdict != want {
			t.Errorf("something waited for %v: got %s (%s), want %s", waited, last.Verdict, last.Detail, want)
		}
	}
}

// TestGapOfDeferred has the end of a connect() that comes too soon behind the SYN before it, both in their windows: what handled that one's timer had to wait for a
// processor. It catches such a gap that is called a contradiction, and one that is forgiven: on an idle machine, or one
// that does not say; by more than a jiffy, or than the SYN can have been late; behind a packet that a program made.
func TestGapOfDeferred(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name        string
		late, short time.Duration // the SYN in its window; the gap behind it, beyond the allowance
		program     bool
		load        *result.Load
		want        result.Verdict
	}{
		{"starved", 9 * ms, 80 * time.Microsecond, false, load(11200 * ms), result.Inconclusive},
		{"idle", 9 * ms, 80 * time.Microsecond, false, load(300 * ms), result.Fail},
		{"a machine that does not say", 9 * ms, 80 * time.Microsecond, false, nil, result.Fail},
		{"by more than a jiffy", 30 * ms, 5 * ms, false, load(11200 * ms), result.Fail},
		{"the SYN was not so late", 2 * ms, 3 * ms, false, load(11200 * ms), result.Fail},
		{"behind a program's packet", 9 * ms, 80 * time.Microsecond, true, load(11200 * ms), result.Fail},
		{"no shorter than may be", 9 * ms, 0, false, load(11200 * ms), result.Pass},
	} {
		bound := func(at, gap time.Duration) timeline.Bound {
			return timeline.Bound{At: at, Earliest: at, Latest: at + 50*ms, GapEarliest: gap, GapLatest: gap + 10*ms}
		}
		first := timeline.Event{Host: "client", What: timeline.SYN, Chain: "syn"}
		again := timeline.Event{Host: "client", What: timeline.SYNRetransmission, N: 1, Chain: "syn", ByProgram: tt.program, Bound: bound(time.Second, time.Second)}
		end := timeline.Event{Host: "client", What: timeline.SYNRetransmission, N: 2, Chain: "syn", Bound: bound(3*time.Second-20*ms, 2*time.Second)}
		in := Input{Jiffy: 4 * ms, Ended: time.Minute, Load: tt.load}
		in.Want.Events = []timeline.Event{first, again, end}
		in.Got.Events = slices.Clone(in.Want.Events)
		in.Got.Events[1].At += tt.late
		in.Got.Events[2].At = in.Got.Events[1].At + 2*time.Second - Allowance(in.Jiffy) - tt.short
		_, _, checks, _ := Schedule(in)
		if last := checks[len(checks)-1]; last.Verdict != tt.want {
			t.Errorf("%s: got %s (%s), want %s", tt.name, last.Verdict, last.Detail, tt.want)
		}
	}
}

// TestGapAfterCall has a SYN whose call took 24 ms, and its repeat 3 ms later than a timer leaves it that the SYN had started: the processor stood still between the
// two, as in a guest on a busy machine. It catches such a gap that is called a contradiction, and one that is forgiven by more than the call took, by another
// connection's call, by one that took no time, or behind a timer's packet.
func TestGapAfterCall(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name   string
		before timeline.What
		late   time.Duration
		calls  []Call
		want   result.Verdict
	}{
		{"the call took long", timeline.SYN, 3 * ms, []Call{{1, -ms, 23 * ms}}, result.Inconclusive},
		{"not so long", timeline.SYN, 30 * ms, []Call{{1, -ms, 23 * ms}}, result.Fail},
		{"another connection's", timeline.SYN, 3 * ms, []Call{{2, -ms, 23 * ms}}, result.Fail},
		{"a later call of the same connection", timeline.SYN, 3 * ms, []Call{{1, 500 * ms, 540 * ms}}, result.Fail},
		{"an earlier one", timeline.SYN, 3 * ms, []Call{{1, -50 * ms, -10 * ms}}, result.Fail},
		{"within a jiffy", timeline.SYN, 3 * ms, []Call{{1, -ms, 4 * ms}}, result.Fail},
		{"a timer's packet", timeline.SYNRetransmission, 3 * ms, []Call{{1, -ms, 23 * ms}}, result.Fail},
		{"in its time", timeline.SYN, 0, []Call{{1, -ms, 23 * ms}}, result.Pass},
	} {
		first := timeline.Event{Host: "client", What: tt.before, Port: 1}
		again := timeline.Event{Host: "client", What: timeline.SYNRetransmission, N: 1, Port: 1,
			Bound: timeline.Bound{At: 1000 * ms, Earliest: 1000 * ms, Latest: 1080 * ms, GapEarliest: 1000 * ms, GapLatest: 1032 * ms}}
		seen := again
		seen.Bound = timeline.Bound{At: 1032*ms + Allowance(4*ms) + tt.late}
		in := Input{Want: timeline.Timeline{Events: []timeline.Event{first, again}}, Got: timeline.Timeline{Events: []timeline.Event{first, seen}}, Jiffy: 4 * ms,
			Ended: time.Minute, Calls: tt.calls}
		_, _, checks, _ := Schedule(in)
		if last := checks[len(checks)-1]; last.Verdict != tt.want {
			t.Errorf("%s: got %s (%s), want %s", tt.name, last.Verdict, last.Detail, tt.want)
		}
	}
}

// TestOpening has a connect(2) that went on behind its SYN for longer than a jiffy, so that the phase of jiffies is not known and the timer may have been armed as late. It
// catches a repeat that is called a contradiction for that, and one that the call does not explain.
func TestOpening(t *testing.T) {
	const call = 14 * ms
	within := 1032*ms + Allowance(jiffy)
	for _, tt := range []struct {
		name    string
		at      time.Duration // of the repeat
		calls   []Call
		verdict result.Verdict
		first   string
	}{
		{"as late as the call", within + ms, []Call{{Before: -ms, After: call}}, result.Inconclusive, "syn-retransmission-1 inconclusive TL1301"},
		{"later", within + call + 100*time.Microsecond, []Call{{Before: -ms, After: call}}, result.Fail, "syn-retransmission-1 fail TL1104"},
		{"too early", 990 * ms, []Call{{Before: -ms, After: call}}, result.Fail, "syn-retransmission-1 fail TL1103"},
		{"the call was over within a jiffy", within + ms, []Call{{Before: -ms, After: jiffy}}, result.Fail, "syn-retransmission-1 fail TL1104"},
		{"a later call", within + ms, []Call{{Before: 500 * ms, After: 514 * ms}}, result.Fail, "syn-retransmission-1 fail TL1104"},
		{"another connection's", within + ms, []Call{{Port: 9, Before: -ms, After: call}}, result.Fail, "syn-retransmission-1 fail TL1104"},
		{"no call is known", within + ms, nil, result.Fail, "syn-retransmission-1 fail TL1104"},
	} {
		in := synLoss(false)
		in.Calls = tt.calls
		by := tt.at - in.Got.Events[1].At
		for i := range in.Got.Events[1:] {
			in.Got.Events[i+1].At += by
		}
		in.Got.Outcome.At += by
		list, verdict := complaints(in)
		if verdict != tt.verdict || len(list) == 0 || list[0] != tt.first {
			t.Errorf("%s: got %s with %q, want %s with %q", tt.name, verdict, list, tt.verdict, tt.first)
		}
	}
	exact := synLoss(true) // the jiffies are known: the tick decides
	exact.Calls = []Call{{Before: -ms, After: call}}
	move(1, 41*ms)(&exact)
	if list, verdict := complaints(exact); verdict != result.Fail {
		t.Errorf("with the phase known: got %s with %q, want fail", verdict, list)
	}
}
