//go:build lab

package lab

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/pcapout"
	"github.com/tcplab/tcplab/sysctl"
)

// TestReadAfter catches a server that reads before its time, or never: the window that it offers tells, and its events.
func TestReadAfter(t *testing.T) {
	const size = 500
	for _, after := range []time.Duration{2 * time.Second, NeverReads} { // a busy client has until then to write
		var seen log
		l := build(t, Topology{Baseline: sysctl.Baseline, Observe: seen.observe})
		if err := l.Server.ReceiveWindow(1, size+12); err != nil {
			t.Fatal(err)
		}
		src, err := l.Server.Capture(pcapout.SourceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s, c := connect(t, l, ListenOptions{Service: Sink, ReceiveBuffer: 1152, ReadAfter: after}, DialOptions{})
		if _, err := c.Write(t.Context(), 2, size, 0); err != nil {
			t.Fatal(err)
		}
		if after == NeverReads {
			// The answer to a probe, too: a fifth of a second later still nothing was read.
			awaitSegments(t, src, 2, func(g pcapout.Segment) bool { return g.Src == s.Addr && g.Window == 0 })
			if got := seen.of("server", Received, Resumed); len(got) > 0 || s.Received() != 0 {
				t.Errorf("never: got %v and %d bytes, want nothing", got, s.Received())
			}
			continue
		}
		if !eventually(func() bool { return s.Received() == 2*size }) {
			t.Fatalf("got %d bytes, want %d", s.Received(), 2*size)
		}
		opened := seen.of("server", Accepted)
		resumed := seen.of("server", Resumed)
		if len(resumed) != 1 || resumed[0].Bytes != size || resumed[0].Before-opened[0].At < after || resumed[0].After < resumed[0].Before {
			t.Errorf("got %+v after %+v, want one read of %d bytes, %v later", resumed, opened, size, after)
		}
		windows := ""
		for _, g := range awaitSegments(t, src, 3, func(g pcapout.Segment) bool { return g.Src == s.Addr && g.Window == size }) {
			if g.Src == s.Addr {
				windows += map[uint16]string{0: "0", size: "1"}[g.Window]
			}
		}
		if !regexp.MustCompile("^10+1+0+1*$").MatchString(windows) { // probes are answered, too, whenever they come
			t.Errorf("got the windows %q, want one segment, none, one, none, one", windows)
		}
	}
	l := build(t, Topology{})
	if _, err := l.Server.Listen(t.Context(), ListenOptions{Service: Echo, ReadAfter: time.Second}); err == nil {
		t.Error("an echo server that does not read: got no error, want one")
	}
	if err := l.Server.ReceiveWindow(-1, 0); err == nil {
		t.Error("window of -1: got no error, want one")
	}
}

// TestRouteSettings catches a setting of the route that takes another one away, or does not come back with the link.
func TestRouteSettings(t *testing.T) {
	l := build(t, Topology{Baseline: sysctl.Baseline})
	if err := l.Client.ReceiveWindow(3, 600); err != nil {
		t.Fatal(err)
	}
	if err := l.Client.InitialWindow(7); err != nil {
		t.Fatal(err)
	}
	want := []string{"initrwnd 3", "advmss 600", "initcwnd 7"}
	for _, when := range []string{"set", "after the link was down"} {
		got := run(t, l.Client, "ip", "route")
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: got %s, want %q in it", when, got, w)
			}
		}
		for _, up := range []bool{false, true} {
			if err := l.Client.SetLink(t.Context(), up); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Client.ReceiveWindow(0, 0); err != nil {
		t.Fatal(err)
	}
	if got := run(t, l.Client, "ip", "route"); strings.Contains(got, "advmss") || !strings.Contains(got, "initcwnd 7") {
		t.Errorf("taken back: got %s, want the other one left", got)
	}
}
