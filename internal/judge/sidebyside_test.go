package judge

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// apart are connections to ports 1, 2, ... that repeat a SYN twice, usually after 1 and 3 s; in other orders after 1 and 4, 2 and 3, 2 and 5 s.
func apart(n int) timeline.Timeline {
	var all []timeline.Connection
	for port := uint16(1); port <= uint16(n); port++ {
		order := func(first, second time.Duration) timeline.Timeline {
			t := timeline.Timeline{Why: fmt.Sprintf("port %d: %v and %v", port, first, second), Events: repeats(port, first, second)}
			for i := range t.Events {
				e := &t.Events[i]
				e.Earliest, e.Latest, e.Chain = e.At, e.At, fmt.Sprintf(":%d", port)
			}
			return t
		}
		c := timeline.Connection{Port: port, Timeline: order(time.Second, 3*time.Second)}
		c.Alternatives = []timeline.Timeline{order(time.Second, 4*time.Second), order(2*time.Second, 3*time.Second), order(2*time.Second, 5*time.Second)}
		all = append(all, c)
	}
	return timeline.SideBySide(all)
}

// repeats are a SYN and two more, as they are seen.
func repeats(port uint16, first, second time.Duration) []timeline.Event {
	out := []timeline.Event{seen(timeline.SYN, 0, 0), seen(timeline.SYNRetransmission, 1, first), seen(timeline.SYNRetransmission, 2, second)}
	for i := range out {
		out[i].Port = port
	}
	return out
}

// TestConnections catches a connection that is judged by the order of another, by parts of two of its own, or not at all; a contradiction that is
// excused by what is not listed of another; and orders that are combined, of which 40 connections have 4^40.
func TestConnections(t *testing.T) {
	const s = time.Second
	usual := func(in *Input) {
		in.Got.Events = nil
		for _, c := range in.Want.Connections {
			in.Got.Events = append(in.Got.Events, repeats(c.Port, s, 3*s)...)
		}
	}
	goes := func(port uint16, first, second time.Duration) func(*Input) {
		return func(in *Input) {
			in.Got.Events = slices.DeleteFunc(in.Got.Events, func(e timeline.Event) bool { return e.Port == port })
			in.Got.Events = append(in.Got.Events, repeats(port, first, second)...)
		}
	}
	unlisted := func(port uint16) func(*Input) {
		return func(in *Input) { in.Want.Connections[port-1].Unlisted = true }
	}
	extra := func(port uint16) func(*Input) {
		return func(in *Input) {
			in.Got.Events = append(in.Got.Events, repeats(port, s, 3500*ms)[2])
		}
	}
	missing := func(port uint16) func(*Input) {
		return func(in *Input) {
			in.Got.Events = slices.DeleteFunc(in.Got.Events, func(e timeline.Event) bool { return e.Port == port && e.N == 2 })
		}
	}
	for _, tt := range []struct {
		name  string
		make  []func(*Input)
		want  result.Verdict
		wrong []uint16 // ports of the events that are contradicted
		note  string
	}{
		{"the usual", nil, result.Pass, nil, ""},
		{"each its own", []func(*Input){goes(1, 2*s, 5*s), goes(39, s, 4*s)}, result.Pass, nil, "port 1: 2s and 5s; port 39: 1s and 4s"},
		{"parts of two orders", []func(*Input){goes(2, 2*s, 4*s)}, result.Fail, []uint16{2}, ""},
		{"none, beside another order", []func(*Input){goes(1, s, 4*s), goes(2, s, 6*s)}, result.Fail, []uint16{2}, "port 1: 1s and 4s"},
		{"none, and there are more", []func(*Input){goes(2, s, 6*s), unlisted(2)}, result.Inconclusive, nil, ""},
		{"a packet too many, and there are more", []func(*Input){extra(2), unlisted(2)}, result.Inconclusive, nil, ""},
		{"none, and there are more of another", []func(*Input){goes(2, s, 6*s), unlisted(1)}, result.Fail, []uint16{2}, ""},
		{"none of two, and there are more of one", []func(*Input){goes(1, s, 6*s), goes(2, s, 6*s), unlisted(1)}, result.Fail, []uint16{2}, ""},
		{"one too many here and one too few there", []func(*Input){extra(1), missing(2)}, result.Fail, []uint16{1, 2}, ""},
		{"one too many where there are more, and one too few elsewhere", []func(*Input){extra(1), unlisted(1), missing(2)}, result.Fail, []uint16{2}, ""},
		{"a connection that nobody made", []func(*Input){func(in *Input) { in.Got.Events = append(in.Got.Events, repeats(99, s, 3*s)...) }}, result.Fail, []uint16{99}, ""},
		{"a connection that never came", []func(*Input){func(in *Input) {
			in.Got.Events = slices.DeleteFunc(in.Got.Events, func(e timeline.Event) bool { return e.Port == 7 })
		}}, result.Fail, []uint16{7}, ""},
	} {
		in := Input{Want: apart(40), Jiffy: jiffy, Ended: 20 * s}
		usual(&in)
		for _, f := range tt.make {
			f(&in)
		}
		events, _, checks, note := Schedule(in)
		got := result.Pass
		for _, c := range checks {
			got = result.Worse(got, c.Verdict)
		}
		var wrong []uint16
		for _, e := range events {
			if e.Verdict == result.Fail && !slices.Contains(wrong, uint16(e.Port)) {
				wrong = append(wrong, uint16(e.Port))
			}
		}
		slices.Sort(wrong)
		if got != tt.want || note != tt.note || !slices.Equal(wrong, tt.wrong) {
			t.Errorf("%s: got %s, %v, note %q, want %s, %v, %q", tt.name, got, wrong, note, tt.want, tt.wrong, tt.note)
		}
	}
}

