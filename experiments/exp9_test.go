package experiments

import (
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// backlogEnv is exp9's fast profile with flags, on a 6.18 with its defaults.
func backlogEnv(t *testing.T, flags map[string]string) Env {
	t.Helper()
	plan, err := find(t, "exp9-backlog").Plan(Fast, flags, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := Env{Profile: Fast, Facts: facts(t, "6.18"), Options: plan.Options, Sysctls: map[string]string{"server.net.core.somaxconn": "4096",
		"client.net.ipv4.tcp_invalid_ratelimit": "500", "server.net.ipv4.tcp_invalid_ratelimit": "500", "client.net.ipv4.tcp_rto_max_ms": "120000"}}
	for _, s := range plan.Settings {
		e.Sysctls[s.Host+"."+s.Name] = s.Value
	}
	return e
}

// TestBacklogStates catches a server that is expected to know of a connection of which it keeps nothing, and a client that is told of nothing.
func TestBacklogStates(t *testing.T) {
	for _, tt := range []struct {
		flags          map[string]string
		client, server string
	}{
		{nil, "(CLOSED) (SYN-SENT) ESTABLISHED", "(LISTEN) SYN-RECV LISTEN"},
		{map[string]string{"abort-on-overflow": "1"}, "(CLOSED) (SYN-SENT) ESTABLISHED CLOSED", "(LISTEN) SYN-RECV LISTEN"},
		{map[string]string{"syncookies": "2"}, "(CLOSED) (SYN-SENT) ESTABLISHED", "LISTEN"},
		{map[string]string{"syncookies": "2", "abort-on-overflow": "1"}, "(CLOSED) (SYN-SENT) ESTABLISHED", "LISTEN"},
		{map[string]string{"synack-retries": "0", "abort-on-overflow": "1"}, "(CLOSED) (SYN-SENT) ESTABLISHED", "(LISTEN) SYN-RECV LISTEN"},
	} {
		got := statesOfBacklog(backlogEnv(t, tt.flags))
		if c, s := strings.Join(got["client"], " "), strings.Join(got["server"], " "); c != tt.client || s != tt.server {
			t.Errorf("%v: got %s | %s, want %s | %s", tt.flags, c, s, tt.client, tt.server)
		}
	}
}

// overflowing is a result of exp9 as it should be, with a backlog of 1.
func overflowing() *result.Result {
	r := &result.Result{Prediction: &result.Prediction{}, Evidence: &result.Evidence{Counters: []result.Counter{{Host: "server", Name: "TcpExtListenOverflows", Added: 3}}}}
	add := func(from string, port int, what timeline.What, fate result.Fate) {
		p := result.Packet{ID: len(r.Packets) + 1, From: from, What: string(what), Fate: fate, SrcPort: port, DstPort: 8080}
		if from == "server" {
			p.SrcPort, p.DstPort = 8080, port
		}
		r.Packets = append(r.Packets, p)
	}
	for _, port := range []int{40001, 40002, 40003} {
		fate := result.Delivered
		if port == 40002 {
			fate = result.Dropped
		}
		add("client", port, timeline.SYN, result.Delivered)
		add("server", port, timeline.SYNACK, result.Delivered)
		add("client", port, timeline.ACK, fate)
		seen := result.Seconds(0)
		r.Events = append(r.Events, result.Event{Host: "client", What: string(timeline.Connected), Seen: &seen})
	}
	add("client", 40004, timeline.SYN, result.Delivered)
	add("server", 40002, timeline.SYNACKAgain, result.Delivered)
	add("client", 40002, timeline.ChallengeACK, result.Delivered)
	add("client", 40004, timeline.SYNRetransmission, result.Delivered)
	gone, ended := result.Seconds(3119*time.Millisecond), result.Seconds(3300*time.Millisecond)
	r.Events = append(r.Events, result.Event{Host: "server", What: string(timeline.RequestGone), Seen: &gone},
		result.Event{Host: "client", What: string(timeline.ConnectError), Port: 40004, Seen: &ended, SeenErr: "ETIMEDOUT"})
	r.Samples = []result.Sample{{Host: "server", State: "SYN-RECV"}, {Host: "server", State: "LISTEN", At: gone, RecvQueue: 2, SendQueue: 1}}
	return r
}

// TestBacklogChecks is the negative control of each check: a run that is right passes, and one that is wrong in one way does not.
func TestBacklogChecks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags map[string]string
		spoil func(*result.Result)
		id    string
		want  result.Verdict
	}{
		{"right", nil, func(*result.Result) {}, "", result.Pass},
		{"one believer more", nil, func(r *result.Result) { r.Events = append(r.Events, r.Events[0]) }, "believers", result.Fail},
		{"one believer less", nil, func(r *result.Result) { r.Events = r.Events[1:] }, "believers", result.Fail},
		{"a place more", nil, func(r *result.Result) { r.Samples[1].RecvQueue = 3 }, "accept-queue", result.Fail},
		{"another limit", nil, func(r *result.Result) { r.Samples[1].SendQueue = 128 }, "accept-queue", result.Fail},
		{"too early to say", nil, func(r *result.Result) { r.Samples[1].At = 0 }, "accept-queue", result.Skip},
		{"a look that began too early to say", nil, func(r *result.Result) { r.Samples[1].Took, r.Samples[1].RecvQueue = r.Samples[1].At, 1 }, "accept-queue", result.Skip},
		{"a drop that was not counted", nil, func(r *result.Result) { r.Evidence.Counters = nil }, "overflows", result.Fail},
		{"clients that overtook each other", nil, func(r *result.Result) {
			r.Events, r.Checks = r.Events[1:], []result.Check{{ID: "count", Verdict: result.Inconclusive, Code: explain.Stall}}
		}, "believers", result.Inconclusive},
		{"a drop too many", nil, func(r *result.Result) { r.Evidence.Counters[0].Added++ }, "overflows", result.Fail},
		{"cookies: no acknowledgement comes again", map[string]string{"syncookies": "2"}, func(*result.Result) {}, "overflows", result.Fail},
	} {
		r := overflowing()
		tt.spoil(r)
		found := tt.id == ""
		for _, c := range checksOfBacklog(backlogEnv(t, tt.flags), r) {
			if found = found || c.ID == tt.id; (c.ID == tt.id || tt.id == "") && c.Verdict != tt.want {
				t.Errorf("%s: check %s: got %s (expected %s, observed %s), want %s", tt.name, c.ID, c.Verdict, c.Expected, c.Observed, tt.want)
			}
		}
		if !found {
			t.Errorf("%s: got no check %s", tt.name, tt.id)
		}
	}
}

