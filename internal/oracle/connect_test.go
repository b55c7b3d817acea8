package oracle

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

func facts(t testing.TB, major, minor, hz int) kernel.Facts {
	t.Helper()
	f, err := kernel.Model(kernel.Version{Major: major, Minor: minor}, hz)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func predict(t testing.TB, c Connect, f kernel.Facts, start *Start) timeline.Timeline {
	t.Helper()
	tl, err := c.Predict(f, start)
	if err != nil {
		t.Fatalf("got error %v, want a timeline", err)
	}
	return tl
}

// seconds returns the nominal times of the retransmissions and of the end.
func seconds(tl timeline.Timeline) []float64 {
	var s []float64
	for _, e := range tl.Events[1:] {
		s = append(s, e.At.Seconds())
	}
	return append(s, tl.Outcome.At.Seconds())
}

// row is a row of the table of active opens, measured on 6.18.44 with HZ=250.
type row struct {
	name     string
	c        Connect
	want     []float64  // nominal: retransmissions, then the end
	measured float64    // the end; 0: not measured
	at250    [2]float64 // reachable range of the end; 0: not stated
	at1000   [2]float64
}

func rows() []row {
	ms := time.Millisecond
	return []row{
		{"R=6 L=4", Connect{SYNRetries: 6, LinearTimeouts: 4}, []float64{1, 2, 3, 4, 5, 7, 11, 19, 35, 67, 131}, 134.39, [2]float64{133.3, 135.3}, [2]float64{132.4, 136.5}},
		{"R=5 L=4", Connect{SYNRetries: 5, LinearTimeouts: 4}, []float64{1, 2, 3, 4, 5, 7, 11, 19, 35, 67}, 0, [2]float64{67.7, 69.8}, [2]float64{67.9, 68.4}},
		{"R=4 L=4", Connect{SYNRetries: 4, LinearTimeouts: 4}, []float64{1, 2, 3, 4, 5, 7, 11, 19, 35}, 0, [2]float64{35.5, 35.7}, [2]float64{35.6, 36.1}},
		{"R=3 L=4", Connect{SYNRetries: 3, LinearTimeouts: 4}, []float64{1, 2, 3, 4, 5, 7, 11, 19}, 19.40, [2]float64{19.3, 19.6}, [2]float64{19.2, 19.8}},
		{"R=2 L=4", Connect{SYNRetries: 2, LinearTimeouts: 4}, []float64{1, 2, 3, 4, 5, 7}, 7.11, [2]float64{7.11, 7.14}, [2]float64{7.14, 7.21}},
		{"R=1 L=4", Connect{SYNRetries: 1, LinearTimeouts: 4}, []float64{1, 2, 3}, 3.06, [2]float64{3.05, 3.08}, [2]float64{3.05, 3.11}},
		{"R=2 L=2", Connect{SYNRetries: 2, LinearTimeouts: 2}, []float64{1, 2, 3, 5, 9}, 9.20, [2]float64{9.1, 9.4}, [2]float64{}},
		{"R=1 L=1", Connect{SYNRetries: 1, LinearTimeouts: 1}, []float64{1, 2, 4}, 4.06, [2]float64{4.04, 4.07}, [2]float64{}},
		{"R=6", Connect{SYNRetries: 6}, []float64{1, 3, 7, 15, 31, 63, 127}, 0, [2]float64{129.2, 131.2}, [2]float64{128.3, 132.4}},
		{"R=5", Connect{SYNRetries: 5}, []float64{1, 3, 7, 15, 31, 63}, 0, [2]float64{63.6, 65.7}, [2]float64{}},
		{"R=3", Connect{SYNRetries: 3}, []float64{1, 3, 7, 15}, 15.32, [2]float64{15.2, 15.5}, [2]float64{}},
		{"SYNCNT=2", Connect{SYNRetries: 6, SYNCount: 2}, []float64{1, 3, 7}, 7.13, [2]float64{7.05, 7.30}, [2]float64{}},
		{"R=4 rto_max 2 s", Connect{SYNRetries: 4, RTOMax: 2000 * ms}, []float64{1, 3, 5, 7, 9}, 9.06, [2]float64{}, [2]float64{}},
		{"R=6 L=4 rto_max 1 s", Connect{SYNRetries: 6, LinearTimeouts: 4, RTOMax: 1000 * ms}, []float64{1, 2, 3, 4, 5, 6, 7}, 7.16, [2]float64{}, [2]float64{}},
		{"R=6 L=4 UT=5000", Connect{SYNRetries: 6, LinearTimeouts: 4, UserTimeout: 5000 * ms}, []float64{1, 2, 3, 4, 5}, 5.01, [2]float64{}, [2]float64{}},
		{"R=6 L=4 UT=2500", Connect{SYNRetries: 6, LinearTimeouts: 4, UserTimeout: 2500 * ms}, []float64{1, 2, 2.5}, 2.51, [2]float64{}, [2]float64{}},
		{"R=2 UT=100000", Connect{SYNRetries: 2, UserTimeout: 100000 * ms}, []float64{1, 3, 7}, 7.13, [2]float64{}, [2]float64{}},
	}
}

// TestTable catches a wrong formula, a wrong expiry rule (the time rule that does not know about linear timeouts, above all) and a
// wrong wheel level, for each row that was measured or computed by others.
func TestTable(t *testing.T) {
	for _, tt := range rows() {
		t.Run(tt.name, func(t *testing.T) {
			tl := predict(t, tt.c, facts(t, 6, 18, 250), nil)
			if d := cmp.Diff(tt.want, seconds(tl)); d != "" {
				t.Errorf("nominal times (-want +got):\n%s", d)
			}
			for _, e := range append(tl.Events[1:], *tl.Outcome) {
				if e.Maybe {
					t.Errorf("%s %d: got Maybe (%s), want certain", e.What, e.N, e.Why)
				}
			}
			in := func(what string, seen float64, b timeline.Bound) {
				if late := b.Latest + 5*time.Millisecond; seen != 0 && (seen+0.005 < b.Earliest.Seconds() || seen-0.005 > late.Seconds()) {
					t.Errorf("%s: got window %v..%v, want it to hold %v s", what, b.Earliest, late, seen)
				}
			}
			in("measured", tt.measured, tl.Outcome.Bound)
			near(t, "HZ=250", tl.Outcome.Bound, tt.at250)
			near(t, "HZ=1000", predict(t, tt.c, facts(t, 6, 18, 1000), nil).Outcome.Bound, tt.at1000)
		})
	}
}

// near checks a window against a printed range: outside it by no more than the last printed digit.
func near(t *testing.T, what string, b timeline.Bound, want [2]float64) {
	t.Helper()
	if want == [2]float64{} {
		return
	}
	t.Logf("%s: window of the end %.3f..%.3f, printed %v", what, b.Earliest.Seconds(), b.Latest.Seconds(), want)
	digit := 0.1
	if want[1]-want[0] < 0.1 {
		digit = 0.01
	}
	got := [2]float64{b.Earliest.Seconds(), b.Latest.Seconds()}
	for i := range got {
		if d := got[i] - want[i]; d > digit || d < -digit {
			t.Errorf("%s: got window %v, want %v within %v", what, got, want, digit)
			return
		}
	}
}

// TestMeasured catches a window that a real kernel leaves: every event of recorded sequences, on 6.18.44 and in virtual time.
func TestMeasured(t *testing.T) {
	tests := []struct {
		name  string
		minor int
		c     Connect
		want  []float64 // seen; the last one is the end where end is set
		end   bool
	}{
		{"6.18 default", 18, Connect{SYNRetries: 6, LinearTimeouts: 4}, []float64{1.005, 2.033, 3.057, 4.081, 5.101, 7.117, 11.245, 19.437, 35.565, 68.845, 134.385}, true},
		{"6.12 linear off", 12, Connect{SYNRetries: 5}, []float64{1.026, 3.042, 7.106, 15.298, 31.426, 65.2}, true},
		{"6.12 default", 12, Connect{SYNRetries: 6, LinearTimeouts: 4}, []float64{1.019, 2.043, 3.067, 4.091, 5.115, 7.131, 11.163, 19.355, 35.483}, false},
		{"6.18 linear off, SYN-ACKs lost", 18, Connect{SYNRetries: 6}, []float64{1.03, 3.04, 7.30, 15.49, 31.62, 64.13}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := predict(t, tt.c, facts(t, 6, tt.minor, 250), nil)
			events := tl.Events[1:]
			if tt.end {
				events = append(events, *tl.Outcome)
			}
			if len(events) < len(tt.want) {
				t.Fatalf("got %d events, want %d", len(events), len(tt.want))
			}
			for i, seen := range tt.want {
				at := time.Duration(seen * float64(time.Second))
				slack := 5 * time.Millisecond // scheduling, and what the record's rounding hides
				if b := events[i].Bound; at < b.Earliest-slack || at > b.Latest+slack {
					t.Errorf("event %d: got window %v..%v, want it to hold %v", i+1, b.Earliest, b.Latest, at)
				}
			}
		})
	}
}

