package explain

// Verdicts on a run: what was seen contradicts the prediction.
const (
	TooFewSYNs       = "TL1101"
	TooManySYNs      = "TL1102"
	TooEarly         = "TL1103"
	TooLate          = "TL1104"
	WrongErrno       = "TL1105"
	DiedEarly        = "TL1106"
	DiedLate         = "TL1107"
	WrongGap         = "TL1108"
	WrongTick        = "TL1109"
	ISNChanged       = "TL1110"
	RuleCounterOff   = "TL1111"
	ServerAnswered   = "TL1112"
	CapturesDisagree = "TL1113"
	UnexpectedPacket = "TL1114"
	ConnectSucceeded = "TL1115"
	WrongState       = "TL1116"
	// EvidenceDisagrees: tracepoints, counters and captures do not say the same.
	EvidenceDisagrees = "TL1117"
)

var verdictEntries = []Entry{
	{TooFewSYNs, "fewer SYNs than predicted",
		`The client gave up, or fell silent, before it had sent every SYN that the prediction names.

Each time the retransmission timer of a connection in SYN-SENT fires, tcp_write_timeout (net/ipv4/tcp_timer.c) compares the number of repeats with tcp_syn_retries, or TCP_SYNCNT, plus tcp_syn_linear_timeouts. Since Linux 5.4 it also compares the time that has passed, and with many linear repeats the time runs out first.

Look at the errno. Another one than ETIMEDOUT means that something answered: an RST or an ICMP error. With ETIMEDOUT, compare the sysctls in the result with those you meant, and see whether the program sets TCP_SYNCNT or TCP_USER_TIMEOUT. A rule in the client's OUTPUT chain hides SYNs from its capture though they were tried.`,
		[]string{CountAndTime, LinearSYNTimeouts, CapturePoint, WrongErrno}},
	{TooManySYNs, "more SYNs than predicted",
		`After the last SYN that the prediction names, another came.

Since Linux 6.5 the kernel adds tcp_syn_linear_timeouts to the number of retries (tcp_write_timeout). A model of an older kernel, or a knob that was not pinned, is the usual reason. On kernels 4.19 to 5.3 TCP_USER_TIMEOUT makes tcp_retransmit_timer send a SYN every jiffy until the retries are used up.

Compare the value of tcp_syn_linear_timeouts in the result with the prediction's. If a program other than tcplab's dials, it may simply have dialled again: then the later SYN has another initial sequence number.`,
		[]string{LinearSYNTimeouts, UserTimeoutInSYN, ISNChanged}},
	{TooEarly, "a packet came before the kernel's timer could fire",
		`A packet was seen before the earliest instant that the prediction allows.

The kernel's timer wheel never fires early: calc_index (kernel/time/timer.c) rounds every expiry up. So either the packet was not sent by that timer (it answers something), or the interval was another one: a smaller initial RTO set by eBPF, linear timeouts, or tcp_rto_max_ms.

See which event came just before it at either host, and compare the gap with 1, 2, 4, 8 s. If gaps and times are off together, the clock of the capture moved.`,
		[]string{TimerWheel, LinearSYNTimeouts, RTOMax, ClockStepped}},
	{TooLate, "a packet came after the latest instant that the timer wheel allows",
		`A packet was seen later than the prediction allows. The window already holds the lateness of the timer wheel, at worst one eighth of the interval.

If a watcher saw the machine stall at that time, the verdict is inconclusive and not this. What remains is another interval than predicted, a wrong HZ, or a delay that nobody measured: a hypervisor that paused the whole machine, watcher included.

Run it again on a quieter machine. If it comes late by the same amount, compare HZ and the sysctls in the result with the prediction's.`,
		[]string{TimerWheel, Stall, HZDetection}},
	{WrongErrno, "connect() failed with another error than predicted",
		`connect() ended with an error, and not with the one that was predicted.

tcp_write_err (net/ipv4/tcp_timer.c) reports ETIMEDOUT unless an ICMP error came before: then it reports that one, such as EHOSTUNREACH. ECONNREFUSED means that an RST with a matching ACK came (tcp_rcv_synsent_state_process); EHOSTUNREACH after about 3 s means that nobody answered ARP.

Look for an RST or ICMP packet in the ladder. A REJECT rule, a closed port or a missing neighbour entry are the usual reasons.`,
		[]string{ServerAnswered, DiedEarly}},
	{DiedEarly, "connect() gave up earlier than predicted",
		`The error is the predicted one and came before the earliest instant that the prediction allows.

The connection attempt ends when its timer fires and tcp_write_timeout finds the limit reached. The limit is a count and, since Linux 5.4, also a time. TCP_USER_TIMEOUT shortens it.

Count the SYNs. If their number is right, the last interval was short: see tcp_rto_max_ms. If it is not, the count was another than you think.`,
		[]string{CountAndTime, RTOMax, UserTimeoutInSYN, TooFewSYNs}},
	{DiedLate, "connect() gave up later than predicted",
		`The error is the predicted one and came after the latest instant that the prediction allows.

After the last SYN the kernel waits once more, twice as long as before, and only then fails. That last timer is the longest and so the latest: 64 s can become 66 s at HZ=250.

If one more SYN was sent than predicted, see that code first. Otherwise compare HZ, and look for stalls.`,
		[]string{TimerWheel, TooManySYNs, HZDetection, Stall}},
	{WrongGap, "the time between two packets is not the timer's",
		`Each packet lies in its own window, and the time since the one before does not fit.

A timer is armed when the packet before is sent, so the gap is judged on its own: it must be the interval plus the lateness of one timer. tcp_retransmit_timer doubles icsk_rto after each repeat, or keeps it during linear timeouts.

A gap that is too short beside one that is too long means that one packet was late and the next timer was not armed by it: look for a stall at that time.`,
		[]string{TimerWheel, LinearSYNTimeouts, Stall}},
	{WrongTick, "a packet left in another tick than the one computed",
		`The phase of jiffies was known, so the tick of every timer could be computed exactly, and the packet was not sent in it.

A timer of d jiffies armed at jiffy J is put into a bucket of the wheel by calc_wheel_index (kernel/time/timer.c) and fires on the first tick at or after the bucket's boundary. The softirq that runs it can be late on a busy machine, but not early.

One tick off with the next events off by the same amount points to a measured phase that is wrong. A single event off points to a stall that was too short for the watcher.`,
		[]string{TimerWheel, PhaseUnknown, Stall}},
	{ISNChanged, "a repeated SYN has another initial sequence number",
		`Two SYNs between the same addresses and ports carry different sequence numbers. They belong to two connections, so the second is not a repeat.

The kernel repeats a SYN from the queue with its sequence number unchanged (tcp_retransmit_skb). A new number comes from a new connect() that got the same local port (secure_tcp_seq, RFC 6528).

See whether the program dials again by itself after an error, or whether something between the hosts rewrites packets.`,
		[]string{TooManySYNs, UnexpectedPacket}},
	{RuleCounterOff, "the rule did not catch what the captures show",
		`The counter of an iptables rule and the number of packets in the captures that it should have caught are different.

The kernel counts a packet in ipt_do_table when it matches. A capture in front of the rule (INPUT) sees the packets that it drops; one behind it (OUTPUT) does not. More in the counter than in the capture means that the capture lost packets or ended early; fewer means that something else took them first.

Look at the drop count of the captures and at the order of the rules.`,
		[]string{CapturePoint, CaptureDrops, CapturesDisagree}},
	{ServerAnswered, "the server answered, and the fault should have prevented it",
		`A SYN-ACK, RST or ICMP error from the server was seen in an experiment in which no SYN may reach it.

A packet that a rule in INPUT drops never reaches tcp_v4_rcv, so nothing can answer. An answer means that the rule did not match: another port, another interface, or a rule before it that accepts.

Read the counter of the rule and the rules in front of it. An RST means that the SYN got through and nobody listened.`,
		[]string{RuleCounterOff, WrongErrno}},
	{CapturesDisagree, "the two captures do not show the same packets",
		`A packet that one side sent is missing at the other, or was seen there though it was never sent, and no rule of the lab explains it.

Across a veth pair a packet takes some tens of microseconds and cannot get lost in between (veth_xmit), except where the receiving queue is full.

See whether a capture reports drops, and whether offloads are off: with them one record can hold several segments.`,
		[]string{CaptureDrops, CapturePoint, RuleCounterOff}},
	{UnexpectedPacket, "a packet that nobody predicted",
		`The capture holds a TCP packet between the hosts of the lab that the prediction does not name.

In a fresh namespace nothing speaks but the experiment, so each packet has a reason: a second connection, a keepalive probe (Go turns keepalive on with 15 s), or a challenge ACK.

Look at its flags and sequence number in the ladder. A packet with length 0 and a sequence number one below the expected is a keepalive or window probe.`,
		[]string{ISNChanged, ServerAnswered}},
	{ConnectSucceeded, "connect() succeeded, and it should have failed",
		`The handshake went through although the fault should have broken it.

The client is connected when a SYN-ACK arrives that acknowledges its SYN (tcp_rcv_synsent_state_process). So neither the SYN nor the SYN-ACK was dropped.

Check that the rule names the right port and that the server's address is the lab's. Then read its counter.`,
		[]string{RuleCounterOff, ServerAnswered}},
	{WrongState, "a socket was in a state that does not belong there",
		`inet_diag showed a TCP state that the experiment excludes, or one in the wrong order: a server that has a connection although no SYN reached it, a client that is established although nothing answered.

Each look asks for the socket by its exact addresses and ports (inet_diag_find_one_icsk, net/ipv4/inet_diag.c); where there is no such connection, a listener answers for it as LISTEN, and nobody as CLOSED.

Look at the ladder for a packet that should not have passed, and at the rule's counter.`,
		[]string{ServerAnswered, RuleCounterOff}},
	{EvidenceDisagrees, "tracepoints, counters and captures do not say the same",
		`The kernel told of the same thing in more than one way, and the accounts differ. That is never passed over: either something happened that the lab did not arrange, or one of the witnesses is wrong.

Each packet that a rule dropped, by the capture in front of it, must have a kfree_skb with NETFILTER_DROP (nf_hook_slow), and there must be as many of those as the rules counted. Each repeat in the captures must have its tcp_retransmit_skb or tcp_retransmit_synack, and each of those its packet, unless the sender's own kernel threw it away. TcpRetransSegs must have grown by the repeats that were told of (tcp_retransmit_skb, tcp_rtx_synack), and TcpExtTCPTimeouts by at least those that a timer sent (tcp_retransmit_timer, tcp_syn_ack_timeout).

Look at evidence in result.json for the event that has no packet, or the packet without drop_reason or cause. A capture or a ring that lost something makes the check inconclusive, not failed, and a tracepoint that is silent about what captures and counters both have is said (TL1308). Another program that uses the lab's namespaces is the most likely reason: see --keep.`,
		[]string{RuleCounterOff, CapturesDisagree, EvidenceLost}},
}
