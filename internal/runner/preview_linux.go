package runner

import (
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// preview judges what is known so far, each connection by the order that it follows.
func (o *observer) preview(in judge.Input) ([]result.Event, *result.Event) {
	parts := judge.Connections(in)
	if len(o.orders) != len(parts) {
		o.orders = make([]following, len(parts))
	}
	if len(in.Want.Connections) == 0 {
		in.Want = o.orders[0].order(in)
	} else {
		all := slices.Clone(in.Want.Connections)
		for i, part := range parts {
			all[i].Timeline = o.orders[i].order(part)
		}
		in.Want = timeline.SideBySide(all)
	}
	events, outcome, _, _ := judge.Schedule(in)
	return events, outcome
}

// following is the order that a connection follows, of those that a correct kernel may.
type following struct {
	last  int           // the one that fitted last time: 0 is the usual
	again time.Duration // when none fits, from when on all of them are tried again
}

// order is the one to show. While things are still to come nothing passes, so the first that nothing contradicts is taken, beginning with the
// one of last time: there may be hundreds, and to try all of them at each packet would make this machine late by itself. Where none fits the
// usual one is shown, and a second later all are tried again: the newest packet can still get another name.
func (f *following) order(in judge.Input) timeline.Timeline {
	orders := append([]timeline.Timeline{in.Want}, in.Want.Alternatives...)
	orders[0].Alternatives = nil
	if len(orders) == 1 {
		return orders[0]
	}
	for i := range orders {
		k := (f.last + i) % len(orders)
		in.Want = orders[k]
		in.Want.Unlisted = false // else nothing contradicts the usual one
		if _, _, checks, _ := judge.Schedule(in); !judge.Contradicted(checks) {
			f.last, f.again = k, 0
			return orders[k]
		}
		if in.Ended < f.again {
			return orders[0]
		}
	}
	f.last, f.again = 0, in.Ended+time.Second
	return orders[0]
}
