package oracle

import (
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Near predicts for a start and its two neighbours with a mechanism that predicts for one, and joins their ticks; without a start it
// predicts as it is.
//
// A jiffy is counted by one processor, and another may look at the counter a moment before: the SYN's timer can be armed in what is still
// the jiffy before, or already the next. Where that makes a difference, the ticks of all three are left open.
func Near(f kernel.Facts, start *Start, predict func(kernel.Facts, *Start) (timeline.Timeline, error)) (timeline.Timeline, error) {
	near, err := predict(f, start)
	if err != nil || start == nil {
		return near, err
	}
	jiffy := f.Jiffy()
	for i := range near.Events {
		lastTick(&near.Events[i], jiffy)
	}
	if near.Outcome != nil {
		lastTick(near.Outcome, jiffy)
	}
	for _, shift := range []int64{-1, 1} {
		other, err := predict(f, &Start{Jiffies: start.Jiffies + uint64(shift), Phase: start.Phase})
		if err != nil {
			return timeline.Timeline{}, err
		}
		widen(&near, other, shift, jiffy)
	}
	return near, nil
}

// lastTick fills in the last tick that the window of one start leaves open.
func lastTick(e *timeline.Event, jiffy time.Duration) {
	if e.Tick != 0 {
		e.TickLast = e.Tick + int64((e.Latest-e.Earliest+jiffy/2)/jiffy)
	}
}

// widen adds the ticks of a neighbouring start, shift jiffies away, to those of t. Where the neighbour predicts other packets, an
// event that it lacks may stay away.
func widen(t *timeline.Timeline, other timeline.Timeline, shift int64, jiffy time.Duration) {
	one := func(e *timeline.Event, o timeline.Event) {
		if e.Tick == 0 || o.Tick == 0 {
			return
		}
		first := o.Tick + shift
		last := first + int64((o.Latest-o.Earliest+jiffy/2)/jiffy)
		e.Tick, e.TickLast = min(e.Tick, first), max(e.TickLast, last)
	}
	for i := range t.Events {
		if i < len(other.Events) {
			one(&t.Events[i], other.Events[i])
		} else {
			t.Events[i].Maybe = true
		}
	}
	for i := len(t.Events); i < len(other.Events); i++ {
		e := other.Events[i]
		e.Maybe = true
		t.Events = append(t.Events, e)
	}
	if t.Outcome != nil && other.Outcome != nil {
		one(t.Outcome, *other.Outcome)
	}
}

// Merge gives the windows of all starts the ticks of the one that is known. Which packets come, and in which orders, is the exact
// prediction's to say.
func Merge(window, exact timeline.Timeline) timeline.Timeline {
	if len(exact.Connections) > 0 { // the same ones in both
		all := slices.Clone(exact.Connections)
		for i, c := range all {
			all[i].Timeline = Merge(window.Connections[i].Timeline, c.Timeline)
		}
		return timeline.SideBySide(all)
	}
	bounds := map[key]timeline.Bound{}
	name := keys()
	orders := append([]timeline.Timeline{window}, window.Alternatives...)
	window = alike(orders, exact, window)
	for _, e := range window.Events {
		bounds[name(e)] = e.Bound
	}
	name = keys()
	out := exact
	out.Events = slices.Clone(exact.Events)
	for i := range out.Events {
		e := &out.Events[i]
		if b, ok := bounds[name(*e)]; ok {
			e.Bound = ticked(b, e.Bound)
		}
	}
	if exact.Outcome != nil && window.Outcome != nil {
		o := *exact.Outcome
		o.Bound = ticked(window.Outcome.Bound, o.Bound)
		out.Outcome = &o
	}
	out.Alternatives = nil
	for _, alt := range exact.Alternatives {
		out.Alternatives = append(out.Alternatives, Merge(alike(orders, alt, timeline.Timeline{}), alt))
	}
	return out
}

// alike is the timeline in which things have the same order as in t.
func alike(orders []timeline.Timeline, t, otherwise timeline.Timeline) timeline.Timeline {
	if i := slices.IndexFunc(orders, func(o timeline.Timeline) bool { return o.Why == t.Why }); i >= 0 {
		return orders[i]
	}
	return otherwise
}

// ticked is a window with the ticks of a bound. An event that two starts place differently is not inside a window of all of them only
// where its chain is cut differently: then its own counts too.
func ticked(window, exact timeline.Bound) timeline.Bound {
	b := window
	b.Tick, b.TickLast = exact.Tick, exact.TickLast
	b.Earliest, b.Latest = min(b.Earliest, exact.Earliest), max(b.Latest, exact.Latest)
	return b
}

// keys names the events of a timeline, one after the other.
func keys() func(timeline.Event) key {
	nth := map[key]int{}
	return func(e timeline.Event) key {
		k := key{host: e.Host, what: string(e.What), n: e.N, port: e.Port}
		if e.Exact {
			k.seq = e.RelSeq
		}
		base := k
		k.nth = nth[base]
		nth[base]++
		return k
	}
}
