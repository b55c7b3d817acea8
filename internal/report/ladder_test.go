package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/tcplab/tcplab/internal/result"
)

// Catches an arrow that points the wrong way, that claims more than the captures show, or that has another width than its column.
func TestArrow(t *testing.T) {
	const n = 26
	for _, tc := range []struct {
		name     string
		label    string
		leftward bool
		e        end
		want     string
	}{
		{"delivered", "SYN", false, endDelivered, "── SYN ──────────────────►"},
		{"dropped behind the receiver's capture", "SYN", false, endReceiver, "── SYN ─────────────────►✗"},
		{"dropped before the receiver's capture", "SYN", false, endWire, "── SYN ──────────────✗    "},
		{"dropped before the sender's capture", "SYN", false, endSender, "✗ SYN                     "},
		{"only seen", "SYN", false, endUnknown, "── SYN ───────────────────"},
		{"back, delivered", "RST", true, endDelivered, "◄────────────────── RST ──"},
		{"back, behind the receiver's capture", "RST", true, endReceiver, "✗◄───────────────── RST ──"},
		{"back, before the receiver's capture", "RST", true, endWire, "    ✗────────────── RST ──"},
		{"back, before the sender's capture", "RST", true, endSender, "                     RST ✗"},
		{"a count that needs fewer cells", "SYN-ACK again (12 of 15)", false, endDelivered, "── SYN-ACK again 12/15 ──►"},
		{"a label that is too long", "a label of more than enough cells", false, endWire, "── a label of more… ─✗    "},
		{"wide characters", "中文", false, endDelivered, "── 中文 ─────────────────►"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := newPen(Style{}).arrow(tc.label, n, tc.leftward, tc.e)
			if got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
			if w := ansi.StringWidth(got); w != n {
				t.Errorf("cells: got %d, want %d", w, n)
			}
		})
	}
}

// Catches a packet whose place of death is read wrongly from where it was seen.
func TestEndOf(t *testing.T) {
	for _, tc := range []struct {
		name string
		p    *result.Packet
		want end
	}{
		{"no packet", nil, endUnknown},
		{"no fate yet", &result.Packet{SentAt: at(0)}, endUnknown},
		{"delivered", &result.Packet{SentAt: at(0), ArrivedAt: at(1), Fate: result.Delivered}, endDelivered},
		{"INPUT drop", &result.Packet{SentAt: at(0), ArrivedAt: at(1), Fate: result.Dropped}, endReceiver},
		{"lost on the way", &result.Packet{SentAt: at(0), Fate: result.Lost}, endWire},
		{"OUTPUT drop", &result.Packet{Fate: result.Dropped}, endSender},
	} {
		if got := endOf(tc.p); got != tc.want {
			t.Errorf("%s: got %d, want %d", tc.name, got, tc.want)
		}
	}
}

// Catches a mark that says "late" for a packet that came early, or "ok" for one that nobody predicted.
func TestMarkAndDeviation(t *testing.T) {
	at3 := result.Event{At: sec(3 * time.Second), Late: sec(68 * ms), Earliest: sec(3004 * ms), What: "syn-retransmission", Expected: true}
	with := func(f func(*result.Event)) result.Event { e := at3; f(&e); return e }
	for _, tc := range []struct {
		name      string
		e         result.Event
		dev, mark string
	}{
		{"in the window", with(func(e *result.Event) { e.Seen, e.Verdict = at(3020*ms), result.Pass }), "+20 ms", "ok"},
		{"after the window", with(func(e *result.Event) { e.Seen, e.Verdict = at(3069*ms), result.Fail }), "+69 ms", "late"},
		{"before the first tick", with(func(e *result.Event) { e.Seen, e.Verdict = at(3003*ms), result.Fail }), "+3 ms", "early"},
		{"before nominal", with(func(e *result.Event) { e.Seen, e.Verdict = at(2028*ms), result.Fail }), "-972 ms", "early"},
		{"in the window, judged by another rule", with(func(e *result.Event) { e.Seen, e.Verdict = at(3020*ms), result.Fail }), "+20 ms", "FAIL"},
		{"exact tick", with(func(e *result.Event) {
			e.Seen, e.OffTick, e.Verdict = at(3020*ms), at(52*time.Microsecond), result.Pass
		}), "tick +52 µs", "ok"},
		{"unexpected", with(func(e *result.Event) { e.Seen, e.Expected, e.Verdict = at(3020*ms), false, result.Fail }), "", "unexpected"},
		{"host stalled", with(func(e *result.Event) { e.Seen, e.Verdict = at(3500*ms), result.Inconclusive }), "+500 ms", "unsure"},
		{"wrong errno", result.Event{At: sec(time.Second), Seen: at(time.Second), What: "connect-error", Errno: "ETIMEDOUT", SeenErr: "EHOSTUNREACH", Expected: true,
			Verdict: result.Fail}, "+0 µs", "wrong"},
		{"the origin", result.Event{Seen: at(0), What: "syn", Expected: true, Verdict: result.Pass}, "", ""},
		{"not judged yet", with(func(e *result.Event) { e.Seen = at(3020 * ms) }), "+20 ms", ""},
	} {
		l := newLadder(newPen(Style{}), &result.Result{})
		if got := deviation(tc.e).text; got != tc.dev {
			t.Errorf("%s: deviation: got %q, want %q", tc.name, got, tc.dev)
		}
		if got := l.mark(tc.e).text; got != tc.mark {
			t.Errorf("%s: mark: got %q, want %q", tc.name, got, tc.mark)
		}
	}
}

