package oracle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// TestRefusalMeasured compares with how a connect(2) that does not block ended on 6.18.44, 6.12.117 and 6.1 (HZ=250, a veth): at once, by a RST as
// by an ICMP error. On a kernel before 5.8 nothing wakes the program up, and it ends as a connect(2) that blocks does on 6.18: after 1.010 to
// 1.032 s and a second SYN.
func TestRefusalMeasured(t *testing.T) {
	old, err := kernel.Model(kernel.Version{Major: 5, Minor: 7}, 250)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		f         kernel.Facts
		by, errno string
		rtt       time.Duration
		want      []string
		lo, hi    time.Duration // of the end
	}{
		{linux618(t), "", "ECONNREFUSED", 0, []string{"0 client syn 0 0 0", "0 server rst 0 1 0"}, 0, answerWithin},
		{linux618(t), "tcp-reset", "ECONNREFUSED", 0, []string{"0 client syn 0 0 0", "0 server rst 0 1 0"}, 0, answerWithin},
		{linux618(t), "icmp-port-unreachable", "ECONNREFUSED", 0, once, 0, answerWithin},
		{old, "icmp-port-unreachable", "ECONNREFUSED", 0, again, time.Second, 1032 * time.Millisecond},
		{linux618(t), "icmp-host-unreachable", "EHOSTUNREACH", 0, once, 0, answerWithin},
		{old, "icmp-host-unreachable", "EHOSTUNREACH", 0, again, time.Second, 1032 * time.Millisecond},
		{linux618(t), "icmp-net-unreachable", "ENETUNREACH", 0, once, 0, answerWithin},
		{old, "icmp-net-unreachable", "ENETUNREACH", 0, again, time.Second, 1032 * time.Millisecond},
		{linux618(t), "icmp-proto-unreachable", "ENOPROTOOPT", 0, once, 0, answerWithin},
		{old, "icmp-proto-unreachable", "ENOPROTOOPT", 0, again, time.Second, 1032 * time.Millisecond},
		{linux618(t), "icmp-admin-prohibited", "EHOSTUNREACH", 0, once, 0, answerWithin},
		{old, "icmp-admin-prohibited", "EHOSTUNREACH", 0, again, time.Second, 1032 * time.Millisecond},
		// Over IPv6 it is noted on every kernel: measured on 6.18.44, after 1.022 s.
		{linux618(t), "icmp6-no-route", "ENETUNREACH", 0, again, time.Second, 1032 * time.Millisecond},
		{linux618(t), "icmp6-adm-prohibited", "EACCES", 0, again, time.Second, 1032 * time.Millisecond},
		{linux618(t), "icmp6-addr-unreachable", "EHOSTUNREACH", 0, again, time.Second, 1032 * time.Millisecond},
		{linux618(t), "icmp6-port-unreachable", "ECONNREFUSED", 0, again, time.Second, 1032 * time.Millisecond},
		{linux618(t), "icmp6-policy-fail", "EACCES", 0, again, time.Second, 1032 * time.Millisecond},
		{linux618(t), "icmp6-reject-route", "EACCES", 0, again, time.Second, 1032 * time.Millisecond},
		{linux618(t), "icmp6-adm-prohibited", "EACCES", 20 * time.Millisecond, []string{"0 client syn 0 0 0", "10 server icmp-error"},
			20 * time.Millisecond, 20*time.Millisecond + 2*answerWithin},
		{linux618(t), "icmp-host-unreachable", "EHOSTUNREACH", 20 * time.Millisecond, []string{"0 client syn 0 0 0", "10 server icmp-error"},
			20 * time.Millisecond, 20*time.Millisecond + 2*answerWithin},
		{linux618(t), "", "ECONNREFUSED", 20 * time.Millisecond, []string{"0 client syn 0 0 0", "10 server rst 0 1 0"},
			20 * time.Millisecond, 20*time.Millisecond + 2*answerWithin},
	} {
		tl, err := Refusal{Connect: Connect{SYNRetries: 6}, By: c.by, RTT: c.rtt}.Predict(c.f, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, lines(tl)); d != "" {
			t.Errorf("%s on %v: (-want +got)\n%s", c.by, c.f.Version, d)
		}
		o := tl.Outcome
		if o == nil || o.Errno != c.errno || o.Earliest < c.lo || o.Latest > c.hi+time.Millisecond {
			t.Errorf("%s RTT %v: got %+v, want %s from %v to %v", c.by, c.rtt, o, c.errno, c.lo, c.hi)
		}
	}
}

var once = []string{"0 client syn 0 0 0", "0 server icmp-error"}

var again = []string{"0 client syn 0 0 0", "0 server icmp-error", "1000 client syn-retransmission 0 0 0", "1000 server icmp-error"}