// TestVersions catches a rule of one kernel applied to another.
func TestVersions(t *testing.T) {
	ut := 2500 * time.Millisecond
	burst := []float64{1, 2.5, 2.504, 2.508, 2.512, 2.516, 2.52}
	tests := []struct {
		name         string
		major, minor int
		c            Connect
		want         []float64
	}{
		{"3.1 default R=5", 3, 1, Connect{SYNRetries: 5}, []float64{1, 3, 7, 15, 31, 63}},
		{"3.7 default R=6", 3, 7, Connect{SYNRetries: 6}, []float64{1, 3, 7, 15, 31, 63, 127}},
		{"4.9 ignores UT", 4, 9, Connect{SYNRetries: 3, UserTimeout: ut}, []float64{1, 3, 7, 15}},
		{"4.14 ignores UT", 4, 14, Connect{SYNRetries: 3, UserTimeout: ut}, []float64{1, 3, 7, 15}},
		{"4.19 bursts", 4, 19, Connect{SYNRetries: 6, UserTimeout: ut}, burst},
		{"5.3 bursts", 5, 3, Connect{SYNRetries: 6, UserTimeout: ut}, burst},
		{"5.4 ends", 5, 4, Connect{SYNRetries: 6, UserTimeout: ut}, []float64{1, 2.5}},
		{"5.4 short UT", 5, 4, Connect{SYNRetries: 6, UserTimeout: 500 * time.Millisecond}, []float64{1, 1.004}},
		{"6.5 linear", 6, 5, Connect{SYNRetries: 3, LinearTimeouts: 4}, []float64{1, 2, 3, 4, 5, 7, 11, 19}},
		{"6.15 largest RTO", 6, 15, Connect{SYNRetries: 4, RTOMax: 2 * time.Second}, []float64{1, 3, 5, 7, 9}},
		{"6.4 largest RTO of 120 s", 6, 4, Connect{SYNRetries: 8}, []float64{1, 3, 7, 15, 31, 63, 127, 247, 367}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := predict(t, tt.c, facts(t, tt.major, tt.minor, 250), nil)
			if d := cmp.Diff(tt.want, seconds(tl), cmpopts.EquateApprox(0, 1e-9)); d != "" {
				t.Errorf("nominal times (-want +got):\n%s", d)
			}
		})
	}
	t.Run("burst through the wheel", func(t *testing.T) {
		// A timer of one jiffy armed in a handler fires two jiffies later: 8 ms with HZ=250.
		for _, e := range predict(t, Connect{SYNRetries: 6, UserTimeout: ut}, facts(t, 4, 19, 250), nil).Events[3:] {
			if want := 8 * time.Millisecond; e.GapEarliest != want || e.GapLatest != want {
				t.Errorf("SYN again %d: got gap %v..%v, want %v", e.N, e.GapEarliest, e.GapLatest, want)
			}
		}
	})
}

