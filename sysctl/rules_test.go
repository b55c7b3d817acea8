package sysctl

import (
	"strings"
	"testing"
)

// rule is one row of the specification's table of sysctls: where a knob is first seen, in which trees it is global (G) and per network
// namespace (N), and the compiled default of the newest tree.
type rule struct {
	names   string // short, separated by blanks
	since   string // first tree with it; "" for 2.6.32 or older, "-" where the table names none
	machine string // newest tree in which it is one for the machine; "" for none
	own     string // first tree in which a namespace has its own; "" for never
	today   string // default of 6.18, one for each name; "*" where it is computed or copied
}

// rules is transcribed by hand from the specification, section 10: the trees that were read, not the releases that are believed.
var rules = []rule{
	{"tcp_syn_retries tcp_synack_retries tcp_retries1 tcp_retries2 tcp_orphan_retries tcp_fin_timeout tcp_reordering tcp_syncookies", "", "4.4", "4.9", "6 5 3 15 0 60 3 1"},
	{"tcp_keepalive_time tcp_keepalive_intvl tcp_keepalive_probes", "", "4.4", "4.9", "7200 75 9"},
	{"tcp_syn_linear_timeouts", "6.5", "", "6.5", "4"},
	{"tcp_rto_min_us", "6.11", "", "6.11", "200000"},
	{"tcp_rto_max_ms", "6.15", "", "6.15", "120000"},
	{"tcp_sack tcp_timestamps tcp_window_scaling tcp_max_syn_backlog tcp_tw_reuse tcp_max_tw_buckets", "", "4.9", "4.14", "1 1 1 * 2 *"},
	{"tcp_fack tcp_dsack tcp_frto tcp_abort_on_overflow tcp_rfc1337 tcp_no_metrics_save", "", "4.14", "4.19", "0 1 2 0 0 0"},
	{"tcp_congestion_control tcp_slow_start_after_idle tcp_retrans_collapse tcp_rmem tcp_wmem", "", "4.14", "4.19", "* 1 1 * *"},
	{"tcp_thin_linear_timeouts", "3.0", "4.14", "4.19", "0"},
	{"tcp_thin_dupack", "3.0", "4.9", "", "-"},
	{"tcp_early_retrans", "3.6", "4.14", "4.19", "3"},
	{"tcp_recovery", "4.4", "4.14", "4.19", "1"},
	{"tcp_max_reordering", "4.0", "", "4.19", "300"},
	{"tcp_fastopen", "3.6", "4.14", "4.19", "1"},
	{"tcp_fastopen_blackhole_timeout_sec", "4.14", "", "4.19", "0"},
	{"tcp_invalid_ratelimit", "4.0", "", "4.19", "500"},
	{"tcp_challenge_ack_limit", "3.6", "", "4.19", "2147483647"},
	{"tcp_ecn", "", "", "3.10", "2"},
	{"tcp_ecn_fallback", "4.3", "", "4.3", "1"},
	{"tcp_notsent_lowat", "3.13", "", "4.9", "4294967295"},
	{"tcp_autocorking", "3.16", "", "4.19", "1"},
	{"tcp_comp_sack_delay_ns tcp_comp_sack_nr", "4.19", "", "4.19", "1000000 44"},
	{"tcp_no_ssthresh_metrics_save", "5.10", "", "5.10", "1"},
	{"tcp_migrate_req", "5.15", "", "5.15", "0"},
	{"tcp_pingpong_thresh tcp_backlog_ack_defer", "6.11", "", "6.11", "1 1"},
	{"tcp_tw_reuse_delay", "6.14", "", "6.14", "1000"},
	{"tcp_shrink_window", "6.5", "", "6.5", "0"},
	{"tcp_tw_recycle", "", "4.9", "", "-"},
	{"tcp_max_orphans tcp_mem tcp_low_latency", "", "6.18", "", "* * 0"},
	{"somaxconn", "", "", "2.6.32", "4096"},
	{"ip_local_port_range", "", "", "3.13", "32768 60999"},
}

// trees are the kernels whose source was read, oldest first.
var trees = strings.Fields("2.6.32 3.0 3.1 3.6 3.10 3.13 3.16 4.0 4.1 4.3 4.4 4.9 4.14 4.19 5.0 5.4 5.10 5.15 6.1 6.4 6.5 6.6 6.11 6.12 6.13 6.14 6.18")

// before is the tree before the first that is not older than version; "" for none.
func before(version string) string {
	last := ""
	for _, tree := range trees {
		if compareVersions(tree, version) >= 0 {
			break
		}
		last = tree
	}
	return last
}

// checkRule compares one knob with its row.
func checkRule(k Knob, r rule, today string) []string {
	var wrong []string
	add := func(what, got, want string) { wrong = append(wrong, k.Short()+": "+what+": got "+got+", want "+want) }
	if r.since != "" && !k.In(r.since) {
		add("in "+r.since, "no", "yes")
	}
	if first := before(r.since); r.since != "" && r.since != "6.15" && k.Since.Release == "" && k.In(first) { // a believed release may be before the tree
		add("in "+first, "yes", "no")
	}
	if r.since == "" && !k.In("2.6.32") {
		add("in 2.6.32", "no", "yes")
	}
	own := func(version string) bool { return k.PerNamespace.First() != "" && !k.PerNamespace.after(version) }
	if r.own != "" && !own(r.own) {
		add("own value in "+r.own, "no", "yes")
	}
	if r.own == "" && own("6.18") {
		add("own value", "yes", "no")
	}
	if r.machine != "" && own(r.machine) {
		add("own value in "+r.machine, "yes", "no")
	}
	got, known := k.DefaultFor("6.18")
	switch {
	case today == "*" || today == "-":
		if known {
			add("default", got, "none that is fixed")
		}
	case got != today:
		add("default", got, today)
	}
	return wrong
}

// TestAgainstTheRules compares the catalogue with the specification's table, transcribed by hand. It catches a knob that is missing, a
// scope or a first kernel that was typed wrong, and a default of another knob.
func TestAgainstTheRules(t *testing.T) {
	for _, r := range rules {
		names, defaults := strings.Fields(r.names), strings.Fields(r.today)
		if len(names) == 1 {
			defaults = []string{r.today} // may be a pair
		}
		if len(names) != len(defaults) {
			t.Fatalf("%s: got %d defaults, want %d", r.names, len(defaults), len(names))
		}
		for i, name := range names {
			k, ok := Lookup(name)
			if !ok {
				t.Errorf("%s: not in the catalogue", name)
				continue
			}
			for _, w := range checkRule(k, r, defaults[i]) {
				t.Error(w)
			}
		}
	}
}

// TestRulesCanFail is the negative control: an entry with another default, scope or first kernel is found.
func TestRulesCanFail(t *testing.T) {
	k, _ := Lookup("tcp_retries2")
	good := rule{own: "4.9", machine: "4.4"}
	if w := checkRule(k, good, "15"); len(w) != 0 {
		t.Fatalf("got %v, want nothing wrong", w)
	}
	for name, r := range map[string]rule{
		"default":     {own: "4.9", machine: "4.4", today: "8"},
		"own later":   {own: "4.9", machine: "4.9", today: "15"},
		"own earlier": {own: "4.4", today: "15"},
		"own never":   {today: "15"},
		"since":       {since: "4.9", own: "4.9", today: "15"},
	} {
		if w := checkRule(k, r, r.today); len(w) == 0 {
			t.Errorf("%s: got nothing wrong, want a finding", name)
		}
	}
}
