package report

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/result"
)

// TestSharedReasons catches a reason that is told once more for each check, one that is taken from a check that has another code or verdict, and
// what a check says alone that is lost with it.
func TestSharedReasons(t *testing.T) {
	check := func(v result.Verdict, code, detail string) result.Check {
		return result.Check{Verdict: v, Code: code, Detail: detail}
	}
	const open, fail = result.Inconclusive, result.Fail
	for _, tt := range []struct {
		name   string
		checks []result.Check
		want   []Shared
		rest   []string
	}{
		{"one alone", []result.Check{check(open, "A", "it stalled"), check(open, "B", "it stalled")}, nil, []string{"it stalled", "it stalled"}},
		{"alike", []result.Check{check(open, "A", "it stalled"), check(result.Pass, "", ""), check(open, "A", "it stalled")}, []Shared{{"it stalled", "A", 2}}, []string{"", "", ""}},
		{"after what each says alone", []result.Check{check(open, "A", "it never came; it stalled"), check(open, "A", "nobody predicted it; it stalled"), check(open, "A", "it stalled")},
			[]Shared{{"it stalled", "A", 3}}, []string{"it never came", "nobody predicted it", ""}},
		{"two reasons", []result.Check{check(open, "A", "it stalled"), check(open, "B", "packets were lost"), check(open, "A", "it stalled"), check(open, "B", "packets were lost")},
			[]Shared{{"it stalled", "A", 2}, {"packets were lost", "B", 2}}, []string{"", "", "", ""}},
		{"a contradiction keeps its own", []result.Check{check(fail, "A", "it never came"), check(fail, "A", "it never came")}, nil, []string{"it never came", "it never came"}},
	} {
		shared, rest := SharedReasons(tt.checks)
		var details []string
		for _, c := range rest {
			details = append(details, c.Detail)
		}
		if diff := cmp.Diff(tt.want, shared) + cmp.Diff(tt.rest, details); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestFailureSaysOnce catches a text that gives the reason of the whole run beside each of its checks.
func TestFailureSaysOnce(t *testing.T) {
	const why = "the machine stood still for 0.4 s in this run, which proves nothing"
	r := passing()
	for i := range r.Checks {
		r.Checks[i].Verdict, r.Checks[i].Code, r.Checks[i].Detail = result.Inconclusive, "TL1503", "it never came; "+why
	}
	r.Judge()
	r.Reason = r.Checks[0].Name + ": (" + r.Checks[0].Detail + ")"
	var b strings.Builder
	if err := Failure(&b, r, Style{Width: 200}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(b.String(), why); got != 1 {
		t.Errorf("got the reason %d times, want once:\n%s", got, b.String())
	}
}
