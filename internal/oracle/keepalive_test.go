package oracle

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// quietEvent is what the tables of these tests say of an event.
type quietEvent struct {
	Host string
	What timeline.What
	N    int
	At   time.Duration
}

func quietEvents(tl timeline.Timeline, from int) []quietEvent {
	var got []quietEvent
	for _, e := range tl.Events[from:] {
		got = append(got, quietEvent{e.Host, e.What, e.N, e.At.Round(100 * time.Millisecond)}) // the close may be a jiffy early
	}
	if o := tl.Outcome; o != nil {
		got = append(got, quietEvent{o.Host, o.What, o.N, o.At.Round(100 * time.Millisecond)})
	}
	return got
}

const handshakeEvents = 4 // SYN, SYN-ACK, ACK, connect(2) returns

// keepaliveRows are connections that were tried by hand on 6.18.44 (HZ=250): seen are the instants of the capture, from the first probe on.
var keepaliveRows = []struct {
	name string
	k    Keepalive
	want []quietEvent
	seen []time.Duration
}{
	{"gone", Keepalive{Time: 2 * time.Second, Interval: time.Second, Probes: 3, Peer: KeepalivePeer{Gone: true}}, []quietEvent{
		probe(1, 2), probe(2, 3), probe(3, 4), reset(5), died(5)}, instants(2.0076, 3.0316, 4.0556, 5.0796)},
	{"gone, TCP_USER_TIMEOUT instead of the count", Keepalive{Time: 2 * time.Second, Interval: time.Second, Probes: 3, UserTimeout: 3500 * time.Millisecond,
		Peer: KeepalivePeer{Gone: true}}, []quietEvent{probe(1, 2), probe(2, 3), reset(4), died(4)}, instants(2.0223, 3.0462, 4.0703)},
	{"gone, TCP_USER_TIMEOUT shorter than the idle time: one probe is sent all the same", Keepalive{Time: 3 * time.Second, Interval: 2 * time.Second, Probes: 2,
		UserTimeout: time.Second, Peer: KeepalivePeer{Gone: true}}, []quietEvent{probe(1, 3), reset(5), died(5)}, instants(3.1941, 5.2101)},
	{"gone, no probes", Keepalive{Time: time.Second, Interval: time.Second, Peer: KeepalivePeer{Gone: true}}, []quietEvent{reset(1), died(1)}, instants(1.0088)},
	{"gone, by the socket's options", Keepalive{Time: 7200 * time.Second, Interval: 75 * time.Second, Probes: 9, Idle: 2 * time.Second, SockInterv: time.Second,
		Count: 3, Peer: KeepalivePeer{Gone: true}}, []quietEvent{probe(1, 2), probe(2, 3), probe(3, 4), reset(5), died(5)}, instants(2.0076, 3.0316, 4.0556, 5.0796)},
	{"alive: the next probe comes after the idle time", Keepalive{Time: 2 * time.Second, Interval: time.Second, Probes: 2, Close: 7500 * time.Millisecond}, []quietEvent{
		probe(1, 2), answer(2), probe(1, 4), answer(4), probe(1, 6), answer(6), fin("client", 7.5), fin("server", 7.5), ack(7.5), late(7.5), eof(7.5)},
		instants(2.0196, 2.0197, 4.0356, 4.0357, 6.0516, 6.0517)},
	{"alive, but the interval is longer than the idle time", Keepalive{Time: time.Second, Interval: 3 * time.Second, Probes: 2, Close: 6500 * time.Millisecond}, []quietEvent{
		probe(1, 1), answer(1), probe(1, 4), answer(4), fin("client", 6.5), fin("server", 6.5), ack(6.5), late(6.5), eof(6.5)}, instants(1.0039, 1.0040, 4.2359, 4.2360)},
	{"alive, answers held back by tcp_invalid_ratelimit", Keepalive{Time: time.Second, Interval: time.Second, Probes: 3, Close: 5500 * time.Millisecond,
		Peer: KeepalivePeer{InvalidRatelimit: 2500 * time.Millisecond}}, []quietEvent{
		probe(1, 1), answer(1), probe(1, 2), probe(2, 3), probe(3, 4), answer(4), probe(1, 5), fin("client", 5.5), fin("server", 5.5), ack(5.5), late(5.5), eof(5.5)},
		instants(1.0277, 1.0278, 2.0517, 3.0757, 4.0997, 4.0998, 5.1236)},
	{"alive, over 200 ms: the idle time counts from the answer, and the timer from the SYN-ACK", Keepalive{Time: 2 * time.Second, Interval: time.Second, Probes: 2,
		Close: 7500 * time.Millisecond, RTT: 200 * time.Millisecond}, []quietEvent{
		probe(1, 2.2), answer(2.3), probe(1, 4.4), answer(4.5), probe(1, 6.6), answer(6.7), fin("client", 7.5), fin("server", 7.6), late(7.6), ack(7.7), eof(7.7)}, nil},
	{"off", Keepalive{Off: true, Time: time.Second, Interval: time.Second, Probes: 3, Peer: KeepalivePeer{Gone: true}}, nil, nil},
	{"off, read until a time", Keepalive{Off: true, Time: time.Second, Interval: time.Second, Probes: 3, Until: 4 * time.Second, Peer: KeepalivePeer{Gone: true}}, []quietEvent{
		{"client", timeline.Quiet, 0, 4 * time.Second}}, nil},
	{"off, closed", Keepalive{Off: true, Time: time.Second, Interval: time.Second, Probes: 3, Close: 9 * time.Second}, []quietEvent{
		fin("client", 9), fin("server", 9), ack(9), late(9), eof(9)}, nil},
}

