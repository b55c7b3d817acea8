package experiments

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// keepaliveEnv is a 6.18 under the fast profile of exp4, with these options.
func keepaliveEnv(t *testing.T, options ...string) Env {
	t.Helper()
	e := Env{Profile: Fast, Facts: facts(t, "6.18"), Options: find(t, "exp4-keepalive").Defaults(), Sysctls: map[string]string{
		"client.net.ipv4.tcp_keepalive_time": "1", "client.net.ipv4.tcp_keepalive_intvl": "1", "client.net.ipv4.tcp_keepalive_probes": "2",
		"server.net.ipv4.tcp_invalid_ratelimit": "500",
	}}
	for _, o := range options {
		flag, value, _ := strings.Cut(o, "=")
		e.Options[flag] = value
	}
	return e
}

// TestKeepalivePredict catches a prediction that does not reach the experiment, and a watch that is too short to show what it is for.
func TestKeepalivePredict(t *testing.T) {
	x := find(t, "exp4-keepalive")
	const s = time.Second
	for _, tt := range []struct {
		name     string
		options  []string
		probes   []time.Duration
		end      timeline.What
		errno    string
		at       time.Duration
		shutdown time.Duration // planned call; 0: none
	}{
		{"gone", nil, []time.Duration{s, 2 * s}, timeline.SocketError, "ETIMEDOUT", 3 * s, 0},
		{"gone, options of the socket", []string{"keepidle=2", "keepintvl=3", "keepcnt=1"}, []time.Duration{2 * s}, timeline.SocketError, "ETIMEDOUT", 5 * s, 0},
		{"gone, TCP_USER_TIMEOUT", []string{"user-timeout=3500"}, []time.Duration{s, 2 * s, 3 * s}, timeline.SocketError, "ETIMEDOUT", 4 * s, 0},
		{"alive: three rounds", []string{"peer=alive"}, []time.Duration{s, 2 * s, 3 * s}, timeline.EndOfStream, "", 3500 * time.Millisecond, 3500 * time.Millisecond},
		{"alive, watched for less", []string{"peer=alive", "watch=1.5s"}, []time.Duration{s}, timeline.EndOfStream, "", 1500 * time.Millisecond, 1500 * time.Millisecond},
		{"off: a tenth longer than keepalive would take", []string{"no-keepalive=yes"}, nil, timeline.Quiet, "", 3300 * time.Millisecond, 0},
		{"off, alive", []string{"no-keepalive=yes", "peer=alive", "watch=2s"}, nil, timeline.EndOfStream, "", 2 * s, 2 * s},
	} {
		e := keepaliveEnv(t, tt.options...)
		tl, err := x.Predict(e)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		var probes []time.Duration
		for _, ev := range tl.Events {
			if ev.What == timeline.KeepaliveProbe {
				probes = append(probes, ev.At)
			}
		}
		o := tl.Outcome
		if d := cmp.Diff(tt.probes, probes); d != "" || o == nil || o.What != tt.end || o.Errno != tt.errno || o.At.Round(100*time.Millisecond) != tt.at {
			t.Errorf("%s: got %+v, probes (-want +got):\n%s", tt.name, o, d)
		}
		calls := x.Calls(e)
		if tt.shutdown == 0 && len(calls) > 1 || tt.shutdown != 0 && (len(calls) != 2 || calls[1].At != tt.shutdown) {
			t.Errorf("%s: got calls %v, want a shutdown at %v", tt.name, calls, tt.shutdown)
		}
	}
	if _, err := x.Predict(keepaliveEnv(t, "watch=3s")); err == nil || !strings.Contains(err.Error(), "--watch=3s") {
		t.Errorf("got %v, want an error that names --watch: it would change nothing", err)
	}
	late := keepaliveEnv(t, "peer=alive").Moved("shutdown", time.Second)
	if tl, err := x.Predict(late); err != nil || tl.Outcome.At.Round(100*time.Millisecond) != 4500*time.Millisecond {
		t.Errorf("a call made a second later: got %+v, %v", tl.Outcome, err)
	}
}

// TestKeepaliveParameters changes one parameter after the other. It catches one that Run uses and Predict forgets.
func TestKeepaliveParameters(t *testing.T) {
	x := find(t, "exp4-keepalive")
	other := map[string]string{"keepalive-time": "3", "keepalive-intvl": "3", "keepalive-probes": "3", "keepidle": "3", "keepintvl": "3", "keepcnt": "3",
		"user-timeout": "4500", "no-keepalive": "yes", "peer": "alive", "watch": "2s", "rtt": "20ms", "jitter": "20ms", "seed": "2"}
	for _, q := range x.Params {
		if q.Flag == "ipv6" {
			continue // the kernel's TCP does the same over both
		}
		options := []string(nil)
		if q.Flag == "watch" {
			options = []string{"no-keepalive=yes"}
		}
		if q.Flag == jitterFlag {
			options = []string{"rtt=100ms"}
		}
		if q.Flag == "seed" {
			options = []string{"rtt=100ms", "jitter=20ms"}
		}
		base, err := x.Predict(keepaliveEnv(t, options...))
		if err != nil {
			t.Fatal(err)
		}
		e := keepaliveEnv(t, options...)
		if q.Sysctl != "" {
			e = e.With(q.Host, q.Sysctl, other[q.Flag])
		} else {
			e.Options[q.Flag] = other[q.Flag]
		}
		if got, err := x.Predict(e); err != nil || cmp.Equal(base, got) {
			t.Errorf("--%s=%s: got the same prediction as without, %v", q.Flag, other[q.Flag], err)
		}
	}
}

