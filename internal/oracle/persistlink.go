package oracle

import (
	"fmt"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
)

// On a link that holds each packet back for a time of its own, the number of a packet decides how long it is under way, and how many come before it
// hangs on what a probe meets: the peer's read, its last answer, the end of the connection. Where two of these are so near to each other that either may be first,
// a world is played in both ways (orders.go).

// first reports whether one thing comes before another.
func (s *stuck) first(a, b time.Duration) bool {
	usual := a <= b
	if s.order == nil || (a-b).Abs() > 2*answerWithin+time.Duration(s.w.tick) {
		return usual
	}
	return (s.order.pick(2) == 0) == usual
}

// limited is tcp_oow_rate_limited of a probe that is sent in a jiffy and arrives at an instant: whether the peer has answered one too short a time ago.
func (s *stuck) limited(at int64, there time.Duration) bool {
	soon, late := at, at
	if s.RTT > 0 {
		soon, late = s.w.jiffy(there), s.w.jiffy(there+answerWithin)
	}
	if s.hasAnswered && s.limitJ > 0 && s.tooSoon(soon, late) {
		return true
	}
	s.hasAnswered, s.answered = true, [2]int64{soon, late}
	return false
}

// tooSoon reports whether less than tcp_invalid_ratelimit lies between an answer and a probe that comes at the soonest and at the latest in these jiffies.
func (s *stuck) tooSoon(soon, late int64) bool {
	least, most := soon-s.answered[1], late-s.answered[0]
	if s.order == nil {
		if s.lag(1) > 0 { // the one before was late, and this one is not
			return least < s.limitJ
		}
		return most < s.limitJ
	}
	switch { // a jiffy more: each processor counts its own
	case least-1 >= s.limitJ:
		return false
	case most+1 < s.limitJ:
		return true
	}
	usual := soon-s.answered[0] < s.limitJ
	return (s.order.pick(2) == 0) == usual
}

// tell puts the window update that the peer's read makes on the link.
func (s *stuck) tell() {
	if s.told {
		return
	}
	at := s.Drain + s.slip
	s.told, s.updateTakes = true, s.line.toClient(at)
	s.opens = at + s.updateTakes + s.lag(1)
}

// named is what is sent, and so which packet has which number.
func (s *stuck) named() string {
	probes, resets := 0, 0
	var closed, open []string
	for _, h := range s.out {
		switch h.What {
		case timeline.WindowProbe:
			probes++
		case timeline.WindowProbeACK:
			closed = append(closed, fmt.Sprint(probes))
		case timeline.KeepaliveACK:
			open = append(open, fmt.Sprint(probes))
		case timeline.RST:
			resets++
		}
	}
	list := func(of []string) string {
		if len(of) == 0 {
			return "none"
		}
		return strings.Join(of, ", ")
	}
	name := fmt.Sprintf("the RTO is %v, and of the probes up to number %d those are answered with window 0: %s; and with an open window: %s", s.w.fromJiffies(s.baseJ), probes, list(closed), list(open))
	if resets > 0 {
		name += fmt.Sprintf("; %s after the end", plural(resets, "reset"))
	}
	if s.delayed {
		name += "; the peer's program closed after its delayed ACK"
	}
	return name
}
