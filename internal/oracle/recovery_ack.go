package oracle

import (
	"time"
)

// returned is an acknowledgement on its way: how far, and which segments above arrived too, as SACK blocks say or would say.
type returned struct {
	ack  int
	have []bool
	dup  int // which duplicate ACK it is; 0: none
	// twice is the segment, from 1, that came a second time, which it answers and tells with SACK (D-SACK, RFC 2883); 0: none.
	twice int
	echo  time.Duration // when the segment was sent whose timestamp it echoes
	// window: it is the first one after the handshake, so it updates the window and does not count as a duplicate (tcp_may_update_window:
	// its number is after that of the SYN-ACK).
	window bool
}

// ackState is what tcp_ack collects of one acknowledgement.
type ackState struct {
	at                   time.Duration
	from                 origin
	advanced, dataSacked bool
	retransAcked         bool // FLAG_RETRANS_DATA_ACKED
	origAcked            bool // FLAG_ORIG_SACK_ACKED
	setTimer             bool // FLAG_SET_XMIT_TIMER
	resendLost           bool // REXMIT_LOST
	lostAgain            bool // FLAG_LOST_RETRANS
	sackRTT              time.Duration
	delivered, lost      int // before
	acked                int
	highSeq, una         int
	echo                 time.Duration
}

// acknowledge is tcp_ack.
func (s *sender) acknowledge(at time.Duration, from origin, a returned) {
	k := &ackState{at: at, from: from, echo: a.echo, sackRTT: -1, delivered: s.delivered, lost: s.lostTotal, highSeq: s.highSeq, una: s.una}
	if a.ack > s.una {
		s.retransmits, k.advanced = 0, true
	}
	if s.b.SACK {
		s.readSACK(k, a)
	}
	s.clean(k, a.ack)
	if s.una == len(s.seg) {
		s.disarm()
		return // nothing follows the burst
	}
	if k.dataSacked || !k.advanced || s.state != caOpen {
		s.alert(k, a)
	}
	if k.setTimer {
		s.scheduleProbeOrRTO(at, from, true)
	}
	if n := s.delivered - k.delivered; s.state == caRecovery {
		s.reduce(n, s.lostTotal-k.lost, k.advanced)
	} else if k.acked > 0 && s.cwnd < s.ssthresh { // tcp_slow_start
		s.cwnd += n
	}
	if k.resendLost {
		s.retransmit(at, from, s.whyResent(k, a))
	}
}

// readSACK is tcp_sacktag_write_queue.
func (s *sender) readSACK(k *ackState, a returned) {
	reordered := s.readTwice(a.twice)
	for i := max(a.ack, s.una); i < len(s.seg); i++ {
		x := &s.seg[i]
		if !a.have[i] || x.sacked {
			continue
		}
		if x.resent && x.lost {
			x.resent, x.lost = false, false
		} else if !x.resent {
			if !x.ever {
				k.sackRTT = max(k.sackRTT, k.at-x.sent)
				if i < s.highestSACK() {
					reordered = min(reordered, i)
				}
				if i < s.highSeq {
					k.origAcked = true
				}
			}
			x.lost = false
		}
		x.sacked = true
		s.sackedOut++
		s.delivered++
		k.dataSacked = true
		s.rackAdvance(i, k.at)
	}
	if s.state != caLoss {
		s.reordered(reordered)
	}
}

// readTwice is tcp_check_dsack and the D-SACK's part of tcp_sacktag_one: a copy of a segment was needless. It returns the segment that was
// reordered: one that is SACKed already; or none, which is beyond the last.
func (s *sender) readTwice(segment int) (reordered int) {
	reordered = len(s.seg)
	if segment == 0 {
		return reordered
	}
	if s.undo && s.undoRetrans > 0 {
		s.undoRetrans--
	}
	if i := segment - 1; i >= s.una {
		if s.seg[i].sacked && s.seg[i].ever {
			reordered = i
		}
		s.seg[i].resent = false // of S|R and plain R
	}
	return reordered
}

// highestSACK is tcp_highest_sack_seq: the highest segment that is SACKed, or the first that is not acknowledged.
func (s *sender) highestSACK() int {
	for i := len(s.seg) - 1; i > s.una; i-- {
		if s.seg[i].sacked {
			return i
		}
	}
	return s.una
}

// reordered is tcp_check_sack_reordering: segment low, which was never sent again, came after one that was sent later.
func (s *sender) reordered(low int) {
	if !s.b.SACK || low >= s.highestSACK() {
		return
	}
	s.reordering = max(s.reordering, min(s.highestSACK()-low, maxReordering))
	s.reordSeen = true
}

const maxReordering = 300 // tcp_max_reordering

