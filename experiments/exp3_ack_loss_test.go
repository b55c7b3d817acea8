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

// ackLossEnv is a 6.18 under a profile of exp3, with these options.
func ackLossEnv(t *testing.T, p Profile, options ...string) Env {
	t.Helper()
	e := Env{Profile: p, Facts: facts(t, "6.18"), Sysctls: map[string]string{
		"client.net.ipv4.tcp_retries2": "15", "client.net.ipv4.tcp_early_retrans": "3", "client.net.ipv4.tcp_rto_max_ms": "120000",
		"client.net.ipv4.tcp_rto_min_us": "200000", "client.net.ipv4.tcp_sack": "1", "server.net.ipv4.tcp_sack": "1",
		"client.net.ipv4.tcp_thin_linear_timeouts": "0", "server.net.ipv4.tcp_synack_retries": "5", "client.net.ipv4.tcp_invalid_ratelimit": "500", "server.net.ipv4.tcp_invalid_ratelimit": "500",
	}}
	flags := map[string]string{}
	for _, o := range options {
		flag, value, _ := strings.Cut(o, "=")
		flags[flag] = value
	}
	plan, err := find(t, "exp3-ack-loss").Plan(p, flags, nil)
	if err != nil {
		t.Fatal(err)
	}
	e.Options = plan.Options
	for _, s := range plan.Settings {
		e.Sysctls[s.Host+"."+s.Name] = s.Value
	}
	return e
}

// TestACKLossPredict catches a prediction that does not reach the experiment: how often the data are repeated, and when it ends.
func TestACKLossPredict(t *testing.T) {
	x := find(t, "exp3-ack-loss")
	for _, tt := range []struct {
		name                        string
		profile                     Profile
		options                     []string
		synACKs, challenges, probes int
		rtos                        int
		end                         time.Duration // since the write
		early, late                 time.Duration
	}{
		{"textbook", Textbook, nil, 5, 5, 0, 15, 928692 * time.Millisecond, 937 * time.Second, 940 * time.Second},
		{"kernel", Kernel, nil, 5, 5, 1, 15, 928896 * time.Millisecond, 937 * time.Second, 940 * time.Second},
		{"fast", Fast, nil, 1, 1, 1, 4, 6528 * time.Millisecond, 6600 * time.Millisecond, 6900 * time.Millisecond},
		{"mid", Fast, []string{"cut=mid"}, 0, 0, 1, 4, 6528 * time.Millisecond, 6600 * time.Millisecond, 6900 * time.Millisecond},
		{"TCP_USER_TIMEOUT", Fast, []string{"user-timeout=2000"}, 1, 1, 1, 3, 2408 * time.Millisecond, 2400 * time.Millisecond, 2500 * time.Millisecond},
	} {
		e := ackLossEnv(t, tt.profile, tt.options...)
		tl, err := x.Predict(e)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		n := map[timeline.What]int{}
		for _, ev := range tl.Events {
			n[ev.What]++
		}
		if n[timeline.SYNACKAgain] != tt.synACKs || n[timeline.ChallengeACK] != tt.challenges || n[timeline.TailLossProbe] != tt.probes || n[timeline.RTORetransmission] != tt.rtos {
			t.Errorf("%s: got %v, want %d SYN-ACKs, %d challenge ACKs, %d probes, %d RTO retransmissions", tt.name, n, tt.synACKs, tt.challenges, tt.probes, tt.rtos)
		}
		idle := x.Calls(e)[len(x.Calls(e))-1].At
		o := tl.Outcome
		if o == nil || o.Errno != "ETIMEDOUT" || o.Earliest-idle < tt.early || o.Latest-idle > tt.late || (o.At-idle-tt.end).Abs() > 4*time.Millisecond {
			t.Errorf("%s: got an end of %+v, want ETIMEDOUT %v after the write by the formula, within %v..%v", tt.name, o, tt.end, tt.early, tt.late)
		}
	}
	if got, err := x.Predict(ackLossEnv(t, Fast).Moved("write", time.Second)); err != nil || got.Outcome.At < 11*time.Second {
		t.Errorf("a write made a second later: got %+v, %v, want a later end", got.Outcome, err)
	}
	if _, err := x.Plan(Fast, map[string]string{"idle": "10ms"}, nil); err == nil || !strings.Contains(err.Error(), "--idle=10ms") {
		t.Errorf("--idle=10ms: got %v, want an error that names it", err)
	}
}

