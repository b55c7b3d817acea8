package runner

import (
	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/pcapout"
	"github.com/tcplab/tcplab/sysctl"
)

// baseline is what the lab pins.
func baseline(s experiments.Setup) func(func(string) bool) []sysctl.Setting {
	if s.IPv6 {
		return sysctl.BaselineIPv6
	}
	return sysctl.Baseline
}

// program is what made a rule, where that is not iptables.
func program(f *lab.Filter) string {
	if f.IPv6 {
		return f.Program()
	}
	return ""
}

// isARP reports whether an Ethernet frame carries ARP.
func isARP(p pcapout.Packet) bool {
	const ethertype, arp = 12, 0x0806
	return len(p.Data) > ethertype+1 && int(p.Data[ethertype])<<8|int(p.Data[ethertype+1]) == arp
}

// isSolicitation reports whether an Ethernet frame carries a neighbour solicitation (RFC 4861, section 4.3).
func isSolicitation(p pcapout.Packet) bool {
	const ethertype, ipv6, next, icmpv6, kind, solicitation = 12, 0x86dd, 14 + 6, 58, 14 + 40, 135
	return len(p.Data) > kind && int(p.Data[ethertype])<<8|int(p.Data[ethertype+1]) == ipv6 && p.Data[next] == icmpv6 && p.Data[kind] == solicitation
}