// TestKeepaliveRivals catches a rival that cannot be predicted, or that predicts the same as the truth.
func TestKeepaliveRivals(t *testing.T) {
	x := find(t, "exp4-keepalive")
	for _, options := range [][]string{nil, {"peer=alive"}, {"no-keepalive=yes"}, {"user-timeout=2500"}, {"keepidle=2", "keepcnt=3"}} {
		e := keepaliveEnv(t, options...)
		truth, err := x.Predict(e)
		if err != nil {
			t.Fatal(err)
		}
		rivals := x.Rivals(e)
		if len(rivals) < 2 {
			t.Errorf("%v: got %d rivals, want more", options, len(rivals))
		}
		for _, r := range rivals {
			got, err := x.Predict(r.Env)
			if _, known := explain.Lookup(r.Code); err != nil || cmp.Equal(truth, got) || !known {
				t.Errorf("%v: %s (%s): got the prediction of the truth, or %v", options, r.Text, r.Code, err)
			}
		}
	}
}

// quietRun is a result of exp4 with packets of these kinds, the client's but for answers, one a second after the handshake; an empty kind is a second of silence.
func quietRun(fate result.Fate, kinds ...timeline.What) *result.Result {
	r := &result.Result{}
	add := func(what timeline.What, at time.Duration) {
		from := "client"
		if what == timeline.SYNACK || what == timeline.KeepaliveACK {
			from = "server"
		}
		sent := result.Seconds(at)
		p := result.Packet{ID: len(r.Packets) + 1, From: from, What: string(what), SentAt: &sent, Fate: result.Delivered}
		if at >= time.Second {
			p.Fate = fate
		}
		r.Packets = append(r.Packets, p)
	}
	for _, w := range []timeline.What{timeline.SYN, timeline.SYNACK, timeline.ACK} {
		add(w, 0)
	}
	for i, w := range kinds {
		if w == "" {
			continue
		}
		add(w, time.Duration(i+1)*time.Second)
	}
	return r
}

func ended(r *result.Result, what timeline.What, errno string, at time.Duration) *result.Result {
	seen := result.Seconds(at)
	r.Outcome = &result.Event{What: string(what), Seen: &seen, SeenErr: errno, At: seen - result.Seconds(300*time.Millisecond), Verdict: result.Pass}
	return r
}

// TestKeepaliveSilence catches a silence that is broken and not noticed, and one that nobody waited for.
func TestKeepaliveSilence(t *testing.T) {
	x := find(t, "exp4-keepalive")
	off := []string{"no-keepalive=yes", "watch=5s"}
	for _, tt := range []struct {
		name    string
		options []string
		run     *result.Result
		want    result.Verdict
	}{
		{"probes after the idle time", nil, quietRun(result.Dropped, timeline.KeepaliveProbe), result.Pass},
		{"probes too soon", []string{"keepidle=2"}, quietRun(result.Dropped, timeline.KeepaliveProbe), result.Fail},
		{"no probe", nil, quietRun(result.Dropped), result.Inconclusive},
		{"no connection", nil, &result.Result{}, result.Fail},
		{"off, silent", off, ended(quietRun(result.Dropped), timeline.Quiet, "", 5*time.Second), result.Pass},
		{"off, a probe all the same", off, ended(quietRun(result.Dropped, timeline.KeepaliveProbe), timeline.Quiet, "", 5*time.Second), result.Fail},
		{"off, hung up", off, ended(quietRun(result.Dropped, "", "", "", "", timeline.FIN), timeline.EndOfStream, "", 5*time.Second), result.Pass},
		{"off, cut short", off, quietRun(result.Dropped), result.Inconclusive},
	} {
		if got := x.Checks(keepaliveEnv(t, tt.options...), tt.run); len(got) != 1 || got[0].Verdict != tt.want {
			t.Errorf("%s: got %+v, want %s", tt.name, got, tt.want)
		}
	}
	lossy := quietRun(result.Dropped, timeline.KeepaliveProbe)
	lossy.Captures = []result.Capture{{Host: "client", Dropped: 1}}
	if got := x.Checks(keepaliveEnv(t), lossy); got[0].Verdict != result.Inconclusive {
		t.Errorf("a capture with drops: got %+v, want inconclusive", got)
	}
}

