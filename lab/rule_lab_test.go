//go:build lab

package lab

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/pcapout"
	"github.com/tcplab/tcplab/sysctl"
)

// connect starts a server and a client, and connects them.
func connect(t testing.TB, l *Lab, listen ListenOptions, dial DialOptions) (*Server, *Client) {
	t.Helper()
	s, err := l.Server.Listen(t.Context(), listen)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Client.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Connect(t.Context(), s.Addr, dial); err != nil {
		t.Fatal(err)
	}
	return s, c
}

// segments decodes what a capture has so far.
func segments(t testing.TB, src *pcapout.Source) []pcapout.Segment {
	t.Helper()
	var all []pcapout.Segment
	for _, p := range src.Packets() {
		s, err := pcapout.Decode(pcapout.LinkEthernet, p)
		if errors.Is(err, pcapout.ErrNotTCP) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// awaitSegments returns what a capture has when n segments in it match, or after ten seconds: a capture is read a moment after the fact.
func awaitSegments(t testing.TB, src *pcapout.Source, n int, match func(pcapout.Segment) bool) []pcapout.Segment {
	t.Helper()
	var all []pcapout.Segment
	eventually(func() bool {
		all = segments(t, src)
		k := 0
		for _, g := range all {
			if match(g) {
				k++
			}
		}
		return k >= n
	})
	return all
}

func hasData(g pcapout.Segment) bool { return g.Length > 0 }

// patient makes a sender wait for what a busy machine delivers or reads late: nothing is sent again but what was lost.
func patient(t testing.TB, h *Host) {
	t.Helper()
	for name, value := range map[string]string{"net.ipv4.tcp_early_retrans": "0", "net.ipv4.tcp_rto_min_us": "1000000"} {
		if h.Has(name) {
			if _, err := h.Set(name, value, "a test"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestNth loses chosen data segments. It catches numbers that iptables counts otherwise than Matcher, and a segment that is lost twice or
// not at all: each lost one, and no other, is sent again.
func TestNth(t *testing.T) {
	labtest.Need(t, labtest.IPTables)
	const count, size, port = 20, 1000, 8080
	for _, lose := range [][]int{{3}, {4, 9, 5}, nil} {
		l := build(t, Topology{Baseline: sysctl.Baseline})
		// All in one flight, so that no repeat comes between; and no timer that sends what is not lost.
		patient(t, l.Client)
		for _, h := range l.hosts() {
			if err := h.InitialWindow(count); err != nil {
				t.Fatal(err)
			}
		}
		src, err := l.Server.Capture(pcapout.SourceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s, c := connect(t, l, ListenOptions{Service: Sink}, DialOptions{SocketOptions: SocketOptions{MaxSeg: size + 12, SendBuffer: 100_000}})
		rule := DropData(port, lose...)
		if lose == nil {
			rule = DropData(port + 1) // the negative control: nothing is lost
		}
		f, err := l.Server.Drop(t.Context(), rule)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := c.Write(t.Context(), count, size, 0); err != nil || e.Calls != 1 || e.Bytes != count*size {
			t.Fatalf("write: got %+v, %v, want one call for all", e, err)
		}
		if !eventually(func() bool { return s.Received() == count*size }) {
			t.Fatalf("lose %v: the server got %d bytes, want %d", lose, s.Received(), count*size)
		}
		var dropped, again []int
		drops, seen := rule.Matcher(), map[uint32]int{}
		for _, g := range awaitSegments(t, src, count+len(lose), hasData) {
			if g.Dst.Port() != port || g.Length == 0 {
				continue
			}
			if seen[g.Seq] == 0 {
				seen[g.Seq] = len(seen) + 1
			} else {
				again = append(again, seen[g.Seq])
			}
			if drops(g) {
				dropped = append(dropped, seen[g.Seq])
			}
		}
		slices.Sort(again)
		want := slices.Sorted(slices.Values(lose))
		if !slices.Equal(dropped, want) || !slices.Equal(again, want) {
			t.Errorf("lose %v: the matcher says %v, %v were sent again, want %v both", lose, dropped, again, want)
		}
		packets, _, err := f.Count(t.Context())
		if err != nil || int(packets) != len(lose) {
			t.Errorf("lose %v: the rule counted %d, %v, want %d", lose, packets, err, len(lose))
		}
	}
}

// TestSpecAccepted catches a rule that one of the two iptables programs does not take.
func TestSpecAccepted(t *testing.T) {
	rules := []Rule{DropSYN(1), DropSYNACK(1), DropACK(1), DropAllFrom(ServerAddr.Addr()), DropData(1, 15, 19), DropBare(1)}
	for _, chain := range []struct{ table, chain string }{
		{"raw", "PREROUTING"}, {"raw", "OUTPUT"}, {"mangle", "POSTROUTING"}, {"mangle", "INPUT"}, {"mangle", "PREROUTING"}, {"", "OUTPUT"},
	} {
		r := DropSYN(1)
		r.Table, r.Chain = chain.table, chain.chain
		rules = append(rules, r)
	}
	for _, reject := range []string{"tcp-reset", "icmp-port-unreachable", "icmp-host-unreachable", "icmp-net-unreachable", "icmp-admin-prohibited"} {
		rules = append(rules, Rule{Chain: "INPUT", ToPort: 1, Reject: reject}, Rule{Chain: "OUTPUT", ToPort: 1, Reject: reject})
	}
	for _, program := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(program, func(t *testing.T) {
			labtest.Need(t, labtest.Command(program))
			l := build(t, Topology{})
			for _, r := range rules {
				for _, spec := range r.Specs() {
					args := append([]string{"-t", r.TableName(), "-A", r.Chain}, spec...)
					if out, err := l.Server.Exec(t.Context(), program, args...); err != nil {
						t.Errorf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
					}
				}
			}
			if _, err := l.Server.Exec(t.Context(), program, "-t", "raw", "-A", "OUTPUT", "-p", "tcp", "-j", "REJECT"); err == nil {
				t.Error("REJECT in the table raw: got no error, want one")
			}
		})
	}
}

// TestReject catches an answer that the client's kernel reads as another one, or that never comes.
func TestReject(t *testing.T) {
	labtest.Need(t, labtest.IPTables)
	for reject, errno := range map[string]string{
		"tcp-reset": "ECONNREFUSED", "icmp-port-unreachable": "ECONNREFUSED", "icmp-host-unreachable": "EHOSTUNREACH",
		"icmp-net-unreachable": "ENETUNREACH", "icmp-admin-prohibited": "EHOSTUNREACH",
	} {
		t.Run(reject, func(t *testing.T) {
			t.Parallel()
			l := build(t, Topology{Baseline: sysctl.Baseline})
			if _, err := l.Server.Listen(t.Context(), ListenOptions{}); err != nil {
				t.Fatal(err)
			}
			f, err := l.Server.Drop(t.Context(), Rule{Chain: "INPUT", ToPort: 8080, Reject: reject})
			if err != nil {
				t.Fatal(err)
			}
			c, err := l.Client.Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var failed *CallError
			if err := c.Connect(t.Context(), l.Server.Port(8080), DialOptions{}); !errors.As(err, &failed) || failed.Errno != errno || failed.Call != "connect" {
				t.Errorf("got %v, want %s of connect", err, errno)
			}
			if n, _, err := f.Count(t.Context()); err != nil || n == 0 {
				t.Errorf("got %d packets rejected, %v, want one at least", n, err)
			}
		})
	}
}

// TestRemove catches a rule that stays, takes another one with it, or loses its count.
func TestRemove(t *testing.T) {
	labtest.Need(t, labtest.IPTables)
	l := build(t, Topology{})
	var f []*Filter
	for _, r := range []Rule{DropSYN(8080), DropData(8081, 2, 1), DropSYN(8082)} {
		one, err := l.Server.Drop(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		f = append(f, one)
	}
	sendSYNs(t, l.Client, l.Server, 8080, 3)
	sendSYNs(t, l.Client, l.Server, 8082, 2)
	counts(t, f[0], 3)
	for range 2 {
		if err := f[1].Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	counts(t, f[0], 3)
	counts(t, f[1], 0)
	counts(t, f[2], 2)
	if err := f[0].Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	sendSYNs(t, l.Client, l.Server, 8080, 4)
	sendSYNs(t, l.Client, l.Server, 8082, 1)
	counts(t, f[2], 3)
	counts(t, f[0], 3) // as it was
	if got := l.Server.Rules(); len(got) != 1 || got[0] != f[2] {
		t.Errorf("rules: got %v, want the last one", got)
	}
	if got := run(t, l.Server, "iptables", "-S", "INPUT"); strings.Count(got, "-A INPUT") != 1 || !strings.Contains(got, "--dport 8082") {
		t.Errorf("iptables has\n%swant the one for 8082", got)
	}
	if _, err := l.Server.Drop(t.Context(), Rule{Chain: "INPUT", Nth: []int{0}}); err == nil {
		t.Error("packet 0: got no error, want one")
	}
}
