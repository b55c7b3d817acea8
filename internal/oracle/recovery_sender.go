package oracle

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
)

// caState is enum tcp_ca_state, without CWR, which a burst that is followed by nothing cannot tell from Open.
type caState int

const (
	caOpen caState = iota
	caDisorder
	caRecovery
	caLoss
)

// pending is icsk_pending: what the one retransmission timer of a socket is armed for.
type pending int

const (
	timerOff pending = iota
	timerRTO
	timerProbe
	timerReorder
)

// outgoing is a segment in the sender's retransmission queue: tcp_skb_cb.sacked.
type outgoing struct {
	sacked, lost bool
	resent       bool // TCPCB_SACKED_RETRANS: a copy is in flight
	ever         bool // TCPCB_EVER_RETRANS
	sent         time.Duration
	copies       int // how often it was sent again
}

// sender is the sending socket. Segments count from 0; una is the first that is not acknowledged.
type sender struct {
	b *burst

	seg       []outgoing
	una       int
	state     caState
	highSeq   int
	cwnd      int
	ssthresh  int
	priorCwnd int
	delivered int
	lostTotal int // tp->lost

	sackedOut  int // with SACK: marked; without: duplicate ACKs
	reordering int
	reordSeen  bool

	prrDelivered, prrOut int

	rtt    rttEstimator
	minRTT time.Duration
	rack   rackState

	timer     pending
	timerFire int64  // the jiffy in which it fires
	timerID   int    // what was armed before is void
	timerFrom origin // what armed it
	timerText string // the formula
	timerWait time.Duration

	undoing
	retransmits int // icsk_retransmits
	backoff     int // icsk_backoff
	probed      bool
	frto        bool
}

// rackState is tp->rack.
type rackState struct {
	sent     time.Duration // mstamp: when the latest delivered segment was sent
	end      int           // and its end
	rtt      time.Duration
	advanced bool
}

func newSender(b *burst) *sender {
	s := &sender{b: b, seg: make([]outgoing, b.Segments), cwnd: max(b.Segments, 10), ssthresh: 1 << 30, reordering: b.Reordering}
	s.rtt = rttEstimator{floor: b.RTOMin}
	return s
}

func (s *sender) packetsOut() int { return len(s.seg) - s.una }

func (s *sender) count(f func(outgoing) bool) (n int) {
	for _, x := range s.seg[s.una:] {
		if f(x) {
			n++
		}
	}
	return n
}

func (s *sender) lostOut() int { return s.count(func(x outgoing) bool { return x.lost }) }

// inFlight is tcp_packets_in_flight.
func (s *sender) inFlight() int {
	return s.packetsOut() - s.sackedOut - s.lostOut() + s.resentOut()
}

// write is the one write of all segments: tcp_write_xmit.
func (s *sender) write(at time.Duration, from origin) {
	for i := range s.seg {
		s.seg[i].sent = at
		left, since := at, from
		if busy := time.Duration(i) * s.b.variant.leaves; busy > 0 {
			left, since.nominal = at+busy, from.nominal+busy
		}
		s.b.emitData(left, since, i, timeline.Data, 0, say("segment %d of %d, in the first flight", i+1, len(s.seg)))
		s.b.transmit(left, since, i)
	}
	s.scheduleProbeOrRTO(at, from, false)
}

// rto is icsk_rto in jiffies.
func (s *sender) rto() int64 {
	return min(s.b.w.toJiffies(s.rtt.rto()), s.b.w.toJiffies(s.b.RTOMax))
}

// arm is tcp_reset_xmit_timer.
func (s *sender) arm(at time.Duration, from origin, what pending, jiffies int64, text string) {
	w := s.b.w
	jiffies = min(jiffies, w.toJiffies(s.b.RTOMax))
	s.timer, s.timerFire, s.timerFrom, s.timerText = what, w.fire(w.jiffy(at), jiffies), from, text
	s.timerWait = w.fromJiffies(jiffies)
	s.timerID++
	id := s.timerID
	s.b.at(w.instant(s.timerFire), func() {
		if s.timerID == id && s.timer != timerOff {
			s.fire()
		}
	})
}

func (s *sender) disarm() { s.timer = timerOff; s.timerID++ }

// probeAllowed is the first half of tcp_schedule_loss_probe.
func (s *sender) probeAllowed() bool {
	return s.b.SACK && s.b.EarlyRetrans >= 3 && s.packetsOut() > 0 && s.state == caOpen
}

// scheduleProbeOrRTO is tcp_set_xmit_timer: advancing says that new data was acknowledged just now, so that the RTO would start anew.
func (s *sender) scheduleProbeOrRTO(at time.Duration, from origin, advancing bool) {
	if !s.probeAllowed() {
		s.rearmRTO(at, from)
		return
	}
	f := s.b.w.facts
	extra, text := 2*time.Millisecond, "2 ms" // TCP_TIMEOUT_MIN_US
	if s.packetsOut() == 1 {
		extra, text = s.b.RTOMin, fmt.Sprintf("%v, because one segment is out and its ACK may be delayed", s.b.RTOMin)
	}
	var wait int64
	if f.Version.AtLeast(6, 6) {
		wait = s.b.w.toJiffies(2*s.rtt.smooth() + extra)
	} else { // TCP_TIMEOUT_MIN is 2 jiffies
		wait = s.b.w.toJiffies(2*s.rtt.smooth()) + 2
		if s.packetsOut() == 1 {
			wait = s.b.w.toJiffies(2*s.rtt.smooth()) + s.b.w.toJiffies(s.b.RTOMin)
		}
	}
	text = fmt.Sprintf("2 RTT + %s", text)
	left := s.rto()
	if !advancing {
		left = s.b.w.toJiffies(s.seg[s.una].sent + s.b.w.fromJiffies(s.rto()) - at)
	}
	if left > 0 && left < wait {
		wait, text = left, "the RTO, which is sooner than 2 RTT + 200 ms"
	}
	s.arm(at, from, timerProbe, wait, text)
}

