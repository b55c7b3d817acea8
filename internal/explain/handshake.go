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
	{SoftICMP, "an ICMP error to the first SYN: at once for one program, after a second for another",
		`A firewall rejects a SYN with an ICMP error. curl fails at once, and telnet seems to need a second, on the same link.

tcp_v4_err (net/ipv4/tcp_ipv4.c) ends a connection in SYN-SENT when an ICMP error comes, unless a program owns the socket at that moment. On a link without delay the answer is there before connect(2) has let go of the socket, so it is only noted, in sk_err_soft, and the SYN's timer runs. Since Linux 5.8 the error also goes into the socket's error queue. A program whose connect(2) does not block waits in poll(2) or epoll_wait(2), which the queue wakes up, and SO_ERROR hands it the noted error: so do curl, Go's net package and tcplab's client. A connect(2) that blocks looks only at sk_err: a second later the timer repeats the SYN, nobody owns the socket, and the next ICMP error ends the call. Before 5.8 every program waits for that.

The errno: port unreachable ECONNREFUSED, host unreachable and administratively prohibited EHOSTUNREACH, net unreachable ENETUNREACH. A RST has no such quirk: it waits in the socket's backlog. On a link with a real round trip the first ICMP error ends connect() at once. An icmp_ratelimit that swallows the first error looks the same as a second of waiting; the lab sets it to 0.`,
		[]string{WrongErrno, TimerWheel}},
}
