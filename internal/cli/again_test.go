package cli

import "testing"

// Catches a value that means something else than it says: a run that would be made again for ever, or a verdict that is not inconclusive being
// tried until it pleases.
func TestRetries(t *testing.T) {
	for value, want := range map[string]int{"keep": 0, "retry:1": 1, "retry:100": 100, "retry:0": -1, "retry:101": -1, "retry:-1": -1, "retry:+1": -1,
		"retry:": -1, "retry": -1, "": -1, "retry:1x": -1, "fail": -1, "retry:99999999999999999999": -1} {
		n, err := retries(value)
		if err != nil {
			n = -1
		}
		if n != want {
			t.Errorf("%q: got %d, %v, want %d (-1: refused)", value, n, err, want)
		}
	}
}

// FuzzRetries catches a value that is accepted and is out of range.
func FuzzRetries(f *testing.F) {
	for _, v := range []string{"keep", "retry:3", "retry:-1", "retry:"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if n, err := retries(v); err == nil && (n < 0 || n > mostRetries || n == 0 && v != "keep") {
			t.Errorf("%q: got %d", v, n)
		}
	})
}
