package experiments

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestJitter catches a jitter that is taken where it says nothing or is not modelled, and an experiment without it.
func TestJitter(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags map[string]string
		want  string // a part of the error; empty: there is none
	}{
		{"exp0", map[string]string{"rtt": "20ms", "jitter": "5ms"}, ""},
		{"exp0", map[string]string{"rtt": "20ms", "jitter": "5ms", "seed": "7"}, ""},
		{"exp0", map[string]string{"jitter": "5ms"}, "want --rtt with it, 20ms or more"},
		{"exp0", map[string]string{"rtt": "20ms", "jitter": "6ms"}, "a quarter of the RTT at most, 5ms"},
		{"exp0", map[string]string{"rtt": "200ms", "jitter": "51ms"}, "from 0s to 50ms"},
		{"exp0", map[string]string{"rtt": "20ms", "seed": "7"}, "no dice to throw"},
		{"exp0", map[string]string{"rtt": "20ms", "jitter": "5ms", "linger": "40ms"}, "near the delayed ACK"},
		{"exp1", map[string]string{"rtt": "20ms", "jitter": "5ms", "drop-at": "client-output"}, "no SYN gets as far as the link"},
		{"exp3", map[string]string{"rtt": "20ms", "jitter": "5ms"}, ""},
		{"exp3", map[string]string{"rtt": "20ms", "jitter": "5ms", "cut": "mid"}, ""},
		{"exp3", map[string]string{"rtt": "200ms", "jitter": "50ms", "cut": "mid", "idle": "900ms"}, "take until 950ms"},
		{"exp5", map[string]string{"rtt": "20ms", "jitter": "5ms", "requests": "5", "lose": "syn-data"}, ""},
		{"exp5", map[string]string{"rtt": "20ms", "jitter": "5ms", "lose": "syn-ack"}, "want another loss"},
		{"exp7", map[string]string{"rtt": "20ms", "jitter": "5ms"}, ""},
		{"exp7", map[string]string{"rtt": "200ms", "jitter": "50ms", "drain-at": "2s"}, "or later, 1.39"},
		{"exp8", map[string]string{"rtt": "20ms", "jitter": "5ms"}, ""},
		{"exp8", map[string]string{"rtt": "200ms", "jitter": "50ms", "lose": "none", "linger2": "1"}, "3.5 RTOs"},
		{"exp10", map[string]string{"rtt": "30ms", "jitter": "7ms", "seed": "2"}, "icsk_ack.ato"},
		{"exp9", map[string]string{"rtt": "100ms", "jitter": "20ms", "seed": "7"}, ""},
		{"exp2-cap", map[string]string{"rtt": "100ms", "jitter": "20ms", "seed": "7"}, ""},
		{"exp2-cap", map[string]string{"rtt": "100ms", "jitter": "20ms", "at": "client-output"}, "no SYN gets as far as the link"},
		{"exp9", map[string]string{"rtt": "200ms", "jitter": "50ms"}, "--jitter=50ms: the last client"},
	} {
		x, err := Find(tt.name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := x.Plan(Fast, tt.flags, nil)
		if err == nil {
			e := env(t)
			e.Sysctls["client.net.ipv4.tcp_fastopen"], e.Sysctls["server.net.ipv4.tcp_fastopen"] = "1", "2"
			e.Options = p.Options
			_, err = x.Predict(e)
		}
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s %v: got %v, want %q", tt.name, tt.flags, err, tt.want)
		}
	}
	for _, x := range All() {
		if _, has := x.param(jitterFlag); !has {
			t.Errorf("%s: got no --%s, want it", x.Name, jitterFlag)
		}
	}
}

// TestJitterRefused catches a jitter that the link cannot have and that the plan takes: the lab would refuse some of it first, in words that name no flag.
func TestJitterRefused(t *testing.T) {
	for _, x := range All() {
		if !x.jitters() {
			continue
		}
		for want, flags := range map[string]map[string]string{
			"want --rtt with it":         {"jitter": "5ms"},
			"a quarter of the RTT":       {"jitter": "6ms", "rtt": "20ms"},
			"there are no dice to throw": {"seed": "7", "rtt": "20ms"},
			"":                           {"jitter": "5ms", "rtt": "20ms", "seed": "7"},
		} {
			if _, err := x.Plan(Fast, flags, nil); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s %v: got %v, want %q", x.Name, flags, err, want)
			}
		}
	}
}

// TestUnderJitter catches a setting for the link of a jitter that is made without one, or that --set does not go on top of.
func TestUnderJitter(t *testing.T) {
	const knob = "net.ipv4.tcp_adv_win_scale"
	for _, name := range []string{"exp7-zero-window", "exp11-timeouts"} {
		for _, tt := range []struct {
			flags map[string]string
			set   []string
			want  string
		}{{map[string]string{"rtt": "20ms"}, nil, ""}, {map[string]string{"rtt": "20ms", "jitter": "5ms"}, nil, "-2"},
			{map[string]string{"rtt": "20ms", "jitter": "5ms"}, []string{"server." + knob + "=1"}, "1"}} {
			p, err := find(t, name).Plan(Fast, tt.flags, tt.set)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, s := range p.Settings {
				if s.Name == knob && s.Host == "server" {
					got += s.Value
				}
			}
			if got != tt.want {
				t.Errorf("%s %v %v: got %s=%q, want %q", name, tt.flags, tt.set, knob, got, tt.want)
			}
		}
	}
}

// TestJitterDice catches dice that fall alike on both ways, or that exceed what was asked for.
func TestJitterDice(t *testing.T) {
	p := Options{"rtt": "20ms", "jitter": "5ms", "seed": "3"}.jittered()
	if !p.Every || len(p.Hold) != throws || len(p.Back) != throws || slices.Equal(p.Hold, p.Back) {
		t.Errorf("got %+v, want %d draws for each way, of its own", p, throws)
	}
	if most := slices.Max(slices.Concat(p.Hold, p.Back)); most > 5*time.Millisecond || most < 4*time.Millisecond {
		t.Errorf("got %v at most, want up to 5 ms", most)
	}
	if !(Options{"rtt": "20ms"}).jittered().Zero() {
		t.Error("without --jitter: got a plan, want none")
	}
}

// TestJitterFlows catches connections that share their draws, a prediction that has another's, and dice that are not thrown for one of them.
func TestJitterFlows(t *testing.T) {
	for _, x := range All() {
		if x.Flows == nil {
			continue
		}
		p, err := x.Plan(Fast, map[string]string{"rtt": "20ms", "jitter": "5ms", "seed": "3"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		plan := x.Setup(p.Options).Link
		var rows [][]time.Duration
		for i, port := range x.Flows(p.Options) {
			one := plan.Of(port)
			if len(plan.Flows) <= i || plan.Flows[i].Port != port || !slices.Equal(one.Hold, p.Options.jitteredFlow(port).Hold) {
				t.Errorf("%s: port %d: got %+v, want the draws that it is predicted with", x.Name, port, one)
			}
			rows = append(rows, one.Hold, one.Back)
		}
		for i, row := range rows {
			if len(row) != flowThrows || slices.Max(row) > 5*time.Millisecond || slices.ContainsFunc(rows[:i], func(before []time.Duration) bool { return slices.Equal(before, row) }) {
				t.Errorf("%s: row %d: got %v, want %d draws of its own up to 5ms", x.Name, i, row, flowThrows)
			}
		}
	}
}
