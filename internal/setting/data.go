package setting

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
)

// sender is what the repeats of one small segment depend on.
type sender struct {
	rto    time.Duration // the first, in whole jiffies
	most   time.Duration
	probe  time.Duration // tail loss probe timeout; 0: none
	linear int           // RTO repeats that keep the base (TCP_THIN_LINEAR_RETRIES)
	limit  time.Duration // after the first RTO repeat
	ut     time.Duration
}

// newSender reads the settings. retries is tcp_retries2 or what stands for it.
func (c *context) newSender() sender {
	rmin := oracle.Jiffies(c.Facts, time.Duration(c.number("tcp_rto_min_us", oracle.RTOMin.Microseconds()))*time.Microsecond)
	s := sender{most: c.rtoMax(), ut: c.userTimeout()}
	// tcp_rtt_estimator, first sample: RTO = srtt + max(2 srtt, rto_min); __tcp_set_rto bounds it above.
	s.rto = min(oracle.Jiffies(c.Facts, c.RTT+max(2*c.RTT, rmin)), s.most)
	s.probe = c.probe(rmin, s.rto)
	if c.given01("tcp_thin_linear_timeouts") {
		s.linear = 6 // TCP_THIN_LINEAR_RETRIES
	}
	return s
}

// given01 reports whether a flag was given and is on.
func (c *context) given01(name string) bool {
	_, ok := c.given(name)
	return ok && c.number(name, 0) != 0
}

// probe is the tail loss probe timeout with one segment in flight: tcp_schedule_loss_probe. 0: no probe.
func (c *context) probe(rmin, rto time.Duration) time.Duration {
	if !c.since("3.10") {
		return 0
	}
	early := c.number("tcp_early_retrans", 3)
	if sack := c.number("tcp_sack", 1); early < 3 || sack == 0 {
		return 0
	}
	delack := oracle.RTOMin // TCP_DELACK_MAX before, the RTO's floor since 6.6
	if c.since("6.6") {
		delack = rmin
	}
	pto := 2*c.RTT + delack
	if !c.since("4.14") {
		pto = max(2*c.RTT, 3*c.RTT/2+delack, 10*time.Millisecond)
	}
	return min(oracle.Jiffies(c.Facts, pto), rto)
}

// wait is the timer after n RTO repeats: tcp_retransmit_timer.
func (s sender) wait(n int) time.Duration {
	doubled := n
	if s.linear > 0 && n <= s.linear {
		doubled = 0
	} else if s.linear > 0 {
		doubled = n - s.linear
	}
	if doubled >= 40 || s.rto > s.most>>doubled {
		return s.most
	}
	return s.rto << doubled
}

// blackHole is one small segment that nobody acknowledges. The limit counts from the first RTO repeat.
func (s sender) blackHole(c *context, name string) timeline.Timeline {
	chain := oracle.Chain{Host: "client", First: timeline.Event{What: timeline.Data, Why: "data sent: time starts here"}, Errno: "ETIMEDOUT",
		Limit: s.limit, LimitName: name, InJiffies: !c.since("4.13")}
	if s.ut > 0 {
		chain.Limit, chain.LimitName, chain.Clamp = s.ut, "TCP_USER_TIMEOUT", c.since("4.19")
	}
	if s.probe > 0 {
		chain.Steps = append(chain.Steps, oracle.Step{What: timeline.TailLossProbe, Delay: s.probe, Why: ", the probe timeout (two round trips and the longest delayed ACK)"})
	}
	chain.LimitFrom = len(chain.Steps)
	chain.Tested = chain.LimitFrom + 1
	elapsed := time.Duration(0) // since the first RTO repeat
	for n := 0; n == 0 || elapsed < chain.Limit; n++ {
		chain.Steps = append(chain.Steps, oracle.Step{What: timeline.RTORetransmission, N: n + 1, Delay: s.wait(n), Why: s.why(n)})
		elapsed += s.wait(n + 1)
	}
	last := len(chain.Steps) - chain.LimitFrom
	chain.End = oracle.Step{What: timeline.SocketError, Delay: s.wait(last), Why: ": the first fire at which " + chain.LimitName + " has passed"}
	return chain.Predict(c.Facts)
}

