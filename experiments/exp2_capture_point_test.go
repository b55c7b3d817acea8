package experiments

import (
	"slices"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// pointEnv is a 6.18 with one retransmission at each end.
func pointEnv(t *testing.T, at string) Env {
	t.Helper()
	e := env(t).With("client", "net.ipv4.tcp_syn_retries", "1").With("server", "net.ipv4.tcp_synack_retries", "1").With("server", "net.ipv4.tcp_invalid_ratelimit", "500")
	e.Options = Options{"at": at}
	return e
}

// sightings is a result in which a place's captures and counter showed so many packets.
func sightings(p place, synSent, synArrived, ackSent, ackArrived int, hits uint64) *result.Result {
	r := &result.Result{Rules: []result.Rule{{Host: p.host, Table: p.table, Chain: p.chain, Packets: hits}}}
	at := result.Seconds(0)
	add := func(from string, what timeline.What, src, dst, sent, arrived int) {
		for i := range max(sent, arrived) {
			k := result.Packet{ID: len(r.Packets) + 1, From: from, What: string(what), SrcPort: src, DstPort: dst}
			if i < sent {
				k.SentAt = &at
			}
			if i < arrived {
				k.ArrivedAt = &at
			}
			r.Packets = append(r.Packets, k)
		}
	}
	add("client", timeline.SYN, 40000, int(p.port), synSent, synArrived)
	add("server", timeline.SYNACK, int(p.port), 40000, ackSent, ackArrived)
	add("client", timeline.SYN, 40001, 9, 5, 5) // of somebody else
	return r
}

// TestCapturePointChecks catches a row of the table that cannot fail: each number, one more or one less, must.
func TestCapturePointChecks(t *testing.T) {
	for _, c := range []struct {
		at   string
		want [5]int
		span bool // the last number may be one more
	}{
		{"client-input", [5]int{2, 2, 3, 3, 3}, false}, {"client-raw-prerouting", [5]int{2, 2, 3, 3, 3}, false},
		{"client-output", [5]int{0, 0, 0, 0, 2}, false}, {"client-mangle-postrouting", [5]int{0, 0, 0, 0, 2}, false},
		{"server-input", [5]int{2, 2, 0, 0, 2}, false}, {"server-raw-output", [5]int{2, 2, 0, 0, 3}, true},
	} {
		e := pointEnv(t, c.at)
		p := chosen(e.Options)[0]
		verdict := func(n [5]int) result.Verdict {
			checks := checksOfCapturePoint(e, sightings(p, n[0], n[1], n[2], n[3], uint64(n[4])))
			if len(checks) != 1 {
				t.Fatalf("%s: got %d checks, want 1", c.at, len(checks))
			}
			return checks[0].Verdict
		}
		if got := verdict(c.want); got != result.Pass {
			t.Errorf("%s: %v: got %s, want pass", c.at, c.want, got)
		}
		for i := range c.want {
			for _, by := range []int{-1, 1} {
				n := c.want
				n[i] += by
				if n[i] < 0 || c.span && i == 4 && by == 1 {
					continue
				}
				if got := verdict(n); got != result.Fail {
					t.Errorf("%s: %v: got %s, want fail", c.at, n, got)
				}
			}
		}
	}
}

// TestCapturePointAll catches a place that the run of all of them forgets, and two that share a port.
func TestCapturePointAll(t *testing.T) {
	s := setupCapturePoint(Options{"at": "all"})
	ports := map[uint16]bool{}
	for i, f := range s.Faults {
		ports[s.Listen[i].Port] = true
		if f.Rule.FromPort+f.Rule.ToPort != s.Listen[i].Port {
			t.Errorf("%s %s %s: got a rule for another port than %d: %s", f.Host, f.Rule.Table, f.Rule.Chain, s.Listen[i].Port, f.Rule.Text)
		}
	}
	if len(ports) != 10 || len(s.Faults) != 10 {
		t.Errorf("got %d ports and %d rules, want 10 of each", len(ports), len(s.Faults))
	}
	tl, err := predictCapturePoint(pointEnv(t, "all"))
	if err != nil {
		t.Fatal(err)
	}
	ends, seen := 0, map[uint16]bool{}
	for _, e := range tl.Events {
		if e.What == timeline.ConnectError {
			ends++
		}
		seen[e.Port] = seen[e.Port] || e.What == timeline.SYN
	}
	if ends != 10 || tl.Outcome != nil || seen[8003] || !seen[8001] || !seen[8010] {
		t.Errorf("got %d ends of connect(), SYNs of %v, outcome %v: want 10, none of :8003, no outcome", ends, seen, tl.Outcome)
	}
	if !s.Apart || len(tl.Connections) != 10 {
		t.Fatalf("got %d connections, apart: %v, want 10 that are judged by themselves", len(tl.Connections), s.Apart)
	}
	var ways []int
	for _, c := range tl.Connections {
		ways = append(ways, 1+len(c.Alternatives))
	}
	if want := []int{2, 2, 1, 1, 1, 1, 1, 1, 1, 1}; !slices.Equal(ways, want) || tl.Alternatives != nil {
		t.Errorf("got %v ways, and %d of the whole, want %v, and none", ways, len(tl.Alternatives), want)
	}
}

// TestCapturePointStory catches a place that is told to be seen though it was not.
func TestCapturePointStory(t *testing.T) {
	x := find(t, "exp2-capture-point")
	p := chosen(Options{"at": "client-output"})[0]
	for _, c := range []struct {
		r          *result.Result
		want, lack string
	}{
		{sightings(p, 0, 0, 0, 0, 2), "dropped in client OUTPUT was in no capture", "both captures"},
		{sightings(p, 2, 2, 0, 0, 2), "dropped in client OUTPUT was in both captures", "no capture"},
		{sightings(p, 0, 0, 0, 0, 0), "Nothing came to the rule in client OUTPUT", "dropped"},
	} {
		if told := sentences(x, c.r); !strings.Contains(told, c.want) || strings.Contains(told, c.lack) {
			t.Errorf("got\n%s\nwant %q and no %q", told, c.want, c.lack)
		}
	}
}

// TestCapturePointScript and its golden are what a reader types.
func TestCapturePointScript(t *testing.T) {
	x := find(t, "exp2-capture-point")
	p, err := x.Plan(Fast, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	labtest.Golden(t, "exp2-capture-point.sh", strings.Join(x.Script(p), "\n")+"\n")
}
