package oracle

import (
	"container/heap"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/timeline"
)

// origin is what the time of an event counts from: the call, or the last timer that fired before it.
type origin struct {
	jiffy   int64         // of that timer; 0: the call
	after   time.Duration // on the link since that timer
	nominal time.Duration // the event's time by the formula
	slack   time.Duration // how much later it may come: each host answers within a moment
}

// link is the origin of what arrives a way across the link later.
func (o origin) link(oneWay time.Duration) origin {
	o.nominal += oneWay
	if o.jiffy > 0 {
		o.after += oneWay
	}
	return o
}

// timer is the origin of what a timer does that was armed by something with origin o.
func (o origin) timer(jiffy int64, wait time.Duration) origin {
	return origin{jiffy: jiffy, nominal: o.nominal + wait}
}

// burst plays sender, link and receiver in one world.
type burst struct {
	Recovery
	w       *world
	variant variant
	out     []happening
	queue   todo
	next    int
	lag     time.Duration // of a round trip, in this world
	way     link.Way      // to the receiver
	arrived int           // segments with data, repeats included
	undone  bool          // the sender took a recovery back while something was missing still
	snd     *sender
	rcv     receiver
}

// playBurst is one connection, from its SYN to the last acknowledgement.
func playBurst(r Recovery, w *world, v variant) []happening { return playedBurst(r, w, v).out }

// playedBurst is the burst at its end.
func playedBurst(r Recovery, w *world, v variant) *burst {
	b := &burst{Recovery: r, w: w, variant: v}
	b.lag = linkLagLeast + w.late(max(r.Lag-linkLagLeast, 0))
	b.way = link.Way{Plan: r.Link, Delay: (r.RTT + b.lag) / 2}
	b.snd = newSender(b)
	b.rcv = receiver{b: b, have: make([]bool, r.Segments), quick: maxQuickACKs + v.grown}
	if v.exact {
		b.rcv.quick, b.rcv.growing = 0, v.grown
	}
	b.handshake()
	at := w.call(r.Write)
	b.at(at, func() {
		b.snd.sample(r.RTT + b.lag)
		b.snd.write(at, origin{nominal: r.Write, slack: answerWithin})
	})
	for b.queue.Len() > 0 {
		e := heap.Pop(&b.queue).(task)
		e.do()
	}
	slices.SortStableFunc(b.out, func(x, y happening) int { return int(x.at - y.at) })
	return b
}

// handshake is the three packets that open the connection.
func (b *burst) handshake() {
	half, lag := b.RTT/2, b.lag/2
	b.emit(b.Host, timeline.SYN, 0, 0, origin{}, segmentAt{}, say("first SYN: time starts here"))
	b.emit(b.Peer, timeline.SYNACK, 0, half+lag, origin{nominal: half, slack: answerWithin}, segmentAt{}, say("answers the SYN, half an RTT (%v) later", half))
	b.emit(b.Host, timeline.ACK, 0, b.RTT+b.lag, origin{nominal: b.RTT, slack: answerWithin}, segmentAt{}, say("third packet of the handshake, an RTT (%v) after the first", b.RTT))
}

// transmit puts segment i on the link. Those that are chosen to be lost are counted where they arrive.
func (b *burst) transmit(at time.Duration, from origin, i int) {
	due := b.way.Due(at, b.Frame, true)
	from = from.link(due - at - b.lag/2)
	b.at(due, func() {
		b.arrived++
		if !slices.Contains(b.Lose, b.arrived) {
			b.rcv.segment(due, from, i, at)
		}
	})
}

// answer puts an acknowledgement on the link.
func (b *burst) answer(at time.Duration, from origin, a returned) {
	at, from = at+(b.RTT+b.lag)/2, from.link(b.RTT/2)
	b.at(at, func() { b.snd.acknowledge(at, from, a) })
}

// segmentAt is what a packet carries.
type segmentAt struct {
	seq, ack uint32
	length   int
	exact    bool
	maybe    bool
}

func (b *burst) emitData(at time.Duration, from origin, i int, what timeline.What, n int, why func() string) {
	b.emit(b.Host, what, n, at, from, segmentAt{seq: uint32(1 + i*b.Size), ack: 1, length: b.Size, exact: true}, why)
}

func (b *burst) emit(host string, what timeline.What, n int, at time.Duration, from origin, s segmentAt, why func() string) {
	h := happening{Event: timeline.Event{Host: host, What: what, N: n, Bound: timeline.Bound{At: from.nominal, After: from.after},
		RelSeq: s.seq, RelAck: s.ack, Len: s.length, Exact: s.exact, Maybe: s.maybe}, at: at, jiffy: from.jiffy, late: from.slack, why: why}
	if from.jiffy == 0 || from.after > 0 {
		h.Chain = "link" // its gaps are the link's
	}
	b.out = append(b.out, h)
}

