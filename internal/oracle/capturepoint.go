package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/timeline"
)

// CapturePoint is an open that one iptables rule breaks, at one place on the way of its SYN or of its SYN-ACK, with a capture at each end.
//
//	client: TCP ─ OUTPUT (raw, mangle, filter) ─ POSTROUTING (mangle) ─ capture ─ link ─ capture ─ PREROUTING (raw, mangle) ─ INPUT ─ TCP :server
//
// and the same way back. A capture (AF_PACKET) sits between netfilter and the link: on the way out behind every chain
// (dev_queue_xmit_nit), on the way in before every chain (__netif_receive_skb_core before ip_rcv).
type CapturePoint struct {
	Connect
	Server Server // its Silent is not read: Host, Table and Chain say it
	// Offset is when it begins, from the first of several; the call may fall into a neighbouring jiffy. 0: it is the first.
	Offset       time.Duration
	Port         uint16        // the server's, where several opens go on side by side; 0: there is one
	At           string        // the host with the rule: "client" or "server"
	Table, Chain string        // "filter", "mangle" or "raw"; "INPUT", "OUTPUT", "PREROUTING" or "POSTROUTING"
	RTT          time.Duration // the link's, both ways together, up to 500 ms; 0: a veth
	Link         link.Plan     // what the link does besides, to its connection alone: it holds each packet back for a time of its own
	// Memory has answers to the same question of SYN-ACKs that are lost: many places come to it. Nil: it is worked out.
	Memory *Memory
}

// Count is a number of packets: at least Min, at most Max.
type Count struct{ Min, Max int }

// Holds reports whether n is in the range.
func (c Count) Holds(n int) bool { return c.Min <= n && n <= c.Max }

// Sights says what the two captures show, and how often the rule hits, by the time at which connect(2) fails and everything is over.
type Sights struct {
	Drops                          timeline.What // SYN or SYNACK: what the rule is made to match
	SYNAtClient, SYNAtServer       Count
	SYNACKAtServer, SYNACKAtClient Count // of the server's and of the client's capture
	Hits                           Count
}

// out reports whether a chain is on the way out of a host.
func (c CapturePoint) out() bool { return c.Chain == "OUTPUT" || c.Chain == "POSTROUTING" }

// Drops is what there is to drop at this place: the SYN on its way out of the client and into the server, else the SYN-ACK.
func (c CapturePoint) Drops() timeline.What {
	if c.out() == (c.At == "client") {
		return timeline.SYN
	}
	return timeline.SYNACK
}

// NeverLeaves reports whether no packet of the open gets as far as the link.
func (c CapturePoint) NeverLeaves() bool { return c.Drops() == timeline.SYN && c.out() }

// chains are the places where a table has a chain (xt_table.valid_hooks).
var chains = map[string]string{
	"raw":    "PREROUTING OUTPUT",
	"mangle": "PREROUTING INPUT OUTPUT POSTROUTING",
	"filter": "INPUT OUTPUT",
}

func (c CapturePoint) validate() error {
	if c.At != "client" && c.At != "server" {
		return fmt.Errorf("capture point: host %q: want client or server", c.At)
	}
	for _, chain := range strings.Fields(chains[c.Table]) {
		if chain == c.Chain {
			return nil
		}
	}
	return fmt.Errorf("capture point: table %q has no chain %q that both ends' packets pass: raw has PREROUTING and OUTPUT, filter has INPUT and OUTPUT, "+
		"mangle has all four", c.Table, c.Chain)
}

// Predict returns what goes over the wire, and the end of connect(2). A SYN that dies on its way out leaves nothing on the wire and changes
// nothing else: tcp_connect ignores that it could not be sent, and the timer runs.
func (c CapturePoint) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if err := c.validate(); err != nil {
		return timeline.Timeline{}, err
	}
	if c.Drops() == timeline.SYNACK {
		tl, err := c.orders(f, start)
		if c.out() {
			tl = anyOrder(tl)
		}
		return tl, err
	}
	tl, err := Near(f, start, c.Connect.Predict)
	if c.out() {
		tl.Events = nil
	}
	return tl, err
}

