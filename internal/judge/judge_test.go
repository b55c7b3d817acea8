package judge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

const (
	ms    = time.Millisecond
	jiffy = 4 * ms
)

// start is where the jiffy of the first packet began, in the cases where it is known.
const start = -1600 * time.Microsecond

// synLoss is what a kernel with HZ=250 and tcp_syn_retries=2 does when no SYN is answered, and what is seen of it 100 µs after each
// tick. Worked out by hand: the first SYN is sent 1.6 ms into a jiffy with the number 3 modulo 64; timers of 250, 500 and 1000
// jiffies are rounded up to the next multiple of 8, 8 and 64: ticks 253, 757 and 1789.
func synLoss(exact bool) Input {
	want := func(what timeline.What, n int, tick int64, at, earliest, latest, gapEarliest, gapLatest time.Duration) timeline.Event {
		e := timeline.Event{Host: "client", What: what, N: n}
		e.At, e.Earliest, e.Latest, e.GapEarliest, e.GapLatest = at, earliest, latest, gapEarliest, gapLatest
		if exact {
			e.Tick, e.TickLast = tick, tick
		}
		return e
	}
	in := Input{Jiffy: jiffy, Ended: 7300 * ms}
	end := want(timeline.ConnectError, 0, 1789, 7000*ms, 7048*ms, 7304*ms, 4032*ms, 4256*ms)
	end.Errno = "ETIMEDOUT"
	in.Want = timeline.Timeline{Outcome: &end, Events: []timeline.Event{
		{Host: "client", What: timeline.SYN},
		want(timeline.SYNRetransmission, 1, 253, 1000*ms, 1000*ms, 1032*ms, 1000*ms, 1032*ms),
		want(timeline.SYNRetransmission, 2, 757, 3000*ms, 3016*ms, 3048*ms, 2016*ms, 2016*ms),
	}}
	if exact {
		in.JiffyStart, in.ClockError = new(time.Duration), 30*time.Microsecond
		*in.JiffyStart = start
	}
	in.Got.Events = []timeline.Event{
		seen(timeline.SYN, 0, 0), seen(timeline.SYNRetransmission, 1, onTick(253)), seen(timeline.SYNRetransmission, 2, onTick(757)),
	}
	in.Got.Outcome = &timeline.Event{Host: "client", What: timeline.ConnectError, Errno: "ETIMEDOUT", Bound: timeline.Bound{At: onTick(1789)}}
	return in
}

// onTick is 100 µs after a tick.
func onTick(n int64) time.Duration { return start + time.Duration(n)*jiffy + 100*time.Microsecond }

func seen(what timeline.What, n int, at time.Duration) timeline.Event {
	return timeline.Event{Host: "client", What: what, N: n, Bound: timeline.Bound{At: at}}
}

// drop takes the i-th observed event away, insert adds one in time order, move shifts one and all that are armed by it.
func drop(i int) func(*Input) {
	return func(in *Input) { in.Got.Events = append(in.Got.Events[:i:i], in.Got.Events[i+1:]...) }
}

func insert(e timeline.Event) func(*Input) {
	return func(in *Input) {
		i := 0
		for i < len(in.Got.Events) && in.Got.Events[i].At <= e.At {
			i++
		}
		in.Got.Events = append(in.Got.Events[:i:i], append([]timeline.Event{e}, in.Got.Events[i:]...)...)
	}
}

func move(i int, by time.Duration) func(*Input) {
	return func(in *Input) { in.Got.Events[i].At += by }
}

// die moves the end, and the kernel's record of it.
func die(by time.Duration) func(*Input) {
	return func(in *Input) {
		in.Got.Outcome.At += by
		in.Got.Outcome.Ended = in.Got.Outcome.At
		in.Ended += max(by, 0)
	}
}

// ended is the kernel's own record of the end; 0: there is none.
func ended(at time.Duration) func(*Input) {
	return func(in *Input) { in.Got.Outcome.Ended = at }
}

func stalled(at, length time.Duration) func(*Input) {
	return func(in *Input) {
		in.Stalls = append(in.Stalls, result.Stall{At: result.Seconds(at), For: result.Seconds(length)})
	}
}

