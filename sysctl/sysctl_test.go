package sysctl

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/labtest"
)

// Catches an entry that was typed in half: no text, no source, a default outside the range, a name twice.
func TestCatalogueIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range All() {
		if seen[k.Name] || seen[k.Short()] {
			t.Errorf("%s: name is used twice", k.Name)
		}
		seen[k.Name], seen[k.Short()] = true, true
		for what, text := range map[string]string{"summary": k.Summary, "meaning": k.Meaning, "unit": k.Unit, "moment": string(k.ReadAt), "source": k.Source,
			"since": k.Since.First()} {
			if text == "" {
				t.Errorf("%s: got no %s", k.Name, what)
			}
		}
		if strings.Contains(k.Summary, "\n") || strings.HasSuffix(k.Summary, ".") {
			t.Errorf("%s: got summary %q, want one line without a full stop", k.Name, k.Summary)
		}
		if len(k.Defaults) == 0 {
			t.Errorf("%s: got no default", k.Name)
		}
		for i, d := range k.Defaults {
			if (d.Value == "") == (d.Computed == "") {
				t.Errorf("%s: default %d: want a value or a rule, got %+v", k.Name, i, d)
			}
			if d.Value != "" && k.Check(d.Value) != nil {
				t.Errorf("%s: default %q: %v", k.Name, d.Value, k.Check(d.Value))
			}
			if i > 0 && compareVersions(k.Defaults[i-1].Since, d.Since) >= 0 {
				t.Errorf("%s: default %d: want ascending versions, got %q", k.Name, i, d.Since)
			}
		}
		if needs := k.Kind == Enum || k.Kind == Bits; needs != (len(k.Choices) > 0) {
			t.Errorf("%s: %v with %d choices", k.Name, k.Kind, len(k.Choices))
		}
	}
}

// Catches a lookup that takes only one form of the name, and a knob of the specification that is not in the catalogue.
func TestLookup(t *testing.T) {
	names := strings.Fields(`tcp_syn_retries tcp_synack_retries tcp_retries1 tcp_retries2 tcp_orphan_retries tcp_fin_timeout tcp_reordering tcp_syncookies
		tcp_keepalive_time tcp_keepalive_intvl tcp_keepalive_probes tcp_syn_linear_timeouts tcp_rto_min_us tcp_rto_max_ms tcp_sack tcp_timestamps
		tcp_window_scaling tcp_max_syn_backlog tcp_tw_reuse tcp_max_tw_buckets tcp_fack tcp_dsack tcp_frto tcp_abort_on_overflow tcp_rfc1337
		tcp_no_metrics_save tcp_congestion_control tcp_slow_start_after_idle tcp_retrans_collapse tcp_rmem tcp_wmem tcp_thin_linear_timeouts tcp_thin_dupack
		tcp_early_retrans tcp_recovery tcp_max_reordering tcp_fastopen tcp_fastopen_blackhole_timeout_sec tcp_invalid_ratelimit tcp_challenge_ack_limit
		tcp_ecn tcp_ecn_fallback tcp_notsent_lowat tcp_autocorking tcp_comp_sack_delay_ns tcp_comp_sack_nr tcp_no_ssthresh_metrics_save tcp_migrate_req
		tcp_pingpong_thresh tcp_backlog_ack_defer tcp_tw_reuse_delay tcp_shrink_window tcp_tw_recycle tcp_max_orphans tcp_mem tcp_low_latency
		ip_local_port_range`)
	for _, name := range names {
		short, ok := Lookup(name)
		full, okFull := Lookup("net.ipv4." + name)
		if !ok || !okFull || short.Name != "net.ipv4."+name || full.Name != short.Name {
			t.Errorf("Lookup(%q): got %q %v, want net.ipv4.%s", name, short.Name, ok, name)
		}
	}
	if k, ok := Lookup("somaxconn"); !ok || k.Name != "net.core.somaxconn" {
		t.Errorf("Lookup(somaxconn): got %q %v, want net.core.somaxconn", k.Name, ok)
	}
	if k, ok := Lookup("net.ipv6.tcp_sack"); ok {
		t.Errorf("Lookup(net.ipv6.tcp_sack): got %q, want nothing", k.Name)
	}
}

