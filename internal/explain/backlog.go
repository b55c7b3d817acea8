package explain

// Facts about the queues of a listener.
const (
	AcceptQueue = "TL1291"
	SYNCookies  = "TL1292"
)

var backlogEntries = []Entry{
	{AcceptQueue, "an accept queue of N+1, and what happens when it is full",
		`A listener holds min(backlog of listen(), net.core.somaxconn) connections that nobody has accepted yet, and one more: sk_acceptq_is_full compares with >. ss shows both numbers of a listener: Recv-Q is what waits, Send-Q the limit without the one.

A SYN that finds the queue full is dropped without a word (tcp_conn_request, net/ipv4/tcp_input.c): the client repeats it, as if the path were broken, and gets ETIMEDOUT. An ACK of a connection that was half open already is another matter. With tcp_abort_on_overflow=0 it is ignored (tcp_check_req, net/ipv4/tcp_minisocks.c): the client believes that it is connected, the server goes on repeating its SYN-ACK, each answer to it tries again, and after tcp_synack_retries the server forgets it, silently. With 1 it is answered with a RST, and the client learns ECONNRESET at its next call. That setting does nothing for the SYNs.

The kernel counts each of them in TcpExtListenOverflows. The remedy is a program that accepts sooner, or a larger backlog; somaxconn was 128 before Linux 5.4, and is 4096 since.`,
		[]string{SYNCookies, CountAndTime}},
	{SYNCookies, "SYN cookies: answered, and nothing is kept",
		`With tcp_syncookies=1 a listener with too many half-open connections answers a SYN with a sequence number that holds all that it must know, and keeps nothing. With 2 it does so always, with 0 never: then such a SYN is dropped.

Too many are more than the backlog (inet_csk_reqsk_queue_is_full since Linux 6.4 and late 6.1; before, as many as it). What is kept nowhere cannot be repeated: there is one SYN-ACK for each SYN, no timer, no SYN-RECV. If the ACK is lost, the client believes that it is connected and the server has never heard of it, until data bring the number again. An ACK that finds the accept queue full is ignored, whatever tcp_abort_on_overflow says.

Cookies do not help against a full accept queue: its SYNs are dropped first (tcp_conn_request).`,
		[]string{AcceptQueue}},
}
