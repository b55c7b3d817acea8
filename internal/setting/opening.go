package setting

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
)

// localRTT is the round trip of two hosts on one link, far below a jiffy.
const localRTT = 50 * time.Microsecond

var mechanisms = []mechanism{
	{"connecting", []string{"tcp_syn_retries", "tcp_syn_linear_timeouts", "TCP_SYNCNT"}, []string{"tcp_rto_max_ms", "TCP_RTO_MAX_MS", "TCP_USER_TIMEOUT"}, (*context).connecting},
	{"a half-open connection", []string{"tcp_synack_retries"}, nil, (*context).halfOpen},
	{"unacknowledged data", []string{"tcp_retries2", "tcp_rto_min_us", "tcp_early_retrans", "tcp_thin_linear_timeouts"},
		[]string{"tcp_rto_max_ms", "TCP_RTO_MAX_MS", "TCP_USER_TIMEOUT", "tcp_sack"}, (*context).data},
	{"doubt about the route", []string{"tcp_retries1"}, nil, (*context).route},
	{"a closed connection that nobody owns", []string{"tcp_orphan_retries"}, nil, (*context).orphan},
	{"keepalive", []string{"tcp_keepalive_time", "tcp_keepalive_intvl", "tcp_keepalive_probes", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"},
		[]string{"TCP_USER_TIMEOUT"}, (*context).keepalive},
	{"FIN-WAIT-2", []string{"tcp_fin_timeout", "TCP_LINGER2"}, nil, (*context).finWait2},
	{"Fast Open", []string{"tcp_fastopen"}, nil, (*context).fastOpen},
	{"finding losses", []string{"tcp_sack", "tcp_recovery"}, nil, (*context).recovery},
	{"answers to repeated SYNs and invalid segments", []string{"tcp_invalid_ratelimit"}, nil, (*context).rateLimit},
	{"timestamps", []string{"tcp_timestamps"}, nil, (*context).timestamps},
}

// rtoMax is the ceiling of the RTO: the socket's, the sysctl's or the constant.
func (c *context) rtoMax() time.Duration {
	if ms := c.option("TCP_RTO_MAX_MS"); ms != 0 {
		return time.Duration(ms) * time.Millisecond
	}
	return time.Duration(c.number("tcp_rto_max_ms", oracle.RTOMax.Milliseconds())) * time.Millisecond
}

func (c *context) userTimeout() time.Duration {
	return time.Duration(c.option("TCP_USER_TIMEOUT")) * time.Millisecond
}

// connecting is a SYN that nobody answers.
func (c *context) connecting() error {
	in := oracle.Connect{Host: "client", SYNRetries: int(c.number("tcp_syn_retries", 6))}
	in.LinearTimeouts = int(c.number("tcp_syn_linear_timeouts", 0))
	in.SYNCount = int(c.option("TCP_SYNCNT"))
	if in.RTOMax = c.rtoMax(); !c.Facts.RTOMax {
		in.RTOMax = 0
	}
	in.UserTimeout = c.userTimeout()
	t, err := in.Predict(c.Facts, nil)
	if err != nil {
		return marked{err, ErrRange}
	}
	c.meaning.Timeline = &t
	c.meaning.Nominal, c.meaning.Formula = t.Outcome.At, t.Outcome.Why
	c.say("A SYN that nobody answers is repeated %s, and connect() fails with %s after %s; on this kernel it takes %s.",
		repeated(t, timeline.SYNRetransmission), t.Outcome.Errno, seconds(t.Outcome.At), window(t.Outcome.Bound))
	retries := in.SYNRetries
	if in.SYNCount != 0 {
		retries = in.SYNCount
	}
	c.linear(retries, in, t)
	if in.RTOMax != 0 && in.RTOMax < oracle.RTOMax {
		c.note("TL1207", "No wait grows beyond %s, and the limit of time shrinks with it.", seconds(in.RTOMax))
	}
	if in.UserTimeout > 0 {
		c.note("TL1208", "TCP_USER_TIMEOUT in SYN-SENT, on this kernel: %s. The first wait of 1 s is never shortened.", c.Facts.UserTimeout)
	}
	c.wheelNote()
	return nil
}

// linear says how the linear timeouts and the retries add up, and where the limit of time cuts them.
func (c *context) linear(retries int, in oracle.Connect, t timeline.Timeline) {
	if in.LinearTimeouts == 0 {
		if !c.Facts.SYNLinear {
			c.note("TL1203", "Linux %s has no tcp_syn_linear_timeouts, which came with 6.5: every wait doubles from the first.", c.release())
		}
		return
	}
	c.note("TL1203", "The first %d repeats come a second apart (tcp_syn_linear_timeouts) and are added to the %d of tcp_syn_retries: %d in all, were it for the count.",
		in.LinearTimeouts, retries, retries+in.LinearTimeouts)
	if most, _ := count(t, timeline.SYNRetransmission); in.UserTimeout == 0 && most < retries+in.LinearTimeouts {
		c.note("TL1202", "It is not the count that ends it here: the limit of time, %s, does not know about the linear timeouts and comes first.",
			seconds(oracle.Model(retries, time.Second, max(in.RTOMax, time.Second))))
	}
}

// repeated writes how often an event comes: "10 times", "4 or 5 times".
func repeated(t timeline.Timeline, w timeline.What) string {
	most, least := count(t, w)
	if most == least {
		return times(most)
	}
	return fmt.Sprintf("%d or %s", least, times(most))
}

func (c *context) wheelNote() {
	if c.Facts.Wheel {
		c.note("TL1201", "Kernel timers fire late, never early: by up to 1/8 of the wait, in steps that follow from HZ=%d.", c.Facts.HZ)
	}
}

// halfOpen is a SYN-ACK that nobody acknowledges, with no repeated SYN in between: reqsk_timer_handler.
func (c *context) halfOpen() error {
	n := int(c.number("tcp_synack_retries", 5))
	delay := func(i int) time.Duration { // of the timer after i fires
		return min(c.Facts.InitialRTO<<min(i, 20), oracle.RTOMax)
	}
	chain := oracle.Chain{Host: "server", First: timeline.Event{What: timeline.SYNACK, Why: "first SYN-ACK: time starts here"}}
	for i := range n {
		chain.Steps = append(chain.Steps, oracle.Step{What: timeline.SYNACKAgain, N: i + 1, Delay: delay(i), Why: doubledFrom(i)})
	}
	chain.End = oracle.Step{What: timeline.RequestGone, Delay: delay(n), Why: ": the timer fires once more"}
	t := chain.Predict(c.Facts)
	c.meaning.Nominal, c.meaning.Formula = t.Outcome.At, fmt.Sprintf("the waits of %d timers from 1 s, each twice the one before, 120 s at most", n+1)
	c.meaning.Timeline = &t
	onThis := "on this kernel it takes " + window(t.Outcome.Bound)
	if !c.since("4.1") {
		// One timer for the whole listener looks at a part of the table every 200 ms (inet_csk_reqsk_queue_prune): no window by phase.
		for i := range t.Events {
			t.Events[i].Earliest, t.Events[i].Latest = t.Events[i].At, t.Events[i].At
		}
		t.Outcome.Earliest, t.Outcome.Latest = t.Outcome.At, t.Outcome.At
		onThis = "kernels before 4.1 look only every 200 ms and go through the table twice a second, so each may be up to 0.7 s late"
	}
	c.say("A SYN-ACK that nobody acknowledges is repeated %s, and the half-open connection (SYN-RECV) vanishes without a word after %s; %s.",
		timesOrNever(n), seconds(t.Outcome.At), onThis)
	c.say("That is the server's timer alone. A client that repeats its SYN is answered at once, and each such answer starts the timer anew.")
	if c.Facts.RTOMax {
		c.note("TL1207", "tcp_rto_max_ms does not shorten these waits on kernels up to 6.18, except for Fast Open.")
	}
	return nil
}

func timesOrNever(n int) string {
	if n == 0 {
		return "never"
	}
	return times(n)
}

// doubledFrom is the remark on the i-th wait of a series that doubles.
func doubledFrom(i int) string {
	if i == 0 {
		return ", the initial RTO"
	}
	return ", doubled"
}
