package judge

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// answered is a run in which a server answers at once: no timer rules it. late is how late it came.
func answered(late time.Duration) Input {
	start := -1600 * time.Microsecond
	want := []timeline.Event{{Host: "client", What: timeline.SYN},
		{Host: "server", What: timeline.SYNACK, Bound: timeline.Bound{Latest: time.Millisecond}}}
	got := []timeline.Event{{Host: "client", What: timeline.SYN}, {Host: "server", What: timeline.SYNACK, Bound: timeline.Bound{At: late}}}
	return Input{Want: timeline.Timeline{Events: want}, Got: timeline.Timeline{Events: got}, Jiffy: 4 * time.Millisecond, JiffyStart: &start, Ended: time.Second}
}

// TestUntimed catches a stall that makes an answer in its window inconclusive, although no tick is hidden behind that window; and one that
// excuses nothing any more, or an answer that may come at any time.
func TestUntimed(t *testing.T) {
	for _, c := range []struct {
		name  string
		late  time.Duration
		stall time.Duration
		want  result.Verdict
	}{
		{"in its window", 100 * time.Microsecond, 0, result.Pass},
		{"in its window, the machine stalled", 100 * time.Microsecond, 20 * time.Millisecond, result.Pass},
		{"behind its window", 30 * time.Millisecond, 0, result.Fail},
		{"behind its window, the machine stalled", 30 * time.Millisecond, 30 * time.Millisecond, result.Inconclusive},
	} {
		in := answered(c.late)
		if c.stall > 0 {
			stalled(0, c.stall)(&in)
		}
		if got, verdict := complaints(in); verdict != c.want {
			t.Errorf("%s: got %s %v, want %s", c.name, verdict, got, c.want)
		}
	}
}

// TestOffTick catches a distance that is counted from another tick than the one in which an event came, where several were left open.
func TestOffTick(t *testing.T) {
	for _, c := range []struct {
		at   time.Duration // after the first open tick
		want time.Duration
	}{{100 * time.Microsecond, 100 * time.Microsecond}, {4100 * time.Microsecond, 100 * time.Microsecond}, {8100 * time.Microsecond, 100 * time.Microsecond},
		{13 * time.Millisecond, 5 * time.Millisecond}} {
		in := answered(0)
		tick := 10 * in.Jiffy
		w, g := &in.Want.Events[1], &in.Got.Events[1]
		g.At = *in.JiffyStart + tick + c.at
		w.Bound = timeline.Bound{At: tick, Earliest: tick - in.Jiffy, Latest: tick + 3*in.Jiffy, Tick: 10, TickLast: 12}
		events, _, _, _ := Schedule(in)
		if got := events[1].OffTick; got == nil || got.Duration() != c.want {
			t.Errorf("%v after the first tick: got %v, want %v", c.at, got, c.want)
		}
	}
}

// TestByProgram catches a repeat of the kernel's that may be as late as a program's write, which waits for its turn.
func TestByProgram(t *testing.T) {
	for what, want := range map[timeline.What]result.Verdict{
		timeline.Data: result.Inconclusive, timeline.FIN: result.Inconclusive,
		timeline.FastRetransmit: result.Fail, timeline.DataAgain: result.Fail, timeline.ACK: result.Fail,
	} {
		in := answered(16 * time.Millisecond)
		in.Want.Events[1].What, in.Got.Events[1].What = what, what
		if got, verdict := complaints(in); verdict != want {
			t.Errorf("%s, 15 ms late without a stall: got %s %v, want %s", what, verdict, got, want)
		}
	}
}

// TestAfterTimer catches a program that is judged like the timer it waited for: how soon it goes on says nothing of the kernel. Before the tick it had
// nothing to go on. The first was seen: 53.8 ms from the end of a connect(2) to the first data, no stall on record.
func TestAfterTimer(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name    string
		off     time.Duration // from the tick
		program bool
		stall   time.Duration
		want    result.Verdict
	}{
		{"a program, late", 63 * ms, true, 0, result.Inconclusive},
		{"the kernel, as late", 63 * ms, false, 0, result.Fail},
		{"a program, in its time during a stall", 6 * ms, true, 20 * ms, result.Pass},
		{"the kernel, off its tick during a stall", 6 * ms, false, 20 * ms, result.Inconclusive},
		{"a program, before the tick", -2 * ms, true, 0, result.Fail},
		{"a program, far too late", 300 * ms, true, 0, result.Fail},
		{"a program, far too late for a stall", 300 * ms, true, 20 * ms, result.Fail},
	} {
		in := answered(0)
		add := func(what timeline.What, program bool, seen time.Duration) {
			e := timeline.Event{Host: "client", What: what, Chain: string(what), ByProgram: program, Bound: timeline.Bound{At: 400 * ms, Earliest: 400 * ms, Latest: 432 * ms, Tick: 101}}
			in.Want.Events = append(in.Want.Events, e)
			in.Got.Events = append(in.Got.Events, timeline.Event{Host: "client", What: what, Bound: timeline.Bound{At: seen}})
		}
		tick := *in.JiffyStart + 101*in.Jiffy
		add(timeline.SYNRetransmission, false, tick+50*time.Microsecond)
		add(timeline.Data, c.program, tick+c.off)
		if c.stall > 0 {
			stalled(tick-5*ms, c.stall)(&in)
		}
		if got, verdict := complaints(in); verdict != c.want {
			t.Errorf("%s: got %s %v, want %s", c.name, verdict, got, c.want)
		}
	}
}

