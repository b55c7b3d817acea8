package explain

// What concerns the repair of losses, and links with a round-trip time.
const (
	WrongSACK       = "TL1161"
	WrongRounds     = "TL1162"
	FastRetransmits = "TL1261"
	LinkRTT         = "TL1361"
)

var recoveryEntries = []Entry{
	{WrongSACK, "SACK blocks that do not tell what arrived",
		`An acknowledgement told of other bytes than those that had reached the receiver, or kept silent about some, or told of them although SACK was off.

The receiver tells each run of bytes behind a hole as one block (tcp_sack_new_ofo_skb, net/ipv4/tcp_input.c), the newest first, and three of them fit beside the timestamps (tcp_established_options, net/ipv4/tcp_output.c). SACK is used only if both SYNs offer it.

Compare the blocks in the ladder with the segments that the server's INPUT chain let through. A middlebox that rewrites sequence numbers and forgets the blocks does this too.`,
		[]string{FastRetransmits}},
	{WrongRounds, "the repair took another number of round trips than predicted",
		`From the first repeat to the acknowledgement of everything went by more, or fewer, round trips than the rules give.

With SACK, what is lost is sent again in one round trip as far as the reduced window lets it out (tcp_cwnd_reduction, net/ipv4/tcp_input.c). Without it a partial acknowledgement tells of one hole at a time (tcp_newreno_mark_lost, net/ipv4/tcp_recovery.c). What waits for a timer takes as long as the timer.

See which repeat came late, and why it was named as it was. A repeat that was lost too, another congestion control, or a write that was not one burst are the usual reasons.`,
		[]string{FastRetransmits, LinkRTT}},
	{FastRetransmits, "how Linux finds a loss before a timer does",
		`The receiver repeats its acknowledgement for each segment that comes behind a hole. What the sender makes of that depends on SACK.

Without SACK the third repetition proves a loss (tcp_reordering), and each partial acknowledgement in the repair proves the next one (tcp_newreno_mark_lost, net/ipv4/tcp_recovery.c). With SACK, RACK counts every segment as lost that was sent before one that arrived, at once when three arrived or in a repair, else after a quarter of the shortest round trip and 2 ms (tcp_rack_reo_wnd, tcp_rack_mark_lost). What is sent again and acknowledged faster than the shortest round trip so far teaches RACK nothing (tcp_rack_advance), so a loss at the very end of the burst may then wait for the timer. Where nothing comes behind the hole there is no repetition: a tail loss probe after two round trips and 2 ms asks for one (tcp_schedule_loss_probe, net/ipv4/tcp_output.c), if SACK is on.

Give the losses with --lose, and compare --sack=on with --sack=off. --recovery=5 takes the shortcut by three away, --early-retrans=0 the probes.`,
		[]string{TimerWheel}},
	{LinkRTT, "the link did not keep its time",
		`A packet was on the link for less than half the RTT that was asked for, or for so much longer that the prediction's times do not hold.

A link with an RTT is two TAP devices and a process that holds each frame for half the RTT. It is never early; it is late where the machine does not run it in time.

Run it again on a quieter machine, with fewer experiments at once (--parallel=1), or with a longer --rtt.`,
		[]string{Stall, TooLate}},
}
