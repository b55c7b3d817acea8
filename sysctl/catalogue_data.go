package sysctl

var retransmitKnobs = []Knob{
	{
		Name: "net.ipv4.tcp_retries1", Summary: "after how many repeats the kernel doubts the route",
		Meaning: "When data has gone unacknowledged for the time of this many repeats, the kernel asks for a new route and may probe the path MTU. " +
			"With default settings nothing changes on the wire.",
		Unit: "retries", Kind: Int, Min: 0, Max: 255, Defaults: one("3"), Since: always, PerNamespace: ns46, ReadAt: AtTimer,
		Source: "tcp_write_timeout (net/ipv4/tcp_timer.c); RFC 1122 section 4.2.3.5",
	},
	{
		Name: "net.ipv4.tcp_retries2", Summary: "how long unacknowledged data is repeated before the connection dies",
		Meaning: "It looks like a count and is a time: that of this many doublings from 200 ms, capped at 120 s. 15 means 924.6 s after the first " +
			"repeat, whatever the real RTO. TCP_USER_TIMEOUT replaces it.",
		Unit: "retries of 200 ms", Kind: Int, Min: 0, Max: 255, Defaults: one("15"), Since: always, PerNamespace: ns46, ReadAt: AtTimer,
		Source: "tcp_write_timeout, retransmits_timed_out, tcp_model_timeout (net/ipv4/tcp_timer.c); RFC 1122 section 4.2.3.5",
	},
	{
		Name: "net.ipv4.tcp_rto_min_us", Summary: "the floor under the variance part of the retransmission timeout",
		Meaning: "The RTO is the smoothed round trip plus at least this. The kernel reads it when the socket is made. It also bounds the delayed ACK. " +
			"TCP_RTO_MIN_US and a route's rto_min go before it.",
		Unit: "µs", Kind: Int, Min: 1, Max: maxInt32, Defaults: one("200000"), Since: in611, PerNamespace: in611, ReadAt: AtSocket,
		Source: "tcp_init_sock, tcp_rto_min, __tcp_set_rto; RFC 6298 section 2.4",
	},
	{
		Name: "net.ipv4.tcp_rto_max_ms", Summary: "the ceiling of the retransmission timeout",
		Meaning: "Doubling stops here, for SYNs and for data, and the time that tcp_retries2 stands for shrinks with it. Kernels up to 6.18 do not apply it " +
			"to ordinary SYN-ACKs. TCP_RTO_MAX_MS goes before it.",
		Unit: "ms", Kind: Int, Min: 1000, Max: 120000, Defaults: one("120000"), Since: in615, PerNamespace: in615, ReadAt: AtSocket,
		Source: "tcp_init_sock, tcp_rto_max, tcp_model_timeout; RFC 6298 section 2.5",
	},
	{
		Name: "net.ipv4.tcp_thin_linear_timeouts", Summary: "whether a connection with few segments in flight repeats without doubling",
		Meaning: "With 1, while fewer than four segments are in flight, the first six repeats by RTO keep the base interval. TCP_THIN_LINEAR_TIMEOUTS sets it per socket.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: one("0"), Since: in2634, PerNamespace: ns415, ReadAt: AtTimer,
		Source: "tcp_retransmit_timer (net/ipv4/tcp_timer.c), TCP_THIN_LINEAR_RETRIES",
	},
	{
		Name: "net.ipv4.tcp_retrans_collapse", Summary: "whether small neighbouring segments are repeated as one",
		Meaning: "With 1 a repeat may carry the data of the following small segments too, so it is not the same segment as the first time.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: one("1"), Since: always, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_retrans_try_collapse (net/ipv4/tcp_output.c)",
	},
	{
		Name: "net.ipv4.tcp_keepalive_time", Summary: "how long a connection is idle before the first keepalive probe",
		Meaning: "Counts from the last data or ACK that came in, and only on sockets with SO_KEEPALIVE. TCP_KEEPIDLE goes before it. " +
			"Go turns keepalive on with 15 s by default.",
		Unit: "seconds", Kind: Int, Min: 1, Max: 2147483, Narrow: true, Defaults: one("7200"), Since: always, PerNamespace: ns45, ReadAt: AtTimer,
		Source: "tcp_keepalive_timer, keepalive_time_when; RFC 1122 section 4.2.3.6",
	},
	{
		Name: "net.ipv4.tcp_keepalive_intvl", Summary: "time between keepalive probes that nobody answers",
		Meaning: "Any ACK starts the count afresh. TCP_KEEPINTVL goes before it.",
		Unit:    "seconds", Kind: Int, Min: 1, Max: 2147483, Narrow: true, Defaults: one("75"), Since: always, PerNamespace: ns45, ReadAt: AtTimer,
		Source: "tcp_keepalive_timer, keepalive_intvl_when; RFC 1122 section 4.2.3.6",
	},
	{
		Name: "net.ipv4.tcp_keepalive_probes", Summary: "how many unanswered keepalive probes end a connection",
		Meaning: "One interval after the last probe the kernel sends an RST and the socket fails with ETIMEDOUT. TCP_KEEPCNT goes before it, TCP_USER_TIMEOUT replaces it.",
		Unit:    "probes", Kind: Int, Min: 0, Max: 255, Defaults: one("9"), Since: always, PerNamespace: ns45, ReadAt: AtTimer,
		Source: "tcp_keepalive_timer, keepalive_probes; RFC 1122 section 4.2.3.6",
	},
}

