package oracle

import "time"

// inbound is a segment on its way to an end.
type inbound struct {
	to *finEnd
	m  instant // of its arrival
	s  finSegment
}

// cross is the moment at which the other end has what is sent now. Where the link has a delay it may be late, too, and the timers there count from
// the jiffy in which it comes.
func (p *closing) cross(m instant) instant {
	if p.RTT == 0 {
		if m.tick == 0 {
			m.late += answerWithin
		}
		return m
	}
	m.at, m.nominal, m.late = m.at+p.RTT/2, m.nominal+p.RTT/2, m.late+answerWithin
	if m.tick != 0 {
		m.after += p.RTT / 2
	}
	m.jiffy = p.w.jiffy(m.comes(p.w))
	return m
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
	r.sample(e.RTT + linkOverhead)
	r.sample(at - e.sentAt + linkOverhead)
	return r.rto(e.rule.most)
}
