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
	"github.com/tcplab/tcplab/lab"
)

// zeroWindowEnv is a 6.18 under the fast profile of exp7, with these options.
func zeroWindowEnv(t *testing.T, options ...string) Env {
	t.Helper()
	e := Env{Profile: Fast, Facts: facts(t, "6.18"), Options: find(t, "exp7-zero-window").Defaults(), Sysctls: map[string]string{
		"client.net.ipv4.tcp_retries2": "3", "client.net.ipv4.tcp_rto_max_ms": "120000", "client.net.ipv4.tcp_rto_min_us": "200000",
		"server.net.ipv4.tcp_invalid_ratelimit": "500",
	}}
	e.Options["drain-at"] = drainFast
	for _, o := range options {
		flag, value, _ := strings.Cut(o, "=")
		e.Options[flag] = value
	}
	return e
}

// TestZeroWindowPredict catches a prediction that does not reach the experiment, a watch that is too short to show what it is for, and an
// option that would change nothing and is taken.
func TestZeroWindowPredict(t *testing.T) {
	x := find(t, "exp7-zero-window")
	for _, tt := range []struct {
		name    string
		options []string
		probes  int
		end     timeline.What
		at      time.Duration
		calls   int
		states  string
	}{
		{"read again", nil, 3, timeline.EndOfStream, 3272 * time.Millisecond, 4, "TIME-WAIT | LISTEN"},
		{"gone", []string{"peer=gone"}, 3, timeline.SocketError, 3560 * time.Millisecond, 1, "CLOSED | ESTABLISHED"},
		{"never read", []string{"drain-at=never"}, 4, timeline.Quiet, 4 * time.Second, 2, "ESTABLISHED | ESTABLISHED"},
		{"watched for less", []string{"drain-at=never", "watch=1s"}, 1, timeline.Quiet, time.Second, 2, "ESTABLISHED | ESTABLISHED"},
		{"dies before it is read", []string{"user-timeout=1500"}, 3, timeline.SocketError, 2204 * time.Millisecond, 4, "CLOSED | LISTEN"},
		{"over 100 ms", []string{"rtt=100ms"}, 2, timeline.EndOfStream, 3572 * time.Millisecond, 4, "TIME-WAIT | LISTEN"},
		{"reset by a late answer", []string{"rtt=100ms", "user-timeout=750", "drain-at=never"}, 2, timeline.SocketError, 1754 * time.Millisecond, 2, "CLOSED | LISTEN"},
		{"TCP_USER_TIMEOUT alone", []string{"user-timeout=1500", "drain-at=never"}, 3, timeline.SocketError, 2204 * time.Millisecond, 2, "CLOSED | ESTABLISHED"},
	} {
		e := zeroWindowEnv(t, tt.options...)
		tl, err := x.Predict(e)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		probes := 0
		for _, ev := range tl.Events {
			if ev.What == timeline.WindowProbe {
				probes++
			}
		}
		s := x.States(e)
		states := s["client"][len(s["client"])-1] + " | " + s["server"][len(s["server"])-1]
		if o := tl.Outcome; probes != tt.probes || o.What != tt.end || (o.At-tt.at).Abs() > 5*time.Millisecond || len(x.Calls(e)) != tt.calls || states != tt.states {
			t.Errorf("%s: got %d probes, %v at %v, calls %v, states %s, want %+v", tt.name, probes, o.What, o.At, x.Calls(e), states, tt)
		}
	}
	for _, options := range [][]string{{"peer=gone", "drain-at=5s"}, {"watch=5s"}, {"peer=gone", "watch=5s"}} {
		last := options[len(options)-1]
		if _, err := x.Predict(zeroWindowEnv(t, options...)); err == nil || !strings.Contains(err.Error(), "--"+last) {
			t.Errorf("%v: got %v, want an error that names --%s", options, err, last)
		}
	}
	late := zeroWindowEnv(t).Moved(callDrain, time.Second) // the server's program was late, and the client's calls are not known yet
	if tl, err := x.Predict(late); err != nil || tl.Outcome.At < 4*time.Second {
		t.Errorf("read a second later: got %+v, %v", tl.Outcome, err)
	}
}

// TestZeroWindowSetup catches a server that reads when it should not.
func TestZeroWindowSetup(t *testing.T) {
	x := find(t, "exp7-zero-window")
	for options, want := range map[string]time.Duration{"": 3 * time.Second, "peer=gone": lab.NeverReads, "drain-at=never": lab.NeverReads, "drain-at=7s": 7 * time.Second} {
		if got := x.Setup(zeroWindowEnv(t, strings.Fields(options)...).Options).Listen[0].ReadAfter; got != want {
			t.Errorf("%q: got a server that reads after %v, want %v", options, got, want)
		}
	}
}