// TestKeepaliveStates catches a server that is expected to learn of an end that nobody tells it.
func TestKeepaliveStates(t *testing.T) {
	x := find(t, "exp4-keepalive")
	for options, want := range map[string]string{
		"":                               "(SYN-SENT) ESTABLISHED CLOSED | (LISTEN) (SYN-RECV) ESTABLISHED",
		"no-keepalive=yes":               "(SYN-SENT) ESTABLISHED | (LISTEN) (SYN-RECV) ESTABLISHED",
		"peer=alive":                     "(SYN-SENT) ESTABLISHED (FIN-WAIT-1) (FIN-WAIT-2) TIME-WAIT | (LISTEN) (SYN-RECV) ESTABLISHED (CLOSE-WAIT) (LAST-ACK) LISTEN",
		"peer=alive keepcnt=1 watch=99s": "(SYN-SENT) ESTABLISHED (FIN-WAIT-1) (FIN-WAIT-2) TIME-WAIT | (LISTEN) (SYN-RECV) ESTABLISHED (CLOSE-WAIT) (LAST-ACK) LISTEN",
	} {
		got := x.States(keepaliveEnv(t, strings.Fields(options)...))
		if line := strings.Join(got["client"], " ") + " | " + strings.Join(got["server"], " "); line != want {
			t.Errorf("%q: got %s, want %s", options, line, want)
		}
	}
	dead := keepaliveEnv(t, "peer=alive").With("client", "net.ipv4.tcp_keepalive_probes", "0")
	if got := strings.Join(x.States(dead)["server"], " "); !strings.HasSuffix(got, "ESTABLISHED LISTEN") {
		t.Errorf("a reset that arrives: got %s", got)
	}
}

// TestKeepaliveStory catches a sentence that says what did not happen.
func TestKeepaliveStory(t *testing.T) {
	x := find(t, "exp4-keepalive")
	probe, answer := timeline.KeepaliveProbe, timeline.KeepaliveACK
	gone := ended(quietRun(result.Dropped, probe, probe, timeline.RST), timeline.SocketError, "ETIMEDOUT", 3300*time.Millisecond)
	gone.States = []result.State{{Host: "server", State: "ESTABLISHED"}}
	silent := ended(quietRun(result.Dropped), timeline.Quiet, "", 5*time.Second)
	silent.Rules, silent.States = []result.Rule{{}}, []result.State{{Host: "client", State: "ESTABLISHED"}}
	for _, tt := range []struct {
		name      string
		run       *result.Result
		want, not []string
	}{
		{"gone", gone, []string{"After 1.000 s of silence", "any of the 2 probes. [4 5]", "died in the server's INPUT chain. [4 5 6]", "At 3.300 s", "returned ETIMEDOUT. [6]",
			"still has the connection as ESTABLISHED", "300 ms later"}, []string{"answered by the server"}},
		{"alive", ended(quietRun(result.Delivered, probe, answer, timeline.FIN, timeline.ACK), timeline.EndOfStream, "", 4*time.Second),
			[]string{"Of 1 probe, 1 was answered", "alive all the time. [6 7]"}, []string{"INPUT", "ETIMEDOUT", "No answer"}},
		{"silent", silent, []string{"sent nothing at all", "no packet can pass"}, []string{"probe"}},
		{"meant to be silent", ended(quietRun(result.Dropped, probe), timeline.Quiet, "", 5*time.Second), []string{"No answer came to it"}, []string{"nothing at all"}},
		{"a reset that a rule did not catch", ended(quietRun(result.Delivered, probe, timeline.RST), timeline.SocketError, "ETIMEDOUT", 2*time.Second), nil,
			[]string{"INPUT", "still has the connection"}},
		{"never returned", quietRun(result.Dropped, probe), []string{"had not returned"}, []string{"gave up"}},
		{"nothing", &result.Result{}, []string{"No connection came about"}, []string{"Three packets"}},
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

// TestKeepaliveScript compares the shell commands with the golden, so that a change is looked at: they are what a reader types.
func TestKeepaliveScript(t *testing.T) {
	x := find(t, "exp4-keepalive")
	for file, flags := range map[string]map[string]string{
		"exp4-keepalive.sh":       {"keepalive-time": "10", "keepalive-intvl": "5", "keepalive-probes": "3"},
		"exp4-keepalive-alive.sh": {"peer": "alive", "keepidle": "10", "watch": "35s"},
		"exp4-keepalive-off.sh":   {"no-keepalive": "yes"},
	} {
		p, err := x.Plan(Textbook, flags, nil)
		if err != nil {
			t.Fatal(err)
		}
		labtest.Golden(t, file, strings.Join(x.Script(p), "\n")+"\n")
	}
}