// orders is what comes of SYN-ACKs that are lost, in each order of the SYNs and the server's timer.
func (c CapturePoint) orders(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	s := c.Server
	s.Silent = c.out()
	return c.Memory.Predict(SYNACKLoss{Connect: c.Connect, Server: s, RTT: c.RTT, Link: c.Link}, f, start)
}

// anyOrder joins a timeline with its alternatives, where no capture can tell one from the other: in each, only some starts come to that order.
func anyOrder(tl timeline.Timeline) timeline.Timeline {
	out := copied(tl)
	for _, alt := range out.Alternatives {
		out = hullOf(out, alt)
	}
	out.Alternatives, out.Why = nil, ""
	slices.SortStableFunc(out.Events, func(a, b timeline.Event) int { return cmp.Compare(a.Earliest, b.Earliest) })
	return out
}

// Sights counts what Predict returns, with the alternatives, and what the rule catches of it.
func (c CapturePoint) Sights(f kernel.Facts) (Sights, error) {
	if err := c.validate(); err != nil {
		return Sights{}, err
	}
	s := Sights{Drops: c.Drops()}
	if s.Drops == timeline.SYN {
		all, err := c.Connect.Predict(f, nil)
		if err != nil {
			return Sights{}, err
		}
		syns := tally(all, timeline.SYN)
		s.Hits = syns
		if !c.out() {
			s.SYNAtClient, s.SYNAtServer = syns, syns
		}
		return s, nil
	}
	tl, err := c.orders(f, nil)
	if err != nil {
		return Sights{}, err
	}
	s.SYNAtClient = tally(tl, timeline.SYN)
	s.SYNAtServer = s.SYNAtClient
	if c.out() {
		// Each SYN makes the server try once, and so does the timer's fire that forgets the half-open connection.
		gone := tally(tl, timeline.RequestGone)
		s.Hits = Count{s.SYNAtServer.Min + gone.Min, s.SYNAtServer.Max + gone.Max}
		return s, nil
	}
	s.SYNACKAtServer = tally(tl, timeline.SYNACK)
	s.SYNACKAtClient, s.Hits = s.SYNACKAtServer, s.SYNACKAtServer
	return s, nil
}

// Last is when everything is over, at the latest.
func (c CapturePoint) Last(f kernel.Facts) (time.Duration, error) {
	tl, err := c.Predict(f, nil)
	if err != nil {
		return 0, err
	}
	last := tl.Outcome.Latest
	for _, t := range append([]timeline.Timeline{tl}, tl.Alternatives...) {
		for _, e := range t.Events {
			last = max(last, e.Latest)
		}
	}
	return last, nil
}

// tally counts the events of one family over a timeline and its alternatives.
func tally(tl timeline.Timeline, family timeline.What) Count {
	c := Count{Min: 1 << 30}
	for _, t := range append([]timeline.Timeline{tl}, tl.Alternatives...) {
		sure, all := 0, 0
		for _, e := range t.Events {
			if e.What.Family() != family {
				continue
			}
			all++
			if !e.Maybe {
				sure++
			}
		}
		c.Min, c.Max = min(c.Min, sure), max(c.Max, all)
	}
	return c
}

// CapturePoints are opens side by side, each to a port of its own and broken at a place of its own.
type CapturePoints []CapturePoint

// Predict returns what all of them send, and the ends of all connect(2) as events; of a single one, its end is the outcome. The order of
// timers and repeated SYNs in one tick is open for each of them, and has nothing to do with that of another. What only inet_diag can show, of
// one connection, is left out.
func (c CapturePoints) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if len(c) == 0 {
		return timeline.Timeline{}, fmt.Errorf("capture points: none to predict for")
	}
	known := map[string]timeline.Timeline{} // many places come to the same
	ask := func(one CapturePoint, start *Start) (timeline.Timeline, error) {
		key := fmt.Sprintf("%+v %+v %v %+v %s %v", one.Connect, one.Server, one.RTT, one.Link, one.Drops(), one.out())
		if start != nil {
			key += fmt.Sprintf(" %+v", *start)
		}
		if tl, ok := known[key]; ok {
			return tl, nil
		}
		tl, err := one.Predict(f, start)
		if err == nil {
			known[key] = tl
		}
		return tl, err
	}
	var all []timeline.Connection
	for _, one := range c {
		tl, err := one.later(f, start, ask)
		if err != nil {
			return timeline.Timeline{}, err
		}
		if len(c) == 1 {
			return withoutLooks(tl), nil
		}
		all = append(all, timeline.Connection{Port: one.Port, Timeline: ofPort(one.Port, tl)})
	}
	return timeline.SideBySide(all), nil
}

