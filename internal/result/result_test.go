package result

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// full is a result with every kind of part in it.
func full() *Result {
	at := Seconds(1004213000)
	return &Result{
		Schema: Schema, Tool: Tool{"tcplab", "0.1.0"}, Experiment: Experiment{"exp1-syn-loss", "every SYN is lost", "How often?"},
		Profile: "textbook", Command: []string{"tcplab", "run"}, Started: time.Date(2026, 11, 22, 17, 18, 12, 0, time.UTC), Wall: Seconds(8 * time.Second),
		Kernel: Kernel{Release: "6.18.44", Version: "6.18", Arch: "x86_64", HZ: 250, CPUs: 2, Facts: []Fact{{"HZ", "250", "clock_getres"}}},
		Params: []Param{{"syn-retries", "2", "flag"}}, Hosts: []Host{{Name: "client", Addr: "10.99.0.1", Iface: "eth0", Port: 8080}},
		Sysctls:  []Sysctl{{Host: "client", Name: "net.ipv4.tcp_syn_retries", Was: "6", Now: "2", Here: "6", Origin: "--syn-retries", Matters: true}},
		Rules:    []Rule{{Host: "server", Table: "filter", Chain: "INPUT", Spec: []string{"-p", "tcp"}, Packets: 1<<64 - 1, AfterCapture: true}},
		Captures: []Capture{{Host: "client", File: "client.pcapng", Packets: 3}},
		Clock:    Clock{Known: true, From: "/proc/timer_list", Tick: Seconds(4 * time.Millisecond), Start: 1<<63 + 1},
		Prediction: &Prediction{Schema: PredictionSchema, Sysctls: map[string]string{"client.net.ipv4.tcp_syn_retries": "2"},
			Events: []Event{{Host: "client", What: "syn", Expected: true}}},
		Events:     []Event{{At: Seconds(time.Second), Host: "client", What: "syn-retransmission", N: 1, Seen: &at, OffTick: &at, Expected: true, Verdict: Pass}},
		Outcome:    &Event{Host: "client", What: "connect-error", Errno: "ETIMEDOUT", Verdict: Pass},
		Packets:    []Packet{{ID: 1, From: "client", To: "server", What: "syn", Seq: math.MaxUint32, SentAt: new(Seconds), Fate: Dropped}},
		States:     []State{{at, "client", "SYN-SENT"}},
		Samples:    []Sample{{At: at, Host: "client", Timer: "retransmit", RTO: at}},
		Stalls:     []Stall{{at, at, 1, ""}},
		Checks:     []Check{{ID: "count", Name: "packets", Expected: "<3>", Verdict: Pass}},
		Hypothesis: &Hypothesis{Code: "TL1203", Fits: 3, Of: 4},
		Notes:      []Note{{"TL1201", "late, never early"}}, Story: []Sentence{{"The client sent a SYN.", []int{1}}},
		Reproduce: []string{"ip netns add client"}, Verdict: Pass,
	}
}

// TestRoundTrip catches a field that is written and not read back, or the other way round, and zero that becomes absent: a packet
// that was seen at time zero must stay seen.
func TestRoundTrip(t *testing.T) {
	want := full()
	var b bytes.Buffer
	if err := want.Write(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `"<3>"`) || !strings.HasSuffix(b.String(), "}\n") {
		t.Errorf("got %q..., want unescaped < and > and a final newline", b.String()[:80])
	}
	got, err := Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOldResult reads a result of a real run, kept since the first version. It catches a change that makes older files unreadable:
// the form is additive only. Every field of the file must still be written under the same name.
func TestOldResult(t *testing.T) {
	file, err := os.ReadFile("testdata/v1.json")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Read(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if r.Experiment.Name != "exp1-syn-loss" || r.Verdict != Pass || len(r.Packets) != 2 || r.Outcome == nil || r.Outcome.SeenErr != "ETIMEDOUT" {
		t.Errorf("got %s, %s, %d packets, outcome %+v, want exp1-syn-loss, pass, 2 packets, ETIMEDOUT", r.Experiment.Name, r.Verdict, len(r.Packets), r.Outcome)
	}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	var was, now map[string]any
	if err := json.Unmarshal(file, &was); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b.Bytes(), &now); err != nil {
		t.Fatal(err)
	}
	lost(t, "result", was, now)
}

// lost reports what was has and now has not, or has otherwise.
func lost(t *testing.T, path string, was, now any) {
	t.Helper()
	switch w := was.(type) {
	case map[string]any:
		n, ok := now.(map[string]any)
		if !ok {
			t.Errorf("%s: got a %T, want an object", path, now)
			return
		}
		for key, v := range w {
			if _, ok := n[key]; !ok {
				t.Errorf("%s.%s: got nothing, want %v", path, key, v)
				continue
			}
			lost(t, path+"."+key, v, n[key])
		}
	case []any:
		n, ok := now.([]any)
		if !ok || len(n) != len(w) {
			t.Errorf("%s: got %v, want %d elements", path, now, len(w))
			return
		}
		for i := range w {
			lost(t, path, w[i], n[i])
		}
	default:
		if was != now {
			t.Errorf("%s: got %v, want %v", path, now, was)
		}
	}
}

// TestSeconds catches exponents, lost digits and a sign that is lost between zero and minus one.
func TestSeconds(t *testing.T) {
	for _, tt := range []struct {
		s    Seconds
		want string
	}{
		{0, "0"}, {1, "0.000000001"}, {-1, "-0.000000001"}, {Seconds(time.Second), "1"}, {1004213000, "1.004213"},
		{-1500000000, "-1.5"}, {math.MaxInt64, "9223372036.854775807"}, {math.MinInt64, "-9223372036.854775808"},
		{Seconds(10 * time.Second), "10"}, {Seconds(100 * time.Millisecond), "0.1"},
	} {
		got, err := tt.s.MarshalJSON()
		if err != nil || string(got) != tt.want {
			t.Errorf("%d ns: got %s, %v, want %s", int64(tt.s), got, err, tt.want)
		}
		back := Seconds(77)
		if err := back.UnmarshalJSON(got); err != nil || back != tt.s {
			t.Errorf("%s: got %d ns back, %v, want %d", got, int64(back), err, int64(tt.s))
		}
	}
}

// TestSecondsExact is the property: every number of nanoseconds comes back as it was. It catches a way through float64, which has 53
// bits: 104 days of nanoseconds.
func TestSecondsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(20260101, 2))
	for range 20000 {
		want := Seconds(r.Uint64() >> r.IntN(64))
		if r.IntN(2) == 0 {
			want = -want
		}
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Seconds
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Fatalf("%s: got %d ns, %v, want %d", b, int64(got), err, int64(want))
		}
	}
}

