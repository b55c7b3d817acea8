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
	syn, again, fast, update := Pair{"syn", ""}, Pair{"syn-retransmission", "retransmission"}, Pair{"fast-retransmission", "retransmission"}, Pair{"window-update", "window_update"}
	late := Pair{"fast-retransmission", "out_of_order"} // Wireshark's word where the repeat came within milliseconds
	want := []Pair{syn, again, fast, update}
	for _, tt := range []struct {
		name string
		got  []Pair
		want []string
	}{
		{"the same", want, nil},
		{"a packet that need not come", []Pair{syn, again, fast}, nil},
		{"another of Wireshark's words for it, which hangs on time", []Pair{syn, again, late, update}, nil},
		{"both words", []Pair{syn, again, late, fast, update}, nil},
		{"a packet that must come, whatever the word", []Pair{syn, again, update}, []string{"x: fast-retransmission retransmission was not seen"}},
		{"a word that nobody has judged", []Pair{syn, again, {"fast-retransmission", "lost_segment"}, update}, []string{"x: fast-retransmission lost_segment is new"}},
		{"tcplab's name for it changed, to one that it has elsewhere", []Pair{syn, again, {"data-again", "retransmission"}, update},
			[]string{"x: data-again retransmission is new", "x: fast-retransmission retransmission was not seen"}},
		{"Wireshark says something else", []Pair{syn, {"syn-retransmission", "out_of_order"}, fast}, []string{"x: syn-retransmission out_of_order is new", "x: syn-retransmission retransmission was not seen"}},
		{"tcplab says something else", []Pair{{"ack", "retransmission"}, syn, again, fast}, []string{"x: ack retransmission is new"}},
		{"nothing", nil, []string{"x: fast-retransmission retransmission was not seen", "x: syn - was not seen", "x: syn-retransmission retransmission was not seen"}},
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
