package oracle

import (
	"cmp"
	"time"
)

// inbound is a segment on its way to an end.
type inbound struct {
	to *finEnd
	m  instant // of its arrival
	s  finSegment
}

// cross is the moment at which the other end has what an end sends now. Where the link has a delay it may be late, too, and the timers there count from
// the jiffy in which it comes.
func (p *closing) cross(from *finEnd, m instant) instant {
	if p.RTT == 0 {
		if m.tick == 0 {
			m.late += answerWithin
		}
		return m
	}
	way := p.line.toServer
	if from == p.ends[1] {
		way = p.line.toClient
	}
	by := way(m.at)
	m.at, m.nominal, m.late = m.at+by, m.nominal+by, m.late+answerWithin
	if m.tick != 0 {
		m.after += by
	}
	m.jiffy = p.w.jiffy(m.comes(p.w))
	return m
}

// first is the segment on the link that arrives first. One that is held back for longer comes behind what the other end sent later.
func (p *closing) first() int {
	first := 0
	for i := range p.flights {
		if !p.Link.Zero() && p.flights[i].m.comes(p.w) < p.flights[first].m.comes(p.w) {
			first = i
		}
	}
	return first
}

// follows notes where a packet of an end comes so soon behind the one before, of another cause, that it may be the first of the two: each has the
// other's draw then.
func (e *finEnd) follows(m instant) {
	if apart := m.at - e.spoke; e.spoke > 0 && apart < 2*(e.rule.tick+answerWithin) {
		e.near = e.Host
	}
	e.spoke = m.at
}

// comes is the instant in this world.
func (m instant) comes(w *world) time.Duration {
	if m.late == 0 {
		return m.at
	}
	return m.at + w.late(m.late)
}

// measured is the RTO when the FIN's acknowledgement has come: a sample of its own, in which the other end's delayed ACK counts, unless the FIN was
// repeated (tcp_ack_update_rtt; RFC 6298 section 3).
func (e *finEnd) measured(m instant) int64 {
	if e.repeats > 0 {
		return e.rule.rto
	}
	at := m.at
	if e.RTT > 0 {
		at = m.comes(e.w)
	}
	r := newEstimator(e.w.facts, e.RTOMin)
	r.sample(cmp.Or(e.opened(e.ClosingEnd), e.RTT+linkOverhead))
	r.sample(at - e.sentAt + linkOverhead)
	return r.rto(e.rule.most)
}
