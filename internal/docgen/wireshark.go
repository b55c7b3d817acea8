package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/peer"
)

// wiresharkPage holds tcplab's names of packets against Wireshark's.
func wiresharkPage() (string, error) {
	all, err := peer.Recorded()
	if err != nil {
		return "", err
	}
	runs := map[peer.Pair][]string{}
	for run, pairs := range all {
		for _, p := range pairs {
			runs[p] = append(runs[p], "`"+run+"`")
		}
	}
	pairs := slices.SortedFunc(maps.Keys(runs), func(a, b peer.Pair) int { return strings.Compare(a.String(), b.String()) })
	var b strings.Builder
	b.WriteString("# Names of packets: tcplab and Wireshark\n\nBoth read the same captures and name their packets. tcplab's analyser sees the capture and nothing else, as Wireshark's TCP " +
		"analysis does (`tcp.analysis.*`, here of tshark 4.0). Each row is a pair of names that came in a run of the catalogue in its `fast` profile, taken from the capture of the end " +
		"that sent the packet; who is right stands on what the kernel's tracepoints, counters and `inet_diag` said of it.\n\nA test runs the whole catalogue and fails when a pair is " +
		"new, has gone, or was not judged.\n\n")
	for _, part := range []struct {
		title string
		in    func(peer.Right) bool
	}{
		{"Where they differ", func(r peer.Right) bool { return r == peer.Tcplab }},
		{"Where tcplab says more", func(r peer.Right) bool { return r == peer.Deeper }},
		{"Where they agree", func(r peer.Right) bool { return r == peer.Both }},
	} {
		fmt.Fprintf(&b, "## %s\n\n| tcplab | Wireshark | right | why | in |\n|---|---|---|---|---|\n", part.title)
		for _, p := range pairs {
			j, ok := peer.Judge(p)
			if !ok {
				return "", fmt.Errorf("wireshark page: %s is not judged", p)
			}
			if !part.in(j.Right) {
				continue
			}
			said := "nothing"
			if p.Wireshark != "" {
				said = "`" + strings.ReplaceAll(p.Wireshark, "+", "`, `") + "`"
			}
			slices.Sort(runs[p])
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", p.What.Words(), said, j.Right, j.Why, strings.Join(runs[p], ", "))
		}
		b.WriteString("\n")
	}
	b.WriteString("What neither capture nor Wireshark can say is where a packet died and which timer sent it: that is in the run's report, and in the comments of the capture files.\n")
	return b.String(), nil
}