// TestExactBeforeTheWheel catches a wheel's lateness given to a kernel that has none: short timers fire to the jiffy, and the only
// uncertainty is the part of the first jiffy that had passed. Longer ones slip by at most 1/256.
func TestExactBeforeTheWheel(t *testing.T) {
	for _, hz := range []int{100, 250, 1000} {
		f := facts(t, 3, 10, hz)
		for _, e := range predict(t, Connect{SYNRetries: 5}, f, nil).Events[1:] {
			if e.Earliest != e.At-f.Jiffy() && hz <= 250 && e.N == 1 {
				t.Errorf("HZ=%d SYN again %d: got earliest %v, want a jiffy before %v", hz, e.N, e.Earliest, e.At)
			}
			if e.Earliest < e.At-f.Jiffy() || e.Latest > e.At+e.At/256 {
				t.Errorf("HZ=%d SYN again %d: got %v..%v, want %v to 1/256 later", hz, e.N, e.Earliest, e.Latest, e.At)
			}
		}
	}
}

// TestThreshold catches a certain prediction where the kernel's choice depends on the phase: with a largest RTO of 1 s the timers'
// lateness adds up until the time rule ends the connection some retransmissions early.
func TestThreshold(t *testing.T) {
	tl := predict(t, Connect{SYNRetries: 42, RTOMax: time.Second}, facts(t, 6, 18, 250), nil)
	maybe := 0
	for _, e := range tl.Events {
		if e.Maybe {
			maybe++
			if !strings.Contains(e.Why, "may be absent") {
				t.Errorf("SYN again %d: got why %q, want it to say that it may be absent", e.N, e.Why)
			}
		}
	}
	if maybe == 0 || !strings.Contains(tl.Outcome.Why, "threshold") {
		t.Errorf("got %d uncertain events and %q, want at least one and a reason", maybe, tl.Outcome.Why)
	}
	long := predict(t, Connect{SYNRetries: 127, RTOMax: time.Second}, facts(t, 6, 18, 250), nil)
	if n := len(long.Events) - 1; n >= 127 || long.Outcome.Earliest < 127*time.Second {
		t.Errorf("127 retries of 1 s: got %d retransmissions and an end at %v, want fewer than 127 and not before 127 s", n, long.Outcome.Earliest)
	}
}