func all(fns ...func(*Input)) func(*Input) {
	return func(in *Input) {
		for _, fn := range fns {
			fn(in)
		}
	}
}

// complaints are the checks that did not pass, "id verdict code", and the verdict of the run that they make.
func complaints(in Input) (list []string, verdict result.Verdict) {
	_, _, checks, _ := Schedule(in)
	r := result.Result{Checks: checks}
	r.Judge()
	for _, c := range checks {
		if c.Verdict != result.Pass {
			list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s %s", c.ID, c.Verdict, c.Code)))
		}
	}
	return list, r.Verdict
}

// control is one defect of an observation, or of a prediction, and what the judge must say about it.
type control struct {
	name    string
	defect  func(*Input)
	verdict result.Verdict
	want    []string
}

func (c control) run(t *testing.T, exact bool) {
	t.Helper()
	in := synLoss(exact)
	c.defect(&in)
	got, verdict := complaints(in)
	if verdict != c.verdict {
		t.Errorf("verdict: got %s, want %s", verdict, c.verdict)
	}
	if diff := cmp.Diff(c.want, got); diff != "" {
		t.Errorf("checks that did not pass (-want +got):\n%s", diff)
	}
}

// TestPositiveControl is the other half of every negative control below: the same input without the defect passes. It catches a
// judge that fails everything.
func TestPositiveControl(t *testing.T) {
	for _, exact := range []bool{false, true} {
		events, outcome, checks, _ := Schedule(synLoss(exact))
		if got, verdict := complaints(synLoss(exact)); verdict != result.Pass || len(got) > 0 {
			t.Errorf("exact=%v: got %s with %q, want pass", exact, verdict, got)
		}
		if len(checks) != 5 || len(events) != 3 || outcome == nil {
			t.Errorf("exact=%v: got %d checks, %d events, outcome %v, want 5 checks (count, 2 SYNs, errno, death), 3 events, an outcome", exact, len(checks), len(events), outcome)
		}
	}
}

