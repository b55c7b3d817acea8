//go:build lab && !race

package runner

import (
	"testing"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/lab"
)

// jittered are short runs on a link that holds each packet of both ends back for a time of its own.
var jittered = []struct {
	name  string
	flags map[string]string
}{
	{"exp0-handshake", map[string]string{"close": "4"}},
	{"exp2-synack-loss", nil},
	{"exp3-ack-loss", map[string]string{"cut": "mid", "idle": "1s", "retries2": "0"}},
	{"exp4-keepalive", map[string]string{"peer": "alive", "watch": "2s"}},
	{"exp5-fastopen", map[string]string{"requests": "2"}},
	{"exp7-zero-window", nil},
	{"exp8-fin-loss", nil},
	{delayedACK, map[string]string{"rounds": "2"}},
	{backlog, nil},
	{"exp2-capture-point", nil},
	{timeouts, map[string]string{"cases": "9,12,14"}},
}

// lies are the flags of a control, and the seed of its prediction, of an experiment that throws dice for each connection. exp9 has no room for the longest
// link; of exp2-capture-point it is one place, and of exp11 two rows, since many clients at once disturb each other on a busy machine.
var lies = map[string]struct {
	flags map[string]string
	other string
}{
	backlog:              {withJitter(nil, "100ms", "25ms", "216"), "87"},
	"exp2-capture-point": {withJitter(map[string]string{"at": "client-input"}, "200ms", "50ms", "21"), "239"},
	timeouts:             {withJitter(map[string]string{"cases": "4,9"}, "200ms", "50ms", "1486"), "2599"},
}

// withJitter are the flags of a row over such a link.
func withJitter(flags map[string]string, rtt, most, seed string) map[string]string {
	out := map[string]string{"rtt": rtt, "jitter": most, "seed": seed}
	for k, v := range flags {
		out[k] = v
	}
	return out
}

// TestJitter catches an oracle that gives a packet another's draw, or a link that does. A busy machine leaves a run open; in package cli,
// TestJitterInGuest has one pass.
func TestJitter(t *testing.T) {
	t.Parallel()
	for _, tt := range jittered {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			x := copyOf(t, tt.name)
			if r := once(t, Options{Experiment: x, Plan: fast(t, x, withJitter(tt.flags, "100ms", "20ms", "3"))}, false); r.Verdict == result.Fail {
				t.Errorf("verdict: got %s (%s), want no contradiction", r.Verdict, r.Reason)
			}
		})
	}
}

// TestJitterControls has the prediction made for other dice, whose first packets are under way for some 80 ms longer both ways together, and a link that
// holds nothing back: each must fail. (What comes late may be a busy machine's; nothing comes early.)
func TestJitterControls(t *testing.T) {
	for _, tt := range jittered {
		row := control{name: tt.name, flags: withJitter(tt.flags, "200ms", "50ms", "8"), want: result.Fail, code: explain.TooEarly, spoil: pretend("seed", "82")}
		if l, own := lies[tt.name]; own {
			row.flags, row.spoil = l.flags, pretend("seed", l.other)
		}
		controls(t, tt.name, []control{row})
	}
	controls(t, "exp0-handshake", []control{{name: "a link that does not", flags: withJitter(nil, "200ms", "50ms", "82"), want: result.Fail, code: explain.TooEarly, spoil: func(x *experiments.Experiment) {
		honest := x.Setup
		x.Setup = func(o experiments.Options) experiments.Setup {
			s := honest(o)
			s.Link = lab.LinkPlan{}
			return s
		}
	}}})
}