// TestErrno catches an ICMP error that is lost, and a host name that is.
func TestErrno(t *testing.T) {
	f := facts(t, 6, 18, 250)
	for _, tt := range []struct{ name, soft, want string }{{"silence", "", "ETIMEDOUT"}, {"icmp", "EHOSTUNREACH", "EHOSTUNREACH"}} {
		t.Run(tt.name, func(t *testing.T) {
			out := predict(t, Connect{SYNRetries: 1, SoftError: tt.soft, Host: "a"}, f, nil).Outcome
			if out.Errno != tt.want || out.What != timeline.ConnectError || out.Host != "a" {
				t.Errorf("got %s %s at %s, want connect-error %s at a", out.What, out.Errno, out.Host, tt.want)
			}
		})
	}
}

// TestRefused catches a value that the kernel refuses being predicted, and a refusal that does not say what is taken.
func TestRefused(t *testing.T) {
	f := facts(t, 6, 18, 250)
	bad := f
	bad.HZ = 0
	tests := []struct {
		name  string
		c     Connect
		f     kernel.Facts
		start *Start
		want  string
	}{
		{"no retries", Connect{}, f, nil, "tcp_syn_retries=0: the kernel takes 1..127"},
		{"too many", Connect{SYNRetries: 128}, f, nil, "tcp_syn_retries=128: the kernel takes 1..127"},
		{"SYNCNT", Connect{SYNRetries: 1, SYNCount: 128}, f, nil, "TCP_SYNCNT=128: the kernel takes 1..127"},
		{"linear", Connect{SYNRetries: 1, LinearTimeouts: -1}, f, nil, "tcp_syn_linear_timeouts=-1: the kernel takes 0..127"},
		{"linear too early", Connect{SYNRetries: 1, LinearTimeouts: 4}, facts(t, 6, 4, 250), nil, "no such knob (since 6.5)"},
		{"rto max low", Connect{SYNRetries: 1, RTOMax: 999 * time.Millisecond}, f, nil, "1 s to 120 s"},
		{"rto max fraction", Connect{SYNRetries: 1, RTOMax: time.Second + 1}, f, nil, "whole ms"},
		{"rto max too early", Connect{SYNRetries: 1, RTOMax: time.Second}, facts(t, 6, 14, 250), nil, "no such knob (since 6.15)"},
		{"user timeout", Connect{SYNRetries: 1, UserTimeout: -time.Second}, f, nil, "TCP_USER_TIMEOUT of -1s"},
		{"soft error", Connect{SYNRetries: 1, SoftError: "EPIPE"}, f, nil, `soft error "EPIPE"`},
		{"no HZ", Connect{SYNRetries: 1}, bad, nil, "HZ=0"},
		{"phase", Connect{SYNRetries: 1}, f, &Start{Phase: 4 * time.Millisecond}, "start phase of 4ms"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.c.Predict(tt.f, tt.start)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
		})
	}
}

// TestRulesMatter is the negative control: a fact that is wrong must show. It catches a prediction that ignores a rule.
func TestRulesMatter(t *testing.T) {
	right := facts(t, 6, 18, 250)
	c := Connect{SYNRetries: 2, LinearTimeouts: 4}
	want := predict(t, c, right, nil)
	tests := []struct {
		name string
		c    Connect
		f    func(*kernel.Facts)
	}{
		{"no wheel", c, func(f *kernel.Facts) { f.Wheel = false }},
		{"no linear timeouts", Connect{SYNRetries: 2}, func(*kernel.Facts) {}},
		{"count only", c, func(f *kernel.Facts) { f.SYNExpiry = kernel.ExpireByCount }},
		{"other HZ", c, func(f *kernel.Facts) { f.HZ = 1000 }},
		{"other initial RTO", c, func(f *kernel.Facts) { f.InitialRTO = 3 * time.Second }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := right
			tt.f(&f)
			if got := predict(t, tt.c, f, nil); cmp.Equal(want, got) {
				t.Error("got the same timeline, want another one")
			}
		})
	}
}

func BenchmarkPredict(b *testing.B) {
	for _, bb := range []struct {
		name string
		hz   int
		c    Connect
	}{
		{"R=6/HZ=250", 250, Connect{SYNRetries: 6, LinearTimeouts: 4}},
		{"R=6/HZ=1000", 1000, Connect{SYNRetries: 6, LinearTimeouts: 4}},
		{"R=127/HZ=1000", 1000, Connect{SYNRetries: 127, LinearTimeouts: 127}},
		{"R=127/HZ=10000", 10000, Connect{SYNRetries: 127, LinearTimeouts: 127}},
		{"R=127/level boundary", 1000, Connect{SYNRetries: 127, RTOMax: 32256 * time.Millisecond}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			f := facts(b, 6, 18, bb.hz)
			for b.Loop() {
				predict(b, bb.c, f, nil)
			}
		})
	}
}
