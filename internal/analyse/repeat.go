package analyse

import (
	"fmt"
	"maps"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/pcapout"
)

// repeats is why a direction repeated what it repeated.
type repeats struct {
	counts     map[int64]int // first byte of a repeat -> how often
	repeatedAt time.Time
	probed     bool  // a tail loss probe is out: no second one until progress (tlp_high_seq)
	fires      int   // of the retransmission timer since progress (icsk_retransmits)
	recover    int64 // fast recovery lasts until this is acknowledged (high_seq in TCP_CA_Recovery)
	loss       int64 // recovery from a fire of the timer lasts until this is acknowledged (high_seq in TCP_CA_Loss)
	guess      *guess
	early      bool // what is in flight left before the handshake was done (Fast Open): no probe timer runs for it
}

// guess is a name that the next repeat may change.
type guess struct {
	index int   // of the packet in its connection
	named Named // as it is named now
	span
	at  time.Time
	gap time.Duration // silence before it
	new bool          // it carried new data
}

// progress is called when everything that a timer could have repeated was acknowledged, or its first part.
func (r *repeats) progress() { r.probed, r.fires, r.guess = false, 0, nil }

// repeatedWithin reports whether this end repeated something so short a time ago that an acknowledgement may answer it.
func (r *repeats) repeatedWithin(at time.Time, d time.Duration) bool {
	return !r.repeatedAt.IsZero() && at.Sub(r.repeatedAt) <= d
}

// Times that tell what an acknowledgement set off from what a timer set off.
const (
	// A sender reacts to an acknowledgement within microseconds; its earliest timer, the probe timeout, is two round trips and 2 ms
	// (TCP_TIMEOUT_MIN_US, rounded up to jiffies). Between the two: one round trip and this.
	promptly = 1500 * time.Microsecond
	// RACK waits for reordering up to one round trip, and its timer adds 2 jiffies and fires up to one late (tcp_rack_mark_lost): 30 ms at
	// HZ=100. The retransmission timer is 200 ms and more, where nobody changed tcp_rto_min_us.
	afterReordering = 35 * time.Millisecond
	// tcp_schedule_loss_probe adds TCP_RTO_MIN where one segment is out, because its acknowledgement may be delayed.
	probeAlone = 200 * time.Millisecond
	probeMore  = 2 * time.Millisecond
	// A timer fires late by up to an eighth, and by some jiffies: 40 ms covers HZ=100.
	probeLate = 40 * time.Millisecond
)

// roundTrip is the shortest round trip between both ends, as far as it is known.
func (f *flow) roundTrip() time.Duration { return f.client.delay + f.server.delay }

// nameData names a segment with data or FIN.
func (f *flow) nameData(n *Named, s *pcapout.Segment, from, to *direction) {
	lo := from.position(s.Seq)
	b := span{lo, lo + int64(s.Length)}
	isFIN := s.Flags.Has(pcapout.FIN)
	if !isFIN && f.nameProbe(n, s, from, to) {
		return
	}
	fills := b.lo < from.high
	if !fills && from.allAcked() {
		from.progress() // what was repeated before is over, even if its acknowledgement was an old one here
	}
	again := from.sawData(b.lo, s.Length)
	n.What = timeline.Data
	if isFIN {
		n.What, n.N = from.sawFIN(b.hi)
		b.hi++
		again = n.What == timeline.FINAgain
	}
	if !again && from == &f.server {
		from.early = !f.established
	}
	switch {
	case again:
		f.nameRepeat(n, s.Time, from, b)
	case fills:
		n.Detail = "fills a gap: late, or the first copy did not pass here"
	case !isFIN && f.isProbe(from, s.Time):
		n.What, n.Detail = timeline.TailLossProbe, newAfterSilence
		from.probed, from.guess = true, &guess{index: f.packets, span: b, at: s.Time, new: true}
	}
	if again {
		from.repeatedAt = s.Time
	}
	if from.acked && b.hi <= from.una {
		to.owe(timeline.DuplicateACK, "", s.Time)
	} else if from.acked && f.agreed() && b.lo > from.una+from.window {
		to.owe(timeline.ChallengeACK, "answers data outside the window", s.Time)
	}
	from.sends(b, s.Time)
}

// maxCounts bounds the counters of repeats in a direction. They are for N only.
const maxCounts = 1 << 12

// nameRepeat names bytes that passed before. The cause of a repeated FIN is told in words only: it stays a repeated FIN.
func (f *flow) nameRepeat(n *Named, at time.Time, from *direction, b span) {
	if from.counts == nil {
		from.counts = map[int64]int{}
	}
	if len(from.counts) >= maxCounts { // forget what arrived; where nothing does, everything
		maps.DeleteFunc(from.counts, func(lo int64, _ int) bool { return from.acked && lo < from.una })
		if len(from.counts) >= maxCounts {
			clear(from.counts)
		}
	}
	from.counts[b.lo]++
	what, count, detail := f.cause(at, from, b)
	if what == timeline.DataAgain {
		count = from.counts[b.lo]
	}
	if n.What == timeline.FINAgain {
		n.Detail = join(causeText(what, count), detail)
		return
	}
	n.What, n.N, n.Detail = what, count, detail
}

// causeText is the cause of a repeated FIN.
func causeText(what timeline.What, n int) string {
	switch what {
	case timeline.RTORetransmission:
		return fmt.Sprintf("RTO %d", n)
	case timeline.DataAgain:
		return ""
	}
	return what.Words()
}

