package oracle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// asking is a client that asks three times, 300 ms apart, of a server with tcp_pingpong_thresh=1 unless it says otherwise.
func asking(change func(*DelayedACK)) DelayedACK {
	d := DelayedACK{Writes: TwoWrites, Size: 100, Threshold: 1}
	for i := range 3 {
		d.Rounds = append(d.Rounds, Round{Write: time.Duration(i)*300*time.Millisecond + 200*time.Millisecond})
	}
	if change != nil {
		change(&d)
	}
	return d
}

// dialogue is what a timeline says after the handshake, in a line: the client's segments (d, with their bytes), the server's bare ACKs (k; K of
// the timer of the delayed ACK), tail loss probes that may come (t?), its answers (R), the client's ACK of them (c), with the nominal time in ms.
func dialogue(tl timeline.Timeline) string {
	var out []string
	for _, e := range tl.Events[4:] {
		word := ""
		switch {
		case e.What == timeline.Answered:
			continue
		case e.Host == "client" && e.What == timeline.Data:
			word = fmt.Sprintf("d%d@", e.Len)
		case e.What == timeline.TailLossProbe:
			word = "t"
		case e.Host == "client":
			word = "c"
		case e.What == timeline.Data:
			word = "R"
		case strings.HasPrefix(e.Chain, delackTimer):
			word = "K"
		default:
			word = "k"
		}
		if e.Maybe {
			word += "?"
		}
		word += fmt.Sprint(e.At.Round(time.Millisecond).Milliseconds())
		out = append(out, word)
	}
	return strings.Join(out, " ")
}

