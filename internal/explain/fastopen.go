package explain

// Fast Open: what the bits mean, and what a run can contradict.
const (
	RoundTrips     = "TL1150"
	FastOpenOption = "TL1151"
	FastOpenBits   = "TL1250"
)

var fastOpenEntries = []Entry{
	{RoundTrips, "an answer took more or fewer round trips than predicted",
		`The request travelled in another packet than predicted: in the SYN, which saves a round trip, or after the handshake.

The packet that first brings the whole request to the server decides: one round trip if that is the SYN, two if it is a later one. The client puts data into a SYN when it has a cookie for that server, or needs none (tcp_send_syn_data, net/ipv4/tcp_output.c). The server takes them if tcp_try_fastopen (net/ipv4/tcp_fastopen.c) finds its bit, a listener that asks for it and a valid cookie.

Look at the SYN's option and length, and at the SYN-ACK's acknowledgement: 1 means that no data were taken.`,
		[]string{FastOpenBits, FastOpenOption}},
	{FastOpenOption, "a Fast Open option is not the predicted one",
		`A SYN or SYN-ACK carries another Fast Open option than the rules say: another cookie, none, or one where none was due.

A cookie is made from the addresses and a key of the server's network namespace (tcp_fastopen_cookie_gen, net/ipv4/tcp_fastopen.c), 8 bytes long; the client keeps it in tcp_metrics and shows it unchanged. A client that got no cookie asks once more in the experimental option (254), and then in the first one again (tcp_fastopen_cache_set).

Somebody else's rules or a middle box may strip options. In a lab, see whether the metrics were flushed or the key was changed between two requests.`,
		[]string{FastOpenBits, RoundTrips}},
	{FastOpenBits, "tcp_fastopen is a sum of bits, each for one end",
		`0x1 lets a client call sendto(MSG_FASTOPEN); without it the call fails with EOPNOTSUPP. 0x2 lets listeners take data in a SYN, if they set TCP_FASTOPEN themselves or 0x400 is set too. 0x4 makes a client send data without a cookie, and 0x200 makes a server take them without one.

The default is 1 since Linux 3.13: a client may, a server may not. Since 4.15 each network namespace has its own value. 0x4 at the client alone saves nothing: the server does not take the data, and they are sent again with the third packet. 0x200 at the server alone saves nothing either: it gives no cookie to a client that asks for one, so that client never gets to send data (tcp_try_fastopen, read in 6.18 and measured on 6.18.44).

Set them with --client-fastopen and --server-fastopen; ip tcp_metrics show lists the cookies that a client keeps.`,
		[]string{RoundTrips, FastOpenOption}},
}
