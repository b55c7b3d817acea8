package oracle

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// happening is an event in one world. Of its Bound, a mechanism fills in At, the nominal time by the formula, which is the same in every
// world, and After.
type happening struct {
	timeline.Event
	at time.Duration // instant in this world
	// jiffy is the jiffy at whose start, and After later, it comes: of the timer that fires, or that made the packet that it answers. 0:
	// no timer rules it, but a call or the answer to one, at the instant at.
	jiffy   int64
	late    time.Duration // how much later than at it may come, for what is not a timer's: an application's, a link's
	outcome bool          // it is how the experiment's call ended
	why     func() string // writes Event.Why, once for all worlds: see say
}

// say puts the formula behind an event off until somebody wants it: words cost more than a world.
func say(format string, args ...any) func() string {
	return func() string { return fmt.Sprintf(format, args...) }
}

// sweep plays the worlds of a start, or of every start where it is nil, and joins them: each event with the window of the instants at
// which it comes and, where the start is known, with its tick or the few that are left open. An event that is absent from some world may
// be absent (Maybe). longest is the longest delay of a timer, in jiffies. Merge joins the windows of every start with the ticks of one.
//
// A jiffy is counted by one processor, and another may look at the counter a moment before: a timer may be armed in what is still the
// jiffy before, or already the next. So the worlds of a known start are those of its neighbours as well.
func sweep(f kernel.Facts, start *Start, longest int64, play func(*world) []happening) timeline.Timeline {
	return sweepOver(f, start, everyStart(f, longest), play)
}

// everyStart are the starts, in jiffies, that differ for a timer of up to longest jiffies.
func everyStart(f kernel.Facts, longest int64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for j := range period(f, uint64(longest)) {
			if !yield(j) {
				return
			}
		}
	}
}

// sweepOver is sweep where the mechanism knows which starts, in jiffies, are enough to meet every behaviour and the ends of every window.
func sweepOver(f kernel.Facts, start *Start, starts iter.Seq[uint64], play func(*world) []happening) timeline.Timeline {
	g := newGather(f, start)
	worlds(f, start, starts, func(w *world, shift int64) { g.add(play(w), shift, w.slip != 0) })
	return g.timeline()
}

// worlds visits the worlds of a start and of its neighbours, or of every start. shift is how far a world's counter of jiffies is from the
// one that ticks are counted by.
func worlds(f kernel.Facts, start *Start, starts iter.Seq[uint64], visit func(w *world, shift int64)) {
	tick := f.Jiffy().Nanoseconds()
	if start != nil {
		for _, shift := range []int64{0, -1, 1} {
			w := world{facts: f, tick: tick, jiffies: start.Jiffies + uint64(shift), phase: start.Phase.Nanoseconds()}
			w.variants(start.Called, func(v *world) { visit(v, shift) })
		}
		return
	}
	for j := range starts {
		for _, phase := range []int64{0, tick - 1} {
			w := world{facts: f, tick: tick, jiffies: j + 1<<40, phase: phase} // far from zero: a neighbour's counter must not wrap
			w.variants(false, func(v *world) { visit(v, 0) })
		}
	}
}

// gather joins the worlds that it has seen.
type gather struct {
	facts  kernel.Facts
	tick   int64
	known  bool // one start, whose ticks are counted
	worlds int
	order  []key
	seen   map[key]*joint
	before []*joint // those of the world before, in its order: most worlds have the same events
	chains []newest // of the world that is added: there are few
}

// newest is the newest event of a chain.
type newest struct {
	host, chain string
	at          time.Duration
}

// key tells the events of a timeline apart.
type key struct {
	host, what string
	n          int
	seq        uint32
	nth        int // of those that are otherwise the same
	outcome    bool
	port       uint16 // of Merge: one world has one connection
}

// joint is one event over many worlds.
type joint struct {
	key              key
	event            timeline.Event
	timed            bool // a timer's
	worlds           int
	early, late      time.Duration
	calm             time.Duration // early, of the worlds in which every call was made as planned
	calmly           bool          // there was one
	gapEarly, gapLat time.Duration
	gaps             int
	tick, tickLast   int64
	slack            time.Duration // how much later than its tick it may come: a program's, a link's
}

func newGather(f kernel.Facts, start *Start) *gather {
	return &gather{facts: f, tick: f.Jiffy().Nanoseconds(), known: start != nil, seen: map[key]*joint{}}
}

// variants plays a world in all the ways that make a difference to it. called: its calls were made as planned.
func (w world) variants(called bool, play func(*world)) {
	var asked world
	run := func(early bool, grain, slip, lag int64) {
		v := w
		v.early, v.grain, v.slip, v.lag = early, grain, slip, lag
		play(&v)
		asked.sawEarly, asked.sawGrain, asked.sawSlip = asked.sawEarly || v.sawEarly, asked.sawGrain || v.sawGrain, asked.sawSlip || v.sawSlip
		asked.sawLag = asked.sawLag || v.sawLag
	}
	run(false, 0, 0, 0)
	pick := func(asked bool, values ...int64) []int64 {
		if asked {
			return values
		}
		return values[:1]
	}
	for _, early := range pick(asked.sawEarly, 0, 1) {
		for _, grain := range pick(asked.sawGrain, 0, millisecond/2, millisecond-1) {
			for _, slip := range pick(asked.sawSlip && !called, 0, -1, 1) {
				for _, lag := range pick(asked.sawLag, 0, 1) {
					if early != 0 || grain != 0 || slip != 0 || lag != 0 {
						run(early != 0, grain, slip, lag)
					}
				}
			}
		}
	}
}

