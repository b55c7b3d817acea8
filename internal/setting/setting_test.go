package setting

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/sysctl"
)

// ask explains settings on a mainline kernel.
func ask(t *testing.T, version string, hz int, given ...string) []Meaning {
	t.Helper()
	ms, err := tryAsk(t, version, hz, given...)
	if err != nil {
		t.Fatal(err)
	}
	return ms
}

func tryAsk(t *testing.T, version string, hz int, given ...string) ([]Meaning, error) {
	t.Helper()
	v, err := kernel.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	f, err := kernel.Model(v, hz)
	if err != nil {
		t.Fatal(err)
	}
	q := Question{Facts: f}
	for _, g := range given {
		a, err := Parse(g)
		if err != nil {
			t.Fatal(err)
		}
		q.Given = append(q.Given, a)
	}
	return Explain(q)
}

// TestRetriesAreATime catches tcp_retries2 taken for a count: the time of each value with TCP_RTO_MIN of 200 ms and a ceiling of 120 s.
func TestRetriesAreATime(t *testing.T) {
	want := []float64{.2, .6, 1.4, 3, 6.2, 12.6, 25.4, 51, 102.2, 204.6, 324.6, 444.6, 564.6, 684.6, 804.6, 924.6}
	for n, seconds := range want {
		m := ask(t, "6.18", 250, fmt.Sprintf("tcp_retries2=%d", n))[0]
		if got := m.Nominal.Seconds(); got != seconds {
			t.Errorf("tcp_retries2=%d: got %v s, want %v s", n, got, seconds)
		}
	}
	m := ask(t, "6.18", 250, "tcp_retries2=15")[0]
	for _, part := range []string{"924.6 s", "937.7 to 939.7 s", "15 is a time, not a count", "15 such repeats"} {
		if !strings.Contains(strings.Join(m.Says, " "), part) {
			t.Errorf("tcp_retries2=15: got %q, want it to say %q", m.Says, part)
		}
	}
}

// measured are ends that were seen on Linux 6.18.44 with HZ=250, in seconds, and the repeats by RTO (or of SYN, probes) that came before.
var measured = []struct {
	given string
	about string
	end   float64
	again int
}{
	{"tcp_retries2=0", "unacknowledged data", 0.853, 1},
	{"tcp_retries2=1", "unacknowledged data", 1.674, 2},
	{"tcp_retries2=3", "unacknowledged data", 6.85, 4},
	{"tcp_retries2=4", "unacknowledged data", 6.651, 4},
	{"tcp_retries2=5", "unacknowledged data", 13.352, 5},
	{"tcp_retries2=8", "unacknowledged data", 107.93, 8},
	{"tcp_retries2=15", "unacknowledged data", 938.99, 15},
	{"tcp_retries2=15 tcp_early_retrans=0", "unacknowledged data", 938.60, 15},
	{"tcp_retries2=15 tcp_rto_max_ms=5000", "unacknowledged data", 63.02, 15},
	{"tcp_retries2=8 tcp_rto_max_ms=1000", "unacknowledged data", 7.824, 8},
	{"tcp_retries2=3 tcp_rto_min_us=50000", "unacknowledged data", 3.694, 5},
	{"tcp_retries2=5 tcp_thin_linear_timeouts=1", "unacknowledged data", 14.6, 11},
	{"tcp_retries2=15 TCP_USER_TIMEOUT=2000", "unacknowledged data", 2.444, 3},
	{"tcp_retries2=15 TCP_USER_TIMEOUT=100", "unacknowledged data", 0.516, 1},
	{"tcp_retries2=15 TCP_USER_TIMEOUT=10 tcp_sack=0", "unacknowledged data", 0.224, 1},
	{"tcp_orphan_retries=0", "a closed connection that nobody owns", 106.55, 8},
	{"tcp_orphan_retries=3", "a closed connection that nobody owns", 6.89, 4},
	{"tcp_keepalive_time=2 tcp_keepalive_intvl=1 tcp_keepalive_probes=3", "keepalive", 5.08, 3},
	{"tcp_keepalive_time=2 tcp_keepalive_intvl=1 tcp_keepalive_probes=3 TCP_USER_TIMEOUT=3500", "keepalive", 4.08, 2},
	{"tcp_keepalive_time=2 tcp_keepalive_intvl=1 tcp_keepalive_probes=3 TCP_USER_TIMEOUT=1000", "keepalive", 3.04, 1},
	{"tcp_syn_retries=6", "connecting", 134.39, 10},
	{"tcp_syn_retries=2 tcp_syn_linear_timeouts=4", "connecting", 7.11, 5},
	{"tcp_syn_retries=1 tcp_syn_linear_timeouts=4", "connecting", 3.06, 2},
	{"tcp_syn_retries=6 TCP_SYNCNT=2 tcp_syn_linear_timeouts=0", "connecting", 7.13, 2},
}