// TestSecondsRead covers numbers that other programs write, and what is no number. It catches a panic or a silent zero.
func TestSecondsRead(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Seconds
		ok   bool
	}{
		{"1e0", Seconds(time.Second), true}, {"1.5E+1", Seconds(15 * time.Second), true}, {"25e-10", 3, true}, {"0.0000000014", 1, true},
		{"0.0000000015", 2, true}, {"4e-10", 0, true}, {"0.00000000099", 1, true}, {"-0", 0, true}, {"0e999999999999", 0, true},
		{"1e-999999999999", 0, true}, {"000001", Seconds(time.Second), true}, {"null", 9, true}, {"0.9999999999", Seconds(time.Second), true},
		{"9223372036.854775808", 0, false}, {"-9223372036.854775809", 0, false}, {"1e10", 0, false}, {"1e999999999999", 0, false},
		{"9223372036.8547758075", 0, false}, {"99999999999999999999", 0, false},
		{"", 0, false}, {"-", 0, false}, {"NaN", 0, false}, {"Inf", 0, false}, {"0x10", 0, false}, {"1_000", 0, false}, {"1.", 0, false},
		{".5", 0, false}, {"1e", 0, false}, {"1e+-2", 0, false}, {"1e5e5", 0, false}, {"--1", 0, false}, {`"1"`, 0, false}, {"{}", 0, false}, {" 1", 0, false},
	} {
		got := Seconds(9)
		err := got.UnmarshalJSON([]byte(tt.in))
		if (err == nil) != tt.ok || tt.ok && got != tt.want || !tt.ok && got != 9 {
			t.Errorf("%q: got %d ns, %v, want %d, ok=%v", tt.in, int64(got), err, int64(tt.want), tt.ok)
		}
	}
}

