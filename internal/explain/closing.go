package explain

// Facts about connections that are closed.
const (
	Orphans    = "TL1281"
	FINTimeout = "TL1282"
	TimeWait   = "TL1283"
)

var closingEntries = []Entry{
	{Orphans, "who has called close() leaves an orphan, and tcp_orphan_retries rules it",
		`After close() no program has the socket, but its FIN must still arrive. The kernel goes on repeating it by itself, and the limit is not tcp_retries2 but tcp_orphan_retries.

Like tcp_retries2 it looks like a count and is a time, that of so many doublings from 200 ms, from the first repeat by the retransmission timer on (tcp_write_timeout, retransmits_timed_out in net/ipv4/tcp_timer.c). Its default, 0, means 8: 102.2 s. But that holds only while the wait still grows (tcp_orphan_retries): once it has reached its ceiling, tcp_rto_max_ms, 0 means 0, and the next fire is the end. With the ceiling at 120 s the 102.2 s are over before; with tcp_rto_max_ms=1000 the orphan is gone 2 s after its close. At the end nobody is told: no RST is sent, no program has an error.

shutdown(SHUT_WR) sends the same FIN and keeps the socket, so tcp_retries2 rules, and read() says ETIMEDOUT. TCP_USER_TIMEOUT replaces both. Compare --call=close with --call=shutdown in exp8-fin-loss. Where there are more orphans than tcp_max_orphans, the kernel resets them at once (tcp_out_of_resources); tcplab does not bring that about.`,
		[]string{RetriesAreTime, FINTimeout, TimerWheel}},
	{FINTimeout, "tcp_fin_timeout is FIN-WAIT-2, and 61 to 89 s are shorter than 60",
		`A program closes, the peer's kernel acknowledges the FIN, and the peer's program never closes. The socket stays in FIN-WAIT-2 for tcp_fin_timeout, 60 s by default, and is then forgotten without a word. It is not the length of TIME-WAIT.

Up to 60 s a small TIME-WAIT socket waits for all of it, shown as FIN-WAIT-2 (tcp_time_wait, net/ipv4/tcp_minisocks.c), and never less than 3.5 RTOs. Of more than 60 s the full socket first waits for what exceeds them (tcp_rcv_state_process: tmo - TCP_TIMEWAIT_LEN), and when that is over, the small one waits for the same excess, not for the 60 s (tcp_keepalive_timer). So the whole is twice the excess: 61 means 2 s, 70 means 20 s, 90 means 60 s, 120 means 120 s.

TCP_LINGER2 sets it for one socket, up to 120 s; below 0 there is no FIN-WAIT-2, and the peer's acknowledgement is answered with a RST. A socket that a program still has, after shutdown(), has no timer at all: it waits for ever.`,
		[]string{Orphans, TimeWait}},
	{TimeWait, "TIME-WAIT lasts 60 s, and a repeated FIN starts it anew",
		`Who closed first keeps a small socket for TCP_TIMEWAIT_LEN, 60 s, a constant of the kernel: no sysctl changes it. It is there to acknowledge a FIN that comes again because its acknowledgement was lost, and to keep old packets from a new connection.

Each such FIN starts the 60 s anew (tcp_timewait_state_process, net/ipv4/tcp_minisocks.c). With HZ=250 a timer of 60 s fires up to 2 s late. The acknowledgements of repeated FINs are not held back by tcp_invalid_ratelimit, because a FIN takes a sequence number (tcp_oow_rate_limited). A RST ends TIME-WAIT, unless tcp_rfc1337 is set.

tcp_fin_timeout does not rule it; tcp_tw_reuse lets a client use the port again before it is over.`,
		[]string{FINTimeout, TimerWheel}},
}
