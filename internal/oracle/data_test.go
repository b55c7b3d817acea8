package oracle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// silent is a black hole with the kernel's defaults, into which data are written after a second.
func silent(change func(*BlackHole)) BlackHole {
	b := BlackHole{Cut: CutMid, Exchange: 100 * time.Millisecond, Request: 6, Write: time.Second, Bytes: 6, Retries2: 15, EarlyRetrans: 3,
		Server: Server{SYNACKRetries: 5}, InvalidRatelimit: 500 * time.Millisecond}
	if change != nil {
		change(&b)
	}
	return b
}

func blackHole(t testing.TB, b BlackHole, f kernel.Facts, start *Start) timeline.Timeline {
	t.Helper()
	tl, err := b.Predict(f, start)
	if err != nil {
		t.Fatalf("got error %v, want a timeline", err)
	}
	return tl
}

// repeatsOf returns the repeats of the data: "TLP", "RTO 1".
func repeatsOf(tl timeline.Timeline) (names []string, events []timeline.Event) {
	for _, e := range tl.Events {
		name := ""
		switch e.What {
		case timeline.TailLossProbe:
			name = "TLP"
		case timeline.RTORetransmission:
			name = fmt.Sprintf("RTO %d", e.N)
		default:
			continue
		}
		if e.Maybe {
			name += "?"
		}
		names, events = append(names, name), append(events, e)
	}
	return names, events
}

// dataRow is a connection that was measured on 6.18.44 with HZ=250: times since the write.
type dataRow struct {
	name    string
	change  func(*BlackHole)
	repeats []float64 // each repeat, the probe included; nil: only their number was noted
	rtos    int       // how many RTO retransmissions
	ends    []float64 // measured ends
}

func dataRows() []dataRow {
	ms := time.Millisecond
	tlp := []float64{.206, .418, .838, 1.67, 3.33, 6.70, 13.4, 26.7}
	return []dataRow{
		{"N=0", func(b *BlackHole) { b.Retries2 = 0 }, nil, 1, []float64{.853}},
		{"N=1", func(b *BlackHole) { b.Retries2 = 1 }, nil, 2, []float64{1.674}},
		{"N=3", func(b *BlackHole) { b.Retries2 = 3 }, tlp[:5], 4, []float64{6.67, 6.85, 6.74, 6.716}},
		{"N=4: late timers reach the limit a fire early", func(b *BlackHole) { b.Retries2 = 4 }, tlp[:5], 4, []float64{6.651}},
		{"N=5", func(b *BlackHole) { b.Retries2 = 5 }, tlp[:6], 5, []float64{13.352}},
		{"N=8", func(b *BlackHole) { b.Retries2 = 8 }, nil, 8, []float64{107.93}},
		{"N=15", nil, nil, 15, []float64{938.99}},
		{"N=4 without probe", func(b *BlackHole) { b.Retries2, b.EarlyRetrans = 4, 0 }, []float64{.206, .634, 1.466, 3.134}, 4, []float64{6.4605}},
		{"N=15 without SACK", func(b *BlackHole) { b.NoSACK = true }, nil, 15, []float64{938.60}},
		{"thin, N=5", func(b *BlackHole) { b.ThinLinear, b.Retries2 = true, 5 },
			[]float64{.205, .413, .621, .833, 1.045, 1.253, 1.461, 1.669, 2.089, 2.921, 4.585, 7.977}, 11, []float64{14.6}},
		{"rto_min 50 ms, N=3", func(b *BlackHole) { b.RTOMin, b.Retries2 = 50*ms, 3 }, []float64{.058, .118, .234, .462, .942, 1.870}, 5, []float64{3.694}},
		{"rto_max 1 s, N=8: in the zone of doubt", func(b *BlackHole) { b.RTOMax, b.Retries2 = 1000*ms, 8 }, nil, 8, []float64{7.824}},
		{"rto_max 5 s", func(b *BlackHole) { b.RTOMax = 5000 * ms }, nil, 15, []float64{63.02}},
		{"UT=2000", func(b *BlackHole) { b.UserTimeout = 2000 * ms }, []float64{.208, .416, .844, 1.676}, 3, []float64{2.444}},
		{"UT=100", func(b *BlackHole) { b.UserTimeout = 100 * ms }, []float64{.203, .411}, 1, []float64{.516}},
		{"UT=10 without probe", func(b *BlackHole) { b.UserTimeout, b.EarlyRetrans = 10*ms, 2 }, []float64{.208}, 1, []float64{.224}},
		{"UT=60000, N=5: the end was noted as about 60.4", func(b *BlackHole) { b.UserTimeout, b.Retries2 = 60000*ms, 5 }, nil, 8, nil},
	}
}

