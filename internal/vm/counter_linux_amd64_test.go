package vm

import "testing"

// Two looks at a counter that counts evenly agree to a ten-thousandth, also on a busy machine: each is the best of twenty.
func TestCounter(t *testing.T) {
	for range 5 {
		a, b := counterKHz(), counterKHz()
		if a != 0 && max(a-b, b-a) < a/10000 {
			return
		}
		t.Logf("got %d and %d kHz", a, b)
	}
	t.Error("five times two looks did not agree")
}
