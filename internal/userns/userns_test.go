package userns

import (
	"slices"
	"testing"
)

// Catches a process with all rights that starts itself again, and one without that does not.
func TestLacks(t *testing.T) {
	for _, tt := range []struct {
		name, status string
		want         bool
	}{
		{"root", "Name:\ttcplab\nCapEff:\t000001ffffffffff\n", false},
		{"what a lab takes and no more", "CapEff:\t0000000000203000\n", false},
		{"an ordinary user", "CapEff:\t0000000000000000\n", true},
		{"a container without CAP_SYS_ADMIN", "CapEff:\t00000000a80435fb\n", true},
		{"no CAP_NET_RAW", "CapEff:\t0000000000201000\n", true},
		{"a kernel that does not say", "Name:\ttcplab\n", false},
		{"nonsense", "CapEff:\tnonsense\n", false},
	} {
		if got := lacks(tt.status); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.name, got, tt.want)
		}
	}
}

// Catches sudo's variables in the new process, which would give its files to a user whom its namespace does not know.
func TestWithout(t *testing.T) {
	got := without([]string{"A=1", "SUDO_UID=1000", "SUDO_UIDS=x", "B="}, "SUDO_UID", "SUDO_GID")
	if want := []string{"A=1", "SUDO_UIDS=x", "B="}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