// TestBlackHoleMeasured catches a wrong RTO, a wrong probe timeout, a wrong limit and a wrong wheel level: what was measured lies in the
// windows, and the kernel repeated as often as was predicted.
func TestBlackHoleMeasured(t *testing.T) {
	f := linux618(t)
	for _, tt := range dataRows() {
		t.Run(tt.name, func(t *testing.T) {
			b := silent(tt.change)
			tl := blackHole(t, b, f, nil)
			names, events := repeatsOf(tl)
			t.Logf("%s; end %v..%v", strings.Join(names, ", "), tl.Outcome.Earliest-b.Write, tl.Outcome.Latest-b.Write)
			in := func(what string, seen float64, e timeline.Bound) {
				lo, hi := (e.Earliest - b.Write).Seconds(), (e.Latest - b.Write).Seconds()
				if seen < lo-0.005 || seen > hi+0.006 {
					t.Errorf("%s: got window %.4f..%.4f, want it to hold %v s", what, lo, hi, seen)
				}
			}
			for i, seen := range tt.repeats {
				if i < len(events) {
					in(names[i], seen, events[i].Bound)
				}
			}
			for _, end := range tt.ends {
				in("end", end, tl.Outcome.Bound)
			}
			least, most := 0, 0
			for i, e := range events {
				if e.What == timeline.RTORetransmission {
					most++
					if !strings.HasSuffix(names[i], "?") {
						least++
					}
				}
			}
			if tt.rtos < least || tt.rtos > most {
				t.Errorf("got %s, want %d RTO retransmissions", strings.Join(names, ", "), tt.rtos)
			}
			if tl.Outcome.Errno != "ETIMEDOUT" || tl.Outcome.What != timeline.SocketError {
				t.Errorf("got %s %s, want a SocketError of ETIMEDOUT", tl.Outcome.What, tl.Outcome.Errno)
			}
		})
	}
}

// TestBlackHoleRanges compares with the ranges that were computed before tcplab, by another program (kernel-rules.md 3.3): the reachable
// end, and how many RTO retransmissions precede it.
func TestBlackHoleRanges(t *testing.T) {
	for _, tt := range []struct {
		hz, n, least, most int
		noProbe            bool
		lo, hi             float64
	}{
		{250, 0, 1, 1, false, .83, .86}, {250, 1, 2, 2, false, 1.66, 1.69}, {250, 2, 3, 3, false, 3.32, 3.35}, {250, 3, 4, 4, false, 6.62, 6.87},
		{250, 4, 4, 4, false, 6.62, 6.87}, {250, 4, 4, 4, true, 6.41, 6.66}, {250, 5, 5, 5, false, 13.28, 13.53}, {250, 6, 6, 6, false, 26.6, 26.8},
		{250, 7, 7, 7, false, 53.0, 55.0}, {250, 8, 8, 8, false, 106.2, 108.3}, {250, 9, 9, 9, false, 212.7, 214.7}, {250, 10, 10, 10, false, 333.5, 335.6},
		{250, 15, 15, 15, false, 937.7, 939.7}, {250, 15, 15, 15, true, 937.5, 939.5},
		{1000, 3, 4, 4, false, 6.55, 6.62}, {1000, 4, 4, 5, false, 6.61, 13.5}, {1000, 5, 5, 5, false, 13.0, 13.5}, {1000, 8, 8, 8, false, 104.2, 108.3},
		{1000, 15, 15, 15, false, 947.9, 952.0}, {100, 3, 3, 3, false, 3.5, 3.5}, {100, 15, 15, 15, false, 959.6, 964.8},
	} {
		t.Run(fmt.Sprintf("HZ=%d N=%d no probe %v", tt.hz, tt.n, tt.noProbe), func(t *testing.T) {
			b := silent(func(b *BlackHole) { b.Retries2, b.NoSACK = tt.n, tt.noProbe })
			tl := blackHole(t, b, facts(t, 6, 18, tt.hz), nil)
			names, _ := repeatsOf(tl)
			most, least := 0, 0
			for _, n := range names {
				if strings.HasPrefix(n, "RTO") {
					most++
					if !strings.HasSuffix(n, "?") {
						least++
					}
				}
			}
			lo, hi := (tl.Outcome.Earliest - b.Write).Seconds(), (tl.Outcome.Latest - b.Write).Seconds()
			t.Logf("%s, end %.3f..%.3f", strings.Join(names, ", "), lo, hi)
			if least != tt.least || most != tt.most {
				t.Errorf("got %d to %d RTO retransmissions, want %d to %d", least, most, tt.least, tt.most)
			}
			digit := .1
			if tt.hi < 20 && tt.hi != 3.5 && tt.hi != 13.5 {
				digit = .015
			}
			if lo < tt.lo-digit || lo > tt.lo+digit || hi < tt.hi-digit || hi > tt.hi+digit {
				t.Errorf("got an end of %.3f..%.3f, want %v..%v", lo, hi, tt.lo, tt.hi)
			}
		})
	}
}

