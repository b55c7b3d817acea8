package oracle

import (
	"testing"
	"time"
)

// TestNoNeighbour compares with 6.18.44: which error ends the connection depends on how many retransmissions are left when the address
// turns out to be unreachable.
func TestNoNeighbour(t *testing.T) {
	for _, c := range []struct {
		name     string
		connect  Connect
		want     string
		measured time.Duration
	}{
		{"one retransmission: the SYN's timer is first", Connect{SYNRetries: 1}, "ETIMEDOUT", 3027 * time.Millisecond},
		{"two: the error makes the timer fire, and that is one too many", Connect{SYNRetries: 2}, "ETIMEDOUT", 3070 * time.Millisecond},
		{"three: one is left", Connect{SYNRetries: 3}, "EHOSTUNREACH", 3060 * time.Millisecond},
		{"five", Connect{SYNRetries: 5}, "EHOSTUNREACH", 3076 * time.Millisecond},
		{"linear: nothing was doubled, so nothing is taken back", Connect{SYNRetries: 6, LinearTimeouts: 4}, "EHOSTUNREACH", 3070 * time.Millisecond},
	} {
		tl, err := NoNeighbour{Connect: c.connect}.Predict(linux618(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		o := tl.Outcome
		if len(tl.Events) != 0 || o == nil || o.Errno != c.want {
			t.Errorf("%s: got %d events and %+v, want none and %s", c.name, len(tl.Events), o, c.want)
			continue
		}
		if c.measured < o.Earliest || c.measured > o.Latest+9*time.Millisecond {
			t.Errorf("%s: got %v to %v, measured %v", c.name, o.Earliest, o.Latest, c.measured)
		}
	}
}

// TestNoNeighbourIPv6 compares with 6.18.44: over IPv6 the error takes no doubling back, so with two retransmissions, too, it ends connect(2).
func TestNoNeighbourIPv6(t *testing.T) {
	for _, c := range []struct {
		connect  Connect
		want     string
		measured time.Duration
	}{
		{Connect{SYNRetries: 1}, "ETIMEDOUT", 3022 * time.Millisecond},
		{Connect{SYNRetries: 2}, "EHOSTUNREACH", 3074 * time.Millisecond},
		{Connect{SYNRetries: 5}, "EHOSTUNREACH", 3076 * time.Millisecond},
	} {
		tl, err := NoNeighbour{Connect: c.connect, IPv6: true}.Predict(linux618(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		if o := tl.Outcome; o == nil || o.Errno != c.want || c.measured < o.Earliest || c.measured > o.Latest+9*time.Millisecond {
			t.Errorf("%d retransmissions: got %+v, want %s at %v", c.connect.SYNRetries, o, c.want, c.measured)
		}
	}
}
