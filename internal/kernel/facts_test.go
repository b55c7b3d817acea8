package kernel

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTable catches a fact that is missing from the table, an order that changes and a provenance that is lost.
func TestTable(t *testing.T) {
	f, err := Model(Version{6, 18, 44}, 250)
	if err != nil {
		t.Fatal(err)
	}
	by := "kernel version 6.18.44"
	want := [][3]string{
		{"version", "6.18.44", "given"},
		{"HZ", "250 (a jiffy is 4ms)", "given"},
		{"timer wheel", "non-cascading: late by up to 1/8 of the level", by},
		{"initial RTO", "1s", by},
		{"tcp_syn_linear_timeouts", "yes", by},
		{"tcp_rto_max_ms", "yes", by},
		{"SYN expiry", "by count or time, whichever comes first", by},
		{"TCP_USER_TIMEOUT in SYN-SENT", "ends the connection", by},
	}
	if d := cmp.Diff(want, f.Table()); d != "" {
		t.Errorf("table (-want +got):\n%s", d)
	}
	f.Release, f.Arch = "6.18.44", "x86_64"
	if got := len(f.Table()); got != len(want)+2 {
		t.Errorf("got %d rows for a running kernel, want %d", got, len(want)+2)
	}
}

// TestRuleNames catches a rule without words, and a value outside the list that passes for one inside.
func TestRuleNames(t *testing.T) {
	tests := []struct{ name, got, want string }{
		{"time", ExpireByTime.String(), "by time"},
		{"count", ExpireByCount.String(), "by count"},
		{"unknown expiry", ExpiryRule(9).String(), "ExpiryRule(9)"},
		{"ignored", UserTimeoutIgnored.String(), "ignored"},
		{"bursts", UserTimeoutBursts.String(), "shortens the timer, does not end the connection"},
		{"unknown user timeout", UserTimeoutRule(9).String(), "UserTimeoutRule(9)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.got != tt.want {
				t.Errorf("got %q, want %q", tt.got, tt.want)
			}
		})
	}
}