// TestFirstRTO catches a wrong estimator: the RTO after a first sample, as printed in kernel-rules.md 3.1 and measured after handshakes
// that were repeated.
func TestFirstRTO(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	for _, tt := range []struct {
		rtt                  time.Duration
		at1000, at250, at100 int64 // ms
	}{
		{50 * us, 201, 204, 210}, {1 * ms, 201, 204, 210}, {10 * ms, 210, 212, 210}, {50 * ms, 250, 252, 250}, {100 * ms, 300, 300, 300},
		{200 * ms, 600, 600, 600}, {1011 * ms, 3033, 3036, 3040}, {-1, 3000, 3000, 3000},
	} {
		for hz, want := range map[int]int64{1000: tt.at1000, 250: tt.at250, 100: tt.at100} {
			e := newEstimator(facts(t, 6, 18, hz), 0)
			if tt.rtt > 0 {
				e.sample(tt.rtt)
			}
			e.handshakeOver()
			if got := e.rto(1<<40) * 1000 / int64(hz); got != want {
				t.Errorf("RTT %v, HZ=%d: got an RTO of %d ms, want %d", tt.rtt, hz, got, want)
			}
		}
	}
	if got := newEstimator(facts(t, 6, 18, 250), 0).rto(1 << 40); got != 250 {
		t.Errorf("before the first sample: got %d jiffies, want the initial RTO, 250", got)
	}
}

// TestEstimator catches a variance that decays too fast or falls below its floor: the values of RFC 6298's formula with the kernel's slow
// decrease, worked out by hand.
func TestEstimator(t *testing.T) {
	e := newEstimator(linux618(t), 0)
	var got []int64
	for _, m := range []time.Duration{150, 150, 150, 50, 400} {
		e.sample(m * time.Millisecond)
		got = append(got, e.rto(1<<40)*4)
	}
	// In ms. mdev: 300, 225, 168.75, 175.97, 394.47. rttvar: 300, 300 (its first maximum is itself), 300-100/4, 275-75/4, 394.47.
	if d := cmp.Diff([]int64{452, 452, 428, 396, 568}, got); d != "" {
		t.Errorf("RTO in ms, rounded up to 4 (-want +got):\n%s", d)
	}
}