// TestZeroWindowRivals catches a rival that cannot be predicted, or that predicts the same as the truth.
func TestZeroWindowRivals(t *testing.T) {
	x := find(t, "exp7-zero-window")
	for _, options := range [][]string{nil, {"peer=gone"}, {"drain-at=never"}, {"user-timeout=1500"}, {"user-timeout=1500", "drain-at=never"}} {
		e := zeroWindowEnv(t, options...)
		truth, err := x.Predict(e)
		if err != nil {
			t.Fatal(err)
		}
		rivals := x.Rivals(e)
		if len(rivals) < 8 {
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

// closedRun is a result of exp7 with packets of these kinds after the handshake, 200 ms apart: a kind in capitals is dropped. Windows are 0 but
// for updates.
func closedRun(kinds ...timeline.What) *result.Result {
	r := &result.Result{}
	seq := uint32(1)
	for i, w := range kinds {
		what := timeline.What(strings.ToLower(string(w)))
		at := result.Seconds(time.Duration(i+1) * 200 * time.Millisecond)
		p := result.Packet{ID: i + 1, From: "client", What: string(what), SentAt: &at, Fate: result.Delivered}
		switch what {
		case timeline.Data:
			p.Len, p.RelSeq, seq = closingSize, seq, seq+closingSize
		case timeline.ACK, timeline.WindowProbeACK:
			p.From = "server"
		case timeline.WindowUpdate:
			p.From, p.Window = "server", closingSize
		}
		if w != what {
			p.Fate = result.Dropped
		}
		r.Packets = append(r.Packets, p)
	}
	return r
}

const goneProbe = "WINDOW-PROBE"

// livesOn ends what the program saw while the connection lives on, and sets the kernel's count of probes.
func livesOn(at time.Duration, counted uint64) func(*result.Result) {
	return func(r *result.Result) {
		ended(r, timeline.Quiet, "", at)
		r.Evidence.Counters[0].Added = counted
	}
}

// TestZeroWindowChecks catches a window that opens by itself, a timer of another kind, and a count of the kernel's that is another: each of
// them is a run that must fail.
func TestZeroWindowChecks(t *testing.T) {
	x := find(t, "exp7-zero-window")
	good := func() *result.Result {
		r := closedRun(timeline.Data, timeline.ACK, timeline.WindowProbe, timeline.WindowProbeACK, timeline.WindowProbe, timeline.WindowUpdate, timeline.Data, timeline.ACK)
		r.Samples = []result.Sample{{At: result.Seconds(100 * time.Millisecond), Host: "client", State: "ESTABLISHED"},
			{At: result.Seconds(401 * time.Millisecond), Host: "client", State: "ESTABLISHED"}, {At: result.Seconds(500 * time.Millisecond), Host: "client", State: "ESTABLISHED", Timer: "probe"},
			{At: result.Seconds(600 * time.Millisecond), Host: "server", State: "ESTABLISHED"}}
		r.Evidence = &result.Evidence{Counters: []result.Counter{{Host: "client", Name: "TcpExtTCPWinProbe", Added: 2}}}
		return r
	}
	for _, tt := range []struct {
		name  string
		spoil func(*result.Result)
		want  string // verdicts of the three checks
	}{
		{"as it should be", func(*result.Result) {}, "pass pass pass"},
		{"an answer with a window", func(r *result.Result) { r.Packets[3].Window = 100 }, "fail pass pass"},
		{"an update of another size", func(r *result.Result) { r.Packets[5].Window = 1000 }, "fail pass pass"},
		{"the window never closed", func(r *result.Result) { r.Packets[1].Window, r.Packets[7].Window = 500, 500 }, "fail skip pass"},
		{"another timer", func(r *result.Result) { r.Samples[2].Timer = "retransmit" }, "pass fail pass"},
		{"no timer", func(r *result.Result) { r.Samples[2].Timer = "" }, "pass fail pass"},
		{"a look that began before the window closed", func(r *result.Result) {
			r.Samples[2].Took, r.Samples[2].Timer = result.Seconds(100*time.Millisecond), "retransmit"
		}, "pass inconclusive pass"},
		{"a look while the timer fired", func(r *result.Result) {
			r.Samples = append(r.Samples, result.Sample{At: *r.Packets[2].SentAt + result.Seconds(time.Millisecond), Host: "client", State: "ESTABLISHED"})
		}, "pass pass pass"},
		{"no timer after it has fired", func(r *result.Result) {
			r.Samples = append(r.Samples, result.Sample{At: *r.Packets[2].SentAt + result.Seconds(20*time.Millisecond), Host: "client", State: "ESTABLISHED"})
		}, "pass fail pass"},
		{"nobody looked", func(r *result.Result) { r.Samples = r.Samples[:2] }, "pass inconclusive pass"},
		{"the kernel counts one more", func(r *result.Result) { r.Evidence.Counters[0].Added++ }, "pass pass fail"},
		{"it lived on, and asked while the counter was read", livesOn(700*time.Millisecond, 1), "pass pass pass"},
		{"it lived on, and the kernel counts one less", livesOn(700*time.Millisecond, 0), "pass pass fail"},
		{"it lived on, and asked no more", livesOn(1900*time.Millisecond, 1), "pass pass fail"},
		{"no counters", func(r *result.Result) { r.Evidence = nil }, "pass pass skip"},
		{"a capture with drops", func(r *result.Result) {
			r.Evidence.Counters[0].Added++
			r.Captures = []result.Capture{{Dropped: 1}}
		}, "pass pass inconclusive"},
	} {
		r := good()
		tt.spoil(r)
		var got []string
		for _, c := range x.Checks(zeroWindowEnv(t), r) {
			got = append(got, string(c.Verdict))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, s, tt.want)
		}
	}
}

// TestZeroWindowStory catches a sentence that says what did not happen.
func TestZeroWindowStory(t *testing.T) {
	x := find(t, "exp7-zero-window")
	const probe, answer = timeline.WindowProbe, timeline.WindowProbeACK
	gone := ended(closedRun(timeline.Data, timeline.ACK, goneProbe, goneProbe), timeline.SocketError, "ETIMEDOUT", 2*time.Second)
	gone.States = []result.State{{Host: "server", State: "ESTABLISHED"}}
	for _, tt := range []struct {
		name      string
		run       *result.Result
		want, not []string
	}{
		{"read again", ended(closedRun(timeline.Data, timeline.ACK, probe, answer, probe, answer, timeline.WindowUpdate, timeline.Data), timeline.EndOfStream, "", 2*time.Second),
			[]string{"two segments of 500 bytes", "2 times, first 0.200 s later and at last 0.400 s apart", "answered each of them", "At 1.400 s the server's program read", "had waited went at once"},
			[]string{"ETIMEDOUT", "INPUT", "left out"}},
		{"one answer left out", ended(closedRun(timeline.Data, timeline.ACK, probe, answer, probe), timeline.Quiet, "", 2*time.Second),
			[]string{"answered 1 of them at once, with window 0, and left out 1", "go on, with no end"}, []string{"ETIMEDOUT", "program read"}},
		{"gone", gone, []string{"died in the server's INPUT chain", "too many probes", "still has the connection"}, []string{"answered", "TCP_USER_TIMEOUT"}},
		{"user timeout, and a reset at last", ended(closedRun(timeline.Data, timeline.ACK, probe, answer, timeline.WindowUpdate, timeline.RST), timeline.SocketError, "ETIMEDOUT", time.Second),
			[]string{"asked by itself, once", "TCP_USER_TIMEOUT asks for progress", "got a reset"}, []string{"too many probes", "without waiting for the next probe"}},
		{"never returned", closedRun(timeline.Data, timeline.ACK, probe), []string{"still waited"}, []string{"go on"}},
		{"no data", closedRun(), []string{"wrote nothing"}, []string{"window"}},
		{"no closed window", closedRun(timeline.Data), []string{"did not close"}, []string{"ETIMEDOUT"}},
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

// TestZeroWindowScript compares the shell commands with the golden, so that a change is looked at: they are what a reader types.
func TestZeroWindowScript(t *testing.T) {
	x := find(t, "exp7-zero-window")
	for file, flags := range map[string]map[string]string{
		"exp7-zero-window.sh":       {"drain-at": "10s"},
		"exp7-zero-window-gone.sh":  {"peer": "gone", "retries2": "5"},
		"exp7-zero-window-never.sh": {"drain-at": "never"},
		"exp7-zero-window-user.sh":  {"user-timeout": "3000"},
	} {
		p, err := x.Plan(Textbook, flags, nil)
		if err != nil {
			t.Fatal(err)
		}
		labtest.Golden(t, file, strings.Join(x.Script(p), "\n")+"\n")
	}
}
