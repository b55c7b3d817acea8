package oracle

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
)

// heldWindow is a window that closes and opens on a link of 20 ms: each packet is under way for 10 ms and its own draw.
func heldWindow(t *testing.T, start *Start, change func(*ZeroWindow)) timeline.Timeline {
	t.Helper()
	z := stuckOn(func(z *ZeroWindow) {
		z.RTT, z.Link = 20*ms, held([]int{0, 0, 3, 5, 1, 2, 0, 4}, []int{0, 2, 4, 3, 5, 1, 2, 3})
		z.InvalidRatelimit, z.Drain, z.Until, z.Close = 0, 1400*ms, 1600*ms, 1620*ms
	})
	if change != nil {
		change(&z)
	}
	tl, err := z.Predict(linux618(t), start)
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

// ticked618 is a start whose ticks are known.
var ticked618 = &Start{Jiffies: 1 << 40, Phase: 2 * ms, Called: true}

// TestZeroWindowHeld catches a packet with another's draw, and a timer that does not count from when the acknowledgement, or the answer, is there: at
// 525 ms, after 13 and 12 ms, and at 778 ms, after 15 and 14 ms.
func TestZeroWindowHeld(t *testing.T) {
	tl := heldWindow(t, nil, nil)
	if got, want := told(tl), "p749 a764 p1226 a1237 u1400 d1415 k1427 u1427 q1600 f1620 f1630 k1643 01643"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	// The peer's program may close after its delayed ACK, which the FIN then waits behind.
	if len(tl.Alternatives) != 1 {
		t.Fatalf("got %d other orders, want that in which the delayed ACK has the FIN's draw", len(tl.Alternatives))
	}
	if got, want := told(tl.Alternatives[0]), " f1620 k1670 f"; !strings.Contains(got, want) {
		t.Errorf("got %s, want %q in it", got, want)
	}

	// A lie about one packet: an acknowledgement that is held back for 24 ms longer makes a probe that no window of the truth has.
	first := func(ack int) timeline.Event {
		tl := heldWindow(t, ticked618, func(z *ZeroWindow) { z.Link.Back[1] = time.Duration(ack) * ms })
		return tl.Events[6]
	}
	if truth, lie := first(2), first(26); truth.What != timeline.WindowProbe || lie.Tick <= truth.TickLast {
		t.Errorf("got %s in tick %d to %d, and with a lie about the acknowledgement %d: want a later one", truth.What, truth.Tick, truth.TickLast, lie.Tick)
	}
}

// TestZeroWindowHeldRTO catches an RTO that is taken for certain where a link that is late by a millisecond makes another one: the handshake takes
// 23.05 to 25.05 ms, so the smoothed RTT is 22.7 to 24.7 ms.
func TestZeroWindowHeldRTO(t *testing.T) {
	tl := heldWindow(t, ticked618, func(z *ZeroWindow) {
		z.Link, z.Drain, z.Close, z.Until = held([]int{2}, []int{1}), 0, 0, time.Second
	})
	var got []time.Duration
	for one := range tl.All() {
		got = append(got, one.Events[6].At)
	}
	if len(got) != 2 || got[0] != 744*ms || got[1] != 748*ms {
		t.Errorf("got the first probe at %v, want 224 and 228 ms after the acknowledgement is there, at 520 ms", got)
	}
}

// TestZeroWindowHeldMeeting has the peer read just when the second probe arrives. It catches one order that is taken for certain, and an update that does not
// change draws with the answer: it is the server's fourth packet (3 ms) or the fifth (5 ms).
func TestZeroWindowHeldMeeting(t *testing.T) {
	probes := func(tl timeline.Timeline) (out []timeline.Event) {
		for _, e := range tl.Events {
			if e.What == timeline.WindowProbe {
				out = append(out, e)
			}
		}
		return out
	}
	read := probes(heldWindow(t, ticked618, nil))[1].Earliest + 11*ms
	tl := heldWindow(t, ticked618, func(z *ZeroWindow) { z.Drain = read })
	got := map[timeline.What]time.Duration{}
	for one := range tl.All() {
		var what timeline.What
		var data time.Duration
		for _, e := range one.Events {
			switch {
			case e.What == timeline.WindowProbeACK && e.At > time.Second, e.What == timeline.KeepaliveACK:
				what = e.What
			case e.What == timeline.Data && e.At > time.Second:
				data = e.At - read
			}
		}
		got[what] = data
	}
	if want := (map[timeline.What]time.Duration{timeline.WindowProbeACK: 15 * ms, timeline.KeepaliveACK: 13 * ms}); !maps.Equal(got, want) {
		t.Errorf("got the second segment so long after the read: %v, want %v", got, want)
	}
}

// TestZeroWindowHeldLimit has tcp_invalid_ratelimit end just when the second probe arrives. It catches an answer that is taken for certain.
func TestZeroWindowHeldLimit(t *testing.T) {
	limited := func(limit time.Duration) (answers []int) {
		for one := range heldWindow(t, ticked618, func(z *ZeroWindow) { z.InvalidRatelimit, z.Drain, z.Close = limit, 0, 0 }).All() {
			n := 0
			for _, e := range one.Events {
				if e.What == timeline.WindowProbeACK && e.At < 1400*ms {
					n++
				}
			}
			answers = append(answers, n)
		}
		return answers
	}
	var apart time.Duration
	for _, e := range heldWindow(t, ticked618, nil).Events {
		if e.What == timeline.WindowProbeACK {
			apart = e.Earliest - apart
		}
	}
	for limit, want := range map[time.Duration][]int{apart - 20*ms: {2}, apart: {1, 2}, apart + 20*ms: {1}} {
		got := map[int]bool{}
		for _, n := range limited(limit) {
			got[n] = true
		}
		if len(got) != len(want) || !got[want[0]] {
			t.Errorf("limit of %v, the probes %v apart: got %v answers, want %v", limit, apart, got, want)
		}
	}
}

// TestZeroWindowHeldRefused catches a connection that dies while the window update is on its way, and that is predicted as if it were known which
// packet a RST answers.
func TestZeroWindowHeldRefused(t *testing.T) {
	for user := 600 * ms; user < 700*ms; user += 4 * ms {
		z := stuckOn(func(z *ZeroWindow) {
			z.RTT, z.Link, z.UserTimeout = 20*ms, held(nil, []int{0, 0, 0, 0, 5}), user
			z.Drain, z.Until, z.Close = 1400*ms, 1600*ms, 1620*ms
		})
		if _, err := z.Predict(linux618(t), ticked618); err != nil && strings.Contains(err.Error(), "is on its way") {
			return
		}
	}
	t.Error("got no timeout that is refused, want those that end while the update is on its way")
}