// TestHalfOpenBesideData catches an oracle that plays the server's timer and the client's one after the other: written early, the data
// are repeated between the server's SYN-ACKs.
func TestHalfOpenBesideData(t *testing.T) {
	b := silent(func(b *BlackHole) { b.Cut, b.Write, b.Retries2, b.Server.SYNACKRetries = CutACK, time.Second/2, 3, 2 })
	tl := blackHole(t, b, linux618(t), nil)
	var got []string
	for _, e := range tl.Events {
		got = append(got, fmt.Sprintf("%s %s %d", e.Host, e.What, e.N))
	}
	want := []string{"client syn 0", "server syn-ack 0", "client ack 0", "client connected 0", "client data 0", "client tail-loss-probe 0",
		"client rto-retransmission 1", "server syn-ack-retransmission 1", "client challenge-ack 0", "client rto-retransmission 2", "client rto-retransmission 3",
		"server syn-ack-retransmission 2", "client challenge-ack 0", "client rto-retransmission 4", "server request-gone 0"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	// Measured on 6.18.44, from the SYN.
	for i, seen := range []float64{0, .000025, .00004, 0, .510026, .714439, .922452, 1.01848, 1.018499, 1.338402, 2.170423, 3.03447, 3.034483, 3.834433} {
		e := tl.Events[i]
		if e.What == timeline.Connected {
			continue
		}
		if e.What != timeline.SYNACKAgain && e.What != timeline.ChallengeACK && seen > .1 {
			seen -= .010026 // it wrote later than planned
		}
		if seen < e.Earliest.Seconds()-.004 || seen > e.Latest.Seconds()+.009 {
			t.Errorf("%s: got window %v..%v, want it to hold %v", got[i], e.Earliest, e.Latest, seen)
		}
	}
}

// TestDeadClient catches an oracle whose client answers with challenge ACKs after its death: measured on 6.18.44, the first SYN-ACK after it,
// at 3.02 s, was answered with a RST, and the request was gone at once.
func TestDeadClient(t *testing.T) {
	b := silent(func(b *BlackHole) { b.Cut, b.Write, b.Retries2, b.Server.SYNACKRetries = CutACK, time.Second/2, 0, 3 })
	tl := blackHole(t, b, linux618(t), nil)
	var got []string
	for _, e := range tl.Events[5:] {
		got = append(got, fmt.Sprintf("%s %s %d", e.Host, e.What, e.N))
	}
	want := []string{"client tail-loss-probe 0", "client rto-retransmission 1", "server syn-ack-retransmission 1", "client challenge-ack 0",
		"server syn-ack-retransmission 2", "client rst 0", "server request-gone 0"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if gone := tl.Events[len(tl.Events)-1]; gone.Earliest < 3*time.Second || gone.Latest > 3200*time.Millisecond {
		t.Errorf("the request is gone from %v to %v, want about 3.02 s", gone.Earliest, gone.Latest)
	}
}

// TestChallengeLimit catches an oracle that lets every repeated SYN-ACK be answered.
func TestChallengeLimit(t *testing.T) {
	for limit, want := range map[time.Duration]int{0: 5, 500 * time.Millisecond: 5, 1500 * time.Millisecond: 5, 3 * time.Second: 4, time.Minute: 1} {
		b := silent(func(b *BlackHole) {
			b.Cut, b.Write, b.Retries2, b.InvalidRatelimit = CutACK, 70*time.Second, 1, limit
		})
		n := 0
		for _, e := range blackHole(t, b, linux618(t), nil).Events {
			if e.What == timeline.ChallengeACK {
				n++
			}
		}
		if n != want {
			t.Errorf("limit %v: got %d challenge ACKs, want %d", limit, n, want)
		}
	}
}

// TestBlackHoleKnobs catches a knob that the prediction ignores: each change of one moves the repeats or the end.
func TestBlackHoleKnobs(t *testing.T) {
	ms := time.Millisecond
	f := linux618(t)
	text := func(b BlackHole, f kernel.Facts) string {
		tl := blackHole(t, b, f, nil)
		names, events := repeatsOf(tl)
		s := fmt.Sprint(names, tl.Outcome.Errno, tl.Outcome.Bound)
		for _, e := range append(events, tl.Events...) {
			s += fmt.Sprint(e.What, e.Bound)
		}
		return s
	}
	base := func(b *BlackHole) { b.Cut, b.Retries2 = CutACK, 4 }
	plain := text(silent(base), f)
	for name, change := range map[string]func(*BlackHole){
		"tcp_retries2": func(b *BlackHole) { b.Retries2 = 5 }, "tcp_rto_max_ms": func(b *BlackHole) { b.RTOMax = 1000 * ms },
		"tcp_rto_min_us": func(b *BlackHole) { b.RTOMin = 100 * ms }, "TCP_USER_TIMEOUT": func(b *BlackHole) { b.UserTimeout = 3000 * ms },
		"tcp_early_retrans": func(b *BlackHole) { b.EarlyRetrans = 2 }, "tcp_sack": func(b *BlackHole) { b.NoSACK = true },
		"tcp_thin_linear_timeouts": func(b *BlackHole) { b.ThinLinear = true }, "RTT": func(b *BlackHole) { b.RTT = 20 * ms },
		"first RTT": func(b *BlackHole) { b.FirstRTT = time.Second }, "write": func(b *BlackHole) { b.Write += time.Second },
		"tcp_synack_retries": func(b *BlackHole) { b.Server.SYNACKRetries = 1 }, "soft error": func(b *BlackHole) { b.SoftError = "EHOSTUNREACH" },
		"cut": func(b *BlackHole) { b.Cut = CutMid },
	} {
		if text(silent(func(b *BlackHole) { base(b); change(b) }), f) == plain {
			t.Errorf("%s: got the same prediction, want another", name)
		}
	}
	for _, other := range []kernel.Facts{facts(t, 6, 18, 1000), facts(t, 4, 4, 250)} {
		if text(silent(base), other) == plain {
			t.Errorf("kernel %v, HZ=%d: got the same prediction, want another", other.Version, other.HZ)
		}
	}
}

// TestBlackHoleTicks catches ticks outside the windows: with a known start each event keeps the window of all starts, and its ticks lie
// inside.
func TestBlackHoleTicks(t *testing.T) {
	f := linux618(t)
	for _, b := range []BlackHole{silent(func(b *BlackHole) { b.Retries2 = 5 }), silent(func(b *BlackHole) {
		b.Cut, b.Write, b.Server.SYNACKRetries, b.Retries2 = CutACK, 500*time.Millisecond, 2, 3
	}),
		silent(func(b *BlackHole) {
			b.Cut, b.RTT, b.Retries2, b.Server.SYNACKRetries = CutACK, 20*time.Millisecond, 4, 1
		})} {
		all := blackHole(t, b, f, nil)
		for j := range uint64(16) {
			start := &Start{Jiffies: 1<<33 + j*37, Phase: 1600 * time.Microsecond}
			one := blackHole(t, b, f, start)
			for _, e := range append(slices.Clone(one.Events), *one.Outcome) {
				timed := e.Tick != 0
				if dated := e.What.Again() || e.What == timeline.RequestGone || e.What == timeline.ChallengeACK || e.What == timeline.SocketError; dated != timed {
					t.Fatalf("%s %d: got tick %d, want one exactly where a timer rules it", e.What, e.N, e.Tick)
				}
				if !timed {
					continue
				}
				first, last := time.Duration(e.Tick)*f.Jiffy()-start.Phase+e.After, time.Duration(e.TickLast)*f.Jiffy()-start.Phase+e.After
				if first < e.Earliest-2*f.Jiffy() || last > e.Latest+2*f.Jiffy() {
					t.Errorf("%s %d: got ticks %v..%v outside the window %v..%v", e.What, e.N, first, last, e.Earliest, e.Latest)
				}
			}
			if len(one.Events) > len(all.Events) {
				t.Errorf("got %d events with a start, want at most the %d of all starts", len(one.Events), len(all.Events))
			}
		}
	}
}

// TestBlackHoleFast catches a sweep that got slow: the defaults, which play for a quarter of an hour, take a fraction of a second.
func TestBlackHoleFast(t *testing.T) {
	const most = 5 * time.Second
	for _, hz := range []int{250, 1000} {
		took := time.Hour
		for range 3 { // a busy machine takes the processor away for seconds, but not each time
			before := time.Now()
			blackHole(t, silent(func(b *BlackHole) { b.Cut = CutACK }), facts(t, 6, 18, hz), &Start{Jiffies: 1 << 33})
			if took = min(took, time.Since(before)); took <= most {
				break
			}
		}
		t.Logf("HZ=%d: %v", hz, took)
		if took > most {
			t.Errorf("HZ=%d: took %v, want well under a second on an idle machine", hz, took)
		}
	}
}

// TestBlackHoleErrors catches values that the kernel refuses, and kernels of which nothing is known.
func TestBlackHoleErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*BlackHole)
		want   string
		minor  int // of kernel 4; 0: 6.18
	}{
		"retries2":  {func(b *BlackHole) { b.Retries2 = 256 }, "tcp_retries2=256", 0},
		"early":     {func(b *BlackHole) { b.EarlyRetrans = 5 }, "tcp_early_retrans=5", 0},
		"rto_max":   {func(b *BlackHole) { b.RTOMax = time.Millisecond }, "tcp_rto_max_ms", 0},
		"too early": {func(b *BlackHole) { b.Write = 90 * time.Millisecond }, "write at", 0},
		"bytes":     {func(b *BlackHole) { b.Bytes = 0 }, "0 bytes", 0},
		"rto_min":   {func(b *BlackHole) { b.RTOMin = time.Millisecond }, "since 6.11", 14},
		"request":   {func(b *BlackHole) { b.Cut = CutACK }, "since 4.1", -1},
		"errno":     {func(b *BlackHole) { b.SoftError = "EBADF" }, "soft error", 0},
	} {
		f := facts(t, 6, 18, 250)
		switch {
		case tt.minor > 0:
			f = facts(t, 4, tt.minor, 250)
		case tt.minor < 0:
			f = facts(t, 3, 16, 250)
		}
		if _, err := silent(tt.change).Predict(f, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got error %v, want one with %q", name, err, tt.want)
		}
	}
}

