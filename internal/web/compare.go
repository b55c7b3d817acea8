package web

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// compareData is two runs side by side.
type compareData struct {
	Names     [2]string
	Runs      [2]listRow
	Same      bool
	Reason    string // why they are not compared as runs of one experiment; empty: they are
	Events    []eventPair
	Checks    []checkPair
	Predicted []report.ChangeRow
	Causes    []causeRow
	Open      string // what has no cause, and why
	Judged    string // how many checks have another verdict
}

// causeRow is a cause with its words.
type causeRow struct {
	result.Cause
	Came, Effect string
}

// eventPair is an event in both runs: when each saw it.
type eventPair struct {
	Host, Name string
	A, B, Off  string // Off: by how much later B saw it
	Class      string
}

// checkPair is a check in both runs.
type checkPair struct {
	Name           string
	A, B           string // what was observed
	WordA, WordB   string
	ClassA, ClassB string
	Differs        bool
}

// compare shows two runs side by side, and what `tcplab diff` says of them.
func (s *Server) compare(w http.ResponseWriter, r *http.Request) error {
	v := s.words(r)
	names := r.URL.Query()["run"]
	if len(names) != 2 {
		return &problem{http.StatusBadRequest, "choose two runs to compare"}
	}
	done, err := s.working(r.Context())
	if err != nil {
		return err
	}
	defer done()
	d := compareData{Names: [2]string(names)}
	var runs [2]*result.Result
	for i, name := range names {
		runs[i], err = s.runs.result(name)
		if err == nil {
			err = drawable(runs[i])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", report.Clean(name), err)
		}
		d.Runs[i] = v.listRow(summaryOf(name, runs[i]))
	}
	if s.Diff != nil {
		diff, err := s.Diff(runs[0], runs[1])
		if err != nil {
			d.Reason = v.t(err.Error())
		} else {
			d.Same = diff.Nothing() && runs[0].Verdict == runs[1].Verdict
			d.diff(v, diff)
		}
	}
	d.Events = v.eventPairs(runs[0], runs[1])
	d.Checks = v.checkPairs(report.CheckRows(runs[0]), report.CheckRows(runs[1]))
	s.show(w, r, http.StatusOK, "compare", view{Title: v.t("Compare"), Here: "runs", Data: d})
	return nil
}

func (d *compareData) diff(v words, diff result.Difference) {
	for _, c := range report.ChangeRows(diff.Predicted) {
		d.Predicted = append(d.Predicted, report.ChangeRow{Host: v.host(c.Host), Name: v.t(c.Name), A: c.A, B: c.B, Note: v.t(c.Note)})
	}
	for _, c := range diff.Causes {
		since, effect := report.CauseWords(c)
		d.Causes = append(d.Causes, causeRow{c, v.t(since), v.t(effect)})
	}
	d.Open = v.t(report.Unexplained(diff))
	if n := len(diff.Checks); n > 0 {
		d.Judged = v.tf("Checks that have another verdict, or are in one run only: %d. They are marked below.", n)
	}
}

// eventPairs pairs the events of two runs, in A's order, then what only B has.
func (v words) eventPairs(a, b *result.Result) []eventPair {
	left, right := seenEvents(a), seenEvents(b)
	used := make([]bool, len(right))
	var out []eventPair
	for _, e := range left {
		p := eventPair{Host: v.host(e.Host), Name: v.t(report.EventName(e)), A: seenAt(e), B: "–"}
		i := slices.IndexFunc(right, func(o result.Event) bool {
			return e.Host == o.Host && e.What == o.What && e.N == o.N && e.Port == o.Port
		})
		for i >= 0 && used[i] { // the next of its kind
			next := slices.IndexFunc(right[i+1:], func(o result.Event) bool {
				return e.Host == o.Host && e.What == o.What && e.N == o.N && e.Port == o.Port
			})
			if next < 0 {
				i = -1
				break
			}
			i += 1 + next
		}
		if i >= 0 {
			used[i] = true
			p.B = seenAt(right[i])
			if e.Seen != nil && right[i].Seen != nil {
				p.Off = signed((*right[i].Seen - *e.Seen).Duration())
			}
			if e.Errno != right[i].Errno {
				p.Name += " / " + v.t(report.EventName(right[i]))
			}
		}
		if (e.Seen == nil) != (i < 0 || right[i].Seen == nil) {
			p.Class = "differs"
		}
		out = append(out, p)
	}
	for i, o := range right {
		if !used[i] {
			out = append(out, eventPair{Host: v.host(o.Host), Name: v.t(report.EventName(o)), A: "–", B: seenAt(o), Class: "differs"})
		}
	}
	return out
}

// seenEvents are a run's events and its outcome, in the order of time.
func seenEvents(r *result.Result) []result.Event {
	out := slices.Clone(r.Events)
	if r.Outcome != nil {
		out = append(out, *r.Outcome)
	}
	when := func(e result.Event) time.Duration {
		if e.Seen != nil {
			return e.Seen.Duration()
		}
		return e.At.Duration()
	}
	slices.SortStableFunc(out, func(a, b result.Event) int { return int(min(1, max(-1, when(a)-when(b)))) })
	return out
}

func seenAt(e result.Event) string {
	if e.Seen == nil {
		return "–"
	}
	return fmt.Sprintf("%.6f s", e.Seen.Duration().Seconds())
}

// checkPairs pairs checks by their identity.
func (v words) checkPairs(a, b []result.Check) []checkPair {
	find := func(list []result.Check, id string) *result.Check {
		if i := slices.IndexFunc(list, func(c result.Check) bool { return c.ID == id }); i >= 0 {
			return &list[i]
		}
		return nil
	}
	pair := func(name string, x, y *result.Check) checkPair {
		p := checkPair{Name: v.t(name), A: "–", B: "–"}
		if x != nil {
			p.A, p.WordA, p.ClassA = v.t(x.Observed), v.checkWord(x.Verdict), string(knownVerdict(x.Verdict))
		}
		if y != nil {
			p.B, p.WordB, p.ClassB = v.t(y.Observed), v.checkWord(y.Verdict), string(knownVerdict(y.Verdict))
		}
		p.Differs = p.ClassA != p.ClassB
		return p
	}
	var out []checkPair
	for i := range a {
		out = append(out, pair(a[i].Name, &a[i], find(b, a[i].ID)))
	}
	for i := range b {
		if find(a, b[i].ID) == nil {
			out = append(out, pair(b[i].Name, nil, &b[i]))
		}
	}
	return out
}
