package userns

import (
	"slices"
	"strings"
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

// Catches a refusal that does not name the setting that does it and the command that mends it, or names one that does not.
func TestDenied(t *testing.T) {
	const clone, apparmor = "kernel.unprivileged_userns_clone", "kernel.apparmor_restrict_unprivileged_userns"
	for _, tt := range []struct {
		name     string
		settings map[string]string
		want     []string
	}{
		{"neither is there", nil, nil},
		{"both allow it", map[string]string{clone: "1", apparmor: "0"}, nil},
		{"Debian's", map[string]string{clone: "0"}, []string{"sudo sysctl -w " + clone + "=1"}},
		{"Ubuntu's", map[string]string{clone: "1", apparmor: "1"}, []string{"sudo sysctl -w " + apparmor + "=0"}},
		{"both", map[string]string{clone: "0", apparmor: "1"}, []string{"sudo sysctl -w " + clone + "=1", "sudo sysctl -w " + apparmor + "=0"}},
	} {
		got := denied(func(name string) string { return tt.settings[name] })
		for _, w := range tt.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: got %q, want %q in it", tt.name, got, w)
			}
		}
		if n := strings.Count(got, "sudo"); n != len(tt.want) || (n == 0) != strings.Contains(got, "chroot") {
			t.Errorf("%s: got %q, want %d commands, or the sentence for all other reasons", tt.name, got, len(tt.want))
		}
	}
}