// TestACKLossParameters changes one parameter after the other. It catches one that Run uses and Predict forgets.
func TestACKLossParameters(t *testing.T) {
	x := find(t, "exp3-ack-loss")
	other := map[string]string{"synack-retries": "2", "retries2": "5", "early-retrans": "0", "rto-max-ms": "1000", "rto-min-us": "100000", "user-timeout": "1500",
		"idle": "2s", "cut": "mid", "rtt": "20ms", "jitter": "20ms", "seed": "2"}
	for _, q := range x.Params {
		if q.Flag == "ipv6" {
			continue // the kernel's TCP does the same over both
		}
		var options []string
		switch q.Flag {
		case jitterFlag:
			options = []string{"rtt=100ms"}
		case "seed":
			options = []string{"rtt=100ms", "jitter=20ms"}
		}
		base, err := x.Predict(ackLossEnv(t, Fast, options...))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := x.Predict(ackLossEnv(t, Fast, append(options, q.Flag+"="+other[q.Flag])...)); err != nil || cmp.Equal(base, got) {
			t.Errorf("--%s=%s: got the same prediction as without, %v", q.Flag, other[q.Flag], err)
		}
	}
	for _, knob := range []string{"client tcp_sack=0", "server tcp_sack=0", "client tcp_thin_linear_timeouts=1", "client tcp_invalid_ratelimit=5000"} {
		host, rest, _ := strings.Cut(knob, " ")
		name, value, _ := strings.Cut(rest, "=")
		e := ackLossEnv(t, Fast, "synack-retries=3", "idle=2s")
		base, _ := x.Predict(e)
		if got, err := x.Predict(e.With(host, "net.ipv4."+name, value)); err != nil || cmp.Equal(base, got) {
			t.Errorf("%s: got the same prediction as without, %v", knob, err)
		}
	}
}

// TestACKLossRivals catches a rival that cannot be predicted, or that predicts the same as the truth.
func TestACKLossRivals(t *testing.T) {
	x := find(t, "exp3-ack-loss")
	for _, options := range [][]string{nil, {"cut=mid"}, {"user-timeout=2500"}, {"early-retrans=4"}, {"early-retrans=1"}, {"rtt=100ms", "jitter=20ms", "seed=3"}} {
		e := ackLossEnv(t, Fast, options...)
		truth, err := x.Predict(e)
		if err != nil {
			t.Fatal(err)
		}
		rivals := x.Rivals(e)
		if len(rivals) < 5 {
			t.Errorf("%v: got %d rivals, want several", options, len(rivals))
		}
		for _, r := range rivals {
			got, err := x.Predict(r.Env)
			if _, known := explain.Lookup(r.Code); err != nil || cmp.Equal(truth, got) || !known {
				t.Errorf("%v: %s (%s): got the prediction of the truth, or %v", options, r.Text, r.Code, err)
			}
			for _, flag := range r.Flags {
				name, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
				if _, err := x.Plan(Textbook, map[string]string{name: value}, nil); err != nil {
					t.Errorf("%v: %s: %v", options, r.Text, err)
				}
			}
		}
	}
}

// TestACKLossStates catches a server that is expected to learn of an end that nobody tells it.
func TestACKLossStates(t *testing.T) {
	x := find(t, "exp3-ack-loss")
	for options, want := range map[string]string{
		"cut=start": "(SYN-SENT) ESTABLISHED CLOSED | (LISTEN) SYN-RECV LISTEN",
		"cut=mid":   "(SYN-SENT) ESTABLISHED CLOSED | (LISTEN) (SYN-RECV) ESTABLISHED",
	} {
		got := x.States(ackLossEnv(t, Fast, options))
		if line := strings.Join(got["client"], " ") + " | " + strings.Join(got["server"], " "); line != want {
			t.Errorf("%s: got %s, want %s", options, line, want)
		}
	}
}

// lostRun is a finished run of exp3: the handshake, a write at 3.5 s, a probe and four repeats, and the end.
func lostRun() *result.Result {
	r := &result.Result{}
	add := func(from string, what timeline.What, n int, at float64, seq, ack uint32, length int) {
		sent := result.Seconds(at * 1e9)
		p := result.Packet{ID: len(r.Packets) + 1, From: from, What: string(what), N: n, SentAt: &sent, Seq: 1000 + seq, RelSeq: seq, RelAck: ack, Len: length, Fate: result.Delivered}
		if from == "client" && what != timeline.SYN {
			p.Fate = result.Dropped
		}
		r.Packets = append(r.Packets, p)
	}
	add("client", timeline.SYN, 0, 0, 0, 0, 0)
	add("server", timeline.SYNACK, 0, 0, 0, 1, 0)
	add("client", timeline.ACK, 0, 0, 1, 1, 0)
	add("server", timeline.SYNACKAgain, 1, 1.02, 0, 1, 0)
	add("client", timeline.ChallengeACK, 0, 1.02, 1, 1, 0)
	add("client", timeline.Data, 0, 3.5, 1, 1, 6)
	add("client", timeline.TailLossProbe, 0, 3.706, 1, 1, 6)
	for i, at := range []float64{3.914, 4.346, 5.178, 6.842} {
		add("client", timeline.RTORetransmission, i+1, at, 1, 1, 6)
	}
	seen, gone := result.Seconds(10.36*1e9), result.Seconds(3.1*1e9)
	r.Outcome = &result.Event{What: string(timeline.SocketError), Seen: &seen, SeenErr: "ETIMEDOUT", Verdict: result.Pass}
	r.Events = []result.Event{{What: string(timeline.RequestGone), Host: "server", Seen: &gone}}
	r.Samples = []result.Sample{{Host: "client", State: "ESTABLISHED", Timer: "retransmit", RTO: result.Seconds(204 * time.Millisecond)}}
	return r
}

