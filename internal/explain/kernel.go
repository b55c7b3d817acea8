package explain

// Facts about the kernel that readers meet in a result.
const (
	TimerWheel        = "TL1201"
	CountAndTime      = "TL1202"
	LinearSYNTimeouts = "TL1203"
	CongestionControl = "TL1204"
	PhaseUnknown      = "TL1205"
	HZDetection       = "TL1206"
	RTOMax            = "TL1207"
	UserTimeoutInSYN  = "TL1208"
	CapturePoint      = "TL1209"
	AtTheThreshold    = "TL1210"
	Keepalive         = "TL1214"
	NotPredicted      = "TL1215"
	KernelUnread      = "TL1216"
)

var kernelEntries = []Entry{
	{TimerWheel, "kernel timers fire late, never early",
		`A SYN that is due after 1 s leaves after 1.004 s or 1.024 s, one that is due after 16 s up to a quarter of a second late. This is how Linux works, and the prediction says how late each packet may be.

Since Linux 4.8 timers live in a wheel with levels (calc_wheel_index, kernel/time/timer.c). Each level has buckets eight times as wide as the one below, and an expiry is rounded up to the next bucket. With HZ=250 a timer below 252 ms has buckets of 4 ms, below 2.016 s of 32 ms, below 16.13 s of 256 ms, below 129 s of 2.048 s. In return arming and cancelling a timer costs next to nothing, and most TCP timers are cancelled.

Nothing is wrong. Do not read a lateness inside the window as load. Where the phase of jiffies is known, tcplab computes the exact tick instead of a window.`,
		[]string{PhaseUnknown, HZDetection, TooLate}},
	{CountAndTime, "a connection attempt ends by count or by time, whichever comes first",
		`tcp_syn_retries looks like a count. Today's kernel treats it as a count and as a time, and the attempt ends when either is used up.

tcp_write_timeout gives up when the repeats reach tcp_syn_retries plus tcp_syn_linear_timeouts. Since Linux 5.4 it also gives up when the time is over that tcp_syn_retries doublings from 1 s would take (tcp_model_timeout), and that time knows nothing of the linear repeats. With tcp_syn_retries=2 and four linear timeouts the time of 7 s ends the attempt after five repeats, where the count would allow six. Kernels 4.14 to 5.3 knew only the count, older ones only the time.

To get the number of SYNs you want, set tcp_syn_linear_timeouts to 0. Then both rules agree.`,
		[]string{LinearSYNTimeouts, AtTheThreshold, TooFewSYNs}},
	{LinearSYNTimeouts, "the first SYN repeats come one second apart since Linux 6.5",
		`Textbooks say that a lost SYN is repeated after 1, 3, 7, 15 and 31 s, each wait twice as long as the one before. On Linux 6.5 and later the default is 1, 2, 3, 4, 5, 7, 11, 19, 35 and 67 s: the first four repeats come a second apart, and doubling starts only then.

The knob is net.ipv4.tcp_syn_linear_timeouts, 4 by default. tcp_retransmit_timer (net/ipv4/tcp_timer.c) leaves the RTO alone while a connection in SYN-SENT has made no more repeats than that. The linear repeats are added to tcp_syn_retries, so the default attempt lasts 131 s instead of 127 s. A lost SYN is more often bad luck than congestion, and a short wait mends it sooner.

The profile textbook sets the knob to 0 in the lab, never on the machine, and says so. The profile kernel leaves it as it is. By hand: sysctl -w net.ipv4.tcp_syn_linear_timeouts=0, in the namespace of the client.`,
		[]string{CountAndTime, TimerWheel, TooManySYNs}},
	{CongestionControl, "the lab pins the congestion control",
		`Every namespace of a lab uses reno, whatever the machine uses.

A new network namespace copies the congestion control of the first one (tcp_sk_init, net/ipv4/tcp_ipv4.c), and on some machines that is bbr. Pacing, window growth and recovery depend on it. Without CAP_NET_ADMIN in the first namespace only the names in tcp_allowed_congestion_control may be set, and a machine that allows reno and bbr refuses cubic with EPERM. reno is built into every kernel and always allowed.

To try another one, allow it on the machine, or set it by route inside the lab: ip route change NET dev IF congctl NAME. That needs no allowance, and covers accepted connections too.`,
		[]string{KnobGlobal, KnobMissing}},
	{PhaseUnknown, "the phase of jiffies at the start is not known",
		`The times of this run are judged against a window instead of an exact tick.

A kernel timer fires on a tick, and which tick depends on the value of jiffies when the timer was armed, modulo the width of the bucket. tcplab reads jiffies from /proc/timer_list, which only root in the first user namespace may read, and not on every kernel. Without it the prediction covers every phase.

The verdict is as sound, only less sharp. Run as root in the first user namespace to get exact ticks.`,
		[]string{TimerWheel, HZDetection}},
	{HZDetection, "how tcplab learns HZ",
		`HZ is the number of timer interrupts a second that the kernel was built with: 100, 250, 300 or 1000. The lateness of every timer follows from it.

getconf CLK_TCK does not tell: it is USER_HZ, 100 whatever the kernel. tcplab asks the coarse clock: clock_getres(CLOCK_MONOTONIC_COARSE) returns the length of one tick. The retransmission timeout in TCP_INFO confirms it: the first RTO on a short path is 201 ms at HZ=1000, 204 ms at 250 and 210 ms at 100, because tcp_rtt_estimator's result is rounded up to a jiffy.

If it is wrong, name it: --hz=250. The result says where the value came from.`,
		[]string{TimerWheel, PhaseUnknown}},
	{RTOMax, "the RTO stops doubling at its ceiling",
		`After some repeats the waits stay equal instead of doubling.

The ceiling is TCP_RTO_MAX, 120 s. Since Linux 6.15 net.ipv4.tcp_rto_max_ms and the socket option TCP_RTO_MAX_MS can lower it to 1 s (tcp_rto_max, include/net/tcp.h). The time limit is computed with the same ceiling (tcp_model_timeout), so a low ceiling also makes an attempt end sooner: six retries and four linear timeouts with a ceiling of 1 s end after 7 s. A socket takes the value when it is made.

Up to Linux 6.18 the timer of an ordinary SYN-ACK ignores the knob. Set it back to 120000 for the textbook times.`,
		[]string{CountAndTime, DiedEarly}},
	{UserTimeoutInSYN, "what TCP_USER_TIMEOUT does to a connection attempt",
		`TCP_USER_TIMEOUT means different things in SYN-SENT, by kernel.

Since Linux 5.4 it replaces the time limit of the attempt, and the last wait is shortened to end with it (tcp_clamp_rto_to_user_timeout, net/ipv4/tcp_timer.c). The count of retries still holds. The first timer is never shortened, so no attempt ends before 1 s. Kernels up to 4.18 ignore the option in SYN-SENT. Kernels 4.19 to 5.3 shorten the timer without ending the attempt: when the time is over they send a SYN every jiffy until the retries are used up.

Leave the option at 0 to see the sysctls at work.`,
		[]string{CountAndTime, TooManySYNs}},
	{CapturePoint, "a capture sees what INPUT drops, and not what OUTPUT drops",
		`A packet that the receiver's INPUT chain drops is in the receiver's capture. A packet that the sender's OUTPUT chain drops is in nobody's.

On the way in the kernel hands a packet to the capture in __netif_receive_skb_core, before netfilter. On the way out it does so in dev_queue_xmit_nit, after netfilter. A drop in OUTPUT also tells the sender: the send fails with EPERM, and TCP then takes other paths than for a loss on the wire.

Drop at the receiver, in INPUT, when the loss should look like one on the wire. tcplab says for each rule on which side of the capture it is.`,
		[]string{RuleCounterOff, CapturesDisagree}},
	{AtTheThreshold, "a limit falls inside the window of the timer wheel",
		`The prediction marks an event that may come or may stay away, and either is right.

A limit in time is compared when a timer fires (retransmits_timed_out, net/ipv4/tcp_timer.c), and timers fire late. Where the limit lies between the nominal and the latest time, lateness decides whether one more repeat is sent.

Nothing is wrong. Choose values where the limit is not near a timer, or run with a known phase of jiffies, which settles it.`,
		[]string{CountAndTime, TimerWheel, PhaseUnknown}},
	{NotPredicted, "a setting that the prediction does not read",
		`--set changed a knob, and no part of the prediction asked for its value: what the knob changes, if anything, is not predicted.

Most such knobs have no part in the experiment. Some have: tcp_syncookies=2 makes a listener answer each SYN from a cookie, without a request and its timer, and a small tcp_rmem closes the window. A run that contradicts its prediction under such a setting says nothing about the kernel.

tcplab explain KNOB=VALUE says what the value means. Leave the setting out to see the experiment as it is predicted.`,
		[]string{WrongTick, UnexpectedPacket}},
	{KernelUnread, "a kernel that is newer than the rules",
		`A prediction stands on what the kernel's source says, and that differs from version to version. This kernel is newer than the newest one whose source was read and on which runs were compared with the prediction, so it is predicted as that one.

Mostly that is right: the timers of TCP change in few releases. What has changed shows as a run that fails, and such a failure may be tcplab's: look at the checks that failed, and at net/ipv4/tcp_timer.c, tcp_output.c and tcp_input.c of that version.

A newer tcplab may know this kernel. If it does not, tell us of the difference: the run's folder has all that is needed.`,
		[]string{NotPredicted, KernelNotModeled}},
	{Keepalive, "keepalive asks a silent peer whether it is still there, if the program wants it",
		`An idle connection sends nothing. If the other end vanishes without a word, the one that stays learns of it only when it has something to send, or through keepalive.

A socket with SO_KEEPALIVE starts a timer (tcp_keepalive_timer, net/ipv4/tcp_timer.c). After tcp_keepalive_time (7200 s) without a packet from the peer the kernel sends a probe: no data, and the number of a byte that was acknowledged long ago, which a kernel that knows the connection answers at once. Without an answer it sends one every tcp_keepalive_intvl (75 s), and one interval after tcp_keepalive_probes (9) of them a reset; read() then says ETIMEDOUT, after 2 h 11 min 15 s. TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT set the three for one socket. With TCP_USER_TIMEOUT the count does not matter: the first fire of the timer at which a probe is out and nothing was heard for that long ends the connection.

An answered probe starts the idle time anew, but the timer first waits the interval: the next probe comes after the longer of the two. A peer answers probes no more often than tcp_invalid_ratelimit (500 ms) allows. A long wait is late by up to an eighth: at HZ=250 a timer of two hours by up to 131 s. Go switches keepalive on with 15 s unless told otherwise; C, Python and the shell do not.

Set the three with the flags of exp4-keepalive, and see what --no-keepalive does.`,
		[]string{TimerWheel, DiedEarly, DiedLate}},
}