// TestReadRefuses catches input that would be taken for a result: each error must name what is wrong.
func TestReadRefuses(t *testing.T) {
	const good = `{"schema":"tcplab.result/v1","verdict":"pass","checks":[{"id":"count","verdict":"pass"}],"new_field":{}}`
	if _, err := Read(strings.NewReader(good + "\n ")); err != nil {
		t.Fatalf("the input that the cases below break: %v", err)
	}
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", "unexpected end of JSON input"},
		{"not JSON", "pass", "invalid character"},
		{"cut off", good[:60], "unexpected end of JSON input"},
		{"something follows", good + "{}", "after top-level value"},
		{"garbage follows", good + "x", "after top-level value"},
		{"no schema", strings.Replace(good, `"schema":"tcplab.result/v1",`, "", 1), `schema is ""`},
		{"a later schema", strings.Replace(good, "/v1", "/v2", 1), `schema is "tcplab.result/v2", want "tcplab.result/v1"`},
		{"a prediction", strings.Replace(good, Schema, PredictionSchema, 1), "schema is"},
		{"unknown verdict", strings.Replace(good, `"verdict":"pass","checks"`, `"verdict":"green","checks"`, 1), `verdict "green"`},
		{"unknown verdict of a check", strings.Replace(good, `"count","verdict":"pass"`, `"count","verdict":""`, 1), `check "count": verdict ""`},
		{"wrong type", strings.Replace(good, `[{"id"`, `{"id"`, 1), "result:"},
		{"time out of range", strings.Replace(good, `"new_field":{}`, `"wall":1e99`, 1), "292 years"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Read(strings.NewReader(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestJudge catches a run that passes without a check that did, and one that a skipped check spoils.
func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name   string
		checks []Verdict
		want   Verdict
	}{
		{"no checks", nil, Skip},
		{"only skips", []Verdict{Skip, Skip}, Skip},
		{"all pass", []Verdict{Pass, Pass}, Pass},
		{"a skip among passes", []Verdict{Pass, Skip, Pass}, Pass},
		{"one fails", []Verdict{Pass, Fail, Pass}, Fail},
		{"a failure among doubts", []Verdict{Inconclusive, Error, Fail, Unable}, Fail},
		{"an error among doubts", []Verdict{Inconclusive, Error, Pass}, Error},
		{"inconclusive is no pass", []Verdict{Pass, Inconclusive}, Inconclusive},
		{"unable and skipped", []Verdict{Unable, Skip}, Unable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Result{Verdict: Pass}
			for _, v := range tt.checks {
				r.Checks = append(r.Checks, Check{Verdict: v})
			}
			if r.Judge(); r.Verdict != tt.want {
				t.Errorf("got %s, want %s", r.Verdict, tt.want)
			}
		})
	}
}

// TestVerdicts catches an order or an exit code that differs from the documented one.
func TestVerdicts(t *testing.T) {
	order := []Verdict{Pass, Skip, Unable, Inconclusive, Error, Fail}
	codes := []int{0, 4, 3, 5, 6, 1}
	for i, v := range order {
		if !v.Known() || v.ExitCode() != codes[i] {
			t.Errorf("%s: got known=%v, exit code %d, want a known verdict with %d", v, v.Known(), v.ExitCode(), codes[i])
		}
		for k, w := range order {
			if got, want := Worse(v, w), order[max(i, k)]; got != want {
				t.Errorf("worse of %s and %s: got %s, want %s", v, w, got, want)
			}
		}
	}
	if v := Verdict("green"); v.Known() || v.ExitCode() != 6 {
		t.Errorf("an unknown verdict: got known=%v, exit code %d, want unknown, 6", v.Known(), v.ExitCode())
	}
}

// TestTally catches a skip that is counted as judged.
func TestTally(t *testing.T) {
	r := Result{Checks: []Check{{Verdict: Pass}, {Verdict: Skip}, {Verdict: Fail}, {Verdict: Pass}}}
	if passed, all := r.Tally(); passed != 2 || all != 3 {
		t.Errorf("got %d of %d, want 2 of 3", passed, all)
	}
}

// TestPacketAt catches a packet that the sender's capture missed and that is shown at time zero.
func TestPacketAt(t *testing.T) {
	sent, arrived := Seconds(1), Seconds(2)
	for _, tt := range []struct {
		p    Packet
		want time.Duration
	}{{Packet{SentAt: &sent, ArrivedAt: &arrived}, 1}, {Packet{ArrivedAt: &arrived}, 2}, {Packet{}, 0}} {
		if got := tt.p.At(); got != tt.want {
			t.Errorf("got %v, want %v", got, tt.want)
		}
	}
}

// FuzzRead reads hostile input. What is read and written again must read equal, so that nothing is lost by passing a file on.
func FuzzRead(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := Read(bytes.NewReader(in))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := r.Write(&b); err != nil {
			t.Fatalf("write what was read: %v", err)
		}
		again, err := Read(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatalf("read what was written: %v\n%s", err, b.Bytes())
		}
		var c bytes.Buffer
		if err := again.Write(&c); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b.String(), c.String()); diff != "" {
			t.Errorf("second writing (-first +second):\n%s", diff)
		}
	})
}

// TestAfterTick catches a program that learned late what the kernel did, and is taken for the kernel; and a record that is taken for another jiffy's.
func TestAfterTick(t *testing.T) {
	at := func(d time.Duration) *Seconds { s := Seconds(d); return &s }
	const us = time.Microsecond
	for _, tt := range []struct {
		name string
		e    Event
		want *Seconds
	}{
		{"no tick", Event{Seen: at(time.Second)}, nil},
		{"seen only", Event{Seen: at(time.Second), OffTick: at(90 * us)}, at(90 * us)},
		{"learned a tick later", Event{Seen: at(time.Second), Ended: at(time.Second - 4000*us), OffTick: at(4030 * us)}, at(30 * us)},
		{"of an earlier jiffy", Event{Seen: at(time.Second), Ended: at(time.Second - 4000*us), OffTick: at(30 * us)}, at(30 * us)},
	} {
		got := tt.e.AfterTick()
		if (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
