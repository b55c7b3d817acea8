package result

import "slices"

// Change is an event that two predictions do not share, or share with other times.
type Change struct {
	Host string `json:"host"`
	What string `json:"what"`
	N    int    `json:"n,omitempty"`
	Port int    `json:"port,omitempty"`
	A    *Event `json:"a,omitempty"` // absent: A does not predict it
	B    *Event `json:"b,omitempty"` // absent: B does not predict it
	// Window is true where both expect it at the same nominal time, and only how late it may come differs.
	Window bool `json:"window,omitempty"`
}

// Compare lists what differs between the events and the outcomes of two predictions: A's order, then what only B has. Words (Why) and
// exact ticks do not count: a tick belongs to the phase of jiffies of one run.
func Compare(a, b *Prediction) []Change {
	left, right := timelineOf(a), timelineOf(b)
	var out []Change
	used := make([]bool, len(right))
	for _, e := range left {
		i := slices.IndexFunc(right, func(o Event) bool { return sameThing(e, o) })
		for i >= 0 && used[i] { // the next of its kind
			rest := slices.IndexFunc(right[i+1:], func(o Event) bool { return sameThing(e, o) })
			if rest < 0 {
				i = -1
				break
			}
			i += 1 + rest
		}
		if i < 0 {
			out = append(out, Change{Host: e.Host, What: e.What, N: e.N, Port: e.Port, A: &e})
			continue
		}
		used[i] = true
		if o := right[i]; bare(e) != bare(o) {
			out = append(out, Change{Host: e.Host, What: e.What, N: e.N, Port: e.Port, A: &e, B: &o, Window: nominal(e) == nominal(o)})
		}
	}
	for i, o := range right {
		if !used[i] {
			out = append(out, Change{Host: o.Host, What: o.What, N: o.N, Port: o.Port, B: &o})
		}
	}
	return out
}

func timelineOf(p *Prediction) []Event {
	out := slices.Clone(p.Events)
	if p.Outcome != nil {
		out = append(out, *p.Outcome)
	}
	return out
}

func sameThing(a, b Event) bool {
	return a.Host == b.Host && a.What == b.What && a.N == b.N && a.Port == b.Port
}

// bare is what of a predicted event is compared; the rest belongs to a run.
func bare(e Event) Event {
	return Event{
		At: e.At, Late: e.Late, Earliest: e.Earliest, GapEarliest: e.GapEarliest, GapLatest: e.GapLatest, Host: e.Host, What: e.What, N: e.N,
		Errno: e.Errno, Maybe: e.Maybe, Port: e.Port, RelSeq: e.RelSeq, RelAck: e.RelAck, Len: e.Len, Exact: e.Exact,
	}
}

// nominal is bare without the windows.
func nominal(e Event) Event {
	e = bare(e)
	e.Late, e.Earliest, e.GapEarliest, e.GapLatest = 0, 0, 0, 0
	return e
}