// cause tells why b is sent again, and changes an earlier guess if this repeat shows that it was wrong.
//
// What an acknowledgement sets off leaves at once. With duplicate ACKs or SACK blocks above b, or in the recovery that they began, it is a
// fast retransmit: the third duplicate ACK, RACK's first SACK or its reordering timer, a partial acknowledgement (RFC 6582) are all one
// name. After a fire of the retransmission timer everything in flight counts as lost, and what follows its acknowledgements is the slow
// start of that recovery: data again. What leaves after silence is a timer's.
func (f *flow) cause(at time.Time, from *direction, b span) (timeline.What, int, string) {
	reaction := from.delay + f.roundTrip()
	prompt := at.Sub(from.learned) <= reaction+promptly
	missing, why := f.missing(from, b)
	switch {
	case from == &f.client && !f.established: // whatever SYN-ACK it was, lost copies of it are learned of too
		return timeline.DataAgain, 0, "with the third packet"
	case b.lo < from.loss && (prompt || missing && at.Sub(from.hinted) <= reaction+promptly):
		return timeline.DataAgain, 0, "slow start after the retransmission timer"
	case missing && at.Sub(from.hinted) <= reaction+afterReordering:
		if from.una >= from.recover {
			from.recover = from.high
		}
		return timeline.FastRetransmit, 0, why
	case prompt:
		return timeline.DataAgain, 0, ""
	}
	return f.timer(at, from, b, missing)
}

// missing reports whether the other end has said that b is missing, and how.
func (f *flow) missing(from *direction, b span) (bool, string) {
	if k := len(from.sacked); k > 0 && from.sacked[k-1].hi > b.lo {
		return true, fmt.Sprintf("SACK up to %d", from.relative(from.sacked[k-1].hi))
	}
	if from.dups > 0 && !f.sack() {
		return true, fmt.Sprintf("%d duplicate ACKs", from.dups)
	}
	return b.lo < from.recover, "partial acknowledgement"
}

// timer tells which timer sent b. The retransmission timer repeats the first segment in flight (tcp_retransmit_timer), the probe timer the
// last one, without joining it with others, only with SACK, only while nothing is known to be missing, and only once
// (tcp_send_loss_probe). Where one segment is in flight it is both the first and the last, and both timers run about as long: the
// retransmission timer that follows a probe takes its full time, so the next gap is about the same; the one that follows itself takes
// twice the time. Without a next repeat it is the probe.
//
// There is no probe for what a Fast Open server sends before the third packet: tcp_schedule_loss_probe leaves it alone, and the third packet
// starts the retransmission timer (tcp_rcv_synrecv_state_fastopen, tcp_rearm_rto).
//
// So with SACK, one segment in flight and no tail loss probes (tcp_early_retrans=0), a single repeat is misnamed, and so are the first of
// several whose gaps do not double (tcp_thin_linear_timeouts, tcp_rto_max_ms, TCP_USER_TIMEOUT).
func (f *flow) timer(at time.Time, from *direction, b span, missing bool) (timeline.What, int, string) {
	f.decide(at, from, b)
	silence := f.silence(from, at)
	detail := fmt.Sprintf("after %s", silence.Round(100*time.Microsecond))
	first := from.acked && b.lo <= from.una || b.lo <= from.position(from.isn+1)
	last := b.hi >= from.high && !(first && len(from.inFlight) > 1)
	switch {
	case f.sack() && !missing && !from.early && from.una >= from.loss && from.fires == 0 && !from.probed && last:
		from.probed = true
		if first {
			from.guess = &guess{index: f.packets, span: b, at: at, gap: silence}
		}
		return timeline.TailLossProbe, 0, detail
	case first:
		from.fires++
		from.loss = from.high
		return timeline.RTORetransmission, from.fires, detail
	}
	return timeline.DataAgain, 0, detail
}

// decide looks back at a guess with the repeat that follows it.
func (f *flow) decide(at time.Time, from *direction, b span) {
	g := from.guess
	if g == nil {
		return
	}
	from.guess = nil
	p := &g.named
	if g.new {
		if b == g.span { // a probe is out only once: so this is the probe, and that was the application
			was := g.named
			p.What, p.Detail, from.probed = timeline.Data, "", false
			f.rename(g, was)
		}
		return
	}
	// Twice the time; the wheel makes the first gap up to an eighth longer, or the second.
	if gap := at.Sub(g.at); b.lo == g.lo && gap >= g.gap*17/10 && gap <= g.gap*26/10 {
		was := g.named
		from.fires, from.loss = 1, from.high
		if p.What == timeline.FINAgain {
			p.Detail = join(causeText(timeline.RTORetransmission, 1), fmt.Sprintf("after %s", g.gap.Round(100*time.Microsecond)))
		} else {
			p.What, p.N = timeline.RTORetransmission, 1
		}
		f.rename(g, was)
	}
}

// silence is how long this end has neither sent data nor learned anything new.
func (f *flow) silence(from *direction, at time.Time) time.Duration {
	last := from.sentAt
	if learned := from.learned.Add(from.delay); learned.After(last) {
		last = learned
	}
	return at.Sub(last)
}

// isProbe reports whether new data, sent now, is a tail loss probe: it comes when the probe timeout has run out, with data in flight of
// which nothing was heard (tcp_send_loss_probe sends new data if there is any). Data that an application writes in just that tick looks
// the same, unless the probe follows it.
func (f *flow) isProbe(from *direction, at time.Time) bool {
	if !f.sack() || !from.isnSeen || !from.acked || from.probed || from.fires > 0 || len(from.sacked) > 0 || from.dups > 0 || len(from.inFlight) == 0 ||
		from.una < from.recover || from.una < from.loss {
		return false
	}
	pto := 2*from.srtt + probeMore
	if len(from.inFlight) == 1 {
		pto = 2*from.srtt + probeAlone
	}
	silence := f.silence(from, at)
	return silence >= pto && silence <= pto+pto/8+probeLate
}

// newAfterSilence is the detail of a probe that carries new data.
const newAfterSilence = "new data after silence"
