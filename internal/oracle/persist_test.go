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

// stuckOn is a connection to a peer that does not read, on 6.18 unless it says otherwise.
func stuckOn(change func(*ZeroWindow)) ZeroWindow {
	z := ZeroWindow{Segment: 500, Write: 500 * time.Millisecond, Retries2: 15, InvalidRatelimit: 500 * time.Millisecond, Until: 60 * time.Second}
	if change != nil {
		change(&z)
	}
	return z
}

// told is what a timeline says after the segment that fills the window, in a line: kinds by a letter, with the nominal time in ms.
func told(tl timeline.Timeline) string {
	letters := map[timeline.What]string{timeline.WindowProbe: "p", timeline.WindowProbeACK: "a", timeline.WindowUpdate: "u", timeline.Data: "d", timeline.ACK: "k",
		timeline.RST: "r", timeline.FIN: "f", timeline.SocketError: "!", timeline.Quiet: "q", timeline.EndOfStream: "0", timeline.KeepaliveACK: "A"}
	var out []string
	events := tl.Events[6:] // the handshake, connect(2), the segment and its acknowledgement
	if tl.Outcome != nil {
		events = append(events[:len(events):len(events)], *tl.Outcome)
	}
	for _, e := range events {
		out = append(out, fmt.Sprintf("%s%d", letters[e.What], e.At.Round(time.Millisecond).Milliseconds()))
	}
	return strings.Join(out, " ")
}

// TestZeroWindow has the schedule of each rule by kernel: who is asked when, and what ends it. It catches a rule that is taken for that of
// another version, a wait that is not doubled or not bounded, and an answer that resets what it should not.
func TestZeroWindow(t *testing.T) {
	const s = time.Second
	gone := func(n int) func(*ZeroWindow) {
		return func(z *ZeroWindow) { z.Gone, z.Until, z.Retries2 = true, 0, n }
	}
	user := func(ms int) func(*ZeroWindow) {
		return func(z *ZeroWindow) { z.UserTimeout, z.Until = time.Duration(ms)*time.Millisecond, 6*s }
	}
	for _, tt := range []struct {
		name, kernel string
		change       func(*ZeroWindow)
		want         string
	}{
		{"answered: twice as long each time, and no end", "6.18", func(z *ZeroWindow) { z.Until = 8 * s },
			"p704 a704 p1112 p1928 a1928 p3560 a3560 p6824 a6824 q8000"},
		{"each is answered where nothing limits the answers", "6.18", func(z *ZeroWindow) { z.Until, z.InvalidRatelimit = 2*s, 0 }, "p704 a704 p1112 a1112 p1928 a1928 q2000"},
		{"tcp_retries2 bounds the backoff", "6.18", func(z *ZeroWindow) { z.Until, z.Retries2 = 4*s, 2 }, "p704 a704 p1112 p1928 a1928 p2744 a2744 p3560 a3560 q4000"},
		{"gone", "6.18", gone(3), "p704 p1112 p1928 !3560"},
		{"gone, no probe at all", "6.18", gone(0), "!704"},
		{"gone, one probe more before 5.0", "4.19", gone(2), "p704 p1112 p1928 !2744"},
		{"answers that are held back kill where one is enough", "6.18", func(z *ZeroWindow) { z.Retries2 = 1 }, "p704 a704 p1112 !1520"},
		{"the largest RTO bounds the wait", "6.18", func(z *ZeroWindow) { z.Gone, z.Until, z.Retries2, z.RTOMax = true, 0, 5, s }, "p704 p1112 p1928 p2928 p3928 !4928"},
		{"the smallest RTO", "6.18", func(z *ZeroWindow) { z.Gone, z.Until, z.Retries2, z.RTOMin = true, 0, 1, 20*time.Millisecond }, "p700 !1100"},
		{"a larger RTO", "6.18", func(z *ZeroWindow) { z.Gone, z.Until, z.Retries2, z.RTOMin = true, 0, 1, 400*time.Millisecond }, "p904 !1712"},
		{"TCP_USER_TIMEOUT ends what is answered", "6.18", user(1500), "p704 a704 p1112 p1928 a1928 !2204"},
		{"TCP_USER_TIMEOUT shorter than a wait", "6.18", user(100), "p704 a704 !804"},
		{"TCP_USER_TIMEOUT in 5.10: answers count", "5.10", user(1500), "p704 a704 p1112 p1928 a1928 p3560 a3560 q6000"},
		{"TCP_USER_TIMEOUT in 5.10: a peer that is gone", "5.10", func(z *ZeroWindow) { gone(15)(z); z.UserTimeout = 1500 * time.Millisecond }, "p704 p1112 p1928 !3560"},
		{"TCP_USER_TIMEOUT in 4.19: at a fire, not before", "4.19", user(1500), "p704 a704 p1112 p1928 a1928 !3560"},
		{"TCP_USER_TIMEOUT in 4.4: in jiffies", "4.4", user(1224), "p704 a704 p1112 p1928 a1928 !3560"},
		{"TCP_USER_TIMEOUT in 3.16: no rule", "3.16", user(1500), "p704 a704 p1112 p1928 a1928 p3560 a3560 q6000"},
		{"read again", "6.18", func(z *ZeroWindow) {
			z.Drain, z.Until, z.Close = 1500*time.Millisecond, 1700*time.Millisecond, 1720*time.Millisecond
		},
			"p704 a704 p1112 u1500 d1500 k1500 u1500 q1700 f1720 f1720 k1720 k1760 01720"},
		{"read when it is too late", "6.18", func(z *ZeroWindow) {
			user(500)(z)
			z.Drain, z.Until, z.Close = 2*s, 2200*time.Millisecond, 2220*time.Millisecond
		}, "p704 a704 p1112 u2000 r2000 !1204"},
	} {
		v, err := kernel.ParseVersion(tt.kernel)
		if err != nil {
			t.Fatal(err)
		}
		f, err := kernel.Model(v, 250)
		if err != nil {
			t.Fatal(err)
		}
		tl, err := stuckOn(tt.change).Predict(f, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if d := cmp.Diff(tt.want, told(tl)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.name, d)
		}
	}
}