// add takes one world in. shift is how far its counter of jiffies is from the one that ticks are counted by; slipped says that a call was
// not made as planned.
func (g *gather) add(world []happening, shift int64, slipped bool) {
	g.worlds++
	g.chains = g.chains[:0]
	same := true // as in the world before, so far
	var nth map[key]int
	for i := range world {
		h := &world[i]
		k := key{host: h.Host, what: string(h.What), n: h.N, outcome: h.outcome}
		if h.Exact {
			k.seq = h.RelSeq
		}
		if same && i < len(g.before) {
			k.nth = g.before[i].key.nth
			same = g.before[i].key == k
			k.nth = 0
		} else {
			same = false
		}
		var j *joint
		if same {
			j = g.before[i]
		} else {
			if nth == nil {
				nth = occurrences(g.before[:i])
			}
			k.nth = nth[k]
			nth[key{k.host, k.what, k.n, k.seq, 0, k.outcome, 0}]++
			j = g.joint(k, h, shift)
			g.before = append(g.before[:i], j)
		}
		j.add(h, shift, slipped)
		if before, ok := g.chained(h); ok && h.jiffy != 0 {
			j.addGap(h.at - before)
		}
	}
	g.before = g.before[:len(world)]
}

// chained makes an event the newest of its chain, and returns when the one before it came.
func (g *gather) chained(h *happening) (before time.Duration, ok bool) {
	for i := range g.chains {
		if l := &g.chains[i]; l.host == h.Host && l.chain == h.Chain {
			before, l.at = l.at, h.at
			return before, true
		}
	}
	g.chains = append(g.chains, newest{h.Host, h.Chain, h.at})
	return 0, false
}

// occurrences counts the events that are the same but for their place.
func occurrences(joints []*joint) map[key]int {
	nth := map[key]int{}
	for _, j := range joints {
		k := j.key
		k.nth = 0
		nth[k]++
	}
	return nth
}

// joint finds the event of a key, or begins it.
func (g *gather) joint(k key, h *happening, shift int64) *joint {
	j := g.seen[k]
	if j == nil {
		j = &joint{key: k, event: h.Event, early: h.at, late: h.at + h.late, tick: h.jiffy + shift, tickLast: h.jiffy + shift, timed: h.jiffy != 0}
		if h.why != nil {
			j.event.Why = h.why()
		}
		g.seen[k] = j
		g.order = append(g.order, k)
	}
	return j
}

func (j *joint) add(h *happening, shift int64, slipped bool) {
	j.worlds++
	j.timed = j.timed && h.jiffy != 0 && h.After == j.event.After // one tick and one time after it, or none
	if !slipped && (!j.calmly || h.at < j.calm) {
		j.calm, j.calmly = h.at, true
	}
	j.early, j.late = min(j.early, h.at), max(j.late, h.at+h.late)
	j.slack = max(j.slack, h.late)
	j.tick, j.tickLast = min(j.tick, h.jiffy+shift), max(j.tickLast, h.jiffy+shift)
	j.event.At = min(j.event.At, h.At)
}

func (j *joint) addGap(gap time.Duration) {
	if j.gaps == 0 {
		j.gapEarly, j.gapLat = gap, gap
	}
	j.gaps++
	j.gapEarly, j.gapLat = min(j.gapEarly, gap), max(j.gapLat, gap)
}

// timeline is the events with their windows.
func (g *gather) timeline() timeline.Timeline {
	var out timeline.Timeline
	for _, k := range g.sorted() {
		j := g.seen[k]
		e := j.windowed(g)
		if j.worlds < g.worlds && !k.outcome {
			e.Maybe = true
		}
		if k.outcome {
			out.Outcome = joinOutcome(out.Outcome, e)
			continue
		}
		out.Events = append(out.Events, e)
	}
	return out
}

// windowed is the event with its windows. On a wheel, nothing comes before its nominal time, unless a call was made before it was planned.
func (j *joint) windowed(g *gather) timeline.Event {
	e := j.event
	e.Earliest, e.Latest = j.early, j.late
	e.GapEarliest, e.GapLatest = j.gapEarly, j.gapLat
	if g.facts.Wheel && j.calmly {
		e.At = min(e.At, j.calm)
	}
	if g.known && j.timed {
		e.Tick, e.TickLast = j.tick, j.tickLast+(int64(j.slack)+g.tick-1)/g.tick
	}
	return e
}

// sorted lists the keys in the order of time.
func (g *gather) sorted() []key {
	keys := slices.Clone(g.order)
	slices.SortStableFunc(keys, func(a, b key) int { return cmp.Compare(g.seen[a].early, g.seen[b].early) })
	return keys
}

// joinOutcome joins two endings that differ in their repetition or errno: the first is the one that is named.
func joinOutcome(have *timeline.Event, e timeline.Event) *timeline.Event {
	if have == nil {
		return &e
	}
	have.Earliest, have.Latest = min(have.Earliest, e.Earliest), max(have.Latest, e.Latest)
	have.GapEarliest, have.GapLatest = min(have.GapEarliest, e.GapEarliest), max(have.GapLatest, e.GapLatest)
	have.Tick, have.TickLast = min(have.Tick, e.Tick), max(have.TickLast, e.TickLast)
	return have
}
