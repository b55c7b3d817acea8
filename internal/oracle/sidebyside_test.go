package oracle

import (
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
