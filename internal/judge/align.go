package judge

import (
	"fmt"
	"sort"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// pair is an expectation, an observation, or both.
type pair struct {
	want, got *timeline.Event
	excused   bool // it was not in its time, and the machine may have been why
}

func (p pair) at() time.Duration {
	if p.got != nil {
		return p.got.At
	}
	return p.want.At
}

// chain is the timer that the pair belongs to.
func (p pair) chain() string {
	e := p.want
	if e == nil {
		e = p.got
	}
	return e.Host + " " + e.Chain
}

// port tells the connection that the pair belongs to.
func (p pair) port() uint16 {
	if p.want != nil {
		return p.want.Port
	}
	return p.got.Port
}

// align pairs what was expected with what was seen, kind by kind (same host, same family, same connection, repetitions together), keeping the order and
// spending as little as possible: a second for each event left alone, the distance from its window for each pair. So one missing
// packet in the middle stays one missing packet, and does not make all later ones late.
func align(want, got []timeline.Event) []pair {
	type kind struct {
		host   string
		family timeline.What
		port   uint16
	}
	kindOf := func(e timeline.Event) kind { return kind{e.Host, e.What.Family(), e.Port} }
	wants, gots := map[kind][]*timeline.Event{}, map[kind][]*timeline.Event{}
	var kinds []kind
	add := func(m map[kind][]*timeline.Event, e *timeline.Event) {
		k := kindOf(*e)
		if wants[k] == nil && gots[k] == nil {
			kinds = append(kinds, k)
		}
		m[k] = append(m[k], e)
	}
	for i := range want {
		add(wants, &want[i])
	}
	for i := range got {
		add(gots, &got[i])
	}
	var pairs []pair
	for _, k := range kinds {
		pairs = append(pairs, alignKind(wants[k], gots[k])...)
	}
	sort.SliceStable(pairs, func(a, b int) bool { return pairs[a].at() < pairs[b].at() })
	return pairs
}

// alone is what leaving an event without a partner costs; one that may be absent a little less, so that of two alike it is the other that
// was seen.
const (
	alone      = time.Second
	aloneMaybe = alone - time.Microsecond
)

func aloneCost(want *timeline.Event) time.Duration {
	if want.Maybe {
		return aloneMaybe
	}
	return alone
}

// alignKind is the shortest-path alignment of two sequences in time order.
func alignKind(want, got []*timeline.Event) []pair {
	n, m := len(want), len(got)
	cost := make([][]time.Duration, n+1)
	for i := n; i >= 0; i-- {
		cost[i] = make([]time.Duration, m+1)
		for k := m; k >= 0; k-- {
			switch {
			case i == n:
				cost[i][k] = time.Duration(m-k) * alone
			case k == m:
				cost[i][k] = cost[i+1][k] + aloneCost(want[i])
			default:
				cost[i][k] = min(cost[i+1][k+1]+distance(want[i], got[k]), cost[i+1][k]+aloneCost(want[i]), cost[i][k+1]+alone)
			}
		}
	}
	var pairs []pair
	i, k := 0, 0
	for i < n || k < m {
		switch {
		case i < n && k < m && cost[i][k] == cost[i+1][k+1]+distance(want[i], got[k]):
			pairs = append(pairs, pair{want: want[i], got: got[k]})
			i, k = i+1, k+1
		case i < n && (k == m || cost[i][k] == cost[i+1][k]+aloneCost(want[i])):
			pairs = append(pairs, pair{want: want[i]})
			i++
		default:
			pairs = append(pairs, pair{got: got[k]})
			k++
		}
	}
	return pairs
}

// otherKind is what it costs to pair two events of one family that are not of the same kind, or not of the same bytes: less than to leave
// both alone, so that a packet that is misnamed is one contradiction, but more than to pair each with its like nearby.
const otherKind = alone / 4

// distance is how far outside its window an event was seen, and how far it is from being the same.
func distance(want, got *timeline.Event) time.Duration {
	d := max(want.Earliest-got.At, since(got)-want.Latest, 0)
	if want.What != got.What {
		d += otherKind
	}
	if want.Exact && otherBytes(want, got) != "" {
		d += otherKind
	}
	return d
}

// since is the first instant at which an observed event may have come.
func since(got *timeline.Event) time.Duration {
	if got.Since != 0 {
		return got.Since
	}
	return got.At
}

// otherBytes says in which number an event differs from an exact prediction, or "".
func otherBytes(want, got *timeline.Event) string {
	switch {
	case want.RelSeq != got.RelSeq:
		return fmt.Sprintf("seq=%d, not %d", got.RelSeq, want.RelSeq)
	case want.Len != got.Len:
		return fmt.Sprintf("len=%d, not %d", got.Len, want.Len)
	case want.RelAck != got.RelAck:
		return fmt.Sprintf("ack=%d, not %d", got.RelAck, want.RelAck)
	}
	return ""
}

// joined makes the result's event of a pair.
func joined(p *pair) result.Event {
	var e result.Event
	if p.want != nil {
		e = FromTimeline(*p.want)
	} else {
		e = FromTimeline(*p.got)
		e.At, e.Errno, e.Expected = 0, "", false
	}
	if p.got != nil {
		seen := result.Seconds(p.got.At)
		e.Seen, e.SeenErr = &seen, p.got.Errno
		if p.got.Since != 0 {
			from := result.Seconds(p.got.Since)
			e.Since = &from
		}
		if p.got.Ended != 0 {
			ended := result.Seconds(p.got.Ended)
			e.Ended = &ended
		}
		if p.got.Due != 0 {
			due := result.Seconds(p.got.Due)
			e.Due = &due
		}
	}
	return e
}

// FromTimeline writes a predicted event in the result's form.
func FromTimeline(t timeline.Event) result.Event {
	return result.Event{
		At: result.Seconds(t.At), Late: result.Seconds(max(t.Late(), 0)), Earliest: result.Seconds(t.Earliest), Tick: t.Tick,
		GapEarliest: result.Seconds(t.GapEarliest), GapLatest: result.Seconds(t.GapLatest),
		Host: t.Host, What: string(t.What), N: t.N, Errno: t.Errno, Why: t.Why, Maybe: t.Maybe, Expected: true,
		Port: int(t.Port), Chain: t.Chain, RelSeq: t.RelSeq, RelAck: t.RelAck, Len: t.Len, Exact: t.Exact,
	}
}

func id(e result.Event) string {
	name := e.What
	if e.N > 0 {
		name += fmt.Sprintf("-%d", e.N)
	}
	if e.Port > 0 {
		name += fmt.Sprintf("-port-%d", e.Port)
	}
	return name
}

// Title is an event's name for people: "SYN again 2".
func Title(e result.Event) string {
	name := timeline.What(e.What).Words()
	if timeline.What(e.What) == timeline.SocketGone { // both ends have one
		return e.Host + ": " + name
	}
	if e.N > 0 {
		name += fmt.Sprintf(" %d", e.N)
	}
	if e.Port > 0 {
		name += fmt.Sprintf(" (:%d)", e.Port)
	}
	return name
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }

func bounds(lo, hi time.Duration) string {
	return fmt.Sprintf("%.3f … %.3f s", max(lo, 0).Seconds(), hi.Seconds())
}

// short prints a small time in the unit that fits.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.3f s", d.Seconds())
}