// rearmRTO is tcp_rearm_rto.
func (s *sender) rearmRTO(at time.Duration, from origin) {
	if s.packetsOut() == 0 {
		s.disarm()
		return
	}
	rto := s.rto()
	if s.timer == timerReorder || s.timer == timerProbe {
		rto = max(s.b.w.toJiffies(s.seg[s.una].sent+s.b.w.fromJiffies(rto)-at), 1)
	}
	s.arm(at, from, timerRTO, rto, "the retransmission timeout")
}

// fire is tcp_write_timer_handler.
func (s *sender) fire() {
	what, at := s.timer, s.b.w.instant(s.timerFire)
	from := s.timerFrom.timer(s.timerFire, s.timerWait)
	s.timer = timerOff
	switch what {
	case timerProbe:
		s.sendProbe(at, from)
	case timerReorder:
		s.reorderTimeout(at, from)
	case timerRTO:
		s.timeout(at, from)
	}
}

// sendProbe is tcp_send_loss_probe: nothing new is to be sent, so it is the last segment.
func (s *sender) sendProbe(at time.Duration, from origin) {
	last := len(s.seg) - 1
	if !s.probed {
		s.probed = true
		text := s.timerText
		s.resend(at, from, last, timeline.TailLossProbe, 0, say("nothing was heard for %s: a tail loss probe, the last segment again", text))
	}
	s.rearmRTO(at, from)
}

// resend is __tcp_retransmit_skb.
func (s *sender) resend(at time.Duration, from origin, i int, what timeline.What, n int, why func() string) {
	x := &s.seg[i]
	x.sent, x.resent, x.ever = at, true, true
	x.copies++
	if s.retransStamp == 0 {
		s.retransStamp = at
	}
	s.undoRetrans = max(s.undoRetrans, 0) + 1
	s.b.emitData(at, from, i, what, n, why)
	s.b.transmit(at, from, i)
}

// timeout is tcp_retransmit_timer with tcp_enter_loss.
func (s *sender) timeout(at time.Duration, from origin) {
	fresh := s.state < caRecovery
	if !s.b.SACK {
		s.sackedOut = 0
	}
	for i := s.una; i < len(s.seg); i++ {
		if i == s.una || s.rack.rtt-(at-s.seg[i].sent) <= 0 {
			s.markLost(i)
		}
	}
	if s.state <= caDisorder || s.highSeq <= s.una || s.state == caLoss && s.retransmits == 0 {
		s.initUndo()
		s.priorCwnd, s.priorThresh, s.ssthresh = s.cwnd, s.ssthresh, max(s.cwnd>>1, 2)
	}
	s.cwnd = s.inFlight() + 1
	s.frto = s.b.FRTO && (fresh || s.retransmits > 0)
	s.state, s.highSeq = caLoss, len(s.seg)
	s.retransmits++
	n, text := s.retransmits, s.timerText
	s.resend(at, from, s.una, timeline.RTORetransmission, n, say("%s ran out, the %s time in a row: the first segment that is not acknowledged again, and all others count as lost", text, ordinal(n)))
	s.backoff++
	s.arm(at, from, timerRTO, s.rto()<<s.backoff, "the doubled retransmission timeout")
}

// reorderTimeout is tcp_rack_reo_timeout.
func (s *sender) reorderTimeout(at time.Duration, from origin) {
	before, lost := s.inFlight(), s.lostTotal
	s.detect(at)
	if before != s.inFlight() {
		if s.state != caRecovery {
			s.enterRecovery()
			s.reduce(1, s.lostTotal-lost, false)
		}
		text := s.timerText
		s.retransmit(at, from, func(int) func() string {
			return say("RACK: too few SACKs to be sure, so it waited for late ones for %s, and they did not come", text)
		})
	}
	if s.timer != timerRTO {
		s.rearmRTO(at, from)
	}
}

// markLost is tcp_mark_skb_lost.
func (s *sender) markLost(i int) {
	x := &s.seg[i]
	switch {
	case x.sacked:
	case x.lost:
		x.resent = false
	default:
		x.lost = true
		s.lostTotal++
	}
}

// retransmit is tcp_xmit_retransmit_queue: the lost segments in order, as many as the window lets out.
func (s *sender) retransmit(at time.Duration, from origin, why func(i int) func() string) {
	head := false
	for i := s.una; i < len(s.seg); i++ {
		x := &s.seg[i]
		if !x.lost || x.sacked || x.resent {
			continue
		}
		if s.cwnd-s.inFlight() <= 0 {
			break
		}
		what, n := timeline.FastRetransmit, 0
		if s.state == caLoss {
			what, n = timeline.DataAgain, x.copies+1
		}
		s.resend(at, from, i, what, n, why(i))
		if s.state == caRecovery {
			s.prrOut++
		}
		head = head || i == s.una && s.timer != timerReorder
	}
	if head {
		s.arm(at, from, timerRTO, s.rto()<<s.backoff, "the retransmission timeout")
	}
}
