package setting

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Option is a socket option of level IPPROTO_TCP that rules what a sysctl rules for all.
type Option struct {
	Name      string // "TCP_USER_TIMEOUT"
	Number    int    // of include/uapi/linux/tcp.h
	Summary   string // one line
	Meaning   string // a short paragraph
	Unit      string
	Min, Max  int64  // what setsockopt(2) takes; 0 mostly means: as if it had not been set
	Overrides string // the sysctl that it goes before, short; empty: none
	Since     string // first kernel, "" for all that tcplab knows
	Source    string
}

// Options returns the options that Explain understands, by name. The caller owns the slice.
func Options() []Option { return slices.Clone(options) }

// LookupOption finds an option by its name, in any case: tcp_user_timeout is no sysctl.
func LookupOption(name string) (Option, bool) {
	for _, o := range options {
		if strings.EqualFold(name, o.Name) {
			return o, true
		}
	}
	return Option{}, false
}

// Check reports whether setsockopt(2) would take the value.
func (o Option) Check(value string) error {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != value || n < o.Min || n > o.Max {
		return fmt.Errorf("%s=%s: the kernel takes %d to %d (%s)", o.Name, value, o.Min, o.Max, o.Unit)
	}
	return nil
}

// suggestOption returns an option that shares a long beginning with the name, or "".
func suggestOption(upper string) string {
	best, most := "", len("TCP_")+2
	for _, o := range options {
		n := 0
		for n < min(len(upper), len(o.Name)) && upper[n] == o.Name[n] {
			n++
		}
		if n > most {
			best, most = o.Name, n
		}
	}
	return best
}

const maxInt32 = 1<<31 - 1

var options = []Option{
	{
		Name: "TCP_KEEPCNT", Number: 6, Summary: "how many unanswered keepalive probes end this connection",
		Meaning: "Of effect with SO_KEEPALIVE only.", Unit: "probes", Min: 1, Max: 127, Overrides: "tcp_keepalive_probes",
		Source: "do_tcp_setsockopt (net/ipv4/tcp.c), keepalive_probes (include/net/tcp.h)",
	},
	{
		Name: "TCP_KEEPIDLE", Number: 4, Summary: "how long this connection is idle before the first keepalive probe",
		Meaning: "Of effect with SO_KEEPALIVE only.", Unit: "seconds", Min: 1, Max: 32767, Overrides: "tcp_keepalive_time",
		Source: "tcp_sock_set_keepidle_locked (net/ipv4/tcp.c), MAX_TCP_KEEPIDLE",
	},
	{
		Name: "TCP_KEEPINTVL", Number: 5, Summary: "time between keepalive probes of this connection that nobody answers",
		Meaning: "Of effect with SO_KEEPALIVE only.", Unit: "seconds", Min: 1, Max: 32767, Overrides: "tcp_keepalive_intvl",
		Source: "do_tcp_setsockopt (net/ipv4/tcp.c), MAX_TCP_KEEPINTVL",
	},
	{
		Name: "TCP_LINGER2", Number: 8, Summary: "how long this connection waits in FIN-WAIT-2 once no program owns it",
		Meaning: "A negative value resets the connection instead. More than 120 s is cut to 120 s (TCP_FIN_TIMEOUT_MAX).",
		Unit:    "seconds", Min: -1, Max: maxInt32, Overrides: "tcp_fin_timeout",
		Source: "do_tcp_setsockopt (net/ipv4/tcp.c), tcp_fin_time (include/net/tcp.h)",
	},
	{
		Name: "TCP_RTO_MAX_MS", Number: 44, Summary: "the ceiling of this connection's retransmission timeout",
		Meaning: "Doubling stops here. Set it before connect(2), and SYNs obey it too.",
		Unit:    "ms", Min: 1000, Max: 120000, Overrides: "tcp_rto_max_ms", Since: "6.15",
		Source: "do_tcp_setsockopt (net/ipv4/tcp.c), tcp_rto_max (include/net/tcp.h)",
	},
	{
		Name: "TCP_SYNCNT", Number: 7, Summary: "how often this socket repeats an unanswered SYN",
		Meaning: "On a listener it counts for its SYN-ACKs. The repeats of tcp_syn_linear_timeouts come on top of it as well.",
		Unit:    "retries", Min: 1, Max: 127, Overrides: "tcp_syn_retries",
		Source: "tcp_sock_set_syncnt (net/ipv4/tcp.c), tcp_write_timeout (net/ipv4/tcp_timer.c)",
	},
	{
		Name: "TCP_USER_TIMEOUT", Number: 18, Summary: "how long this connection may go without an acknowledgement",
		Meaning: "It replaces the count: of tcp_syn_retries as a limit of time, of tcp_retries2 for data, of tcp_keepalive_probes for probes. The " +
			"time counts from the first repeat by the retransmission timer, or from the first SYN, or from when the connection fell silent. 0 means not set.",
		Unit: "ms", Min: 0, Max: maxInt32, Since: "2.6.37",
		Source: "tcp_write_timeout, tcp_clamp_rto_to_user_timeout, tcp_keepalive_timer (net/ipv4/tcp_timer.c); RFC 5482",
	},
}