func probe(n int, at float64) quietEvent {
	return quietEvent{"client", timeline.KeepaliveProbe, n, instants(at)[0]}
}
func answer(at float64) quietEvent {
	return quietEvent{"server", timeline.KeepaliveACK, 0, instants(at)[0]}
}
func reset(at float64) quietEvent { return quietEvent{"client", timeline.RST, 0, instants(at)[0]} }
func died(at float64) quietEvent {
	return quietEvent{"client", timeline.SocketError, 0, instants(at)[0]}
}
func ack(at float64) quietEvent  { return quietEvent{"client", timeline.ACK, 0, instants(at)[0]} }
func late(at float64) quietEvent { return quietEvent{"server", timeline.ACK, 0, instants(at)[0]} }
func eof(at float64) quietEvent {
	return quietEvent{"client", timeline.EndOfStream, 0, instants(at)[0]}
}
func fin(host string, at float64) quietEvent {
	return quietEvent{host, timeline.FIN, 0, instants(at)[0]}
}

func instants(s ...float64) []time.Duration {
	var out []time.Duration
	for _, v := range s {
		out = append(out, time.Duration(v*1e9).Round(100*time.Microsecond))
	}
	return out
}

// TestKeepaliveMeasured compares with captures of 6.18.44: which packets come, by which formula, and that the capture lies in the windows. It
// catches an oracle that sends the next probe of an answered connection after the interval.
func TestKeepaliveMeasured(t *testing.T) {
	f := linux618(t)
	for _, c := range keepaliveRows {
		tl, err := c.k.Predict(f, nil)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(c.want, quietEvents(tl, handshakeEvents)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, d)
		}
		for i, at := range c.seen {
			const machine = time.Millisecond
			if e := tl.Events[handshakeEvents+i]; at < e.Earliest || at > e.Latest+machine {
				t.Errorf("%s: %s %d: seen at %v, predicted %v to %v", c.name, e.What, e.N, at, e.Earliest, e.Latest)
			}
		}
	}
}

