//go:build lab

package lab

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/pcapout"
	"github.com/tcplab/tcplab/sysctl"
)

// handshakes opens and closes n connections and returns the time from each SYN to its SYN-ACK, as the client's capture shows it.
func handshakes(t testing.TB, l *Lab, n int) []time.Duration {
	t.Helper()
	src, err := l.Client.Capture(pcapout.SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, c := connect(t, l, ListenOptions{Service: Sink}, DialOptions{})
	for i := range n {
		if _, err := c.Hangup(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if i == n-1 {
			break
		}
		if err := c.Connect(t.Context(), s.Addr, DialOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	sent, took := map[uint16]time.Time{}, []time.Duration(nil)
	for _, g := range awaitSegments(t, src, n, func(g pcapout.Segment) bool { return g.Flags.Has(pcapout.SYN | pcapout.ACK) }) {
		switch {
		case !g.Flags.Has(pcapout.SYN):
		case g.Flags.Has(pcapout.ACK):
			took = append(took, g.Time.Sub(sent[g.Dst.Port()]))
		default:
			sent[g.Src.Port()] = g.Time
		}
	}
	if len(took) != n {
		t.Fatalf("got %d handshakes in the capture, want %d", len(took), n)
	}
	return took
}

// TestRTT catches a link that is faster than it was asked to be, much slower, or that delays one direction only.
func TestRTT(t *testing.T) {
	for _, rtt := range []time.Duration{0, 20 * time.Millisecond, 51 * time.Millisecond} {
		t.Run(rtt.String(), func(t *testing.T) {
			t.Parallel()
			const count = 30
			l := build(t, Topology{Baseline: sysctl.Baseline, RTT: rtt})
			if got := l.Delay() == "none"; got != (rtt == 0) {
				t.Errorf("RTT %v: Delay says %q", rtt, l.Delay())
			}
			server, err := l.Server.Capture(pcapout.SourceOptions{})
			if err != nil {
				t.Fatal(err)
			}
			client, err := l.Client.Capture(pcapout.SourceOptions{})
			if err != nil {
				t.Fatal(err)
			}
			took := handshakes(t, l, count)
			// A busy machine delays most of them. What is added to each one is the link's: once more in one direction would be half an RTT.
			if best, more := slices.Min(took), max(rtt*2/5, 8*time.Millisecond); best < rtt || best > rtt+more {
				t.Errorf("got %v at least, want %v, and %v more at most", best, rtt, more)
			}
			fin := func(g pcapout.Segment) bool { return g.Flags.Has(pcapout.FIN) }
			forth, back := crossing(t, awaitSegments(t, client, count, fin), awaitSegments(t, server, count, fin))
			for name, d := range map[string][]time.Duration{"client to server": forth, "server to client": back} {
				if len(d) < count || slices.Min(d) < rtt/2 {
					t.Errorf("%s: got %d packets, the fastest in %v, want %d and %v", name, len(d), slices.Min(d), count, rtt/2)
				}
			}
			s, err := l.DelayStats()
			if err != nil || s.Lost != 0 || (s.Frames > 0) != (rtt > 0) {
				t.Errorf("got %+v, %v, want frames that were delivered, and none lost", s, err)
			}
		})
	}
}

// crossing returns how long the packets that both captures show took, in each direction.
func crossing(t testing.TB, client, server []pcapout.Segment) (forth, back []time.Duration) {
	t.Helper()
	type key struct {
		port     uint16
		seq, ack uint32
		flags    pcapout.Flags
		id       uint16
	}
	of := func(g pcapout.Segment) key { return key{g.Src.Port(), g.Seq, g.Ack, g.Flags, g.IPID} }
	sent := map[key]time.Time{}
	for _, g := range slices.Concat(client, server) {
		if g.Outgoing {
			sent[of(g)] = g.Time
		}
	}
	for i, g := range slices.Concat(client, server) {
		at, ok := sent[of(g)]
		switch {
		case g.Outgoing || !ok:
		case i < len(client):
			back = append(back, g.Time.Sub(at))
		default:
			forth = append(forth, g.Time.Sub(at))
		}
	}
	return forth, back
}

// TestBulk sends 100 segments over a link with an RTT. It catches a link that loses or reorders them, and one that lets more through than
// the window of an unacknowledged sender: the first flight is TCP_INIT_CWND, and what follows is clocked by ACKs.
func TestBulk(t *testing.T) {
	const count, size, rtt = 100, 1000, 20 * time.Millisecond
	l := build(t, Topology{Baseline: sysctl.Baseline, RTT: rtt})
	patient(t, l.Client)
	client, err := l.Client.Capture(pcapout.SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Server.Capture(pcapout.SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// The server has room for all of it: where its program does not read for a while, the window would cut a segment in two.
	s, c := connect(t, l, ListenOptions{Service: Sink, ReceiveBuffer: 200_000}, DialOptions{SocketOptions: SocketOptions{MaxSeg: size + 12, SendBuffer: 200_000}})
	e, err := c.Write(t.Context(), count, size, 0)
	if err != nil || e.Calls != 1 {
		t.Fatalf("got %+v, %v, want one write", e, err)
	}
	if !eventually(func() bool { return s.Received() == count*size }) {
		t.Fatalf("the server got %d bytes, want %d", s.Received(), count*size)
	}
	left, came := awaitSegments(t, client, count, hasData), awaitSegments(t, server, count, hasData)
	next, sent, first := uint32(0), 0, 0
	var began, answered time.Time
	for _, g := range left {
		switch {
		case g.Outgoing && g.Length > 0:
			if next == 0 {
				began = g.Time
			} else if g.Seq != next {
				t.Errorf("segment %d: got number %d, want %d: something was sent again", sent, g.Seq, next)
			}
			next, sent = g.Seq+uint32(g.Length), sent+1
		case !g.Outgoing && sent > 0 && answered.IsZero():
			first, answered = sent, g.Time
		}
	}
	if sent != count || first > 10 || first == 0 { // fewer than ten where the client lost the processor in its write(2)
		t.Errorf("got %d segments, %d of them before the first ACK, want %d and 10 (TCP_INIT_CWND)", sent, first, count)
	}
	if d := answered.Sub(began); d < rtt {
		t.Errorf("the first ACK came after %v, want %v or more", d, rtt)
	}
	arrived, order := uint32(0), 0
	for _, g := range came {
		if !g.Outgoing && g.Length > 0 {
			if arrived != 0 && g.Seq != arrived {
				t.Errorf("segment %d arrived out of order", order)
			}
			arrived, order = g.Seq+uint32(g.Length), order+1
		}
	}
	forth, back := crossing(t, left, came)
	if order != count || slices.Min(forth) < rtt/2 || slices.Min(back) < rtt/2 {
		t.Errorf("got %d segments, in %v and back in %v at least, want %d in %v", order, slices.Min(forth), slices.Min(back), count, rtt/2)
	}
	if s, err := l.DelayStats(); err != nil || s.Lost != 0 {
		t.Errorf("got %+v, %v, want none lost", s, err)
	}
}

// TestDelayedLink catches a delayed link that is set up otherwise than a veth, or that does not come back after it was down.
func TestDelayedLink(t *testing.T) {
	labtest.Need(t, labtest.Command("ip"), labtest.Command("ethtool"))
	l := build(t, Topology{Baseline: sysctl.Baseline, RTT: 2 * time.Millisecond})
	for _, h := range l.hosts() {
		if got := run(t, h, "ip", "-o", "link", "show", "eth0"); !strings.Contains(got, "LOWER_UP") || !strings.Contains(got, h.MAC.String()) ||
			!strings.Contains(got, "qdisc noqueue") || !strings.Contains(got, "mtu 1500") {
			t.Errorf("%s: got %s, want it up, with %s, without a queue", h.Name, got, h.MAC)
		}
		if got := run(t, h, "ip", "neighbour"); !strings.Contains(got, "PERMANENT") {
			t.Errorf("%s: got neighbours %q, want a permanent one", h.Name, got)
		}
		for name := range strings.Lines(run(t, h, "ethtool", "-k", "eth0")) {
			if feature, rest, _ := strings.Cut(strings.TrimSpace(name), ":"); offload(feature) && !strings.HasPrefix(strings.TrimSpace(rest), "off") {
				t.Errorf("%s: got %s, want it off", h.Name, strings.TrimSpace(name))
			}
		}
	}
	s, c := connect(t, l, ListenOptions{Service: Echo}, DialOptions{})
	talk(t, c, true)
	if _, err := c.Hangup(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := l.Server.SetLink(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	var failed *CallError
	if err := c.Connect(t.Context(), s.Addr, DialOptions{SocketOptions: SocketOptions{UserTimeout: 100 * time.Millisecond}}); !errors.As(err, &failed) || failed.Errno != "ETIMEDOUT" {
		t.Errorf("the server's end is down: got %v, want ETIMEDOUT", err)
	}
	if err := l.Server.SetLink(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if err := c.Connect(t.Context(), s.Addr, DialOptions{}); err != nil {
		t.Fatal(err)
	}
	talk(t, c, true)
}

// TestWireDies catches a link whose process ended and that is taken for a slow one.
func TestWireDies(t *testing.T) {
	l := build(t, Topology{RTT: time.Millisecond, HoldFrames: true})
	if err := l.line.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if s, err := l.DelayStats(); err == nil || !strings.HasPrefix(err.Error(), "wire: ") {
		t.Errorf("got %+v, %v, want that the wire ended", s, err)
	}
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "wire: signal: killed") {
		t.Errorf("close: got %v, want that the wire was killed", err)
	}
}

// TestDelayMethod catches a method that is told and cannot be had.
func TestDelayMethod(t *testing.T) {
	labtest.Need(t, labtest.Root)
	got, err := DelayMethod()
	if err != nil {
		t.Fatal(err)
	}
	if l := build(t, Topology{RTT: time.Millisecond}); l.Delay() != got {
		t.Errorf("doctor says %q, the lab %q", got, l.Delay())
	}
}

// BenchmarkRTT is the round-trip time that a delay line gives, with an idle machine and with two busy loops beside it: what is above the
// RTT that was asked for.
func BenchmarkRTT(b *testing.B) {
	const count = 200
	for _, busy := range []int{0, 2} {
		for _, rtt := range []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond} {
			b.Run(fmt.Sprintf("%v/busy=%d", rtt, busy), func(b *testing.B) {
				for range busy {
					loop := exec.CommandContext(b.Context(), "sh", "-c", "while :; do :; done")
					if err := loop.Start(); err != nil {
						b.Fatal(err)
					}
					defer func() { loop.Process.Kill(); loop.Wait() }()
				}
				l := build(b, Topology{Baseline: sysctl.Baseline, RTT: rtt})
				took := handshakes(b, l, count)
				slices.Sort(took)
				for name, at := range map[string]int{"min": 0, "median": count / 2, "p99": count * 99 / 100, "max": count - 1} {
					b.ReportMetric(float64((took[at] - rtt).Microseconds()), name+"-us-above")
				}
				s, err := l.DelayStats()
				if err != nil || s.Lost != 0 {
					b.Errorf("got %+v, %v, want no frame lost", s, err)
				}
				b.ReportMetric(float64(s.Worst.Microseconds()), "worst-frame-us")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