// TestBacklogStory catches a sentence that says what did not happen.
func TestBacklogStory(t *testing.T) {
	x := find(t, "exp9-backlog")
	reset := overflowing()
	reset.Packets[11].From, reset.Packets[11].What = "server", string(timeline.RST)
	for _, tt := range []struct {
		name      string
		run       *result.Result
		want, not []string
	}{
		{"ignored", overflowing(), []string{"2 connections opened with three packets", "client from port 40002 was lost once", "SYN-ACK again, once", "found the queue full and was ignored. [12]",
			"dropped without a word, twice. [10 13]", "3 connect() calls returned 0", "The connect() of the client from port 40004 returned ETIMEDOUT after 3.300 s", "By 3.119 s"}, []string{"RST", "never sent"}},
		{"reset", reset, []string{"answered with a RST"}, []string{"was ignored"}},
		{"nothing", &result.Result{}, []string{"No capture shows a SYN"}, []string{"returned 0"}},
	} {
		told := sentences(x, tt.run)
		for _, w := range tt.want {
			if !strings.Contains(told, w) {
				t.Errorf("%s: got\n%s\nwant %q in it", tt.name, told, w)
			}
		}
		for _, w := range tt.not {
			if strings.Contains(told, w) {
				t.Errorf("%s: got\n%s\nwant no %q in it", tt.name, told, w)
			}
		}
	}
}

// TestBacklogScript compares the shell commands with the golden, so that a change is looked at: they are what a reader types.
func TestBacklogScript(t *testing.T) {
	x := find(t, "exp9-backlog")
	for file, flags := range map[string]map[string]string{"exp9-backlog.sh": nil, "exp9-backlog-abort.sh": {"abort-on-overflow": "1", "backlog": "2"}} {
		p, err := x.Plan(Textbook, flags, nil)
		if err != nil {
			t.Fatal(err)
		}
		labtest.Golden(t, file, strings.Join(x.Script(p), "\n")+"\n")
	}
}