// TestDrainedByProgram catches the second update of a window that is judged like the kernel's own answers: the program must read before, and has to wait
// for a processor. The first one comes from within its planned call.
func TestDrainedByProgram(t *testing.T) {
	tl, err := stuckOn(func(z *ZeroWindow) {
		z.Drain, z.Until, z.Close = 3*time.Second, 3250*time.Millisecond, 3270*time.Millisecond
	}).Predict(linux618(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range byProgram(tl).Events {
		got = append(got, fmt.Sprint(e.Host, " ", e.What, " ", e.RelAck))
	}
	if d := cmp.Diff([]string{"server window-update 1001"}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestZeroWindowRTT has the schedule over 100 ms by hand, in ms: the RTO is 304 (HZ=250), the timer starts when the window of 0 is there, an RTT after the
// write, and anew with each answer. It catches a timer that starts at the wrong end of the link, and an answer that is taken to be there at once.
func TestZeroWindowRTT(t *testing.T) {
	f := linux618(t)
	user := func(ms int) func(*ZeroWindow) {
		return func(z *ZeroWindow) { z.UserTimeout, z.Until = time.Duration(ms)*time.Millisecond, 6*time.Second }
	}
	read := func(ms int) func(*ZeroWindow) {
		return func(z *ZeroWindow) {
			z.Drain = time.Duration(ms) * time.Millisecond
			z.Until, z.Close = z.Drain+400*time.Millisecond, z.Drain+420*time.Millisecond
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*ZeroWindow)
		want   string
	}{
		{"answered: so far apart that no answer is held back", func(z *ZeroWindow) { z.Until = 8 * time.Second }, "p1104 a1154 p1812 a1862 p3128 a3178 p5660 a5710 q8000"},
		{"gone", func(z *ZeroWindow) { z.Gone, z.Until, z.Retries2 = true, 0, 3 }, "p1104 p1712 p2928 !5360"},
		{"TCP_USER_TIMEOUT", user(1500), "p1104 a1154 p1812 a1862 !2604"},
		{"the answer comes too late", user(750), "p1104 a1154 p1812 a1862 r1912 !1854"},
		{"the answer comes too late, and the reset before the read", func(z *ZeroWindow) { user(750)(z); read(4000)(z) }, "p1104 a1154 p1812 a1862 r1912 !1854"},
		{"read again", read(3000), "p1104 a1154 p1812 a1862 u3000 d3050 k3100 u3100 q3400 f3420 f3470 k3510 k3520 03520"},
		{"read while a probe is on its way", read(1850), "p1104 a1154 p1812 u1850 A1862 d1900 k1950 u1950 q2250 f2270 f2320 k2360 k2370 02370"},
		{"read when it is too late", func(z *ZeroWindow) { user(1500)(z); read(4000)(z) }, "p1104 a1154 p1812 a1862 u4000 r4050 !2604"},
	} {
		tl, err := stuckOn(func(z *ZeroWindow) { z.RTT, z.Write = 100*time.Millisecond, 700*time.Millisecond; tt.change(z) }).Predict(f, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if d := cmp.Diff(tt.want, told(tl)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.name, d)
		}
	}
}

// TestZeroWindowMeasured compares with captures of 6.18.44 (HZ=250), taken with tcpdump: it catches windows in which they do not lie.
func TestZeroWindowMeasured(t *testing.T) {
	f := linux618(t)
	tl, err := stuckOn(func(z *ZeroWindow) { z.Write, z.Until = 303219*time.Microsecond, 5*time.Second }).Predict(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range instants(.510747, .510822, .946757, 1.774755, 1.774823, 3.438736, 3.438769) {
		if e := tl.Events[6+i]; at < e.Earliest-100*time.Microsecond || at > e.Latest+time.Millisecond {
			t.Errorf("%s %d: seen at %v, predicted %v to %v", e.What, e.N, at, e.Earliest, e.Latest)
		}
	}
}

// TestZeroWindowDefaults has what an operator meets: 924.6 s at the default of tcp_retries2, and two minutes between the probes of a
// connection that lives on. It catches windows that forget how late the timer wheel is.
func TestZeroWindowDefaults(t *testing.T) {
	f := linux618(t)
	tl, err := stuckOn(func(z *ZeroWindow) { z.Gone, z.Until = true, 0 }).Predict(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	const write = 500 * time.Millisecond
	o, probes := tl.Outcome, 0
	for _, e := range tl.Events {
		if e.What == timeline.WindowProbe {
			probes++
		}
	}
	// 204 ms, doubled nine times, and six times 120 s.
	if got, want := o.At-write, 204*time.Millisecond*(1<<10-1)+6*120*time.Second; got != want || probes != 15 {
		t.Errorf("gone: got the end after %v and %d probes, want %v and 15", got, probes, want)
	}
	if late := o.Latest - o.At; late < 10*time.Second || late > 40*time.Second {
		t.Errorf("gone: got the end up to %v late, want 10 to 40 s", late)
	}
	if tl, err = stuckOn(func(z *ZeroWindow) { z.Until = 2 * time.Hour }).Predict(f, nil); err != nil {
		t.Fatal(err)
	}
	if n := len(tl.Events); tl.Outcome.What != timeline.Quiet || tl.Events[n-1].At-tl.Events[n-3].At != 120*time.Second {
		t.Errorf("answered: got %v at the end, the last two probes %v apart, want an open connection and 2 min", tl.Outcome.What, tl.Events[n-1].At-tl.Events[n-3].At)
	}
}

// TestZeroWindowExact plays starts: with one known, an event of a timer has its tick inside the window of all starts. It
// catches ticks that are counted from another origin than the windows.
func TestZeroWindowExact(t *testing.T) {
	f := linux618(t)
	for _, z := range []ZeroWindow{stuckOn(nil), stuckOn(func(z *ZeroWindow) { z.Gone, z.Until, z.Retries2 = true, 0, 8 }),
		stuckOn(func(z *ZeroWindow) { z.UserTimeout = 3 * time.Second }), stuckOn(func(z *ZeroWindow) { z.RTT, z.Write = 70*time.Millisecond, 701*time.Millisecond })} {
		all, err := z.Predict(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		sharp := 0
		for j := range uint64(16) {
			open := int64(0)
			one, err := z.Predict(f, &Start{Jiffies: 1<<40 + j, Phase: f.Jiffy() * 2 / 5, Called: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(one.Events) != len(all.Events) {
				t.Fatalf("start %d: got %d events, want %d", j, len(one.Events), len(all.Events))
			}
			for i, e := range append(one.Events, *one.Outcome) {
				w := append(all.Events[:len(all.Events):len(all.Events)], *all.Outcome)[i]
				if e.Earliest < w.Earliest || e.Latest > w.Latest {
					t.Errorf("start %d: %s %d: got %v to %v, outside of %v to %v", j, e.What, e.N, e.Earliest, e.Latest, w.Earliest, w.Latest)
				}
				if e.Chain != "" && e.Tick == 0 {
					t.Errorf("start %d: %s %d: got no tick", j, e.What, e.N)
				}
				open = max(open, e.TickLast-e.Tick)
			}
			if open <= 2 { // a timer below 63 jiffies moves with the jiffy in which it is armed, and the neighbours count
				sharp++
			}
		}
		if sharp == 0 {
			t.Errorf("%+v: got no start of 16 in a row in which each event has its tick, or a neighbouring one", z)
		}
	}
}

// TestZeroWindowErrors catches an input that is not modelled and is predicted all the same.
func TestZeroWindowErrors(t *testing.T) {
	f := linux618(t)
	for want, change := range map[string]func(*ZeroWindow){
		"segments of 50 bytes":   func(z *ZeroWindow) { z.Segment = 50 },
		"RTT of 1s":              func(z *ZeroWindow) { z.RTT, z.Write = time.Second, 4*time.Second },
		"want 300ms or later":    func(z *ZeroWindow) { z.RTT, z.Write = 100*time.Millisecond, 250*time.Millisecond },
		"write at 50ms":          func(z *ZeroWindow) { z.Write = 50 * time.Millisecond },
		"tcp_retries2=256":       func(z *ZeroWindow) { z.Retries2 = 256 },
		"a peer that is gone":    func(z *ZeroWindow) { z.Gone, z.Drain = true, 2*time.Second },
		"read at 700ms":          func(z *ZeroWindow) { z.Drain = 700 * time.Millisecond },
		"want the time of close": func(z *ZeroWindow) { z.Drain, z.Until = 2*time.Second, 3*time.Second },
		"after the window":       func(z *ZeroWindow) { z.Close = 70 * time.Second },
		"may never end":          func(z *ZeroWindow) { z.Until = 0 },
		"wait until 300ms":       func(z *ZeroWindow) { z.Until = 300 * time.Millisecond },
		"probes, one every":      func(z *ZeroWindow) { z.Until, z.Retries2 = 24*time.Hour, 1 },
		"tcp_invalid_ratelimit":  func(z *ZeroWindow) { z.InvalidRatelimit = -1 },
		"choose another time": func(z *ZeroWindow) {
			z.UserTimeout, z.Drain, z.Until, z.Close = time.Second, 1712*time.Millisecond, 2*time.Second, 2*time.Second
		},
	} {
		if _, err := stuckOn(change).Predict(f, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}
