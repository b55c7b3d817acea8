//go:build lab

package analyse

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/pcapout"
)

// opinion is what Wireshark says of a packet, in its own words.
type opinion struct {
	stream int
	flag   string // the first of flags that is set; empty: none
}

// flags are Wireshark's, those that say more first.
var flags = []string{"keep_alive_ack", "keep_alive", "zero_window_probe_ack", "zero_window_probe", "fast_retransmission", "spurious_retransmission", "retransmission",
	"out_of_order", "duplicate_ack_num", "window_update"}

// wireshark asks tshark for its opinion of each packet.
func wireshark(t *testing.T, path string) map[int]opinion {
	t.Helper()
	args := []string{"-r", path, "-T", "fields", "-e", "frame.number", "-e", "tcp.stream"}
	for _, f := range flags {
		args = append(args, "-e", "tcp.analysis."+f)
	}
	var stderr bytes.Buffer
	cmd := exec.Command("tshark", args...)
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark %s: %v: %s", path, err, stderr.String())
	}
	out := map[int]opinion{}
	for line := range strings.Lines(string(text)) {
		col := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(col) < 2+len(flags) || col[1] == "" {
			continue
		}
		n, err := strconv.Atoi(col[0])
		if err != nil {
			t.Fatalf("tshark: line %q: %v", line, err)
		}
		o := opinion{}
		if o.stream, err = strconv.Atoi(strings.Split(col[1], ",")[0]); err != nil {
			t.Fatalf("tshark: line %q: %v", line, err)
		}
		for i, f := range flags {
			if col[2+i] != "" {
				o.flag = f
				break
			}
		}
		out[n] = o
	}
	return out
}

// ours is what the analyser says of each packet of a file.
func ours(t *testing.T, path string) (names map[int]string, streams map[int]int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // read only
	r, err := pcapout.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	names, streams = map[int]string{}, map[int]int{}
	index := map[int][]int{}
	st := NewStream(StreamOptions{Copies: true,
		Packet: func(c *Connection, n Named) {
			names[n.Segment+1], streams[n.Segment+1] = verdict(n), c.Number
			index[c.Number] = append(index[c.Number], n.Segment+1)
		},
		Renamed: func(c *Connection, i int, n Named) { names[index[c.Number][i]] = verdict(n) },
		Copy:    func(c *Connection, n Named) { names[n.Segment+1], streams[n.Segment+1] = "copy", c.Number },
	})
	if _, err := pcapout.Segments(context.Background(), r, func(_ time.Time, b []pcapout.Decoded) error {
		for i := range b {
			st.AddAt(int(b[i].Frame-1), &b[i].Segment, b[i].Point)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	st.Close()
	return names, streams
}

// verdict is a name as far as Wireshark has one like it.
func verdict(n Named) string {
	switch {
	case n.What == timeline.Data && strings.HasPrefix(n.Detail, "fills a gap"):
		return "fills a gap"
	case n.What == timeline.TailLossProbe && n.Detail == newAfterSilence:
		return "tail-loss-probe, new"
	case n.What == "":
		return "ignored"
	}
	return string(n.What)
}

// same lists pairs of names that mean the same: ours, Wireshark's.
var same = map[string][]string{
	"":                        {"syn", "syn-ack", "ack", "data", "fin", "rst", "icmp-error", "tail-loss-probe, new", "ignored"},
	"retransmission":          {"syn-retransmission", "syn-ack-retransmission", "syn-ack-answer", "data-retransmission", "tail-loss-probe", "rto-retransmission", "fast-retransmission", "fin-retransmission"},
	"fast_retransmission":     {"fast-retransmission"},
	"spurious_retransmission": {"data-retransmission", "tail-loss-probe", "rto-retransmission", "fin-retransmission", "syn-ack-retransmission", "syn-ack-answer", "fast-retransmission"},
	"duplicate_ack_num":       {"duplicate-ack"},
	"keep_alive":              {"keepalive-probe"},
	"keep_alive_ack":          {"keepalive-ack"},
	"zero_window_probe":       {"window-probe"},
	"zero_window_probe_ack":   {"window-probe-ack"},
	"window_update":           {"window-update"},
	"out_of_order":            {"fills a gap"},
}

// TestAgreesWithTshark catches a name that Wireshark would not give, and nobody has explained: testdata/README.md lists every kind of
// disagreement, and the golden how often each occurs in the captures of ordinary traffic.
func TestAgreesWithTshark(t *testing.T) {
	labtest.Need(t, labtest.Command("tshark"))
	files, err := filepath.Glob("testdata/ordinary/*.pcap*")
	if err != nil || len(files) < 3 {
		t.Fatalf("got %d captures of ordinary traffic, %v, want at least 3", len(files), err)
	}
	slices.Sort(files)
	var b strings.Builder
	for _, path := range files {
		theirs := wireshark(t, path)
		names, streams := ours(t, path)
		pairs := map[string][]int{}
		agree, stream := 0, 0
		for n, o := range theirs {
			mine, ok := names[n]
			switch {
			case !ok:
				t.Errorf("%s: packet %d: Wireshark has it as TCP, and the analyser does not", path, n)
			case slices.Contains(same[o.flag], mine):
				agree++
			default:
				pairs[mine+" | "+o.flag] = append(pairs[mine+" | "+o.flag], n)
			}
			if ok && mine != "icmp-error" && streams[n] != o.stream {
				stream++
			}
		}
		if agree < 200 {
			t.Errorf("%s: got %d packets named alike, want at least 200: the comparison does not work", path, agree)
		}
		fmt.Fprintf(&b, "%s: %d packets, %d named alike, %d in a connection with another number\n", filepath.Base(path), len(theirs), agree, stream)
		for _, k := range slices.Sorted(maps.Keys(pairs)) {
			slices.Sort(pairs[k])
			fmt.Fprintf(&b, "  %s: %v\n", k, pairs[k])
		}
	}
	labtest.Golden(t, "ordinary/tshark.txt", b.String())
}
