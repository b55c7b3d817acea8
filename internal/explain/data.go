package explain

// Facts about data that are not acknowledged.
const (
	RetriesAreTime = "TL1221"
	TailLossProbe  = "TL1222"
)

var dataEntries = []Entry{
	{RetriesAreTime, "tcp_retries2 looks like a count and is a time",
		`tcp_retries2=15 does not mean that data is repeated 15 times. It means the time that 15 doublings from 200 ms take, with waits of 120 s at most: 924.6 s. When the retransmission timer fires that long after its first retransmission, the connection dies.

retransmits_timed_out and tcp_model_timeout (net/ipv4/tcp_timer.c) compute the time from TCP_RTO_MIN, 200 ms, whatever the real RTO is and whatever tcp_rto_min_us says. On a short path the RTO is a little more than 200 ms, so the number of repeats comes out near tcp_retries2, sometimes one more. On a path with an RTO of 1 s it is 13 instead of 15. The time does not count from the data but from the first repeat that the timer sent, and it is looked at only when the timer fires, so the end comes up to one wait later: 939 s instead of 924.6 s.

TCP_USER_TIMEOUT replaces tcp_retries2 and counts from the same moment. tcp_rto_max_ms changes the time, too.`,
		[]string{AtTheThreshold, TimerWheel, RTOMax}},
	{TailLossProbe, "the first repeat is a tail loss probe",
		`Data that nobody acknowledges is sent again after two round trips and 200 ms, and that is not yet the retransmission timer.

Since Linux 3.10 a connection with SACK sends a probe first (tcp_schedule_loss_probe, tcp_send_loss_probe in net/ipv4/tcp_output.c; RFC 8985 section 7): the last segment again, so that the answer may show what is missing. With one segment in flight the probe waits 200 ms more, as its acknowledgement may be delayed, and never longer than the RTO. On a short path it comes exactly when the RTO would. After it the retransmission timer takes its full time, and only that one doubles. So there is one repeat more than the timer sends, and the first two gaps are equal.

tcp_early_retrans=0 switches it off. Without SACK there is none.`,
		[]string{RetriesAreTime, TimerWheel}},
}