// later predicts an open that begins at its Offset.
func (c CapturePoint) later(f kernel.Facts, start *Start, ask func(CapturePoint, *Start) (timeline.Timeline, error)) (timeline.Timeline, error) {
	return delayed(f, start, c.Offset, func(start *Start) (timeline.Timeline, error) { return ask(c, start) })
}

// moved is a timeline that begins later, by a time and by the jiffies that it comes to.
func moved(t timeline.Timeline, by time.Duration, jiffies int64) timeline.Timeline {
	one := func(e timeline.Event) timeline.Event {
		e.At, e.Earliest, e.Latest = e.At+by, e.Earliest+by, e.Latest+by
		if e.Tick != 0 {
			e.Tick, e.TickLast = e.Tick+jiffies, max(e.Tick, e.TickLast)+jiffies
		}
		return e
	}
	out := t
	out.Events, out.Alternatives = nil, nil
	for _, e := range t.Events {
		out.Events = append(out.Events, one(e))
	}
	if t.Outcome != nil {
		e := one(*t.Outcome)
		out.Outcome = &e
	}
	for _, alt := range t.Alternatives {
		out.Alternatives = append(out.Alternatives, moved(alt, by, jiffies))
	}
	return out
}

// hull widens the windows and the ticks of a timeline by those of another in which the same comes, order by order: what comes in an order
// that only the other has is one more alternative.
func hull(t, other timeline.Timeline) timeline.Timeline {
	orders := append([]timeline.Timeline{t}, t.Alternatives...)
	for _, o := range append([]timeline.Timeline{other}, other.Alternatives...) {
		if i := slices.IndexFunc(orders, func(have timeline.Timeline) bool { return have.Why == o.Why }); i >= 0 {
			orders[i] = hullOf(orders[i], o)
		} else {
			orders = append(orders, o)
		}
	}
	unlisted := t.Unlisted || other.Unlisted
	t = orders[0]
	t.Alternatives, t.Unlisted = orders[1:], unlisted
	for i := range t.Alternatives {
		t.Alternatives[i].Alternatives = nil
	}
	return t
}

// hullOf is hull without the alternatives. What only one of the two has may stay away.
func hullOf(t, other timeline.Timeline) timeline.Timeline {
	name := keys()
	have := map[key]timeline.Event{}
	for _, e := range other.Events {
		have[name(e)] = e
	}
	name = keys()
	for i := range t.Events {
		e := &t.Events[i]
		k := name(*e)
		if o, ok := have[k]; ok {
			e.Bound = wider(e.Bound, o.Bound)
			e.Maybe = e.Maybe || o.Maybe
			delete(have, k)
		} else {
			e.Maybe = true
		}
	}
	name = keys()
	for _, e := range other.Events {
		if _, only := have[name(e)]; only {
			e.Maybe = true
			t.Events = append(t.Events, e)
		}
	}
	if t.Outcome != nil && other.Outcome != nil {
		t.Outcome.Bound = wider(t.Outcome.Bound, other.Outcome.Bound)
	}
	return t
}

// wider is a bound that holds both; the nominal time stays.
func wider(a, b timeline.Bound) timeline.Bound {
	a.Earliest, a.Latest = min(a.Earliest, b.Earliest), max(a.Latest, b.Latest)
	a.GapEarliest, a.GapLatest = min(a.GapEarliest, b.GapEarliest), max(a.GapLatest, b.GapLatest)
	if a.Tick != 0 && b.Tick != 0 {
		a.Tick, a.TickLast = min(a.Tick, b.Tick), max(a.Tick, a.TickLast, b.Tick, b.TickLast)
	}
	return a
}
