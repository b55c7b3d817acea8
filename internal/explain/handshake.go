package explain

// Facts about opening and closing that readers meet in a result.
const (
	DelayedACK = "TL1211"
	SoftICMP   = "TL1212"
)

var handshakeEntries = []Entry{
	{DelayedACK, "a FIN is acknowledged late, so closing takes three packets or four",
		`Books draw four packets: FIN, ACK, FIN, ACK. Most captures show three, because the second FIN carries the ACK of the first.

When a FIN comes, tcp_fin (net/ipv4/tcp_input.c) puts the connection into pingpong mode, and the ACK is left to a timer (tcp_send_delayed_ack, net/ipv4/tcp_output.c): 40 ms (TCP_ATO_MIN), up to one jiffy more by the timer wheel, and since Linux 6.11 never more than tcp_rto_min_us less one jiffy. An end that closes before sends one packet for both. An end that has more to do sends the ACK first and its FIN later.

So the time between two close(2) decides, not a setting. Try --linger=30ms and --linger=60ms. Near 40 ms a busy machine's own delays decide, and the prediction says that either may happen.`,
		[]string{TimerWheel, UnexpectedPacket}},
	{SoftICMP, "an ICMP error to the first SYN ends connect() only at the second on a link without delay",
		`A firewall that rejects with an ICMP error seems to take a second to say so. The error comes at once, but the kernel only notes it.

tcp_v4_err (net/ipv4/tcp_ipv4.c) ends a connection in SYN-SENT when an ICMP error comes, unless a program owns the socket at that moment. On a link without delay the answer is there before connect(2) has let go of the socket, so it becomes sk_err_soft, and the SYN's timer runs. A second later the SYN is repeated by the timer, nobody owns the socket, and the next ICMP error ends connect() with its errno: port unreachable ECONNREFUSED, host unreachable and administratively prohibited EHOSTUNREACH, net unreachable ENETUNREACH. A RST has no such quirk: it waits in the socket's backlog and ends connect() at once.

On a link with a real round trip the first ICMP error ends connect() at once.`,
		[]string{WrongErrno, TimerWheel}},
}
