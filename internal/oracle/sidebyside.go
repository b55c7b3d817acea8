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
// there is no outcome. Each is what its mechanism predicts by itself, from the moment at which it begins, in each order of its own. What only
// inet_diag can show is left out.
func (s SideBySide) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if len(s.Connections) < 2 {
		return timeline.Timeline{}, fmt.Errorf("side by side: %d connections: want 2 or more", len(s.Connections))
	}
	var all []timeline.Connection
	for i, c := range s.Connections {
		if c.Port == 0 || slices.ContainsFunc(all, func(before timeline.Connection) bool { return before.Port == c.Port }) {
			return timeline.Timeline{}, fmt.Errorf("side by side: connection %d to port %d: want a port of its own", i+1, c.Port)
		}
		tl, err := delayed(f, start, c.Offset, func(start *Start) (timeline.Timeline, error) { return s.Memory.Predict(c.Mechanism, f, start) })
		if err != nil {
			return timeline.Timeline{}, fmt.Errorf("port %d: %w", c.Port, err)
		}
		all = append(all, timeline.Connection{Port: c.Port, Timeline: ofPort(c.Port, tl)})
	}
	return timeline.SideBySide(all), nil
}

// ofPort is a timeline, with its alternatives, as that of one of several connections: each event has its port and a chain of its own, and
// what ends the connection is an event, too.
func ofPort(port uint16, t timeline.Timeline) timeline.Timeline {
	name := ":" + strconv.Itoa(int(port))
	one := func(t timeline.Timeline) timeline.Timeline {
		if t.Outcome != nil {
			t.Events, t.Outcome = append(t.Events, *t.Outcome), nil
		}
		for i := range t.Events {
			e := &t.Events[i]
			e.Port, e.Chain = port, strings.TrimSpace(e.Chain+" "+name)
		}
		slices.SortStableFunc(t.Events, func(a, b timeline.Event) int { return cmp.Compare(a.Earliest, b.Earliest) })
		if t.Why != "" {
			t.Why = fmt.Sprintf("port %d: %s", port, t.Why)
		}
		return t
	}
	out := withoutLooks(t)
	for i, alt := range out.Alternatives {
		out.Alternatives[i] = one(alt)
	}
	return one(out)
}

// withoutLooks is a copy of a timeline, with its alternatives, of what captures and programs can see: without what only inet_diag can show,
// which looks at one connection.
func withoutLooks(t timeline.Timeline) timeline.Timeline {
	out := copied(t)
	one := func(t *timeline.Timeline) {
		t.Events = slices.DeleteFunc(t.Events, func(e timeline.Event) bool { return e.What == timeline.RequestGone || e.What == timeline.SocketGone })
	}
	one(&out)
	for i := range out.Alternatives {
		one(&out.Alternatives[i])
	}
	return out
}
