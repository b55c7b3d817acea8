package oracle

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
)

// applicationWithin is how long an application may take to answer what it reads.
const applicationWithin = 5 * time.Millisecond

// hole plays a BlackHole in one world.
type hole struct {
	dataRule
	w     *world
	line  *line
	out   []happening
	sent  uint32        // the client's next number, relative to its initial one
	got   uint32        // the client's acknowledgement
	ready time.Duration // when the client has all that must come before its next call
	slip  time.Duration // of the newest call
	dead  int64         // the jiffy in which the client's socket had its error

	began  time.Duration   // when the SYN was at the server
	spoken []time.Duration // when the client sent the data and its repeats, which are not on the line yet
	near   bool            // the link may decide whether a SYN-ACK is answered
}

func (h *hole) run() {
	h.sent, h.got = 1, 1
	h.handshake()
	if h.Cut == CutMid {
		h.exchange()
		h.data()
		return
	}
	h.data()
	h.halfOpen()
}

// answer adds a packet or an event that no timer dates: a call's, or the answer to one. h.slip is how far the call is from its plan.
func (h *hole) answer(host string, what timeline.What, at, late time.Duration, e timeline.Event, why func() string) {
	e.Host, e.What, e.At = host, what, at-h.slip
	h.out = append(h.out, happening{Event: e, at: at, late: late, why: why})
}

// call is the instant of a later call, not before the client has what must come first.
func (h *hole) call(planned time.Duration) time.Duration {
	at := max(h.w.call(planned), h.ready)
	h.slip = at - max(planned, h.ready)
	return at
}

func (h *hole) handshake() {
	server := h.Server.Host
	h.answer(h.Host, timeline.SYN, 0, 0, timeline.Event{}, say("the client's SYN: time starts here"))
	h.began = h.line.toServer(0)
	h.answer(server, timeline.SYNACK, h.began, answerWithin, timeline.Event{},
		say("answers the SYN; the server is in SYN-RECV"))
	h.ready = h.began + h.line.toClient(h.began)
	why := "completes the handshake for the client"
	if h.Cut == CutACK {
		why += ", not for the server: it is lost"
	}
	h.answer(h.Host, timeline.ACK, h.ready, answerWithin, exact(1, 1, 0), say("%s", why))
	h.line.toServer(h.ready)
	h.answer(h.Host, timeline.Connected, h.ready, applicationWithin, timeline.Event{}, say("the SYN-ACK has come"))
}

// exact is an event of a packet whose numbers are known.
func exact(seq, ack uint32, length int) timeline.Event {
	return timeline.Event{RelSeq: seq, RelAck: ack, Len: length, Exact: true}
}

// exchange is a request and its echo, whole. Both ends are in quick-ack mode at their first data (tcp_event_data_recv): they acknowledge
// at once.
func (h *hole) exchange() {
	at, n := h.call(h.Exchange), h.Request
	size := uint32(n)
	h.answer(h.Host, timeline.Data, at, answerWithin, exact(1, 1, n), say("the client's request, %d bytes", n))
	there := at + h.line.toServer(at)
	h.answer(h.Server.Host, timeline.ACK, there, answerWithin, exact(1, 1+size, 0), say("at once: the first ACKs are not delayed"))
	h.line.toClient(there)
	h.answer(h.Server.Host, timeline.Data, there, applicationWithin, exact(1, 1+size, n), say("the server's answer, %d bytes", n))
	h.ready = there + h.line.toClient(there)
	h.answer(h.Host, timeline.ACK, h.ready, applicationWithin, exact(1+size, 1+size, 0), say("at once"))
	h.sent, h.got = 1+size, 1+size
}