// at has something done at an instant, after what was asked for the same instant before.
func (b *burst) at(t time.Duration, do func()) {
	b.next++
	heap.Push(&b.queue, task{t, b.next, do})
}

type task struct {
	at    time.Duration
	order int
	do    func()
}

type todo []task

func (t todo) Len() int { return len(t) }
func (t todo) Less(i, j int) bool {
	return t[i].at < t[j].at || t[i].at == t[j].at && t[i].order < t[j].order
}
func (t todo) Swap(i, j int) { t[i], t[j] = t[j], t[i] }

// Push is for container/heap.
func (t *todo) Push(x any) { *t = append(*t, x.(task)) }

// Pop is for container/heap.
func (t *todo) Pop() any {
	old := *t
	x := old[len(old)-1]
	*t = old[:len(old)-1]
	return x
}

const maxQuickACKs = 16 // TCP_MAX_QUICKACKS

// receiver is the receiving socket, whose program sleeps until all is there.
type receiver struct {
	b     *burst
	have  []bool
	next  int           // rcv_nxt
	acked int           // rcv_wup: what was acknowledged last
	spoke bool          // something was acknowledged since the handshake
	twice int           // the segment, from 1, that came a second time and is answered; 0: none
	told  bool          // the window after the program had read everything
	all   time.Duration // when the last one came that moved next
	quick int           // icsk_ack.quick
	// growing is for how many segments more the window grows, which sets the lowest bit of quick (__tcp_grow_window); begun: one came in order,
	// so quick was set to its most (tcp_event_data_recv). Only of an exact receiver.
	growing int
	begun   bool
	dups    int           // duplicate ACKs since next moved, as they are named
	held    int           // SACKs held back: compressed_ack
	kick    int           // the timer that sends them, by number; what was armed before is void
	echo    time.Duration // when the segment was sent whose timestamp is echoed: ts_recent
	since   int           // tp->dup_ack_counter
	delay   int           // the delayed ACK that is armed, by number; what was armed before is void
}

// segment is tcp_data_queue and __tcp_ack_snd_check, for a segment that was sent at an instant.
func (r *receiver) segment(at time.Duration, from origin, i int, sent time.Duration) {
	if i <= r.acked && !r.have[i] { // tcp_replace_ts_recent
		r.echo = sent
	}
	r.count(i)
	switch {
	case r.have[i]: // comes a second time: tcp_enter_quickack_mode
		r.quick = maxQuickACKs
		r.twice = i + 1
		r.send(at, from, false)
		r.twice = 0
	case i > r.next:
		r.have[i] = true
		r.outOfOrder(at, from)
	default:
		filled := r.holes()
		r.have[i] = true
		for r.next < len(r.have) && r.have[r.next] {
			r.next++
		}
		r.since, r.all = 0, at
		switch {
		case r.next == len(r.have): // the program wakes up and reads all of it: tcp_cleanup_rbuf
			r.send(at, from, true)
		case filled || r.quick > 0 || r.next-r.acked > 1:
			r.send(at, from, filled)
		default:
			r.delayed(at, from)
		}
	}
}

// count is what a new segment does to icsk_ack.quick.
func (r *receiver) count(i int) {
	if !r.b.variant.exact || r.have[i] || i > r.next && !r.b.SACK {
		return
	}
	if i == r.next && !r.begun {
		r.begun, r.quick = true, maxQuickACKs
	}
	if r.growing > 0 {
		r.growing--
		r.quick |= 1
	}
}

// holes reports whether something is queued behind a hole.
func (r *receiver) holes() bool {
	return slices.Contains(r.have[r.next:], true)
}

// outOfOrder acknowledges a segment behind a hole: at once, or, with SACK and after three, soon (tcp_comp_sack_delay_ns).
func (r *receiver) outOfOrder(at time.Duration, from origin) {
	if r.b.variant.exact && r.quick > 0 {
		r.send(at, from, false)
		return
	}
	if !r.b.SACK || r.since < 3 {
		r.since++
		r.send(at, from, false)
		return
	}
	from.slack = max(from.slack, answerWithin) + compressedACK
	if !r.b.variant.merged && !r.b.variant.exact {
		r.send(at, from, false)
		return
	}
	r.held++
	if r.held > 1 {
		return
	}
	then := at + 1 // after all of this burst
	if !r.b.Link.Zero() {
		then = at + min(compSACKDelay, r.b.RTT/compSACKShare)
	}
	if held := r.b.variant.held; held > 0 {
		then = at + held
	}
	r.kick++
	armed := r.kick
	r.b.at(then, func() {
		if r.kick == armed && r.held > 0 {
			r.send(then, from, false)
		}
	})
}

const (
	compSACKDelay = time.Millisecond // tcp_comp_sack_delay_ns
	compSACKShare = 20               // 5 % of the round trip, if that is less (__tcp_ack_snd_check)
)

