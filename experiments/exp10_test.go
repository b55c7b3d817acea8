package experiments

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// delayedACKEnv is exp10's fast profile with flags, on a 6.18 with its defaults.
func delayedACKEnv(t *testing.T, flags map[string]string) Env {
	t.Helper()
	plan, err := find(t, "exp10-delayed-ack").Plan(Fast, flags, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := Env{Profile: Fast, Facts: facts(t, "6.18"), Options: plan.Options, Sysctls: map[string]string{
		"client.net.ipv4.tcp_rto_min_us": "200000", "server.net.ipv4.tcp_rto_min_us": "200000"}}
	for _, s := range plan.Settings {
		e.Sysctls[s.Host+"."+s.Name] = s.Value
	}
	return e
}

// kept counts the delayed ACKs that a timeline has for certain.
func kept(tl timeline.Timeline) int {
	n := 0
	for _, ev := range tl.Events {
		if strings.HasPrefix(ev.Chain, "delayed ACK") {
			n++
		}
	}
	return n
}

// TestDelayedACKPredict catches an option or a setting that does not reach the oracle, and an answer that came late and is not believed.
func TestDelayedACKPredict(t *testing.T) {
	x := find(t, "exp10-delayed-ack")
	for _, tt := range []struct {
		flags map[string]string
		want  int // delayed ACKs
		calls int
	}{
		{nil, 3, 8},
		{map[string]string{"rounds": "8"}, 7, 16},
		{map[string]string{"pingpong-thresh": "3"}, 1, 8},
		{map[string]string{"pingpong-thresh": "4"}, 0, 8},
		{map[string]string{"quickack": "always"}, 0, 8},
		{map[string]string{"quickack": "once"}, 3, 8}, // it lasts until the next answer
		{map[string]string{"writes": "nodelay"}, 0, 8},
		{map[string]string{"writes": "cork"}, 0, 8},
		{map[string]string{"writes": "one"}, 0, 8},
		{map[string]string{"writes": "forgotten-cork"}, 0, 8},
	} {
		e := delayedACKEnv(t, tt.flags)
		tl, err := x.Predict(e)
		if err != nil || kept(tl) != tt.want || len(x.Calls(e)) != tt.calls {
			t.Errorf("%v: got %d delayed ACKs, %d calls, %v, want %d, %d", tt.flags, kept(tl), len(x.Calls(e)), err, tt.want, tt.calls)
		}
	}
	short := map[string]string{"writes": "forgotten-cork", "pace": "200ms"}
	if _, err := x.Predict(delayedACKEnv(t, short)); err == nil || !strings.Contains(err.Error(), "--pace=200ms") {
		t.Errorf("%v: got %v, want an error that names --pace", short, err)
	}
	e := delayedACKEnv(t, map[string]string{"writes": "one"}).Moved(callReply(1), 60*time.Millisecond)
	if tl, err := x.Predict(e); err != nil || kept(tl) != 1 {
		t.Errorf("an answer after 60 ms: got %d delayed ACKs, %v, want 1", kept(tl), err)
	}
}

// TestDelayedACKSetup catches a server that answers half a request, or sets an option at another time than asked.
func TestDelayedACKSetup(t *testing.T) {
	x := find(t, "exp10-delayed-ack")
	for word, want := range map[string]lab.QuickACK{"never": lab.QuickACKNever, "once": lab.QuickACKOnce, "always": lab.QuickACKAlways} {
		l := x.Setup(delayedACKEnv(t, map[string]string{"quickack": word}).Options).Listen[0]
		if l.QuickACK != want || l.Whole != 2*halfRequest {
			t.Errorf("%s: got %q and answers to %d bytes, want %q and %d", word, l.QuickACK, l.Whole, want, 2*halfRequest)
		}
	}
}

// dialogued is a result of exp10 with these rounds, 300 ms apart: in each, how long the ACK of the first half was kept; "one" for a request in one
// segment.
func dialogued(waits ...string) *result.Result {
	r := &result.Result{}
	seq, ack := uint32(1), uint32(1)
	add := func(at time.Duration, from string, what timeline.What, n int) {
		sent := result.Seconds(at)
		p := result.Packet{ID: len(r.Packets) + 1, From: from, What: string(what), SentAt: &sent, Fate: result.Delivered, Len: n, RelSeq: seq, RelAck: ack}
		if from == "server" {
			p.RelSeq, p.RelAck = ack, seq
			ack += uint32(n)
		} else {
			seq += uint32(n)
		}
		r.Packets = append(r.Packets, p)
	}
	for i, w := range waits {
		at := 200*time.Millisecond + time.Duration(i)*300*time.Millisecond
		if w == "one" {
			add(at, "client", timeline.Data, 2*halfRequest)
		} else {
			d, _ := time.ParseDuration(w)
			add(at, "client", timeline.Data, halfRequest)
			at += d
			add(at, "server", timeline.ACK, 0)
			add(at, "client", timeline.Data, halfRequest)
			add(at, "server", timeline.ACK, 0)
		}
		add(at, "server", timeline.Data, 2*halfRequest)
		add(at, "client", timeline.ACK, 0)
	}
	return r
}

// TestDelayedACKChecks is the negative control of each check: a run that is right passes, and one that is wrong in one way does not.
func TestDelayedACKChecks(t *testing.T) {
	count := func(r *result.Result, n uint64) {
		r.Evidence = &result.Evidence{Counters: []result.Counter{{Host: "server", Name: "TcpExtDelayedACKs", Added: n}}}
	}
	for _, tt := range []struct {
		name  string
		waits string
		spoil func(*result.Result)
		want  string // verdicts of rounds-waited, delayed-counted, request-segments
	}{
		{"as it should be", "0s 40ms 41ms 43ms", nil, "pass pass pass"},
		{"one round waited less", "0s 40ms 41ms 0s", func(r *result.Result) { count(r, 2) }, "fail pass pass"},
		{"the first round waited, too", "40ms 40ms 41ms 43ms", func(r *result.Result) { count(r, 4) }, "fail pass pass"},
		{"the kernel counted one more", "0s 40ms 41ms 43ms", func(r *result.Result) { count(r, 4) }, "pass fail pass"},
		{"nobody counted", "0s 40ms 41ms 43ms", func(r *result.Result) { r.Evidence = nil }, "pass skip pass"},
		{"requests in one segment", "one one one one", func(r *result.Result) { count(r, 0) }, "fail pass fail"},
		{"nothing", "", func(r *result.Result) { count(r, 0) }, "fail pass skip"},
		{"packets may be missing", "0s 40ms 41ms 0s", func(r *result.Result) {
			count(r, 2)
			r.Checks = []result.Check{{Verdict: result.Inconclusive, Code: explain.CaptureDrops}}
		}, "inconclusive pass pass"},
		{"a stall that looks like a wait", "30ms 40ms 41ms 43ms", func(r *result.Result) {
			r.Stalls = []result.Stall{{At: result.Seconds(205 * time.Millisecond), For: result.Seconds(25 * time.Millisecond)}}
		}, "inconclusive inconclusive pass"},
		{"a stall makes nothing come sooner", "0s 40ms 0s 43ms", func(r *result.Result) {
			count(r, 2)
			r.Stalls = []result.Stall{{At: result.Seconds(805 * time.Millisecond), For: result.Seconds(25 * time.Millisecond)}}
		}, "fail pass pass"},
		{"a stall left the schedule open", "0s 40ms 0s 43ms", func(r *result.Result) {
			count(r, 2)
			r.Checks = []result.Check{{Verdict: result.Inconclusive, Code: explain.Stall}}
		}, "inconclusive pass pass"},
		{"a stall, and a contradiction", "0s 40ms 0s 43ms", func(r *result.Result) {
			count(r, 2)
			r.Checks = []result.Check{{Verdict: result.Inconclusive, Code: explain.Stall}, {Verdict: result.Fail}}
		}, "fail pass pass"},
		{"a probe is no segment of the request", "0s 40ms 41ms 43ms", func(r *result.Result) {
			probe := r.Packets[0]
			probe.What = string(timeline.TailLossProbe)
			r.Packets = slices.Insert(r.Packets, 1, probe)
		}, "pass pass pass"},
		{"a third segment", "0s 40ms 41ms 43ms", func(r *result.Result) { r.Packets = slices.Insert(r.Packets, 1, r.Packets[0]) }, "pass pass fail"},
		{"a stall between two rounds", "30ms 40ms 41ms 43ms", func(r *result.Result) {
			r.Stalls = []result.Stall{{At: result.Seconds(300 * time.Millisecond), For: result.Seconds(25 * time.Millisecond)}}
		}, "fail fail pass"},
	} {
		r := dialogued(strings.Fields(tt.waits)...)
		count(r, 3)
		if tt.spoil != nil {
			tt.spoil(r)
		}
		var got []string
		for _, c := range checksOfDelayedACK(delayedACKEnv(t, nil), r) {
			got = append(got, string(c.Verdict))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, s, tt.want)
		}
	}
}