// TestKeepaliveTextbook has the numbers of every textbook: two hours, nine probes 75 seconds apart, dead after 2 h 11 min 15 s. It catches
// windows that forget how late the timer wheel is with two hours: up to 131 s at HZ=250, 262 s at HZ=1000, 328 s at HZ=100.
func TestKeepaliveTextbook(t *testing.T) {
	for hz, late := range map[int]time.Duration{100: 328 * time.Second, 250: 132 * time.Second, 1000: 263 * time.Second} {
		f, err := kernel.Model(kernel.Version{Major: 6, Minor: 18}, hz)
		if err != nil {
			t.Fatal(err)
		}
		k := Keepalive{Time: 7200 * time.Second, Interval: 75 * time.Second, Probes: 9, Peer: KeepalivePeer{Gone: true}}
		window, err := k.Predict(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		exact, err := k.Predict(f, &Start{Jiffies: 1 << 33})
		if err != nil {
			t.Fatal(err)
		}
		tl := Merge(window, exact)
		first, end := tl.Events[handshakeEvents], tl.Outcome
		if len(tl.Events) != handshakeEvents+10 || first.At != 7200*time.Second || end.At != 7875*time.Second || end.Errno != "ETIMEDOUT" || k.Dies() != end.At {
			t.Errorf("HZ=%d: got %d events, first probe at %v, end at %v (%s)", hz, len(tl.Events), first.At, end.At, end.Errno)
		}
		if l := first.Late(); l > late || l < late*9/10 {
			t.Errorf("HZ=%d: first probe late by up to %v, want just under %v", hz, l, late)
		}
		tick := time.Duration(first.Tick) * f.Jiffy()
		if tick < first.Earliest || tick > first.Latest+f.Jiffy() || first.TickLast != first.Tick {
			t.Errorf("HZ=%d: first probe in tick %d..%d, at %v, outside %v to %v", hz, first.Tick, first.TickLast, tick, first.Earliest, first.Latest)
		}
	}
}

// TestKeepaliveKnobs catches a knob that changes nothing.
func TestKeepaliveKnobs(t *testing.T) {
	f := linux618(t)
	base := Keepalive{Time: 2 * time.Second, Interval: time.Second, Probes: 2, Peer: KeepalivePeer{Gone: true}}
	gone, _ := base.Predict(f, nil)
	alive := base
	alive.Peer.Gone, alive.Close = false, 9*time.Second
	living, _ := alive.Predict(f, nil)
	for name, change := range map[string]func(*Keepalive){
		"time":         func(k *Keepalive) { k.Time += time.Second },
		"interval":     func(k *Keepalive) { k.Interval += 2 * time.Second },
		"idle":         func(k *Keepalive) { k.Idle = 3 * time.Second },
		"sockinterv":   func(k *Keepalive) { k.SockInterv = 3 * time.Second },
		"off":          func(k *Keepalive) { k.Off = true },
		"probes":       func(k *Keepalive) { k.Probes = 3 },
		"count":        func(k *Keepalive) { k.Count = 1 },
		"user timeout": func(k *Keepalive) { k.UserTimeout = 4500 * time.Millisecond },
		"close":        func(k *Keepalive) { k.Close -= time.Second },
		"ratelimit":    func(k *Keepalive) { k.Peer.InvalidRatelimit = 3 * time.Second },
	} {
		k, was := base, gone
		if name == "close" || name == "ratelimit" {
			k, was = alive, living
		}
		change(&k)
		tl, err := k.Predict(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		if cmp.Equal(quietEvents(was, 0), quietEvents(tl, 0)) {
			t.Errorf("%s changes nothing: %v", name, quietEvents(tl, 0))
		}
	}
}

// TestKeepaliveStarts catches a start that was left out: the windows are those of all starts.
func TestKeepaliveStarts(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	pick := func(n int) time.Duration { return time.Duration(1+rng.IntN(n)) * time.Second }
	for n := range 30 {
		f, err := kernel.Model(kernel.Version{Major: 6, Minor: 1}, 100)
		if err != nil {
			t.Fatal(err)
		}
		k := Keepalive{Time: pick(400), Interval: pick(400), Probes: rng.IntN(4), Peer: KeepalivePeer{Gone: true}}
		if n%2 == 1 {
			k.RTT = 130 * time.Millisecond
		}
		switch rng.IntN(4) {
		case 0:
			k.UserTimeout = k.Time + time.Duration(rng.IntN(1000))*time.Second + time.Duration(rng.IntN(1000))*time.Millisecond
		case 1:
			k.Peer, k.Close = KeepalivePeer{InvalidRatelimit: pick(500)}, k.Round()*time.Duration(1+rng.IntN(4))+pick(40)
		}
		r := newKeepaliveRule(k, f)
		play := func(w *world) []happening {
			q := newQuiet(r, w)
			q.run()
			return q.out
		}
		want := sweep(f, nil, max(r.idleJ, r.intervJ), play)
		got := sweepOver(f, nil, r.starts(), play)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%+v: (-every start +chosen)\n%s", k, d)
		}
	}
}

// TestKeepaliveRefuses catches values that the kernel refuses, and connections that would never end.
func TestKeepaliveRefuses(t *testing.T) {
	ok := Keepalive{Time: time.Second, Interval: time.Second, Probes: 3, Peer: KeepalivePeer{Gone: true}}
	for want, change := range map[string]func(*Keepalive){
		"tcp_keepalive_time of 0s":     func(k *Keepalive) { k.Time = 0 },
		"tcp_keepalive_intvl of 1.5s":  func(k *Keepalive) { k.Interval = 1500 * time.Millisecond },
		"TCP_KEEPIDLE of 9h6m8s":       func(k *Keepalive) { k.Idle = 32768 * time.Second },
		"TCP_KEEPINTVL of -1s":         func(k *Keepalive) { k.SockInterv = -time.Second },
		"tcp_keepalive_probes=256":     func(k *Keepalive) { k.Probes = 256 },
		"TCP_KEEPCNT=128":              func(k *Keepalive) { k.Count = 128 },
		"TCP_USER_TIMEOUT of 1ns":      func(k *Keepalive) { k.UserTimeout = 1 },
		"tcp_invalid_ratelimit of -1s": func(k *Keepalive) { k.Peer.InvalidRatelimit = -time.Second },
		"close after -1s":              func(k *Keepalive) { k.Close = -time.Second },
		"what comes after it is not":   func(k *Keepalive) { k.Until = time.Second },
		"want up to the close":         func(k *Keepalive) { k.Peer.Gone, k.Until, k.Close = false, 2*time.Second, time.Second },
		"of a peer that is gone":       func(k *Keepalive) { k.Close = time.Second },
		"this never ends":              func(k *Keepalive) { k.Peer.Gone = false },
		"up to 1000 are predicted":     func(k *Keepalive) { k.UserTimeout = time.Hour },
	} {
		k := ok
		change(&k)
		if _, err := k.Predict(linux618(t), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	if _, err := ok.Predict(linux618(t), &Start{Phase: time.Second}); err == nil || !strings.Contains(err.Error(), "start phase") {
		t.Errorf("got %v, want an error about the start phase", err)
	}
}

// FuzzKeepalive catches a panic, windows that are empty, events out of order, and ticks outside their window.
func FuzzKeepalive(f *testing.F) {
	f.Add(uint8(18), uint16(250), 7200, 75, 9, 0, uint32(0), uint32(0), uint64(0), uint32(0), true, true)
	f.Add(uint8(1), uint16(1000), 1, 1, 3, 0, uint32(2500), uint32(0), uint64(1<<33), uint32(999), true, true)
	f.Add(uint8(1), uint16(300), 2, 5, 0, 7, uint32(0), uint32(20500), uint64(1<<64-1), uint32(7), true, false)
	f.Add(uint8(104), uint16(100), 600, 20, 4, 0, uint32(700000), uint32(0), uint64(77), uint32(1), false, true)
	f.Fuzz(func(t *testing.T, minor uint8, hz uint16, idle, interval, probes, count int, user, close uint32, jiffies uint64, phase uint32, known, gone bool) {
		v := kernel.Version{Major: 6, Minor: int(minor % 100)}
		if minor >= 100 {
			v = kernel.Version{Major: 4, Minor: int(minor % 20)}
		}
		model, err := kernel.Model(v, int(hz))
		if err != nil {
			return
		}
		if probes > 20 || user/1000 > uint32(idle+20*interval) || close/1000 > uint32(idle+20*interval) { // longer ones only take longer
			return
		}
		k := Keepalive{Time: time.Duration(idle) * time.Second, Interval: time.Duration(interval) * time.Second, Probes: probes, Count: count % 20,
			UserTimeout: time.Duration(user) * time.Millisecond, Close: time.Duration(close) * time.Millisecond, Peer: KeepalivePeer{Gone: gone}}
		var start *Start
		if known {
			start = &Start{Jiffies: jiffies, Phase: time.Duration(phase)}
		}
		tl, err := k.Predict(model, start)
		if err != nil {
			return
		}
		checkQuiet(t, model, tl, start)
	})
}

func checkQuiet(t *testing.T, f kernel.Facts, tl timeline.Timeline, start *Start) {
	t.Helper()
	if tl.Outcome == nil {
		t.Fatal("got no outcome")
	}
	var before timeline.Event
	for _, e := range append(tl.Events, *tl.Outcome) {
		if e.Latest < e.Earliest || e.Earliest < before.Earliest || f.Wheel && e.Earliest < e.At-f.Jiffy() || e.GapLatest < e.GapEarliest {
			t.Errorf("%s %d: got %+v after %+v", e.What, e.N, e.Bound, before.Bound)
		}
		if e.Why == "" || e.Host == "" {
			t.Errorf("%s %d: got why %q at host %q, want both", e.What, e.N, e.Why, e.Host)
		}
		if e.Tick != 0 {
			for _, tick := range []int64{e.Tick, e.TickLast} {
				if at := time.Duration(tick)*f.Jiffy() - start.Phase; at < e.Earliest-f.Jiffy() || at > e.Latest+f.Jiffy() {
					t.Errorf("%s %d: tick %d is %v, outside %v to %v", e.What, e.N, tick, at, e.Earliest, e.Latest)
				}
			}
		}
		if !e.Maybe {
			before = e
		}
	}
}