// Catches a suggestion for a word that is no typing mistake, and a typing mistake without a suggestion.
func TestSuggest(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"tcp_syn_retires", "net.ipv4.tcp_syn_retries"},
		{"net.ipv4.tcp_sak", "net.ipv4.tcp_sack"},
		{"tcp_keepalive_interval", "net.ipv4.tcp_keepalive_intvl"},
		{"tcp_synack_retry", "net.ipv4.tcp_synack_retries"},
		{"hello", ""},
		{"", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Suggest(tt.name); got != tt.want {
				t.Errorf("Suggest(%q): got %q, want %q", tt.name, got, tt.want)
			}
		})
	}
}

// Catches a value that only the kernel would refuse, after the lab is built; and numbers that it reads in another base.
func TestCheck(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"tcp_syn_retries", "1", ""},
		{"tcp_syn_retries", "127", ""},
		{"tcp_syn_retries", "0", "tcp_syn_retries=0: the kernel takes 1 to 127 (retries)"},
		{"tcp_syn_retries", "128", "tcp_syn_retries=128: the kernel takes 1 to 127 (retries)"},
		{"tcp_syn_retries", "010", "tcp_syn_retries=010: the kernel takes 1 to 127 (retries)"},
		{"tcp_syn_retries", "+2", "tcp_syn_retries=+2: the kernel takes 1 to 127 (retries)"},
		{"tcp_syn_retries", "", "tcp_syn_retries=: the kernel takes 1 to 127 (retries)"},
		{"tcp_syn_retries", "99999999999999999999", "tcp_syn_retries=99999999999999999999: the kernel takes 1 to 127 (retries)"},
		{"tcp_sack", "2", "tcp_sack=2: tcplab takes 0 or 1"},
		{"tcp_autocorking", "on", "tcp_autocorking=on: the kernel takes 0 or 1"},
		{"tcp_tw_reuse", "3", "tcp_tw_reuse=3: the kernel takes 0, 1 or 2"},
		{"tcp_fastopen", "0x602", ""},
		{"tcp_fastopen", "1538", ""},
		{"tcp_fastopen", "8", "tcp_fastopen=8: tcplab takes 0 or a sum of 0x1 0x2 0x4 0x200 0x400"},
		{"tcp_fastopen", "-1", "tcp_fastopen=-1: tcplab takes 0 or a sum of 0x1 0x2 0x4 0x200 0x400"},
		{"tcp_fastopen", "x", "tcp_fastopen=x: tcplab takes 0 or a sum of 0x1 0x2 0x4 0x200 0x400"},
		{"tcp_rmem", "4096 131072 6291456", ""},
		{"tcp_rmem", "4096\t131072\t6291456", ""},
		{"tcp_rmem", "4096 131072", "tcp_rmem=4096 131072: the kernel takes three numbers from 1 to 2147483647"},
		{"tcp_rmem", "0 1 1", "tcp_rmem=0 1 1: the kernel takes three numbers from 1 to 2147483647"},
		{"ip_local_port_range", "40000 40000", ""},
		{"ip_local_port_range", "50000 40000", "ip_local_port_range=50000 40000: tcplab takes two numbers from 1024 to 65535, the lower first"},
		{"tcp_congestion_control", "reno", ""},
		{"tcp_congestion_control", "re no", "tcp_congestion_control=re no: the kernel takes one word of letters, digits, _ and -"},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			k, ok := Lookup(tt.name)
			if !ok {
				t.Fatalf("no knob %s", tt.name)
			}
			if got := message(k.Check(tt.value)); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Catches versions that are compared as text (4.9 after 4.14), and a default given for a kernel that lacks the knob.
