// Package peer holds tcplab's names of packets against those of another reader of captures, Wireshark's TCP analysis: where the two agree,
// where they differ, and who is right by what the kernel itself says. docs/reference/wireshark.md is made of it.
//
// It is for pages and tests only. Its one trap: a pair is what both said of one packet in the capture of the end that sent it; the other
// end's capture can make Wireshark say something else.
package peer

import (
	_ "embed" // the recorded pairs
	"fmt"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/timeline"
)

// Fields are Wireshark's verdicts on a packet: those of tcp.analysis.* that name it, as against numbers that it computes.
var Fields = []string{"retransmission", "fast_retransmission", "spurious_retransmission", "out_of_order", "reused_ports", "lost_segment", "ack_lost_segment",
	"window_update", "window_full", "keep_alive", "keep_alive_ack", "zero_window_probe", "zero_window", "zero_window_probe_ack", "duplicate_ack"}

// A Pair is what the two call a packet.
type Pair struct {
	What      timeline.What
	Wireshark string // fields that are set, joined by a plus sign; empty: it says nothing
}

// String is a pair as pairs.txt has it.
func (p Pair) String() string {
	if p.Wireshark == "" {
		return string(p.What) + " -"
	}
	return string(p.What) + " " + p.Wireshark
}

// Pairs are the pairs of each run, by its command line without "tcplab run".
type Pairs map[string][]Pair

//go:embed pairs.txt
var recorded string

// Recorded are the pairs that were seen when pairs.txt was written.
func Recorded() (Pairs, error) { return Parse(recorded) }

// Parse reads the form of pairs.txt: the run, a colon, tcplab's name, Wireshark's.
func Parse(text string) (Pairs, error) {
	out := Pairs{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		run, rest, _ := strings.Cut(line, ": ")
		f := strings.Fields(rest)
		if len(f) != 2 {
			return nil, fmt.Errorf("pairs.txt: %q: want RUN: NAME WIRESHARK", line)
		}
		p := Pair{What: timeline.What(f[0])}
		if f[1] != "-" {
			p.Wireshark = f[1]
		}
		out[run] = append(out[run], p)
	}
	return out, nil
}

// String is the form that Parse reads.
func (p Pairs) String() string {
	var lines []string
	for run, pairs := range p {
		for _, x := range pairs {
			lines = append(lines, run+": "+x.String()+"\n")
		}
	}
	slices.Sort(lines)
	return "# What tcplab and tshark call the packets of each run. Written by go test -tags lab ./internal/peer -update.\n" + strings.Join(slices.Compact(lines), "")
}

// Differences says what got, the pairs of one run, has and want has not, and the other way round. Where the machine's load decides
// (Judgement.Load), one of our names may have come with another of Wireshark's words than those that were recorded; and a packet
// that need not come may be missing.
func Differences(run string, want, got []Pair) []string {
	var out []string
	for _, p := range got {
		if !slices.Contains(want, p) && !(load(p) != Never && named(want, p.What)) {
			out = append(out, fmt.Sprintf("%s: %s is new", run, p))
		}
	}
	for _, p := range want {
		if !slices.Contains(got, p) && load(p) != Comes && !(load(p) == Word && named(got, p.What)) {
			out = append(out, fmt.Sprintf("%s: %s was not seen", run, p))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// load is what the machine's load decides of a pair: nothing where nobody has judged it.
func load(p Pair) Load {
	j, _ := Judge(p)
	return j.Load
}

// named reports whether one of the packets has the name.
func named(in []Pair, what timeline.What) bool {
	return slices.ContainsFunc(in, func(p Pair) bool { return p.What == what })
}