// TestNegativeControls catches a judge that lets a wrong observation pass: each defect, judged by windows (no phase is known), must
// get exactly this verdict and these codes.
func TestNegativeControls(t *testing.T) {
	fail, unsure := result.Fail, result.Inconclusive
	cases := []control{
		{"wrong expected schedule: linear", func(in *Input) {
			in.Want.Events[2].Bound = timeline.Bound{At: 2000 * ms, Earliest: 2000 * ms, Latest: 2048 * ms, GapEarliest: 1000 * ms, GapLatest: 1032 * ms}
		}, fail, []string{"syn-retransmission-2 fail TL1104"}},
		{"wrong expected schedule: one more SYN", func(in *Input) {
			e := seen(timeline.SYNRetransmission, 3, 0)
			e.Bound = timeline.Bound{At: 7000 * ms, Earliest: 7048 * ms, Latest: 7200 * ms, GapEarliest: 4032 * ms, GapLatest: 4256 * ms}
			in.Want.Events = append(in.Want.Events, e)
		}, fail, []string{"count fail TL1101", "syn-retransmission-3 fail TL1101"}},
		{"missing first SYN", drop(0), fail, []string{"count fail TL1101", "syn fail TL1101"}},
		{"missing first SYN, time counted from the second", func(in *Input) {
			drop(0)(in)
			for i := range in.Got.Events {
				in.Got.Events[i].At -= onTick(253)
			}
			in.Got.Outcome.At -= onTick(253)
		}, fail, []string{"count fail TL1101", "syn fail TL1114", "syn-retransmission-1 fail TL1104", "syn-retransmission-2 fail TL1101", "death fail TL1106"}},
		{"missing middle SYN", drop(1), fail, []string{"count fail TL1101", "syn-retransmission-1 fail TL1101"}},
		{"missing last SYN", drop(2), fail, []string{"count fail TL1101", "syn-retransmission-2 fail TL1101"}},
		{"no packet at all", func(in *Input) { in.Got.Events = nil }, fail,
			[]string{"count fail TL1101", "syn fail TL1101", "syn-retransmission-1 fail TL1101", "syn-retransmission-2 fail TL1101"}},
		{"extra SYN between", insert(seen(timeline.SYNRetransmission, 2, 2000*ms)), fail,
			[]string{"count fail TL1102", "syn-retransmission-2-unexpected fail TL1114"}},
		{"extra SYN after death", insert(seen(timeline.SYNRetransmission, 3, 7500*ms)), fail,
			[]string{"count fail TL1102", "syn-retransmission-3-unexpected fail TL1114"}},
		{"a SYN sent twice", insert(seen(timeline.SYNRetransmission, 1, onTick(253)+30*time.Microsecond)), fail,
			[]string{"count fail TL1102", "syn-retransmission-1-unexpected fail TL1114"}},
		{"a SYN-ACK that nobody predicted", insert(timeline.Event{Host: "server", What: timeline.SYNACK, Bound: timeline.Bound{At: 200 * time.Microsecond}}), fail,
			[]string{"count fail TL1102", "syn-ack-unexpected fail TL1114"}},
		{"one missing and one extra: the count alone would fit", all(drop(1), insert(timeline.Event{Host: "server", What: timeline.RST, Bound: timeline.Bound{At: ms}})), fail,
			[]string{"rst-unexpected fail TL1114", "syn-retransmission-1 fail TL1101"}},
		{"first SYN not at the origin", move(0, 500*ms), fail, []string{"syn fail TL1104", "syn-retransmission-1 fail TL1108"}},
		{"early by a second", move(2, -time.Second), fail, []string{"syn-retransmission-2 fail TL1103", "death fail TL1108"}},
		{"early by 1 ms", func(in *Input) { in.Got.Events[1].At = 999 * ms }, fail, []string{"syn-retransmission-1 fail TL1103", "syn-retransmission-2 fail TL1108"}},
		{"late, just over the allowance", func(in *Input) { in.Got.Events[1].At = 1032*ms + Allowance(jiffy) + 1 }, fail,
			[]string{"syn-retransmission-1 fail TL1104", "syn-retransmission-2 fail TL1108"}},
		{"late by a second", move(2, time.Second), fail, []string{"syn-retransmission-2 fail TL1104", "death fail TL1108"}},
		{"another kind of packet at the right time", func(in *Input) { in.Got.Events[1].What = timeline.SYN }, fail, []string{"syn-retransmission-1 fail TL1114"}},
		{"the right packet from the wrong host", func(in *Input) { in.Got.Events[1].Host = "server" }, fail,
			[]string{"syn-retransmission-1 fail TL1101", "syn-retransmission-1-unexpected fail TL1114"}},
		{"wrong errno", func(in *Input) { in.Got.Outcome.Errno = "EHOSTUNREACH" }, fail, []string{"errno fail TL1105", "death fail TL1105"}},
		{"success instead of failure", func(in *Input) { in.Got.Outcome.What, in.Got.Outcome.Errno = timeline.Connected, "" }, fail,
			[]string{"errno fail TL1115", "death fail TL1115"}},
		{"connect() never returns", func(in *Input) { in.Got.Outcome, in.Ended = nil, 20*time.Second }, fail, []string{"errno fail TL1105", "death fail TL1107"}},
		{"an ending that nobody predicted", func(in *Input) { in.Want.Outcome = nil }, fail, []string{"errno fail TL1105", "death fail TL1105"}},
		{"death early", die(-200 * ms), fail, []string{"death fail TL1106"}},
		{"death late", die(300 * ms), fail, []string{"death fail TL1107"}},
		{"gap too long while absolute times fit", all(func(in *Input) { in.Got.Events[1].At = 1000 * ms }, func(in *Input) { in.Got.Events[2].At = 3048 * ms }), fail,
			[]string{"syn-retransmission-2 fail TL1108"}},
		{"gap too long for a stall", all(func(in *Input) { in.Got.Events[1].At = 1000 * ms }, func(in *Input) { in.Got.Events[2].At = 3048 * ms }, stalled(3027*ms, 20*ms)), unsure,
			[]string{"syn-retransmission-2 inconclusive TL1301"}},
		{"gap too long, and a stall that was over", all(func(in *Input) { in.Got.Events[1].At = 1000 * ms }, func(in *Input) { in.Got.Events[2].At = 3048 * ms }, stalled(3017*ms, 20*ms)), fail,
			[]string{"syn-retransmission-2 fail TL1108"}},
		{"gap too short while absolute times fit", func(in *Input) { in.Got.Events[1].At = 1032 * ms }, fail, []string{"syn-retransmission-2 fail TL1108"}},
		{"gap too short after a SYN that a stall made late", all(func(in *Input) { in.Got.Events[1].At = 1060 * ms }, stalled(1010*ms, 45*ms)), unsure,
			[]string{"syn-retransmission-1 inconclusive TL1301", "syn-retransmission-2 inconclusive TL1301"}},
		{"gap too short after a SYN that was late without a stall", func(in *Input) { in.Got.Events[1].At = 1060 * ms }, fail,
			[]string{"syn-retransmission-1 fail TL1104", "syn-retransmission-2 fail TL1108"}},
		{"capture with drops", func(in *Input) { in.Lost = 1 }, unsure,
			[]string{"count inconclusive TL1302", "syn-retransmission-1 inconclusive TL1302", "syn-retransmission-2 inconclusive TL1302", "death inconclusive TL1302"}},
		{"capture with drops and a missing SYN", all(drop(1), func(in *Input) { in.Lost = 1 }), unsure,
			[]string{"count inconclusive TL1302", "syn-retransmission-1 inconclusive TL1302", "syn-retransmission-2 inconclusive TL1302", "death inconclusive TL1302"}},
		{"CLOCK_REALTIME was stepped back", func(in *Input) { in.Step = -time.Second }, unsure,
			[]string{"count inconclusive TL1303", "syn-retransmission-1 inconclusive TL1303", "syn-retransmission-2 inconclusive TL1303", "death inconclusive TL1303"}},
		{"stall over a late SYN", all(move(2, 80*ms), stalled(3010*ms, 100*ms)), unsure, []string{"syn-retransmission-2 inconclusive TL1301"}},
		{"stall elsewhere, late SYN", all(move(2, 80*ms), stalled(2000*ms, 100*ms)), fail, []string{"syn-retransmission-2 fail TL1104"}},
		{"stall too short for the delay", all(move(2, time.Second), stalled(3050*ms, 8*ms)), fail, []string{"syn-retransmission-2 fail TL1104", "death fail TL1108"}},
		{"stall over an early SYN", all(move(2, -500*ms), stalled(2500*ms, 100*ms)), fail, []string{"syn-retransmission-2 fail TL1103", "death fail TL1108"}},
		{"stalls over an event, one after the other, from the start of its window", all(move(1, 18*ms), move(2, 18*ms), stalled(1001*ms, 12*ms), stalled(1017*ms, 11*ms)), unsure,
			[]string{"syn-retransmission-1 inconclusive TL1301"}},
		{"stall while a SYN was due, inside its window", stalled(1005*ms, 8*ms), unsure, []string{"syn-retransmission-1 inconclusive TL1301"}},
		{"observation cut short", func(in *Input) { drop(2)(in); in.Got.Outcome, in.Ended = nil, 2*time.Second }, unsure,
			[]string{"count inconclusive TL1305", "syn-retransmission-2 inconclusive TL1305", "errno inconclusive TL1305", "death inconclusive TL1305"}},
		{"observation cut short, and a SYN is missing before", func(in *Input) {
			in.Got.Events = in.Got.Events[:1]
			in.Got.Outcome, in.Ended = nil, 2*time.Second
		}, fail, []string{"count fail TL1101", "syn-retransmission-1 fail TL1101", "syn-retransmission-2 inconclusive TL1305", "errno inconclusive TL1305", "death inconclusive TL1305"}},
		{"connect() ended before a SYN was due", func(in *Input) { drop(2)(in); in.Got.Outcome.At, in.Ended = 2*time.Second, 2100*ms }, fail,
			[]string{"count fail TL1101", "syn-retransmission-2 fail TL1101", "death fail TL1106"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, false) })
	}
}

