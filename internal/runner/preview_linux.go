package runner

import (
	"time"

	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// preview judges what is known so far. While things are still to come nothing passes, so the first order that nothing contradicts is taken,
// beginning with the one of last time: there may be hundreds, and to try all of them at each packet would make this machine late by itself.
// Where none fits the usual one is shown, and a second later all are tried again: the newest packet can still get another name.
func (o *observer) preview(in judge.Input) ([]result.Event, *result.Event) {
	orders := append([]timeline.Timeline{in.Want}, in.Want.Alternatives...)
	try := func(k int) (events []result.Event, outcome *result.Event, fits bool) {
		in.Want = orders[k]
		in.Want.Alternatives = nil
		events, outcome, checks, _ := judge.Schedule(in)
		return events, outcome, !judge.Contradicted(checks)
	}
	for i := range orders {
		k := (o.order + i) % len(orders)
		events, outcome, fits := try(k)
		if fits {
			o.order, o.again = k, 0
			return events, outcome
		}
		if in.Ended < o.again {
			break
		}
	}
	if in.Ended >= o.again {
		o.order, o.again = 0, in.Ended+time.Second
	}
	events, outcome, _ := try(0)
	return events, outcome
}
