package sysctl

import "slices"

// Setting is one value that a lab pins, with the reason.
type Setting struct{ Name, Value, Why string }

// ProfileKnobs are the knobs that the baseline leaves alone, because the profile of a run decides them: textbook pins them to the
// classic values, kernel leaves the kernel's own.
func ProfileKnobs() []string {
	return []string{"net.ipv4.tcp_syn_retries", "net.ipv4.tcp_syn_linear_timeouts"}
}

// Baseline returns what a lab pins in each of its namespaces before an experiment sets its own knobs, in the order to apply it. Only
// knobs for which exists reports true are returned; the rest is left out, and the kernel behaves as it was built.
//
// With it a run depends on the kernel and the experiment, not on the host: a new namespace copies the host's congestion control and
// buffer sizes, and distributions patch defaults. Every knob of the catalogue that a namespace can have is here, except
// ProfileKnobs.
func Baseline(exists func(name string) bool) []Setting { return have(exists, withoutIPv6, baseline) }

// BaselineIPv6 is Baseline for a lab of IPv6. All the other knobs hold there too: the kernel's TCP has one set for both families, which
// it keeps under net.ipv4.
func BaselineIPv6(exists func(name string) bool) []Setting { return have(exists, withIPv6, baseline) }

func have(exists func(name string) bool, lists ...[]Setting) []Setting {
	var out []Setting
	for _, s := range slices.Concat(lists...) {
		if exists(s.Name) {
			out = append(out, s)
		}
	}
	return out
}

const (
	compiled = "the kernel's compiled default"
	quiet    = "keeps other packets out of the capture"
	whole    = "one write stays one segment"
	memory   = "the kernel's default depends on memory or is copied from the host"
)

var withoutIPv6 = []Setting{
	{"net.ipv6.conf.all.disable_ipv6", "1", quiet + ": router solicitations, neighbour discovery"},
	{"net.ipv6.conf.default.disable_ipv6", "1", quiet + ": router solicitations, neighbour discovery"},
}

var withIPv6 = []Setting{
	{"net.ipv6.conf.all.disable_ipv6", "0", "the lab is one of IPv6"},
	{"net.ipv6.conf.default.disable_ipv6", "0", "the lab is one of IPv6"},
	{"net.ipv6.conf.default.addr_gen_mode", "1", quiet + ": a link-local address is announced, and asks for routers"},
	{"net.ipv6.conf.default.accept_ra", "0", "addresses and routes stay as the lab made them"},
	{"net.ipv6.conf.default.router_solicitations", "0", quiet},
	{"net.ipv6.conf.default.keep_addr_on_down", "0", compiled + ": the lab gives the address back when a link comes up again"},
	{"net.ipv6.conf.default.ndisc_notify", "0", quiet},
	{"net.ipv6.conf.default.accept_redirects", "0", "routes stay as the lab made them"},
	{"net.ipv6.conf.all.forwarding", "0", "the lab's hosts are ends, not routers"},
	{"net.ipv6.conf.default.hop_limit", "64", compiled + ", and visible in the capture"},
	{"net.ipv6.icmp.ratelimit", "0", "every ICMPv6 error of an experiment is sent, not one a second"},
	{"net.ipv6.auto_flowlabels", "1", compiled},
}