// TestNegativeControlsByTick is the same where the phase of jiffies is known. It catches a judge that forgets the tick and is content
// with the window, and one that calls a stall or a slipped tick a contradiction.
func TestNegativeControlsByTick(t *testing.T) {
	fail, unsure := result.Fail, result.Inconclusive
	cases := []control{
		{"before its tick, inside the window", move(1, -ms), fail, []string{"syn-retransmission-1 fail TL1103"}},
		{"before its tick, one jiffy", move(1, -jiffy), fail, []string{"syn-retransmission-1 fail TL1103"}},
		{"inside the window, ticks too late", move(1, 5*jiffy), fail, []string{"syn-retransmission-1 fail TL1109", "syn-retransmission-2 fail TL1108"}},
		{"outside the window", move(1, 60*ms), fail, []string{"syn-retransmission-1 fail TL1104", "syn-retransmission-2 fail TL1108"}},
		{"death before its tick", die(-ms), fail, []string{"death fail TL1106"}},
		{"death ticks too late, inside the window", die(50 * ms), fail, []string{"death fail TL1109"}},
		{"before the window, and the clock's error is large", func(in *Input) { in.ClockError = time.Second; in.Got.Events[1].At = 990 * ms }, fail,
			[]string{"syn-retransmission-1 fail TL1103", "syn-retransmission-2 fail TL1108"}},
		{"stall over a late SYN, which moves the next one by a bucket", all(move(1, 18*ms), move(2, 8*jiffy), stalled(1008*ms, 22*ms)), unsure,
			[]string{"syn-retransmission-1 inconclusive TL1301", "syn-retransmission-2 inconclusive TL1301"}},
		// Seen on 6.18.44: the window of a later tick was open, the wait since the SYN before was 12 ms too long, and two stalls covered them.
		{"the tick of another phase, for a stall", all(func(in *Input) { in.Want.Outcome.TickLast += 16; in.Want.Outcome.GapLatest = 4128 * ms }, die(12*ms), stalled(onTick(1789)-10*ms, 9*ms),
			stalled(onTick(1789)+4*ms, 8*ms)), unsure, []string{"death inconclusive TL1301"}},
		{"the tick of another phase, and no stall", all(func(in *Input) { in.Want.Outcome.TickLast += 16; in.Want.Outcome.GapLatest = 4128 * ms }, die(12*ms)), fail, []string{"death fail TL1108"}},
		{"stall after a late SYN", all(die(50*ms), stalled(onTick(1789)+60*ms, 20*ms)), fail, []string{"death fail TL1109"}},
		{"stall too short for a late death", all(die(50*ms), stalled(onTick(1789), 8*ms)), fail, []string{"death fail TL1109"}},
		{"two stalls, one after the other, over a late death", all(die(40*ms), stalled(onTick(1789), 20*ms), stalled(onTick(1789)+24*ms, 18*ms)), unsure, []string{"death inconclusive TL1301"}},
		{"one jiffy late during a stall", all(die(jiffy+ms), stalled(onTick(1789)-2*ms, 6*ms)), unsure, []string{"death inconclusive TL1301"}},
		{"learned late, and by the kernel's record a tick too early", all(die(jiffy+ms), stalled(onTick(1789)-2*ms, 6*ms), ended(onTick(1788))), fail, []string{"death fail TL1106"}},
		{"learned late, and by the kernel's record late too", all(die(jiffy+ms), stalled(onTick(1789)-2*ms, 6*ms), ended(onTick(1789)+jiffy+900*time.Microsecond)), unsure, []string{"death inconclusive TL1301"}},
		{"learned late without a stall, and no record of the kernel's", all(die(50*ms), ended(0)), unsure, []string{"death inconclusive TL1301"}},
		{"learned far too late without a stall, and no record of the kernel's", all(die(programLag+ms), ended(0)), fail, []string{"death fail TL1109"}},
		{"learned later than a busy machine makes a program, and by the kernel's record on its tick", all(die(programLag+ms), ended(onTick(1789))), unsure, []string{"death inconclusive TL1301"}},
		{"learned later than that, and by the kernel's record late too", all(die(programLag+50*ms), ended(onTick(1789)+30*ms)), fail, []string{"death fail TL1109"}},
		{"learned far too late without a stall, and by the kernel's record on its tick", all(die(programLate+ms), ended(onTick(1789))), fail, []string{"death fail TL1107"}},
		{"learned late without a stall, and by the kernel's record late too", all(die(50*ms), ended(onTick(1789)+30*ms)), fail, []string{"death fail TL1109"}},
		{"at the next tick, during a stall", all(die(jiffy), stalled(onTick(1789)-2*ms, 6*ms)), result.Pass, nil},
		{"two ticks late during a stall too short for it", all(die(3*jiffy), stalled(onTick(1789)-2*ms, 4*ms)), fail, []string{"death fail TL1109"}},
		{"one tick late, then one bucket late", all(move(2, jiffy), die(64*jiffy)), unsure, []string{"death inconclusive TL1301"}},
		{"one tick late, then far more than a bucket", all(move(2, jiffy), die(3*time.Second)), fail, []string{"death fail TL1107"}},
		{"a late tick does not excuse a missing SYN", all(move(1, jiffy), drop(2)), fail, []string{"count fail TL1101", "syn-retransmission-2 fail TL1101"}},
		{"on its tick again after a late one, then a bucket late", all(move(1, jiffy), die(50*ms)), fail, []string{"death fail TL1109"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, true) })
	}
}

