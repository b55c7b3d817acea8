package oracle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
)

// heldRequests is a request that fetches a cookie and one that travels in its SYN, on a link of 20 ms: each packet is under way for 10 ms and its own draw.
func heldRequests() FastOpen {
	x := threeRequests(FastOpenClient, FastOpenServer, true)
	x.Calls = []FastOpenCall{{0, 300 * ms, 0}, {500 * ms, 800 * ms, 480 * ms}}
	x.OneWay, x.Link = 10*ms, held([]int{1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1}, []int{5, 1, 4, 2, 3, 1, 2, 5})
	return x
}

// sentBy are the nominal times, in ms, and the kinds of what one end sends.
func sentBy(tl timeline.Timeline, host string) string {
	var out []string
	events := slices.Clone(tl.Events)
	slices.SortStableFunc(events, func(a, b timeline.Event) int { return int(a.At - b.At) })
	for _, e := range events {
		if e.Host == host && e.What != timeline.Connected {
			out = append(out, fmt.Sprintf("%d %s", e.At.Milliseconds(), e.What))
		}
	}
	return strings.Join(out, ", ")
}

// TestFastOpenHeld catches a packet with another's draw, in the second request too, and one that overtakes the one before: the request waits 13 ms behind
// the third packet. The draws of that request's SYN, and all behind it, move where the server's delayed ACK of the first FIN comes before its own FIN.
func TestFastOpenHeld(t *testing.T) {
	tl, err := heldRequests().Predict(linux618(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	// Client: SYN 1, ACK 2, request 3, ACK 4, FIN 5, ACK 1; SYN 2, ACK 3, ACK 4, FIN 5, ACK 1. Server: SYN-ACK 5, ACK 1, answer 4, FIN 2; SYN-ACK 3, answer 1
	// (behind it), FIN 2.
	for host, want := range map[string]string{
		"client": "0 syn, 26 ack, 26 data, 53 ack, 300 fin, 327 ack, 500 syn, 525 ack, 525 ack, 800 fin, 827 ack",
		"server": "11 syn-ack, 39 ack, 39 data, 315 fin, 512 syn-ack, 512 data, 815 fin",
	} {
		if got := sentBy(tl, host); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", host, got, want)
		}
	}

	if len(tl.Alternatives) != 3 {
		t.Fatalf("got %d other orders, want one for each way in which two programs may be late", len(tl.Alternatives))
	}
	for _, alt := range tl.Alternatives {
		if !strings.HasSuffix(alt.Why, "in request 1") {
			continue
		}
		// The delayed ACK is the server's fourth packet (2 ms), its FIN the fifth (3), and the SYN-ACK of the second request the sixth (1).
		if got, want := sentBy(alt, "server"), "315 ack"; strings.Contains(got, want) {
			t.Errorf("got %s, want the delayed ACK 40 ms after the FIN came", got)
		}
		if got, want := sentBy(alt, "client"), "500 syn, 523 ack, 524 ack,"; !strings.Contains(got, want) {
			t.Errorf("got  %s\nwant %s in it", got, want)
		}
	}

	// A lie about one packet shows in what is sent next.
	x := heldRequests()
	x.Link.Back[0] = 25 * ms
	lie, err := x.Predict(linux618(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	connected := func(tl timeline.Timeline) timeline.Event {
		return tl.Events[slices.IndexFunc(tl.Events, func(e timeline.Event) bool { return e.What == timeline.Connected })]
	}
	if truth, lie := connected(tl), connected(lie); lie.Earliest <= truth.Latest {
		t.Errorf("got the connection open by %v, and with a lie about the SYN-ACK from %v: want it later", truth.Latest, lie.Earliest)
	}
}

// TestFastOpenHeldLoss catches a SYN that is lost at the other end of the link and has no number there, and a lost SYN-ACK that is predicted as if the
// link decided nothing.
func TestFastOpenHeldLoss(t *testing.T) {
	x := heldRequests()
	x.Lose, x.LoseAt = LoseSYNData, 2
	x.Calls[1].Close = 2 * time.Second
	tl, err := x.Predict(linux618(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	// The SYN is the client's seventh packet (2 ms), its repeat the eighth (3 ms).
	if got, want := sentBy(tl, "server"), "1513 syn-ack"; !strings.Contains(got, want) {
		t.Errorf("got %s, want %q in it", got, want)
	}
	x.Lose = LoseSYNACK
	if _, err := x.Predict(linux618(t), nil); err == nil || !strings.Contains(err.Error(), "not modelled") {
		t.Errorf("a lost SYN-ACK: got %v, want that it is refused", err)
	}
}
