package labtest

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// fakeTB records how a test ended. Methods that Need and Golden do not call are the nil TB's and panic.
type fakeTB struct {
	testing.TB
	end, message string
}

func (f *fakeTB) Helper() {}

func (f *fakeTB) Errorf(format string, args ...any) {
	f.end, f.message = "error", fmt.Sprintf(format, args...)
}

func (f *fakeTB) Fatalf(format string, args ...any) {
	f.end, f.message = "fatal", fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (f *fakeTB) Skipf(format string, args ...any) {
	f.end, f.message = "skip", fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// record runs f as a test would run it: on a goroutine of its own that Skipf and Fatalf end.
func record(f func(t testing.TB)) *fakeTB {
	t := &fakeTB{end: "went on"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(t)
	}()
	<-done
	return t
}

// TestNeed catches a skip where the feature should exist, a failure where a skip is right, and a message that does not name what
// is missing.
func TestNeed(t *testing.T) {
	there := Requirement{Name: "there", Missing: func() string { return "" }}
	absent := Requirement{Name: "absent", Missing: func() string { return "no such thing; install it" }}
	tests := []struct {
		name    string
		require string
		ci      string
		reqs    []Requirement
		want    string
	}{
		{name: "nothing needed", require: "1", want: "went on"},
		{name: "met", reqs: []Requirement{there}, want: "went on"},
		{name: "met and required", require: "1", reqs: []Requirement{there}, want: "went on"},
		{name: "missing on a laptop", reqs: []Requirement{there, absent}, want: "skip"},
		{name: "missing, required", require: "1", reqs: []Requirement{absent}, want: "fatal"},
		{name: "missing, on CI", ci: "true", reqs: []Requirement{absent, there}, want: "fatal"},
		{name: "switched off by 0", require: "0", reqs: []Requirement{absent}, want: "skip"},
		{name: "CI says false", ci: "false", reqs: []Requirement{absent}, want: "skip"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TCPLAB_REQUIRE", tt.require)
			t.Setenv("CI", tt.ci)
			got := record(func(t testing.TB) { Need(t, tt.reqs...) })
			if got.end != tt.want {
				t.Errorf("got %s (%s), want %s", got.end, got.message, tt.want)
			}
			if got.end != "went on" && !strings.Contains(got.message, "absent (no such thing; install it)") {
				t.Errorf("got message %q, want one that names what is missing and why", got.message)
			}
		})
	}
}

// TestRequirements catches a requirement that is always met.
func TestRequirements(t *testing.T) {
	tests := []struct {
		name string
		req  Requirement
		want string // part of what Missing says; "" means met
	}{
		{"a command that is there", Command("go"), ""},
		{"a command that is not", Command("tcplab-no-such-command"), "not found"},
		{"a file that is there", File("need_test.go"), ""},
		{"a file that is not", File("testdata/no-such-file"), "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.req.Missing()
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestIPTablesMissing catches a check that passes on a machine without iptables.
func TestIPTablesMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if got := IPTables.Missing(); !strings.Contains(got, "not found") {
		t.Errorf("got %q, want a message that says iptables is not found", got)
	}
}

// TestMissingCapabilities catches reading the wrong line or the wrong bits: a container's root must not pass for root.
func TestMissingCapabilities(t *testing.T) {
	tests := []struct{ name, status, want string }{
		{"full root", "CapInh:\t0000000000000000\nCapEff:\t000001ffffffffff\n", ""},
		{"ordinary user", "CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000000\n",
			"no CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN; run make lab, or run as root"},
		{"container's root", "CapEff:\t00000000a80425fb\n", "no CAP_NET_ADMIN, CAP_SYS_ADMIN; run make lab, or run as root"},
		{"no line", "Name:\tx\n", "capabilities cannot be read: no CapEff line in /proc/self/status"},
		{"no number", "CapEff:\tzz\n", `CapEff "zz": want a hexadecimal number`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := missingCapabilities([]byte(tt.status)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
