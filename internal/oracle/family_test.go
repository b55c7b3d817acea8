package oracle

import "testing"

// TestSegmentSizes catches a header of the other family: what a link of 1500 bytes holds, measured on 6.18.44.
func TestSegmentSizes(t *testing.T) {
	for _, c := range []struct {
		ipv6                  bool
		mss, segment, synData int
	}{{false, 1460, 1448, 1420}, {true, 1440, 1428, 1400}} {
		if got := [3]int{MSS(c.ipv6), segmentMax(c.ipv6), fastOpenDataMax(c.ipv6)}; got != [3]int{c.mss, c.segment, c.synData} {
			t.Errorf("IPv6 %v: got %v, want %d, %d and %d", c.ipv6, got, c.mss, c.segment, c.synData)
		}
	}
	full := Exchange{Request: 1428, Answer: 1, IPv6: true, RequestAt: 1e8, AnswerAt: 1e8, ClientClose: 3e8, ServerClose: 3e8}
	if _, err := full.Predict(linux618(t), nil); err != nil {
		t.Errorf("1428 bytes: got %v, want a prediction", err)
	}
	full.Request++
	if _, err := full.Predict(linux618(t), nil); err == nil {
		t.Error("1429 bytes in one segment of IPv6: got a prediction, want an error")
	}
}