var baseline = []Setting{
	// Noise that is not TCP.
	{"net.ipv4.igmp_link_local_mcast_reports", "0", quiet + ": multicast membership reports"},
	{"net.ipv4.conf.all.rp_filter", "0", "no packet is dropped for the interface it came in by"},
	{"net.ipv4.conf.default.rp_filter", "0", "no packet is dropped for the interface it came in by"},
	{"net.ipv4.conf.all.send_redirects", "0", quiet},
	{"net.ipv4.conf.default.send_redirects", "0", quiet},
	{"net.ipv4.conf.all.accept_redirects", "0", "routes stay as the lab made them"},
	{"net.ipv4.conf.default.accept_redirects", "0", "routes stay as the lab made them"},
	{"net.ipv4.conf.all.log_martians", "0", "keeps the kernel log quiet"},
	{"net.ipv4.conf.default.log_martians", "0", "keeps the kernel log quiet"},
	{"net.ipv4.ip_forward", "0", "the lab's hosts are ends, not routers"},
	{"net.ipv4.ip_default_ttl", "64", compiled + ", and visible in the capture"},
	{"net.ipv4.ip_no_pmtu_disc", "0", compiled},
	{"net.ipv4.icmp_ratelimit", "0", "every ICMP error of an experiment is sent, not one a second"},

	// Opening a connection.
	{"net.ipv4.tcp_congestion_control", "reno", "a new namespace copies the host's, bbr on some; reno is built into every kernel and always allowed"},
	{"net.ipv4.tcp_synack_retries", "5", compiled},
	{"net.ipv4.tcp_syncookies", "1", compiled},
	{"net.ipv4.tcp_max_syn_backlog", "1024", memory},
	{"net.ipv4.tcp_abort_on_overflow", "0", compiled},
	{"net.core.somaxconn", "4096", "default since Linux 5.4; 128 before"},
	{"net.ipv4.tcp_migrate_req", "0", compiled},
	{"net.ipv4.ip_local_port_range", "32768 60999", compiled},
	{"net.ipv4.tcp_timestamps", "1", compiled + ", and it decides the first RTO after a repeated handshake"},
	{"net.ipv4.tcp_window_scaling", "1", compiled},
	{"net.ipv4.tcp_sack", "1", compiled + "; tail loss probes need it"},
	{"net.ipv4.tcp_ecn", "2", compiled + ": no SYN asks for ECN"},
	{"net.ipv4.tcp_ecn_fallback", "1", compiled},
	{"net.ipv4.tcp_ecn_option", "2", compiled},
	{"net.ipv4.tcp_ecn_option_beacon", "3", compiled},
	{"net.ipv4.tcp_fastopen", "1", "default since Linux 3.13; 0 before"},
	{"net.ipv4.tcp_fastopen_blackhole_timeout_sec", "0", "a run does not turn Fast Open off for the next; default since Linux 5.14"},

	// Timers.
	{"net.ipv4.tcp_rto_min_us", "200000", compiled},
	{"net.ipv4.tcp_rto_max_ms", "120000", compiled},
	{"net.ipv4.tcp_retries1", "3", compiled},
	{"net.ipv4.tcp_retries2", "15", compiled},
	{"net.ipv4.tcp_orphan_retries", "0", compiled + ", which means 8"},
	{"net.ipv4.tcp_fin_timeout", "60", compiled},
	{"net.ipv4.tcp_keepalive_time", "7200", compiled},
	{"net.ipv4.tcp_keepalive_intvl", "75", compiled},
	{"net.ipv4.tcp_keepalive_probes", "9", compiled},
	{"net.ipv4.tcp_thin_linear_timeouts", "0", compiled},
	{"net.ipv4.tcp_invalid_ratelimit", "500", compiled},
	{"net.ipv4.tcp_challenge_ack_limit", "2147483647", "no limit: default since Linux 6.0"},

	// Loss recovery.
	{"net.ipv4.tcp_no_metrics_save", "1", "one connection does not lengthen the first RTO of the next"},
	{"net.ipv4.tcp_no_ssthresh_metrics_save", "1", compiled},
	{"net.ipv4.tcp_dsack", "1", compiled},
	{"net.ipv4.tcp_fack", "0", "default since Linux 4.14"},
	{"net.ipv4.tcp_frto", "2", compiled},
	{"net.ipv4.tcp_recovery", "1", compiled},
	{"net.ipv4.tcp_early_retrans", "3", compiled + ": tail loss probes on"},
	{"net.ipv4.tcp_reordering", "3", compiled},
	{"net.ipv4.tcp_max_reordering", "300", compiled},
	{"net.ipv4.tcp_slow_start_after_idle", "1", compiled},
	{"net.ipv4.tcp_min_rtt_wlen", "300", compiled},
	{"net.ipv4.tcp_pacing_ss_ratio", "200", compiled},
	{"net.ipv4.tcp_pacing_ca_ratio", "120", compiled},
	{"net.ipv4.tcp_plb_enabled", "0", compiled},

	// Acknowledgements.
	{"net.ipv4.tcp_comp_sack_delay_ns", "1000000", compiled},
	{"net.ipv4.tcp_comp_sack_nr", "44", compiled},
	{"net.ipv4.tcp_comp_sack_slack_ns", "100000", compiled + " up to Linux 6.18"},
	{"net.ipv4.tcp_pingpong_thresh", "1", compiled},
	{"net.ipv4.tcp_backlog_ack_defer", "1", compiled},

	// Segments and buffers.
	{"net.ipv4.tcp_autocorking", "0", whole},
	{"net.ipv4.tcp_retrans_collapse", "0", "a repeat carries the same bytes as the first time"},
	{"net.ipv4.tcp_rmem", "4096 131072 6291456", memory + "; the window in a SYN follows from it"},
	{"net.ipv4.tcp_wmem", "4096 16384 4194304", memory},
	{"net.ipv4.tcp_moderate_rcvbuf", "1", compiled},
	{"net.ipv4.tcp_notsent_lowat", "4294967295", compiled},
	{"net.ipv4.tcp_shrink_window", "0", compiled},
	{"net.ipv4.tcp_app_win", "31", compiled},
	{"net.ipv4.tcp_adv_win_scale", "1", "default since Linux 3.4"},
	{"net.ipv4.tcp_limit_output_bytes", "1048576", "the default changed several times between kernels"},
	{"net.ipv4.tcp_min_tso_segs", "2", compiled},
	{"net.ipv4.tcp_tso_win_divisor", "3", compiled},
	{"net.ipv4.tcp_tso_rtt_log", "9", compiled},
	{"net.ipv4.tcp_mtu_probing", "0", compiled + ": segment sizes do not change"},
	{"net.ipv4.tcp_base_mss", "1024", "default since Linux 4.1"},
	{"net.ipv4.tcp_min_snd_mss", "48", compiled},
	{"net.ipv4.tcp_reflect_tos", "0", compiled},
	{"net.ipv4.tcp_stdurg", "0", compiled},
	{"net.ipv4.tcp_workaround_signed_windows", "0", compiled},

	// Closing.
	{"net.ipv4.tcp_tw_reuse", "0", "no port in TIME-WAIT is taken again: two runs look alike"},
	{"net.ipv4.tcp_tw_reuse_delay", "1000", compiled},
	{"net.ipv4.tcp_max_tw_buckets", "65536", memory},
	{"net.ipv4.tcp_rfc1337", "0", compiled},
}