// TestTolerated catches a judge that is stricter than a machine can be: each of these passes.
func TestTolerated(t *testing.T) {
	cases := []struct {
		name   string
		exact  bool
		change func(*Input)
	}{
		{"just within the allowance, by window", false, func(in *Input) {
			in.Got.Events[1].At = 1032*ms + Allowance(jiffy)
			in.Got.Events[2].At = in.Got.Events[1].At + 2016*ms
		}},
		{"just within the allowance, by tick", true, die(Allowance(jiffy) - 100*time.Microsecond)},
		{"one jiffy late: another processor counts jiffies", true, move(2, jiffy)},
		{"within the error of the clock before its tick", true, move(1, -120*time.Microsecond)},
		{"stall over an event that is on its tick", true, stalled(onTick(253)-20*ms, 22*ms)},
		{"learned late, and by the kernel's record on its tick", true, all(die(jiffy+ms), stalled(onTick(1789)-2*ms, 6*ms), ended(onTick(1789)+100*time.Microsecond))},
		{"learned very late, and by the kernel's record on its tick", true, all(die(40*ms), stalled(onTick(1789), 20*ms), stalled(onTick(1789)+24*ms, 18*ms), ended(onTick(1789)+100*time.Microsecond))},
		{"learned late without a stall, as programs may, and by the kernel's record on its tick", true, all(die(50*ms), ended(onTick(1789)+100*time.Microsecond))},
		{"stall elsewhere", false, stalled(2*time.Second, 500*ms)},
		{"stall shorter than a jiffy", false, stalled(1005*ms, jiffy-1)},
		{"stall at the start of a window, over before the event", false, all(move(1, 18*ms), move(2, 18*ms), stalled(1001*ms, 10*ms))},
		{"stall over an event, from well inside its window", false, all(move(1, 18*ms), move(2, 18*ms), stalled(1012*ms, 18*ms))},
		{"an event that may come, and does", false, func(in *Input) { in.Want.Events[2].Maybe = true }},
		{"an event that may come, and does not", false, all(drop(2), func(in *Input) {
			in.Want.Events[2].Maybe = true
			in.Want.Outcome.Bound = timeline.Bound{At: 7000 * ms, Earliest: 7048 * ms, Latest: 7304 * ms, GapEarliest: 4032 * ms, GapLatest: 6256 * ms}
		})},
		{"a tick that the rounding of a millisecond leaves open", true, func(in *Input) { in.Want.Outcome.TickLast += 6; die(6 * jiffy)(in) }},
		{"a slow clock step within the limit", false, func(in *Input) { in.Step = maxStep }},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			in := synLoss(tt.exact)
			tt.change(&in)
			if got, verdict := complaints(in); verdict != result.Pass {
				t.Errorf("got %s with %q, want pass", verdict, got)
			}
		})
	}
}