// TestMeasured compares what settings are said to mean with what a kernel did. It catches a formula that is right on paper only: a
// threshold between nominal and real time, a probe that counts, a limit that counts from the write. 25 ms are the measuring program's.
func TestMeasured(t *testing.T) {
	kinds := map[string]timeline.What{"unacknowledged data": timeline.RTORetransmission, "a closed connection that nobody owns": timeline.FINAgain,
		"keepalive": timeline.KeepaliveProbe, "connecting": timeline.SYNRetransmission}
	for _, tt := range measured {
		t.Run(tt.given, func(t *testing.T) {
			var m Meaning
			for _, each := range ask(t, "6.18", 250, strings.Fields(tt.given)...) {
				if each.About == tt.about {
					m = each
				}
			}
			if m.Timeline == nil {
				t.Fatalf("got no timeline about %s", tt.about)
			}
			b := m.Timeline.Outcome.Bound
			if seen := time.Duration(tt.end * float64(time.Second)); seen < b.Earliest-10*time.Millisecond || seen > b.Latest+25*time.Millisecond {
				t.Errorf("end: got %s, want it to hold %v s", window(b), tt.end)
			}
			if most, least := count(*m.Timeline, kinds[tt.about]); tt.again < least || tt.again > most {
				t.Errorf("repeats: got %d to %d, want %d", least, most, tt.again)
			}
		})
	}
}

// TestFinTimeout catches the excess over 60 s taken for the whole: 70 s wait 20 s, not 70 and not 10.
func TestFinTimeout(t *testing.T) {
	for given, want := range map[string]time.Duration{"tcp_fin_timeout=5": 5, "tcp_fin_timeout=60": 60, "tcp_fin_timeout=70": 20, "tcp_fin_timeout=90": 60,
		"tcp_fin_timeout=120": 120, "TCP_LINGER2=300": 120} {
		if m := ask(t, "6.18", 250, given)[0]; m.Nominal != want*time.Second {
			t.Errorf("%s: got %v, want %v", given, m.Nominal, want*time.Second)
		}
	}
}

// TestElsewhere catches a rule of one kernel told of another.
func TestElsewhere(t *testing.T) {
	for _, tt := range []struct {
		version string
		hz      int
		given   string
		says    string
	}{
		{"5.15", 250, "tcp_syn_retries=2", "repeated twice"},
		{"6.12", 250, "tcp_syn_retries=2", "repeated 5 times"},
		{"6.18", 1000, "tcp_retries2=4", "4 or 5 such repeats"}, // a threshold inside the window
		{"4.4", 250, "TCP_USER_TIMEOUT=1000 tcp_retries2=15", "no timer is shortened"},
		{"3.2", 250, "tcp_retries2=8", "6.18.*|Linux 3.2 has no tail loss probe"},
		{"4.0", 250, "tcp_synack_retries=5", "only every 200 ms"},
		{"6.18", 250, "tcp_fastopen=0x602", "as a client it sends none"},
		{"6.18", 250, "tcp_invalid_ratelimit=501", "504 ms"},
		{"6.18", 1000, "tcp_invalid_ratelimit=501", "501 ms"},
		{"6.18", 250, "tcp_timestamps=0", "waits 3 s"},
		{"6.18", 250, "tcp_sack=0", "NewReno"},
	} {
		t.Run(tt.version+" "+tt.given, func(t *testing.T) {
			var all []string
			for _, m := range ask(t, tt.version, tt.hz, strings.Fields(tt.given)...) {
				all = append(all, m.Says...)
				for _, n := range m.Notes {
					all = append(all, n.Text)
				}
			}
			want := tt.says[strings.LastIndex(tt.says, "|")+1:]
			if text := strings.Join(all, " "); !strings.Contains(text, want) {
				t.Errorf("got %q, want it to say %q", text, want)
			}
		})
	}
}

// TestRefusals catches a value that the kernel would refuse, a knob that this kernel lacks, and a name that nobody knows being explained
// all the same.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		given, words string
		is           error
	}{
		{"tcp_retries2=256", "the kernel takes 0 to 255", ErrRange},
		{"tcp_syn_retries=0", "the kernel takes 1 to 127", ErrRange},
		{"TCP_SYNCNT=128", "the kernel takes 1 to 127", ErrRange},
		{"tcp_retries2=", "want NAME=VALUE", ErrRange},
		{"tcp_retrys2=8", "did you mean net.ipv4.tcp_retries2?", ErrUnknown},
		{"TCP_USER_TIMOUT=8", "did you mean TCP_USER_TIMEOUT?", ErrUnknown},
		{"USER_TIMEOUT=8", "did you mean TCP_USER_TIMEOUT?", ErrUnknown},
	} {
		if _, err := Parse(tt.given); !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("Parse(%q): got %v, want %v with %q", tt.given, err, tt.is, tt.words)
		}
	}
	for given, words := range map[string]string{"tcp_rto_max_ms=1000": "came with 6.15", "tcp_syn_linear_timeouts=4": "came with 6.5", "TCP_RTO_MAX_MS=1000": "came with 6.15",
		"tcp_tw_recycle=1": "existed up to"} {
		if _, err := tryAsk(t, "5.15", 250, given); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s on 5.15: got %v, want ErrMissing with %q", given, err, words)
		}
	}
	if _, err := tryAsk(t, "6.18", 250, "tcp_sack=1", "tcp_sack=0"); !errors.Is(err, ErrRange) {
		t.Errorf("twice: got %v, want ErrRange", err)
	}
}

