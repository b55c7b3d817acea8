package oracle

import (
	"fmt"
	"slices"
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
		{"S=2, client L=0, one repeat", SYNACKLoss{Connect: Connect{SYNRetries: 1}, Server: Server{SYNACKRetries: 2, InvalidRatelimit: s / 2}}, []sent{
			{timeline.SYNACK, 0}, {timeline.SYNACKAgain, 1 * s}, {timeline.SYNACKAnswer, 1 * s}, {timeline.SYNACKAgain, 3 * s}, {timeline.RequestGone, 7 * s}}},
		{"S=5, client L=4: its SYNs hold the server's timer down", SYNACKLoss{Connect: Connect{SYNRetries: 3, LinearTimeouts: 4}, Server: Server{SYNACKRetries: 5, InvalidRatelimit: s / 2}}, []sent{
			{timeline.SYNACK, 0}, {timeline.SYNACKAgain, 1 * s}, {timeline.SYNACKAnswer, 1 * s}, {timeline.SYNACKAnswer, 2 * s}, {timeline.SYNACKAnswer, 3 * s},
			{timeline.SYNACKAnswer, 4 * s}, {timeline.SYNACKAnswer, 5 * s}, {timeline.SYNACKAgain, 7 * s}, {timeline.SYNACKAnswer, 7 * s},
			{timeline.SYNACKAgain, 11 * s}, {timeline.SYNACKAnswer, 11 * s}, {timeline.SYNACKAgain, 19 * s}, {timeline.SYNACKAgain, 35 * s}, {timeline.RequestGone, 67 * s}}},
		{"OUTPUT drops the SYN-ACK: nothing is sent, the request goes at the first fire", SYNACKLoss{Connect: Connect{SYNRetries: 1},
			Server: Server{SYNACKRetries: 5, InvalidRatelimit: s / 2, Silent: true}}, []sent{{timeline.RequestGone, 1 * s}, {timeline.RequestGone, 2 * s}}},
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

// TestSYNACKOrders holds the orders against three runs on 6.18.44 with the kernel's own settings (S=6 and 4 linear timeouts, 5 SYN-ACKs), in
// which client and server met again and again. It catches an oracle that knows only some of the orders, one that is so open that
// anything fits, and one whose server's timer is always in step with the client's: in the last run they were a bucket apart from the start.
func TestSYNACKOrders(t *testing.T) {
	const ms = time.Millisecond
	type sent struct {
		what timeline.What
		n    int
		at   time.Duration
	}
	answer := func(n int, at time.Duration) sent { return sent{timeline.SYNACKAnswer, n, at * ms} }
	again := func(n int, at time.Duration) sent { return sent{timeline.SYNACKAgain, n, at * ms} }
	first := sent{timeline.SYNACK, 0, 0}
	tl, err := SYNACKLoss{Connect: Connect{SYNRetries: 6, LinearTimeouts: 4}, Server: Server{SYNACKRetries: 5, InvalidRatelimit: time.Second / 2}}.Predict(linux618(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	fits := func(tl timeline.Timeline, seen []sent) bool {
		for _, e := range tl.Events {
			if e.Host != "server" || e.What == timeline.RequestGone {
				continue
			}
			if len(seen) == 0 || seen[0].what != e.What || seen[0].n != e.N || seen[0].at < e.Earliest || seen[0].at > e.Latest+9*ms {
				return false
			}
			seen = seen[1:]
		}
		return len(seen) == 0
	}
	for _, tt := range []struct {
		name string
		seen []sent
		want string
	}{
		{"SYN first at 1, 2 and 11 s", []sent{first, answer(1, 1006), answer(2, 2030), again(1, 3054), answer(3, 3054), answer(4, 4082), answer(5, 5102), again(2, 7118),
			answer(6, 7122), answer(7, 11182), again(3, 15282), answer(8, 19378), again(4, 27566), answer(9, 35502), again(5, 51634), answer(10, 68782)},
			"SYN again 1 comes before the server's timer 1, SYN again 2 comes before the server's timer 1, SYN again 7 comes before the server's timer 3"},
		{"SYN first at 1 and 11 s", []sent{first, answer(1, 1029), again(1, 2053), answer(2, 2053), answer(3, 3077), answer(4, 4101), answer(5, 5125), again(2, 7141),
			answer(6, 7141), answer(7, 11173), again(3, 15273), answer(8, 19369), again(4, 27557), answer(9, 35493), again(5, 51625), answer(10, 68773)},
			"SYN again 1 comes before the server's timer 1, SYN again 7 comes before the server's timer 3"},
		{"the timer first each time, and the server a bucket before the client", []sent{first, again(1, 1000), answer(1, 1032), answer(2, 2056), answer(3, 3080), answer(4, 4104),
			answer(5, 5128), again(2, 7144), answer(6, 7144), again(3, 11176), answer(7, 11176), again(4, 19372), answer(8, 19372), again(5, 35496), answer(9, 35497),
			{timeline.SYNACK, 0, 68776 * ms}, again(1, 69804), again(2, 71820), again(3, 75944), again(4, 84136), again(5, 100264)}, ""},
		{"a timer that does not double", []sent{first, answer(1, 1029), again(1, 2053), answer(2, 2053), again(2, 3077), answer(3, 3077), again(3, 4101), answer(4, 4101)}, "none"},
		{"an answer that does not start the timer anew", []sent{first, answer(1, 1006), again(1, 1006), answer(2, 2030), answer(3, 3054), again(2, 3054), answer(4, 4082), answer(5, 5102)}, "none"},
	} {
		got := "none"
		for _, o := range append([]timeline.Timeline{tl}, tl.Alternatives...) {
			if fits(o, tt.seen) && got != "none" {
				t.Errorf("%s: two orders fit: %q and %q", tt.name, got, o.Why)
			} else if fits(o, tt.seen) {
				got = o.Why
			}
		}
		if got != tt.want {
			t.Errorf("%s: got the order %q, want %q", tt.name, got, tt.want)
		}
	}
	i := slices.IndexFunc(tl.Events, func(e timeline.Event) bool { return e.What == timeline.SYNACKAgain && e.N == 2 })
	if e := tl.Events[i]; e.GapEarliest > 6112*ms || e.GapLatest < 6144*ms {
		t.Errorf("from timer 1 to timer 2: got %v to %v, want 6.112 and 6.144 s in it, which were seen", e.GapEarliest, e.GapLatest)
	}
}

// TestEveryWay catches a way that is forgotten or played twice, and a limit that is not told.
func TestEveryWay(t *testing.T) {
	play := func(most int) (got []string, more bool) {
		more = everyWay(most, func(c *choices) {
			way := fmt.Sprint(c.pick(2))
			if way == "1" {
				way += fmt.Sprint(c.pick(3))
			}
			got = append(got, way+fmt.Sprint(c.pick(2)))
		})
		return got, more
	}
	got, more := play(8)
	if want := []string{"00", "100", "01", "110", "120", "101", "111", "121"}; !slices.Equal(got, want) || more {
		t.Errorf("got %v, more %v, want %v and no more", got, more, want)
	}
	if got, more := play(7); len(got) != 7 || !more {
		t.Errorf("at most 7: got %v, more %v, want 7 ways and more", got, more)
	}
}

// TestSYNACKOverLink catches a request timer that starts when the SYN leaves the client and not when it arrives, and a meeting that is decided
// where an arrival can lie in either of two jiffies. Seen on 6.18.44 at an RTT of 100 ms: SYN again at 1.018 s, answered at 1.069 s, the timer
// at 2.074 s.
func TestSYNACKOverLink(t *testing.T) {
	f := linux618(t)
	in := SYNACKLoss{Connect: Connect{SYNRetries: 1}, Server: Server{SYNACKRetries: 1, InvalidRatelimit: time.Second / 2}, RTT: 100 * time.Millisecond}
	both := map[string]bool{}
	for j := range uint64(64) {
		tl, err := in.Predict(f, &Start{Jiffies: 1<<33 + j, Phase: 1600 * time.Microsecond})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range append([]timeline.Timeline{tl}, tl.Alternatives...) {
			both[o.Why] = true
			var syn, timer timeline.Event
			for _, e := range o.Events {
				switch {
				case e.What == timeline.SYNRetransmission:
					syn = e
				case e.What == timeline.SYNACKAgain:
					timer = e
				case e.What == timeline.SYNACKAnswer && (e.Earliest != syn.Earliest+50*time.Millisecond || e.Latest < syn.Latest+50*time.Millisecond):
					t.Errorf("start %d: answered at %v to %v, want half an RTT after the SYN, which is sent at %v to %v", j, e.Earliest, e.Latest, syn.Earliest, syn.Latest)
				}
			}
			// Armed at the SYN's arrival, 50 ms in, or at the answer's.
			from := 1050 * time.Millisecond
			if o.Why != "" {
				from = syn.Earliest + 1050*time.Millisecond
			}
			if timer.Earliest < from-4*time.Millisecond || timer.Latest > from+50*time.Millisecond {
				t.Errorf("start %d, order %q: the server's timer at %v to %v, want within 50 ms of %v", j, o.Why, timer.Earliest, timer.Latest, from)
			}
		}
	}
	if len(both) != 2 {
		t.Errorf("got the orders %v, want both over all starts", both)
	}
}