// clean is tcp_clean_rtx_queue with tcp_ack_update_rtt.
func (s *sender) clean(k *ackState, ack int) {
	sample, highest, reordered := time.Duration(-1), s.highestSACK(), len(s.seg)
	for ; s.una < ack; s.una++ {
		x := &s.seg[s.una]
		if x.ever {
			k.retransAcked = true
		} else if !x.sacked {
			sample = max(sample, k.at-x.sent)
			reordered = min(reordered, s.una)
			if s.una < s.highSeq {
				k.origAcked = true
			}
		}
		switch {
		case x.sacked:
			s.sackedOut--
		case s.b.SACK:
			s.delivered++
			if !x.ever || k.echo >= x.sent { // tcp_skb_spurious_retrans
				s.rackAdvance(s.una, k.at)
			}
		}
		*x = outgoing{sent: x.sent, copies: x.copies, ever: x.ever}
		k.acked++
	}
	if k.retransAcked {
		sample = -1
	}
	if k.acked > 0 {
		k.setTimer = true
		if !s.b.SACK {
			s.removeDups(k.acked)
			k.origAcked = k.origAcked && !k.retransAcked
		} else if reordered < highest {
			s.reordered(reordered)
		}
	} else if s.una < len(s.seg) && k.sackRTT > k.at-s.seg[s.una].sent {
		k.setTimer = true
	}
	if sample < 0 {
		sample = k.sackRTT
	}
	if sample < 0 && k.acked > 0 {
		sample = k.at - k.echo // by the echoed timestamp (tcp_rtt_tsopt_us)
	}
	if sample >= 0 {
		s.sample(sample)
		s.backoff = 0
	}
}

// sample is tcp_update_rtt_min and tcp_rtt_estimator.
func (s *sender) sample(rtt time.Duration) {
	if s.minRTT == 0 || rtt < s.minRTT {
		s.minRTT = rtt
	}
	s.rtt.sample(rtt, s.una, len(s.seg))
}

// rackAdvance is tcp_rack_advance: segment i was delivered.
func (s *sender) rackAdvance(i int, at time.Duration) {
	x := s.seg[i]
	if x.ever && s.fasterThanAll(at-x.sent) {
		return // rtt_us < tcp_min_rtt(): it may be the first copy's acknowledgement
	}
	s.rack.rtt, s.rack.advanced = at-x.sent, true
	if x.sent > s.rack.sent || x.sent == s.rack.sent && i+1 > s.rack.end {
		s.rack.sent, s.rack.end = x.sent, i+1
	}
}

// fasterThanAll reports whether a round trip is shorter than the shortest before. Where the link holds nothing back, microseconds decide.
func (s *sender) fasterThanAll(rtt time.Duration) bool {
	if d := rtt - s.minRTT; !s.b.Link.Zero() && d.Abs() > linkLag/2 {
		return d < 0
	}
	return s.b.variant.fast
}

// detect is tcp_rack_detect_loss; it returns the longest time that is left for a segment not to count as lost.
func (s *sender) detect(at time.Duration) (wait time.Duration) {
	window := s.reorderWindow()
	for i := s.una; i < len(s.seg); i++ {
		x := s.seg[i]
		if x.sacked || x.lost && !x.resent {
			continue
		}
		if x.sent > s.rack.sent || x.sent == s.rack.sent && i+1 >= s.rack.end {
			continue
		}
		if left := x.sent + s.rack.rtt + window - at; left > 0 {
			wait = max(wait, left)
		} else {
			s.markLost(i)
		}
	}
	return wait
}

// reorderWindow is tcp_rack_reo_wnd.
func (s *sender) reorderWindow() time.Duration {
	if !s.reordSeen {
		if s.state >= caRecovery {
			return 0
		}
		if s.sackedOut >= s.reordering && s.b.TCPRecovery&4 == 0 { // TCP_RACK_NO_DUPTHRESH
			return 0
		}
	}
	return min(s.minRTT/4, s.rtt.smooth())
}

// identify is tcp_identify_packet_loss.
func (s *sender) identify(k *ackState) {
	if !s.b.SACK { // tcp_newreno_mark_lost
		if s.state < caRecovery && s.sackedOut >= s.reordering || s.state == caRecovery && k.advanced {
			s.markLost(s.una)
		}
		return
	}
	if !s.rack.advanced {
		return
	}
	s.rack.advanced = false
	before := s.resentOut()
	if wait := s.detect(k.at); wait > 0 {
		k.setTimer = false
		jiffies := s.b.w.toJiffies(wait + 2*time.Millisecond)
		if !s.b.w.facts.Version.AtLeast(6, 6) {
			jiffies = s.b.w.toJiffies(wait) + 2
		}
		s.arm(k.at, k.from, timerReorder, jiffies, "a quarter of the shortest RTT + 2 ms")
	}
	k.lostAgain = k.lostAgain || s.resentOut() < before
}

