package runner

import (
	"testing"
	"time"
)

// TestBlurred catches windows that are widened by a long call until any time passes, and an ordinary call that is made much of.
func TestBlurred(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name string
		a    anchoring
		want bool
	}{
		{"short calls", anchoring{planned: 1, sooner: 3 * ms, later: 9 * ms}, false},
		{"as long as may be", anchoring{planned: 1, sooner: mostBlur}, false},
		{"the first took longer", anchoring{planned: 1, sooner: mostBlur + 1}, true},
		{"a later one took longer", anchoring{planned: 2, later: 100 * ms}, true},
		{"no later call is planned: nothing is widened", anchoring{sooner: 100 * ms}, false},
	} {
		if err := tt.a.blurred(); (err != nil) != tt.want {
			t.Errorf("%s: got %v, want one: %v", tt.name, err, tt.want)
		}
	}
}
