package experiments

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// timeoutsEnv is exp11 under a profile with flags, on a kernel with its defaults.
func timeoutsEnv(t *testing.T, p Profile, version string, flags map[string]string) Env {
	t.Helper()
	plan, err := find(t, "exp11-timeouts").Plan(p, flags, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := Env{Profile: p, Facts: facts(t, version), Options: plan.Options, Sysctls: map[string]string{}}
	for _, host := range []string{"client", "server"} {
		for name, value := range map[string]string{"tcp_syn_retries": "6", "tcp_synack_retries": "5", "tcp_keepalive_time": "7200", "tcp_keepalive_intvl": "75", "tcp_keepalive_probes": "9",
			"tcp_retries2": "15", "tcp_orphan_retries": "0", "tcp_fin_timeout": "60", "tcp_invalid_ratelimit": "500", "tcp_early_retrans": "3", "tcp_sack": "1", "tcp_timestamps": "1",
			"tcp_thin_linear_timeouts": "0", "tcp_rto_min_us": "200000", "tcp_rto_max_ms": "120000", "tcp_syn_linear_timeouts": "4"} {
			e.Sysctls[host+".net.ipv4."+name] = value
		}
	}
	for _, s := range plan.Settings {
		e.Sysctls[s.Host+"."+s.Name] = s.Value
	}
	if !e.Facts.RTOMax { // knobs of later kernels
		for _, host := range []string{"client", "server"} {
			for _, name := range []string{"tcp_rto_max_ms", "tcp_rto_min_us", "tcp_syn_linear_timeouts"} {
				delete(e.Sysctls, host+".net.ipv4."+name)
			}
		}
	}
	return e
}

// TestTimeoutsTable compares the table with the golden of each kernel. It catches a row of another state, and a rule that is taken for that of
// another version: each number is one that the experiment of its mechanism has, too.
func TestTimeoutsTable(t *testing.T) {
	for file, e := range map[string]Env{
		"exp11-timeouts-6.18.txt":      timeoutsEnv(t, Textbook, "6.18", nil),
		"exp11-timeouts-5.10.txt":      timeoutsEnv(t, Textbook, "5.10", nil),
		"exp11-timeouts-kernel.txt":    timeoutsEnv(t, Kernel, "6.18", map[string]string{"user-timeout": "10000", "keepidle": "60", "keepintvl": "10", "keepcnt": "6"}),
		"exp11-timeouts-fast-6.18.txt": timeoutsEnv(t, Fast, "6.18", nil),
		"exp11-timeouts-rtt.txt":       timeoutsEnv(t, Fast, "6.18", map[string]string{"rtt": "100ms"}),
		"exp11-timeouts-cases.txt":     timeoutsEnv(t, Fast, "6.18", map[string]string{"cases": "14,2,9,2"}),
	} {
		rows, err := casesOfTimeouts(e)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, c := range rows {
			fmt.Fprintf(&b, "%d | %s | %s | since %s | nominal %.3f s | %s\n", c.N, c.Name, c.Rule, c.From, c.At.Duration().Seconds(), c.Words())
		}
		labtest.Golden(t, file, b.String())
	}
}

// TestTimeoutsAgree catches a row that says other than what is predicted for its connection, with and without a round trip.
func TestTimeoutsAgree(t *testing.T) {
	for _, rtt := range []string{"0s", "100ms"} {
		e := timeoutsEnv(t, Fast, "6.18", map[string]string{"rtt": rtt})
		tl, err := predictTimeouts(e)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := casesOfTimeouts(e)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range entries(e.Options) {
			c, offset := rows[i], s.offset
			_, since := s.since(e)
			j := slices.IndexFunc(tl.Events, func(ev timeline.Event) bool {
				return int(ev.Port) == c.Port && (ev.What == timeline.SocketError || ev.What == timeline.ConnectError || ev.What == timeline.Quiet)
			})
			tells := strings.Contains(c.Told, " = ")
			switch {
			case s.is == plightClose && j < 0:
			case j < 0:
				t.Errorf("--rtt=%s, %s: got no end in the prediction", rtt, s.name)
			case tells != (tl.Events[j].What != timeline.Quiet):
				t.Errorf("--rtt=%s, %s: got %s in the prediction and %q in the table", rtt, s.name, tl.Events[j].What, c.Told)
			case tells && (tl.Events[j].At-offset-since-c.At.Duration()).Abs() > time.Millisecond:
				t.Errorf("--rtt=%s, %s: got the end at %v, want %v after %v", rtt, s.name, tl.Events[j].At, c.At, offset+since)
			}
		}
	}
}

// TestTimeoutsErrors catches keepalive that would probe before the peers are dead, and a connection with nothing at its side.
func TestTimeoutsErrors(t *testing.T) {
	if _, err := predictTimeouts(timeoutsEnv(t, Fast, "6.18", map[string]string{"keepalive-time": "1"})); err == nil || !strings.Contains(err.Error(), "--keepalive-time=1") {
		t.Errorf("got %v, want an error that names --keepalive-time", err)
	}
	for _, cases := range []string{"7", "7,7"} {
		if _, err := predictTimeouts(timeoutsEnv(t, Fast, "6.18", map[string]string{"cases": cases})); err == nil || !strings.Contains(err.Error(), "--cases="+cases) {
			t.Errorf("got %v, want an error that names --cases=%s", err, cases)
		}
	}
	if _, err := predictTimeouts(timeoutsEnv(t, Fast, "6.18", map[string]string{"keepalive-time": "1", "keepidle": "2"})); err != nil {
		t.Errorf("with TCP_KEEPIDLE: got %v", err)
	}
}

// timedOut is a result of exp11 as it should be, by its own prediction.
func timedOut(t *testing.T, e Env) *result.Result {
	t.Helper()
	tl, err := predictTimeouts(e)
	if err != nil {
		t.Fatal(err)
	}
	r := &result.Result{Prediction: &result.Prediction{}}
	if r.Prediction.Cases, err = casesOfTimeouts(e); err != nil {
		t.Fatal(err)
	}
	for _, ev := range tl.Events {
		at := result.Seconds(ev.At)
		if ev.What.OnWire() {
			p := result.Packet{ID: len(r.Packets) + 1, From: ev.Host, What: string(ev.What), SentAt: &at, Len: ev.Len, SrcPort: 40000, DstPort: int(ev.Port)}
			if ev.Host == "server" {
				p.SrcPort, p.DstPort = p.DstPort, p.SrcPort
			}
			r.Packets = append(r.Packets, p)
			continue
		}
		r.Events = append(r.Events, result.Event{Host: ev.Host, What: string(ev.What), Port: int(ev.Port), Seen: &at, SeenErr: ev.Errno, Verdict: result.Pass})
	}
	return r
}

// TestTimeoutsChecks is the negative control of each row: a run that is right passes, and one that is wrong in one way does not.
func TestTimeoutsChecks(t *testing.T) {
	e := timeoutsEnv(t, Fast, "6.18", nil)
	of := func(r *result.Result, name string) *result.Event {
		i := slices.IndexFunc(standings, func(s standing) bool { return s.name == name })
		return learned(r, firstStanding+i)
	}
	for _, tt := range []struct {
		name  string
		row   string // whose check it is
		spoil func(*result.Result)
		want  result.Verdict
	}{
		{"right", "", func(*result.Result) {}, result.Pass},
		{"told of another error", "data in flight", func(r *result.Result) { of(r, "data in flight").SeenErr = "EHOSTUNREACH" }, result.Fail},
		{"never told", "idle, keepalive", func(r *result.Result) { of(r, "idle, keepalive").Seen = nil }, result.Fail},
		{"quiet to the end", "idle, keepalive", func(r *result.Result) {
			ev := of(r, "idle, keepalive")
			ev.What, ev.SeenErr = string(timeline.Quiet), ""
		}, result.Fail},
		{"told of what nobody can know", "idle", func(r *result.Result) {
			ev := of(r, "idle")
			ev.What, ev.SeenErr = string(timeline.SocketError), "ETIMEDOUT"
		}, result.Fail},
		{"told after close()", "closed", func(r *result.Result) {
			at := result.Seconds(time.Second)
			r.Events = append(r.Events, result.Event{Host: "client", What: string(timeline.SocketError), Port: firstStanding + len(standings) - 1, Seen: &at, SeenErr: "ETIMEDOUT"})
		}, result.Fail},
		{"late in the schedule", "shut down", func(r *result.Result) { of(r, "shut down").Verdict = result.Fail }, result.Fail},
		{"no connection", "connecting", func(r *result.Result) {
			r.Packets = slices.DeleteFunc(r.Packets, func(p result.Packet) bool { return p.DstPort == firstStanding })
		}, result.Fail},
	} {
		r := timedOut(t, e)
		tt.spoil(r)
		checks := checksOfTimeouts(e, r)
		if len(checks) != len(standings) {
			t.Fatalf("%s: got %d checks, want %d", tt.name, len(checks), len(standings))
		}
		for _, c := range checks {
			want := result.Pass
			if c.Name == tt.row {
				want = tt.want
			}
			if c.Verdict != want {
				t.Errorf("%s: %s: got %s (expected %s, observed %s, %s), want %s", tt.name, c.Name, c.Verdict, c.Expected, c.Observed, c.Detail, want)
			}
		}
	}
}

// TestTimeoutsStory catches a program that is said to be told and was not.
func TestTimeoutsStory(t *testing.T) {
	x := find(t, "exp11-timeouts")
	told := sentences(x, timedOut(t, timeoutsEnv(t, Fast, "6.18", nil)))
	for _, w := range []string{"10 programs were told", "half-open, at the server; idle; window closed, peer not reading.", "closed its socket could not be told"} {
		if !strings.Contains(told, w) {
			t.Errorf("got\n%s\nwant %q in it", told, w)
		}
	}
	if told := sentences(x, &result.Result{}); told != "" {
		t.Errorf("nothing happened: got %q, want nothing", told)
	}
}

// TestTimeoutsScript compares the shell commands with the golden, so that a change is looked at: they are what a reader types.
func TestTimeoutsScript(t *testing.T) {
	x := find(t, "exp11-timeouts")
	for file, flags := range map[string]map[string]string{"exp11-timeouts.sh": nil, "exp11-timeouts-ipv6.sh": {"ipv6": "yes", "cases": "5,6,10,13", "keepidle": "3"}} {
		p, err := x.Plan(Fast, flags, nil)
		if err != nil {
			t.Fatal(err)
		}
		labtest.Golden(t, file, strings.Join(x.Script(p), "\n")+"\n")
	}
}

// TestTimeoutsCases catches a part of the table whose connections are not those of the whole one, a watch that is not shorter, and a peer that dies
// where none is to die on the way.
func TestTimeoutsCases(t *testing.T) {
	whole, err := predictTimeouts(timeoutsEnv(t, Fast, "6.18", nil))
	if err != nil {
		t.Fatal(err)
	}
	e := timeoutsEnv(t, Fast, "6.18", map[string]string{"cases": "2,14"})
	part, err := predictTimeouts(e)
	if err != nil {
		t.Fatal(err)
	}
	of := func(tl timeline.Timeline, port uint16) (out []timeline.Event) {
		for _, ev := range tl.Events {
			if ev.Port == port {
				out = append(out, ev)
			}
		}
		return out
	}
	for _, one := range entries(e.Options) {
		a, b := of(whole, one.port), of(part, one.port)
		if len(a) != len(b) || len(b) < 2 {
			t.Fatalf("%s: got %d events, want the %d of the whole table", one.name, len(b), len(a))
		}
		for i := range a {
			if a[i].What != b[i].What || a[i].At-a[0].At != b[i].At-b[0].At {
				t.Errorf("%s: got %s after %v, want %s after %v", one.name, b[i].What, b[i].At-b[0].At, a[i].What, a[i].At-a[0].At)
			}
		}
	}
	if n := len(of(part, firstStanding+1)) + len(of(part, firstStanding+13)); n != len(part.Events) || part.Events[0].At != 0 {
		t.Errorf("got %d events from %v on, want the %d of both connections from 0 on", len(part.Events), part.Events[0].At, n)
	}
	if s := setupTimeouts(e.Options); len(s.Listen) != 2 || len(s.Faults) != 2 {
		t.Errorf("setup: got %d listeners and %d rules, want 2 and 2", len(s.Listen), len(s.Faults))
	}
	for cases, want := range map[string][2]uint16{"2,14": {}, "1,7,5": {firstStanding + 4, firstStanding + 6}, "all": {firstStanding + 3, firstStanding + 8}} {
		if first, last := died(Options{"cases": cases}); first != want[0] || last != want[1] {
			t.Errorf("--cases=%s: got the ports %d to %d, want %d to %d", cases, first, last, want[0], want[1])
		}
	}
	long, err1 := watchTimeouts(timeoutsEnv(t, Textbook, "6.18", nil))
	short, err2 := watchTimeouts(timeoutsEnv(t, Textbook, "6.18", map[string]string{"cases": "1,3"}))
	if err1 != nil || err2 != nil || long < 2*time.Hour || short > 3*time.Minute {
		t.Errorf("watch: got %v, %v of all and %v, %v of what connects, want more than two hours and less than three minutes", long, err1, short, err2)
	}
}

// TestLateRule catches a rule that is taken to stand in time when it does not, and a first probe that is looked for at the wrong connection or at the
// wrong setting.
func TestLateRule(t *testing.T) {
	now, err := kernel.MonotonicNow()
	if err != nil {
		t.Fatal(err)
	}
	if err := inTime(now + time.Minute); err != nil {
		t.Errorf("a minute before: got %v", err)
	}
	if err := inTime(now - 20*time.Millisecond); !errors.Is(err, ErrLate) || !strings.Contains(err.Error(), "the peer was to be dead") {
		t.Errorf("20 ms after: got %v, want %v", err, ErrLate)
	}
	for _, tt := range []struct {
		flags map[string]string
		want  time.Duration
	}{
		{map[string]string{"keepalive-time": "3"}, 3*time.Second + 4*betweenOpens},
		{map[string]string{"keepidle": "9"}, 9*time.Second + 4*betweenOpens},
		{map[string]string{"keepalive-time": "3", "cases": "1,8"}, 3*time.Second + betweenOpens},
		{map[string]string{"cases": "1,4,9"}, math.MaxInt64},
	} {
		if got, err := firstProbe(timeoutsEnv(t, Fast, "6.18", tt.flags), 0); err != nil || got < tt.want || got-tt.want > 4*time.Millisecond {
			t.Errorf("%v: got %v, %v, want %v", tt.flags, got, err, tt.want)
		}
	}
}