// TestACKLossChecks catches a check that cannot fail: each is shown a run in which it must.
func TestACKLossChecks(t *testing.T) {
	x := find(t, "exp3-ack-loss")
	e := ackLossEnv(t, Fast)
	for _, tt := range []struct {
		name  string
		spoil func(*result.Result)
		check string
		want  result.Verdict
	}{
		{"as it should be", func(*result.Result) {}, "", result.Pass},
		{"other bytes", func(r *result.Result) { r.Packets[8].Seq++ }, "same-bytes", result.Fail},
		{"another length", func(r *result.Result) { r.Packets[9].Len = 3 }, "same-bytes", result.Fail},
		{"nothing repeated", func(r *result.Result) { r.Packets = r.Packets[:6] }, "same-bytes", result.Skip},
		{"heard", func(r *result.Result) {
			p := r.Packets[3]
			p.ID, p.RelAck = 12, 7
			r.Packets = append(r.Packets, p)
		}, "unheard", result.Fail},
		{"nothing written", func(r *result.Result) { r.Packets = r.Packets[:5] }, "unheard", result.Skip},
		{"too soon an end", func(r *result.Result) { *r.Outcome.Seen = result.Seconds(6.9 * 1e9) }, "time-limit", result.Fail},
		{"a repeat after the limit", func(r *result.Result) { *r.Packets[10].SentAt = result.Seconds(6.92 * 1e9) }, "time-limit", result.Fail},
		{"no end", func(r *result.Result) { r.Outcome = nil }, "time-limit", result.Skip},
		{"another RTO", func(r *result.Result) { r.Samples[0].RTO = result.Seconds(208 * time.Millisecond) }, "rto", result.Fail},
		{"another RTO after a stall", func(r *result.Result) {
			r.Samples[0].RTO = result.Seconds(208 * time.Millisecond)
			r.Stalls = []result.Stall{{At: 0, For: result.Seconds(8 * time.Millisecond)}}
		}, "rto", result.Inconclusive},
		{"no look", func(r *result.Result) { r.Samples = nil }, "rto", result.Skip},
	} {
		r := lostRun()
		tt.spoil(r)
		for _, c := range x.Checks(e, r) {
			switch {
			case tt.check == "" && c.Verdict != result.Pass, c.ID == tt.check && c.Verdict != tt.want:
				t.Errorf("%s: got %+v, want %s", tt.name, c, tt.want)
			}
			if _, known := explain.Lookup(c.Code); c.Verdict == result.Fail && !known {
				t.Errorf("%s: got code %q, want one that explain knows", tt.name, c.Code)
			}
		}
	}
}

// TestACKLossStory catches a sentence that says what did not happen.
func TestACKLossStory(t *testing.T) {
	x := find(t, "exp3-ack-loss")
	heard := lostRun()
	heard.Packets[2].Fate, heard.Outcome = result.Delivered, nil
	for _, tt := range []struct {
		name      string
		run       *result.Result
		want, not []string
	}{
		{"lost", lostRun(), []string{"died in its INPUT chain: for the client the connection is open, for the server it is not. [3]", "SYN-ACK again, once, by its own timer. [4]",
			"answered once with an ACK that says where it stands", "By 3.100 s the server had forgotten", "3.500 s after its first packet the client wrote 6 bytes",
			"again 5 times: 1 as a tail loss probe, 4 by the retransmission timer. [7 8 9 10 11]", "grew from 0.432 s to 1.664 s", "returned ETIMEDOUT 6.860 s after the write",
			"6.446 s after that", "nobody told the server"}, nil},
		{"not lost, no end", heard, []string{"still waited"}, []string{"INPUT", "ETIMEDOUT", "nobody told"}},
		{"nothing", &result.Result{}, []string{"wrote nothing"}, []string{"INPUT", "SYN-ACK", "again"}},
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

// TestACKLossScript compares the shell commands with the golden, so that a change is looked at: they are what a reader types.
func TestACKLossScript(t *testing.T) {
	x := find(t, "exp3-ack-loss")
	for file, flags := range map[string]map[string]string{
		"exp3-ack-loss.sh":     nil,
		"exp3-ack-loss-mid.sh": {"cut": "mid", "user-timeout": "5000"},
	} {
		p, err := x.Plan(Fast, flags, nil)
		if err != nil {
			t.Fatal(err)
		}
		labtest.Golden(t, file, strings.Join(x.Script(p), "\n")+"\n")
	}
}
