//go:build lab && linux

package sysctl

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tcplab/tcplab/internal/netns"
)

// inNewNamespace runs f on a thread in a network namespace of its own. It needs root.
func inNewNamespace(t *testing.T, f func(FS) error) {
	t.Helper()
	n, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Do(func() error { return f(FS{}) }); err != nil {
		t.Fatal(err)
	}
}

// Catches a baseline value that this kernel refuses or does not keep, and a catalogue that calls a knob global that is not.
func TestBaselineIsAccepted(t *testing.T) {
	inNewNamespace(t, func(f FS) error {
		var problems []error
		settings := Baseline(f.Exists)
		if len(settings) < 40 {
			t.Errorf("got %d settings, want more than 40: is this a namespace with a /proc?", len(settings))
		}
		for _, s := range settings {
			problems = append(problems, f.Write(s.Name, s.Value))
		}
		for _, s := range settings { // one knob may change another
			if got, err := f.Read(s.Name); err != nil || got != s.Value {
				t.Errorf("%s: got %q %v, want %q", s.Name, got, err, s.Value)
			}
		}
		for _, k := range All() {
			if k.PerNamespace.First() == "" && f.Exists(k.Name) {
				t.Errorf("%s: the catalogue calls it global, and a namespace has it", k.Name)
			}
		}
		return errors.Join(problems...)
	})
}

// Catches a knob of a namespace whose name in the catalogue, default or range is not this kernel's. A range that is not Narrow must
// be exactly the kernel's.
func TestCatalogueAgreesWithThisKernel(t *testing.T) {
	inNewNamespace(t, func(f FS) error {
		release, err := f.Read("kernel.osrelease")
		if err != nil {
			return err
		}
		for _, k := range All() {
			should := !k.PerNamespace.after(release) && (k.Gone == "" || compareVersions(release, k.Gone) < 0)
			if f.Exists(k.Name) != should {
				t.Errorf("%s: exists: got %v, want %v on %s", k.Name, !should, should, release)
				continue
			}
			if !should {
				continue
			}
			now, err := f.Read(k.Name)
			if err != nil {
				t.Errorf("%s: %v", k.Name, err)
				continue
			}
			if want, ok := k.DefaultFor(release); ok && want != now {
				t.Errorf("%s: default: got %s, want %s", k.Name, now, want)
			}
			if k.Kind == Int {
				checkEnds(t, f, k)
			}
		}
		return nil
	})
}

func checkEnds(t *testing.T, f FS, k Knob) {
	for _, n := range []int64{k.Min, k.Max} {
		err := f.Write(k.Name, strconv.FormatInt(n, 10))
		var changed *ChangedError
		if err != nil && !(k.Narrow && errors.As(err, &changed)) {
			t.Errorf("%s: end of the range: %v", k.Name, err)
		}
	}
	if k.Narrow {
		return
	}
	for _, n := range []int64{k.Min - 1, k.Max + 1} {
		if err := f.Write(k.Name, strconv.FormatInt(n, 10)); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s=%d: got %v, want EINVAL", k.Name, n, err)
		}
	}
}

// Catches an error that does not say which congestion controls may be set, or takes a missing module for a missing knob.
func TestUnknownCongestionControl(t *testing.T) {
	inNewNamespace(t, func(f FS) error {
		err := f.Write("net.ipv4.tcp_congestion_control", "nosuchcontrol")
		if !errors.Is(err, syscall.ENOENT) || !strings.Contains(message(err), "allows") || !strings.Contains(message(err), "reno") {
			t.Errorf("got %v, want the names that are allowed", err)
		}
		return nil
	})
}

// unlisted are TCP knobs that the catalogue leaves out, with the reason. None of them moves a packet of a lab.
var unlisted = map[string]string{
	"tcp_allowed_congestion_control":   "a list for the machine",
	"tcp_available_congestion_control": "read only",
	"tcp_available_ulp":                "read only",
	"tcp_child_ehash_entries":          "sizes of tables",
	"tcp_ehash_entries":                "sizes of tables",
	"tcp_early_demux":                  "a short cut inside the receiver",
	"tcp_fastopen_key":                 "a secret, made anew for each namespace",
	"tcp_fwmark_accept":                "policy routing",
	"tcp_l3mdev_accept":                "policy routing",
	"tcp_mtu_probe_floor":              "of effect with tcp_mtu_probing only",
	"tcp_probe_interval":               "of effect with tcp_mtu_probing only",
	"tcp_probe_threshold":              "of effect with tcp_mtu_probing only",
	"tcp_plb_cong_thresh":              "of effect with tcp_plb_enabled only",
	"tcp_plb_idle_rehash_rounds":       "of effect with tcp_plb_enabled only",
	"tcp_plb_rehash_rounds":            "of effect with tcp_plb_enabled only",
	"tcp_plb_suspend_rto_sec":          "of effect with tcp_plb_enabled only",
}

// Catches a TCP knob of this kernel that nobody has looked at: it is neither in the catalogue nor left out for a reason.
func TestNoKnobIsOverlooked(t *testing.T) {
	inNewNamespace(t, func(f FS) error {
		values, err := f.Snapshot("net.ipv4")
		if err != nil {
			return err
		}
		seen := 0
		for name := range values {
			short := strings.TrimPrefix(name, "net.ipv4.")
			if !strings.HasPrefix(short, "tcp_") {
				continue
			}
			seen++
			if _, known := Lookup(name); !known && unlisted[short] == "" {
				t.Errorf("%s: neither in the catalogue nor left out for a reason", name)
			}
		}
		if seen < 50 {
			t.Errorf("got %d TCP knobs, want more than 50: is this a namespace with a /proc?", seen)
		}
		for short := range unlisted {
			if _, known := Lookup(short); known {
				t.Errorf("%s: left out, and in the catalogue", short)
			}
		}
		return nil
	})
}
