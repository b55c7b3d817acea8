//go:build linux

// Package labtest puts a lab into a test: two hosts with a capture at each end, one's own client and server in them, packets lost by their part
// in the connection, and what was seen held against what package predict says of the kernel's timers.
//
//	func TestDeadPeer(t *testing.T) {
//		l := labtest.New(t, lab.Topology{})
//		ln, err := l.Server.NetListen(t.Context(), "tcp", ":8080")
//		...
//		c, err := l.Client.DialContext(t.Context(), "tcp", "server:8080")
//		...
//		l.Drop(l.Server, lab.DropAllFrom(l.Client.Addr))
//		...
//		l.Expect(want)
//	}
//
// A lab needs root or a user namespace: `unshare -Urn go test`, or sudo. Where that is missing, New skips the test, unless TCPLAB_REQUIRE is set. With
// a TestMain that calls Main, TCPLAB_KERNEL=6.12 runs the whole test binary on a stock kernel in virtual time, without root.
//
// It is not for measuring a program's speed: a test machine is busy, and what a stall of it explains is told and not failed.
//
// Its one trap: goroutines run in the machine's own namespace. Open sockets with NetListen and DialContext; a net.Dial in a test goes elsewhere.
package labtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/analyse"
	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/netns"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/stall"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/pcapout"
	"github.com/tcplab/tcplab/predict"
	"github.com/tcplab/tcplab/sysctl"
)

// The main thread stays in the machine's own namespace: /proc/self names it.
func init() { netns.PinMain() }

// Require is the environment variable that makes New fail where it would skip.
const Require = "TCPLAB_REQUIRE"

// Lab is a lab with captures, for one test.
type Lab struct {
	*lab.Lab
	t        testing.TB
	captures map[string]*pcapout.Source
	stalls   *stall.Watcher
	jiffy    time.Duration
}

