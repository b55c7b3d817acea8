package stall

import "time"

// Span is a time from and to an instant of CLOCK_MONOTONIC.
type Span struct{ From, To time.Duration }

// Rest is how often is looked where nothing is due for so long: a shorter stall then moves nothing that is told.
const Rest = 100 * time.Millisecond

// Until is how long after t the next look is: every where something may be due, and else Rest, or less where a span begins before. No spans:
// anything may be due at any time.
func Until(t, every time.Duration, due []Span) time.Duration {
	if len(due) == 0 {
		return every
	}
	wait := Rest
	for _, s := range due {
		switch {
		case t >= s.From && t <= s.To:
			return every
		case t < s.From:
			wait = min(wait, s.From-t)
		}
	}
	return max(wait, every)
}
