package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/experiments/files"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/timeline"
)

// catalogue are the experiments that there are as files, with the flags under which the catalogue's own is the same.
var catalogue = map[string]map[string]string{
	"exp0-handshake": nil, "exp1-syn-loss": nil, "exp2-synack-loss": nil, "exp3-ack-loss": nil, "exp4-keepalive": nil, "exp6-fast-retransmit": nil,
}

func file(t testing.TB, name string) string {
	t.Helper()
	b, err := fs.ReadFile(files.FS, name+".yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func parse(t testing.TB, text string) *File {
	t.Helper()
	f, err := Parse("lab.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// predicted is an experiment's prediction for a kernel, over every phase and for one start.
func predicted(t *testing.T, x *experiments.Experiment, version string, flags map[string]string, set ...string) []timeline.Timeline {
	t.Helper()
	v, err := kernel.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := kernel.Model(v, 250)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := x.Plan(experiments.Textbook, flags, set)
	if err != nil {
		t.Fatal(err)
	}
	var out []timeline.Timeline
	for _, start := range []*oracle.Start{nil, {Jiffies: 1<<32 + 12345, Phase: time.Millisecond}} {
		e, err := runner.Env(x, plan, facts)
		if err != nil {
			t.Fatal(err)
		}
		e.Start = start
		p, err := x.Predict(e)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// TestCatalogue catches a file that breaks, sets, does or expects something else than the experiment of the catalogue that it writes out. Both
// come to their question for the oracle on their own ways.
func TestCatalogue(t *testing.T) {
	found, err := fs.Glob(files.FS, "*.yaml")
	if err != nil || len(found) != len(catalogue) {
		t.Fatalf("got files %v, %v, want one for each of %v", found, err, catalogue)
	}
	for name, flags := range catalogue {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := parse(t, file(t, name)).Experiment()
			own, err := experiments.Find(name)
			if err != nil {
				t.Fatal(err)
			}
			versions := []string{"5.15", "6.12"}
			if name == "exp4-keepalive" {
				versions = versions[1:] // two hours of phases are slow to look through
			}
			for _, version := range versions {
				got, want := predicted(t, x, version, nil), predicted(t, own, version, flags)
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("Linux %s: (-catalogue +file):\n%s", version, d)
				}
			}
			over := map[string]string{"ipv6": "yes"}
			if d := cmp.Diff(predicted(t, own, "6.12", over), predicted(t, x, "6.12", over)); d != "" {
				t.Errorf("over IPv6: (-catalogue +file):\n%s", d)
			}
			plan, _ := own.Plan(experiments.Textbook, flags, nil)
			if got, want := x.Setup(nil), own.Setup(plan.Options); got.RTT != want.RTT || len(got.Listen) != len(want.Listen) || got.Listen[0] != want.Listen[0] {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// TestOtherFile is TestCatalogue's negative control: what a file changes, its prediction shows.
func TestOtherFile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, from, old, new string }{
		{"a setting", "exp1-syn-loss", "tcp_syn_retries: 5", "tcp_syn_retries: 4"},
		{"a number", "exp1-syn-loss", "drop: syn ", "drop: syn[1..2]"},
		{"a place", "exp1-syn-loss", "drop: syn ", "drop: syn\n    at: client"},
		{"a loss", "exp6-fast-retransmit", "data[15]", "data[16]"},
		{"a link", "exp6-fast-retransmit", "rtt: 100ms", "rtt: 80ms"},
		{"a time", "exp0-handshake", "sleep: 100ms          #", "sleep: 120ms #"},
		{"a text", "exp3-ack-loss", `"123456"`, `"1234567"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := file(t, tt.from)
			if !strings.Contains(text, tt.old) {
				t.Fatalf("%s has no %q", tt.from, tt.old)
			}
			x := parse(t, strings.Replace(text, tt.old, tt.new, 1)).Experiment()
			if cmp.Equal(predicted(t, x, "6.12", nil), predicted(t, parse(t, text).Experiment(), "6.12", nil)) {
				t.Errorf("%s for %s changes nothing", tt.new, tt.old)
			}
		})
	}
}

// TestFamily catches a file whose family is not that of its addresses, rules and answers, one that the command line cannot take over the other
// family, and commands for a person that are of another.
func TestFamily(t *testing.T) {
	t.Parallel()
	const text = `schema: tcplab.experiment/v1
name: refused
link: {family: FAMILY}
client: {initial_window: 20}
faults: [{reject: syn, with: ANSWER}]
steps: [connect]
`
	for _, tt := range []struct {
		family, answer, flag string
		ipv6                 bool
		want, errno          string // what answers, and what connect(2) makes of it
	}{
		{"ipv4", "icmp-net-unreachable", "", false, "icmp-net-unreachable", "ENETUNREACH"},
		{"ipv6", "icmp6-no-route", "", true, "icmp6-no-route", "ENETUNREACH"},
		{"ipv4", "icmp-admin-prohibited", "", false, "icmp-admin-prohibited", "EHOSTUNREACH"},
		{"ipv4", "icmp-admin-prohibited", "yes", true, "icmp6-adm-prohibited", "EACCES"},
		{"ipv6", "icmp6-adm-prohibited", "no", false, "icmp-admin-prohibited", "EHOSTUNREACH"},
		{"ipv6", "icmp-host-unreachable", "", true, "icmp6-addr-unreachable", "EHOSTUNREACH"},
		{"ipv6", "tcp-reset", "", true, "tcp-reset", "ECONNREFUSED"},
	} {
		x := parse(t, strings.NewReplacer("FAMILY", tt.family, "ANSWER", tt.answer).Replace(text)).Experiment()
		flags := map[string]string{}
		if tt.flag != "" {
			flags["ipv6"] = tt.flag
		}
		plan, err := x.Plan(experiments.Textbook, flags, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := x.Setup(plan.Options)
		if r := s.Faults[0].Rule; s.IPv6 != tt.ipv6 || r.IPv6 != tt.ipv6 || r.Reject != tt.want {
			t.Errorf("%+v: got IPv6 %v with the rule %+v, want %s", tt, s.IPv6, r, tt.want)
		}
		other, address := "ip6tables", "10.99.0.2"
		if tt.ipv6 {
			other, address = "iptables", "fd00:10:99::2"
		}
		script := strings.Join(x.Script(plan), "\n")
		if strings.Contains(script, " "+other+" ") || !strings.Contains(script, `s.connect(("`+address+`"`) || !strings.Contains(script, tt.want) ||
			strings.Contains(script, "ip -6 route change") != tt.ipv6 {
			t.Errorf("%+v: got the commands\n%s", tt, script)
		}
		if got := predicted(t, x, "6.12", flags)[0].Outcome; got.Errno != tt.errno {
			t.Errorf("%+v: got the outcome %+v, want %s", tt, got, tt.errno)
		}
	}
}

// TestLateSYN reads a prediction that the catalogue does not have: two SYNs are lost, the third one is answered.
func TestLateSYN(t *testing.T) {
	t.Parallel()
	x := parse(t, strings.Replace(file(t, "exp1-syn-loss"), "drop: syn ", "drop: syn[1..2]", 1)).Experiment()
	got := predicted(t, x, "6.12", nil)[0]
	var s []string
	for _, e := range append(got.Events, *got.Outcome) {
		s = append(s, fmt.Sprintf("%s %s %d %v", e.Host, e.What, e.N, e.At))
	}
	want := []string{"client syn 0 0s", "client syn-retransmission 1 1s", "client syn-retransmission 2 3s", "server syn-ack 0 3s", "client ack 0 3s", "client connected 0 3s"}
	if d := cmp.Diff(want, s); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if last := got.Events[2]; last.Earliest != got.Events[3].Earliest || got.Events[3].Latest <= last.Latest {
		t.Errorf("the SYN-ACK's window %+v does not follow from the SYN's, %+v", got.Events[3].Bound, last.Bound)
	}
	// One SYN more is lost than the kernel sends: it dies as if all were.
	x = parse(t, strings.NewReplacer("drop: syn ", "drop: syn[1..3]", "tcp_syn_retries: 5", "tcp_syn_retries: 2").Replace(file(t, "exp1-syn-loss"))).Experiment()
	if got := predicted(t, x, "6.12", nil)[0]; got.Outcome.Errno != "ETIMEDOUT" || len(got.Events) != 3 {
		t.Errorf("got %+v, want three SYNs and ETIMEDOUT", got)
	}
}

// TestProblems catches a mistake that is not found, is told at another place, or hides the ones behind it.
func TestProblems(t *testing.T) {
	const head = "schema: tcplab.experiment/v1\nname: my-lab\n"
	for _, tt := range []struct {
		name, text string
		want       []string // beginnings, "line:column: text"
	}{
		{"nothing", "", []string{"1:1: the file is empty"}},
		{"no YAML", "steps: [connect", []string{"1:8: not YAML"}},
		{"a list", "- a\n", []string{"1:1: got a list, want another value"}},
		{"no keys", "name: my-lab\n", []string{"1:1: schema is missing: want tcplab.experiment/v1", "1:1: steps is missing: want a list of steps"}},
		{"another version", "schema: tcplab.experiment/v9\nname: x\nsteps: [connect]\n", []string{`1:9: schema: got "tcplab.experiment/v9", want tcplab.experiment/v1`}},
		{"twice", head + "name: other\nsteps: [connect]\n", []string{"3:1: name is there twice: first in line 2"}},
		{"an alias", head + "question: &a why\nsummary: *a\nsteps: [connect]\n", []string{"3:11: Anchor: anchors", "4:10: Alias: anchors"}},
		{"keys", head + "clent: {}\nclient: {sysctls: {}}\nsteps: [connect]\n", []string{
			`3:1: there is no "clent" here (client, expect, faults, link, name, question, schema, server, steps, summary); did you mean client?`,
			`4:10: client: there is no "sysctls" here (initial_window, sysctl); did you mean sysctl?`}},
		{"a family", head + "link:\n  family: ipv5\nsteps: [connect]\n", []string{`4:11: link.family: got "ipv5", want ipv4 or ipv6; did you mean ipv4?`}},
		{"values", head + "link: {rtt: 5, router: maybe}\nserver: {service: htpp}\nsteps:\n  - conect\n  - sleep: 5\n", []string{
			"3:13: link.rtt: got 5, want a time with its unit", `3:24: link.router: got "maybe", want true or false`,
			`4:19: server.service: got "htpp", want http, echo, sink or hold; did you mean http?`,
			`6:5: steps[0]: got "conect", want a step without an argument: connect, receive, shutdown or close; did you mean connect?`,
			"7:12: steps[1].sleep: got 5, want a time with its unit"}},
		{"knobs", head + "client:\n  sysctl:\n    tcp_syn_retrys: 3\n    tcp_syn_retries: 0\nsteps: [connect]\n", []string{
			`5:5: client.sysctl: tcp_syn_retrys: no knob "tcp_syn_retrys"; did you mean net.ipv4.tcp_syn_retries?`, "6:5: client.sysctl: tcp_syn_retries: "}},
		{"a schema's problem does not hide what lies elsewhere", head + "link: {rtt: 5}\nclient: {sysctl: {tcp_sak: 1}}\nsteps: [connect]\n", []string{
			"3:13: link.rtt: ", "4:19: client.sysctl: tcp_sak: "}},
		{"faults", head + "faults:\n  - drop: synn\n  - drop: data[0]\n  - drop: data[3\n  - {drop: syn, delay: 5ms}\n  - {drop: syn, at: router, from: server}\n  - {drop: all, at: client}\nsteps: [connect]\n", []string{
			`4:11: drop: no packets are called "synn": want syn, synack, ack, data, fin, rst or all; did you mean syn?`, `5:11: drop: "data[0]": want numbers from 1`,
			`6:11: drop: "data[3": want a closing bracket`, "7:5: a fault does one thing", "8:21: at: there is no router", "8:35: from: a syn comes from the client",
			"9:5: all: drop it where it arrives"}},
		{"steps", head + "faults: [{name: cut, drop: all}]\nsteps:\n  - send: x\n  - sleep: 1s\n  - connect\n  - get: /\n  - close\n  - receive\n  - fault: cutt on\n  - set: client.tcp_retries2\n", []string{
			"5:5: send: there is no connection yet", "6:5: sleep: time counts from the connect", "10:5: receive: the client has closed before",
			"11:12: fault: none is called cutt; did you mean cut?; there are cut", "12:10: set: got \"client.tcp_retries2\", want HOST.NAME=VALUE"}},
		{"no model", head + "steps: [connect, {send: x}, {send: y}]\n", []string{"3:9: expect: no model speaks of these steps and faults; write what you expect into expect.text"}},
		{"another model", head + "faults: [{drop: syn}]\nsteps: [connect]\nexpect: {model: exchange}\n", []string{"4:9: expect: the model exchange does not speak of this: after connect it knows get close"}},
		{"text", head + "steps: [connect]\nexpect:\n  text: |\n    0 client > S 0:0(0)\n    soon client > S 0:0(0)\n    +1 client > X 0:0(0)\n    +1 client > P. 1:7(5) ack 1\n    +1 client conect = 0\n    +1 client > P. 1:7(6) ack 1 <tail-los-probe>\n", []string{
			`7:5: text: time "soon"`, `8:5: text: "> X 0:0(0)": want a packet`, "9:5: text: 1:7(5): want SEQ:END(LEN)", "10:5: text: client conect: only the client's calls are seen",
			"11:5: text: <tail-los-probe>: no packets are called so"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("lab.yaml", []byte(tt.text))
			var invalid *Invalid
			if !errors.As(err, &invalid) {
				t.Fatalf("got %v, want an *Invalid", err)
			}
			var got []string
			for _, p := range invalid.Problems {
				got = append(got, fmt.Sprintf("%d:%d: %s", p.Pos.Line, p.Pos.Col, p.Text))
			}
			ok := len(got) == len(tt.want)
			for i := range tt.want {
				ok = ok && strings.HasPrefix(got[i], tt.want[i])
			}
			if !ok {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// TestRole catches packets that are read as others.
func TestRole(t *testing.T) {
	for _, tt := range []struct {
		in   string
		role Role
		nth  []int
	}{
		{"syn", SYN, nil}, {"syn[1..2]", SYN, []int{1, 2}}, {"synack", SYNACK, nil}, {"data[3] once", Data, []int{3}}, {"data once", Data, []int{1}},
		{"data[19, 15,15..16]", Data, []int{15, 16, 19}}, {" ack [1] ", ACK, []int{1}}, {"all", All, nil},
	} {
		role, nth, err := parseRole(tt.in)
		if err != nil || role != tt.role || !slices.Equal(nth, tt.nth) {
			t.Errorf("%q: got %v %v, %v, want %v %v", tt.in, role, nth, err, tt.role, tt.nth)
		}
	}
	for _, in := range []string{"", "syn[", "syn[]", "syn[0]", "syn[2..1]", "syn[1..200]", "syn[x]", "all[1]", "SYN", "syn twice", "syn[1]]", "data[99999999999999999999]"} {
		if role, nth, err := parseRole(in); err == nil {
			t.Errorf("%q: got %v %v, want an error", in, role, nth)
		}
	}
}

// TestText catches windows that are not those of the timers, and repeats that are called by another name.
func TestText(t *testing.T) {
	_, problems := parseScript(`
0      client > S 0:0(0)            # time counts from here
+1     client > S 0:0(0)
+0     server > S. 0:0(0) ack 1
+0     client > . 1:1(0) ack 1
+0     client connect = 0
+0.5   client > P. 1:7(6) ack 1
+.2~.3 client > P. 1:7(6) ack 1
`, func(int) Pos { return Pos{1, 1} })
	if len(problems) != 1 || !strings.Contains(problems[0].Text, "a range of either") { // +.2 and .3 are not of one kind
		t.Fatalf("got %v, want one problem in the last line", problems)
	}
	s, problems := parseScript(strings.ReplaceAll(`0 client > S 0:0(0)|+1 client > S 0:0(0)|+0 server > S. 0:0(0) ack 1|+0 client connect = 0|+.5~+.6 client > P. 1:7(6) ack 1|`+
		`+.2 client > P. 1:7(6) ack 1 <tail-loss-probe>|+.4 client > P. 1:7(6) ack 1|+9 client read = ETIMEDOUT`, "|", "\n"), func(int) Pos { return Pos{1, 1} })
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	facts, err := kernel.Model(kernel.Version{Major: 6, Minor: 12}, 250)
	if err != nil {
		t.Fatal(err)
	}
	got := s.timeline(facts)
	var lines []string
	for _, e := range append(got.Events, *got.Outcome) {
		lines = append(lines, fmt.Sprintf("%s %s %d: %v to %v", e.Host, e.What, e.N, e.Earliest, e.Latest))
	}
	want := []string{"client syn 0: 0s to 0s", "client syn-retransmission 1: 1s to 1.032s", "server syn-ack 0: 1s to 1.033s", "client connected 0: 1s to 1.034s",
		"client data 0: 1.5s to 1.634s", "client tail-loss-probe 0: 1.7s to 1.838s", "client rto-retransmission 1: 2.1s to 2.27s", "client socket-error 0: 11.1s to 11.526s"}
	if d := cmp.Diff(want, lines); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// FuzzParse catches bytes that panic, a problem without a place in the file, and a file that is valid and cannot be described or written out
// as commands.
func FuzzParse(f *testing.F) {
	found, err := fs.Glob(files.FS, "*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range found {
		b, err := fs.ReadFile(files.FS, name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := Parse("fuzz.yaml", src)
		var invalid *Invalid
		switch {
		case errors.As(err, &invalid):
			if len(invalid.Problems) == 0 {
				t.Error("invalid without a problem")
			}
			for _, p := range invalid.Problems {
				if p.Pos.Line < 1 || p.Pos.Col < 1 || p.Text == "" {
					t.Errorf("got %+v, want a place and a text", p)
				}
			}
		case err != nil:
			t.Errorf("got %v, want an *Invalid", err)
		default:
			x := file.Experiment()
			plan, err := x.Plan(experiments.Textbook, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(x.Setup(nil).Listen) != 1 || len(x.Script(plan)) == 0 || file.Model() == "" {
				t.Error("the experiment is not whole")
			}
		}
	})
}
