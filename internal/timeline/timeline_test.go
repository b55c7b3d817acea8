package timeline

import (
	"slices"
	"testing"
	"time"
)

// TestOnWire catches an ending of connect(2) that is looked for among packets, and a packet that is not.
func TestOnWire(t *testing.T) {
	for _, w := range []What{SYN, SYNRetransmission, SYNACK, SYNACKAgain, ACK, Data, DataAgain, FIN, FINAgain, RST, ICMP} {
		if !w.OnWire() {
			t.Errorf("%s: got not on the wire, want on the wire", w)
		}
	}
	for _, w := range []What{ConnectError, Connected} {
		if w.OnWire() {
			t.Errorf("%s: got on the wire, want not", w)
		}
	}
}

// TestLate catches a lateness that counts from the first instant instead of the nominal time.
func TestLate(t *testing.T) {
	b := Bound{At: time.Second, Earliest: 1004 * time.Millisecond, Latest: 1032 * time.Millisecond}
	if got, want := b.Late(), 32*time.Millisecond; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestSideBySide has a timer that fires behind a packet which the formula has behind it. It catches an order of one connection that the formula makes and not
// the connection, and connections that are put one behind the other.
func TestSideBySide(t *testing.T) {
	const ms = time.Millisecond
	event := func(port uint16, what What, at time.Duration) Event {
		return Event{Port: port, What: what, Bound: Bound{At: at}}
	}
	late := []Event{event(1, SYN, 0), event(1, SYNACKAgain, 1030*ms), event(1, SYNRetransmission, 1010*ms), event(1, SYNACKAnswer, 1010*ms)}
	usual := []Event{event(2, SYN, 0), event(2, SYNRetransmission, 1020*ms), event(2, SYNACKAnswer, 1040*ms)}
	got := SideBySide([]Connection{{Port: 1, Timeline: Timeline{Events: late}}, {Port: 2, Timeline: Timeline{Events: usual}}}).Events
	want := []Event{late[0], usual[0], usual[1], late[1], late[2], late[3], usual[2]}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