// TestConnectionsAlone catches a packet that is excused because one of another connection was late, for which nothing is on record either.
func TestConnectionsAlone(t *testing.T) {
	in := Input{Want: apart(2), Jiffy: jiffy, Ended: 20 * time.Second}
	in.Got.Events = append(repeats(1, 1040*ms, 3040*ms), repeats(2, time.Second, 3040*ms)...)
	in.Stalls = []result.Stall{{At: result.Seconds(time.Second), For: result.Seconds(40 * ms)}}
	_, _, checks, _ := Schedule(in)
	for _, c := range checks {
		if wrong := c.ID == "syn-retransmission-2-port-2"; wrong != (c.Verdict == result.Fail) {
			t.Errorf("got %+v, want a contradiction: %v", c, wrong)
		}
	}
	alone := 0
	for _, part := range Connections(in) {
		_, _, c, _ := Schedule(part)
		for _, one := range c[1:] {
			alone++
			if !slices.ContainsFunc(checks, func(c result.Check) bool { return c == one }) {
				t.Errorf("got %+v of a connection by itself, and of both\n%+v", one, checks)
			}
		}
	}
	if alone == 0 {
		t.Error("got no checks of a connection by itself")
	}
}

// TestCapturePoints puts what exp2-capture-point predicts with the kernel's own settings beside ten connections that each go one of their ways,
// and then beside such with one defect. It catches a way that does not pass, and a defect that does.
func TestCapturePoints(t *testing.T) {
	v, err := kernel.ParseVersion("6.18")
	if err != nil {
		t.Fatal(err)
	}
	f, err := kernel.Model(v, 250)
	if err != nil {
		t.Fatal(err)
	}
	var points oracle.CapturePoints
	for i, at := range []string{"client filter INPUT", "client raw PREROUTING", "client filter OUTPUT", "server filter INPUT", "server filter OUTPUT"} {
		w := strings.Fields(at)
		points = append(points, oracle.CapturePoint{At: w[0], Table: w[1], Chain: w[2], Port: uint16(8001 + i), Offset: time.Duration(i) * 40 * ms,
			Connect: oracle.Connect{SYNRetries: 6, LinearTimeouts: 4}, Server: oracle.Server{SYNACKRetries: 5, InvalidRatelimit: 500 * ms}})
	}
	start := oracle.Start{Jiffies: 1<<32 + 12345, Phase: 1600 * time.Microsecond, Called: true}
	want, err := points.Predict(f, &start)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	ways := 1
	for _, c := range want.Connections {
		ways *= 1 + len(c.Alternatives)
	}
	if ways < 100 {
		t.Fatalf("got %d ways in which the connections can go together, want hundreds", ways)
	}
	origin := -start.Phase
	for range 10 {
		in := Input{Want: want, Jiffy: jiffy, Ended: 300 * time.Second, JiffyStart: &origin, ClockError: 30 * time.Microsecond}
		for _, c := range want.Connections {
			way := c.Timeline
			if k := r.IntN(1 + len(c.Alternatives)); k > 0 {
				way = c.Alternatives[k-1]
			}
			for i, e := range way.Events {
				if !e.Maybe {
					at := e.Earliest
					if e.Tick > 0 {
						at = origin + time.Duration(e.Tick)*jiffy + e.After
					}
					e.Bound = timeline.Bound{At: at + time.Duration(i)*time.Microsecond} // in their order
					in.Got.Events = append(in.Got.Events, e)
				}
			}
		}
		in.Got.Events[0].At = 0
		slices.SortStableFunc(in.Got.Events, func(a, b timeline.Event) int { return int(a.At - b.At) })
		if _, _, checks, _ := Schedule(in); !Passes(checks) {
			t.Fatalf("got %+v, want a pass", slices.DeleteFunc(checks, func(c result.Check) bool { return c.Verdict == result.Pass }))
		}
		i := 1 + r.IntN(len(in.Got.Events)-1)
		for name, change := range map[string]func(*timeline.Event){
			"late": func(e *timeline.Event) {
				e.At += 100 * ms
				e.Ended = e.At // of an end: the kernel's own record is late too
			},
			"early":                    func(e *timeline.Event) { e.At -= 100 * ms },
			"of another connection":    func(e *timeline.Event) { e.Port = 8001 + (e.Port-8001+1)%5 },
			"of no connection of ours": func(e *timeline.Event) { e.Port = 9000 },
		} {
			bad := in
			bad.Got.Events = slices.Clone(in.Got.Events)
			change(&bad.Got.Events[i])
			what := bad.Got.Events[i]
			slices.SortStableFunc(bad.Got.Events, func(a, b timeline.Event) int { return int(a.At - b.At) })
			if _, _, checks, _ := Schedule(bad); !Contradicted(checks) {
				t.Errorf("%s %d of :%d %s: got no contradiction", what.What, what.N, in.Got.Events[i].Port, name)
			}
		}
		for name, change := range map[string]func(*Input){"missing": drop(i), "twice": insert(in.Got.Events[i])} {
			bad := in
			bad.Got.Events = slices.Clone(in.Got.Events)
			change(&bad)
			if _, _, checks, _ := Schedule(bad); !Contradicted(checks) {
				t.Errorf("%s %d of :%d %s: got no contradiction", in.Got.Events[i].What, in.Got.Events[i].N, in.Got.Events[i].Port, name)
			}
		}
	}
}