// New builds a lab and starts its captures. Every setting that matters is pinned (sysctl.Baseline) unless the topology says otherwise. Everything
// is taken down when the test ends.
func New(t testing.TB, topology lab.Topology) *Lab {
	t.Helper()
	if topology.Baseline == nil {
		topology.Baseline = sysctl.Baseline
	}
	topology.Virtual = virtual
	facts, err := kernel.Running()
	if err != nil {
		t.Fatal(err)
	}
	l := &Lab{t: t, captures: map[string]*pcapout.Source{}, jiffy: facts.Jiffy()}
	l.Lab, err = lab.New(t.Context(), topology)
	if err != nil {
		lacks := errors.Is(err, lab.ErrPrivilege) || errors.Is(err, lab.ErrUnsupported) || errors.Is(err, fs.ErrPermission)
		if lacks && os.Getenv(Require) == "" {
			t.Skipf("no lab: %v (TCPLAB_KERNEL=6.12 runs without root, %s=1 fails instead of skipping)", err, Require)
		}
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	if !virtual {
		if l.stalls, err = stall.Watch(l.jiffy / 2); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range []*lab.Host{l.Client, l.Server} {
		if l.captures[h.Name], err = h.Capture(pcapout.SourceOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *Lab) close() {
	if l.stalls != nil {
		l.stalls.Stop()
	}
	if err := l.Lab.Close(); err != nil {
		l.t.Error(err)
	}
}

// Drop makes a rule on a host, or fails the test. Rules that match a part of a connection are lab.DropSYN, lab.DropSYNACK, lab.DropData and
// their like; a lab.Rule of one's own can say more.
func (l *Lab) Drop(h *lab.Host, r lab.Rule) *lab.Filter {
	l.t.Helper()
	f, err := h.Drop(l.t.Context(), r)
	if err != nil {
		l.t.Fatal(err)
	}
	return f
}

// Set sets a sysctl of a host, or fails the test.
func (l *Lab) Set(h *lab.Host, name, value string) {
	l.t.Helper()
	if _, err := h.Set(name, value, "the test"); err != nil {
		l.t.Fatal(err)
	}
}

// Packet is a packet as its sender's capture saw it.
type Packet struct {
	At   time.Duration // since the first packet of all
	From string        // "client" or "server"
	What string        // "syn", "syn-retransmission", "rto-retransmission", ...: as in result.json
	N    int           // which repeat, from 1; 0: it is none
	// RelSeq and RelAck count from the initial sequence numbers, Len is the bytes of data.
	RelSeq, RelAck uint32
	Len            int
}

// String is the packet on one line.
func (p Packet) String() string {
	s := fmt.Sprintf("%8.3f s  %s %s", p.At.Seconds(), p.From, p.What)
	if p.N > 0 {
		s += fmt.Sprintf(" %d", p.N)
	}
	return s + fmt.Sprintf(" seq=%d ack=%d len=%d", p.RelSeq, p.RelAck, p.Len)
}

// Packets are all that both ends have sent so far, in order, each named by what its sender's capture shows.
func (l *Lab) Packets() []Packet {
	l.t.Helper()
	p, _ := l.packets()
	return p
}

func (l *Lab) packets() (out []Packet, origin time.Time) {
	l.t.Helper()
	type seen struct {
		p  Packet
		at time.Time
	}
	var all []seen
	for host, src := range l.captures {
		l.catchUp(host, src)
		var segments []pcapout.Segment
		for _, p := range src.Packets() {
			if s, err := pcapout.Decode(pcapout.LinkEthernet, p); err == nil {
				segments = append(segments, s)
			}
		}
		for _, c := range analyse.Analyse(segments, analyse.Options{}) {
			for _, n := range c.Packets {
				if n.From == host && n.What != "" {
					all = append(all, seen{Packet{From: n.From, What: string(n.What), N: n.N, RelSeq: n.RelSeq, RelAck: n.RelAck, Len: n.Len}, n.Time})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b seen) int { return a.at.Compare(b.at) })
	for _, s := range all {
		s.p.At = s.at.Sub(all[0].at)
		out = append(out, s.p)
	}
	if len(all) > 0 {
		origin = all[0].at
	}
	return out, origin
}

// catchUp waits until what the kernel has captured so far has been read, which a goroutine of its own does a moment later.
func (l *Lab) catchUp(host string, src *pcapout.Source) {
	l.t.Helper()
	st, err := src.Stats()
	if n := int(st.Received - st.Dropped); err == nil && n > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err = src.From(ctx, n-1)
	}
	if err != nil {
		l.t.Errorf("%s: capture: %v", host, err)
	}
}

// Expect holds the packets that were seen so far against a prediction: each in its window, none missing that was due, none that nobody
// predicted, in the numbers that the prediction says. What contradicts it fails the test, with the packets. What cannot be told, because the
// machine stalled, or is not due yet, is logged. It reports whether everything that was expected was seen.
//
// The end of a call is for the test to time: predict.Window.Holds.
func (l *Lab) Expect(want predict.Timeline) bool {
	l.t.Helper()
	raw, jiffy := want.Raw()
	asked := time.Now() // what is due by now has been captured by now
	packets, origin := l.packets()
	if len(packets) == 0 {
		l.t.Error("no packet was seen")
		return false
	}
	in := judge.Input{Want: onWire(raw), Jiffy: jiffy, Ended: asked.Sub(origin)}
	for _, p := range packets {
		in.Got.Events = append(in.Got.Events, timeline.Event{Bound: timeline.Bound{At: p.At}, Host: p.From, What: timeline.What(p.What), N: p.N,
			RelSeq: p.RelSeq, RelAck: p.RelAck, Len: p.Len})
	}
	if l.stalls != nil {
		now, err := kernel.MonotonicNow()
		if err != nil {
			l.t.Error(err)
			return false
		}
		first := now - time.Since(origin) // CLOCK_MONOTONIC of the first packet
		for _, s := range l.stalls.Stalls() {
			in.Stalls = append(in.Stalls, result.Stall{At: result.Seconds(s.Due - first), For: result.Seconds(s.For), CPU: s.CPU})
		}
	}
	for host, src := range l.captures {
		st, err := src.Stats()
		if err != nil {
			l.t.Errorf("%s: capture: %v", host, err)
			return false
		}
		in.Lost += int(st.Dropped)
	}
	_, _, checks, _ := judge.Schedule(in)
	return l.tell(checks, packets)
}

// tell reports what the checks found.
func (l *Lab) tell(checks []result.Check, packets []Packet) bool {
	l.t.Helper()
	var wrong, open []string
	for _, c := range checks {
		line := fmt.Sprintf("%s: expected %s, seen %s: %s", c.Name, c.Expected, c.Observed, c.Detail)
		switch c.Verdict {
		case result.Fail:
			wrong = append(wrong, line)
		case result.Inconclusive:
			open = append(open, line)
		}
	}
	if len(open) > 0 {
		l.t.Logf("not decided:\n%s", strings.Join(open, "\n"))
	}
	if len(wrong) > 0 {
		var seen []string
		for _, p := range packets {
			seen = append(seen, p.String())
		}
		l.t.Errorf("the kernel did something else than predicted:\n%s\nseen:\n%s", strings.Join(wrong, "\n"), strings.Join(seen, "\n"))
	}
	return len(wrong)+len(open) == 0
}

// onWire is a prediction without what programs see.
func onWire(t timeline.Timeline) timeline.Timeline {
	out := timeline.Timeline{Why: t.Why}
	for _, e := range t.Events {
		if e.What.OnWire() {
			out.Events = append(out.Events, e)
		}
	}
	for _, a := range t.Alternatives {
		out.Alternatives = append(out.Alternatives, onWire(a))
	}
	return out
}
