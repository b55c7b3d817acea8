package web

import (
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/result"
)

// TestCompareSays catches a comparison that has a heading on what differs and nothing below it, and one that says that nothing differs where
// checks went another way.
func TestCompareSays(t *testing.T) {
	const same, marked = "Nothing differs", "are in one run only: 2."
	for _, tt := range []struct {
		name      string
		checks    []result.CheckChange
		want, not string
	}{
		{"the same", nil, same, marked},
		{"two checks", []result.CheckChange{{ID: "count"}, {ID: "death"}}, marked, same},
	} {
		s, _ := serve(t, func(o *Options) {
			o.Diff = func(_, _ *result.Result) (result.Difference, error) {
				return result.Difference{Checks: tt.checks, Explained: true}, nil
			}
		})
		put(t, s.Dir, "20260102-000000-exp1-syn-loss", "result.json", stored(t, "exp1-syn-loss"))
		page := s.page(t, "/compare?run=20260101-000000-exp1-syn-loss&run=20260102-000000-exp1-syn-loss")
		if !strings.Contains(page, tt.want) || strings.Contains(page, tt.not) {
			t.Errorf("%s: got no %q, or %q, in the page", tt.name, tt.want, tt.not)
		}
	}
}
