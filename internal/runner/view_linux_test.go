package runner

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// TestOvertaken catches a client that overtook the one whose first packet time counts from, and a disorder where there is none.
func TestOvertaken(t *testing.T) {
	call := func(port uint16, before time.Duration) lab.Event {
		return lab.Event{Event: lab.Connecting, Before: before, After: before + 1, Asked: before, Remote: netip.AddrPortFrom(netip.IPv6Loopback(), port)}
	}
	first := &view{several: true, packets: []result.Packet{{From: "client", SrcPort: 40000, DstPort: 8001}, {From: "client", SrcPort: 40001, DstPort: 8002}}}
	for _, c := range []struct {
		name   string
		v      *view
		events []lab.Event
		want   bool
	}{
		{"in order", first, []lab.Event{call(8001, 1000), call(8002, 2000)}, false},
		{"told in another order", first, []lab.Event{call(8002, 2000), call(8001, 1000)}, false},
		{"overtaken", first, []lab.Event{call(8001, 2000), call(8002, 1000)}, true},
		{"no packet", &view{several: true}, []lab.Event{call(8001, 2000)}, false},
		{"no call", first, nil, false},
	} {
		if err := c.v.overtaken(c.events); (err != nil) != c.want {
			t.Errorf("%s: got %v, want an error: %v", c.name, err, c.want)
		}
	}
}

// TestWatched catches a packet that is forgiven though its connection was watched, or though more was predicted of it, and one that is held against a
// connection that nobody watches any more.
func TestWatched(t *testing.T) {
	at := func(port uint16, what timeline.What, ms int) timeline.Event {
		return timeline.Event{Port: port, What: what, Host: "client", Bound: timeline.Bound{At: time.Duration(ms) * time.Millisecond}}
	}
	want := []timeline.Event{at(1, timeline.WindowProbe, 100), at(2, timeline.WindowProbe, 110), at(1, timeline.Quiet, 200), at(2, timeline.Quiet, 210),
		at(2, timeline.FIN, 220), at(3, timeline.SYN, 230)}
	told := []timeline.Event{at(1, timeline.Quiet, 201), at(2, timeline.Quiet, 211), at(3, timeline.SocketError, 250)}
	if got, want := unwatched(told, want), map[uint16]time.Duration{1: 201 * time.Millisecond}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := unwatched(told[2:], want); len(got) != 0 {
		t.Errorf("no program stopped to wait: got %v, want nothing", got)
	}
	r := &run{res: &result.Result{}, want: timeline.Timeline{Events: want}, setup: experiments.Setup{Apart: true}}
	for i, p := range []struct {
		port int
		at   result.Seconds
	}{{1, result.Seconds(150 * time.Millisecond)}, {1, result.Seconds(240 * time.Millisecond)}, {2, result.Seconds(241 * time.Millisecond)}} {
		r.res.Packets = append(r.res.Packets, result.Packet{ID: i, From: "client", SrcPort: 40000, DstPort: p.port, SentAt: &p.at})
	}
	v := &view{several: true, offWire: told}
	if got := v.watched(r); len(got) != 2 || got[1].ID != 2 {
		t.Errorf("got %v, want all but the second", got)
	}
	if r.setup.Apart = false; len(v.watched(r)) != 3 {
		t.Errorf("one connection: got %v, want all", v.watched(r))
	}
	quiet := at(0, timeline.Quiet, 200)
	one := &view{outcome: &quiet}
	if r.want = (timeline.Timeline{Outcome: &quiet}); len(one.watched(r)) != 1 {
		t.Errorf("one connection that lives on: got %v, want the first packet", one.watched(r))
	}
}

// TestCallsOfView: a call counts for its own connection and from the first packet on, and for none where nobody knows whose it was. It catches a call of
// another connection that leaves a gap open.
func TestCallsOfView(t *testing.T) {
	const ms = time.Millisecond
	events := []lab.Event{
		{Event: lab.Connecting, Before: 99 * ms, After: 124 * ms, Remote: netip.MustParseAddrPort("10.99.0.2:8101")},
		{Event: lab.Sent, Before: 200 * ms, After: 201 * ms, Remote: netip.MustParseAddrPort("10.99.0.2:8102")},
	}
	for _, tt := range []struct {
		name string
		v    view
		want []judge.Call
	}{
		{"several", view{origin: 100 * ms, several: true}, []judge.Call{{Port: 8101, Before: -ms, After: 24 * ms}, {Port: 8102, Before: 100 * ms, After: 101 * ms}}},
		{"one", view{origin: 100 * ms}, []judge.Call{{Before: -ms, After: 24 * ms}, {Before: 100 * ms, After: 101 * ms}}},
		{"by the clients' ports", view{origin: 100 * ms, several: true, byClient: true}, nil},
	} {
		if diff := cmp.Diff(tt.want, tt.v.calls(events)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