// TestRefusalOneTick catches an answer that is not tied to the SYN that asked for it: the repeated SYN, its ICMP error and the end of
// connect(2) fall into one tick.
func TestRefusalOneTick(t *testing.T) {
	old, err := kernel.Model(kernel.Version{Major: 5, Minor: 7}, 250)
	if err != nil {
		t.Fatal(err)
	}
	tl, err := Refusal{Connect: Connect{SYNRetries: 6}, By: "icmp-host-unreachable"}.Predict(old, &Start{Jiffies: 1 << 33, Phase: 1600 * time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	last := tl.Events[len(tl.Events)-2:]
	for _, e := range append(slices.Clone(last), *tl.Outcome) {
		if e.Tick == 0 || e.Tick != last[0].Tick || e.TickLast != last[0].TickLast {
			t.Errorf("%s: got ticks %d to %d, want %d to %d", e.What, e.Tick, e.TickLast, last[0].Tick, last[0].TickLast)
		}
	}
	if len(tl.Alternatives) != 1 || tl.Alternatives[0].Outcome.Latest > answerWithin || len(tl.Alternatives[0].Events) != 2 {
		t.Errorf("alternatives: got %+v, want one that ends at the first ICMP error", tl.Alternatives)
	}
}

// TestRefusalErrors catches an input that is taken and means nothing.
func TestRefusalErrors(t *testing.T) {
	for _, c := range []struct {
		r    Refusal
		want string
	}{
		{Refusal{Connect: Connect{SYNRetries: 6}, By: "icmp-nothing"}, "icmp-admin-prohibited, icmp-host"},
		{Refusal{Connect: Connect{SYNRetries: 0}}, "tcp_syn_retries=0"},
		{Refusal{Connect: Connect{SYNRetries: 6, SoftError: "EPROTO"}}, "soft error"},
		{Refusal{Connect: Connect{SYNRetries: 6}, RTT: -1}, "RTT"},
	} {
		if _, err := c.r.Predict(linux618(t), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// fewSYNs is the open of the capture points: two SYNs, and one repetition of the SYN-ACK.
var fewSYNs = CapturePoint{Connect: Connect{SYNRetries: 1}, Server: Server{SYNACKRetries: 1, InvalidRatelimit: 500 * time.Millisecond}}

// TestSightsMeasured compares with the table that was measured on 6.18 for a DROP at each place (the SYN repeated once, the SYN-ACK once):
// a host's own capture sees what its INPUT side drops and never what its OUTPUT side drops, and the rule counts in any case.
func TestSightsMeasured(t *testing.T) {
	two, none := Count{2, 2}, Count{}
	inbound := func(at string, s Sights) map[string]Sights {
		return map[string]Sights{at + " filter INPUT": s, at + " mangle INPUT": s, at + " mangle PREROUTING": s, at + " raw PREROUTING": s}
	}
	outbound := func(at string, s Sights) map[string]Sights {
		return map[string]Sights{at + " filter OUTPUT": s, at + " mangle OUTPUT": s, at + " raw OUTPUT": s, at + " mangle POSTROUTING": s}
	}
	for _, group := range []map[string]Sights{
		inbound("client", Sights{timeline.SYNACK, two, two, Count{3, 3}, Count{3, 3}, Count{3, 3}}),
		outbound("client", Sights{timeline.SYN, none, none, none, none, two}),
		inbound("server", Sights{timeline.SYN, two, two, none, none, two}),
		outbound("server", Sights{timeline.SYNACK, two, two, none, none, Count{3, 4}}),
	} {
		for at, want := range group {
			w := strings.Fields(at)
			c := fewSYNs
			c.At, c.Table, c.Chain = w[0], w[1], w[2]
			got, err := c.Sights(linux618(t))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: (-want +got)\n%s", at, d)
			}
		}
	}
}

// TestCapturePointErrors catches a place that does not exist.
func TestCapturePointErrors(t *testing.T) {
	for _, at := range []string{"client raw INPUT", "client filter PREROUTING", "router filter INPUT", "server nat OUTPUT"} {
		w := strings.Fields(at)
		c := fewSYNs
		c.At, c.Table, c.Chain = w[0], w[1], w[2]
		if _, err := c.Predict(linux618(t), nil); err == nil {
			t.Errorf("%s: got no error", at)
		}
	}
}

// FuzzRefusal catches a panic, a window that ends before it begins, and a tick outside it.
func FuzzRefusal(f *testing.F) {
	f.Add(6, int64(0), uint8(1), uint64(1000), uint16(250), uint8(18))
	f.Add(1, int64(20), uint8(3), uint64(7), uint16(1000), uint8(4))
	f.Fuzz(func(t *testing.T, retries int, rtt int64, by uint8, jiffies uint64, hz uint16, minor uint8) {
		facts, err := kernel.Model(kernel.Version{Major: 6, Minor: int(minor)}, int(hz))
		if err != nil {
			return
		}
		names := []string{"", "tcp-reset", "icmp-port-unreachable", "icmp-host-unreachable"}
		r := Refusal{Connect: Connect{SYNRetries: retries}, By: names[int(by)%len(names)], RTT: time.Duration(rtt%1000) * time.Millisecond}
		for _, start := range []*Start{nil, {Jiffies: jiffies%(1<<40) + 2, Phase: facts.Jiffy() / 3}} {
			tl, err := r.Predict(facts, start)
			if err != nil {
				return
			}
			orderly(t, facts, start, tl)
		}
	})
}

// TestCapturePointsOffset catches an open that does not begin when it should: its windows and ticks are those of the same open by itself,
// so much later, and the jiffy that its call leaves open on either side.
func TestCapturePointsOffset(t *testing.T) {
	f := linux618(t)
	first, second := fewSYNs, fewSYNs
	first.At, first.Table, first.Chain, first.Port = "client", "filter", "OUTPUT", 8001
	second.At, second.Table, second.Chain, second.Port, second.Offset = "server", "filter", "INPUT", 8002, 40*ms
	again := func(tl timeline.Timeline, err error) timeline.Event {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range tl.Events {
			if e.What == timeline.SYNRetransmission {
				return e
			}
		}
		t.Fatalf("no repeated SYN in %v", lines(tl))
		return timeline.Event{}
	}
	jiffy := f.Jiffy()
	alone := again(second.Predict(f, nil))
	both := again(CapturePoints{first, second}.Predict(f, nil))
	if both.At != alone.At+40*ms || both.Earliest != alone.Earliest+40*ms-jiffy || both.Latest != alone.Latest+40*ms+jiffy || both.Port != 8002 {
		t.Errorf("got %+v, want %+v 40 ms later and a jiffy wider on either side", both, alone)
	}
	for _, called := range []bool{false, true} {
		start := Start{Jiffies: 1 << 33, Phase: 1600 * time.Microsecond, Called: called}
		own := Start{Jiffies: start.Jiffies + 10, Phase: start.Phase, Called: called}
		alone, both := again(second.Predict(f, &own)), again(CapturePoints{first, second}.Predict(f, &start))
		lo, hi := alone.Tick+10, max(alone.Tick, alone.TickLast)+10
		if both.Tick > lo || both.TickLast < hi || called && (both.Tick != lo || both.TickLast != hi) {
			t.Errorf("called %v: got ticks %d to %d, want %d to %d within them", called, both.Tick, both.TickLast, lo, hi)
		}
	}
	if tl, err := (CapturePoints{second}).Predict(f, nil); err != nil || tl.Outcome == nil {
		t.Errorf("one alone: got %+v, %v, want an outcome", tl, err)
	}
	if _, err := (CapturePoints{}).Predict(f, nil); err == nil {
		t.Error("none: got no error")
	}
}

// TestCapturePointsWays catches an open that lacks a way in which it can go, one that has another's, and a timeline of both that is not what they
// usually do: each of two has a tick in which a repeated SYN and a timer meet. Merge keeps them apart.
func TestCapturePointsWays(t *testing.T) {
	one, two := fewSYNs, fewSYNs
	one.At, one.Table, one.Chain, one.Port = "client", "filter", "INPUT", 8001
	two.At, two.Table, two.Chain, two.Port, two.Offset = "client", "raw", "PREROUTING", 8002, 40*ms
	f, both := linux618(t), CapturePoints{one, two}
	window, err := both.Predict(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	exact, err := both.Predict(f, &Start{Jiffies: 1 << 33, Phase: 1600 * time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	for name, tl := range map[string]timeline.Timeline{"windows": window, "ticks": exact, "merged": Merge(window, exact)} {
		if len(tl.Connections) != 2 || tl.Alternatives != nil {
			t.Fatalf("%s: got %d connections and %d alternatives of both, want 2 and none", name, len(tl.Connections), len(tl.Alternatives))
		}
		usual := 0
		for _, c := range tl.Connections {
			usual += len(c.Events)
			ways := map[string]bool{}
			for way := range c.All() {
				what := ""
				for _, e := range way.Events {
					if e.Port != c.Port {
						t.Errorf("%s: port %d: got an event of port %d", name, c.Port, e.Port)
					}
					if e.What.Family() == timeline.SYNACK {
						what += string(e.What) + " "
					}
				}
				ways[what] = true
				if way.Why != "" && !strings.HasPrefix(way.Why, fmt.Sprintf("port %d: ", c.Port)) {
					t.Errorf("%s: port %d: got a way with the name %q", name, c.Port, way.Why)
				}
			}
			if len(ways) != 2 || len(c.Alternatives) != 1 {
				t.Errorf("%s: port %d: got %d ways in %d timelines, want 2 in 2: %v", name, c.Port, len(ways), 1+len(c.Alternatives), ways)
			}
		}
		if len(tl.Events) != usual || !slices.IsSortedFunc(tl.Events, func(a, b timeline.Event) int { return int(a.At - b.At) }) {
			t.Errorf("%s: got %d events of both, want %d in the order of time", name, len(tl.Events), usual)
		}
		last := tl.Connections[1].Events[len(tl.Connections[1].Events)-1]
		if wide := last.Latest-last.Earliest > 20*ms; wide != (name != "ticks") || (last.Tick > 0) != (name != "windows") {
			t.Errorf("%s: got the end %+v, want a window of all starts, or a tick, or both", name, last.Bound)
		}
	}
}
