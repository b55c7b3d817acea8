package sysctl

var recoveryKnobs = []Knob{
	{
		Name: "net.ipv4.tcp_sack", Summary: "whether SYNs offer selective acknowledgements",
		Meaning: "With SACK only lost segments are repeated, and tail loss probes work. Without it recovery takes a round trip per loss.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: one("1"), Since: always, PerNamespace: ns413, ReadAt: AtSYN,
		Source: "tcp_syn_options (net/ipv4/tcp_output.c); RFC 2018",
	},
	{
		Name: "net.ipv4.tcp_dsack", Summary: "whether a receiver reports segments that came twice",
		Meaning: "The report lets the sender see that a repeat was needless, and undo its slowing down.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: one("1"), Since: always, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_dsack_set (net/ipv4/tcp_input.c); RFC 2883",
	},
	{
		Name: "net.ipv4.tcp_fack", Summary: "forward acknowledgement, without effect today",
		Meaning: "Old kernels counted everything below the highest SACK block as lost or delivered. RACK replaced it; the file stayed.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: []Default{{Value: "1"}, {Since: "4.14", Value: "0"}}, Since: always, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_update_scoreboard (net/ipv4/tcp_input.c), kernels up to 4.14",
	},
	{
		Name: "net.ipv4.tcp_recovery", Summary: "how losses are found on connections with SACK",
		Meaning: "Bit 1 lets RACK find losses by time, 2 fixes its reordering window, 4 takes away its rule of three duplicates. Newest kernels always use RACK.",
		Unit:    "bits", Kind: Bits, Narrow: true,
		Choices:  []Choice{{1, "RACK"}, {2, "fixed reordering window"}, {4, "no rule of three duplicate ACKs"}},
		Defaults: one("1"), Since: Bracket{Absent: "4.3", Present: "4.4"}, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_rack_reo_wnd (net/ipv4/tcp_recovery.c); RFC 8985 section 6.2",
	},
	{
		Name: "net.ipv4.tcp_early_retrans", Summary: "whether tail loss probes are sent",
		Meaning: "3 and 4 send a probe about two round trips after the last segment of a burst; other values do not. In kernels before 3.10 it meant early retransmit.",
		Unit:    "choice", Kind: Int, Min: 0, Max: 4, Defaults: []Default{{Value: "2"}, {Since: "3.10", Value: "3"}},
		Since: Bracket{Absent: "3.1", Present: "3.6", Release: "3.5"}, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_schedule_loss_probe (net/ipv4/tcp_output.c); RFC 8985 section 7",
	},
	{
		Name: "net.ipv4.tcp_reordering", Summary: "how many duplicate ACKs mean a loss at first",
		Meaning: "Each connection starts with it and raises it when it sees reordering.",
		Unit:    "segments", Kind: Int, Min: 1, Max: 300, Narrow: true, Defaults: one("3"), Since: always, PerNamespace: ns46, ReadAt: AtSocket,
		Source: "tcp_init_sock, tcp_check_sack_reordering; RFC 5681 section 3.2",
	},
	{
		Name: "net.ipv4.tcp_max_reordering", Summary: "how far a connection may raise its reordering degree",
		Meaning: "The upper limit for what tcp_reordering starts.",
		Unit:    "segments", Kind: Int, Min: 1, Max: maxInt32, Defaults: one("300"), Since: Bracket{Absent: "3.16", Present: "4.0", Release: "3.19"}, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_check_sack_reordering (net/ipv4/tcp_input.c)",
	},
	{
		Name: "net.ipv4.tcp_frto", Summary: "whether the sender checks if a timeout was false",
		Meaning: "After an RTO the next ACKs tell whether the segment was late rather than lost. 0 is off; today any other value is on.",
		Unit:    "choice", Kind: Int, Min: 0, Max: 2, Narrow: true, Defaults: one("2"), Since: always, PerNamespace: ns415, ReadAt: AtTimer,
		Source: "tcp_enter_loss, tcp_process_loss (net/ipv4/tcp_input.c); RFC 5682",
	},
	{
		Name: "net.ipv4.tcp_thin_dupack", Summary: "whether one duplicate ACK was enough for connections with few segments (removed)",
		Meaning: "Only in old kernels, and one value for the machine.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: one("0"), Since: in2634, Gone: "4.11", ReadAt: AtUse,
		Source: "tcp_time_to_recover (net/ipv4/tcp_input.c), kernels up to 4.10",
	},
	{
		Name: "net.ipv4.tcp_congestion_control", Summary: "the congestion control of new connections",
		Meaning: "A new namespace copies the host's choice. Without CAP_NET_ADMIN in the first namespace only the names in tcp_allowed_congestion_control " +
			"can be set; reno is always there.",
		Unit: "name", Kind: Text, Defaults: computed("copied from the first namespace since 4.15; CONFIG_DEFAULT_TCP_CONG there"),
		Since: always, PerNamespace: ns415, ReadAt: AtSocket,
		Source: "tcp_assign_congestion_control (net/ipv4/tcp_cong.c), tcp_sk_init (net/ipv4/tcp_ipv4.c)",
	},
	{
		Name: "net.ipv4.tcp_slow_start_after_idle", Summary: "whether a connection starts slowly again after a pause",
		Meaning: "With 1 the congestion window shrinks when nothing was sent for an RTO.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: one("1"), Since: always, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_slow_start_after_idle_check (include/net/tcp.h); RFC 2861",
	},
	{
		Name: "net.ipv4.tcp_no_metrics_save", Summary: "whether closing connections leave their RTT for the next one",
		Meaning: "A stored RTT lengthens the first RTO of the next connection to the same address. 1 stops the storing; Fast Open cookies are stored all the same.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: one("0"), Since: always, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_update_metrics, tcp_init_metrics (net/ipv4/tcp_metrics.c)",
	},
	{
		Name: "net.ipv4.tcp_no_ssthresh_metrics_save", Summary: "whether the slow start threshold is left out of the stored metrics",
		Meaning: "1 leaves it out.",
		Unit:    "flag", Kind: Flag, Defaults: one("1"), Since: in56, PerNamespace: in56, ReadAt: AtUse,
		Source: "tcp_update_metrics (net/ipv4/tcp_metrics.c)",
	},
	{
		Name: "net.ipv4.tcp_plb_enabled", Summary: "whether a congested connection changes its path",
		Meaning: "Protective load balancing changes the flow label of IPv6 packets. It has no place in a lab with one path.",
		Unit:    "flag", Kind: Flag, Defaults: one("0"), Since: Bracket{Absent: "6.1", Present: "6.4", Release: "6.2"},
		PerNamespace: Bracket{Absent: "6.1", Present: "6.4", Release: "6.2"}, ReadAt: AtUse,
		Source: "tcp_plb_check_rehash (net/ipv4/tcp_plb.c)",
	},
	{
		Name: "net.ipv4.tcp_min_rtt_wlen", Summary: "over how long the smallest RTT is remembered",
		Meaning: "RACK takes a quarter of that RTT as its reordering window.",
		Unit:    "seconds", Kind: Int, Min: 0, Max: 86400, Defaults: one("300"), Since: Bracket{Absent: "4.3", Present: "4.4"}, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_update_rtt_min (net/ipv4/tcp_input.c)",
	},
	{
		Name: "net.ipv4.tcp_pacing_ss_ratio", Summary: "pacing rate in slow start, in percent of cwnd per RTT",
		Meaning: "Rules a connection only where something paces it: the fq qdisc, or a congestion control such as bbr.",
		Unit:    "percent", Kind: Int, Min: 0, Max: 1000, Defaults: one("200"), Since: in43, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_update_pacing_rate (net/ipv4/tcp_input.c)",
	},
	{
		Name: "net.ipv4.tcp_pacing_ca_ratio", Summary: "pacing rate after slow start, in percent of cwnd per RTT",
		Meaning: "See tcp_pacing_ss_ratio.",
		Unit:    "percent", Kind: Int, Min: 0, Max: 1000, Defaults: one("120"), Since: in43, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_update_pacing_rate (net/ipv4/tcp_input.c)",
	},
}