// TestParse catches an option taken for a sysctl that is spelt like it in small letters.
func TestParse(t *testing.T) {
	for given, want := range map[string]string{"tcp_rto_max_ms=1000": "tcp_rto_max_ms", "TCP_RTO_MAX_MS=1000": "TCP_RTO_MAX_MS", "tcp_user_timeout=5": "TCP_USER_TIMEOUT",
		"net.ipv4.tcp_sack=1": "tcp_sack", " tcp_sack = 1 ": "tcp_sack", "net.core.somaxconn=5": "somaxconn"} {
		if a, err := Parse(given); err != nil || a.Name != want {
			t.Errorf("Parse(%q): got %q, %v, want %q", given, a.Name, err, want)
		}
	}
}

// TestEverySetting explains the default and both ends of the range of every sysctl and option, on old and new kernels. It catches a
// panic, a meaning without a sentence, and one that leaves the given setting out.
func TestEverySetting(t *testing.T) {
	var given []string
	for _, k := range sysctl.All() {
		if v, ok := k.DefaultFor("6.18"); ok {
			given = append(given, k.Short()+"="+v)
		}
		if k.Kind == sysctl.Int && !strings.HasPrefix(k.Short(), "tcp_keepalive") {
			given = append(given, fmt.Sprintf("%s=%d", k.Short(), k.Min), fmt.Sprintf("%s=%d", k.Short(), k.Max))
		}
	}
	for _, o := range Options() {
		given = append(given, fmt.Sprintf("%s=%d", o.Name, o.Min), fmt.Sprintf("%s=%d", o.Name, o.Max))
	}
	for _, version := range []string{"3.2", "4.4", "5.15", "6.18"} {
		for _, g := range given {
			ms, err := tryAsk(t, version, 250, g)
			if errors.Is(err, ErrMissing) {
				continue
			}
			if err != nil || len(ms) == 0 {
				t.Errorf("%s on %s: got %d meanings, %v, want some", g, version, len(ms), err)
				continue
			}
			for _, m := range ms {
				if len(m.Says) == 0 || m.About == "" || !strings.HasSuffix(m.Says[0], ".") {
					t.Errorf("%s on %s: got %+v, want a sentence", g, version, m)
				}
			}
		}
	}
}

// TestOptions catches an entry that was typed in half, and one that overrides nothing that exists.
func TestOptions(t *testing.T) {
	for _, o := range Options() {
		if o.Summary == "" || o.Meaning == "" || o.Unit == "" || o.Source == "" || o.Number == 0 || o.Min >= o.Max {
			t.Errorf("got %+v, want every field", o)
		}
		if _, ok := sysctl.Lookup(o.Overrides); !ok && o.Overrides != "" {
			t.Errorf("%s: overrides %q, which is no sysctl", o.Name, o.Overrides)
		}
	}
}

// TestAgainstTheExperiments compares the end with the oracle of the experiments, which walks a whole connection. It catches two rules for
// one thing. An experiment's later calls may be a jiffy off, and its windows are that much wider.
func TestAgainstTheExperiments(t *testing.T) {
	f, err := kernel.Model(kernel.Version{Major: 6, Minor: 18}, 250)
	if err != nil {
		t.Fatal(err)
	}
	const write, slack = time.Second, 10 * time.Millisecond
	compare := func(name string, m Meaning, want timeline.Bound, from time.Duration) {
		t.Helper()
		got := m.Timeline.Outcome.Bound
		if (got.Earliest-want.Earliest+from).Abs() > slack || (got.Latest-want.Latest+from).Abs() > slack {
			t.Errorf("%s: got %v to %v, want %v to %v", name, got.Earliest, got.Latest, want.Earliest-from, want.Latest-from)
		}
	}
	for _, n := range []int{0, 3, 4, 5, 8, 15} {
		hole, err := oracle.BlackHole{Cut: oracle.CutMid, Exchange: 100 * time.Millisecond, Request: 10, Write: write, Bytes: 10, Retries2: n, EarlyRetrans: 3}.Predict(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		m := ask(t, "6.18", 250, fmt.Sprintf("tcp_retries2=%d", n))[0]
		compare(fmt.Sprintf("tcp_retries2=%d", n), m, hole.Outcome.Bound, write)
	}
	quiet, err := oracle.Keepalive{Time: 2 * time.Second, Interval: time.Second, Probes: 3, Peer: oracle.KeepalivePeer{Gone: true}}.Predict(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	compare("keepalive", ask(t, "6.18", 250, "tcp_keepalive_time=2", "tcp_keepalive_intvl=1", "tcp_keepalive_probes=3")[0], quiet.Outcome.Bound, 0)
}
