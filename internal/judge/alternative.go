package judge

import (
	"slices"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
)

// Schedule judges the events and the outcome. It returns them joined (expected and seen), and one check per expectation: the number
// of packets, each packet's time and gap, the error and the time at which the call ended.
//
// Where what was seen contradicts the prediction and it has alternatives, each of which a correct kernel may follow, the first that
// explains everything is taken; note says which. An alternative that explains only a part is no excuse; one that stands but for what a
// stall leaves open makes the run inconclusive, where the usual one is contradicted. So does any contradiction where not all alternatives
// are listed.
func Schedule(in Input) (events []result.Event, outcome *result.Event, checks []result.Check, note string) {
	events, outcome, checks = schedule(in)
	if Passes(checks) {
		return events, outcome, checks, ""
	}
	refuted := Contradicted(checks)
	for _, alt := range in.Want.Alternatives {
		tried := in
		tried.Want = alt
		e, o, c := schedule(tried)
		if Passes(c) {
			return e, o, c, alt.Why
		}
		// One that the run cannot contradict may be what happened: then nobody can tell, and that is not a contradiction of the usual one.
		if refuted && !Contradicted(c) {
			events, outcome, checks, note, refuted = e, o, c, alt.Why, false
		}
	}
	if refuted && in.Want.Unlisted {
		for i := range checks {
			if c := &checks[i]; c.Verdict == result.Fail {
				c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.OrdersUnlisted, "no order that was predicted has it so, and there are more"
			}
		}
	}
	return events, outcome, checks, note
}

// Contradicted reports whether something in a run cannot be as it was predicted.
func Contradicted(checks []result.Check) bool {
	return slices.ContainsFunc(checks, func(c result.Check) bool { return c.Verdict == result.Fail })
}

// Passes reports whether nothing contradicts.
func Passes(checks []result.Check) bool {
	return !slices.ContainsFunc(checks, func(c result.Check) bool { return c.Verdict != result.Pass && c.Verdict != result.Skip })
}