// TestJoined checks what a report reads of an event: expected and seen side by side, and the distance from the tick.
func TestJoined(t *testing.T) {
	in := synLoss(true)
	insert(seen(timeline.SYNRetransmission, 3, 5*time.Second))(&in)
	drop(1)(&in)
	events, outcome, checks, _ := Schedule(in)
	sec := func(d time.Duration) *result.Seconds { s := result.Seconds(d); return &s }
	var got []result.Event
	for _, e := range append(events, *outcome) {
		got = append(got, result.Event{What: e.What, N: e.N, At: e.At, Seen: e.Seen, OffTick: e.OffTick, Expected: e.Expected, Verdict: e.Verdict, Errno: e.Errno, SeenErr: e.SeenErr})
	}
	want := []result.Event{
		{What: "syn", Seen: sec(0), Expected: true, Verdict: result.Pass},
		{What: "syn-retransmission", N: 1, At: result.Seconds(time.Second), Expected: true, Verdict: result.Fail},
		{What: "syn-retransmission", N: 2, At: result.Seconds(3 * time.Second), Seen: sec(onTick(757)), OffTick: sec(100 * time.Microsecond), Expected: true, Verdict: result.Pass},
		{What: "syn-retransmission", N: 3, Seen: sec(5 * time.Second), Verdict: result.Fail},
		{What: "connect-error", At: result.Seconds(7 * time.Second), Seen: sec(onTick(1789)), OffTick: sec(100 * time.Microsecond), Expected: true, Verdict: result.Pass,
			Errno: "ETIMEDOUT", SeenErr: "ETIMEDOUT"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	missing := checks[1]
	if missing.Expected != "1.000 s" || missing.Observed != "never" || missing.Allowed != "1.010 … 1.019 s" || missing.Code != explain.TooFewSYNs {
		t.Errorf("check of the missing SYN: got %+v, want expected 1.000 s, observed never, allowed 1.010 … 1.019 s, %s", missing, explain.TooFewSYNs)
	}
}

// TestTitle catches a name that the report would print raw.
func TestTitle(t *testing.T) {
	for _, tt := range []struct {
		e    result.Event
		want string
	}{
		{result.Event{What: "syn"}, "SYN"},
		{result.Event{What: "syn-retransmission", N: 2}, "SYN again 2"},
		{result.Event{What: "connect-error"}, "connect() fails"},
		{result.Event{What: "something-new"}, "something-new"},
	} {
		if got := Title(tt.e); got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.e, got, tt.want)
		}
	}
}

