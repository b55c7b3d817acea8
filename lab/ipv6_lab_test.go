//go:build lab

package lab

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/pcapout"
	"github.com/tcplab/tcplab/sysctl"
)

// TestIPv6Silent catches a host of IPv6 that sends what nobody asked for: membership reports, solicitations, duplicate address detection. They
// would come within a second of the link: so both captures are open before a link is up again, and hold nothing but TCP.
func TestIPv6Silent(t *testing.T) {
	for _, tt := range []struct {
		name string
		top  Topology
	}{
		{"veth", Topology{Baseline: sysctl.BaselineIPv6, IPv6: true}},
		{"delay", Topology{Baseline: sysctl.BaselineIPv6, IPv6: true, RTT: 4 * time.Millisecond}},
		{"frames held by a process", Topology{Baseline: sysctl.BaselineIPv6, IPv6: true, RTT: 4 * time.Millisecond, HoldFrames: true}},
		{"router", Topology{Baseline: sysctl.BaselineIPv6, IPv6: true, Router: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := build(t, tt.top)
			src, err := l.Server.Capture(pcapout.SourceOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if tt.top.RTT == 0 { // as the kernel forgets the address, the lab has to give it back in silence
				if err := l.Client.SetLink(t.Context(), false); err != nil {
					t.Fatal(err)
				}
				if err := l.Client.SetLink(t.Context(), true); err != nil {
					t.Fatal(err)
				}
			}
			_, c := connect(t, l, ListenOptions{Service: Echo}, DialOptions{})
			talk(t, c, true)
			<-time.After(1500 * time.Millisecond) // a silence is what is tested: MLDv2 repeats a report within a second (mldv2_unsolicited_report_interval)
			tcp := 0
			for _, p := range src.Packets() {
				s, err := pcapout.Decode(pcapout.LinkEthernet, p)
				if err != nil {
					t.Errorf("a packet that is no TCP: %v: % x", err, p.Data[:min(len(p.Data), 80)])
					continue
				}
				tcp++
				if !s.Src.Addr().Is6() {
					t.Errorf("got a packet from %s, want IPv6", s.Src)
				}
			}
			if tcp < 5 {
				t.Errorf("got %d packets of TCP, want a handshake and an exchange", tcp)
			}
			if got := run(t, l.Client, "ip", "-6", "maddr"); strings.Contains(got, "ff02::1:ff") {
				t.Errorf("got %q, want no solicited-node group", got)
			}
		})
	}
}

// TestIPv6Noisy is the control of TestIPv6Silent: an address that is added in the usual way is announced.
func TestIPv6Noisy(t *testing.T) {
	t.Parallel()
	l := build(t, Topology{Baseline: sysctl.BaselineIPv6, IPv6: true})
	src, err := l.Server.Capture(pcapout.SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, l.Client, "ip", "address", "add", "fd00:10:99::9/64", "dev", Iface, "nodad")
	if !eventually(func() bool { return len(src.Packets()) > 0 }) {
		t.Error("got no membership report, want one")
	}
}

// TestIPv6Rules catches a rule of the wrong program, a length of the wrong header and a bytecode that reads another field: each rule drops what
// it says, and its counter tells.
func TestIPv6Rules(t *testing.T) {
	t.Parallel()
	l := build(t, Topology{Baseline: sysctl.BaselineIPv6, IPv6: true})
	rules := []Rule{DropSYN(1), {Chain: "INPUT", ToPort: 8080, Payload: WithData, Nth: []int{1}}, {Chain: "INPUT", ToPort: 8080, Payload: WithoutData, Mask: segmentFlags, Flags: pcapout.ACK, Nth: []int{9}},
		DropSYNACK(1), DropData(8081), DropBare(1), DropAllFrom(RouterAddr6)}
	var made []*Filter
	for _, r := range rules {
		f, err := l.Server.Drop(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if !f.IPv6 {
			t.Errorf("%s: got a rule of iptables, want one of ip6tables", f.Text)
		}
		made = append(made, f)
	}
	sendSYNs(t, l.Client, l.Server, 1, 3)
	counts(t, made[0], 3)
	_, c := connect(t, l, ListenOptions{Service: Echo}, DialOptions{})
	talk(t, c, true) // its first segment is lost once, and repeated
	counts(t, made[1], 1)
	if _, err := l.Server.Drop(t.Context(), Rule{Chain: "INPUT", ToPort: 1, Reject: "icmp-net-unreachable"}); err == nil {
		t.Error("a reject of IPv4: got no error, want one")
	}
}

// TestIPv6Addresses catches families that are mixed, and a dialer of one's own that knows IPv4 only.
func TestIPv6Addresses(t *testing.T) {
	t.Parallel()
	if l, err := New(t.Context(), Topology{IPv6: true, Client: netip.MustParsePrefix("10.0.0.1/24")}); err == nil || !strings.Contains(err.Error(), "one family") {
		t.Errorf("a client of IPv4 and a server of IPv6: got %v, want an error", err)
		if l != nil {
			_ = l.Close()
		}
	}
	l := build(t, Topology{Baseline: sysctl.BaselineIPv6, IPv6: true, Router: true})
	ln, err := l.Server.NetListen(t.Context(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if c, err := ln.Accept(); err == nil {
			c.Close()
		}
	}()
	c, err := l.Client.DialContext(t.Context(), "tcp", "server:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, want := c.RemoteAddr().String(), "[fd00:10:99::2]:80"; got != want {
		t.Errorf("remote: got %s, want %s", got, want)
	}
	if _, err := l.Client.DialContext(t.Context(), "tcp4", "server:80"); err == nil {
		t.Error("tcp4 to a server of IPv6: got a connection, want an error")
	}
}