// FuzzBlackHole catches a panic, an endless play, and windows that are empty, begin before the nominal time or do not hold their tick.
func FuzzBlackHole(f *testing.F) {
	f.Add(uint8(18), uint16(250), 15, uint32(0), uint32(0), uint32(0), 3, uint8(0), uint16(1000), uint64(0), false)
	f.Add(uint8(18), uint16(1000), 4, uint32(1000), uint32(50000), uint32(2000), 4, uint8(5), uint16(70), uint64(1<<33), true)
	f.Add(uint8(14), uint16(100), 3, uint32(0), uint32(0), uint32(777), 0, uint8(2), uint16(30000), uint64(1<<64-1), true)
	f.Add(uint8(120), uint16(300), 0, uint32(0), uint32(0), uint32(10), 3, uint8(7), uint16(500), uint64(77), true)
	f.Fuzz(func(t *testing.T, minor uint8, hz uint16, retries int, rtoMaxMS, rtoMinUS, userMS uint32, early int, flags uint8, writeMS uint16, jiffies uint64, known bool) {
		v := kernel.Version{Major: 6, Minor: int(minor % 100)}
		if minor >= 100 {
			v = kernel.Version{Major: 3 + int(minor)/200, Minor: 1 + int(minor%20)}
		}
		model, err := kernel.Model(v, int(hz))
		if err != nil {
			return
		}
		b := BlackHole{Cut: Cut(flags & 1), NoSACK: flags&2 != 0, ThinLinear: flags&4 != 0, Retries2: min(retries, 20), EarlyRetrans: early,
			Write: time.Duration(writeMS) * time.Millisecond, Bytes: 6, Request: 6, Exchange: 50 * time.Millisecond, RTT: time.Duration(flags>>3) * 3 * time.Millisecond,
			RTOMax: time.Duration(rtoMaxMS) * time.Millisecond, RTOMin: time.Duration(rtoMinUS) * time.Microsecond,
			UserTimeout: time.Duration(userMS%100000) * time.Millisecond, Server: Server{SYNACKRetries: int(flags >> 4)}, InvalidRatelimit: time.Second / 2}
		var start *Start
		if known {
			start = &Start{Jiffies: jiffies, Phase: model.Jiffy() / 2}
		}
		tl, err := b.Predict(model, start)
		if err != nil {
			return
		}
		checkBlackHole(t, model, tl, start)
	})
}