// TestProgramAfterProgram catches programs each of which is a little late, one after the other, that are called a contradiction because all of it together
// is more than one may be late; and one that is excused for being late by itself, or by what the kernel was late with.
func TestProgramAfterProgram(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name         string
		what         timeline.What
		first, later time.Duration // how late each is
		want         result.Verdict
	}{
		{"two programs", timeline.Data, 80 * ms, 140 * ms, result.Inconclusive},
		{"the second too late by itself", timeline.Data, 80 * ms, 190 * ms, result.Fail},
		{"the second too late, the first in time", timeline.Data, 0, 140 * ms, result.Fail},
		{"the kernel after a program", timeline.ACK, 80 * ms, 81 * ms, result.Inconclusive},
		{"the kernel late by itself", timeline.ACK, 80 * ms, 140 * ms, result.Fail},
	} {
		in := answered(0)
		add := func(host string, what timeline.What, late time.Duration) {
			e := timeline.Event{Host: host, What: what, Bound: timeline.Bound{At: 400 * ms, Earliest: 400 * ms, Latest: 401 * ms}}
			in.Want.Events = append(in.Want.Events, e)
			in.Got.Events = append(in.Got.Events, timeline.Event{Host: host, What: what, Bound: timeline.Bound{At: 401*ms + late}})
		}
		add("client", timeline.Data, c.first)
		add("server", c.what, c.later)
		if got, verdict := complaints(in); verdict != c.want {
			t.Errorf("%s: got %s %v, want %s", c.name, verdict, got, c.want)
		}
	}
}

// TestBehind catches an answer to a late packet that is called a contradiction because something else came in time between the two, and one
// that may be later than what it answers.
func TestBehind(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name      string
		data, ack time.Duration
		want      result.Verdict
	}{
		{"late data, and its acknowledgement as late", 32 * ms, 42 * ms, result.Inconclusive},
		{"late data, and its acknowledgement later still", 32 * ms, 70 * ms, result.Fail},
		{"data in time, and a late acknowledgement", 10 * ms, 42 * ms, result.Fail},
		{"late data, and its acknowledgement in time", 32 * ms, 33 * ms, result.Inconclusive},
	} {
		in := answered(0)
		add := func(host string, what timeline.What, at, open, seen time.Duration) {
			in.Want.Events = append(in.Want.Events, timeline.Event{Host: host, What: what, Bound: timeline.Bound{At: at, Earliest: at, Latest: at + open}})
			in.Got.Events = append(in.Got.Events, timeline.Event{Host: host, What: what, Bound: timeline.Bound{At: seen}})
		}
		add("server", timeline.Data, 10*ms, ms, c.data)
		add("client", timeline.Connected, 12*ms, 30*ms, max(12*ms, c.data))
		add("client", timeline.ACK, 20*ms, ms, c.ack)
		if got, verdict := complaints(in); verdict != c.want {
			t.Errorf("%s: got %s %v, want %s", c.name, verdict, got, c.want)
		}
	}
}

// TestTicksLate catches a packet that passes although a stall may have moved it: right after its tick, or the next, it came of itself, and later
// than that nobody knows. Without a stall two ticks are within what every machine is allowed.
func TestTicksLate(t *testing.T) {
	for ticks, want := range []result.Verdict{result.Pass, result.Pass, result.Inconclusive} {
		in := synLoss(true)
		move(1, time.Duration(ticks)*jiffy)(&in)
		if _, got := complaints(in); got != result.Pass {
			t.Errorf("%d ticks late, no stall: got %s, want pass", ticks, got)
		}
		stalled(onTick(253)-10*ms, 30*ms)(&in)
		if list, got := complaints(in); got != want {
			t.Errorf("%d ticks late, in a stall: got %s %q, want %s", ticks, got, list, want)
		}
	}
}
