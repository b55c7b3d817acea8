package oracle

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

const (
	maxSYNRetries = 127               // MAX_TCP_SYNCNT: limit of tcp_syn_retries, TCP_SYNCNT and tcp_syn_linear_timeouts
	rtoMax        = 120 * time.Second // TCP_RTO_MAX, default of tcp_rto_max_ms
	rtoMaxMin     = time.Second       // TCP_RTO_MAX_MIN_SEC: least value of tcp_rto_max_ms
	userTimeMax   = (1<<31 - 1) * time.Millisecond
)

// softErrors are the errors that an ICMP message can leave on a socket (icmp_err_convert, icmpv6_err_convert).
var softErrors = []string{"EACCES", "ECONNREFUSED", "EHOSTDOWN", "EHOSTUNREACH", "EMSGSIZE", "ENETUNREACH", "ENONET",
	"ENOPROTOOPT", "EOPNOTSUPP", "EPROTO"}

// Connect is an active open into a path that answers nothing, or only with ICMP errors that the kernel takes as soft.
type Connect struct {
	Host           string        // who connects; "" means "client"
	SYNRetries     int           // tcp_syn_retries, 1 to 127
	SYNCount       int           // TCP_SYNCNT, 1 to 127; 0: not set, SYNRetries rules
	LinearTimeouts int           // tcp_syn_linear_timeouts, 0 to 127; must be 0 where the kernel has no such knob
	RTOMax         time.Duration // tcp_rto_max_ms or TCP_RTO_MAX_MS, 1 s to 120 s in whole ms; 0: 120 s; others need Facts.RTOMax
	UserTimeout    time.Duration // TCP_USER_TIMEOUT in whole ms; 0: not set
	SoftError      string        // the last ICMP error heard, as errno ("EHOSTUNREACH"); "": none, so connect(2) says ETIMEDOUT
}

// Start is the phase of jiffies at the moment when the first SYN is sent.
type Start struct {
	Jiffies uint64
	Phase   time.Duration // how far into that jiffy: 0 <= Phase < jiffy
	// Called says that the times of the application's later calls are known as well as the first one's. Else each may fall into a
	// neighbouring jiffy.
	Called bool
}

// Predict returns the first SYN, its retransmissions and the end of connect(2), each with its window. With start the window is
// one instant, or the few that the unknown phase of the millisecond leaves; without it, it covers every phase of jiffies. Source:
// tcp_retransmit_timer, tcp_write_timeout, retransmits_timed_out and tcp_clamp_rto_to_user_timeout in net/ipv4/tcp_timer.c.
//
// Bound.At is the formula in the kernel's own ticks, so with HZ=300 (a tick of 3333333 ns) one second is 0.9999999 s. A kernel
// before 4.8 counts the jiffy in which the first SYN is sent as a whole one: there Earliest can be before At, by less than a
// jiffy. Above HZ=1000 a user timeout can be early by part of a millisecond.
//
// The errors say which value the kernel would refuse.
func (c Connect) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if err := c.validate(f, start); err != nil {
		return timeline.Timeline{}, err
	}
	if c.Host == "" {
		c.Host = "client"
	}
	r := newRule(c, f)
	steps := walk(r, start)
	return r.timeline(steps, start != nil), nil
}

// validate checks what the kernel checks when the knobs are set, and that the facts are usable.
func (c Connect) validate(f kernel.Facts, start *Start) error {
	ranges := []struct {
		name      string
		value     int
		low, high int
		note      string
	}{
		{"tcp_syn_retries", c.SYNRetries, 1, maxSYNRetries, "the kernel takes 1..127"},
		{"TCP_SYNCNT", c.SYNCount, 0, maxSYNRetries, "the kernel takes 1..127, 0 stands for not set"},
		{"tcp_syn_linear_timeouts", c.LinearTimeouts, 0, maxSYNRetries, "the kernel takes 0..127"},
		{"HZ", f.HZ, 24, 10000, "want the kernel's CONFIG_HZ, 24..10000"},
	}
	for _, r := range ranges {
		if r.value < r.low || r.value > r.high {
			return fmt.Errorf("connect: %s=%d: %s", r.name, r.value, r.note)
		}
	}
	switch {
	case c.LinearTimeouts > 0 && !f.SYNLinear:
		return fmt.Errorf("connect: tcp_syn_linear_timeouts=%d: kernel %v has no such knob (since 6.5); use 0", c.LinearTimeouts, f.Version)
	case c.RTOMax != 0 && (c.RTOMax < rtoMaxMin || c.RTOMax > rtoMax || c.RTOMax%time.Millisecond != 0):
		return fmt.Errorf("connect: tcp_rto_max_ms of %v: the kernel takes 1 s to 120 s in whole ms, 0 stands for 120 s", c.RTOMax)
	case c.RTOMax != 0 && c.RTOMax != rtoMax && !f.RTOMax:
		return fmt.Errorf("connect: tcp_rto_max_ms of %v: kernel %v has no such knob (since 6.15) and always uses 120 s; use 0", c.RTOMax, f.Version)
	case c.UserTimeout < 0 || c.UserTimeout > userTimeMax || c.UserTimeout%time.Millisecond != 0:
		return fmt.Errorf("connect: TCP_USER_TIMEOUT of %v: the kernel takes 0 to %v in whole ms", c.UserTimeout, userTimeMax)
	case c.SoftError != "" && !slices.Contains(softErrors, c.SoftError):
		return fmt.Errorf("connect: soft error %q: an ICMP message can leave %s", c.SoftError, strings.Join(softErrors, ", "))
	case f.InitialRTO < time.Millisecond || f.InitialRTO > rtoMax:
		return fmt.Errorf("connect: initial RTO of %v: want 1 ms to 120 s; 1 s on every kernel since 3.1", f.InitialRTO)
	case start != nil && (start.Phase < 0 || start.Phase >= f.Jiffy()):
		return fmt.Errorf("connect: start phase of %v: want 0 up to a jiffy, %v", start.Phase, f.Jiffy())
	}
	return nil
}