func checkBlackHole(t *testing.T, f kernel.Facts, tl timeline.Timeline, start *Start) {
	t.Helper()
	var before time.Duration
	sorted := start == nil
	for _, e := range append(slices.Clone(tl.Events), *tl.Outcome) {
		if f.Wheel && e.Earliest < e.At-f.Jiffy() || e.Latest < e.Earliest || e.GapLatest < e.GapEarliest || e.GapEarliest < 0 {
			t.Errorf("%s %d: got %+v, want at <= earliest <= latest, and gaps in order", e.What, e.N, e.Bound)
		}
		if e.Why == "" || e.Host == "" {
			t.Errorf("%s %d: got why %q at host %q, want both", e.What, e.N, e.Why, e.Host)
		}
		if sorted && e.What != timeline.SocketError && e.Earliest < before {
			t.Errorf("%s %d: got %v after an event of %v, want them in order", e.What, e.N, e.Earliest, before)
		}
		if start != nil && e.Tick != 0 && e.TickLast < e.Tick {
			t.Errorf("%s %d: got ticks %d..%d, want them in order", e.What, e.N, e.Tick, e.TickLast)
		}
		if e.What != timeline.SocketError {
			before = e.Earliest
		}
	}
	_, repeats := repeatsOf(tl)
	if len(repeats) < 1 || tl.Outcome.Latest < repeats[0].Latest {
		t.Errorf("got %d repeats and an end at %v, want a repeat and a later end", len(repeats), tl.Outcome.Bound)
	}
}

