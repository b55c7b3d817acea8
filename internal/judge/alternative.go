package judge

import (
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Schedule judges the events and the outcome. It returns them joined (expected and seen), and one check per expectation: the number
// of packets, each packet's time and gap, the error and the time at which the call ended.
//
// Where what was seen contradicts the prediction and it has alternatives, each of which a correct kernel may follow, the first that
// explains everything is taken; note says which. An alternative that explains only a part is no excuse; one that stands but for what a
// stall leaves open makes the run inconclusive, where the usual one is contradicted. So does any contradiction where not all alternatives
// are listed.
//
// Connections side by side are judged one by one: each has the first of its own orders that explains all that was seen of it, whatever the
// others do, and note names those that do not go the usual way.
func Schedule(in Input) (events []result.Event, outcome *result.Event, checks []result.Check, note string) {
	in = in.sorted()
	if len(in.Want.Connections) > 0 {
		return sideBySide(in)
	}
	t := take(in)
	if t.refuted && in.Want.Unlisted {
		for i := range t.checks {
			unlisted(&t.checks[i])
		}
	}
	return t.events, t.outcome, t.checks, t.note
}

// sideBySide takes an order of each connection, and judges what comes of all.
func sideBySide(in Input) (events []result.Event, outcome *result.Event, checks []result.Check, note string) {
	var notes []string
	taken := slices.Clone(in.Want.Connections)
	in.open = map[uint16]bool{}
	for i, part := range Connections(in) {
		t := take(part)
		taken[i].Timeline = t.order
		if t.note != "" {
			notes = append(notes, t.note)
		}
		if t.refuted && part.Want.Unlisted {
			in.open[taken[i].Port] = true
		}
	}
	in.Want = timeline.SideBySide(taken)
	events, outcome, checks = schedule(in)
	return events, outcome, checks, strings.Join(notes, "; ")
}

// Connections are the parts of a judgement: what is predicted of each of several connections side by side, in their order, and what was seen
// of it. Where there are none it is the whole.
func Connections(in Input) []Input {
	if len(in.Want.Connections) == 0 {
		return []Input{in}
	}
	seen := map[uint16][]timeline.Event{}
	for _, e := range in.Got.Events {
		seen[e.Port] = append(seen[e.Port], e)
	}
	var parts []Input
	for _, c := range in.Want.Connections {
		part := in
		part.Want, part.Got = c.Timeline, timeline.Timeline{Events: seen[c.Port]}
		parts = append(parts, part)
	}
	return parts
}

// taken is an order of a prediction, and how what was seen stands to it.
type taken struct {
	order   timeline.Timeline
	events  []result.Event
	outcome *result.Event
	checks  []result.Check
	note    string // what makes it differ from the usual one
	refuted bool   // it is contradicted, and so are all others
}

// take judges one order after the other until one explains everything.
func take(in Input) taken {
	best := taken{order: in.Want}
	best.events, best.outcome, best.checks = schedule(in)
	if Passes(best.checks) {
		return best
	}
	best.refuted = Contradicted(best.checks)
	for _, alt := range in.Want.Alternatives {
		tried := taken{order: alt, note: alt.Why}
		in.Want = alt
		tried.events, tried.outcome, tried.checks = schedule(in)
		if Passes(tried.checks) {
			return tried
		}
		// One that the run cannot contradict may be what happened: then nobody can tell, and that is not a contradiction of the usual one.
		if best.refuted && !Contradicted(tried.checks) {
			best = tried
		}
	}
	return best
}

// unlisted makes a contradiction inconclusive where not all orders are listed.
func unlisted(c *result.Check) {
	if c.Verdict == result.Fail {
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.OrdersUnlisted, "no order that was predicted has it so, and there are more"
	}
}

// Contradicted reports whether something in a run cannot be as it was predicted.
func Contradicted(checks []result.Check) bool {
	return slices.ContainsFunc(checks, func(c result.Check) bool { return c.Verdict == result.Fail })
}

// Passes reports whether nothing contradicts.
func Passes(checks []result.Check) bool {
	return !slices.ContainsFunc(checks, func(c result.Check) bool { return c.Verdict != result.Pass && c.Verdict != result.Skip })
}
