package oracle

import (
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
)

// closing plays a Closing in one world: two ends, their timers, the programs' calls, and a path that loses one kind of packet.
type closing struct {
	Closing
	w       *world
	line    *line
	ends    [2]*finEnd // client, server
	out     []happening
	reading bool      // the client's program waits in read(2)
	flights []inbound // what is on the link, in the order in which it was sent

	floored bool   // FIN-WAIT-2 was as long as 3.5 RTOs, and not as it was set
	near    string // who sent two packets that may have come in the other order
}

// instant is when something happens: a timer's fire, or a program's call, or the arrival of what one of them sent.
type instant struct {
	at      time.Duration
	jiffy   int64         // from which a timer counts that is armed now
	tick    int64         // the jiffy of the timer that it follows from; 0: it follows from a program's call
	after   time.Duration // since the start of that jiffy
	nominal time.Duration
	late    time.Duration
}

// finEnd is one end in one world.
type finEnd struct {
	ClosingEnd
	*closing
	peer *finEnd

	state  string
	passed []passing
	small  bool // a TIME-WAIT socket, which inet_diag shows as FIN-WAIT-2 too
	owned  bool // a program still has the socket: shutdown(2)

	sent, acked, heard bool // our FIN was sent, and acknowledged; the peer's has come
	sentAt             time.Duration
	spoke              time.Duration // when it last sent something; 0: nothing since the handshake
	least              int64         // of FIN-WAIT-2, in jiffies
	repeats, again     int           // FINs sent again; acknowledgements of nothing new

	// The retransmission timer of the FIN.
	rule, atMost hole // by its limit; and by that of an orphan whose RTO has reached its ceiling
	rtx          armed
	probing      bool  // it is the probe timer
	timer        int64 // icsk_rto
	fires        int   // icsk_retransmits
	stamp        instant
	note         string

	life  armed // of FIN-WAIT-2 and TIME-WAIT
	delay armed // of the delayed ACK
}

type passing struct {
	state string
	at    time.Duration
}

// armed is a timer: the jiffy in which it fires, 0 for not armed, and that by the formula.
type armed struct {
	at            int64
	from, nominal time.Duration
}

// arm starts a timer of d jiffies, which is called so long.
func (e *finEnd) arm(m instant, d int64, wait time.Duration) armed {
	return armed{at: e.w.fire(m.jiffy, d), from: m.nominal, nominal: m.nominal + wait}
}

func (a armed) moment(w *world) instant {
	return instant{at: w.instant(a.at), jiffy: a.at, tick: a.at, nominal: a.nominal}
}

func (e *finEnd) enter(state string, m instant) {
	e.state = state
	e.passed = append(e.passed, passing{state, m.at})
}

// finSegment is what goes from one end to the other.
type finSegment struct {
	fin, rst bool
	ack      uint32
}

func (p *closing) run() {
	client, server := p.ends[0], p.ends[1]
	p.handshake(client, server)
	type call struct {
		at time.Duration
		do func(m instant)
	}
	calls := []call{{p.ClientClose, func(m instant) { client.owned, p.reading = p.Shutdown, p.Shutdown; client.close(m) }}}
	if p.ServerClose > 0 {
		calls = append(calls, call{p.ServerClose, server.close})
	}
	if p.Until > 0 {
		calls = append(calls, call{p.Until, p.quiet})
		if p.ServerClose > p.Until {
			calls[1], calls[2] = calls[2], calls[1]
		}
	}
	for _, c := range calls {
		at := p.w.call(c.at)
		p.until(at)
		c.do(instant{at: at, jiffy: p.w.jiffy(at), nominal: c.at})
	}
	p.until(1 << 62)
}

// until lets the timers fire, and the segments arrive, that come before an instant.
func (p *closing) until(over time.Duration) {
	for {
		var next *armed
		var fire func(instant)
		for _, e := range p.ends {
			for _, t := range []struct {
				*armed
				fire func(instant)
			}{{&e.rtx, e.retransmit}, {&e.life, e.expire}, {&e.delay, e.acknowledgeLate}} {
				if t.at != 0 && (next == nil || t.at < next.at) {
					next, fire = t.armed, t.fire
				}
			}
		}
		if len(p.flights) > 0 {
			first := p.first()
			f := p.flights[first]
			at := f.m.comes(p.w)
			if next == nil || at < p.w.instant(next.at) {
				if at > over {
					return
				}
				p.flights = slices.Delete(p.flights, first, first+1)
				f.to.receive(f.m, f.s)
				continue
			}
		}
		if next == nil || p.w.instant(next.at) > over {
			return
		}
		m := next.moment(p.w)
		next.at = 0
		fire(m)
	}
}

