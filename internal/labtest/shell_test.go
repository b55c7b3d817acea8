package labtest

import (
	"slices"
	"testing"
)

// TestWords catches a splitter that takes for a word what a shell does not.
func TestWords(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
	}{
		{`a  b`, []string{"a", "b"}},
		{`a 'b c' "d e"`, []string{"a", "b c", "d e"}},
		{`a 'it'\''s'`, []string{"a", "it's"}},
		{`a "x\"y" '' \;`, []string{"a", `x"y`, "", ";"}},
		{`'$(id)'`, []string{"$(id)"}},
	} {
		if got, err := Words(tt.line); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, %v, want %q", tt.line, got, err, tt.want)
		}
	}
	for _, line := range []string{`a; id`, `a $(id)`, "a `id`", `a "$x"`, `a | b`, `a & b`, `a > b`, `'a`, "a\nb"} {
		if got, err := Words(line); err == nil {
			t.Errorf("%s: got %q, want an error", line, got)
		}
	}
}
