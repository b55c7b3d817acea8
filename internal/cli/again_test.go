package cli

import "testing"

// TestRemakes catches a value that means something else than it says: a run that would be made again for ever, or a verdict that is not inconclusive being
// tried until it pleases.
func TestRemakes(t *testing.T) {
	refused := remake{times: -1}
	for value, want := range map[string]remake{"keep": {}, "": {}, "alone": {alone: true}, "retry:1": {times: 1}, "retry:100": {times: 100}, "retry:0": refused, "retry:101": refused,
		"retry:-1": refused, "retry:+1": refused, "retry:": refused, "retry": refused, "retry:1x": refused, "fail": refused, "alone:1": refused, "retry:99999999999999999999": refused} {
		got, err := remakes(value, false)
		if err != nil {
			got = refused
		}
		if got != want {
			t.Errorf("%q: got %+v, %v, want %+v (-1: refused)", value, got, err, want)
		}
	}
	for value, want := range map[string]remake{"keep": {}, "": {alone: true}, "retry:2": {times: 2}} {
		if got, err := remakes(value, true); err != nil || got != want {
			t.Errorf("%q, of several experiments at once: got %+v, %v, want %+v", value, got, err, want)
		}
	}
}

// FuzzRemakes catches a value that is accepted and is out of range.
func FuzzRemakes(f *testing.F) {
	for _, v := range []string{"keep", "alone", "retry:3", "retry:-1", "retry:"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		got, err := remakes(v, false)
		if err == nil && (got.times < 0 || got.times > mostRetries || got.times == 0 && v != "keep" && v != "" && v != "alone" || got.alone != (v == "alone")) {
			t.Errorf("%q: got %+v", v, got)
		}
	})
}