// alert is tcp_fastretrans_alert.
func (s *sender) alert(k *ackState, a returned) {
	dups := 0
	if !k.advanced && !a.window && (a.twice == 0 || !s.b.SACK) {
		dups = 1
	}
	if s.state == caOpen {
		s.retransStamp = 0
	}
	switch s.state {
	case caRecovery:
		if !k.advanced && !s.b.SACK {
			s.addDups(dups)
		}
		if k.advanced && s.undoPartial(k) {
			return
		}
		s.undoTwice()
		s.identify(k)
		if s.state != caRecovery {
			if s.lostOut() == 0 {
				return
			}
			s.enterRecovery()
		}
	case caLoss:
		s.processLoss(k)
		s.identify(k)
		if s.state != caOpen && !k.lostAgain {
			return
		}
		fallthrough
	default:
		if !s.b.SACK {
			if k.advanced {
				s.sackedOut = 0
			}
			s.addDups(dups)
		}
		if s.state <= caDisorder {
			s.undoTwice()
		}
		s.identify(k)
		if s.lostOut() == 0 {
			s.tryToOpen()
			return
		}
		s.enterRecovery()
	}
	k.resendLost = true
}

// processLoss is tcp_process_loss. There is no new data to send, so F-RTO ends at its first acknowledgement.
func (s *sender) processLoss(k *ackState) {
	if k.advanced && s.undo && (s.undoRetrans == 0 || s.delayed(k)) || s.frto && k.origAcked { // spurious: what was not sent again has arrived (tcp_try_undo_loss)
		s.undoReduction()
		s.retransmits, s.state, s.frto = 0, caOpen, false
		return
	}
	if k.advanced {
		s.frto = false
		if !s.b.SACK {
			s.sackedOut = 0
		}
	}
	k.resendLost = true
}

// enterRecovery is tcp_enter_recovery.
func (s *sender) enterRecovery() {
	s.initUndo()
	s.priorCwnd, s.priorThresh, s.ssthresh = s.cwnd, s.ssthresh, max(s.cwnd>>1, 2)
	s.prrDelivered, s.prrOut = 0, 0
	s.state, s.highSeq, s.probed = caRecovery, len(s.seg), false
}

// reduce is tcp_cwnd_reduction: proportional rate reduction (RFC 6937).
func (s *sender) reduce(delivered, lost int, advanced bool) {
	if delivered <= 0 {
		return
	}
	delta := s.ssthresh - s.inFlight()
	s.prrDelivered += delivered
	out := 0
	if delta < 0 {
		out = (s.ssthresh*s.prrDelivered+s.priorCwnd-1)/s.priorCwnd - s.prrOut
	} else {
		out = max(s.prrDelivered-s.prrOut, delivered)
		if advanced && lost == 0 {
			out++
		}
		out = min(delta, out)
	}
	if s.prrOut == 0 {
		out = max(out, 1)
	}
	s.cwnd = s.inFlight() + out
}

// addDups is tcp_add_reno_sack.
func (s *sender) addDups(n int) {
	if n == 0 {
		return
	}
	before := s.sackedOut
	s.sackedOut += n
	s.limitDups(0)
	s.delivered += max(s.sackedOut-before, 0)
}

// removeDups is tcp_remove_reno_sacks.
func (s *sender) removeDups(acked int) {
	s.delivered += max(acked-s.sackedOut, 1)
	s.sackedOut = max(s.sackedOut-(acked-1), 0)
	s.limitDups(acked)
}

// limitDups is tcp_check_reno_reordering.
func (s *sender) limitDups(acked int) {
	holes := min(max(s.lostOut(), 1), s.packetsOut())
	if s.sackedOut+holes <= s.packetsOut() {
		return
	}
	s.sackedOut = s.packetsOut() - holes
	s.reordering = min(s.packetsOut()+acked, maxReordering)
	s.reordSeen = true
}

// whyResent says what an acknowledgement told the sender.
func (s *sender) whyResent(k *ackState, a returned) func(int) func() string {
	state, sack, dup, threshold := s.state, s.b.SACK, a.dup, s.reordering
	return func(i int) func() string {
		switch {
		case state == caLoss:
			return say("slow start after the retransmission timer: each acknowledgement lets lost segments out")
		case !sack && k.advanced:
			return say("the acknowledgement moved only to segment %d (a partial one), so that one is missing too: NewReno learns of one hole each RTT", i)
		case !sack:
			return say("duplicate ACK %d: %d of them say that segment %d is missing", dup, threshold, i+1)
		case k.advanced:
			return say("RACK in recovery: segments sent later have arrived, so segment %d is lost", i+1)
		}
		return say("duplicate ACK %d with SACK: segments sent after segment %d have arrived, so RACK counts it as lost", dup, i+1)
	}
}
