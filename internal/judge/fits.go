package judge

import "github.com/tcplab/tcplab/internal/result"

// Of is the number of events that a model is tested on: packets and the end of connect(2).
func Of(in Input) int {
	events, outcome, _, _ := Schedule(in)
	if outcome != nil {
		return len(events) + 1
	}
	return len(events)
}

// Fits counts the events that a model explains: seen where it expects them, and none where it does not.
func Fits(in Input) int {
	n := 0
	events, outcome, _, _ := Schedule(in)
	if outcome != nil {
		events = append(events, *outcome)
	}
	for _, e := range events {
		if e.Expected && e.Seen != nil && e.Verdict == result.Pass {
			n++
		}
	}
	return n
}