// add appends an event.
func (p *closing) add(m instant, e timeline.Event, chain string, why func() string) {
	e.At, e.After, e.Chain = m.nominal, m.after, chain
	p.out = append(p.out, happening{Event: e, at: m.at, jiffy: m.tick, late: m.late, why: why})
}

func (p *closing) handshake(client, server *finEnd) {
	m := instant{}
	p.add(m, named(client.Host, timeline.SYN, 0, exact(0, 0, 0)), "", say("first SYN: time starts here"))
	m = p.cross(client, m)
	p.add(m, named(server.Host, timeline.SYNACK, 0, exact(0, 1, 0)), "", say("answers the SYN at once"))
	if p.RTT > 0 {
		m = p.cross(server, m)
		p.cross(client, m)
	}
	p.add(m, named(client.Host, timeline.ACK, 0, exact(1, 1, 0)), "", say("completes the handshake"))
	p.add(m, named(client.Host, timeline.Connected, 0, timeline.Event{}), "", say("the SYN-ACK has come"))
}

// named fills in who does what.
func named(host string, what timeline.What, n int, e timeline.Event) timeline.Event {
	e.Host, e.What, e.N = host, what, n
	return e
}

// close is close(2) or shutdown(2): tcp_close_state, tcp_send_fin.
func (e *finEnd) close(m instant) {
	if e.state == closed { // a RST has ended it before
		return
	}
	next, why := "FIN-WAIT-1", "closes first"
	if e.heard {
		next, why = "LAST-ACK", "closes, too"
	} else if e.peer.sent {
		why = "closes, and has not heard of the other end's close"
	}
	if !e.owned {
		why += ": nobody owns the socket from here on"
	}
	e.enter(next, m)
	e.sent, e.sentAt = true, m.at
	e.timer = e.rule.rto
	wait := e.timer
	if e.probing = e.rule.pto > 0; e.probing {
		wait, e.note = e.rule.pto, "2*SRTT + 200 ms, at most the RTO: a tail loss probe"
	} else {
		e.note = "the RTO"
	}
	e.delay.at = 0 // the FIN carries the acknowledgement
	e.rtx = e.arm(m, wait, e.rule.time(wait))
	m.late += answerWithin
	e.fin(m, timeline.FIN, say("the %s's program %s", e.Host, why))
}

const closed = "CLOSED"

// fin sends the FIN.
func (e *finEnd) fin(m instant, what timeline.What, why func() string) {
	p := exact(1, e.next(), 0)
	e.add(m, named(e.Host, what, e.repeats, p), finTimer, why)
	e.deliver(m, finSegment{fin: true, ack: p.RelAck})
}

// next is the number that this end expects.
func (e *finEnd) next() uint32 {
	if e.heard {
		return 2
	}
	return 1
}

// deliver takes a segment to the other end, unless it is lost.
func (e *finEnd) deliver(m instant, s finSegment) {
	client := e == e.ends[0]
	lost := false
	switch e.Lose {
	case CloseNoFIN:
		lost = client && s.fin
	case CloseNoACK:
		lost = !client && !s.fin && !s.rst
	case CloseNoSecondFIN:
		lost = !client && s.fin
	case CloseNoLastACK:
		lost = client && !s.fin && !s.rst
	}
	e.follows(m)
	switch m = e.cross(e, m); {
	case lost:
	case e.RTT == 0:
		e.peer.receive(m, s)
	default:
		e.flights = append(e.flights, inbound{e.peer, m, s})
	}
}

