package judge

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// TestAlternativeThatNobodyCanTell catches a run that is called a contradiction of the usual prediction although another that a correct kernel
// may follow is left open by a stall, and one that is called a pass for that, or that is excused without a stall.
func TestAlternativeThatNobodyCanTell(t *testing.T) {
	other := func(in *Input) { // the usual one lacks the last SYN
		alt := in.Want
		in.Want.Events = in.Want.Events[:2:2]
		alt.Why = "one more"
		in.Want.Alternatives = []timeline.Timeline{alt}
	}
	late := func(in *Input) {
		in.Got.Events[2].At += 40 * ms
		in.Got.Outcome.At += 40 * ms
	}
	stall := func(in *Input) {
		in.Stalls = []result.Stall{{At: result.Seconds(onTick(757)), For: result.Seconds(45 * time.Millisecond)}, {At: result.Seconds(onTick(1789)), For: result.Seconds(45 * time.Millisecond)}}
	}
	for _, tt := range []struct {
		name string
		make []func(*Input)
		want result.Verdict
		note string
	}{
		{"the usual", nil, result.Pass, ""},
		{"the alternative", []func(*Input){other}, result.Pass, "one more"},
		{"the alternative, late in a stall", []func(*Input){other, late, stall}, result.Inconclusive, "one more"},
		{"the alternative, late without a stall", []func(*Input){other, late}, result.Fail, ""},
		{"none of the alternatives, and there are more", []func(*Input){other, late, func(in *Input) { in.Want.Unlisted = true }}, result.Inconclusive, ""},
	} {
		in := synLoss(true)
		for _, f := range tt.make {
			f(&in)
		}
		_, _, checks, note := Schedule(in)
		got := result.Pass
		for _, c := range checks {
			got = result.Worse(got, c.Verdict)
		}
		if got != tt.want || note != tt.note {
			t.Errorf("%s: got %s, note %q, want %s, %q", tt.name, got, note, tt.want, tt.note)
		}
	}
}

// TestLinkInDoubt catches a contradiction on a link that did not keep its time.
func TestLinkInDoubt(t *testing.T) {
	in := synLoss(true)
	in.Got.Events[2].At += 40 * ms
	if _, _, checks, _ := Schedule(in); !Contradicted(checks) {
		t.Error("a sound link: got no contradiction")
	}
	in.Link = errLate
	if _, _, checks, _ := Schedule(in); Contradicted(checks) || Passes(checks) {
		t.Error("a link in doubt: want inconclusive")
	}
}

type lateLink string

func (e lateLink) Error() string { return string(e) }

const errLate = lateLink("the link was late")

// TestMaybeFirst catches a packet that is given to an event that may be absent, where one like it must come: that one would be missed.
func TestMaybeFirst(t *testing.T) {
	update := timeline.Event{Host: "server", What: timeline.WindowUpdate, Bound: timeline.Bound{At: 10 * ms, Earliest: 10 * ms, Latest: 14 * ms}}
	maybe := update
	maybe.Maybe = true
	syn := timeline.Event{Host: "client", What: timeline.SYN}
	in := Input{Jiffy: jiffy, Ended: time.Second, Want: timeline.Timeline{Events: []timeline.Event{syn, maybe, update}}}
	in.Got.Events = []timeline.Event{syn, {Host: "server", What: timeline.WindowUpdate, Bound: timeline.Bound{At: 11 * ms}}}
	if _, _, checks, _ := Schedule(in); !Passes(checks) {
		t.Errorf("one of two was seen: got %+v, want a pass", checks)
	}
	in.Got.Events = in.Got.Events[:1]
	if _, _, checks, _ := Schedule(in); !Contradicted(checks) {
		t.Errorf("none was seen: got %+v, want a contradiction", checks)
	}
}