// Catches units that are off by a thousand at the borders: 999.6 µs is 1 ms, 999.6 ms is 1.000 s.
func TestDurations(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{
		{0, "+0 µs"}, {500, "+500 ns"}, {52 * time.Microsecond, "+52 µs"}, {999_600, "+1 ms"}, {-4 * ms, "-4 ms"},
		{999_600 * time.Microsecond, "+1.000 s"}, {3385 * ms, "+3.385 s"},
	} {
		if got := signed(tc.d); got != tc.want {
			t.Errorf("signed(%d ns): got %q, want %q", tc.d, got, tc.want)
		}
	}
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{
		{300 * ms, "1 s"}, {7360 * ms, "7 s"}, {119 * time.Second, "119 s"}, {925 * time.Second, "15 min 25 s"}, {7875 * time.Second, "2 h 11 min"},
	} {
		if got := about(tc.d); got != tc.want {
			t.Errorf("about(%v): got %q, want %q", tc.d, got, tc.want)
		}
	}
}

// Catches text that breaks between a number and its unit, that drops a long word, or that overflows.
func TestWrap(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		width    int
		want     []string
	}{
		{"fits", "SYN  again", 10, []string{"SYN  again"}},
		{"between words", "every SYN is lost", 10, []string{"every SYN", "is lost"}},
		{"unit stays", "expected 3.000 s", 14, []string{"expected", "3.000 s"}},
		{"long word", "abcdefghij kl", 4, []string{"abcd", "efgh", "ij", "kl"}},
		{"wide characters", "中文中文 中", 4, []string{"中文", "中文", "中"}},
		{"empty", "", 4, []string{""}},
	} {
		got := wrap(tc.in, tc.width)
		if len(got) != len(tc.want) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
			continue
		}
		for i := range got {
			if got[i] != tc.want[i] {
				t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
			}
		}
	}
}

// Catches a command that is broken where a shell would not join it again, and a path that a shell would split.
func TestQuote(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"plain path", "tcplab-runs/latest/client.pcapng", "tcplab-runs/latest/client.pcapng"},
		{"space", "my runs/x", "'my runs/x'"},
		{"quote", "it's", `'it'\''s'`},
		{"substitution", "$(reboot)", "'$(reboot)'"},
		{"empty", "", "''"},
	} {
		if got := quote(tc.in); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestLadderPorts catches connections side by side that the ladder does not tell apart: by the server's port where there are several, else by
// the client's; a call without its port, a packet that never came without it, and a line of a live run, which knows no later packets, that
// has another.
func TestLadderPorts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ports [2][2]int // of two connections: client's, server's
		by    int       // the one of these that the prediction goes by
	}{
		{"several listeners", [2][2]int{{4001, 8080}, {4002, 8081}}, 1},
		{"several clients", [2][2]int{{4001, 8080}, {4002, 8080}}, 0},
	} {
		r, live := &result.Result{Prediction: &result.Prediction{}}, &strings.Builder{}
		for i, p := range tt.ports {
			at, port := result.Seconds(i)*1e6, p[tt.by]
			for _, e := range []result.Event{{Host: "client", What: "syn", Packet: 2*i + 1, Seen: &at}, {Host: "client", What: "connected", Seen: &at}, {Host: "client", What: "data"}} {
				e.At, e.Port, e.Expected, e.Verdict = at, port, true, result.Pass
				if e.Seen == nil {
					e.Verdict = result.Fail
				}
				r.Events = append(r.Events, e)
			}
		}
		r.Prediction.Events = r.Events
		for i, p := range tt.ports {
			at := result.Seconds(i) * 1e6
			r.Packets = append(r.Packets, result.Packet{ID: 2*i + 1, From: "client", To: "server", What: "syn", Flags: "SYN", SrcPort: p[0], DstPort: p[1], SentAt: &at, ArrivedAt: &at, Fate: result.Delivered},
				result.Packet{ID: 2*i + 2, From: "server", To: "client", What: "syn-ack", Flags: "SYN,ACK", SrcPort: p[1], DstPort: p[0], SentAt: &at, ArrivedAt: &at, Fate: result.Delivered})
			if err := LadderLine(live, r, r.Events[3*i], "", Style{}); err != nil {
				t.Fatal(err)
			}
		}
		var b strings.Builder
		if err := Ladder(&b, r, Style{}); err != nil {
			t.Fatal(err)
		}
		for _, p := range tt.ports {
			port := p[tt.by]
			for text, times := range map[string]int{fmt.Sprintf(":%d SYN", port): 2, fmt.Sprintf(":%d connect() = 0", port): 1, fmt.Sprintf(":%d data expected", port): 1} {
				if strings.Count(b.String(), text) != times {
					t.Errorf("%s: got %d of %q, want %d in\n%s", tt.name, strings.Count(b.String(), text), text, times, b.String())
				}
			}
			if text := fmt.Sprintf(":%d SYN", port); !strings.Contains(live.String(), text) {
				t.Errorf("%s: got no %q while the run goes on, but\n%s", tt.name, text, live)
			}
		}
	}
}