// delayed is tcp_send_delayed_ack: TCP_ATO_MIN.
func (r *receiver) delayed(at time.Duration, from origin) {
	w := r.b.w
	wait := w.toJiffies(40 * time.Millisecond)
	fire := w.fire(w.jiffy(at), wait)
	from = from.timer(fire, w.fromJiffies(wait))
	r.delay++
	armed := r.delay
	r.b.at(w.instant(fire), func() {
		if r.delay == armed {
			r.send(w.instant(fire), from, false)
		}
	})
}

// send is tcp_send_ack.
func (r *receiver) send(at time.Duration, from origin, filled bool) {
	b := r.b
	r.delay++
	r.held = 0 // what is acknowledged now says it all (tcp_event_ack_sent)
	r.kick++
	if r.b.variant.thrifty || r.b.variant.exact { // while the window grows, quick never falls to zero
		r.quick = max(r.quick-1, 0)
	}
	a := returned{ack: r.next, have: slices.Clone(r.have), twice: r.twice, echo: r.echo}
	s := segmentAt{seq: 1, ack: uint32(1 + r.next*b.Size), exact: true}
	switch {
	case r.next == r.acked && !r.spoke && !b.SACK:
		a.window = true
		b.emit(b.Peer, timeline.WindowUpdate, 0, at, from, s, say("a segment came out of order: the first acknowledgement since the handshake tells the window anew, so it does not count as a duplicate"))
	case r.next == r.acked:
		r.dups++
		a.dup = r.dups
		s.maybe = r.dups > b.Reordering
		why := say("a segment came out of order: the same acknowledgement again, up to segment %d", r.next)
		if r.twice > 0 {
			why = say("a segment came a second time: the same acknowledgement again, up to segment %d", r.next)
		}
		what, n := timeline.DuplicateACK, r.dups
		if b.variant.read && r.twice > 0 && r.next == len(r.have) && !r.told && at >= r.all+b.variant.reads { // the next ones have the same window
			what, n, r.told = timeline.WindowUpdate, 0, true
			r.dups--
		}
		b.emit(b.Peer, what, n, at, from, s, why)
	default:
		r.dups = 0
		// The first flight is acknowledged as the receiver likes: each segment, or every second one.
		s.maybe, s.exact = !filled && r.next < len(r.have), filled || r.next == len(r.have)
		b.emit(b.Peer, timeline.ACK, 0, at, from, s, say("acknowledges up to segment %d", r.next))
	}
	if r.next == len(r.have) && r.acked < r.next {
		r.tellWindow(at, from, s)
	}
	r.acked, r.spoke = r.next, true
	b.answer(at, from, a)
}

// wakeWithin is how long a program takes to be told of what came, and to read it.
const wakeWithin = 2 * time.Millisecond

// tellWindow is tcp_cleanup_rbuf when the program has read all: it says so where the window has become twice as large.
func (r *receiver) tellWindow(at time.Duration, from origin, s segmentAt) {
	s.exact, s.maybe = false, true
	from.slack = max(from.slack, answerWithin) + wakeWithin
	r.b.emit(r.b.Peer, timeline.WindowUpdate, 0, at, from, s, say("the program has read everything: said where that makes the window twice as large"))
	r.b.out[len(r.b.out)-1].ByProgram = true
}

// rttEstimator is tcp_rtt_estimator and tcp_set_rto, in microseconds, with a sample from each acknowledgement.
type rttEstimator struct {
	floor                         time.Duration
	srtt, mdev, mdevMax, variance int64 // srtt in eighths, mdev in quarters
	until                         int   // rtt_seq: once this is acknowledged, a round trip is over
}

func (e *rttEstimator) sample(rtt time.Duration, una, next int) {
	m := max(rtt.Microseconds(), 1)
	floor := e.floor.Microseconds()
	if e.srtt == 0 {
		e.srtt, e.mdev = m<<3, m<<1
		e.variance = max(e.mdev, floor)
		e.mdevMax, e.until = e.variance, 0
		return
	}
	d := m - e.srtt>>3
	e.srtt = max(e.srtt+d, 1)
	if d < 0 {
		if d = -d - e.mdev>>2; d > 0 {
			d >>= 3
		}
	} else {
		d -= e.mdev >> 2
	}
	e.mdev += d
	if e.mdev > e.mdevMax {
		e.mdevMax = e.mdev
		e.variance = max(e.variance, e.mdevMax)
	}
	if una > e.until {
		if e.mdevMax < e.variance {
			e.variance -= (e.variance - e.mdevMax) >> 2
		}
		e.until, e.mdevMax = next, floor
	}
}

// smooth is the smoothed RTT: srtt_us >> 3.
func (e *rttEstimator) smooth() time.Duration { return time.Duration(e.srtt>>3) * time.Microsecond }

// rto is __tcp_set_rto.
func (e *rttEstimator) rto() time.Duration {
	return time.Duration(e.srtt>>3+e.variance) * time.Microsecond
}