// why is the remark on the wait after n RTO repeats.
func (s sender) why(n int) string {
	switch w := s.wait(n); {
	case n == 0 && s.probe > 0:
		return ", a full RTO after the probe"
	case n == 0:
		return ", the RTO"
	case w == s.wait(n-1) && w == s.most:
		return fmt.Sprintf(", the largest RTO (%v)", s.most)
	case w == s.wait(n-1):
		return ", linear (thin stream)"
	case w < 2*s.wait(n-1):
		return fmt.Sprintf(", the largest RTO (%v)", s.most)
	}
	return ", doubled"
}

// limitFormula is tcp_model_timeout in numbers: "(2^9 - 1) × 0.2 s", "(2^10 - 1) × 0.2 s + 6 × 120 s".
func limitFormula(retries int, base, most time.Duration) string {
	threshold := 0
	if most > base {
		threshold = bits.Len64(uint64(most/base)) - 1
	}
	doubled := min(retries, threshold)
	s := fmt.Sprintf("(2^%d - 1) × %s s", doubled+1, trimmed(base.Seconds(), 3))
	if retries > threshold {
		s += fmt.Sprintf(" + %d × %s s", retries-threshold, trimmed(most.Seconds(), 3))
	}
	return s
}

// data is what tcp_retries2 and its neighbours mean for one small segment that nobody acknowledges.
func (c *context) data() error {
	retries := int(c.number("tcp_retries2", 15))
	s := c.newSender()
	s.limit = oracle.Model(retries, oracle.RTOMin, s.most)
	name := fmt.Sprintf("the time of tcp_retries2=%d, %s", retries, trimmed(s.limit.Seconds(), 3)+" s,")
	t := s.blackHole(c, name)
	c.meaning.Timeline = &t
	c.meaning.Nominal, c.meaning.Formula = s.limit, limitFormula(retries, oracle.RTOMin, s.most)
	if s.ut > 0 {
		c.meaning.Nominal, c.meaning.Formula = s.ut, "TCP_USER_TIMEOUT replaces tcp_retries2"
		c.say("A connection whose data nobody acknowledges dies when %s have passed since the first repeat by the retransmission timer: with ETIMEDOUT, %s after the data was sent on this kernel.",
			seconds(s.ut), window(t.Outcome.Bound))
		c.say("TCP_USER_TIMEOUT replaces tcp_retries2, and does not count from the write: the tail loss probe and the first RTO come before it.")
		if !c.since("4.19") {
			c.say("Before Linux 4.19 no timer is shortened for it: the connection dies at the first retransmission timer after it.")
		}
	} else {
		c.say("A connection whose data nobody acknowledges dies when %s have passed since the first repeat by the retransmission timer: with ETIMEDOUT, %s after the data was sent on this kernel.",
			seconds(s.limit), window(t.Outcome.Bound))
		c.say("%d is a time, not a count: that of %s with a timer that doubles from 200 ms and stops at %s, %s = %s s. The real RTO is %s here, so there are %s.",
			retries, plural(retries, "repeat"), seconds(s.most), c.meaning.Formula, trimmed(s.limit.Seconds(), 3), seconds(s.rto),
			counted(t, timeline.RTORetransmission, "such repeat"))
		c.say("Death comes later than %s: the time starts at the first such repeat, %s after the write, and is looked at only when a timer fires.",
			seconds(s.limit), window(firstRepeat(t)))
	}
	c.dataNotes(s)
	return nil
}

// firstRepeat is the bound of the first RTO repeat.
func firstRepeat(t timeline.Timeline) timeline.Bound {
	for _, e := range t.Events {
		if e.What == timeline.RTORetransmission {
			return e.Bound
		}
	}
	return timeline.Bound{}
}

