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

const ms = time.Millisecond

// twenty is the burst that was measured: 20 segments of 1000 bytes, RTT 20 ms, Linux 6.18's own settings.
func twenty(sack bool, lose ...int) Recovery {
	return Recovery{Segments: 20, Size: 1000, Lose: lose, Write: 200 * ms, RTT: 20 * ms, SACK: sack, TCPRecovery: 1, EarlyRetrans: 3, FRTO: true}
}

// repeats writes what the sender sent again: its name, the segment, and when, in ms after the write.
func repeats(r Recovery, tl timeline.Timeline) string {
	short := map[timeline.What]string{timeline.FastRetransmit: "fast", timeline.TailLossProbe: "probe", timeline.RTORetransmission: "RTO", timeline.DataAgain: "again"}
	var s []string
	for _, e := range tl.Events {
		if name := short[e.What]; name != "" {
			s = append(s, fmt.Sprintf("%s %d@%d", name, (e.RelSeq-1)/uint32(r.Size)+1, (e.At-r.Write+5*ms)/(10*ms)*10)) // a jiffy of slip
		}
	}
	return strings.Join(s, ", ")
}

// TestRecoveryMeasured compares with captures of 6.18.44 (HZ=250, a delay line of 20 ms, cwnd 100, reno): what was sent again, in which
// order, and that each came in its window. The instants are of the client's capture, in ms after the write.
func TestRecoveryMeasured(t *testing.T) {
	many := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	static := twenty(true, 15)
	static.TCPRecovery = 5
	noProbe := twenty(true, 20)
	noProbe.EarlyRetrans = 0
	for _, c := range []struct {
		name string
		r    Recovery
		want string
		at   []float64
	}{
		{"SACK, one", twenty(true, 15), "fast 15@20", []float64{20.829}},
		{"SACK, two", twenty(true, 15, 19), "fast 15@20, fast 19@20", []float64{20.878, 20.952}},
		{"SACK, early ones: PRR lets one out for two", twenty(true, 2, 5), "fast 2@20, fast 5@20", []float64{20.552, 20.611}},
		{"SACK, two behind each of which is one", twenty(true, 17, 19), "fast 17@30, fast 19@50", []float64{29.668, 50.067}},
		{"SACK, two segments behind it", twenty(true, 18), "fast 18@30", []float64{31.985}},
		{"SACK, one segment behind it", twenty(true, 19), "fast 19@30", []float64{30.835}},
		{"SACK, the last two", twenty(true, 19, 20), "probe 20@60, fast 19@80", []float64{65.543, 85.979}},
		{"SACK, the last one", twenty(true, 20), "probe 20@290", []float64{291.780}},
		{"SACK, sixteen: slow start in recovery", twenty(true, many...),
			"fast 1@20, fast 2@20, fast 3@40, fast 4@40, fast 5@40, fast 6@40, fast 7@60, fast 8@60, fast 9@60, fast 10@60, fast 11@60, fast 12@60, fast 13@60, fast 14@60, fast 15@80, fast 16@80",
			[]float64{20.847, 21.922, 41.247, 41.267, 42.164, 42.176, 61.660, 61.679, 61.724, 61.725, 62.369, 62.380, 62.416, 62.426, 82.009, 82.025}},
		{"SACK, the last of two after a recovery", twenty(true, 15, 20), "fast 15@20, fast 20@40", []float64{20.803, 41.110}},
		{"SACK, no shortcut by three", static, "fast 15@30", []float64{31.653}},
		{"SACK, no probes", noProbe, "RTO 20@290", []float64{294.304}},
		{"no SACK, one", twenty(false, 15), "fast 15@20", []float64{21.029}},
		{"no SACK, two", twenty(false, 15, 19), "fast 15@20, fast 19@40", []float64{20.996, 41.425}},
		{"no SACK, three", twenty(false, 10, 12, 14), "fast 10@20, fast 12@40, fast 14@60", []float64{20.728, 41.023, 61.305}},
		{"no SACK, two and the last", twenty(false, 15, 18, 20), "fast 15@20, fast 18@40, fast 20@60", []float64{20.675, 41.009, 61.353}},
		{"no SACK, one duplicate is not sent: 16 quick ACKs are used up", twenty(false, 18, 20), "RTO 18@240, again 20@260", []float64{245.463, 265.890}},
		{"no SACK, two duplicates", twenty(false, 17, 19), "RTO 17@240, again 19@260, again 20@260", []float64{247.165, 267.575, 267.587}},
		{"no SACK, the last one after the delayed ACK", twenty(false, 20), "RTO 20@290", []float64{292.593}},
	} {
		tl, err := c.r.Predict(linux618(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{repeats(c.r, tl)}
		for _, a := range tl.Alternatives {
			got = append(got, repeats(c.r, a))
			if got[0] != c.want && got[len(got)-1] == c.want {
				tl, got[0] = a, c.want
			}
		}
		if got[0] != c.want {
			t.Errorf("%s: got %s, want %s", c.name, strings.Join(got, " or "), c.want)
			continue
		}
		i := 0
		for _, e := range tl.Events {
			if e.Host != "client" || !e.What.Again() {
				continue
			}
			at := c.r.Write + time.Duration(c.at[i]*float64(ms))
			i++
			if at < e.Earliest || at > e.Latest {
				t.Errorf("%s: %s of %d was seen at %v, want %v to %v", c.name, e.What, e.RelSeq, at, e.Earliest, e.Latest)
			}
		}
	}
}

// TestRecoveryPairs loses a segment at the end of a long burst, whose receiver acknowledged 19 segments one by one on 6.18.44 and then every second one.
// Behind an odd hole the first acknowledgement says something new, and is no duplicate. It catches an oracle that does not know that.
func TestRecoveryPairs(t *testing.T) {
	for _, sack := range []bool{false, true} {
		for k := 27; k < 30; k++ {
			r := twenty(sack, k)
			r.Segments = 30
			tl, err := r.Predict(linux618(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			want := 30 - k // duplicates: one for each segment behind the hole
			if k%2 == 1 {
				want--
			}
			found := false
			for _, one := range append([]timeline.Timeline{tl}, tl.Alternatives...) {
				n := 0
				for _, e := range one.Events {
					if e.What == timeline.DuplicateACK {
						n++
					}
				}
				found = found || n == want
			}
			if !found {
				t.Errorf("SACK %v, segment %d of 30: no timeline has %d duplicates", sack, k, want)
			}
		}
	}
}

// TestRecoveryAlternatives catches an oracle that knows only one way where microseconds decide: whether the acknowledgement of the repeat
// is faster than all before was seen both ways, four times in six the slow one.
func TestRecoveryAlternatives(t *testing.T) {
	for _, c := range []struct {
		r    Recovery
		want []string
	}{
		{twenty(true, 15), nil},
		{twenty(false, 15, 20), nil},
		{twenty(true, 15, 20), []string{"fast 15@20, RTO 20@260"}},
		// The last two are those of a window that grew for one segment: the 18th waits for its delayed ACK.
		{twenty(true, 19, 20), []string{"probe 20@60, RTO 19@290", "probe 20@120, fast 19@140", "probe 20@120, RTO 19@340"}},
	} {
		tl, err := c.r.Predict(linux618(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range tl.Alternatives {
			got = append(got, repeats(c.r, a))
			if a.Why == "" {
				t.Errorf("lose %v: an alternative does not say why", c.r.Lose)
			}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("lose %v: (-want +got)\n%s", c.r.Lose, d)
		}
	}
}

// TestRecovered catches a recovery that is counted in another unit than round trips: one with SACK, one for each loss without.
func TestRecovered(t *testing.T) {
	for _, c := range []struct {
		r    Recovery
		want Recovered
	}{
		{twenty(true, 15), Recovered{RTTs: 1, Fast: 1, Sent: 21}},
		{twenty(true, 15, 19), Recovered{RTTs: 1, Fast: 2, Sent: 22}},
		{twenty(true, 17, 19), Recovered{RTTs: 2, Fast: 2, Sent: 22}},
		{twenty(false, 15, 19), Recovered{RTTs: 2, Fast: 2, Sent: 22}},
		{twenty(false, 10, 12, 14), Recovered{RTTs: 3, Fast: 3, Sent: 23}},
		{twenty(true, 20), Recovered{RTTs: 1, Probes: 1, Sent: 21}},
		{twenty(false, 20), Recovered{RTTs: 1, Fires: 1, Sent: 21}},
		{twenty(true), Recovered{Sent: 20}},
		{twenty(true, 15, 21), Recovered{RTTs: 12, Fast: 1, Fires: 1, Sent: 22}}, // the repeat is lost too

	} {
		got, err := c.r.Recovered(linux618(t))
		if err != nil || got != c.want {
			t.Errorf("SACK %t, lose %v: got %+v (%v), want %+v", c.r.SACK, c.r.Lose, got, err, c.want)
		}
	}
}

// TestRecoveryKnobs catches a setting that changes nothing: the prediction would hold whatever the kernel does with it.
func TestRecoveryKnobs(t *testing.T) {
	for name, change := range map[string]func(*Recovery){
		"SACK":         func(r *Recovery) { r.SACK = false },
		"tcp_recovery": func(r *Recovery) { r.TCPRecovery = 5 },
		"reordering":   func(r *Recovery) { r.Reordering = 6 },
		"RTT":          func(r *Recovery) { r.RTT = 40 * ms },
		"lose":         func(r *Recovery) { r.Lose = []int{14, 19} },
		"segments":     func(r *Recovery) { r.Segments = 22 },
		"write":        func(r *Recovery) { r.Write = 300 * ms },
		"size":         func(r *Recovery) { r.Size = 500 },
		"rate":         func(r *Recovery) { r.Link.Rate, r.Frame = 1e7, 1066 },
		"hold":         func(r *Recovery) { r.Link.Hold = []time.Duration{3 * ms} },
		"behind":       func(r *Recovery) { r.Link.Behind = []time.Duration{3 * ms} },
	} {
		a, b := twenty(true, 15, 19), twenty(true, 15, 19)
		change(&b)
		one, err := a.Predict(linux618(t), nil)
		two, err2 := b.Predict(linux618(t), nil)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if cmp.Equal(one, two) {
			t.Errorf("%s: the prediction does not change", name)
		}
	}
	one, _ := twenty(true, 20).Predict(linux618(t), nil)
	late := twenty(true, 20)
	late.RTOMin = 400 * ms
	if two, _ := late.Predict(linux618(t), nil); repeats(late, one) == repeats(late, two) {
		t.Errorf("tcp_rto_min_us: got %s both times", repeats(late, two))
	}
}

// TestRecoveryRefuses catches a prediction for what is not modelled.
func TestRecoveryRefuses(t *testing.T) {
	old, err := kernel.Model(kernel.Version{Major: 4, Minor: 9}, 250)
	if err != nil {
		t.Fatal(err)
	}
	mid, err := kernel.Model(kernel.Version{Major: 6, Minor: 1}, 250)
	if err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]struct {
		f      kernel.Facts
		change func(*Recovery)
	}{
		"kernel 4.9":     {old, func(*Recovery) {}},
		"tcp_recovery=0": {mid, func(r *Recovery) { r.TCPRecovery = 0 }},
		"RTT of 1ms":     {linux618(t), func(r *Recovery) { r.RTT = ms }},
		"lose segment 0": {linux618(t), func(r *Recovery) { r.Lose = []int{0} }},
		"held for 151ms": {linux618(t), func(r *Recovery) { r.Link.Hold = []time.Duration{151 * ms} }},
		"frames of 0":    {linux618(t), func(r *Recovery) { r.Link.Rate = 1e6 }},
		"lose segment 3": {linux618(t), func(r *Recovery) { r.Lose = []int{3, 3} }},
		"43 segments":    {linux618(t), func(r *Recovery) { r.Segments = 43 }},
		"write at":       {linux618(t), func(r *Recovery) { r.Write = 29 * ms }},
	} {
		r := twenty(true, 15)
		c.change(&r)
		if _, err := r.Predict(c.f, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

// TestRecoveryStart catches a tick outside the window of all starts.
func TestRecoveryStart(t *testing.T) {
	f := linux618(t)
	for _, r := range []Recovery{twenty(true, 18), twenty(true, 20), twenty(false, 17, 19), twenty(true, 19, 20)} {
		tl, err := r.Predict(f, &Start{Jiffies: 1 << 33, Phase: 2 * ms})
		if err != nil {
			t.Fatal(err)
		}
		timed := 0
		for _, e := range tl.Events {
			if e.Tick == 0 {
				continue
			}
			timed++
			first, last := time.Duration(e.Tick)*f.Jiffy()-2*ms+e.After, time.Duration(max(e.Tick, e.TickLast))*f.Jiffy()-2*ms+e.After
			if first < e.Earliest-f.Jiffy()-ms || last > e.Latest+f.Jiffy()+ms || last < first { // the neighbouring start, and the lag
				t.Errorf("lose %v: %s: ticks give %v to %v, the window is %v to %v", r.Lose, e.What, first, last, e.Earliest, e.Latest)
			}
		}
		if timed == 0 {
			t.Errorf("lose %v: got no event with a tick", r.Lose)
		}
	}
}

// FuzzRecovery catches a panic, a sender that never ends, a lost segment that is never sent again, and windows that are empty.
func FuzzRecovery(f *testing.F) {
	f.Add(uint8(18), uint16(250), uint64(1<<14), uint8(20), uint16(20), true, uint8(1), uint8(3), uint8(3))
	f.Add(uint8(18), uint16(1000), uint64(1<<14|1<<18), uint8(20), uint16(100), false, uint8(1), uint8(3), uint8(0))
	f.Add(uint8(5), uint16(100), uint64(1<<42-1), uint8(42), uint16(300), true, uint8(5), uint8(0), uint8(10))
	f.Add(uint8(17), uint16(300), uint64(1), uint8(1), uint16(4), false, uint8(4), uint8(4), uint8(1))
	f.Fuzz(func(t *testing.T, minor uint8, hz uint16, lose uint64, segments uint8, rtt uint16, sack bool, recovery, early, reordering uint8) {
		k, err := kernel.Model(kernel.Version{Major: 6, Minor: int(minor % 40)}, 24+int(hz)%2000)
		if err != nil {
			return
		}
		r := Recovery{Segments: int(segments), Size: 1000, RTT: time.Duration(rtt) * ms, Write: 2*time.Duration(rtt)*ms + 100*ms, SACK: sack,
			TCPRecovery: int(recovery), EarlyRetrans: int(early), Reordering: int(reordering), FRTO: true}
		for i := range r.Segments {
			if i < 64 && lose>>i&1 == 1 {
				r.Lose = append(r.Lose, i+1)
			}
		}
		tl, err := r.Predict(k, nil)
		if err != nil {
			return
		}
		checkRecovery(t, r, tl)
		for _, a := range tl.Alternatives {
			checkRecovery(t, r, a)
		}
	})
}

func checkRecovery(t *testing.T, r Recovery, tl timeline.Timeline) {
	t.Helper()
	again := map[uint32]bool{}
	var final uint32
	for _, e := range tl.Events {
		if e.Latest < e.Earliest || e.At > e.Earliest+10*ms || e.Why == "" || e.Host == "" {
			t.Errorf("%s %d: got %+v, %q at %q", e.What, e.N, e.Bound, e.Why, e.Host)
		}
		if e.What.Again() {
			again[e.RelSeq] = true
		}
		if e.What == timeline.ACK && e.Exact {
			final = max(final, e.RelAck)
		}
	}
	for _, k := range r.Lose {
		if !again[uint32(1+(k-1)*r.Size)] {
			t.Errorf("segment %d is lost and never sent again", k)
		}
	}
	if want := uint32(1 + r.Segments*r.Size); final != want {
		t.Errorf("got a last acknowledgement of %d, want %d", final, want)
	}
	if !slices.ContainsFunc(tl.Events, func(e timeline.Event) bool { return e.What == timeline.Data }) {
		t.Error("got no data")
	}
}
