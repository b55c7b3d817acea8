package sysctl

import "slices"

// The catalogue is split by what a knob rules. The numbers come from kernel source; ranges marked Narrow are tcplab's.
var catalogue = slices.Concat(connectKnobs, retransmitKnobs, closeKnobs, recoveryKnobs, fastOpenKnobs, ackKnobs, bufferKnobs, probeKnobs)

const maxInt32 = 1<<31 - 1

// Scopes that many knobs share: the releases in which whole series of knobs became per namespace.
var (
	always = Bracket{Present: "2.6.32"}                                   // every tree read has it
	ns46   = Bracket{Absent: "4.4", Present: "4.9", Release: "4.6"}       // retries
	ns45   = Bracket{Absent: "4.4", Present: "4.9", Release: "4.5"}       // keepalive
	ns414  = Bracket{Absent: "4.9", Present: "4.14"}                      // TIME_WAIT, SYN backlog
	ns413  = Bracket{Absent: "4.9", Present: "4.14", Release: "4.13"}     // options of the SYN
	ns415  = Bracket{Absent: "4.14", Present: "4.19", Release: "4.15"}    // nearly all that were left
	ns41   = Bracket{Absent: "4.0", Present: "4.1"}                       // path MTU probing
	in65   = Bracket{Absent: "6.4", Present: "6.5"}                       // tcp_syn_linear_timeouts and its neighbours
	in611  = Bracket{Absent: "6.6", Present: "6.11"}                      // tcp_rto_min_us
	in615  = Bracket{Absent: "6.14", Present: "6.18", Release: "6.15"}    // tcp_rto_max_ms
	in419  = Bracket{Absent: "4.14", Present: "4.19", Release: "4.18"}    // compressed SACKs
	accECN = Bracket{Absent: "6.14", Present: "6.18"}                     // Accurate ECN
	in43   = Bracket{Absent: "4.1", Present: "4.3"}                       // pacing ratios
	in412  = Bracket{Absent: "4.9", Present: "4.14", Release: "4.12"}     // Fast Open black hole detection
	in36   = Bracket{Absent: "3.1", Present: "3.6"}                       // Fast Open, challenge ACKs
	in40   = Bracket{Absent: "3.16", Present: "4.0"}                      // limits on answers to invalid segments
	in514  = Bracket{Absent: "5.10", Present: "5.15", Release: "5.14"}    // request migration
	in67   = Bracket{Absent: "6.6", Present: "6.11", Release: "6.7"}      // ping-pong threshold, ACKs of the backlog
	in614  = Bracket{Absent: "6.13", Present: "6.14"}                     // TIME_WAIT reuse delay
	in510  = Bracket{Absent: "5.4", Present: "5.10"}                      // reflected TOS
	in56   = Bracket{Absent: "5.4", Present: "5.10", Release: "5.6"}      // ssthresh metrics
	ns39   = Bracket{Absent: "3.6", Present: "3.10", Release: "3.9"}      // ECN
	ns313  = Bracket{Absent: "3.10", Present: "3.13"}                     // local ports
	in42   = Bracket{Absent: "4.1", Present: "4.3", Release: "4.2"}       // ECN fallback
	in2634 = Bracket{Absent: "2.6.32", Present: "3.0", Release: "2.6.34"} // thin streams
)

// one is the history of a default that never changed.
func one(value string) []Default { return []Default{{Value: value}} }

func computed(rule string) []Default { return []Default{{Computed: rule}} }

