package cli

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/analyse"
	"github.com/tcplab/tcplab/internal/result"
)

// analysed runs tcplab analyse --json in this process.
func analysed(t *testing.T, path string) result.Analysis {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs}
	if code := a.main([]string{"analyse", "--json", path}); code != 0 {
		t.Fatalf("%s: exit code %d: %s", path, code, errs.String())
	}
	var doc result.Analysis
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return doc
}

// TestLikenesses catches a suggestion that the program itself refuses: the command of every finding in every capture is taken as it stands,
// and predicted. It also catches kinds of finding whose experiment exists and is not named.
func TestLikenesses(t *testing.T) {
	files, _ := filepath.Glob("../analyse/testdata/*.pcapng")
	more, _ := filepath.Glob("../analyse/testdata/ordinary/*.pcap")
	tried := map[string]bool{}
	kinds := map[string]string{}
	for _, path := range append(files, more...) {
		for _, c := range analysed(t, path).Connections {
			for _, f := range c.Findings {
				if f.Try != "" {
					tried[f.Try], kinds[f.Kind] = true, f.Like
				}
			}
		}
	}
	for try := range tried {
		words := strings.Fields(try)
		if !slices.Equal(words[:3], []string{"sudo", "tcplab", "run"}) {
			t.Errorf("%q: want a command that begins with sudo tcplab run", try)
			continue
		}
		var out, errs bytes.Buffer
		a := &app{out: &out, err: &errs}
		if code := a.main(append([]string{"predict", "--kernel=6.12", "--hz=250"}, words[3:]...)); code != 0 {
			t.Errorf("%q: exit code %d: %s", try, code, errs.String())
		}
	}
	for kind, want := range map[string]string{"syn-unanswered": "exp1-syn-loss", "syn-refused": "exp0-handshake", "syn-ack-unheard": "exp2-synack-loss",
		"ack-unheard": "exp3-ack-loss", "data-unanswered": "exp3-ack-loss", "keepalive-unanswered": "exp4-keepalive", "loss-repaired": "exp6-fast-retransmit"} {
		if kinds[kind] != want {
			t.Errorf("%s: got %q in the captures, want %s", kind, kinds[kind], want)
		}
	}
}

// TestExperimentsResembleThemselves catches a diagnosis that sends the reader to another experiment: the captures of the experiments' own
// clients, with the profile fast, must resemble the experiments that made them. Nothing was wrong in exp0 and exp5.
func TestExperimentsResembleThemselves(t *testing.T) {
	for name, want := range map[string]string{"exp0": "", "exp1": "sudo tcplab run exp1 --syn-retries=1", "exp2-s": "exp2-synack-loss", "exp3": "sudo tcplab run exp3 --cut=",
		"exp4": "sudo tcplab run exp4 --keepalive-time=1 --keepalive-intvl=1 --keepalive-probes=2", "exp5": "", "exp6": "sudo tcplab run exp6 --sack=on --rtt=21ms"} {
		doc := analysed(t, "../analyse/testdata/experiments/"+name+".pcapng")
		if len(doc.Connections) == 0 {
			t.Errorf("%s: got no connection", name)
		}
		got := ""
		for _, c := range doc.Connections {
			if len(c.Findings) > 0 && c.Findings[0].Grade != "note" {
				got += c.Findings[0].Try + ";"
			}
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", name, got, want)
		}
	}
}

// TestLinearSYN catches tcp_syn_linear_timeouts read wrongly off the waits: kernel 6.18 with its default of 4 sent these with tcp_syn_retries=6.
func TestLinearSYN(t *testing.T) {
	seconds := func(s ...float64) (out []result.Seconds) {
		for _, x := range s {
			out = append(out, result.Seconds(x*1e9))
		}
		return out
	}
	for _, tt := range []struct {
		gaps []result.Seconds
		n    int
		want string
	}{
		{seconds(1.02, 2.02, 4.1, 8.2, 16.1, 33), 6, "syn-retries=6"},
		{seconds(1.02, 1.02, 1.02, 1.02, 1.02, 2.02, 4.1), 7, "syn-retries=4 syn-linear-timeouts=4"},
		{seconds(1.02, 1.02), 2, "syn-retries=2 syn-linear-timeouts=1"},
		{nil, 0, "syn-retries=1"},
	} {
		f := analyse.Finding{N: tt.n}
		for _, g := range tt.gaps {
			f.Gaps = append(f.Gaps, g.Duration())
		}
		if got := strings.Join(lostSYN(&f, nil).flags, " "); got != tt.want {
			t.Errorf("waits %v: got %q, want %q", tt.gaps, got, tt.want)
		}
	}
}

// TestPick catches conditions that are joined wrongly, and words that are taken for something else.
func TestPick(t *testing.T) {
	client, server := netip.MustParseAddrPort("10.0.0.5:50000"), netip.MustParseAddrPort("[fd00::2]:443")
	for text, want := range map[string]bool{
		"host 10.0.0.5": true, "host 10.0.0.6": false, "port 443": true, "port 44": false, "net 10.0.0.0/8": true, "net fd00::/16": true, "net 11.0.0.0/8": false,
		"not port 443": false, "not not port 443": true, "port 443 and host 10.0.0.5": true, "port 443 and host 10.0.0.6": false, "port 1 or port 443": true,
		"port 443 or port 443 and port 1": false, "[fd00::2]:443": true, "10.0.0.5:443": false, "10.0.0.5:50000": true,
	} {
		p, err := parsePick(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if got := p(client, server); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"", "  ", "host", "host x", "port 65536", "port -1", "net 10.0.0.0", "tcp", "and", "port 1 and", "not", "port 1 port 2", "port 1 xor port 2"} {
		if _, err := parsePick(text); err == nil {
			t.Errorf("%q: got no error, want one", text)
		}
	}
}

// FuzzPick feeds conditions of strangers. None may make it panic, and what is taken must answer.
func FuzzPick(f *testing.F) {
	f.Add("host 10.0.0.5 and not port 443 or net 10.0.0.0/8")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := parsePick(text); err == nil {
			p(netip.AddrPort{}, netip.MustParseAddrPort("[::1]:1"))
		}
	})
}

// TestAnalyseChinese catches a finding that --lang=zh leaves in English.
func TestAnalyseChinese(t *testing.T) {
	files, _ := filepath.Glob("../analyse/testdata/*.pcapng")
	more, _ := filepath.Glob("../analyse/testdata/ordinary/*.pcap")
	found := 0
	for _, path := range append(files, more...) {
		var out, errs bytes.Buffer
		a := &app{out: &out, err: &errs}
		if code := a.main([]string{"analyse", "--lang=zh", path}); code != 0 {
			t.Fatalf("%s: exit code %d: %s", path, code, errs.String())
		}
		_, tail, _ := strings.Cut(out.String(), "how it ended")
		tail, _, _ = strings.Cut(tail, "This is what passed")
		for line := range strings.Lines(tail) {
			if strings.Contains(line, "。") {
				found++
			}
			for _, word := range []string{"The ", " the ", " was ", "times", "once", "Nothing"} {
				if strings.Contains(line, word) {
					t.Errorf("%s: %q is left in English", path, line)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("got %d lines in Chinese, want at least 20", found)
	}
}
