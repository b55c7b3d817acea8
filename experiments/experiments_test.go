package experiments

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/sysctl"
)

func find(t *testing.T, name string) *Experiment {
	t.Helper()
	x, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func facts(t *testing.T, version string) kernel.Facts {
	t.Helper()
	v, err := kernel.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	f, err := kernel.Model(v, 250)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// env is a 6.18 with the textbook values of exp1 and two retries.
func env(t *testing.T) Env {
	t.Helper()
	return Env{Profile: Textbook, Facts: facts(t, "6.18"), Sysctls: map[string]string{
		"client.net.ipv4.tcp_syn_retries": "2", "client.net.ipv4.tcp_syn_linear_timeouts": "0", "client.net.ipv4.tcp_rto_max_ms": "120000",
	}, Options: Options{}}
}

// TestCatalogue catches an entry that is not complete: every command walks the catalogue and trusts it.
func TestCatalogue(t *testing.T) {
	if len(All()) == 0 {
		t.Fatal("the catalogue is empty")
	}
	names := map[string]bool{}
	for _, x := range All() {
		t.Run(x.Name, func(t *testing.T) {
			if names[x.Name] || !strings.HasPrefix(x.Name, "exp") {
				t.Errorf("name %q: want expN-slug, once", x.Name)
			}
			names[x.Name] = true
			if x.Summary == "" || x.Question == "" || x.Predict == nil || x.Run == nil || x.Story == nil || x.Setup == nil {
				t.Error("want a summary, a question, Predict, Run, Story, a fault, states")
			}
			flags := map[string]bool{}
			for _, q := range x.Params {
				if q.Flag == "" || q.Doc == "" || flags[q.Flag] {
					t.Errorf("parameter %q: want a flag, once, with a line of documentation", q.Flag)
				}
				flags[q.Flag] = true
				if _, known := explain.Lookup(q.Code); q.Code != "" && !known {
					t.Errorf("--%s: code %s: want one that explain knows", q.Flag, q.Code)
				}
				if q.Sysctl == "" {
					if q.Min > q.Max {
						t.Errorf("--%s: bounds %d to %d", q.Flag, q.Min, q.Max)
					}
					continue
				}
				if _, ok := sysctl.Lookup(q.Sysctl); !ok || q.Host != "client" && q.Host != "server" {
					t.Errorf("--%s: %s of %q: want a knob of the catalogue and a host", q.Flag, q.Sysctl, q.Host)
				}
				for _, v := range []string{q.Textbook, q.Fast, q.Absent} {
					if v == "" {
						continue
					}
					if err := q.check(v); err != nil {
						t.Errorf("a value of the profiles: %v", err)
					}
				}
			}
		})
	}
}

// TestFind catches a prefix that picks one of several, and an unknown name without the known ones.
func TestFind(t *testing.T) {
	kept := catalogue
	defer func() { catalogue = kept }()
	catalogue = nil
	for _, name := range []string{"exp10-more", "exp1-syn-loss", "exp2-synack-loss", "exp3-more", "exp3-less"} {
		register(&Experiment{Name: name})
	}
	for _, tt := range []struct{ name, want, err string }{
		{"exp1-syn-loss", "exp1-syn-loss", ""},
		{"exp1-", "exp1-syn-loss", ""},
		{"exp2", "exp2-synack-loss", ""},
		{"exp1", "exp1-syn-loss", ""}, // its number, and not the beginning of another's
		{"exp10", "exp10-more", ""},
		{"exp3", "", `experiment "exp3": could be exp3-less, exp3-more`},
		{"exp1-syn-loss-", "", "there is none of that name"},
		{"", "", `experiment "": there is none of that name`},
		{"EXP2", "", `experiment "EXP2": there is none of that name`},
		{"exp2-synack-loss-", "", "there is none of that name"},
	} {
		x, err := Find(tt.name)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: got %v, %v, want an error with %q", tt.name, x, err, tt.err)
			}
			continue
		}
		if err != nil || x.Name != tt.want {
			t.Errorf("%q: got %v, %v, want %s", tt.name, x, err, tt.want)
		}
	}
	var unknown *UnknownError
	if _, err := Find("nope"); !errors.As(err, &unknown) || len(unknown.Known) != 5 || unknown.Known[0] != "exp1-syn-loss" {
		t.Errorf("unknown: got %+v, want the five known names by name", unknown)
	}
}