// halfOpen plays the request timer. Each repeated SYN-ACK finds the client in ESTABLISHED: it is not acceptable there, and is answered
// with a challenge ACK, at most one in tcp_invalid_ratelimit (tcp_validate_incoming, __tcp_oow_rate_limited). Once the client's socket has its
// error nothing of it is left: the next SYN-ACK meets a closed port, and the RST that answers it (tcp_v4_send_reset) has no ACK flag, because
// what it answers has one. So it is not lost, and ends the request (tcp_check_req).
func (h *hole) halfOpen() {
	q := request{server: h.Server, w: h.w}
	q.arm(h.w.jiffy(h.began+h.lag(1)), h.began)
	limit := ceilJiffies(h.facts, h.InvalidRatelimit)
	challenged, before := false, int64(0)
	const chain = "request timer"
	for ; ; q.arm(q.armed, q.nominalFire) {
		at, nominal, from := q.armed, q.nominalFire, q.nominalStart
		if q.dies() {
			e := timeline.Event{Host: h.Server.Host, What: timeline.RequestGone, Chain: chain, Bound: timeline.Bound{At: nominal}}
			h.out = append(h.out, happening{Event: e, at: h.w.instant(at), jiffy: at,
				why: say("%v + %v, the request timer fires after %s", from, q.timeout(), plural(q.numTimeout, "retransmission"))})
			return
		}
		why := say("%v + %v, the request timer's fire %d", from, q.timeout(), q.numTimeout+1)
		q.numTimeout++
		e := timeline.Event{Host: h.Server.Host, What: timeline.SYNACKAgain, N: q.numTimeout, Chain: chain, Bound: timeline.Bound{At: nominal}}
		h.out = append(h.out, happening{Event: e, at: h.w.instant(at), jiffy: at, why: why})
		way := h.line.toClient(h.w.instant(at))
		e = timeline.Event{Host: h.Host, What: timeline.ChallengeACK, Chain: chain, Bound: timeline.Bound{At: nominal + way, After: way}}
		came := h.w.instant(at) + way
		comes := h.w.jiffy(came + h.lag(1))
		if comes > h.dead {
			h.reset(happening{Event: e, at: came, jiffy: at}, q.numTimeout)
			return
		}
		if since := comes - before; challenged && limit > 0 {
			slack := 1 + ceilJiffies(h.facts, answerWithin)
			h.near = h.near || !h.Link.Zero() && since >= limit-slack && since <= limit+slack
			if since < limit {
				continue
			}
		}
		challenged, before = true, comes
		h.out = append(h.out, happening{Event: e, at: came, jiffy: at, late: h.late(),
			why: say("answers SYN-ACK again %d, not acceptable in ESTABLISHED", q.numTimeout)})
		h.toServer(came)
	}
}

// reset plays the RST that answers a SYN-ACK of the request timer, and the end of the request. answer has what an answer to it has.
func (h *hole) reset(answer happening, n int) {
	rst := answer
	rst.What, rst.RelSeq, rst.Exact, rst.late = timeline.RST, 1, true, h.late()
	rst.why = say("answers SYN-ACK again %d: the client's connection is gone", n)
	way := h.toServer(rst.at)
	gone := answer
	gone.Host, gone.What, gone.At, gone.After, gone.at, gone.late = h.Server.Host, timeline.RequestGone, gone.At+way, gone.After+way, gone.at+way, h.late()
	gone.why = say("a RST ends the request")
	h.out = append(h.out, rst, gone)
}

// speak notes that the client sends the data, or a repeat of them.
func (h *hole) speak(at time.Duration) {
	if !h.Link.Zero() {
		h.spoken = append(h.spoken, at)
	}
}

// toServer is how long an answer of the client's takes that it sends at an instant, behind what it has said until then.
func (h *hole) toServer(at time.Duration) time.Duration {
	for len(h.spoken) > 0 && h.spoken[0] <= at {
		h.line.toServer(h.spoken[0])
		h.spoken = h.spoken[1:]
	}
	return h.line.toServer(at)
}

// lag is how much later than it should a packet comes that has crossed a link with a Plan so many times.
func (h *hole) lag(hops int) time.Duration {
	if h.Link.Zero() {
		return 0
	}
	return h.w.late(lateness(h.RTT, hops))
}

// late is what a link with a delay may add to it.
func (h *hole) late() time.Duration {
	if h.RTT > 0 {
		return answerWithin
	}
	return 0
}

// data plays the write, its repeats and the end.
func (h *hole) data() {
	at := h.call(h.Write)
	h.answer(h.Host, timeline.Data, at, answerWithin, exact(h.sent, h.got, h.Bytes), say("the client writes %d bytes", h.Bytes))
	h.speak(at)
	armed, nominal, first := h.w.jiffy(at), h.Write, "the RTO"
	if h.pto > 0 {
		wait, from, floor := h.time(h.pto), nominal, "200 ms"
		if h.RTOMin > 0 && h.RTOMin != 200*time.Millisecond {
			floor = "tcp_rto_min_us"
		}
		armed = h.w.fire(armed, h.pto)
		h.repeat(timeline.TailLossProbe, 0, armed, nominal+wait, say("%v + %v, 2*SRTT + %s, at most the RTO", from, wait, floor))
		nominal, first = nominal+wait, "the RTO, whole, from the probe"
	}
	h.retransmissions(armed, nominal, first)
}

