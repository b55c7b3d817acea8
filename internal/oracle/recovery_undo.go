package oracle

import "time"

// What a sender takes back when it learns that a repeat was needless: the segment had only been late.

// undoing is tp->undo_marker and what goes with it.
type undoing struct {
	undo         bool          // undo_marker is set
	undoRetrans  int           // repeats that no D-SACK has told to be needless; -1: none was sent
	retransStamp time.Duration // retrans_stamp: when the first repeat was sent; 0: none
	priorThresh  int           // prior_ssthresh
}

// initUndo is tcp_init_undo.
func (s *sender) initUndo() {
	s.undo, s.undoRetrans = true, s.resentOut()
	if s.undoRetrans == 0 {
		s.undoRetrans = -1
	}
}

// resentOut is tp->retrans_out.
func (s *sender) resentOut() int { return s.count(func(x outgoing) bool { return x.resent }) }

// delayed is tcp_packet_delayed: the acknowledgement echoes a timestamp from before the first repeat.
func (s *sender) delayed(k *ackState) bool { return s.retransStamp > 0 && k.echo < s.retransStamp }

// undoReduction is tcp_undo_cwnd_reduction with unmark_loss, which the callers without it never need: all is SACKed or acknowledged then.
func (s *sender) undoReduction() {
	for i := range s.seg {
		s.seg[i].lost = false
	}
	s.cwnd, s.ssthresh, s.undo = max(s.cwnd, s.priorCwnd), max(s.ssthresh, s.priorThresh), false
	s.rack.advanced = true
}

// undoPartial is tcp_try_undo_partial: in recovery a hole was filled by a late segment, and not by its repeat. While repeats are under way,
// nothing more is sent again.
func (s *sender) undoPartial(k *ackState) (wait bool) {
	if !s.undo || !s.delayed(k) {
		return false
	}
	s.b.undone = true
	s.reordered(k.una)
	if s.resentOut() > 0 {
		return true
	}
	s.undoReduction()
	s.tryToOpen()
	return false
}

// undoTwice is tcp_try_undo_dsack: all repeats were needless.
func (s *sender) undoTwice() {
	if s.undo && s.undoRetrans == 0 {
		s.cwnd, s.ssthresh, s.undo = max(s.cwnd, s.priorCwnd), max(s.ssthresh, s.priorThresh), false
		s.rack.advanced = true
		s.tryToOpen()
	}
}

// tryToOpen is tcp_try_to_open with tcp_try_keep_open.
func (s *sender) tryToOpen() {
	again := s.resentOut() > 0 || s.una < len(s.seg) && s.seg[s.una].ever // tcp_any_retrans_done
	if !again {
		s.retransStamp = 0
	}
	s.state = caOpen
	if again || s.sackedOut+s.lostOut() > 0 {
		s.state = caDisorder
	}
	s.highSeq = len(s.seg)
}
