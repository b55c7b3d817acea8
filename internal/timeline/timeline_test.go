package timeline

import (
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
