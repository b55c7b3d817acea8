package explain

// Facts about opening and closing that readers meet in a result.
const (
	DelayedACK = "TL1211"
	SoftICMP   = "TL1212"
	IPv6       = "TL1246"
)

var handshakeEntries = []Entry{
	{DelayedACK, "a FIN is acknowledged late, so closing takes three packets or four",
		`Books draw four packets: FIN, ACK, FIN, ACK. Most captures show three, because the second FIN carries the ACK of the first.

When a FIN comes, tcp_fin (net/ipv4/tcp_input.c) puts the connection into pingpong mode, and the ACK is left to a timer (tcp_send_delayed_ack, net/ipv4/tcp_output.c): 40 ms (TCP_ATO_MIN), up to one jiffy more by the timer wheel, and since Linux 6.11 never more than tcp_rto_min_us less one jiffy. An end that closes before sends one packet for both. An end that has more to do sends the ACK first and its FIN later.

So the time between two close(2) decides, not a setting. Try --linger=30ms and --linger=60ms. Near 40 ms a busy machine's own delays decide, and the prediction says that either may happen.`,
		[]string{TimerWheel, UnexpectedPacket}},
	{SoftICMP, "an ICMP error to the first SYN: at once for one program, after a second for another",
		`A firewall rejects a SYN with an ICMP error. curl fails at once, and telnet seems to need a second, on the same link.

tcp_v4_err (net/ipv4/tcp_ipv4.c) ends a connection in SYN-SENT when an ICMP error comes, unless a program owns the socket at that moment. On a link without delay the answer is there before connect(2) has let go of the socket, so it is only noted, in sk_err_soft, and the SYN's timer runs. Since Linux 5.8 the error also goes into the socket's error queue. A program whose connect(2) does not block waits in poll(2) or epoll_wait(2), which the queue wakes up, and SO_ERROR hands it the noted error: so do curl, Go's net package and tcplab's client. A connect(2) that blocks looks only at sk_err: a second later the timer repeats the SYN, nobody owns the socket, and the next ICMP error ends the call. Before 5.8 every program waits for that.

The errno: port unreachable ECONNREFUSED, host unreachable and administratively prohibited EHOSTUNREACH, net unreachable ENETUNREACH. A RST has no such quirk: it waits in the socket's backlog. On a link with a real round trip the first ICMP error ends connect() at once. An icmp_ratelimit that swallows the first error looks the same as a second of waiting; the lab sets it to 0.`,
		[]string{WrongErrno, TimerWheel, IPv6}},
	{IPv6, "what is different over IPv6, and what is not",
		`--ipv6 gives the lab addresses of IPv6 (fd00:10:99::1 and ::2), rules of ip6tables, and ICMPv6. The kernel's TCP is one: the same timers, the same numbers of retries, and the same knobs, which hold for both families though they are called net.ipv4.tcp_*.

Four things differ. The header has 40 bytes and not 20, so a link of 1500 bytes has an MSS of 1440 (ip6_default_advmss, net/ipv6/route.c), and a SYN carries at most 1400 bytes of data. An ICMPv6 error becomes another errno (tab_unreach, net/ipv6/icmp.c): no route ENETUNREACH, address unreachable EHOSTUNREACH, port unreachable ECONNREFUSED, administratively prohibited EACCES. Such an error to the first SYN on a link without delay is only noted, in every kernel: ipv6_icmp_error (net/ipv6/datagram.c) tells a waiting poll(2) only where the program has set IPV6_RECVERR, so connect(2) ends with the answer to the second SYN, after a second. And where nobody answers neighbour discovery, tcp_v6_err (net/ipv6/tcp_ipv6.c) takes back no doubling of the SYN's timer, as tcp_v4_err does (RFC 6069): connect(2) ends with EHOSTUNREACH after three seconds, if its retransmissions last as long.

The lab's hosts have no link-local address and are in no solicited-node group, so that neither router solicitations nor membership reports (MLD) come into the captures.`,
		[]string{SoftICMP}},
}
