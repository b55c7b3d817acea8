package sysctl

var bufferKnobs = []Knob{
	{
		Name: "net.ipv4.tcp_rmem", Summary: "smallest, first and largest receive buffer of a connection",
		Meaning: "The first number of the window that a SYN offers follows from the middle value: 64240 for 131072. A new namespace copies the host's values.",
		Unit:    "bytes", Kind: Triple, Min: 1, Max: maxInt32, Defaults: computed("copied from the first namespace since 4.15; there by memory, 4096 131072 6291456 at most"),
		Since: always, PerNamespace: ns415, ReadAt: AtSocket,
		Source: "tcp_init_sock, tcp_select_initial_window; RFC 9293 section 3.8.6",
	},
	{
		Name: "net.ipv4.tcp_wmem", Summary: "smallest, first and largest send buffer of a connection",
		Meaning: "It bounds how much a program can write before it must wait. A new namespace copies the host's values.",
		Unit:    "bytes", Kind: Triple, Min: 1, Max: maxInt32, Defaults: computed("copied from the first namespace since 4.15; there by memory, 4096 16384 4194304 at most"),
		Since: always, PerNamespace: ns415, ReadAt: AtSocket,
		Source: "tcp_init_sock, tcp_sndbuf_expand",
	},
	{
		Name: "net.ipv4.tcp_mem", Summary: "when TCP as a whole begins to save memory",
		Meaning: "Three thresholds for the machine. Beyond the last, ownerless connections are reset.",
		Unit:    "pages", Kind: Triple, Min: 0, Max: maxInt32, Defaults: computed("by memory, at boot"),
		Since: always, ReadAt: AtUse,
		Source: "tcp_init_mem (net/ipv4/tcp.c), sk_prot_mem_limits",
	},
	{
		Name: "net.ipv4.tcp_notsent_lowat", Summary: "how much unsent data makes a socket not writable",
		Meaning: "The largest value means no limit. It changes when a program wakes up, not what is on the wire.",
		Unit:    "bytes", Kind: Int, Min: 0, Max: 1<<32 - 1, Defaults: one("4294967295"),
		Since: Bracket{Absent: "3.10", Present: "3.13", Release: "3.12"}, PerNamespace: ns46, ReadAt: AtUse,
		Source: "tcp_notsent_lowat, tcp_stream_memory_free (include/net/tcp.h)",
	},
	{
		Name: "net.ipv4.tcp_autocorking", Summary: "whether small writes wait while earlier ones are still in the queue below",
		Meaning: "With 1 several small writes can leave as one segment. 0 keeps one write one segment, with TCP_NODELAY.",
		Unit:    "flag", Kind: Flag, Defaults: one("1"), Since: Bracket{Absent: "3.13", Present: "3.16", Release: "3.14"}, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_should_autocork (net/ipv4/tcp.c)",
	},
	{
		Name: "net.ipv4.tcp_shrink_window", Summary: "whether a receiver may take back window that it offered",
		Meaning: "With 1 memory pressure can move the right edge of the window to the left.",
		Unit:    "flag", Kind: Flag, Defaults: one("0"), Since: in65, PerNamespace: in65, ReadAt: AtUse,
		Source: "__tcp_select_window (net/ipv4/tcp_output.c); RFC 7323 section 2.4",
	},
	{
		Name: "net.ipv4.tcp_moderate_rcvbuf", Summary: "whether the receive buffer grows by itself",
		Meaning: "With 1 the kernel raises the buffer up to the largest value of tcp_rmem as the program reads.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: one("1"), Since: always, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_rcv_space_adjust (net/ipv4/tcp_input.c)",
	},
	{
		Name: "net.ipv4.tcp_app_win", Summary: "which part of the window is kept for the program's buffer",
		Meaning: "1/2^n of the window, at least one MSS.",
		Unit:    "power of two", Kind: Int, Min: 0, Max: 31, Defaults: one("31"), Since: always, PerNamespace: ns415, ReadAt: AtSYN,
		Source: "tcp_init_buffer_space (net/ipv4/tcp_input.c)",
	},
	{
		Name: "net.ipv4.tcp_adv_win_scale", Summary: "which part of the receive buffer counts as overhead (old kernels)",
		Meaning: "Newer kernels measure the overhead instead.",
		Unit:    "power of two", Kind: Int, Min: -31, Max: 31, Defaults: []Default{{Value: "2"}, {Since: "3.4", Value: "1"}},
		Since: always, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_win_from_space (include/net/tcp.h)",
	},
	{
		Name: "net.ipv4.tcp_limit_output_bytes", Summary: "how much of a connection may sit in the queues below TCP",
		Meaning: "TCP small queues: with less, a sender reacts faster to loss and sends smaller bursts.",
		Unit:    "bytes", Kind: Int, Min: 4096, Max: maxInt32, Narrow: true, Defaults: computed("from 131072 to 4194304, by kernel version"),
		Since: in36, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_small_queue_check (net/ipv4/tcp_output.c)",
	},
	{
		Name: "net.ipv4.tcp_min_tso_segs", Summary: "smallest burst that is handed down in one piece",
		Meaning: "Only with segmentation offload, which a lab turns off.",
		Unit:    "segments", Kind: Int, Min: 1, Max: 255, Defaults: one("2"), Since: Bracket{Absent: "3.10", Present: "3.13", Release: "3.12"},
		PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_tso_segs (net/ipv4/tcp_output.c)",
	},
	{
		Name: "net.ipv4.tcp_tso_win_divisor", Summary: "which part of the window one burst may take",
		Meaning: "Larger values give smaller and smoother bursts.",
		Unit:    "divisor", Kind: Int, Min: 0, Max: 255, Defaults: one("3"), Since: always, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_tso_should_defer (net/ipv4/tcp_output.c)",
	},
	{
		Name: "net.ipv4.tcp_tso_rtt_log", Summary: "how strongly a short RTT makes bursts larger",
		Meaning: "Only with segmentation offload, which a lab turns off.",
		Unit:    "power of two", Kind: Int, Min: 0, Max: 255, Defaults: one("9"), Since: Bracket{Absent: "5.15", Present: "6.1", Release: "5.18"},
		PerNamespace: Bracket{Absent: "5.15", Present: "6.1", Release: "5.18"}, ReadAt: AtUse,
		Source: "tcp_tso_autosize (net/ipv4/tcp_output.c)",
	},
}