var connectKnobs = []Knob{
	{
		Name: "net.ipv4.tcp_syn_retries", Summary: "how often an unanswered SYN is repeated before connect() fails",
		Meaning: "After the first SYN the client repeats it this many times, doubling the wait from 1 s, and then lets connect() fail with ETIMEDOUT. " +
			"Since Linux 6.5 the repeats of tcp_syn_linear_timeouts come on top. TCP_SYNCNT overrides it for one socket.",
		Unit: "retries", Kind: Int, Min: 1, Max: 127,
		Defaults: []Default{{Value: "5"}, {Since: "3.7", Value: "6"}},
		Since:    always, PerNamespace: ns46, ReadAt: AtTimer,
		Source: "tcp_write_timeout (net/ipv4/tcp_timer.c); RFC 1122 section 4.2.3.5",
	},
	{
		Name: "net.ipv4.tcp_syn_linear_timeouts", Summary: "how many repeats of a SYN come at the first interval, before doubling starts",
		Meaning: "The first repeats of a SYN come 1 s apart instead of at doubling intervals. They are added to tcp_syn_retries, but the time limit of " +
			"the connection attempt does not count them, so with few retries that limit ends the attempt first. 0 gives the textbook times 1, 3, 7, 15 s.",
		Unit: "retries", Kind: Int, Min: 0, Max: 127, Defaults: one("4"),
		Since: in65, PerNamespace: in65, ReadAt: AtTimer,
		Source: "tcp_write_timeout, tcp_retransmit_timer (net/ipv4/tcp_timer.c)",
	},
	{
		Name: "net.ipv4.tcp_synack_retries", Summary: "how often an unacknowledged SYN-ACK is repeated before the half-open connection is dropped",
		Meaning: "The server's request timer starts at 1 s and doubles. When it has fired this often and fires again, the request is removed without a word. " +
			"A repeated SYN is answered at once and restarts the timer with its current value. TCP_SYNCNT on the listener overrides it.",
		Unit: "retries", Kind: Int, Min: 0, Max: 255, Defaults: one("5"),
		Since: always, PerNamespace: ns46, ReadAt: AtTimer,
		Source: "reqsk_timer_handler (net/ipv4/inet_connection_sock.c), tcp_check_req (net/ipv4/tcp_minisocks.c)",
	},
	{
		Name: "net.ipv4.tcp_syncookies", Summary: "whether a full SYN queue is answered with stateless cookies",
		Meaning: "With 1 the server falls back to cookies when its queue of half-open connections is full. With 2 it always uses them: exactly one SYN-ACK per SYN " +
			"and never a repeat by timer. With 0 it drops SYNs when the queue is full.",
		Unit: "choice", Kind: Enum, Narrow: true,
		Choices:  []Choice{{0, "never: drop"}, {1, "when the queue is full"}, {2, "always"}},
		Defaults: one("1"), Since: always, PerNamespace: ns46, ReadAt: AtUse,
		Source: "tcp_conn_request, tcp_syn_flood_action (net/ipv4/tcp_input.c); RFC 4987 section 3.6",
	},
	{
		Name: "net.ipv4.tcp_max_syn_backlog", Summary: "how many half-open connections a listener may hold where cookies are off",
		Meaning: "Up to Linux 4.3 it sets the size of each listener's SYN queue together with the backlog. Later the backlog rules, and this knob only " +
			"makes a server without cookies drop SYNs from unknown peers once three quarters are used.",
		Unit: "requests", Kind: Int, Min: 1, Max: maxInt32, Narrow: true, Defaults: computed("max(128, entries of the established hash / 128)"),
		Since: always, PerNamespace: ns414, ReadAt: AtUse,
		Source: "tcp_conn_request (net/ipv4/tcp_input.c)",
	},
	{
		Name: "net.ipv4.tcp_abort_on_overflow", Summary: "whether a full accept queue answers the third ACK with RST",
		Meaning: "With 0 the third ACK of a handshake is ignored while the accept queue is full; the server goes on repeating its SYN-ACK and the client believes " +
			"it is connected. With 1 the client gets an RST. It does not affect SYNs, which a full queue always drops.",
		Unit: "flag", Kind: Flag, Narrow: true, Defaults: one("0"),
		Since: always, PerNamespace: ns415, ReadAt: AtUse,
		Source: "tcp_check_req (net/ipv4/tcp_minisocks.c)",
	},
	{
		Name: "net.core.somaxconn", Summary: "upper limit of the backlog that listen() may ask for",
		Meaning: "A listener holds min(backlog, somaxconn) + 1 connections that nobody has accepted yet. SYNs beyond that are dropped without an answer.",
		Unit:    "connections", Kind: Int, Min: 0, Max: 65535, Narrow: true,
		Defaults: []Default{{Value: "128"}, {Since: "5.4", Value: "4096"}},
		Since:    always, PerNamespace: always, ReadAt: AtListen,
		Source: "__sys_listen (net/socket.c), sk_acceptq_is_full (include/net/sock.h)",
	},
	{
		Name: "net.ipv4.tcp_migrate_req", Summary: "whether half-open connections move to another listener when theirs closes",
		Meaning: "With SO_REUSEPORT several sockets listen on one port. With 1 the requests of one that closes go on with another; with 0 they are dropped.",
		Unit:    "flag", Kind: Flag, Defaults: one("0"), Since: in514, PerNamespace: in514, ReadAt: AtUse,
		Source: "inet_csk_listen_stop, reqsk_timer_handler (net/ipv4/inet_connection_sock.c)",
	},
	{
		Name: "net.ipv4.ip_local_port_range", Summary: "the ports from which connect() takes the client's port",
		Meaning: "The first and the last port, both included. When all are in use towards a destination, connect() fails with EADDRNOTAVAIL. " +
			"The first must not be below ip_unprivileged_port_start, which is 1024 in a new namespace.",
		Unit: "ports", Kind: Pair, Min: 1024, Max: 65535, Narrow: true, Defaults: one("32768 60999"),
		Since: always, PerNamespace: ns313, ReadAt: AtUse,
		Source: "__inet_hash_connect (net/ipv4/inet_hashtables.c); RFC 6056 section 3.2",
	},
	{
		Name: "net.ipv4.tcp_timestamps", Summary: "whether SYNs offer the timestamps option",
		Meaning: "Timestamps let the kernel measure a round trip even after a loss, which decides the first data RTO after a repeated handshake: " +
			"about 204 ms with them, 3 s without. 2 is like 1 with no random offset per connection.",
		Unit: "choice", Kind: Enum, Narrow: true, Choices: []Choice{{0, "off"}, {1, "on, random offset"}, {2, "on, no offset"}},
		Defaults: one("1"), Since: always, PerNamespace: ns413, ReadAt: AtSYN,
		Source: "tcp_syn_options (net/ipv4/tcp_output.c); RFC 7323 section 3",
	},
	{
		Name: "net.ipv4.tcp_window_scaling", Summary: "whether SYNs offer the window scale option",
		Meaning: "Without it the window stops at 65535 bytes.",
		Unit:    "flag", Kind: Flag, Narrow: true, Defaults: one("1"), Since: always, PerNamespace: ns413, ReadAt: AtSYN,
		Source: "tcp_syn_options (net/ipv4/tcp_output.c); RFC 7323 section 2",
	},
	{
		Name: "net.ipv4.tcp_ecn", Summary: "whether connections negotiate explicit congestion notification",
		Meaning: "1 asks for ECN in every SYN (flags ECE and CWR), 2 only agrees when the peer asks, 0 never. " +
			"Later kernels add values for Accurate ECN, which tcplab does not model.",
		Unit: "choice", Kind: Enum, Narrow: true, Choices: []Choice{{0, "never"}, {1, "ask and agree"}, {2, "agree when asked"}},
		Defaults: one("2"), Since: always, PerNamespace: ns39, ReadAt: AtSYN,
		Source: "tcp_ecn_send_syn, tcp_ecn_create_request; RFC 3168 section 6.1.1",
	},
	{
		Name: "net.ipv4.tcp_ecn_fallback", Summary: "whether a repeated SYN drops its request for ECN",
		Meaning: "With 1 a SYN that asked for ECN and was lost is repeated without ECE and CWR, in case something on the path dislikes them.",
		Unit:    "flag", Kind: Flag, Defaults: one("1"), Since: in42, PerNamespace: in42, ReadAt: AtTimer,
		Source: "tcp_ecn_clear_syn; RFC 3168 section 6.1.1.1",
	},
	{
		Name: "net.ipv4.tcp_ecn_option", Summary: "how much Accurate ECN uses its TCP option",
		Meaning: "Only for connections that negotiated Accurate ECN: 0 never sends the option, 1 and 2 send it more often.",
		Unit:    "choice", Kind: Int, Min: 0, Max: 2, Narrow: true, Defaults: one("2"), Since: accECN, PerNamespace: accECN, ReadAt: AtUse,
		Source: "tcp_established_options (net/ipv4/tcp_output.c); RFC 9768 section 3.2.3",
	},
	{
		Name: "net.ipv4.tcp_ecn_option_beacon", Summary: "how often in a round trip the Accurate ECN option is sent at least",
		Meaning: "Only for connections that negotiated Accurate ECN.",
		Unit:    "times per RTT", Kind: Int, Min: 0, Max: 3, Narrow: true, Defaults: one("3"), Since: accECN, PerNamespace: accECN, ReadAt: AtUse,
		Source: "tcp_accecn_option_beacon_check; RFC 9768 section 3.2.3.3",
	},
}
