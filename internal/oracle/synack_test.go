package oracle

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

func linux618(t *testing.T) kernel.Facts {
	t.Helper()
	f, err := kernel.Model(kernel.Version{Major: 6, Minor: 18}, 250)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestSYNACKClient catches a client of this oracle that keeps another time than the client of Connect, which was checked by itself: both
// model the same timer, one in intervals, the other world by world.
func TestSYNACKClient(t *testing.T) {
	f := linux618(t)
	for _, c := range []Connect{
		{SYNRetries: 5}, {SYNRetries: 2}, {SYNRetries: 1}, {SYNRetries: 6, LinearTimeouts: 4}, {SYNRetries: 2, LinearTimeouts: 4},
		{SYNRetries: 3, RTOMax: 2 * time.Second},
	} {
		for _, start := range []*Start{nil, {Jiffies: 1 << 33, Phase: 1600 * time.Microsecond}} {
			want, err := Near(f, start, c.Predict)
			if err != nil {
				t.Fatal(err)
			}
			both, err := SYNACKLoss{Connect: c, Server: Server{SYNACKRetries: 5, InvalidRatelimit: 500 * time.Millisecond}}.Predict(f, start)
			if err != nil {
				t.Fatal(err)
			}
			var got []timeline.Event
			for _, e := range both.Events {
				if e.Host == "client" {
					got = append(got, e)
				}
			}
			near := cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() <= 2 }) // open and closed ends
			clear := func(e timeline.Event) timeline.Event {
				e.GapEarliest, e.GapLatest, e.Why = 0, 0, ""
				if start != nil { // one widens the ticks, the other the instants too
					e.Earliest, e.Latest = 0, 0
				}
				return e
			}
			for i := range got {
				got[i] = clear(got[i])
			}
			for i := range want.Events {
				want.Events[i] = clear(want.Events[i])
			}
			if d := cmp.Diff(want.Events, got, near); d != "" {
				t.Errorf("%+v: (-Connect +SYNACKLoss)\n%s", c, d)
			}
			if d := cmp.Diff(clear(*want.Outcome), clear(*both.Outcome), near); d != "" {
				t.Errorf("%+v: outcome (-Connect +SYNACKLoss)\n%s", c, d)
			}
		}
	}
}

// TestSYNACKMeasured compares with captures of 6.18.44 (kernel-rules.md section 2): which SYN-ACKs come, and which name they have.
func TestSYNACKMeasured(t *testing.T) {
	type sent struct {
		What timeline.What
		At   time.Duration
	}
	const s = time.Second
	f := linux618(t)
	for _, c := range []struct {
		name string
		loss SYNACKLoss
		want []sent
	}{
		{"S=2, client L=0, one repeat", SYNACKLoss{Connect{SYNRetries: 1}, Server{SYNACKRetries: 2, InvalidRatelimit: s / 2}}, []sent{
			{timeline.SYNACK, 0}, {timeline.SYNACKAgain, 1 * s}, {timeline.SYNACKAnswer, 1 * s}, {timeline.SYNACKAgain, 3 * s}, {timeline.RequestGone, 7 * s}}},
		{"S=5, client L=4: its SYNs hold the server's timer down", SYNACKLoss{Connect{SYNRetries: 3, LinearTimeouts: 4}, Server{SYNACKRetries: 5, InvalidRatelimit: s / 2}}, []sent{
			{timeline.SYNACK, 0}, {timeline.SYNACKAgain, 1 * s}, {timeline.SYNACKAnswer, 1 * s}, {timeline.SYNACKAnswer, 2 * s}, {timeline.SYNACKAnswer, 3 * s},
			{timeline.SYNACKAnswer, 4 * s}, {timeline.SYNACKAnswer, 5 * s}, {timeline.SYNACKAgain, 7 * s}, {timeline.SYNACKAnswer, 7 * s},
			{timeline.SYNACKAgain, 11 * s}, {timeline.SYNACKAnswer, 11 * s}, {timeline.SYNACKAgain, 19 * s}, {timeline.SYNACKAgain, 35 * s}, {timeline.RequestGone, 67 * s}}},
		{"OUTPUT drops the SYN-ACK: nothing is sent, the request goes at the first fire", SYNACKLoss{Connect{SYNRetries: 1},
			Server{SYNACKRetries: 5, InvalidRatelimit: s / 2, Silent: true}}, []sent{{timeline.RequestGone, 1 * s}, {timeline.RequestGone, 2 * s}}},
	} {
		tl, err := c.loss.Predict(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []sent
		for _, e := range tl.Events {
			if e.Host == "server" {
				got = append(got, sent{e.What, e.At})
			}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, d)
		}
	}
}

// TestSYNACKAlternatives catches an oracle that knows only one order of a SYN and a timer in the same tick: with the SYN first there is one
// SYN-ACK instead of two, and the timer keeps its value.
func TestSYNACKAlternatives(t *testing.T) {
	tl, err := SYNACKLoss{Connect: Connect{SYNRetries: 1}, Server: Server{SYNACKRetries: 2, InvalidRatelimit: time.Second / 2}}.Predict(linux618(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(tl.Alternatives) != 1 {
		t.Fatalf("got %d alternatives, want 1: %+v", len(tl.Alternatives), tl.Alternatives)
	}
	var got []timeline.What
	for _, e := range tl.Alternatives[0].Events {
		if e.Host == "server" {
			got = append(got, e.What)
		}
	}
	want := []timeline.What{timeline.SYNACK, timeline.SYNACKAnswer, timeline.SYNACKAgain, timeline.SYNACKAgain, timeline.RequestGone}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