// TestDelayedACK has what each way to write and each kernel does. It catches a kernel whose threshold is taken for that of another, an answer
// that does not begin pingpong mode, and a timer that does not end it.
func TestDelayedACK(t *testing.T) {
	writes := func(w Writes) func(*DelayedACK) { return func(d *DelayedACK) { d.Writes = w } }
	const (
		quick = "d100@%d k%d d100@%d k%d R%d c%d"
		slow  = "d100@%d K%d d100@%d k%d R%d c%d"
	)
	round := func(form string, at, then int) string { return fmt.Sprintf(form, at, then, then, then, then, then) }
	fast := func(at int) string { return round(quick, at, at) }
	waits := func(at, then int) string { return round(slow, at, then) }
	for _, tt := range []struct {
		name, kernel string
		hz           int
		change       func(*DelayedACK)
		want         string
	}{
		{"the first round is quick, the others wait 40 ms", "6.18", 250, nil, fast(200) + " " + waits(500, 540) + " " + waits(800, 840)},
		{"over 100 ms: the wait is added to the round trips", "6.18", 250, func(d *DelayedACK) { d.RTT = 100 * time.Millisecond },
			"d100@200 k250 d100@300 k350 R350 c400 d100@500 K590 d100@640 k690 R690 c740 d100@800 K890 d100@940 k990 R990 c1040"},
		{"one segment over 100 ms", "6.18", 250, func(d *DelayedACK) { d.Writes, d.RTT = OneWrite, 100*time.Millisecond },
			"d200@200 k250 R250 c300 d200@500 R550 c600 d200@800 R850 c900"},
		{"before 5.1 as well", "4.19", 250, func(d *DelayedACK) { d.Threshold = 0 }, fast(200) + " " + waits(500, 540) + " " + waits(800, 840)},
		{"5.1 to 5.18 need three answers", "5.15", 250, func(d *DelayedACK) {
			d.Threshold = 0
			for i := 3; i < 8; i++ {
				d.Rounds = append(d.Rounds, Round{Write: time.Duration(200+300*i) * time.Millisecond})
			}
		}, strings.Join([]string{fast(200), fast(500), fast(800), waits(1100, 1140), fast(1400), fast(1700), waits(2000, 2040), fast(2300)}, " ")},
		{"5.19 needs one again", "5.19", 250, func(d *DelayedACK) { d.Threshold = 0 }, fast(200) + " " + waits(500, 540) + " " + waits(800, 840)},
		{"a stable kernel before it took that back", "5.10.134", 250, func(d *DelayedACK) { d.Threshold = 0 }, fast(200) + " " + fast(500) + " " + fast(800)},
		{"and after", "5.10.135", 250, func(d *DelayedACK) { d.Threshold = 0 }, fast(200) + " " + waits(500, 540) + " " + waits(800, 840)},
		{"6.1 needs one again", "6.1", 250, func(d *DelayedACK) { d.Threshold = 0 }, fast(200) + " " + waits(500, 540) + " " + waits(800, 840)},
		{"a threshold that is not reached", "6.18", 250, func(d *DelayedACK) { d.Threshold = 255 }, fast(200) + " " + fast(500) + " " + fast(800)},
		{"the program sets TCP_QUICKACK after each answer", "6.18", 250, func(d *DelayedACK) { d.QuickACK = true }, fast(200) + " " + fast(500) + " " + fast(800)},
		{"tcp_rto_min_us bounds the delay", "6.18", 250, func(d *DelayedACK) { d.ServerRTOMin = 20 * time.Millisecond }, fast(200) + " " + waits(500, 516) + " " + waits(800, 816)},
		{"TCP_NODELAY: nothing waits", "6.18", 250, writes(NoDelay),
			"d100@200 k200 d100@200 k200 R200 c200 d100@500 d100@500 k500 R500 c500 d100@800 d100@800 k800 R800 c800"},
		{"one segment", "6.18", 250, writes(OneWrite), "d200@200 k200 R200 c200 d200@500 R500 c500 d200@800 R800 c800"},
		{"a cork that is taken out", "6.18", 250, writes(Corked), "d200@200 k200 R200 c200 d200@500 R500 c500 d200@800 R800 c800"},
		{"a cork that is forgotten", "6.18", 250, writes(ForgottenCork), "d200@404 k404 R404 c404 d200@704 R704 c704 d200@1004 R1004 c1004"},
		{"a cork that is forgotten, HZ=1000", "6.18", 1000, writes(ForgottenCork), "d200@401 k401 R401 c401 d200@701 R701 c701 d200@1001 R1001 c1001"},
		{"a program that takes 100 ms to answer is acknowledged before, and does not count as answering", "6.18", 250, func(d *DelayedACK) {
			d.Rounds[1].Answer = 640 * time.Millisecond
		}, fast(200) + " d100@500 K540 d100@540 k540 R640 c640 " + fast(800)},
		{"the same with one write", "6.18", 250, func(d *DelayedACK) {
			d.Writes, d.Rounds[1].Answer = OneWrite, 600*time.Millisecond
		}, "d200@200 k200 R200 c200 d200@500 K540 R600 c600 d200@800 k800 R800 c800"},
		{"TCP_NODELAY and a program that reads late: a probe may come", "6.18", 250, func(d *DelayedACK) {
			d.Writes, d.Rounds[1].Answer = NoDelay, 528*time.Millisecond
		}, "d100@200 k200 d100@200 k200 R200 c200 d100@500 d100@500 t?500 k500 R528 c528 d100@800 d100@800 k800 R800 c800"},
		{"answered late, and soon enough to count", "6.18", 250, func(d *DelayedACK) {
			d.Writes, d.Rounds[1].Answer = OneWrite, 530*time.Millisecond
		}, "d200@200 k200 R200 c200 d200@500 R530 c530 d200@800 R800 c800"},
		{"a short delay, and an answer that counts all the same", "6.18", 250, func(d *DelayedACK) {
			d.Writes, d.Rounds[1].Answer, d.ServerRTOMin = OneWrite, 530*time.Millisecond, 20*time.Millisecond
		}, "d200@200 k200 R200 c200 d200@500 K516 R530 c530 d200@800 R800 c800"},
	} {
		v, err := kernel.ParseVersion(tt.kernel)
		if err != nil {
			t.Fatal(err)
		}
		f, err := kernel.Model(v, tt.hz)
		if err != nil {
			t.Fatal(err)
		}
		tl, err := asking(tt.change).Predict(f, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if d := cmp.Diff(tt.want, dialogue(tl)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.name, d)
		}
	}
}

