package setting

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
)

// orElse is an option where it was given, else its sysctl.
func (c *context) orElse(option, name string, absent int64) int64 {
	if _, ok := c.given(option); ok {
		return c.option(option)
	}
	return c.number(name, absent)
}

// keepalive is an idle connection with SO_KEEPALIVE whose peer is gone: tcp_keepalive_timer.
func (c *context) keepalive() error {
	idle := time.Duration(c.orElse("TCP_KEEPIDLE", "tcp_keepalive_time", 7200)) * time.Second
	between := time.Duration(c.orElse("TCP_KEEPINTVL", "tcp_keepalive_intvl", 75)) * time.Second
	probes := int(c.orElse("TCP_KEEPCNT", "tcp_keepalive_probes", 9))
	ut := c.userTimeout()
	chain := oracle.Chain{Host: "client", First: timeline.Event{What: timeline.ACK, Why: "the last segment that came from the peer: time starts here"}, Errno: "ETIMEDOUT"}
	nominal := idle + time.Duration(probes)*between
	formula := fmt.Sprintf("%s + %d × %s", plainSeconds(idle), probes, plainSeconds(between))
	sent := probes
	if ut > 0 { // elapsed >= UT and a probe is out
		sent = max(1, int((ut-idle+between-1)/between))
		nominal, formula = idle+time.Duration(sent)*between, "the first probe's turn, after at least one probe, at which TCP_USER_TIMEOUT has passed"
		chain.Limit, chain.LimitFrom, chain.Tested, chain.InJiffies, chain.LimitName = ut, -1, 1, true, "TCP_USER_TIMEOUT"
	}
	for i := range sent {
		delay, why := between, ", the interval"
		if i == 0 {
			delay, why = idle, ", the idle time"
		}
		chain.Steps = append(chain.Steps, oracle.Step{What: timeline.KeepaliveProbe, N: i + 1, Delay: delay, Why: why})
	}
	chain.End = oracle.Step{What: timeline.SocketError, Delay: between, Why: ", the interval: RST, and the socket fails"}
	if sent == 0 { // probes_out >= 0 is true at the first fire
		nominal, formula = idle, plainSeconds(idle)
		chain.End.Delay, chain.End.Why = idle, ", the idle time: no probe is allowed"
	}
	t := chain.Predict(c.Facts)
	c.meaning.Timeline, c.meaning.Nominal, c.meaning.Formula = &t, nominal, formula
	equation := ""
	if ut == 0 {
		equation = ": " + formula + " = " + plainSeconds(nominal)
	}
	c.say("With SO_KEEPALIVE, a peer that is gone is noticed after %s of silence%s; on this kernel it takes %s.", seconds(nominal), equation, window(t.Outcome.Bound))
	c.say("After %s of silence the first probe is sent, then one every %s; after %s without an answer the kernel sends an RST and the socket fails with ETIMEDOUT.",
		seconds(idle), seconds(between), plural(sent, "probe"))
	c.note("", "Without SO_KEEPALIVE nothing is ever sent, and the death of an idle peer is never noticed.")
	c.note("", "Any segment from the peer starts the time anew. While data is unacknowledged no probe is sent: tcp_retries2 rules then.")
	if ut > 0 {
		c.note("", "TCP_USER_TIMEOUT replaces the number of probes: the end is at the first probe's turn, after at least one probe, at which it has passed.")
	}
	c.wheelNote()
	return nil
}

// plainSeconds is a time in seconds, without hours and minutes.
func plainSeconds(d time.Duration) string { return trimmed(d.Seconds(), 3) + " s" }

// finWait2 is a closed connection whose peer does not close: tcp_fin_time, tcp_rcv_state_process, tcp_keepalive_timer.
func (c *context) finWait2() error {
	fin := time.Duration(c.orElse("TCP_LINGER2", "tcp_fin_timeout", 60)) * time.Second
	if fin < 0 {
		c.say("A negative TCP_LINGER2 resets the connection at once instead of waiting in FIN-WAIT-2.")
		return nil
	}
	if _, option := c.given("TCP_LINGER2"); option {
		fin = min(fin, 2*oracle.TimeWaitLen) // TCP_FIN_TIMEOUT_MAX
	}
	total := fin
	chain := oracle.Chain{Host: "client", First: timeline.Event{What: timeline.ACK, Why: "the peer acknowledges our FIN: time starts here"}}
	chain.End = oracle.Step{Delay: fin}
	formula := "tcp_fin_timeout, up to 60 s, is the timer of the small socket that remains"
	if fin > oracle.TimeWaitLen {
		half := fin - oracle.TimeWaitLen
		total = 2 * half
		// The socket waits for what exceeds 60 s, and then hands the same excess, not the 60 s, to the small socket that takes its place.
		chain.Steps = []oracle.Step{{Delay: half}}
		chain.End.Delay = half
		formula = fmt.Sprintf("2 × (%s - 60 s)", plainSeconds(fin))
	}
	t := chain.Predict(c.Facts)
	c.meaning.Nominal, c.meaning.Formula = total, formula
	onThis := "on this kernel " + window(t.Outcome.Bound)
	if !c.since("4.1") {
		onThis = "kernels before 4.1 look at such sockets only in slots, so it may be several seconds off"
	}
	c.say("A connection that its program has closed, and whose peer does not close, is gone %s after the peer acknowledged the FIN; %s.", seconds(total), onThis)
	if fin > oracle.TimeWaitLen {
		c.say("That is not %s: what exceeds 60 s is waited for twice, and the 60 s are not waited for at all: %s = %s. Values from 61 to 89 wait shorter than 60 does.",
			plainSeconds(fin), formula, plainSeconds(total))
	}
	c.say("It does not rule TIME-WAIT, which always lasts 60 s. While a program still holds the socket (shutdown(2) only), nothing ends FIN-WAIT-2.")
	return nil
}