var probeKnobs = []Knob{
	{
		Name: "net.ipv4.tcp_mtu_probing", Summary: "whether TCP looks for the path MTU by itself",
		Meaning: "1 starts when tcp_retries1 suspects a black hole, 2 always probes. Either changes segment sizes during an experiment.",
		Unit:    "choice", Kind: Enum, Narrow: true, Choices: []Choice{{0, "off"}, {1, "after a black hole"}, {2, "always"}},
		Defaults: one("0"), Since: always, PerNamespace: ns41, ReadAt: AtTimer,
		Source: "tcp_mtu_probing (net/ipv4/tcp_timer.c); RFC 4821",
	},
	{
		Name: "net.ipv4.tcp_base_mss", Summary: "segment size with which path MTU probing starts",
		Meaning: "Of no effect while tcp_mtu_probing is 0.",
		Unit:    "bytes", Kind: Int, Min: 48, Max: 65535, Narrow: true, Defaults: []Default{{Value: "512"}, {Since: "4.1", Value: "1024"}},
		Since: always, PerNamespace: ns41, ReadAt: AtSocket,
		Source: "tcp_mtup_init (net/ipv4/tcp_output.c); RFC 4821",
	},
	{
		Name: "net.ipv4.tcp_min_snd_mss", Summary: "smallest segment size that a peer can force on the sender",
		Meaning: "A guard against peers that announce a tiny MSS. Many older stable kernels have it too.",
		Unit:    "bytes", Kind: Int, Min: 48, Max: 65535, Defaults: one("48"), Since: Bracket{Absent: "5.0", Present: "5.4", Release: "5.2"},
		PerNamespace: Bracket{Absent: "5.0", Present: "5.4", Release: "5.2"}, ReadAt: AtUse,
		Source: "__tcp_mtu_to_mss (net/ipv4/tcp_output.c)",
	},
	{
		Name: "net.ipv4.tcp_reflect_tos", Summary: "whether a server answers with the type of service of the SYN",
		Meaning: "Changes a byte of the IP header of SYN-ACKs and of the connection.",
		Unit:    "flag", Kind: Flag, Defaults: one("0"), Since: in510, PerNamespace: in510, ReadAt: AtSYN,
		Source: "tcp_v4_send_synack (net/ipv4/tcp_ipv4.c)",
	},
	{
		Name: "net.ipv4.tcp_stdurg", Summary: "which meaning the urgent pointer has",
		Meaning: "0 is the meaning of BSD: it points behind the urgent byte.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: one("0"), Since: always, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_check_urg (net/ipv4/tcp_input.c); RFC 6093",
	},
	{
		Name: "net.ipv4.tcp_workaround_signed_windows", Summary: "whether a peer without window scaling is offered at most 32767 bytes",
		Meaning: "For peers that take the window for a signed number.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: one("0"), Since: always, PerNamespace: ns415, ReadAt: AtSYN,
		Source: "tcp_select_initial_window (net/ipv4/tcp_output.c)",
	},
}