// TestDelayedACKReaders: with TCP_NODELAY both halves are there at once, and the program's read lets their acknowledgement go, however late it reads. It
// catches a slow program that is taken for a kept acknowledgement, and one that is forgiven though a half was kept, or though the kernel's count has more.
func TestDelayedACKReaders(t *testing.T) {
	rounds := func(wait time.Duration) *result.Result {
		r := dialogued("0s", "0s", "0s", "0s")
		var both []result.Packet // of a request the halves, and one acknowledgement
		for i := 0; i < len(r.Packets); i += 6 {
			ack, late := r.Packets[i+3], result.Seconds(wait)
			late += *ack.SentAt
			ack.SentAt = &late
			answer := r.Packets[i+4]
			answer.SentAt = &late
			both = append(both, r.Packets[i], r.Packets[i+2], ack, answer, r.Packets[i+5])
		}
		r.Packets = both
		return r
	}
	for _, tt := range []struct {
		name    string
		run     *result.Result
		counted uint64
		want    string // verdicts of rounds-waited, delayed-counted, request-segments
	}{
		{"at once", rounds(0), 0, "pass pass pass"},
		{"a program that reads late", rounds(20 * time.Millisecond), 0, "pass pass pass"},
		{"so late that the timer was sooner", rounds(40 * time.Millisecond), 4, "pass pass pass"},
		{"the timer was sooner, so it is said", rounds(0), 1, "pass fail pass"},
		{"the first half was kept", dialogued("0s", "40ms", "0s", "0s"), 1, "fail pass pass"},
	} {
		tt.run.Evidence = &result.Evidence{Counters: []result.Counter{{Host: "server", Name: "TcpExtDelayedACKs", Added: tt.counted}}}
		var got []string
		for _, c := range checksOfDelayedACK(delayedACKEnv(t, map[string]string{"writes": "nodelay"}), tt.run) {
			got = append(got, string(c.Verdict))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, s, tt.want)
		}
	}
}

