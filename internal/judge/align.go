package judge

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// pair is an expectation, an observation, or both.
type pair struct{ want, got *timeline.Event }

func (p pair) at() time.Duration {
	if p.got != nil {
		return p.got.At
	}
	return p.want.At
}

// align pairs what was expected with what was seen, kind by kind (same host, same name, repetitions together), keeping the order and
// spending as little as possible: a second for each event left alone, the distance from its window for each pair. So one missing
// packet in the middle stays one missing packet, and does not make all later ones late.
func align(want, got []timeline.Event) []pair {
	type kind struct{ host, what string }
	kindOf := func(e timeline.Event) kind {
		return kind{e.Host, strings.TrimSuffix(string(e.What), "-retransmission")}
	}
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

// alone is what leaving an event without a partner costs.
const alone = time.Second

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
				cost[i][k] = time.Duration(n-i) * alone
			default:
				cost[i][k] = min(cost[i+1][k+1]+distance(want[i], got[k]), cost[i+1][k]+alone, cost[i][k+1]+alone)
			}
		}
	}
	var pairs []pair
	i, k := 0, 0
	for i < n || k < m {
		switch {
		case i < n && k < m && cost[i][k] == cost[i+1][k+1]+distance(want[i], got[k]):
			pairs = append(pairs, pair{want[i], got[k]})
			i, k = i+1, k+1
		case i < n && (k == m || cost[i][k] == cost[i+1][k]+alone):
			pairs = append(pairs, pair{want: want[i]})
			i++
		default:
			pairs = append(pairs, pair{got: got[k]})
			k++
		}
	}
	return pairs
}

// distance is how far outside its window an event was seen.
func distance(want, got *timeline.Event) time.Duration {
	return max(want.Earliest-got.At, got.At-want.Latest, 0)
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
	}
	return e
}

// FromTimeline writes a predicted event in the result's form.
func FromTimeline(t timeline.Event) result.Event {
	return result.Event{
		At: result.Seconds(t.At), Late: result.Seconds(max(t.Late(), 0)), Earliest: result.Seconds(t.Earliest), Tick: t.Tick,
		GapEarliest: result.Seconds(t.GapEarliest), GapLatest: result.Seconds(t.GapLatest),
		Host: t.Host, What: string(t.What), N: t.N, Errno: t.Errno, Why: t.Why, Maybe: t.Maybe, Expected: true,
	}
}

func id(e result.Event) string {
	if e.N > 0 {
		return fmt.Sprintf("%s-%d", e.What, e.N)
	}
	return e.What
}

// Title is an event's name for people: "SYN again 2".
func Title(e result.Event) string {
	name := timeline.What(e.What).Words()
	if e.N > 0 {
		return fmt.Sprintf("%s %d", name, e.N)
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
