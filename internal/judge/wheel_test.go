package judge

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// TestWheel holds a late packet against the timer wheel's own record of its timer. It catches a stall that leaves open what the kernel itself has told, and a
// record that excuses another tick, an early packet, or one that nothing explains.
func TestWheel(t *testing.T) {
	due := func(i int, tick int64) func(*Input) {
		return func(in *Input) { in.Got.Events[i].Due = onTick(tick) }
	}
	dead := func(tick int64) func(*Input) {
		return func(in *Input) { in.Got.Outcome.Due = onTick(tick) }
	}
	pass, unsure, fail := result.Pass, result.Inconclusive, result.Fail
	long := stalled(onTick(253)-2*ms, 25*ms)
	for _, tt := range []struct {
		name   string
		change func(*Input)
		want   result.Verdict
		first  string // of the complaints
	}{
		{"late in a stall, in the predicted bucket, and the next one too", all(move(1, 18*ms), long, due(1, 253), due(2, 757)), pass, ""},
		{"late in a stall, in the predicted bucket, and no record of the next one", all(move(1, 18*ms), long, due(1, 253)), unsure, "syn-retransmission-2 inconclusive TL1301"},
		{"late in a stall, in the predicted bucket, and the next one too soon", all(move(1, 18*ms), move(2, -40*ms), long, due(1, 253)), fail, "syn-retransmission-2 fail TL1103"},
		{"late in a stall, in another bucket", all(move(1, 18*ms), long, due(1, 255)), unsure, "syn-retransmission-1 inconclusive TL1301"},
		{"late in a stall, in a bucket before", all(move(1, 18*ms), long, due(1, 252)), unsure, "syn-retransmission-1 inconclusive TL1301"},
		{"late in a stall, and no record", all(move(1, 18*ms), long), unsure, "syn-retransmission-1 inconclusive TL1301"},
		{"late, and the next one in its bucket too", all(move(1, 18*ms), move(2, 18*ms), long, stalled(onTick(757)-2*ms, 25*ms), due(1, 253), due(2, 757)), pass, ""},
		{"late, and the next one a bucket later for it", all(move(1, 18*ms), move(2, 8*jiffy), long, due(1, 253), due(2, 765)), unsure, "syn-retransmission-2 inconclusive TL1301"},
		{"late without a stall, in the predicted bucket", all(move(1, 18*ms), move(2, 18*ms), due(1, 253), due(2, 757)), unsure, "syn-retransmission-1 inconclusive TL1301"},
		{"late without a stall, in the bucket in which it came", all(move(1, 20*ms), due(1, 258)), fail, "syn-retransmission-1 fail TL1109"},
		{"too early, and the record says otherwise", all(move(1, -ms), due(1, 253)), fail, "syn-retransmission-1 fail TL1103"},
		{"the end, late in a stall, in the predicted bucket", all(die(jiffy+ms), stalled(onTick(1789)-2*ms, 6*ms), dead(1789)), pass, ""},
		{"the end, late in a stall, in another bucket", all(die(jiffy+ms), stalled(onTick(1789)-2*ms, 6*ms), dead(1790)), unsure, "death inconclusive TL1301"},
		{"the end, told late without a stall, in the predicted bucket, and by the kernel's record late too", all(die(50*ms), ended(onTick(1789)+30*ms), dead(1789)), fail, "death fail TL1109"},
		{"the end, told far too late without a stall, in the predicted bucket and by the kernel's record on its tick", all(die(programLate+ms), ended(onTick(1789)), dead(1789)), fail, "death fail TL1107"},
		{"the end, told later than programs are, in the predicted bucket", all(die(programLag+ms), ended(onTick(1789)), dead(1789)), unsure, "death inconclusive TL1301"},
		{"the jiffy of the first packet not certain, and each in its bucket", all(move(1, 18*ms), stalled(-ms, 5*ms), long, due(1, 253), due(2, 757)), pass, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := synLoss(true)
			tt.change(&in)
			got, verdict := complaints(in)
			first := ""
			if len(got) > 0 {
				first = got[0]
			}
			if verdict != tt.want || !strings.HasPrefix(first, tt.first) || tt.first == "" && first != "" {
				t.Errorf("got %s with %q, want %s with %q", verdict, got, tt.want, tt.first)
			}
		})
	}
}

// TestWheelAnswers has a packet that another end sends at once because of one that a timer sent. It catches an answer that stays open though the timer is right,
// and one that the record of a timer excuses for a delay of its own, or of another tick.
func TestWheelAnswers(t *testing.T) {
	const timer, answer = 18 * time.Millisecond, time.Millisecond
	for _, tt := range []struct {
		name     string
		due      int64 // of the repeat's timer; 0: no record
		after    time.Duration
		tick     int64 // of the answer
		own      int64 // of a timer of the answerer's own
		want     result.Verdict
		complain string
	}{
		{"at once", 253, answer, 253, 0, result.Pass, ""},
		{"later than answers are", 253, Allowance(jiffy) + ms, 253, 0, result.Inconclusive, "challenge-ack inconclusive TL1301"},
		{"no record", 0, answer, 253, 0, result.Inconclusive, "syn-retransmission-1 inconclusive TL1301"},
		{"its own timer fired in another jiffy", 253, answer, 253, 255, result.Inconclusive, "challenge-ack inconclusive TL1301"},
		{"expected at another tick", 253, answer, 254, 0, result.Inconclusive, "challenge-ack inconclusive TL1301"},
	} {
		in := synLoss(true)
		want, got := in.Want.Events[1], in.Got.Events[1]
		want.Host, want.What, want.N, want.Chain, want.Tick, want.TickLast = "server", timeline.ChallengeACK, 0, "answers", tt.tick, tt.tick
		want.GapEarliest, want.GapLatest = 0, 0
		got.Host, got.What, got.N = "server", timeline.ChallengeACK, 0
		in.Want.Events, in.Want.Outcome = []timeline.Event{in.Want.Events[0], in.Want.Events[1], want}, nil
		in.Got.Events, in.Got.Outcome = []timeline.Event{in.Got.Events[0], in.Got.Events[1], got}, nil
		in.Got.Events[1].At += timer
		in.Got.Events[2].At = in.Got.Events[1].At + tt.after
		if tt.due > 0 {
			in.Got.Events[1].Due = onTick(tt.due)
		}
		if tt.own > 0 {
			in.Got.Events[2].Due = onTick(tt.own)
		}
		stalled(onTick(253)-2*ms, 25*ms)(&in)
		list, verdict := complaints(in)
		if verdict != tt.want || tt.complain != "" && !slices.Contains(list, tt.complain) {
			t.Errorf("%s: got %s with %q, want %s with %q", tt.name, verdict, list, tt.want, tt.complain)
		}
	}
}

// TestWheelOfAnyPhase has no phase of jiffies: a record of a jiffy says nothing then.
func TestWheelOfAnyPhase(t *testing.T) {
	in := synLoss(false)
	all(move(1, 80*time.Millisecond), stalled(1010*ms, 100*ms), func(in *Input) { in.Got.Events[1].Due = onTick(253) })(&in)
	if got, verdict := complaints(in); verdict != result.Inconclusive {
		t.Errorf("got %s with %q, want inconclusive", verdict, got)
	}
}