var closeKnobs = []Knob{
	{
		Name: "net.ipv4.tcp_orphan_retries", Summary: "how long a connection that no program owns repeats its data or FIN",
		Meaning: "Counts like tcp_retries2: a time, not a number. 0 means 8, that is 102.2 s.",
		Unit:    "retries of 200 ms", Kind: Int, Min: 0, Max: 255, Defaults: one("0"), Since: always, PerNamespace: ns46, ReadAt: AtTimer,
		Source: "tcp_orphan_retries, tcp_write_timeout (net/ipv4/tcp_timer.c)",
	},
	{
		Name: "net.ipv4.tcp_fin_timeout", Summary: "how long an ownerless connection waits in FIN-WAIT-2",
		Meaning: "It does not rule TIME-WAIT, which is always 60 s. Values above 60 give twice the time beyond 60, so 70 waits 20 s. TCP_LINGER2 goes before it.",
		Unit:    "seconds", Kind: Int, Min: 1, Max: 2147483, Narrow: true, Defaults: one("60"), Since: always, PerNamespace: ns46, ReadAt: AtTimer,
		Source: "tcp_fin_time, tcp_rcv_state_process, tcp_keepalive_timer; RFC 1122 section 4.2.2.20",
	},
	{
		Name: "net.ipv4.tcp_tw_reuse", Summary: "whether connect() may take a port whose last connection is in TIME-WAIT",
		Meaning: "Needs timestamps and an age of more than a second. 2 allows it on loopback only.",
		Unit:    "choice", Kind: Enum, Choices: []Choice{{0, "no"}, {1, "yes"}, {2, "on loopback"}},
		Defaults: []Default{{Value: "0"}, {Since: "4.19", Value: "2"}}, Since: always, PerNamespace: ns414, ReadAt: AtUse,
		Source: "tcp_twsk_unique (net/ipv4/tcp_ipv4.c); RFC 6191",
	},
	{
		Name: "net.ipv4.tcp_tw_reuse_delay", Summary: "how old a TIME-WAIT connection must be before its port is taken again",
		Meaning: "Before this knob the age was one second, counted in whole seconds.",
		Unit:    "ms", Kind: Int, Min: 1, Max: 60000, Defaults: one("1000"), Since: in614, PerNamespace: in614, ReadAt: AtUse,
		Source: "tcp_twsk_unique (net/ipv4/tcp_ipv4.c)",
	},
	{
		Name: "net.ipv4.tcp_tw_recycle", Summary: "whether TIME-WAIT ends early for peers with timestamps (removed)",
		Meaning: "It dropped SYNs of clients behind one address translator, and was removed.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: one("0"), Since: always, Gone: "4.12", ReadAt: AtUse,
		Source: "tcp_time_wait (net/ipv4/tcp_minisocks.c), kernels up to 4.11",
	},
	{
		Name: "net.ipv4.tcp_max_tw_buckets", Summary: "how many connections may be in TIME-WAIT",
		Meaning: "Beyond it a closing connection skips TIME-WAIT.",
		Unit:    "connections", Kind: Int, Min: 0, Max: maxInt32, Narrow: true, Defaults: computed("entries of the established hash / 2"),
		Since: always, PerNamespace: ns414, ReadAt: AtUse,
		Source: "inet_twsk_alloc (net/ipv4/inet_timewait_sock.c)",
	},
	{
		Name: "net.ipv4.tcp_rfc1337", Summary: "whether TIME-WAIT ignores RST",
		Meaning: "With 0 an RST ends TIME-WAIT at once.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: one("0"), Since: always, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_timewait_state_process (net/ipv4/tcp_minisocks.c); RFC 1337",
	},
	{
		Name: "net.ipv4.tcp_max_orphans", Summary: "how many ownerless connections the machine keeps",
		Meaning: "Beyond it they are reset. One value for the machine, so a lab does not touch it.",
		Unit:    "connections", Kind: Int, Min: 0, Max: maxInt32, Narrow: true, Defaults: computed("entries of the established hash / 2"),
		Since: always, ReadAt: AtUse,
		Source: "tcp_out_of_resources (net/ipv4/tcp_timer.c), tcp_too_many_orphans",
	},
}

var fastOpenKnobs = []Knob{
	{
		Name: "net.ipv4.tcp_fastopen", Summary: "which side may carry data in the SYN",
		Meaning: "A sum of bits. A client without its bit gets EOPNOTSUPP from sendto(MSG_FASTOPEN). A server also needs TCP_FASTOPEN on its listener, or bit 0x400.",
		Unit:    "bits", Kind: Bits, Narrow: true,
		Choices: []Choice{{0x1, "client"}, {0x2, "server"}, {0x4, "client sends data without a cookie"}, {0x200, "server takes data without a cookie"},
			{0x400, "every listener takes part"}},
		Defaults: []Default{{Value: "0"}, {Since: "3.13", Value: "1"}}, Since: in36, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_sendmsg_fastopen (net/ipv4/tcp.c), tcp_try_fastopen (net/ipv4/tcp_fastopen.c); RFC 7413",
	},
	{
		Name: "net.ipv4.tcp_fastopen_blackhole_timeout_sec", Summary: "how long the client gives up Fast Open after a suspected black hole",
		Meaning: "Each further suspicion doubles it, up to 64 times. 0 never gives up.",
		Unit:    "seconds", Kind: Int, Min: 0, Max: maxInt32, Defaults: []Default{{Value: "3600"}, {Since: "5.14", Value: "0"}},
		Since: in412, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_fastopen_active_disable, tcp_fastopen_active_detect_blackhole (net/ipv4/tcp_fastopen.c)",
	},
}
