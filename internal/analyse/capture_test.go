package analyse

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/pcapout"
)

// capture reads the segments of a file in testdata.
func capture(t *testing.T, path string) []pcapout.Segment {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // read only
	file, err := pcapout.Read(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var out []pcapout.Segment
	for i, p := range file.Records {
		s, err := pcapout.Decode(file.Link, p.Packet)
		if err != nil {
			t.Fatalf("%s: packet %d: %v", path, i+1, err)
		}
		out = append(out, s)
	}
	return out
}

// text writes connections as a timeline that a person can check beside Wireshark: frame number, time since the first packet, sender, what,
// number, relative seq, ack and length, detail.
func text(in []pcapout.Segment, conns []Connection) string {
	var b strings.Builder
	for _, x := range conns {
		fmt.Fprintf(&b, "%v -> %v, RTT %v\n", x.Client, x.Server, x.RTT)
		for _, p := range x.Packets {
			what := string(p.What)
			if p.N > 0 {
				what += fmt.Sprintf(" %d", p.N)
			}
			line := fmt.Sprintf("%3d %9.6f %s %-26s seq=%d ack=%d len=%d", p.Segment+1, p.Time.Sub(in[0].Time).Seconds(), p.From, what, p.RelSeq, p.RelAck, p.Len)
			if p.Detail != "" {
				line += "  (" + p.Detail + ")"
			}
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// TestCaptures catches a rule that holds for segments made by hand and not for those of a kernel. testdata/README.md says how the captures
// were made.
func TestCaptures(t *testing.T) {
	files, err := filepath.Glob("testdata/*.pcapng")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".pcapng")
		t.Run(name, func(t *testing.T) {
			in := capture(t, path)
			labtest.Golden(t, name+".txt", text(in, Analyse(in, Options{})))
		})
	}
}

// TestBothEnds catches a rule that holds at one end of a link only: every packet reached both captures, so both must name the same things.
func TestBothEnds(t *testing.T) {
	files, err := filepath.Glob("testdata/*-server.pcapng")
	if err != nil || len(files) < 5 {
		t.Fatalf("got %d captures of a server, %v, want at least 5", len(files), err)
	}
	names := func(path string) []string {
		var out []string
		for _, e := range Analyse(capture(t, path), Options{})[0].Packets {
			out = append(out, fmt.Sprintf("%s %s %d seq=%d ack=%d", e.From, e.What, e.N, e.RelSeq, e.RelAck))
		}
		slices.Sort(out) // packets cross on the link
		return out
	}
	for _, path := range files {
		if diff := cmp.Diff(names(strings.Replace(path, "-server", "-client", 1)), names(path)); diff != "" {
			t.Errorf("%s: -client +server:\n%s", path, diff)
		}
	}
}

// TestGrowingCapture catches a name that changes while a capture grows, other than that of a first repeat after silence. The live view shows
// such captures.
func TestGrowingCapture(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.pcapng")
	changes := 0
	for _, path := range files {
		in := capture(t, path)
		last := map[int]Named{}
		for n := range in {
			for _, conn := range Analyse(in[:n+1], Options{}) {
				for _, p := range conn.Packets {
					if was, ok := last[p.Segment]; ok && was != p {
						changes++
						if was.What != timeline.TailLossProbe && p.What != timeline.FINAgain {
							t.Errorf("%s: packet %d: %v became %v", path, p.Segment+1, was, p)
						}
					}
					last[p.Segment] = p
				}
			}
		}
	}
	if changes != 1 { // no-probe
		t.Errorf("got %d changes of a name, want 1", changes)
	}
}