// retransmit is tcp_retransmit_timer and tcp_send_loss_probe.
func (e *finEnd) retransmit(m instant) {
	rule := &e.rule
	if !e.owned && e.OrphanRetries == 0 && e.timer >= rule.most { // tcp_orphan_retries(sk, alive): not alive
		rule = &e.atMost
	}
	if !e.probing && e.fires > 0 && rule.expired(e.stamp.jiffy, m.jiffy) {
		name, stamp, limit := "tcp_orphan_retries", e.stamp.nominal, rule.limit
		if e.owned {
			name = "tcp_retries2"
		}
		if e.UserTimeout > 0 {
			name = "TCP_USER_TIMEOUT"
		}
		e.gone(m, "ETIMEDOUT", say("first fire %v (%s) or more after the first repeat by this timer (%v)", limit, name, stamp))
		return
	}
	from, waited, note := e.rtx.from, m.nominal-e.rtx.from, e.note
	wait, nominalWait := e.timer, e.rule.time(e.timer)
	if e.probing {
		e.probing, e.note = false, "the RTO, whole, from the probe"
	} else {
		e.fires++
		if e.fires == 1 {
			e.stamp = m
		}
		e.timer, e.note = e.rule.backoff(e.timer, e.fires)
		wait, nominalWait = e.timer, e.rule.time(e.timer)
		if e.UserTimeout > 0 && e.rule.clamps() {
			wait = e.rule.clampIn(e.stamp.jiffy, m.jiffy, e.timer)
			if left := e.UserTimeout - (m.nominal - e.stamp.nominal); left < nominalWait {
				nominalWait, e.note = max(left, e.rule.tick), "what is left of TCP_USER_TIMEOUT"
			}
		}
	}
	e.repeats++
	e.rtx = e.arm(m, wait, nominalWait)
	e.fin(m, timeline.FINAgain, say("%v + %v, %s", from, waited, note))
}

// receive is tcp_rcv_state_process, and tcp_timewait_state_process for a small socket.
func (e *finEnd) receive(m instant, s finSegment) {
	switch {
	case e.state == closed && !s.rst:
		e.reset(m, s, "the %s knows no such connection any more")
		return
	case e.state == closed:
		return
	case s.rst:
		e.gone(m, "ECONNRESET", say("a RST ends it"))
		return
	case e.small:
		e.receiveSmall(m, s)
		return
	}
	if e.sent && !e.acked && s.ack == 2 {
		e.acked, e.rtx.at = true, 0
		if !e.finAcknowledged(m, s) {
			return
		}
	}
	switch {
	case !s.fin:
	case e.heard:
		e.again++
		e.acknowledge(m, timeline.DuplicateACK, "that FIN has come before: acknowledged again, at once")
	default:
		e.firstFIN(m)
	}
}

// finAcknowledged goes on where the other end has our FIN, and says whether what else the segment carries counts.
func (e *finEnd) finAcknowledged(m instant, s finSegment) bool {
	switch e.state {
	case "CLOSING":
		e.timeWait(m, "both ends have each other's FIN")
		return false
	case "LAST-ACK":
		e.gone(m, "", say("the last ACK has come"))
		return false
	}
	if !e.owned && e.Linger2 < 0 {
		e.gone(m, "", say("TCP_LINGER2 below 0: no FIN-WAIT-2"))
		e.reset(m, s, "the %s does not wait for the other FIN (TCP_LINGER2)")
		return false
	}
	e.least = finFloor(e.measured(m))
	e.enter("FIN-WAIT-2", m)
	if e.owned || s.fin {
		return true // what a FIN that came with it does follows
	}
	d := e.finTime()
	if most := ceilJiffies(e.w.facts, TimeWaitLen); d > most {
		e.life = e.arm(m, d-most, e.wait()-TimeWaitLen)
		return false
	}
	e.small = true
	e.life = e.arm(m, d, e.rule.time(d))
	return false
}

// finTime is tcp_fin_time in jiffies: at least 3.5 RTOs.
func (e *finEnd) finTime() int64 {
	d := ceilJiffies(e.w.facts, e.wait())
	e.floored = e.floored || e.least > d
	return max(d, e.least)
}

// firstFIN is tcp_fin.
func (e *finEnd) firstFIN(m instant) {
	e.heard = true
	if e.reading && e == e.ends[0] {
		e.reading = false
		end := m
		end.late += readWithin
		e.add(end, named(e.Host, timeline.EndOfStream, 0, timeline.Event{}), "read", say("the server's FIN has come"))
		e.out[len(e.out)-1].outcome = true
	}
	switch e.state {
	case "ESTABLISHED":
		e.enter("CLOSE-WAIT", m)
		e.delay = e.arm(m, 0, 0)
	case "FIN-WAIT-1":
		e.enter("CLOSING", m)
		e.acknowledge(m, timeline.ACK, "a FIN meets a FIN that is not acknowledged: simultaneous close, acknowledged at once")
	case "FIN-WAIT-2":
		e.acknowledge(m, timeline.ACK, "the other end closes, too: acknowledged at once")
		e.timeWait(m, "the other FIN has come")
	}
}

