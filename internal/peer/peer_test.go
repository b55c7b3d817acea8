package peer

import (
	"slices"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/experiments"
)

// TestRecorded catches an experiment that was never held against Wireshark, a pair that nobody has judged, and a judgement that names a kind
// of packet that there is not.
func TestRecorded(t *testing.T) {
	all, err := Recorded()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Pair]bool{}
	for run, pairs := range all {
		name, _, _ := strings.Cut(run, " ")
		if _, err := experiments.Find(name); err != nil {
			t.Errorf("%s: %v", run, err)
		}
		for _, p := range pairs {
			seen[p] = true
			if _, ok := Judge(p); !ok {
				t.Errorf("%s: %s: nobody has judged who is right; see judgement.go", run, p)
			}
		}
	}
	for p, j := range judgements {
		if !p.What.Known() || j.Right == "" || j.Why == "" {
			t.Errorf("judgement of %s: got %+v, want a known kind, who is right and why", p, j)
		}
		for f := range strings.SplitSeq(p.Wireshark, "+") {
			if f != "" && !slices.Contains(Fields, f) {
				t.Errorf("judgement of %s: Wireshark has no %s", p, f)
			}
		}
	}
	if again, err := Parse(all.String()); err != nil || again.String() != all.String() || len(seen) < 10 {
		t.Errorf("pairs.txt is not what it is written as, or has %d pairs only: %v", len(seen), err)
	}
}

// TestDifferences is the control of the lab test: a name that changed on either side, a new one, and one that does not come any more.
func TestDifferences(t *testing.T) {
	want := []Pair{{"syn", ""}, {"syn-retransmission", "retransmission"}, {"fast-retransmission", "retransmission"}}
	for _, tt := range []struct {
		name string
		got  []Pair
		want []string
	}{
		{"the same", want, nil},
		{"one that may be missing", want[:2], nil},
		{"Wireshark says something else", []Pair{want[0], {"syn-retransmission", "out_of_order"}}, []string{"x: syn-retransmission out_of_order is new", "x: syn-retransmission retransmission was not seen"}},
		{"tcplab says something else", []Pair{{"ack", "retransmission"}, want[0], want[1]}, []string{"x: ack retransmission is new"}},
		{"nothing", nil, []string{"x: syn - was not seen", "x: syn-retransmission retransmission was not seen"}},
	} {
		if got := Differences("x", want, tt.got); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestParse catches a line that is read as half of it.
func TestParse(t *testing.T) {
	for _, bad := range []string{"exp1 syn -", "exp1: syn", "exp1: syn - more"} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}
