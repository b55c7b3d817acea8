package lab

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/pcapout"
)

// TestSpecs catches a rule that iptables would read as another one.
func TestSpecs(t *testing.T) {
	for _, tt := range []struct {
		name string
		rule Rule
		want []string
	}{
		{"SYN", DropSYN(80), []string{"-p tcp --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP"}},
		{"SYN-ACK", DropSYNACK(80), []string{"-p tcp --sport 80 --tcp-flags FIN,SYN,RST,ACK SYN,ACK -j DROP"}},
		{"ACK", DropACK(80), []string{"-p tcp --dport 80 --tcp-flags ACK ACK -j DROP"}},
		{"everything of a host", DropAllFrom(netip.MustParseAddr("10.0.0.7")), []string{"-s 10.0.0.7 -j DROP"}},
		{"a range of ports", DropTo(80, 89), []string{"-p tcp --dport 80:89 -j DROP"}},
		{"all data", DropData(80), []string{"-p tcp --dport 80 -m length --length 100:65535 -j DROP"}},
		{"what carries no data", DropBare(80), []string{"-p tcp --dport 80 --tcp-flags SYN,ACK ACK -m length --length 0:99 -j DROP"}},
		{"no flags", Rule{Mask: pcapout.SYN}, []string{"-p tcp --tcp-flags SYN NONE -j DROP"}},
		{"rejected", Rule{ToPort: 80, Reject: "tcp-reset"}, []string{"-p tcp --dport 80 -j REJECT --reject-with tcp-reset"}},
		{"out of order, and one twice: the second counts what the first lets through", DropData(80, 19, 15, 19), []string{
			"-p tcp --dport 80 -m length --length 100:65535 -m statistic --mode nth --every 1000000 --packet 14 -j DROP",
			"-p tcp --dport 80 -m length --length 100:65535 -m statistic --mode nth --every 1000000 --packet 17 -j DROP",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, s := range tt.rule.Specs() {
				got = append(got, strings.Join(s, " "))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("specs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.rule.Specs()[0], tt.rule.Spec()); diff != "" {
				t.Errorf("Spec against the first of Specs:\n%s", diff)
			}
			if err := tt.rule.check(); err != nil {
				t.Errorf("check: got %v, want no error", err)
			}
		})
	}
	for _, bad := range []Rule{{Nth: []int{0}}, {Nth: []int{3, -1}}, {Nth: []int{every}}, {All: true, ToPort: 1}, {All: true, Mask: pcapout.SYN}, {LastPort: 9},
		{ToPort: 9, LastPort: 8}} {
		if bad.check() == nil {
			t.Errorf("check %+v: got no error, want one", bad)
		}
	}
	if got, want := DropData(80, 15, 19).Text, "TCP data to :80, numbers 15, 19"; got != want {
		t.Errorf("text: got %q, want %q", got, want)
	}
}

// TestSpecsIPv6 catches a length of IPv4 in a rule of ip6tables, and a rule that says it matches the other family's packets.
func TestSpecsIPv6(t *testing.T) {
	data := DropData(80)
	data.IPv6 = true
	if got, want := data.Commands()[0], "ip6tables -t filter -A INPUT -p tcp --dport 80 -m length --length 120:65535 -j DROP"; got != want {
		t.Errorf("data: got %q, want %q", got, want)
	}
	bare := DropBare(80)
	bare.IPv6 = true
	if got, want := strings.Join(bare.Spec(), " "), "-p tcp --dport 80 --tcp-flags SYN,ACK ACK -m length --length 0:119 -j DROP"; got != want {
		t.Errorf("bare: got %q, want %q", got, want)
	}
	s := pcapout.Segment{Src: netip.MustParseAddrPort("[fd00::1]:5"), Dst: netip.MustParseAddrPort("[fd00::2]:80"), Flags: pcapout.ACK, Size: 119}
	if !bare.Matches(s) || data.Matches(s) {
		t.Error("119 bytes of IPv6: want them taken for a segment without data")
	}
	if s.Size++; bare.Matches(s) || !data.Matches(s) {
		t.Error("120 bytes of IPv6: want them taken for data")
	}
	if old := DropBare(80); old.Matches(s) {
		t.Error("a rule of IPv4 matches a packet of IPv6")
	}
}

// TestMatcher catches a count that takes in what the rule does not match, and a rule in words that says other than iptables does.
func TestMatcher(t *testing.T) {
	client, server := netip.MustParseAddrPort("10.99.0.1:40000"), netip.MustParseAddrPort("10.99.0.2:80")
	seg := func(size int, flags pcapout.Flags) pcapout.Segment {
		return pcapout.Segment{Src: client, Dst: server, Flags: flags, Size: size}
	}
	short, long := seg(52, pcapout.ACK), seg(1500, pcapout.ACK|pcapout.PSH)
	back := pcapout.Segment{Src: server, Dst: client, Flags: pcapout.SYN | pcapout.ACK, Size: 60}
	icmp := pcapout.Segment{Src: netip.AddrPortFrom(server.Addr(), 0), Dst: netip.AddrPortFrom(client.Addr(), 0), ICMP: &pcapout.ICMP{}, Size: 200}
	all := []pcapout.Segment{seg(60, pcapout.SYN), back, short, long, short, long, long, icmp, long}
	for _, tt := range []struct {
		name string
		rule Rule
		want []int // indices that are dropped
	}{
		{"SYN", DropSYN(80), []int{0}},
		{"SYN-ACK", DropSYNACK(80), []int{1}},
		{"ACK", DropACK(80), []int{2, 3, 4, 5, 6, 8}},
		{"everything of the server", DropAllFrom(server.Addr()), []int{1, 7}},
		{"a range of ports", DropTo(70, 80), []int{0, 2, 3, 4, 5, 6, 8}},
		{"another range", DropTo(81, 89), nil},
		{"all data", DropData(80), []int{3, 5, 6, 8}},
		{"what carries no data, but for the SYN", DropBare(80), []int{2, 4}},
		{"second and fourth data", DropData(80, 4, 2), []int{5, 8}},
		{"none", DropData(81), nil},
		{"TCP only", Rule{MinLength: 150}, []int{3, 5, 6, 8}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []int
			drops := tt.rule.Matcher()
			for i, s := range all {
				if drops(s) {
					got = append(got, i)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("dropped (-want +got):\n%s", diff)
			}
		})
	}
	for chain, want := range map[string]bool{"INPUT": true, "PREROUTING": true, "OUTPUT": false, "POSTROUTING": false} {
		if got := (Rule{Chain: chain}).AfterCapture(); got != want {
			t.Errorf("%s: AfterCapture: got %v, want %v", chain, got, want)
		}
	}
}

// TestPayload catches a rule that takes a bare acknowledgement with long options for data, and one that the shell would cut apart.
func TestPayload(t *testing.T) {
	data, bare := Rule{Chain: "INPUT", ToPort: 80, Payload: WithData}, Rule{Chain: "INPUT", ToPort: 80, Mask: segmentFlags, Flags: pcapout.ACK, Payload: WithoutData}
	to := netip.MustParseAddrPort("10.99.0.2:80")
	for _, tt := range []struct {
		name       string
		s          pcapout.Segment
		data, bare bool
	}{
		{"one byte", pcapout.Segment{Dst: to, Flags: pcapout.ACK | pcapout.PSH, Length: 1, Size: 53}, true, false},
		{"ACK with three SACK blocks", pcapout.Segment{Dst: to, Flags: pcapout.ACK, Size: 80}, false, true},
		{"FIN", pcapout.Segment{Dst: to, Flags: pcapout.ACK | pcapout.FIN, Size: 52}, false, false},
		{"FIN with data", pcapout.Segment{Dst: to, Flags: pcapout.ACK | pcapout.FIN, Length: 5, Size: 57}, true, false},
	} {
		if got := data.Matches(tt.s); got != tt.data {
			t.Errorf("%s: data: got %v, want %v", tt.name, got, tt.data)
		}
		if got := bare.Matches(tt.s); got != tt.bare {
			t.Errorf("%s: bare ACK: got %v, want %v", tt.name, got, tt.bare)
		}
	}
	const want = "iptables -t filter -A INPUT -p tcp --dport 80 -m bpf --bytecode '10,177 0 0 0,80 0 0 12,84 0 0 240,116 0 0 2,12 0 0 0,7 0 0 0,40 0 0 2,45 0 1 0,6 0 0 1,6 0 0 0' -j DROP"
	if got := data.Commands(); len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