func TestDefaultFor(t *testing.T) {
	for _, tt := range []struct {
		name, version, want string
		ok                  bool
	}{
		{"tcp_syn_retries", "3.6.5", "5", true},
		{"tcp_syn_retries", "3.10", "6", true},
		{"tcp_syn_retries", "6.1.0-28-amd64", "6", true},
		{"tcp_syn_linear_timeouts", "6.4.16", "", false},
		{"tcp_syn_linear_timeouts", "6.5", "4", true},
		{"tcp_tw_recycle", "4.9", "0", true},
		{"tcp_tw_recycle", "4.14", "", false},
		{"tcp_challenge_ack_limit", "4.14", "1000", true},
		{"somaxconn", "5.3", "128", true},
		{"somaxconn", "5.10", "4096", true},
		{"tcp_max_syn_backlog", "6.18", "", false},
	} {
		t.Run(tt.name+" "+tt.version, func(t *testing.T) {
			k, _ := Lookup(tt.name)
			if got, ok := k.DefaultFor(tt.version); got != tt.want || ok != tt.ok {
				t.Errorf("got %q %v, want %q %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

// Catches an assignment that is taken apart at the wrong dot or equals sign, and an error that does not say what was wanted.
func TestParse(t *testing.T) {
	for _, tt := range []struct{ in, host, name, value, err string }{
		{in: "client.net.ipv4.tcp_sack=0", host: "client", name: "net.ipv4.tcp_sack", value: "0"},
		{in: "both.tcp_rmem = 4096 8192\t16384", host: "both", name: "net.ipv4.tcp_rmem", value: "4096 8192 16384"},
		{in: "server.somaxconn=1", host: "server", name: "net.core.somaxconn", value: "1"},
		{in: "server.net.ipv4.icmp_ratelimit=0", host: "server", name: "net.ipv4.icmp_ratelimit", value: "0"},
		{in: "tcp_sack=0", err: `host is "tcp_sack"; want client, server or both`},
		{in: "net.ipv4.tcp_sack=0", err: `host is "net"; want client, server or both`},
		{in: "client.tcp_sack", err: `no "="; want HOST.NAME=VALUE`},
		{in: "client.tcp_sack=", err: `no value after "="`},
		{in: "client.tcp_syn_retries=0", err: "tcp_syn_retries=0: the kernel takes 1 to 127"},
		{in: "client.net.ipv4.tcp_syn_retires=3", err: "did you mean net.ipv4.tcp_syn_retries?"},
		{in: "client.kernel.panic=1", err: `no knob "kernel.panic"; want a name under net.`},
		{in: "client.net.ipv4/../../kernel.panic=1", err: "letters, digits, dots, dashes and underscores only"},
		{in: "client.net.core.x; id=1", err: "letters, digits, dots, dashes and underscores only"},
		{in: "client.net.core.$(id)=1", err: "letters, digits, dots, dashes and underscores only"},
		{in: "client.net.core.x=1\x1b[2J", err: "cannot be printed"},
		{in: "client.net.core.x=1\x00", err: "cannot be printed"},
		{in: "client.net.core.x=\u202e1", err: "cannot be printed"},
		{in: "client.net.core.x=\xff", err: "cannot be printed"},
		{in: "client.net.core.x=1; id", host: "client", name: "net.core.x", value: "1; id"}, // the kernel's to judge

		{in: "client.net..ipv4=1", err: "has an empty part"},
	} {
		t.Run(tt.in, func(t *testing.T) {
			host, name, value, err := Parse(tt.in)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), "--set") {
					t.Fatalf("got error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil || host != tt.host || name != tt.name || value != tt.value {
				t.Errorf("got %q %q %q %v, want %q %q %q", host, name, value, err, tt.host, tt.name, tt.value)
			}
		})
	}
}

// Catches any input that makes Parse panic, return a name that leaves the tree, or be more than one command with two arguments when it is printed.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"client.tcp_sack=0", "both.net.ipv4.tcp_rmem=1 2 3", "server.net...=1", "client.net.ipv4.\x00=1", "=", "client.=x", "client.net.core.x=1; id", "client.net.core.x='$(id)'", "client.net.core.x;id=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, name, value, err := Parse(s)
		if err != nil {
			return
		}
		p, perr := path(name)
		if perr != nil || !filepath.IsLocal(p) || host == "" || value == "" || !strings.HasPrefix(name, "net.") {
			t.Errorf("Parse(%q): got %q %q %q, path %q %v", s, host, name, value, p, perr)
		}
		want := []string{"sysctl", "-w", name + "=" + value}
		if got, err := labtest.Words(Command(name, value)); err != nil || !slices.Equal(got, want) {
			t.Errorf("by hand: got %q, %v, want %q", got, err, want)
		}
	})
}

// tree makes a directory that looks like /proc/sys.
func tree(t *testing.T, files map[string]string) FS {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return FS{Root: root}
}

// Catches blanks of /proc that reach the caller, and a write that does not arrive.
func TestReadWrite(t *testing.T) {
	f := tree(t, map[string]string{"net/ipv4/tcp_rmem": "4096\t131072\t6291456\n", "net/ipv4/tcp_sack": "1\n", "net/ipv4/tcp_fastopen": "1\n"})
	if got, err := f.Read("net.ipv4.tcp_rmem"); got != "4096 131072 6291456" || err != nil {
		t.Errorf("got %q %v, want 4096 131072 6291456", got, err)
	}
	if err := f.Write("net.ipv4.tcp_sack", "0"); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Read("net.ipv4.tcp_sack"); got != "0" || err != nil {
		t.Errorf("got %q %v, want 0", got, err)
	}
	if err := f.Write("net.ipv4.tcp_rmem", "4096  131072\t6291456"); err != nil {
		t.Errorf("blanks: got %v, want no error", err)
	}
	if !f.Exists("net.ipv4.tcp_sack") || f.Exists("net.ipv4.tcp_nothing") || f.Exists("net.ipv4") || f.Exists("..") {
		t.Error("Exists: got a wrong answer")
	}
}

// Catches a write that the kernel changed or ignored and that passes for a success. The null device swallows every write and reads as
// empty, as a kernel that ignores the value does.
func TestWriteIsReadBack(t *testing.T) {
	f := tree(t, map[string]string{"net/ipv4/ip_forward": "0"})
	if err := os.Symlink(os.DevNull, filepath.Join(f.Root, "net/ipv4/tcp_invalid_ratelimit")); err != nil {
		t.Fatal(err)
	}
	err := f.Write("net.ipv4.tcp_invalid_ratelimit", "501")
	var changed *ChangedError
	if !errors.As(err, &changed) {
		t.Fatalf("got %v, want a ChangedError", err)
	}
	if diff := cmp.Diff(&ChangedError{Name: "net.ipv4.tcp_invalid_ratelimit", Wanted: "501"}, changed); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !strings.Contains(err.Error(), `wanted "501", found ""`) || !strings.Contains(err.Error(), "jiffies") {
		t.Errorf("got %q, want both values and the reason", err)
	}
}

// Catches a name that leads out of the tree.
func TestNamesThatAreRefused(t *testing.T) {
	f := tree(t, map[string]string{"secret": "x", "net/ipv4/tcp_sack": "1"})
	for _, name := range []string{"", ".", "..", "...secret", "net..secret", "../secret", "net/ipv4/tcp_sack", "net.ipv4.tcp_sack\x00", ".secret", "secret.", "net.ipv4.tcp sack", `net\secret`} {
		if got, err := f.Read(name); err == nil {
			t.Errorf("Read(%q): got %q, want an error", name, got)
		}
		if err := f.Write(name, "1"); err == nil {
			t.Errorf("Write(%q): got no error", name)
		}
		if _, err := f.Snapshot(name); err == nil {
			t.Errorf("Snapshot(%q): got no error", name)
		}
	}
}

// Catches an error about a missing knob that does not say whether the kernel is too old, too new, or has it only globally.
func TestMissingKnob(t *testing.T) {
	for _, tt := range []struct{ name, release, knob, want string }{
		{"too old", "6.1.0-28-amd64", "net.ipv4.tcp_syn_linear_timeouts", "came with Linux 6.5 (not yet in 6.4); this kernel is 6.1.0-28-amd64 and lacks it"},
		{"global then", "4.4.155", "net.ipv4.tcp_retries2", "global before Linux 4.6 (not yet in 4.4); this kernel is 4.4.155 and has it only in the first namespace"},
		{"always global", "6.18.44", "net.ipv4.tcp_mem", "only globally"},
		{"removed", "6.18.44", "net.ipv4.tcp_tw_recycle", "removed in Linux 4.12"},
		{"should be here", "6.18.44", "net.ipv4.tcp_sack", "but lacks it"},
		{"release unknown", "", "net.ipv4.tcp_rto_max_ms", "since Linux 6.15 (not yet in 6.14)"},
		{"misspelt", "6.18.44", "net.ipv4.tcp_sak", "did you mean net.ipv4.tcp_sack?"},
		{"unheard of", "6.18.44", "net.ipv4.conf.eth0.quux_of_the_day", "no such knob here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"net/core/x": "1"}
			if tt.release != "" {
				files["kernel/osrelease"] = tt.release + "\n"
			}
			f := tree(t, files)
			_, rerr := f.Read(tt.knob)
			for _, err := range []error{rerr, f.Write(tt.knob, "1")} {
				if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(message(err), tt.want) || !strings.Contains(message(err), tt.knob) {
					t.Errorf("got %v\nwant fs.ErrNotExist with %q", err, tt.want)
				}
			}
		})
	}
}

// Catches a snapshot that loses values, fails on a file that cannot be read, or gives one name to two files.
func TestSnapshot(t *testing.T) {
	f := tree(t, map[string]string{"net/ipv4/tcp_sack": "1\n", "net/ipv4/conf/eth0.5/rp_filter": "0\n", "net/core/somaxconn": "128\n", "kernel/x": "1\n"})
	if err := os.Symlink("nowhere", filepath.Join(f.Root, "net/ipv4/dangling")); err != nil {
		t.Fatal(err)
	}
	got, err := f.Snapshot("net")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"net.ipv4.tcp_sack": "1", "net.ipv4.conf.eth0/5.rp_filter": "0", "net.core.somaxconn": "128"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := f.Snapshot("net.nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

// Catches a knob of the catalogue that the baseline forgot, a value out of range, and a knob that belongs to the profile.
func TestBaselineCoversTheCatalogue(t *testing.T) {
	pinned := map[string]string{}
	for _, s := range Baseline(func(string) bool { return true }) {
		if _, twice := pinned[s.Name]; twice {
			t.Errorf("%s: pinned twice", s.Name)
		}
		pinned[s.Name] = s.Value
		if s.Why == "" {
			t.Errorf("%s: got no reason", s.Name)
		}
		if k, ok := Lookup(s.Name); ok && k.Check(s.Value) != nil {
			t.Errorf("%s: %v", s.Name, k.Check(s.Value))
		} else if !ok && strings.HasPrefix(s.Name, "net.ipv4.tcp_") {
			t.Errorf("%s: not in the catalogue", s.Name)
		}
	}
	for _, k := range All() {
		want := k.PerNamespace.First() != "" && k.Gone == "" && !slices.Contains(ProfileKnobs(), k.Name)
		if _, got := pinned[k.Name]; got != want {
			t.Errorf("%s: pinned: got %v, want %v", k.Name, got, want)
		}
	}
}

// Catches a baseline that asks for knobs this kernel does not have.
func TestBaselineLeavesOutWhatIsMissing(t *testing.T) {
	got := Baseline(func(name string) bool { return name == "net.ipv4.tcp_sack" })
	want := []Setting{{"net.ipv4.tcp_sack", "1", compiled + "; tail loss probes need it"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
