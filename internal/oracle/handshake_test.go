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

// lines writes a timeline one event a line: nominal time in ms, host, what, numbers.
func lines(tl timeline.Timeline) []string {
	var out []string
	for _, e := range tl.Events {
		s := fmt.Sprintf("%d %s %s", e.At.Milliseconds(), e.Host, e.What)
		if e.Exact {
			s += fmt.Sprintf(" %d %d %d", e.RelSeq, e.RelAck, e.Len)
		}
		if e.Errno != "" {
			s += " " + e.Errno
		}
		if e.Maybe {
			s += " maybe"
		}
		out = append(out, s)
	}
	return out
}

// get is the exchange that was captured on 6.18.44 with tcpdump: a request of 50 bytes at 100 ms, an answer of 100, closed at 200 ms.
var get = Exchange{Request: 50, Answer: 100, RequestAt: 100 * ms, AnswerAt: 100 * ms, ClientClose: 200 * ms, ServerClose: 200 * ms}

var opened = []string{
	"0 client syn 0 0 0", "0 server syn-ack 0 1 0", "0 client ack 1 1 0",
	"100 client data 1 1 50", "100 server ack 1 51 0", "100 server data 1 51 100", "100 client ack 51 101 0", "100 client answered",
}

// TestExchangeMeasured compares with captures of 6.18.44 (HZ=250): every packet of the exchange with its numbers, closed in three packets
// and in four, by the client and by the server first. In the captures the late ACK came 41.8 to 43.9 ms after the FIN.
func TestExchangeMeasured(t *testing.T) {
	f := linux618(t)
	for _, c := range []struct {
		name string
		x    func(x *Exchange)
		want []string
	}{
		{"client first, the server closes at once: 3", func(x *Exchange) {},
			[]string{"200 client fin 51 101 0", "200 server fin 101 52 0", "200 client ack 52 102 0"}},
		{"client first, the server closes 200 ms later: 4", func(x *Exchange) { x.ServerClose = 400 * ms },
			[]string{"200 client fin 51 101 0", "240 server ack 101 52 0", "400 server fin 101 52 0", "400 client ack 52 102 0"}},
		{"36 ms are near the timer of 40 ms: 3 or 4", func(x *Exchange) { x.ServerClose = 236 * ms },
			[]string{"200 client fin 51 101 0", "236 server fin 101 52 0", "236 client ack 52 102 0", "240 server ack 101 52 0 maybe"}},
		{"server first, the client closes 20 ms later: 3", func(x *Exchange) { x.ServerFirst, x.ServerClose, x.ClientClose = true, 100*ms, 120*ms },
			[]string{"100 server fin 101 51 0", "120 client fin 51 102 0", "120 server ack 102 52 0"}},
		{"server first, the client closes 200 ms later: 4", func(x *Exchange) { x.ServerFirst, x.ServerClose, x.ClientClose = true, 100*ms, 300*ms },
			[]string{"100 server fin 101 51 0", "140 client ack 51 102 0", "300 client fin 51 102 0", "300 server ack 102 52 0"}},
	} {
		x := get
		c.x(&x)
		tl, err := x.Predict(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := lines(tl)
		want := append(append([]string{}, opened...), c.want...)
		less := func(a, b string) bool { return a < b } // within a millisecond the order is that of the packets, and is judged by them
		if d := cmp.Diff(sortedBy(want, less), sortedBy(got, less)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, d)
		}
		if tl.Outcome == nil || tl.Outcome.What != timeline.Connected || tl.Outcome.Latest > answerWithin {
			t.Errorf("%s: outcome: got %+v, want connected at once", c.name, tl.Outcome)
		}
	}
}

func sortedBy(s []string, less func(a, b string) bool) []string {
	out := append([]string{}, s...)
	for i := range out {
		for k := i; k > 0 && less(out[k], out[k-1]); k-- {
			out[k], out[k-1] = out[k-1], out[k]
		}
	}
	return out
}