// receiveSmall is tcp_timewait_state_process.
func (e *finEnd) receiveSmall(m instant, s finSegment) {
	switch {
	case e.state == "TIME-WAIT": // whatever it is, the wait starts anew
		e.life = e.arm(m, ceilJiffies(e.w.facts, TimeWaitLen), TimeWaitLen)
		if s.fin {
			e.again++
			e.acknowledge(m, timeline.DuplicateACK, "TIME-WAIT acknowledges a repeated FIN, and its 60 s start anew")
		}
	case s.fin:
		e.heard = true
		e.acknowledge(m, timeline.ACK, "the other end closes, too: acknowledged at once")
		e.timeWait(m, "the other FIN has come")
	}
}

func (e *finEnd) timeWait(m instant, _ string) {
	e.rtx.at, e.small = 0, true
	e.enter("TIME-WAIT", m)
	e.life = e.arm(m, ceilJiffies(e.w.facts, TimeWaitLen), TimeWaitLen)
}

// acknowledge sends an ACK.
func (e *finEnd) acknowledge(m instant, what timeline.What, why string) {
	seq := uint32(1)
	if e.sent {
		seq = 2
	}
	e.delay.at = 0
	n := 0
	if what == timeline.DuplicateACK {
		n = e.again
	}
	e.add(m, named(e.Host, what, n, exact(seq, e.next(), 0)), "answers", say("%s", why))
	e.deliver(m, finSegment{ack: e.next()})
}

func (e *finEnd) acknowledgeLate(m instant) {
	e.acknowledge(m, timeline.ACK, "the delayed ACK of a connection that never had data is due at the next tick")
}

// reset answers a segment with a RST: its number is what the segment acknowledges, and it has no ACK flag (tcp_v4_send_reset).
func (e *finEnd) reset(m instant, s finSegment, why string) {
	e.add(m, named(e.Host, timeline.RST, 0, exact(s.ack, 0, 0)), "answers", say(why, e.Host))
	e.deliver(m, finSegment{rst: true})
}

// expire is the end of FIN-WAIT-2's and TIME-WAIT's timer.
func (e *finEnd) expire(m instant) {
	if !e.small { // tcp_keepalive_timer: what exceeds 60 s is over, and the small socket gets the same again
		e.small = true
		most := ceilJiffies(e.w.facts, TimeWaitLen)
		d := e.finTime() - most
		e.floored = e.floored || e.least > d
		d = max(d, e.least)
		e.life = e.arm(m, d, e.wait()-TimeWaitLen)
		return
	}
	from, name := e.life.from, "TIME-WAIT: TCP_TIMEWAIT_LEN"
	wait := m.nominal - from
	if e.state == "FIN-WAIT-2" {
		name = "FIN-WAIT-2: tcp_fin_timeout"
		switch {
		case e.Linger2 > 0:
			name = "FIN-WAIT-2: TCP_LINGER2"
		case e.wait() < e.rule.time(e.least):
			name = "FIN-WAIT-2: at least 3.5 RTOs"
		}
		if e.wait() > TimeWaitLen {
			name = fmt.Sprintf("%s, of which what exceeds 60 s is waited for twice", name)
		}
	}
	e.gone(m, "", say("%v + %v, %s", from, wait, name))
}

// gone ends the socket. A program that waits in read(2) learns errno.
func (e *finEnd) gone(m instant, errno string, why func() string) {
	e.rtx.at, e.life.at, e.delay.at = 0, 0, 0
	e.enter(closed, m)
	e.add(m, named(e.Host, timeline.SocketGone, 0, timeline.Event{}), "socket", why)
	if e.reading && e == e.ends[0] {
		e.reading = false
		e.add(m, named(e.Host, timeline.SocketError, 0, timeline.Event{Errno: errno}), "read", why)
		e.out[len(e.out)-1].outcome = true
	}
}

// quiet is the end of a read(2) to which nothing came.
func (p *closing) quiet(m instant) {
	if !p.reading {
		return
	}
	p.reading = false
	m.late += answerWithin
	p.add(m, named(p.ends[0].Host, timeline.Quiet, 0, timeline.Event{}), "read", say("the program has waited in read() for %v", p.Until-p.ClientClose))
	p.out[len(p.out)-1].outcome = true
}
