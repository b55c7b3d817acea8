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

// finEnv is exp8 with flags under a profile, on a 6.18 with its defaults.
func finEnv(t *testing.T, p Profile, flags map[string]string) Env {
	t.Helper()
	plan, err := find(t, "exp8-fin-loss").Plan(p, flags, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := Env{Profile: p, Facts: facts(t, "6.18"), Options: plan.Options, Sysctls: map[string]string{}}
	for _, host := range []string{"client", "server"} {
		for name, v := range map[string]string{"tcp_orphan_retries": "0", "tcp_retries2": "15", "tcp_fin_timeout": "60", "tcp_sack": "1", "tcp_early_retrans": "3",
			"tcp_rto_min_us": "200000", "tcp_rto_max_ms": "120000"} {
			e.Sysctls[host+".net.ipv4."+name] = v
		}
	}
	for _, s := range plan.Settings {
		e.Sysctls[s.Host+"."+s.Name] = s.Value
	}
	return e
}

// TestFINLossFlags catches a flag that does not reach the prediction: when each end's socket is gone, in seconds by the formula.
func TestFINLossFlags(t *testing.T) {
	for _, tt := range []struct {
		flags map[string]string
		want  string
	}{
		{nil, "client 2.032"},
		{map[string]string{"orphan-retries": "3"}, "client 6.928"},
		{map[string]string{"orphan-retries": "0", "rto-max-ms": "1000"}, "client 3.032"},
		{map[string]string{"user-timeout": "700"}, "client 1.508"},
		{map[string]string{"lose": "none"}, "client 2.400"},
		{map[string]string{"lose": "none", "fin-timeout": "75"}, "client 30.400"},
		{map[string]string{"lose": "none", "linger2": "3"}, "client 3.400"},
		{map[string]string{"lose": "none", "linger2": "-1"}, "client 0.400, server 0.400"},
		{map[string]string{"lose": "none", "close": "both"}, "server 0.700, client 60.700"},
		{map[string]string{"close": "both", "server-fin-timeout": "1", "server-after": "500ms"}, "server 1.900, client 2.032"},
		{map[string]string{"lose": "second-fin", "close": "both", "server-orphan-retries": "2"}, "client 2.400, server 3.964"},
		{map[string]string{"lose": "last-ack", "close": "both"}, "server 2.332, client 61.516"},
		{map[string]string{"call": "shutdown", "retries2": "1"}, "client 2.032"},
		{map[string]string{"rtt": "100ms"}, "client 1.816"},                                                 // 0.6, twice 304 ms, and 608 ms, past 600 ms
		{map[string]string{"rtt": "100ms", "lose": "none", "close": "both"}, "server 1.000, client 60.950"}, // 0.9 and a round trip; 60 s from the FIN's arrival
		{map[string]string{"rtt": "200ms", "lose": "none"}, "client 3.116"},                                 // 0.8, a round trip, and 3.5 RTOs of 604 ms
	} {
		tl, err := predictFINLoss(finEnv(t, Fast, tt.flags))
		if err != nil {
			t.Fatalf("%v: %v", tt.flags, err)
		}
		var got []string
		for _, e := range tl.Events {
			if e.What == timeline.SocketGone {
				got = append(got, e.Host+" "+strings.TrimSuffix(seconds(e.At), " s"))
			}
		}
		if s := strings.Join(got, ", "); s != tt.want {
			t.Errorf("%v: got %s, want %s", tt.flags, s, tt.want)
		}
	}
	for _, lose := range []string{"second-fin", "last-ack"} {
		if _, err := predictFINLoss(finEnv(t, Fast, map[string]string{"lose": lose})); err == nil || !strings.Contains(err.Error(), "--close=both") {
			t.Errorf("--lose=%s of a server that never closes: got %v, want an error that says what to add", lose, err)
		}
	}
}

// TestFINLossStates catches an end that is expected in a state that its packets do not bring it to.
func TestFINLossStates(t *testing.T) {
	for _, tt := range []struct {
		flags          map[string]string
		client, server string
	}{
		{nil, "(SYN-SENT) ESTABLISHED FIN-WAIT-1 CLOSED", "(LISTEN) (SYN-RECV) ESTABLISHED"},
		{map[string]string{"lose": "none"}, "(SYN-SENT) ESTABLISHED (FIN-WAIT-1) FIN-WAIT-2 CLOSED", "(LISTEN) (SYN-RECV) ESTABLISHED CLOSE-WAIT"},
		{map[string]string{"close": "both"}, "(SYN-SENT) ESTABLISHED (FIN-WAIT-1) CLOSING CLOSED",
			"(LISTEN) (SYN-RECV) ESTABLISHED (FIN-WAIT-1) FIN-WAIT-2 (CLOSED) LISTEN"},
		{map[string]string{"close": "both", "lose": "last-ack"}, "(SYN-SENT) ESTABLISHED (FIN-WAIT-1) (FIN-WAIT-2) TIME-WAIT CLOSED",
			"(LISTEN) (SYN-RECV) ESTABLISHED (CLOSE-WAIT) LAST-ACK (CLOSED) LISTEN"},
	} {
		got := statesOfFINLoss(finEnv(t, Fast, tt.flags))
		if c, s := strings.Join(got["client"], " "), strings.Join(got["server"], " "); c != tt.client || s != tt.server {
			t.Errorf("%v: got %s | %s, want %s | %s", tt.flags, c, s, tt.client, tt.server)
		}
	}
}

// finRun is a result of exp8's fast profile as it should be: a FIN that is lost four times, and a socket that is gone.
func finRun() *result.Result {
	r := &result.Result{Prediction: &result.Prediction{Events: []result.Event{{Host: "client", What: string(timeline.FINAgain), N: 1}}}}
	add := func(from, to string, what timeline.What, at time.Duration, fate result.Fate) {
		s := result.Seconds(at)
		r.Packets = append(r.Packets, result.Packet{ID: len(r.Packets) + 1, From: from, To: to, What: string(what), SentAt: &s, ArrivedAt: &s, Fate: fate, Seq: 77})
	}
	add("client", "server", timeline.SYN, 0, result.Delivered)
	add("server", "client", timeline.SYNACK, 0, result.Delivered)
	for i, at := range []time.Duration{400, 606, 814, 1246} {
		what := timeline.FINAgain
		if i == 0 {
			what = timeline.FIN
		}
		add("client", "server", what, at*time.Millisecond, result.Dropped)
	}
	since, seen := result.Seconds(2077*time.Millisecond), result.Seconds(2078*time.Millisecond)
	r.Events = []result.Event{{Host: "client", What: string(timeline.SocketGone), Since: &since, Seen: &seen}}
	r.States = []result.State{{Host: "client", State: "ESTABLISHED"}, {Host: "client", State: "FIN-WAIT-1", At: result.Seconds(400 * time.Millisecond)},
		{Host: "client", State: "CLOSED", At: seen}, {Host: "server", State: "ESTABLISHED"}}
	return r
}

// waiting is a result with a sample of the timer of FIN-WAIT-2, armed when a packet came at 401 ms and looked at a millisecond later.
func waiting(timer string, left time.Duration) *result.Result {
	r := finRun()
	at := result.Seconds(401 * time.Millisecond)
	r.Packets = append(r.Packets[:3:3], result.Packet{ID: 4, From: "server", To: "client", What: string(timeline.ACK), SentAt: &at, ArrivedAt: &at, Fate: result.Delivered})
	r.Samples = []result.Sample{{Host: "client", State: "FIN-WAIT-2", Timer: timer, At: at + result.Seconds(time.Millisecond), Expires: result.Seconds(left)}}
	return r
}

// TestFINLossChecks is the negative control of each check: a run that is right passes, and one that is wrong in one way does not.
func TestFINLossChecks(t *testing.T) {
	none := map[string]string{"lose": "none"}
	long := map[string]string{"lose": "none", "fin-timeout": "70"}
	for _, tt := range []struct {
		name  string
		flags map[string]string
		run   *result.Result
		spoil func(*result.Result)
		id    string
		want  result.Verdict
	}{
		{"right", nil, finRun(), nil, "", result.Pass},
		{"another number", nil, finRun(), func(r *result.Result) { r.Packets[4].Seq = 78 }, "same-fin-client", result.Fail},
		{"data in it", nil, finRun(), func(r *result.Result) { r.Packets[5].Len = 1 }, "same-fin-client", result.Fail},
		{"no repeat", nil, finRun(), func(r *result.Result) { r.Packets = r.Packets[:3] }, "same-fin-client", result.Skip},
		{"gone too soon", nil, finRun(), func(r *result.Result) { *r.Events[0].Seen = result.Seconds(1400 * time.Millisecond) }, "time-limit-client", result.Fail},
		{"a repeat after the limit", nil, finRun(), func(r *result.Result) { *r.Packets[5].SentAt = result.Seconds(1500 * time.Millisecond) }, "time-limit-client", result.Fail},
		{"never gone", nil, finRun(), func(r *result.Result) { r.Events = nil }, "time-limit-client", result.Skip},
		{"a reset", nil, finRun(), func(r *result.Result) { r.Packets[5].What = string(timeline.RST) }, "resets", result.Fail},
		{"a capture that lost packets", nil, finRun(), func(r *result.Result) {
			r.Packets[5].What, r.Checks = string(timeline.RST), []result.Check{{Verdict: result.Inconclusive, Code: explain.CaptureDrops}}
		}, "resets", result.Inconclusive},
		{"timer", none, waiting("time-wait", 1999*time.Millisecond), nil, "wait-timer-client", result.Pass},
		{"a shorter timer", none, waiting("time-wait", 1900*time.Millisecond), nil, "wait-timer-client", result.Fail},
		{"a longer timer", none, waiting("time-wait", 2100*time.Millisecond), nil, "wait-timer-client", result.Fail},
		{"a longer timer, stalled", none, waiting("time-wait", 2100*time.Millisecond), func(r *result.Result) { r.Stalls = []result.Stall{{}} }, "wait-timer-client", result.Inconclusive},
		{"a longer timer, and a look that took as long", none, waiting("time-wait", 2100*time.Millisecond), func(r *result.Result) { r.Samples[0].Took = result.Seconds(100 * time.Millisecond) }, "wait-timer-client", result.Inconclusive},
		{"a longer timer, and a look that took less", none, waiting("time-wait", 2100*time.Millisecond), func(r *result.Result) { r.Samples[0].Took = result.Seconds(50 * time.Millisecond) }, "wait-timer-client", result.Fail},
		{"a shorter timer, in a look in which another packet came", none, waiting("time-wait", 1900*time.Millisecond), func(r *result.Result) { r.Samples[0].Took = result.Seconds(2 * time.Millisecond) }, "wait-timer-client", result.Inconclusive},
		{"above 60 s: the excess", long, waiting("keepalive", 9999*time.Millisecond), nil, "wait-timer-client", result.Pass},
		{"above 60 s: all of it", long, waiting("keepalive", 69999*time.Millisecond), nil, "wait-timer-client", result.Fail},
	} {
		if tt.spoil != nil {
			tt.spoil(tt.run)
		}
		found := tt.id == ""
		for _, c := range checksOfFINLoss(finEnv(t, Fast, tt.flags), tt.run) {
			if found = found || c.ID == tt.id; (c.ID == tt.id || tt.id == "") && c.Verdict != tt.want {
				t.Errorf("%s: check %s: got %s (%s, observed %s), want %s", tt.name, c.ID, c.Verdict, c.Detail, c.Observed, tt.want)
			}
		}
		if !found {
			t.Errorf("%s: got no check %s", tt.name, tt.id)
		}
	}
}

// TestFINLossStory catches a sentence that says what did not happen.
func TestFINLossStory(t *testing.T) {
	x := find(t, "exp8-fin-loss")
	for _, tt := range []struct {
		name      string
		run       *result.Result
		spoil     func(*result.Result)
		want, not []string
	}{
		{"orphan", finRun(), nil, []string{"died behind its capture, each time. [3 4 5 6]", "sent that FIN again, 3 times", "first wait was 0.206 s, the last one 0.432 s", "last state was FIN-WAIT-1",
			"server's socket was still there, in ESTABLISHED"}, []string{"server's program closed", "reset", "TIME-WAIT"}},
		{"a repeat that got through", finRun(), func(r *result.Result) { r.Packets[5].Fate = result.Delivered }, nil, []string{"each time"}},
		{"FIN-WAIT-2", waiting("time-wait", 2*time.Second), func(r *result.Result) { r.States[1].State = "FIN-WAIT-2" }, []string{"waited in FIN-WAIT-2", "1.678 s after"}, []string{"last state was"}},
		{"nothing", &result.Result{}, nil, []string{"No capture shows a FIN"}, []string{"first packet"}},
		{"shutdown", finRun(), func(r *result.Result) {
			seen := result.Seconds(7 * time.Second)
			r.Outcome = &result.Event{What: string(timeline.SocketError), Seen: &seen, SeenErr: "ETIMEDOUT"}
		}, []string{"learnt ETIMEDOUT from read() after 7.000 s"}, []string{"waited in read() to the end"}},
	} {
		if tt.spoil != nil {
			tt.spoil(tt.run)
		}
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

// TestFINLossScript compares the shell commands with the golden, so that a change is looked at: they are what a reader types.
func TestFINLossScript(t *testing.T) {
	x := find(t, "exp8-fin-loss")
	for file, flags := range map[string]map[string]string{
		"exp8-fin-loss.sh":          nil,
		"exp8-fin-loss-last-ack.sh": {"lose": "last-ack", "close": "both", "orphan-retries": "3"},
		"exp8-fin-loss-shutdown.sh": {"call": "shutdown", "lose": "none", "linger2": "5", "user-timeout": "1000"},
	} {
		p, err := x.Plan(Textbook, flags, nil)
		if err != nil {
			t.Fatal(err)
		}
		labtest.Golden(t, file, strings.Join(x.Script(p), "\n")+"\n")
	}
}