// TestLateACK catches a window of the late ACK that does not hold what was measured, or that holds anything: 40 ms and the rest of the
// jiffy on 6.18.44, less with a smaller tcp_rto_min_us (measured 20.6 ms after the FIN with 20 ms), more with a coarser jiffy.
func TestLateACK(t *testing.T) {
	for _, c := range []struct {
		version string
		hz      int
		rtoMin  time.Duration
		lo, hi  time.Duration
	}{
		{"6.18", 250, 0, 40 * ms, 44 * ms},
		{"6.18", 250, 20 * ms, 16 * ms, 20 * ms},
		{"6.18", 250, time.Microsecond, 4 * ms, 8 * ms},
		{"6.18", 1000, 0, 40 * ms, 41 * ms},
		{"6.18", 100, 0, 40 * ms, 50 * ms},
		{"4.4", 250, 0, 36 * ms, 40 * ms},
	} {
		v, err := kernel.ParseVersion(c.version)
		if err != nil {
			t.Fatal(err)
		}
		f, err := kernel.Model(v, c.hz)
		if err != nil {
			t.Fatal(err)
		}
		x := get
		x.ServerClose, x.RTOMin = time.Second, c.rtoMin
		tl, err := x.Predict(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		e := lateACK(t, tl)
		slip := f.Jiffy() // of the call that closes
		lo, hi := e.Earliest-x.ClientClose+slip, e.Latest-x.ClientClose-slip
		if (lo-c.lo).Abs() > 2 || (hi-c.hi).Abs() > 2 {
			t.Errorf("%s HZ=%d tcp_rto_min_us=%v: got %v to %v after the FIN, want %v to %v", c.version, c.hz, c.rtoMin, lo, hi, c.lo, c.hi)
		}
	}
}

// lateACK finds the late ACK of a timeline.
func lateACK(t *testing.T, tl timeline.Timeline) timeline.Event {
	t.Helper()
	for _, e := range tl.Events {
		if e.Chain == "delayed ACK" {
			return e
		}
	}
	t.Fatalf("no late ACK in %v", lines(tl))
	return timeline.Event{}
}

// TestLateACKTick catches a late ACK that is not tied to the jiffy in which the FIN came: with the start known there are three candidates,
// those of a call in its own jiffy and in its neighbours.
func TestLateACKTick(t *testing.T) {
	x := get
	x.ServerClose = 400 * ms
	for _, start := range []Start{{Jiffies: 1000, Phase: 1600 * time.Microsecond}, {Jiffies: 1001, Phase: 1600 * time.Microsecond}} {
		tl, err := x.Predict(linux618(t), &start)
		if err != nil {
			t.Fatal(err)
		}
		e := lateACK(t, tl)
		if e.Tick > 61 || e.TickLast < 61 || e.TickLast-e.Tick > 4 { // 50 jiffies to the FIN, 10 of the timer, 1 of the wheel
			t.Errorf("start %d: got ticks %d to %d, want 61 within them", start.Jiffies, e.Tick, e.TickLast)
		}
	}
}

// TestExchangeRTT catches a link's delay that is counted twice or not at all: each event comes after as many crossings as it has causes.
func TestExchangeRTT(t *testing.T) {
	x := Exchange{Request: 50, Answer: 100, RTT: 40 * ms, RequestAt: 140 * ms, AnswerAt: 160 * ms, ClientClose: 280 * ms, ServerClose: 500 * ms}
	tl, err := x.Predict(linux618(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"0 client syn 0 0 0", "20 server syn-ack 0 1 0", "40 client ack 1 1 0",
		"140 client data 1 1 50", "160 server ack 1 51 0", "160 server data 1 51 100", "180 client ack 51 101 0", "180 client answered",
		"280 client fin 51 101 0", "340 server ack 101 52 0", "500 server fin 101 52 0", "520 client ack 52 102 0",
	}
	if d := cmp.Diff(want, lines(tl)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if got, want := tl.Outcome.At, 40*time.Millisecond; got != want {
		t.Errorf("connect() succeeds: got %v, want %v", got, want)
	}
}

// TestExchangePackets catches a count of packets that does not follow the two times that decide it.
func TestExchangePackets(t *testing.T) {
	f := linux618(t)
	for _, c := range []struct {
		linger, rtoMin time.Duration
		want           int
	}{{0, 0, 3}, {20 * ms, 0, 3}, {36 * ms, 0, 0}, {50 * ms, 0, 0}, {60 * ms, 0, 4},
		{200 * ms, 0, 4}, {40 * ms, 20 * ms, 4}} {
		x := get
		x.ServerClose, x.RTOMin = x.ClientClose+c.linger, c.rtoMin
		if got := x.Packets(f); got != c.want {
			t.Errorf("linger %v, tcp_rto_min_us %v: got %d packets, want %d", c.linger, c.rtoMin, got, c.want)
		}
		x = get
		x.ServerFirst, x.ServerClose, x.ClientClose, x.RTOMin = true, x.AnswerAt, x.AnswerAt+c.linger, c.rtoMin
		if got := x.Packets(f); got != c.want {
			t.Errorf("server first, %v, tcp_rto_min_us %v: got %d packets, want %d", c.linger, c.rtoMin, got, c.want)
		}
	}
}

// TestExchangeErrors catches input that the model does not cover and predicts all the same.
func TestExchangeErrors(t *testing.T) {
	old, err := kernel.Model(kernel.Version{Major: 5, Minor: 15}, 250)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		f    kernel.Facts
		x    func(x *Exchange)
		want string
	}{
		{linux618(t), func(x *Exchange) { x.Request = 0 }, "request of 0 bytes"},
		{linux618(t), func(x *Exchange) { x.Answer = 1449 }, "answer of 1449 bytes"},
		{linux618(t), func(x *Exchange) { x.RTT = time.Second }, "RTT of 1s"},
		{linux618(t), func(x *Exchange) { x.AnswerAt = 50 * ms }, "answer at 50ms"},
		{linux618(t), func(x *Exchange) { x.ServerFirst, x.ServerClose = true, 50*ms }, "first close at 50ms"},
		{linux618(t), func(x *Exchange) { x.ServerClose = 150 * ms }, "-50ms after the first FIN"},
		{linux618(t), func(x *Exchange) { x.RTT = 100 * ms }, "request at 100ms"},
		{linux618(t), func(x *Exchange) { x.ClientClose = 90 * ms }, "first close at 90ms"},
		{linux618(t), func(x *Exchange) { x.ServerClose = time.Minute }, "59.8s after the first FIN"},
		{linux618(t), func(x *Exchange) { x.RTOMin = 2 * time.Second }, "tcp_rto_min_us of 2s"},
		{old, func(x *Exchange) { x.RTOMin = 20 * ms }, "no such knob"},
	} {
		x := get
		c.x(&x)
		if _, err := x.Predict(c.f, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// FuzzExchange catches a panic, a window that ends before it begins, and a tick outside it.
func FuzzExchange(f *testing.F) {
	f.Add(uint16(50), uint16(100), int64(0), int64(100), int64(200), int64(0), int64(0), false, uint64(1000), uint16(250))
	f.Add(uint16(1), uint16(1448), int64(40), int64(41), int64(300), int64(36), int64(20), true, uint64(7), uint16(1000))
	f.Fuzz(func(t *testing.T, req, ans uint16, rtt, reqAt, closeAt, linger, rtoMin int64, first bool, jiffies uint64, hz uint16) {
		facts, err := kernel.Model(kernel.Version{Major: 6, Minor: 18}, int(hz))
		if err != nil {
			return
		}
		dur := func(n int64) time.Duration { return time.Duration(n%100_000) * ms }
		x := Exchange{Request: int(req), Answer: int(ans), RTT: dur(rtt), RequestAt: dur(reqAt), AnswerAt: dur(reqAt + rtt), RTOMin: dur(rtoMin), ServerFirst: first}
		x.ClientClose, x.ServerClose = dur(closeAt), dur(closeAt+linger+rtt)
		if first {
			x.ClientClose, x.ServerClose = x.ServerClose, x.ClientClose
		}
		for _, start := range []*Start{nil, {Jiffies: jiffies%(1<<40) + 2, Phase: facts.Jiffy() / 3}} {
			tl, err := x.Predict(facts, start)
			if err != nil {
				return
			}
			orderly(t, facts, start, tl)
		}
	})
}

// orderly checks what every timeline must hold: windows in order, and each tick inside its window.
func orderly(t *testing.T, f kernel.Facts, start *Start, tl timeline.Timeline) {
	t.Helper()
	events := tl.Events
	if tl.Outcome != nil {
		events = append(events[:len(events):len(events)], *tl.Outcome)
	}
	for _, e := range events {
		if e.Earliest > e.Latest || f.Wheel && e.At > e.Earliest+f.Jiffy() {
			t.Errorf("%s %s: nominal %v, window %v to %v", e.Host, e.What, e.At, e.Earliest, e.Latest)
		}
		if start == nil || e.Tick == 0 {
			continue
		}
		if at := time.Duration(e.Tick)*f.Jiffy() - start.Phase; at < e.Earliest-f.Jiffy() || at > e.Latest+f.Jiffy() {
			t.Errorf("%s %s: tick %d is at %v, outside %v to %v", e.Host, e.What, e.Tick, at, e.Earliest, e.Latest)
		}
	}
}