// rule is a Connect in the kernel's units.
type rule struct {
	c      Connect
	facts  kernel.Facts
	tick   int64 // nanoseconds in a jiffy: TICK_NSEC
	count  int   // retransmissions after which the count ends it
	linear int   // tcp_syn_linear_timeouts

	initial, most           uint64 // first and largest timer, in jiffies
	initialTime, mostTime   time.Duration
	byCount, byTime, clamps bool
	inJiffies               bool   // before 4.13 the time test compares jiffies, not milliseconds
	limitJiffies            uint64 // of the time test
	limitMS                 int64
	limitTime               time.Duration // the same without the kernel's rounding
	limitName               string
}

func newRule(c Connect, f kernel.Facts) rule {
	r := rule{c: c, facts: f, tick: f.Jiffy().Nanoseconds(), linear: c.LinearTimeouts, initialTime: f.InitialRTO, mostTime: rtoMax}
	if c.RTOMax != 0 {
		r.mostTime = c.RTOMax
	}
	retries := c.SYNRetries
	if c.SYNCount != 0 {
		retries = c.SYNCount
	}
	r.count = retries + r.linear
	r.initial, r.most = r.jiffies(r.initialTime), r.jiffies(r.mostTime)
	r.byCount = f.SYNExpiry != kernel.ExpireByTime
	r.byTime = f.SYNExpiry != kernel.ExpireByCount
	r.clamps = c.UserTimeout > 0 && f.UserTimeout != kernel.UserTimeoutIgnored
	r.inJiffies = !f.Version.AtLeast(4, 13)
	if c.UserTimeout > 0 && f.UserTimeout == kernel.UserTimeoutEnds {
		r.byTime, r.inJiffies = true, false
		r.limitTime, r.limitMS = c.UserTimeout, c.UserTimeout.Milliseconds()
		r.limitName = fmt.Sprintf("TCP_USER_TIMEOUT %v", c.UserTimeout)
		return r
	}
	r.limitJiffies = model(retries, r.initial, r.most)
	r.limitMS = int64((r.limitJiffies*1000 + uint64(f.HZ) - 1) / uint64(f.HZ)) // jiffies_to_msecs rounds up
	r.limitTime = time.Duration(model(retries, uint64(r.initialTime), uint64(r.mostTime)))
	r.limitName = fmt.Sprintf("the time of %s without linear timeouts, %v", plural(retries, "retransmission"), r.limitTime)
	return r
}

// model is tcp_model_timeout: how long retries exponential timers from base take, in base's unit. From the threshold on every
// timer is most, so that 127 retries cannot overflow.
func model(retries int, base, most uint64) uint64 {
	threshold := 0
	if most > base {
		threshold = bits.Len64(most/base) - 1
	}
	if retries <= threshold {
		return (2<<retries - 1) * base
	}
	return (2<<threshold-1)*base + uint64(retries-threshold)*most
}

// jiffies is msecs_to_jiffies: rounded up.
func (r rule) jiffies(d time.Duration) uint64 {
	return (uint64(d.Nanoseconds())*uint64(r.facts.HZ) + uint64(time.Second) - 1) / uint64(time.Second)
}

// backoff returns the timer that follows the n-th retransmission, given the one before it.
func backoff[T uint64 | time.Duration](r rule, n int, timer, most T) T {
	if n > r.linear {
		return min(2*timer, most)
	}
	return timer
}

// plural writes "1 retransmission", "2 retransmissions".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