// TestDelayedACKNear catches a round that must wait though the program answered when its timer was due, so that either may have been first.
func TestDelayedACKNear(t *testing.T) {
	e := delayedACKEnv(t, map[string]string{"writes": "one"}).Moved(callReply(1), 40*time.Millisecond)
	if least, most := roundsKept(e); least != 0 || most != 1 {
		t.Errorf("got %d to %d rounds that wait, want 0 to 1", least, most)
	}
	if least, most := roundsKept(delayedACKEnv(t, nil)); least != 3 || most != 3 {
		t.Errorf("in time: got %d to %d rounds that wait, want 3", least, most)
	}
}

// TestDelayedACKStory catches a sentence that says what did not happen.
func TestDelayedACKStory(t *testing.T) {
	x := find(t, "exp10-delayed-ack")
	late := dialogued("one", "one")
	at := result.Seconds(250 * time.Millisecond)
	late.Packets = append(late.Packets[:1:1], append([]result.Packet{{ID: 99, From: "server", What: string(timeline.ACK), SentAt: &at, RelAck: 201}}, late.Packets[1:]...)...)
	for _, tt := range []struct {
		name      string
		run       *result.Result
		want, not []string
	}{
		{"as it should be", dialogued("0s", "40ms", "42ms"), []string{"asked 3 times", "0.0 ms, 40.0 ms, 42.0 ms", "After 40.0 ms", "[7 8 9]", "in 2 of 3 rounds", "came at once"}, []string{"one segment"}},
		{"every round waited", dialogued("40ms"), []string{"asked once", "in 1 of 1 rounds"}, []string{"came at once"}},
		{"nobody waited", dialogued("0s", "0s"), []string{"No half of a request had to wait"}, []string{"Nagle", "one segment"}},
		{"one segment", dialogued("one", "one"), []string{"A request was one segment"}, []string{"Nagle", "No half"}},
		{"a slow program", late, []string{"took so long to answer", "after 50.0 ms"}, []string{"Nagle"}},
		{"nothing", dialogued(), []string{"wrote nothing"}, []string{"asked"}},
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

// TestDelayedACKScript compares the shell commands with the golden, so that a change is looked at: they are what a reader types.
func TestDelayedACKScript(t *testing.T) {
	x := find(t, "exp10-delayed-ack")
	for file, flags := range map[string]map[string]string{
		"exp10-delayed-ack.sh":          nil,
		"exp10-delayed-ack-cork.sh":     {"writes": "cork", "rounds": "2"},
		"exp10-delayed-ack-quickack.sh": {"writes": "nodelay", "quickack": "always"},
	} {
		p, err := x.Plan(Textbook, flags, nil)
		if err != nil {
			t.Fatal(err)
		}
		labtest.Golden(t, file, strings.Join(x.Script(p), "\n")+"\n")
	}
}
