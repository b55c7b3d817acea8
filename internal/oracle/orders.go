package oracle

import (
	"slices"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Two hosts are two clocks that tick together: where a timer of one and a packet of the other fall into one jiffy, either can come first,
// and everything after depends on which. This file plays a world once for each way in which such meetings can go, and keeps the worlds
// with the same order together: each order is a timeline of its own, as narrow as if it were the only one.

// mostOrders is how many orders of one world are played at most, and mostWork how many events all of them together may have where every
// start is played. Orders with few surprises come first; beyond lie those in which a long row of meetings goes one way and the other.
const (
	mostOrders = 128
	mostWork   = 3_000_000
)

// choices answers what a world leaves open besides its start: as given, and then each time with the first answer, the usual one.
type choices struct {
	given []int
	taken []int // the answers so far
	of    []int // how many answers each had
}

// pick answers the next question, which has n answers, from 0.
func (c *choices) pick(n int) int {
	answer := 0
	if i := len(c.taken); i < len(c.given) {
		answer = c.given[i]
	}
	c.taken, c.of = append(c.taken, answer), append(c.of, n)
	return answer
}

// everyWay calls play with one choices after the other until each answer was given everywhere: the usual answers first, then one that is
// not usual, then two. It reports whether that were more than most.
func everyWay(most int, play func(*choices)) (more bool) {
	todo := [][]int{nil}
	for n := 0; len(todo) > 0; n++ {
		if n == most {
			return true
		}
		c := &choices{given: todo[0]}
		todo = todo[1:]
		play(c)
		for i := len(c.given); i < len(c.taken); i++ {
			for answer := 1; answer < c.of[i]; answer++ {
				todo = append(todo, append(slices.Clone(c.taken[:i]), answer))
			}
		}
	}
	return false
}

// sweepOrders is sweep for a mechanism in which things can come in more than one order: play returns with what happens a name of the
// order in which it happened. The first order of the first world is the usual one, the others are its alternatives, and their names say
// why.
func sweepOrders(f kernel.Facts, start *Start, longest int64, play func(*world, *choices) ([]happening, string)) timeline.Timeline {
	var names []string
	orders := map[string]*gather{}
	unlisted, most := false, mostOrders
	worlds(f, start, everyStart(f, longest), func(w *world, shift int64) {
		more := everyWay(most, func(c *choices) {
			out, name := play(w, c)
			if start == nil {
				starts := 2 * period(f, uint64(longest))
				most = min(most, max(1, mostWork/(int(starts)*len(out))))
			}
			g := orders[name]
			if g == nil {
				g = newGather(f, start)
				orders[name] = g
				names = append(names, name)
			}
			g.add(out, shift, w.slip != 0)
		})
		unlisted = unlisted || more
	})
	var out timeline.Timeline
	for i, name := range names {
		t := orders[name].timeline()
		t.Why = name
		if i == 0 {
			out = t
			continue
		}
		out.Alternatives = append(out.Alternatives, t)
	}
	out.Unlisted = unlisted
	return out
}