// TestPlan catches a wrong precedence: a flag wins over the profile, --set over both.
func TestPlan(t *testing.T) {
	x := find(t, "exp1-syn-loss")
	for _, tt := range []struct {
		name    string
		profile Profile
		flags   map[string]string
		set     []string
		want    []string // "host name=value origin", optional ones with a question mark
		options Options
	}{
		{"textbook", Textbook, nil, nil, []string{
			"client tcp_syn_retries=5 textbook profile", "client tcp_syn_linear_timeouts=0 textbook profile?", "client tcp_rto_max_ms=120000 textbook profile?"}, nil},
		{"fast", Fast, nil, nil, []string{
			"client tcp_syn_retries=1 fast profile", "client tcp_syn_linear_timeouts=0 fast profile?", "client tcp_rto_max_ms=120000 fast profile?"}, nil},
		{"kernel", Kernel, nil, nil, nil, nil},
		{"a flag over the profile", Textbook, map[string]string{"syn-retries": "2"}, nil, []string{
			"client tcp_syn_retries=2 --syn-retries", "client tcp_syn_linear_timeouts=0 textbook profile?", "client tcp_rto_max_ms=120000 textbook profile?"}, nil},
		{"a flag in the kernel profile; not optional, as the kernel behaves otherwise without", Kernel, map[string]string{"syn-linear-timeouts": "3"}, nil, []string{
			"client tcp_syn_linear_timeouts=3 --syn-linear-timeouts"}, nil},
		{"--set over a flag", Kernel, map[string]string{"syn-retries": "2"}, []string{"client.net.ipv4.tcp_syn_retries=4"}, []string{
			"client tcp_syn_retries=4 --set"}, nil},
		{"--set for both hosts, then for one", Kernel, nil, []string{"both.net.ipv4.tcp_syn_retries=4", "server.net.ipv4.tcp_syn_retries=3"}, []string{
			"client tcp_syn_retries=4 --set", "server tcp_syn_retries=3 --set"}, nil},
		{"options of the socket", Kernel, map[string]string{"syncnt": "127", "user-timeout": "1"}, nil, nil, Options{"syncnt": "127", "user-timeout": "1", "drop-at": "server-input"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := x.Plan(tt.profile, tt.flags, tt.set)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range p.Settings {
				line := fmt.Sprintf("%s %s=%s %s", s.Host, strings.TrimPrefix(s.Name, "net.ipv4."), s.Value, s.Origin)
				if s.Optional {
					line += "?"
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
			if tt.options == nil {
				tt.options = Options{"drop-at": "server-input"}
			}
			if diff := cmp.Diff(tt.options, p.Options); diff != "" || p.Profile != tt.profile {
				t.Errorf("profile %s, options (-want +got):\n%s", p.Profile, diff)
			}
		})
	}
}

// TestPlanParams catches a parameter whose origin is reported wrongly.
func TestPlanParams(t *testing.T) {
	x := find(t, "exp1-syn-loss")
	p, err := x.Plan(Textbook, map[string]string{"syn-retries": "2", "user-timeout": "500"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []result.Param{
		{Name: "syn-retries", Value: "2", From: "flag"}, {Name: "syn-linear-timeouts", Value: "0", From: "profile"},
		{Name: "rto-max-ms", Value: "120000", From: "profile"}, {Name: "user-timeout", Value: "500", From: "flag"},
		{Name: "drop-at", Value: "server-input", From: "default"},
	}
	if diff := cmp.Diff(want, p.Params); diff != "" {
		t.Errorf("textbook (-want +got):\n%s", diff)
	}
	if p, err = x.Plan(Kernel, nil, nil); err != nil {
		t.Fatal(err)
	}
	want = []result.Param{{Name: "syn-retries", From: "kernel"}, {Name: "syn-linear-timeouts", From: "kernel"}, {Name: "rto-max-ms", From: "kernel"},
		{Name: "drop-at", Value: "server-input", From: "default"}}
	if diff := cmp.Diff(want, p.Params); diff != "" {
		t.Errorf("kernel (-want +got):\n%s", diff)
	}
}

// TestPlanRefuses catches a value that only the kernel would refuse, after the lab was built: each error names the flag, the value and
// what is wanted.
func TestPlanRefuses(t *testing.T) {
	x := find(t, "exp1-syn-loss")
	for _, tt := range []struct {
		flag, value, want string
	}{
		{"syn-retries", "0", "--syn-retries=0: "}, {"syn-retries", "128", "--syn-retries=128: "}, {"syn-retries", "abc", "--syn-retries=abc: "},
		{"syn-retries", "-1", "--syn-retries=-1: "}, {"syn-retries", "1.5", "--syn-retries=1.5: "}, {"syn-retries", "", "--syn-retries=: "},
		{"syn-linear-timeouts", "128", "--syn-linear-timeouts=128: "}, {"rto-max-ms", "999", "--rto-max-ms=999: "}, {"rto-max-ms", "120001", "--rto-max-ms=120001: "},
		{"syncnt", "0", "--syncnt=0: want a whole number from 1 to 127"}, {"syncnt", "128", "--syncnt=128: want a whole number from 1 to 127"},
		{"user-timeout", "x", "--user-timeout=x: want a whole number from 1 to 86400000"}, {"user-timeout", "", "--user-timeout=: want a value"},
		{"user-timeout", "99999999999999999999", "--user-timeout=99999999999999999999: want"},
		{"synack-retries", "3", "exp1-syn-loss has no parameter --synack-retries"},
	} {
		for _, p := range Profiles() {
			if _, err := x.Plan(p, map[string]string{tt.flag: tt.value}, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s, --%s=%q: got %v, want an error with %q", p, tt.flag, tt.value, err, tt.want)
			}
		}
	}
	if _, err := x.Plan(Textbook, map[string]string{"syn-retries": "0"}, nil); err == nil || !strings.Contains(err.Error(), "1") || !strings.Contains(err.Error(), "127") {
		t.Errorf("got %v, want the bounds 1 and 127 in the error", err)
	}
	for _, set := range []string{"client.net.ipv4.tcp_syn_retries", "router.net.ipv4.tcp_syn_retries=1", "client.net.ipv4.tcp_syn_retries=0", "=", ""} {
		if _, err := x.Plan(Kernel, nil, []string{set}); err == nil || !strings.Contains(err.Error(), "--set") {
			t.Errorf("--set %q: got %v, want an error that names --set", set, err)
		}
	}
}

// TestParseProfile catches a profile that is not known and taken for the default.
func TestParseProfile(t *testing.T) {
	for _, p := range Profiles() {
		if got, err := ParseProfile(string(p)); got != p || err != nil {
			t.Errorf("%s: got %s, %v, want itself", p, got, err)
		}
	}
	for _, s := range []string{"", "Textbook", "slow"} {
		if got, err := ParseProfile(s); err == nil {
			t.Errorf("%q: got %s, want an error", s, got)
		}
	}
}

// TestEnv catches a With that changes the Env it was called on, and an integer that is guessed.
func TestEnv(t *testing.T) {
	e := env(t)
	if c := e.With("client", "net.ipv4.tcp_syn_retries", "9"); c.Sysctls["client.net.ipv4.tcp_syn_retries"] != "9" || e.Sysctls["client.net.ipv4.tcp_syn_retries"] != "2" {
		t.Errorf("got %v and %v, want 9 in the copy alone", c.Sysctls, e.Sysctls)
	}
	if v, ok, err := e.Int("client", "net.ipv4.tcp_syn_retries"); v != 2 || !ok || err != nil {
		t.Errorf("got %d, %v, %v, want 2", v, ok, err)
	}
	if v, ok, err := e.Int("server", "net.ipv4.tcp_syn_retries"); v != 0 || ok || err != nil {
		t.Errorf("a knob that is not there: got %d, %v, %v, want 0, false", v, ok, err)
	}
	if _, _, err := e.With("client", "x", "many").Int("client", "x"); err == nil || !strings.Contains(err.Error(), `client: x="many"`) {
		t.Errorf("got %v, want an error that names host, knob and value", err)
	}
	if _, err := find(t, "exp1-syn-loss").Predict(e.With("client", "net.ipv4.tcp_syn_retries", "many")); err == nil {
		t.Error("predict with a value that is no number: got none, want an error")
	}
}

// TestPredict catches a prediction that does not reach the experiment: the classic numbers, by the catalogue's own entry.
func TestPredict(t *testing.T) {
	tl, err := find(t, "exp1-syn-loss").Predict(env(t))
	if err != nil {
		t.Fatal(err)
	}
	var at []time.Duration
	for _, e := range tl.Events {
		at = append(at, e.At)
	}
	if diff := cmp.Diff([]time.Duration{0, time.Second, 3 * time.Second}, at); diff != "" || tl.Outcome == nil || tl.Outcome.At != 7*time.Second || tl.Outcome.Errno != "ETIMEDOUT" {
		t.Errorf("got %v, outcome %+v, want 0, 1 s, 3 s and ETIMEDOUT at 7 s", at, tl.Outcome)
	}
}

// TestScript compares the shell commands with the golden, so that a change is looked at: they are what a reader types.
func TestScript(t *testing.T) {
	x := find(t, "exp1-syn-loss")
	p, err := x.Plan(Textbook, map[string]string{"syn-retries": "2"}, []string{"server.net.ipv4.tcp_syncookies=0"})
	if err != nil {
		t.Fatal(err)
	}
	labtest.Golden(t, "exp1-syn-loss.sh", strings.Join(x.Script(p), "\n")+"\n")
}

// sentences joins a story.
func sentences(x *Experiment, r *result.Result) string {
	var out []string
	for _, s := range x.Story(r) {
		line := s.Text
		if len(s.Packets) > 0 {
			line += fmt.Sprintf(" %v", s.Packets)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// TestStory catches sentences that speak of the wrong packets, that count wrongly, or that tell a loss which did not happen.
func TestStory(t *testing.T) {
	x := find(t, "exp1-syn-loss")
	sec := func(s float64) *result.Seconds { d := result.Seconds(s * 1e9); return &d }
	run := func(fate result.Fate) *result.Result {
		r := &result.Result{Outcome: &result.Event{What: "connect-error", At: *sec(7), Seen: sec(7.277), SeenErr: "ETIMEDOUT"}}
		for i, at := range []float64{0, 1.004, 3.02} {
			what := timeline.SYNRetransmission
			if i == 0 {
				what = timeline.SYN
			}
			r.Events = append(r.Events, result.Event{What: string(what), N: i, Seen: sec(at)})
			r.Packets = append(r.Packets, result.Packet{ID: i + 1, From: "client", What: string(what), N: i, Fate: fate})
		}
		return r
	}
	told := sentences(x, run(result.Dropped))
	for _, want := range []string{"[1]", "2 times in all", "[2 3]", "1.0, 2.0 and 4.3 s: each wait doubles", "died in the server's INPUT chain", "[1 2 3]",
		"After 7.277 s", "returned ETIMEDOUT", "277 ms later than the formula"} {
		if !strings.Contains(told, want) {
			t.Errorf("got\n%s\nwant %q in it", told, want)
		}
	}
	if lost := sentences(x, run(result.Lost)); strings.Contains(lost, "INPUT chain") {
		t.Errorf("packets that no rule dropped: got\n%s\nwant no word of the INPUT chain", lost)
	}
	linear := run(result.Dropped)
	linear.Sysctls = []result.Sysctl{{Host: "client", Name: "net.ipv4.tcp_syn_linear_timeouts", Now: "4"}}
	if told := sentences(x, linear); !strings.Contains(told, "the first 4 retransmissions come at a constant pace") {
		t.Errorf("got\n%s\nwant the linear timeouts in it", told)
	}
	if told := sentences(x, &result.Result{}); !strings.Contains(told, "no SYN at all") || !strings.Contains(told, "had not returned") {
		t.Errorf("an empty run: got\n%s\nwant that nothing was seen and nothing returned", told)
	}
}
