package experiments

import (
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/timeline"
)

// TestImpairments catches values that are taken though they are out of range or no numbers, and parameters that say nothing.
func TestImpairments(t *testing.T) {
	x := find(t, "exp6-fast-retransmit")
	for _, tt := range []struct {
		flags map[string]string
		want  string // a part of the error; empty: there is none
	}{
		{map[string]string{"loss": "10%"}, ""},
		{map[string]string{"loss": "0.5"}, ""},
		{map[string]string{"loss": "31%"}, "0% to 30%"},
		{map[string]string{"loss": "-1%"}, "0% to 30%"},
		{map[string]string{"loss": "NaN"}, "0% to 30%"},
		{map[string]string{"loss": "few"}, "such as 10%"},
		{map[string]string{"rate": "10mbit"}, ""},
		{map[string]string{"rate": "1Gbit"}, ""},
		{map[string]string{"rate": "100000"}, ""},
		{map[string]string{"rate": "10kbit"}, "100kbit to 10gbit"},
		{map[string]string{"rate": "-10mbit"}, "100kbit to 10gbit"},
		{map[string]string{"rate": "-9223372036854775807gbit"}, "100kbit to 10gbit"},
		{map[string]string{"rate": "9223372036854775807mbit"}, "100kbit to 10gbit"},
		{map[string]string{"rate": "fast"}, "such as 10mbit"},
		{map[string]string{"seed": "0"}, "from 1 to"},
		{map[string]string{"seed": "3"}, "no dice to throw"},
		{map[string]string{"reorder-by": "5ms"}, "nothing is held back"},
		{map[string]string{"reorder": "10%", "reorder-by": "5ms", "seed": "3"}, ""},
		{map[string]string{"lose": "15,21"}, ""},
		{map[string]string{"lose": "15,22"}, "number 22 never comes: want 1 to 21"},
	} {
		_, err := x.Plan(Fast, tt.flags, nil)
		if err == nil {
			_, err = predictRecovery(recoveryEnv(t, tt.flags))
		}
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%v: got %v, want %q", tt.flags, err, tt.want)
		}
	}
}

// TestBadLinkOrders catches a bad link's prediction that knows one moment only at which the program reads (on 6.18.44 the window update was the third
// of the answers to needless repeats, which come apart), and one that is sure of what the receiver's timer decides, which no packet shows.
func TestBadLinkOrders(t *testing.T) {
	predict := func(more ...string) timeline.Timeline {
		flags := map[string]string{"rtt": "20ms", "lose": "none", "loss": "10%"}
		for i := 0; i < len(more); i += 2 {
			flags[more[i]] = more[i+1]
		}
		tl, err := predictRecovery(recoveryEnv(t, flags))
		if err != nil {
			t.Fatal(err)
		}
		return tl
	}
	tl := predict("jitter", "4ms", "sack", "off", "seed", "5")
	third := false
	for _, one := range append([]timeline.Timeline{tl}, tl.Alternatives...) {
		answers := 0 // to needless repeats, so far
		for _, e := range one.Events {
			switch {
			case e.What == timeline.ACK && e.Host == "server":
				answers = 0
			case e.What == timeline.DuplicateACK:
				answers++
			case e.What == timeline.WindowUpdate && !e.Maybe:
				third = third || answers == 2
			}
		}
	}
	if !third {
		t.Error("no order has the window update behind two answers")
	}
	if tl.Unlisted {
		t.Error("without SACK: got orders that are not listed, want none: nothing is held back")
	}
	if !predict("jitter", "4ms", "reorder", "20%", "reorder-by", "2ms", "seed", "3").Unlisted {
		t.Error("SACKs held back while segments come late: got every order listed, want not")
	}
	if predict("seed", "3").Unlisted {
		t.Error("losses alone: got orders that are not listed, want none")
	}
}
