package oracle

// What differs between the families is here and in refusal.go and neighbour.go; the kernel's TCP is the same code for both.

const (
	ethernetMTU  = 1500
	tcpHeader    = 20 // struct tcphdr
	timestamps   = 12 // TCPOLEN_TSTAMP_ALIGNED
	optionsSpace = 40 // MAX_TCP_OPTION_SPACE
)

// MSS is what a SYN announces on a link of 1500 bytes: 1460, or 1440 with IPv6, whose header is of 40 bytes and not of 20 (ipv4_default_advmss in
// net/ipv4/route.c, ip6_default_advmss in net/ipv6/route.c; RFC 6691, RFC 8200 section 3).
func MSS(ipv6 bool) int {
	if ipv6 {
		return ethernetMTU - 40 - tcpHeader
	}
	return ethernetMTU - 20 - tcpHeader
}

// segmentMax is the data of a full segment: the MSS without what the timestamps take (tcp_current_mss in net/ipv4/tcp_output.c).
func segmentMax(ipv6 bool) int { return MSS(ipv6) - timestamps }

// fastOpenDataMax is the most that one SYN carries: the MSS without the space of every option (tcp_send_syn_data in net/ipv4/tcp_output.c).
func fastOpenDataMax(ipv6 bool) int { return MSS(ipv6) - optionsSpace }