// retransmissions plays tcp_retransmit_timer from the jiffy in which its timer is armed for the first time.
func (h *hole) retransmissions(armed int64, nominal time.Duration, note string) {
	timer, wait := h.rto, h.rto
	nominalWait := h.time(wait)
	var stamp int64 // retrans_stamp: the first RTO retransmission
	var nominalStamp time.Duration
	for n := 0; ; {
		armed = h.w.fire(armed, wait)
		from := nominal
		nominal += nominalWait
		if n > 0 && h.expired(stamp, armed) {
			h.end(armed, nominal, nominalStamp)
			return
		}
		if n++; n == 1 {
			stamp, nominalStamp = armed, nominal
		}
		text, waited := note, nominalWait
		h.repeat(timeline.RTORetransmission, n, armed, nominal, func() string { return fmt.Sprintf("%v + %v, %s", from, waited, text) })
		timer, note = h.backoff(timer, n)
		wait, nominalWait = timer, h.time(timer)
		if h.UserTimeout > 0 && h.clamps() {
			wait = h.clampIn(stamp, armed, timer)
			if left := h.UserTimeout - (nominal - nominalStamp); left < nominalWait {
				nominalWait, note = max(left, h.tick), "what is left of TCP_USER_TIMEOUT"
			}
		}
	}
}

// backoff is the timer after the n-th retransmission.
func (h *hole) backoff(timer int64, n int) (int64, string) {
	switch doubled := min(2*timer, h.most); {
	case h.ThinLinear && n <= thinLinearRetries: // tcp_stream_is_thin: fewer than four segments, not in the first slow start
		return h.rto, fmt.Sprintf("thin stream, linear timeout %d of %d", n, thinLinearRetries)
	case doubled < 2*timer:
		return doubled, fmt.Sprintf("the largest RTO (%v)", h.time(h.most))
	default:
		return doubled, "doubled"
	}
}

// clamps reports whether the kernel shortens the timer to TCP_USER_TIMEOUT (tcp_clamp_rto_to_user_timeout).
func (h *hole) clamps() bool { return h.facts.Version.AtLeast(4, 19) }

// clampIn is tcp_clamp_rto_to_user_timeout.
func (h *hole) clampIn(stamp, at, timer int64) int64 {
	return h.onElapsed(stamp, at, func(ms int64) int64 {
		left := h.UserTimeout.Milliseconds() - ms
		if left <= 0 {
			return 1
		}
		return max(min(timer, (left*int64(h.facts.HZ)+999)/1000), 1)
	})
}

// expired is retransmits_timed_out at a fire after the first.
func (h *hole) expired(stamp, at int64) bool {
	if h.inJiffies {
		return at-stamp >= h.limitJiffies
	}
	return h.onElapsed(stamp, at, func(ms int64) int64 {
		if ms >= h.limitMS {
			return 1
		}
		return 0
	}) != 0
}

// onElapsed is what follows from the difference of two readings of tcp_time_stamp_ms(), each rounded down. Where a jiffy is a whole number of
// milliseconds, the phase of the millisecond makes no difference, but each is read some microseconds after its tick: where a millisecond ends
// between the two delays, one more or one less has gone by. The worlds with another grain, which is of no account here, are those, and they are
// asked for where that matters.
func (h *hole) onElapsed(from, to int64, follows func(ms int64) int64) int64 {
	if h.w.tick%millisecond != 0 {
		return follows(h.w.ms(h.w.instant(to)) - h.w.ms(h.w.instant(from)))
	}
	ms := (to - from) * h.w.tick / millisecond
	less, usual, more := follows(ms-1), follows(ms), follows(ms+1)
	h.w.sawGrain = h.w.sawGrain || less != usual || more != usual
	switch h.w.grain {
	case millisecond / 2:
		return more
	case millisecond - 1:
		return less
	}
	return usual
}

// repeat adds a repeat of the data that a timer sends.
func (h *hole) repeat(what timeline.What, n int, at int64, nominal time.Duration, why func() string) {
	e := exact(h.sent, h.got, h.Bytes)
	e.Host, e.What, e.N, e.At = h.Host, what, n, nominal
	h.out = append(h.out, happening{Event: e, at: h.w.instant(at), jiffy: at, why: why})
	h.speak(h.w.instant(at))
}

// end is tcp_write_err.
func (h *hole) end(at int64, nominal, stamp time.Duration) {
	e := timeline.Event{Host: h.Host, What: timeline.SocketError, Errno: "ETIMEDOUT", Bound: timeline.Bound{At: nominal}}
	why := say("first fire %s or more after RTO 1 (%v)", h.limitName, stamp)
	if h.SoftError != "" {
		e.Errno = h.SoftError
		why = say("first fire %s or more after RTO 1 (%v); the error is the last ICMP error's", h.limitName, stamp)
	}
	h.dead = at
	h.out = append(h.out, happening{Event: e, at: h.w.instant(at), jiffy: at, outcome: true, why: why})
}

// time is a number of jiffies as time, without the wheel.
func (h *hole) time(j int64) time.Duration { return h.w.fromJiffies(j) }
