package explain

// What concerns a receiver that does not read, and who waits for whose acknowledgement.
const (
	WrongWindow  = "TL1171"
	WrongWait    = "TL1172"
	ZeroWindow   = "TL1271"
	NagleDelayed = "TL1272"
)

var windowEntries = []Entry{
	{WrongWindow, "a window that was open or closed when it should not be",
		`The receiver offered room though its program had not read, or none though it had, or the kernel had another timer armed than the one that asks for the window.

__tcp_select_window (net/ipv4/tcp_output.c) offers nothing where less than one segment fits into the receive buffer, and never takes back what it has offered. tcp_cleanup_rbuf (net/ipv4/tcp.c) tells of a window that has at least doubled as soon as the program reads. With data in flight the timer is that of retransmissions; only with nothing in flight and something to send is it the persist timer (tcp_check_probe_timer).

See the window of each acknowledgement in the capture: tshark -r server.pcapng -T fields -e frame.time_relative -e tcp.window_size. Another buffer, or a program that reads, is the usual reason.`,
		[]string{ZeroWindow}},
	{ZeroWindow, "a closed window is asked for, for ever if somebody answers",
		`A receiver whose program does not read offers a window of 0. It tells when the window opens, but that packet can be lost and is not repeated. So the sender asks.

One RTO after the acknowledgement that closed the window, 200 ms at least, tcp_probe_timer (net/ipv4/tcp_timer.c) sends an empty packet with a number that was acknowledged before, and waits twice as long each time, at most tcp_retries2 doublings and never longer than 120 s (tcp_probe0_when). An answer, window 0, resets the count of probes and not the wait. So a connection whose peer answers lives for ever, with a packet every two minutes. Where tcp_retries2 probes in a row are not answered, the next fire of the timer ends it with ETIMEDOUT, and sends nothing: 924.6 s at the default of 15. Kernels before 5.0 send one probe more. The peer may leave probes out without being gone: it answers numbers outside its window once in tcp_invalid_ratelimit (500 ms).

TCP_USER_TIMEOUT counts from the first probe and does not ask for answers: since Linux 5.11 it ends a connection whose peer is there and does not read (before, in 5.1 to 5.10, only probes without an answer counted). Nothing but that, or a timeout of the program's own, helps against a peer that answers and never reads.

exp7-zero-window shows it: --peer=gone, --drain-at, --user-timeout.`,
		[]string{RetriesAreTime, Keepalive, RTOMax}},
	{WrongWait, "an acknowledgement that was kept back, or not, against the rule",
		`The server acknowledged a part of a request at once where it should have waited, or waited where it should not have.

Whether it waits depends on pingpong mode: on after tcp_pingpong_thresh answers that came within 40 ms of what they answer (tcp_event_data_sent, net/ipv4/tcp_output.c), off when the timer of a delayed ACK fires or TCP_QUICKACK is set.

See which answer was late, and which options the programs set.`,
		[]string{NagleDelayed, DelayedACK}},
	{NagleDelayed, "Nagle's algorithm waits for an acknowledgement that is delayed",
		`A client that writes twice and then reads takes 40 ms and more for each round, on a link that loses nothing.

The second small segment waits until the first is acknowledged (tcp_nagle_check, net/ipv4/tcp_output.c). A server that has been answering keeps its acknowledgement for 40 ms, so that an answer can carry it (pingpong mode, tcp_send_delayed_ack). It cannot answer half a request. So both wait, until the timer of the delayed ACK fires. The first round is quick: a new connection acknowledges its first segments at once. From 5.1 to 5.18 three answers were needed to enter pingpong mode, so that only every third round waited; since 6.7 tcp_pingpong_thresh says how many.

Write the request with one write() or writev(), or between TCP_CORK on and off, or set TCP_NODELAY. TCP_QUICKACK at the server helps until its next answer only. A TCP_CORK that is not taken out lets small data go after one RTO, 204 ms at HZ=250.`,
		[]string{DelayedACK, WrongWait}},
}