// TestDelayedACKCounts catches an answer that came just when it no longer counts as one (tcp_event_data_sent), and is taken for one that does: the next
// round may wait or not.
func TestDelayedACKCounts(t *testing.T) {
	for _, tt := range []struct {
		answer time.Duration // after the request
		want   []string      // of each order: whether the second round waits
	}{{30 * time.Millisecond, []string{"K"}}, {38 * time.Millisecond, []string{"k", "K"}}, {60 * time.Millisecond, []string{"k"}}} {
		tl, err := asking(func(d *DelayedACK) { d.Rounds[0].Answer = d.Rounds[0].Write + tt.answer }).Predict(linux618(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for one := range tl.All() {
			word := "k"
			if strings.Contains(dialogue(one), " K540") {
				word = "K"
			}
			got = append(got, word)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("an answer %v after the request: (-want +got)\n%s", tt.answer, d)
		}
	}
}

// TestDelayedACKExact plays starts: with one known, an event lies inside the window of all starts, and a timer's has its tick. It catches ticks
// that are counted from another origin than the windows, and a gap between two rounds, which the programs decide.
func TestDelayedACKExact(t *testing.T) {
	f := linux618(t)
	for _, w := range []Writes{TwoWrites, NoDelay, ForgottenCork, OneWrite} {
		d := asking(func(d *DelayedACK) { d.Writes = w })
		all, err := d.Predict(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		for j := range uint64(16) {
			one, err := d.Predict(f, &Start{Jiffies: 1<<40 + j, Phase: f.Jiffy() * 2 / 5, Called: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(one.Events) != len(all.Events) {
				t.Fatalf("%s, start %d: got %d events, want %d", w, j, len(one.Events), len(all.Events))
			}
			for i, e := range one.Events {
				if a := all.Events[i]; e.Earliest < a.Earliest || e.Latest > a.Latest {
					t.Errorf("%s, start %d: %s %s: got %v to %v, outside of %v to %v", w, j, e.Host, e.What, e.Earliest, e.Latest, a.Earliest, a.Latest)
				}
				if e.GapLatest != 0 {
					t.Errorf("%s, start %d: %s %s: got a gap of %v to %v from what a program decides", w, j, e.Host, e.What, e.GapEarliest, e.GapLatest)
				}
				if e.Chain != "" && e.Tick == 0 {
					t.Errorf("%s, start %d: %s %s: got no tick", w, j, e.Host, e.What)
				}
			}
		}
	}
}

// TestDelayedACKNear catches a prediction that picks one of two where an answer and the timer of the delayed ACK come at the same time: after the
// timer pingpong mode is over.
func TestDelayedACKNear(t *testing.T) {
	tl, err := asking(func(d *DelayedACK) { d.Writes, d.Rounds[1].Answer = OneWrite, 542*time.Millisecond }).Predict(linux618(t), nil)
	if err != nil || len(tl.Alternatives) != 1 {
		t.Fatalf("got %d alternatives, %v, want 1", len(tl.Alternatives), err)
	}
	if d := cmp.Diff("d200@200 k200 R200 c200 d200@500 K540 R542 c542 d200@800 k800 R800 c800", dialogue(tl)); d != "" {
		t.Errorf("the timer first: (-want +got)\n%s", d)
	}
	if d := cmp.Diff("d200@200 k200 R200 c200 d200@500 R542 c542 d200@800 R800 c800", dialogue(tl.Alternatives[0])); d != "" {
		t.Errorf("the answer first: (-want +got)\n%s", d)
	}
}

// TestDelayedACKAnswers catches an answer that is expected at another time than the one at which the request is whole.
func TestDelayedACKAnswers(t *testing.T) {
	f := linux618(t)
	ms := func(n ...int) (out []time.Duration) {
		for _, n := range n {
			out = append(out, time.Duration(n)*time.Millisecond)
		}
		return out
	}
	for w, want := range map[Writes][]time.Duration{TwoWrites: ms(200, 544, 844), NoDelay: ms(200, 500, 800), ForgottenCork: ms(408, 708, 1008)} {
		if d := cmp.Diff(want, asking(func(d *DelayedACK) { d.Writes = w }).Answers(f)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", w, d)
		}
	}
}

// TestDelayedACKErrors catches an input that is not modelled and is predicted all the same.
func TestDelayedACKErrors(t *testing.T) {
	f := linux618(t)
	for want, change := range map[string]func(*DelayedACK){
		`writes "three"`:          func(d *DelayedACK) { d.Writes = "three" },
		"halves of 251 bytes":     func(d *DelayedACK) { d.Size = 251 },
		"halves of 0 bytes":       func(d *DelayedACK) { d.Size = 0 },
		"0 rounds":                func(d *DelayedACK) { d.Rounds = nil },
		"9 rounds":                func(d *DelayedACK) { d.Rounds = make([]Round, 9) },
		"tcp_pingpong_thresh=256": func(d *DelayedACK) { d.Threshold = 256 },
		"round 1 at 50ms":         func(d *DelayedACK) { d.Rounds[0].Write = 50 * time.Millisecond },
		"round 3 at 550ms":        func(d *DelayedACK) { d.Rounds[2].Write = 550 * time.Millisecond },
		"round 2 at 440ms":        func(d *DelayedACK) { d.Writes, d.Rounds[1].Write = ForgottenCork, 440*time.Millisecond },
		"server: ":                func(d *DelayedACK) { d.ServerRTOMin = -1 },
		"client: ":                func(d *DelayedACK) { d.ClientRTOMin = -1 },
	} {
		if _, err := asking(change).Predict(f, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}
