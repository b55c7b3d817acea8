package oracle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/timeline"
)

// held is a plan for each packet, in ms.
func held(there, back []int) link.Plan {
	list := func(of []int) (out []time.Duration) {
		for _, n := range of {
			out = append(out, time.Duration(n)*ms)
		}
		return out
	}
	return link.Plan{Every: true, Hold: list(there), Back: list(back)}
}

// TestExchangeHeld has each packet under way for 10 ms and its own draw. It catches a packet that has another's number, one of the other way's, one
// that overtakes the one before (the answer would be there after 226 ms, and its ACK is not before 227), and a late ACK that counts from
// where the FIN would have been without its draw.
func TestExchangeHeld(t *testing.T) {
	x := get
	x.RTT, x.Link = 20*ms, held([]int{1, 2, 3, 4, 5, 2}, []int{5, 4, 3, 2, 1})
	x.RequestAt, x.AnswerAt, x.ClientClose, x.ServerClose = 200*ms, 213*ms, 400*ms, 615*ms
	want := []string{"0 client syn 0 0 0", "11 server syn-ack 0 1 0", "26 client ack 1 1 0",
		"200 client data 1 1 50", "213 server ack 1 51 0", "213 server data 1 51 100", "227 client ack 51 101 0", "227 client answered",
		"400 client fin 51 101 0", "455 server ack 101 52 0", "615 server fin 101 52 0", "626 client ack 52 102 0"}
	less := func(a, b string) bool { return a < b }
	check := func(x Exchange, want []string, connected int) {
		t.Helper()
		tl, err := x.Predict(linux618(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(sortedBy(want, less), sortedBy(lines(tl), less)); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		if got := tl.Outcome.At; got != time.Duration(connected)*ms {
			t.Errorf("connect: got %v, want %d ms", got, connected)
		}
	}
	check(x, want, 26)

	// The server closes first, right behind its answer: its FIN waits behind it, and is the fourth of its packets.
	x.ServerFirst, x.ServerClose, x.ClientClose = true, 213*ms, 247*ms
	want = append(want[:8:8], "213 server fin 101 51 0", "247 client fin 51 102 0", "262 server ack 102 52 0")
	check(x, want, 26)

	x.ClientClose = 267 * ms // 40 ms after the FIN
	if _, err := x.Predict(linux618(t), nil); err == nil || !strings.Contains(err.Error(), "near the delayed ACK") {
		t.Errorf("a close near the delayed ACK: got %v, want that it is refused", err)
	}
}

// TestKeepaliveHeld catches a keepalive timer that starts an RTT after the SYN, and not when the SYN-ACK was really there. With the SYN-ACK there 29 ms
// after a SYN that left 1 ms into a jiffy, the timer starts in jiffy 7 and its 250 jiffies end in the bucket of 264 (eight jiffies wide); 20 ms
// after it, it would start in jiffy 5 and end in that of 256. The second probe counts from when the first was answered, 29 ms later.
func TestKeepaliveHeld(t *testing.T) {
	k := Keepalive{Time: time.Second, Interval: time.Second, Probes: 2, Close: 2800 * ms, RTT: 20 * ms, Link: held([]int{4, 0, 6, 1, 3}, []int{5, 3, 2, 6, 9})}
	start := &Start{Jiffies: 1 << 40, Phase: ms, Called: true}
	tl, err := k.Predict(linux618(t), start)
	if err != nil {
		t.Fatal(err)
	}
	var probes []timeline.Event
	at := map[timeline.What]time.Duration{}
	for _, e := range tl.Events {
		if e.What == timeline.KeepaliveProbe {
			probes = append(probes, e)
		}
		if e.Host == "client" {
			at[e.What] = e.At
		}
	}
	if len(probes) != 2 || probes[0].At != 1029*ms || probes[1].At != 1029*ms+29*ms+1000*ms {
		t.Fatalf("got the probes %+v, want two, at 1.029 s and 29 ms and 1 s later", probes)
	}
	// The answer is there in jiffy 271. The timer was started anew for 250 jiffies in 264, and ends in the bucket of 520: 249 after the answer, so it
	// waits for one more, which is 522 on a wheel that is always late. An answer 20 ms after the probe would be one of jiffy 268, and enough.
	if probes[0].Tick != 264 || probes[0].TickLast != 264 || probes[1].Tick != 522 || probes[1].TickLast != 522 {
		t.Errorf("got the ticks %d to %d and %d to %d, want 264 and 522", probes[0].Tick, probes[0].TickLast, probes[1].Tick, probes[1].TickLast)
	}
	// The client's FIN is its fifth packet, the server's its fourth, or its fifth behind a delayed ACK.
	if want := 2800*ms + 13*ms + 16*ms; at[timeline.ACK] != want {
		t.Errorf("the last ACK: got %v, want %v", at[timeline.ACK], want)
	}
	if len(tl.Alternatives) != 1 || tl.Alternatives[0].Outcome.At != 2800*ms+13*ms+19*ms {
		t.Errorf("got %d alternatives, want one in which the FIN is the server's fifth packet, there 32 ms after the close", len(tl.Alternatives))
	}
	k.Peer.InvalidRatelimit = 1024 * ms
	if _, err := k.Predict(linux618(t), start); err == nil || !strings.Contains(err.Error(), "choose another value") {
		t.Errorf("a limit of answers between two probes: got %v, want that it is refused", err)
	}
}

// TestDelayedACKHeld catches a half that is numbered as the other, and an answer that overtakes the acknowledgement in front of it: in the second
// round the first half is there after 13 ms, its ACK leaves 40 ms later and takes 12, the second half 14; the answer 11 and its ACK.
func TestDelayedACKHeld(t *testing.T) {
	d := asking(func(d *DelayedACK) {
		d.RTT, d.Link, d.Rounds = 20*ms, held([]int{0, 0, 1, 2, 0, 3, 4, 0}, []int{0, 5, 1, 0, 2, 1}), d.Rounds[:2]
	})
	tl, err := d.Predict(linux618(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	// 200 + 11 + 15 + 12 = 238; the ACK of the second half takes 11, and so does the answer behind it: the third and fourth of the server's.
	if d := cmp.Diff("d100@200 k211 d100@226 k238 R238 c249 d100@500 K553 d100@565 k579 R579 c590", dialogue(tl)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	d.RTT, d.Link = 30*ms, held([]int{0, 0, 0, 7}, []int{0, 7})
	if _, err := d.Predict(linux618(t), nil); err == nil || !strings.Contains(err.Error(), "icsk_ack.ato") {
		t.Errorf("halves 44 ms apart at most: got %v, want that it is refused", err)
	}
}

// TestSYNACKLossHeld catches a repeated SYN that meets the server's timer though the link holds it back for longer than a jiffy more than the first one,
// or less: then there is one order, and each draw has another.
func TestSYNACKLossHeld(t *testing.T) {
	s := SYNACKLoss{Connect: Connect{SYNRetries: 1}, Server: Server{SYNACKRetries: 1, InvalidRatelimit: 500 * ms}, RTT: 100 * ms}
	first := func(plan link.Plan) timeline.Event {
		s.Link = plan
		tl, err := s.Predict(linux618(t), &Start{Jiffies: 1 << 40, Phase: 2 * ms, Called: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(tl.Alternatives) != 0 {
			t.Errorf("%v: got %d other orders, want none", plan.Hold, len(tl.Alternatives))
		}
		for _, e := range tl.Events {
			if e.Host == "server" && e.What != timeline.SYNACK {
				return e
			}
		}
		return timeline.Event{}
	}
	if e := first(held([]int{0, 60}, nil)); e.What != timeline.SYNACKAgain || e.At != 1050*ms {
		t.Errorf("the SYN again is late: got %s at %v, want the server's timer first, a second after the SYN came", e.What, e.At)
	}
	if e := first(held([]int{60, 0}, nil)); e.What != timeline.SYNACKAnswer || e.At != 1050*ms {
		t.Errorf("the first SYN is late: got %s at %v, want the answer to the repeat first", e.What, e.At)
	}
}

// TestRefusalHeld catches a RST that crosses without its draw, and an ICMP error that has one.
func TestRefusalHeld(t *testing.T) {
	for by, want := range map[string]time.Duration{"tcp-reset": 27 * ms, "icmp-net-unreachable": 23 * ms} {
		tl, err := Refusal{Connect: Connect{SYNRetries: 1}, By: by, RTT: 20 * ms, Link: held([]int{3}, []int{4})}.Predict(linux618(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		if tl.Outcome.At != want {
			t.Errorf("%s: got %v, want %v", by, tl.Outcome.At, want)
		}
	}
}

// TestBlackHoleHeld catches an RTO of other round trips than those that were measured, and one that is taken for certain where a link that is late by a
// millisecond makes another. On a link of 20 ms:
//
//   - the handshake takes 20 ms and the draws of the SYN and the SYN-ACK: 24.05 to 26.05 ms with what hosts add, so 224.05 to 226.05 ms, in jiffies of 4 ms
//     228; of 23.05 to 25.05 ms it is 224 or 228;
//   - a request counts for an eighth: after 20.05 ms and 53.05 ms the smoothed RTT is 24.175 ms, so the RTO is 228 ms again.
//
// Neither the third packet's draw nor that of the answer behind the ACK counts.
func TestBlackHoleHeld(t *testing.T) {
	f := linux618(t)
	mid := func(b *BlackHole) { b.Cut = CutMid }
	for _, tt := range []struct {
		name        string
		change      func(*BlackHole)
		there, back []int
		want        []time.Duration
	}{
		{"no draw", nil, nil, []int{0, 9}, []time.Duration{224 * ms}},
		{"the handshake's", nil, []int{3, 99}, []int{1, 99}, []time.Duration{228 * ms}},
		{"near the end of a jiffy", nil, []int{2}, []int{1}, []time.Duration{224 * ms, 228 * ms}},
		{"the request's", mid, []int{0, 0, 8}, []int{0, 25}, []time.Duration{228 * ms}},
		{"not the request's", mid, []int{0, 8, 0, 30}, []int{0, 0, 25}, []time.Duration{224 * ms}},
		{"the request's, and near", mid, []int{0, 0, 8}, []int{0, 14}, []time.Duration{224 * ms, 228 * ms}}, // 22.8 to 24.8 ms
	} {
		b := silent(func(b *BlackHole) {
			b.Cut, b.RTT, b.Link = CutACK, 20*ms, held(tt.there, tt.back)
			if tt.change != nil {
				tt.change(b)
			}
		})
		rtos, _ := b.Timers(f)
		if !slices.Equal(rtos, tt.want) {
			t.Errorf("%s: got the RTOs %v, want %v", tt.name, rtos, tt.want)
		}
		tl := blackHole(t, b, f, &Start{Jiffies: 1 << 40, Phase: ms, Called: true})
		if len(tl.Alternatives) != len(tt.want)-1 {
			t.Fatalf("%s: got %d alternatives, want one for each other RTO", tt.name, len(tl.Alternatives))
		}
		i := 0
		for one := range tl.All() {
			// The write is in jiffy 250. With one segment in flight the probe waits for the RTO, and the wheel is a jiffy late; another processor may count
			// the jiffy before or after.
			_, repeats := repeatsOf(one)
			if want := int64(250 + tt.want[i]/(4*ms) + 1); repeats[0].At != b.Write+tt.want[i] || repeats[0].Tick != want-1 || repeats[0].TickLast != want+1 {
				t.Errorf("%s: got the first repeat at %v in tick %d to %d, want it %v after the write, in %d or next to it", tt.name, repeats[0].At, repeats[0].Tick, repeats[0].TickLast, tt.want[i], want)
			}
			i++
		}
	}

	// A lie about one packet: a SYN-ACK that is held back for 24 ms longer makes an RTO that no window of the truth has.
	first := func(back int) timeline.Event {
		b := silent(func(b *BlackHole) { b.Cut, b.RTT, b.Link = CutACK, 20*ms, held(nil, []int{back}) })
		_, repeats := repeatsOf(blackHole(t, b, f, &Start{Jiffies: 1 << 40, Phase: ms, Called: true}))
		return repeats[0]
	}
	if truth, lie := first(0), first(24); lie.Tick <= truth.TickLast {
		t.Errorf("got tick %d to %d, and with a lie about the SYN-ACK %d: want a later one", truth.Tick, truth.TickLast, lie.Tick)
	}
}

// TestBlackHoleAnswersHeld plays a client that is dead when the second repeat of the SYN-ACK comes. Its SYN is there after 10 ms, so the server's timer
// fires at 1.010 and 3.010 s. It catches a challenge ACK without the SYN-ACK's draw (the server's second packet), and a RST with that of another: SYN, ACK, the
// data and its two repeats, and the challenge ACK come before it.
func TestBlackHoleAnswersHeld(t *testing.T) {
	b := silent(func(b *BlackHole) {
		b.Cut, b.RTT, b.Link = CutACK, 20*ms, held([]int{0, 0, 9, 9, 9, 9, 4}, []int{0, 2, 3})
		b.Write, b.Retries2, b.Server.SYNACKRetries = 400*ms, 0, 3
	})
	f := linux618(t)
	at := map[timeline.What]time.Duration{}
	for _, e := range blackHole(t, b, f, nil).Events {
		if e.Maybe {
			t.Errorf("%s %d may be absent, want it certain", e.What, e.N)
		}
		at[e.What] = e.At
	}
	for what, want := range map[timeline.What]time.Duration{timeline.ChallengeACK: 1022 * ms, timeline.RST: 3023 * ms, timeline.RequestGone: 3037 * ms} {
		if at[what] != want {
			t.Errorf("%s: got %v, want %v", what, at[what], want)
		}
	}
	b.Write, b.InvalidRatelimit = 8*time.Second, 2016*ms // the bucket in which a timer of 2 s ends that is armed in one
	if _, err := b.Predict(f, nil); err == nil || !strings.Contains(err.Error(), "choose another value") {
		t.Errorf("a limit of answers between two SYN-ACKs: got %v, want that it is refused", err)
	}
}

// TestClosingHeld has each packet under way for 10 ms and its own draw. It catches a FIN with the draw of the third packet, and a TIME-WAIT that counts from
// when the other FIN would have come without its own.
func TestClosingHeld(t *testing.T) {
	f := linux618(t)
	closing := func(change func(*Closing)) (timeline.Timeline, error) {
		c := finEnds()
		c.RTT, c.Link = 20*ms, held([]int{0, 0, 5, 3}, []int{0, 2, 4})
		change(&c)
		return c.Predict(f, nil)
	}
	tl, err := closing(func(c *Closing) { c.ServerClose = 700 * ms })
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range tl.Events {
		if e.At >= 400*ms {
			got = append(got, fmt.Sprintf("%d %s %s", e.At.Milliseconds(), e.Host, e.What))
		}
	}
	want := []string{"400 client fin", "415 server ack", "700 server fin", "714 client ack", "727 server socket-gone", "60714 client socket-gone"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}

	// The client measures 20 ms and the draws of the SYN and the SYN-ACK, the server those of the SYN-ACK and the third packet, as in TestBlackHoleHeld.
	for _, tt := range []struct {
		name        string
		lose        FINLoss
		host        string
		there, back []int
		want        []time.Duration // from the first FIN to its first repeat
	}{
		{"the client's", CloseNoFIN, "client", []int{3, 99, 5}, []int{1}, []time.Duration{228 * ms}},
		{"the client's, near the end of a jiffy", CloseNoFIN, "client", []int{2}, []int{1}, []time.Duration{224 * ms, 228 * ms}},
		{"the server's", CloseNoSecondFIN, "server", []int{0, 3}, []int{1}, []time.Duration{228 * ms}},
		{"the server's, and the client's is of no account", CloseNoSecondFIN, "server", []int{2, 3}, []int{1}, []time.Duration{228 * ms}},
	} {
		tl, err := closing(func(c *Closing) { c.Lose, c.Link, c.ServerClose = tt.lose, held(tt.there, tt.back), 2*time.Second })
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []time.Duration
		for one := range tl.All() {
			var at []time.Duration
			for _, e := range one.Events {
				if e.Host == tt.host && e.What.Family() == timeline.FIN {
					at = append(at, e.At)
				}
			}
			got = append(got, at[1]-at[0])
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got the first repeat after %v, want %v", tt.name, got, tt.want)
		}
	}

	for name, tt := range map[string]struct {
		change func(*Closing)
		want   string
	}{
		"FIN-WAIT-2 of 3.5 RTOs":              {func(c *Closing) { c.RTT, c.Client.FINTimeout = 100*ms, time.Second }, "3.5 RTOs"},
		"a close beside the answer to a FIN":  {func(c *Closing) { c.Lose, c.ServerClose = CloseNoACK, 640*ms }, "either may be the first"},
		"a close beside the arrival of a FIN": {func(c *Closing) { c.ServerClose = 430 * ms }, "arrives at 415ms"},
	} {
		if _, err := closing(tt.change); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// TestCapturePointsHeld has two opens on one link, each with draws of its own. It catches one that is predicted with the other's, and an answer that was
// worked out for the other one and is taken for its own.
func TestCapturePointsHeld(t *testing.T) {
	point := func(port uint16, hold int) CapturePoint {
		return CapturePoint{Connect: Connect{SYNRetries: 1}, Server: Server{SYNACKRetries: 1}, Port: port, At: "client", Table: "filter", Chain: "INPUT", RTT: 20 * ms, Link: held([]int{hold, 0}, nil)}
	}
	tl, err := CapturePoints{point(8001, 2), point(8002, 7)}.Predict(linux618(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint16]time.Duration{}
	for _, e := range tl.Events {
		if e.What == timeline.SYNACK {
			got[e.Port] = e.At
		}
	}
	if want := map[uint16]time.Duration{8001: 12 * ms, 8002: 17 * ms}; !cmp.Equal(got, want) {
		t.Errorf("SYN-ACKs: got %v, want %v", got, want)
	}
}
