package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// SideBySide are connections that go on at the same time and have nothing to do with each other, each to a server's port of its own.
type SideBySide struct {
	Connections []Connection
	Memory      *Memory // has answers for single connections, two of which may be alike. Nil: they are worked out
}

// Connection is one of them.
type Connection struct {
	Port   uint16
	Offset time.Duration // when it begins, from the first of them, whose Offset is 0
	Mechanism
}

// Predict returns what all of them send and what their programs see, each event with its port; what ends a connection is an event, too, and
// there is no outcome. Each is what its mechanism predicts by itself, from the moment at which it begins. What only inet_diag can show is left
// out.
func (s SideBySide) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if len(s.Connections) < 2 {
		return timeline.Timeline{}, fmt.Errorf("side by side: %d connections: want 2 or more", len(s.Connections))
	}
	ports := make([]uint16, len(s.Connections))
	ways := make([][]timeline.Timeline, len(s.Connections))
	for i, c := range s.Connections {
		if c.Port == 0 || slices.Contains(ports[:i], c.Port) {
			return timeline.Timeline{}, fmt.Errorf("side by side: connection %d to port %d: want a port of its own", i+1, c.Port)
		}
		ports[i] = c.Port
		tl, err := delayed(f, start, c.Offset, func(start *Start) (timeline.Timeline, error) { return s.Memory.Predict(c.Mechanism, f, start) })
		if err != nil {
			return timeline.Timeline{}, fmt.Errorf("port %d: %w", c.Port, err)
		}
		ways[i] = append([]timeline.Timeline{tl}, tl.Alternatives...)
	}
	return combine(ports, ways, true), nil
}

// mostWays bounds the ways in which many connections can go together.
const mostWays = 1000

// combine joins connections, each with the ways in which it can go: the first ways of all, with all other choices as alternatives. named says
// that what a program sees is told apart by the port as well.
func combine(ports []uint16, ways [][]timeline.Timeline, named bool) timeline.Timeline {
	var all []timeline.Timeline
	pick := make([]int, len(ports))
	var choose func(i int)
	choose = func(i int) {
		if i == len(ports) {
			all = append(all, together(ports, ways, pick, named))
			return
		}
		for k := 0; k < len(ways[i]) && len(all) < mostWays; k++ {
			pick[i] = k
			choose(i + 1)
		}
	}
	choose(0)
	out := all[0]
	out.Alternatives = all[1:]
	possible := 1
	for _, w := range ways {
		possible = min(possible*len(w), mostWays+1)
		out.Unlisted = out.Unlisted || w[0].Unlisted
	}
	out.Unlisted = out.Unlisted || possible > mostWays
	return out
}

// together joins one way of each connection.
func together(ports []uint16, ways [][]timeline.Timeline, pick []int, named bool) timeline.Timeline {
	var out timeline.Timeline
	// There may be a thousand ways, and an event is large: it is the places of events that are put in order.
	type place struct {
		event *timeline.Event
		which int
	}
	var order []place
	var whys []string
	for i, k := range pick {
		tl := &ways[i][k]
		for j := range tl.Events {
			order = append(order, place{&tl.Events[j], i})
		}
		switch {
		case len(pick) == 1:
			out.Outcome = tl.Outcome
		case tl.Outcome != nil:
			order = append(order, place{tl.Outcome, i})
		}
		switch {
		case tl.Why == "":
		case len(pick) == 1:
			out.Why = tl.Why
		default:
			whys = append(whys, fmt.Sprintf("port %d: %s", ports[i], tl.Why))
		}
	}
	if len(pick) > 1 {
		out.Why = strings.Join(whys, "; ")
	}
	order = slices.DeleteFunc(order, func(p place) bool {
		return p.event.What == timeline.RequestGone || p.event.What == timeline.SocketGone
	})
	if len(order) == 0 {
		return out
	}
	slices.SortStableFunc(order, func(a, b place) int { return cmp.Compare(a.event.At, b.event.At) })
	out.Events = make([]timeline.Event, len(order))
	for n, p := range order {
		e := &out.Events[n]
		*e = *p.event
		if len(pick) > 1 {
			e.Chain = strings.TrimSpace(e.Chain + " :" + strconv.Itoa(int(ports[p.which])))
		}
		if named || e.What.OnWire() {
			e.Port = ports[p.which]
		} else {
			e.GapEarliest, e.GapLatest = 0, 0 // which program's call it is does not show
		}
	}
	return out
}
