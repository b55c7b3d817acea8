package oracle

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
)

// beside are an idle connection with keepalive, and data into a black hole that begins 20 ms later.
func beside() []Connection {
	return []Connection{
		{Port: 1, Mechanism: Keepalive{Time: 2 * time.Second, Interval: time.Second, Probes: 2, Peer: KeepalivePeer{Gone: true}}},
		{Port: 2, Offset: 20 * time.Millisecond, Mechanism: BlackHole{Cut: CutMid, Exchange: 100 * time.Millisecond, Write: 1500 * time.Millisecond, Bytes: 6, Request: 6, Retries2: 3, EarlyRetrans: 3}},
	}
}

// TestSideBySide catches a connection that is not what it is by itself, one whose events have another's port, and an end that is left out.
func TestSideBySide(t *testing.T) {
	f := linux618(t)
	for _, start := range []*Start{nil, {Jiffies: 1 << 40, Phase: time.Millisecond, Called: true}} {
		all, err := SideBySide{Connections: beside()}.Predict(f, start)
		if err != nil || all.Outcome != nil {
			t.Fatalf("got the outcome %v, %v, want none", all.Outcome, err)
		}
		if !slices.IsSortedFunc(all.Events, func(a, b timeline.Event) int { return int(a.At - b.At) }) {
			t.Error("got events out of order")
		}
		for _, c := range beside() {
			alone, err := c.Predict(f, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := append(alone.Events, *alone.Outcome)
			var got []timeline.Event
			for _, e := range all.Events {
				if e.Port == c.Port {
					got = append(got, e)
				}
			}
			if len(got) != len(want) {
				t.Fatalf("port %d: got %d events, want %d", c.Port, len(got), len(want))
			}
			for i, e := range got {
				w := want[i]
				if e.What != w.What || e.At != w.At+c.Offset || e.Earliest < w.Earliest+c.Offset-f.Jiffy() || e.Latest > w.Latest+c.Offset+f.Jiffy() {
					t.Errorf("port %d: got %s at %v, %v to %v, want %s at %v later, %v to %v", c.Port, e.What, e.At, e.Earliest, e.Latest, w.What, c.Offset, w.Earliest, w.Latest)
				}
			}
		}
	}
}

// TestSideBySideOrder has repeated SYNs that the link holds back, so that they and the server's timer are near to each other: where the timer wheel has the
// timer behind one that the formula has behind it, a connection's events come as its mechanism has them. It catches an order that the formula makes.
func TestSideBySideOrder(t *testing.T) {
	f := linux618(t)
	open := SYNACKLoss{Connect: Connect{SYNRetries: 1}, Server: Server{SYNACKRetries: 1}, RTT: 100 * ms, Link: held([]int{10, 6}, nil)}
	crossed := 0
	for phase := range uint64(64) {
		start := &Start{Jiffies: 1<<40 + phase, Phase: ms}
		all, err := SideBySide{Connections: []Connection{{Port: 1, Mechanism: open}, {Port: 2, Mechanism: open}}}.Predict(f, start)
		if err != nil {
			t.Fatal(err)
		}
		alone, err := open.Predict(f, start)
		if err != nil {
			t.Fatal(err)
		}
		alone = withoutLooks(alone)
		for i, c := range all.Connections {
			for j, order := range append([]timeline.Timeline{c.Timeline}, c.Alternatives...) {
				want := append([]timeline.Timeline{alone}, alone.Alternatives...)[j].Events
				got := slices.DeleteFunc(slices.Clone(order.Events), func(e timeline.Event) bool { return e.What == timeline.ConnectError })
				if !slices.EqualFunc(got, want, sameEvent) {
					t.Errorf("%d jiffies: connection %d, order %d: got %v, want %v", start.Jiffies, i+1, j, got, want)
				}
				if !slices.IsSortedFunc(want, func(a, b timeline.Event) int { return cmp.Compare(a.At, b.At) }) {
					crossed++
				}
			}
			got := slices.DeleteFunc(slices.Clone(all.Events), func(e timeline.Event) bool { return e.Port != c.Port })
			if !slices.EqualFunc(got, c.Events, sameEvent) {
				t.Errorf("%d jiffies: all of connection %d: got %v, want %v", start.Jiffies, i+1, got, c.Events)
			}
		}
	}
	if crossed == 0 {
		t.Error("got no order that is not the formula's, want some")
	}
}

func sameEvent(a, b timeline.Event) bool { return a.Host == b.Host && a.What == b.What && a.N == b.N }

// TestSideBySideErrors catches connections that cannot be told apart.
func TestSideBySideErrors(t *testing.T) {
	two := beside()
	for want, c := range map[string][]Connection{"1 connections": two[:1], "a port of its own": {two[0], two[0]}, "to port 0": {two[0], {Mechanism: two[1].Mechanism}},
		"port 2: data": {two[0], {Port: 2, Mechanism: BlackHole{Cut: 7}}}} {
		if _, err := (SideBySide{Connections: c}).Predict(linux618(t), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}