func (c *context) dataNotes(s sender) {
	switch {
	case s.probe > 0:
		c.note("", "The first repeat is a tail loss probe (tcp_early_retrans=3, with SACK). It does not start the time, and the RTO begins anew after it.")
	case !c.since("3.10"):
		c.note("", "Linux %s has no tail loss probe, which came with 3.10.", c.release())
	default:
		c.note("", "No tail loss probe is sent: it needs tcp_early_retrans of 3 or 4, and SACK.")
	}
	if _, ok := c.given("tcp_rto_min_us"); ok {
		c.note("", "tcp_rto_min_us makes the first RTO %s with a round trip of %s; it also bounds the delayed ACK of the other direction. The time of tcp_retries2 "+
			"is always counted from 200 ms.", seconds(s.rto), seconds(c.RTT))
	}
	if s.most < oracle.RTOMax {
		c.note("TL1207", "No wait grows beyond %s, and the time that tcp_retries2 stands for shrinks with it.", seconds(s.most))
	}
	if s.linear > 0 {
		c.note("", "The first %d repeats keep the base RTO while fewer than four segments are in flight.", s.linear)
	}
	c.note("", "Computed for a round trip of %s and one segment in flight; --rtt changes it.", seconds(c.RTT))
	c.wheelNote()
}

// route is tcp_retries1: no packet, a look at the route.
func (c *context) route() error {
	n := int(c.number("tcp_retries1", 3))
	s := c.newSender()
	limit := oracle.Model(n, oracle.RTOMin, s.most)
	s.limit = limit
	t := s.blackHole(c, "the time of tcp_retries1")
	c.meaning.Nominal, c.meaning.Formula = limit, limitFormula(n, oracle.RTOMin, s.most)
	c.say("When data has gone unacknowledged for %s since the first repeat by the retransmission timer, the kernel doubts the route: on this kernel %s after the data was sent.",
		seconds(limit), window(t.Outcome.Bound))
	c.say("It then asks for a new route, and probes the path MTU if tcp_mtu_probing is on. With default settings no packet changes, and the connection lives on.")
	return nil
}

// orphan is tcp_orphan_retries: a FIN that nobody acknowledges, of a socket that was closed.
func (c *context) orphan() error {
	given := int(c.number("tcp_orphan_retries", 0))
	n := given
	if n == 0 {
		n = 8 // tcp_orphan_retries(): "Does socket own alive peer? 8 corresponds to 2 seconds of delay", as the kernel's words go
	}
	s := c.newSender()
	s.limit = oracle.Model(n, oracle.RTOMin, s.most)
	t := s.blackHole(c, fmt.Sprintf("the time of tcp_orphan_retries, %s s,", trimmed(s.limit.Seconds(), 3)))
	for i, e := range t.Events {
		switch e.What {
		case timeline.Data:
			t.Events[i].What, t.Events[i].Why = timeline.FIN, "FIN sent by close(2): time starts here"
		case timeline.RTORetransmission:
			t.Events[i].What = timeline.FINAgain
		}
	}
	t.Outcome.Errno = ""
	c.meaning.Timeline, c.meaning.Nominal, c.meaning.Formula = &t, s.limit, limitFormula(n, oracle.RTOMin, s.most)
	c.say("After close(2) the kernel repeats the FIN (or the last data) until %s have passed since the first repeat by the retransmission timer; on this kernel the connection is gone %s after the FIN.",
		seconds(s.limit), window(t.Outcome.Bound))
	if given == 0 {
		c.say("0 does not mean never: it stands for 8, as long as the retransmission timeout is below its ceiling.")
	}
	c.say("It is a time, not a count: %s = %s s. There is no RST and no error, because no program owns the socket.", c.meaning.Formula, trimmed(s.limit.Seconds(), 3))
	c.wheelNote()
	return nil
}