var ackKnobs = []Knob{
	{
		Name: "net.ipv4.tcp_invalid_ratelimit", Summary: "shortest time between answers to repeated SYNs and other invalid segments",
		Meaning: "A server answers the first repeated SYN of a request at once and the next only after this time. It bounds challenge ACKs of one connection too. " +
			"The kernel keeps it in jiffies, so a value that is not a whole number of them changes.",
		Unit: "ms", Kind: Int, Min: 0, Max: 2147483, Narrow: true, Defaults: one("500"), Since: in40, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_oow_rate_limited (net/ipv4/tcp_input.c)",
	},
	{
		Name: "net.ipv4.tcp_challenge_ack_limit", Summary: "how many challenge ACKs are sent in a second",
		Meaning: "The largest value means no limit. Kernels before 6.0 counted for the whole machine.",
		Unit:    "ACKs per second", Kind: Int, Min: 0, Max: maxInt32, Narrow: true,
		Defaults: []Default{{Value: "100"}, {Since: "4.7", Value: "1000"}, {Since: "6.0", Value: "2147483647"}},
		Since:    in36, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_send_challenge_ack (net/ipv4/tcp_input.c); RFC 5961 section 7",
	},
	{
		Name: "net.ipv4.tcp_comp_sack_delay_ns", Summary: "how long duplicate ACKs may be held back and merged",
		Meaning: "A receiver with a gap sends the first ACKs at once and then merges more of them over at most this time. 0 sends each.",
		Unit:    "ns", Kind: Int, Min: 0, Max: 1000000000, Narrow: true, Defaults: one("1000000"), Since: in419, PerNamespace: in419, ReadAt: AtUse,
		Source: "__tcp_ack_snd_check (net/ipv4/tcp_input.c)",
	},
	{
		Name: "net.ipv4.tcp_comp_sack_nr", Summary: "how many duplicate ACKs may be merged into one",
		Meaning: "0 turns the merging off.",
		Unit:    "ACKs", Kind: Int, Min: 0, Max: 255, Defaults: one("44"), Since: in419, PerNamespace: in419, ReadAt: AtUse,
		Source: "__tcp_ack_snd_check (net/ipv4/tcp_input.c)",
	},
	{
		Name: "net.ipv4.tcp_comp_sack_slack_ns", Summary: "how much later a merged ACK may leave",
		Meaning: "The slack of the timer behind tcp_comp_sack_delay_ns.",
		Unit:    "ns", Kind: Int, Min: 0, Max: 1000000000, Narrow: true, Defaults: one("100000"),
		Since:        Bracket{Absent: "5.4", Present: "5.10", Release: "5.8"},
		PerNamespace: Bracket{Absent: "5.4", Present: "5.10", Release: "5.8"}, ReadAt: AtUse,
		Source: "__tcp_ack_snd_check (net/ipv4/tcp_input.c)",
	},
	{
		Name: "net.ipv4.tcp_pingpong_thresh", Summary: "after how many replies a connection counts as a dialogue",
		Meaning: "In a dialogue ACKs wait up to 40 ms for data to ride on.",
		Unit:    "replies", Kind: Int, Min: 1, Max: 255, Defaults: one("1"), Since: in67, PerNamespace: in67, ReadAt: AtUse,
		Source: "inet_csk_inc_pingpong_cnt (include/net/inet_connection_sock.h)",
	},
	{
		Name: "net.ipv4.tcp_backlog_ack_defer", Summary: "whether ACKs for a backlog of segments are merged",
		Meaning: "Segments that came while the program held the socket are acknowledged once instead of one by one.",
		Unit:    "flag", Kind: Flag, Defaults: one("1"), Since: in67, PerNamespace: in67, ReadAt: AtUse,
		Source: "tcp_release_cb, __tcp_ack_snd_check",
	},
	{
		Name: "net.ipv4.tcp_low_latency", Summary: "without effect today",
		Meaning: "It once chose between two receive paths. The file exists for the machine only.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: one("0"), Since: always, ReadAt: AtUse,
		Source: "tcp_v4_rcv (net/ipv4/tcp_ipv4.c), kernels up to 4.13",
	},
}