// TestBlackHoleOtherRTOs compares the default, tcp_retries2=15, on longer paths with what another program computed (kernel-rules.md 3.3): the
// limit stays 924.6 s, so the number of repeats falls as the RTO rises.
func TestBlackHoleOtherRTOs(t *testing.T) {
	for _, tt := range []struct {
		rtt       time.Duration // that makes the RTO
		rto       int64         // ms
		at250     [2]float64
		repeats   int
		at1000    [2]float64
		repeats10 int // at HZ=1000
	}{
		{20 * time.Millisecond, 220, [2]float64{954, 956}, 15, [2]float64{966, 970}, 15},
		{100 * time.Millisecond, 300, [2]float64{1001, 1003}, 15, [2]float64{1016, 1020}, 15},
		{133333 * time.Microsecond, 400, [2]float64{934, 936}, 14, [2]float64{948, 952}, 14},
		{166666 * time.Microsecond, 500, [2]float64{976, 978}, 14, [2]float64{989, 993}, 14},
		{333333 * time.Microsecond, 1000, [2]float64{975, 977}, 13, [2]float64{989, 993}, 13},
		{666666 * time.Microsecond, 2000, [2]float64{974, 976}, 12, [2]float64{987, 992}, 12},
		{-1, 3000, [2]float64{1037, 1039}, 12, [2]float64{929, 933}, 11},
	} {
		b := silent(func(b *BlackHole) { b.Cut, b.FirstRTT, b.EarlyRetrans = CutACK, tt.rtt, 0 })
		for hz, want := range map[int][2]float64{250: tt.at250, 1000: tt.at1000} {
			f := facts(t, 6, 18, hz)
			if rtos, _ := b.Timers(f); len(rtos) != 1 || rtos[0].Milliseconds() != tt.rto {
				t.Errorf("HZ=%d: got an RTO of %v, want %d ms", hz, rtos, tt.rto)
			}
			tl := blackHole(t, b, f, nil)
			names, _ := repeatsOf(tl)
			n := tt.repeats
			if hz == 1000 {
				n = tt.repeats10
			}
			lo, hi := (tl.Outcome.Earliest - b.Write).Seconds(), (tl.Outcome.Latest - b.Write).Seconds()
			if len(names) != n || lo < want[0]-1 || lo > want[0]+1 || hi < want[1]-1 || hi > want[1]+1 {
				t.Errorf("RTO %d ms, HZ=%d: got %d repeats and an end of %.1f..%.1f, want %d and %v", tt.rto, hz, len(names), lo, hi, n, want)
			}
		}
	}
}