// TestNumbers catches a repeat that is taken for another of its kind: it came in its time, and the capture says that it is the second of
// its kind where the first was predicted. After a packet that is missing, numbers are not compared any more.
func TestNumbers(t *testing.T) {
	event := func(n int, at time.Duration) timeline.Event {
		return timeline.Event{Host: "client", What: timeline.KeepaliveProbe, N: n, Bound: timeline.Bound{At: at, Earliest: at, Latest: at + 4*time.Millisecond}}
	}
	for _, c := range []struct {
		name      string
		want, got []timeline.Event
		fails     int
	}{
		{"the same", []timeline.Event{event(1, time.Second), event(2, 2*time.Second)}, []timeline.Event{event(1, time.Second), event(2, 2*time.Second)}, 0},
		{"the second is a first", []timeline.Event{event(1, time.Second), event(2, 2*time.Second)}, []timeline.Event{event(1, time.Second), event(1, 2*time.Second)}, 1},
		{"one is missing: count and packet, and not its followers", []timeline.Event{event(1, time.Second), event(2, 2*time.Second), event(3, 3*time.Second)},
			[]timeline.Event{event(1, 2*time.Second), event(2, 3*time.Second)}, 2},
	} {
		_, _, checks, _ := Schedule(Input{Want: timeline.Timeline{Events: c.want}, Got: timeline.Timeline{Events: c.got}, Jiffy: 4 * time.Millisecond, Ended: 10 * time.Second})
		n := 0
		for _, k := range checks {
			if k.Verdict == result.Fail {
				n++
			}
		}
		if n != c.fails {
			t.Errorf("%s: got %d failed checks, want %d: %+v", c.name, n, c.fails, checks)
		}
	}
}
