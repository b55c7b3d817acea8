package oracle

import (
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/timeline"
)

const (
	persistTimer = "persist timer" // ICSK_TIME_PROBE0: its Chain

	// timeoutMin is TCP_TIMEOUT_MIN, in jiffies: a timer that TCP_USER_TIMEOUT shortens is not shorter.
	timeoutMin = 2
	// backoffMost is ilog2(TCP_RTO_MAX / TCP_RTO_MIN) + 1 (tcp_probe0_when).
	backoffMost = 10
	// probeMany are probes that are predicted one by one: a bound for us, not the kernel's.
	probeMany = 1000
	// drainAfter is the least time from the write to the peer's read. Beyond its RTO the peer acknowledges what comes next at once
	// (tcp_event_data_recv: the gap is longer than icsk_rto).
	drainAfter = 500 * time.Millisecond
	// soonestWrite is the least time to the write, without the round trips of the handshake.
	soonestWrite = 100 * time.Millisecond
	// eofWithin is how long a program may take from shutdown(2) to the end of a read(2) that it is told to make after it: where ten runs end at
	// once on two processors it was 0.6 s. The FINs are held to their time.
	eofWithin = time.Second
)

// ZeroWindow is a connection whose peer offers a window of one segment and does not read: one end writes two segments, the first fills the
// window, and the second waits for it to open. The link loses nothing, unless the peer is Gone.
type ZeroWindow struct {
	Host, Peer string // who writes, and connects; who does not read. "" means "client" and "server"
	Segment    int    // bytes of each segment, and of the peer's window, 100 to 1448, or 1428 with IPv6
	IPv6       bool
	RTT        time.Duration // the link's, both ways together, up to 500 ms; 0: a veth, tens of microseconds
	Link       link.Plan     // what the link does besides: it holds each packet back for a time of its own
	Write      time.Duration // from the connect(2)
	Gone       bool          // nothing that is sent without data arrives at the peer any more, from before the write on

	Retries2    int           // tcp_retries2, 0 to 255
	RTOMax      time.Duration // as BlackHole's
	RTOMin      time.Duration // as BlackHole's
	UserTimeout time.Duration // TCP_USER_TIMEOUT in whole ms; 0: not set
	// InvalidRatelimit is tcp_invalid_ratelimit of the peer: it answers probes at most this often; 0: always.
	InvalidRatelimit time.Duration

	// Drain is when the peer's program reads what is there, and from then on whatever comes, from the connect(2); 0: never.
	Drain time.Duration
	// Until is when the program of the end that writes stops to wait in read(2), and Close when it ends its sending side (shutdown(2)), not
	// before Until; the peer then closes at once. 0: never. A connection that dies before does neither.
	Until, Close time.Duration
}

// Predict returns the handshake, the segment that fills the window, the probes with their answers, the update that opens the window and
// what follows from it, and the end: ETIMEDOUT, a look at a connection that lives on (Quiet), or the exchange of FINs.
//
// Source: tcp_probe_timer, tcp_clamp_probe0_to_user_timeout in net/ipv4/tcp_timer.c; tcp_send_probe0, tcp_check_probe_timer, tcp_probe0_when,
// __tcp_select_window in net/ipv4/tcp_output.c; tcp_ack, tcp_ack_probe, tcp_validate_incoming in net/ipv4/tcp_input.c; tcp_cleanup_rbuf in
// net/ipv4/tcp.c (6.18).
func (z ZeroWindow) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if z.Host == "" {
		z.Host = "client"
	}
	if z.Peer == "" {
		z.Peer = "server"
	}
	if err := z.validate(f, start); err != nil {
		return timeline.Timeline{}, err
	}
	r := newPersistRule(z, f)
	died, lived, crossed := false, false, false
	play := func(w *world, order *choices) *stuck {
		s := &stuck{persistRule: r, w: w, order: order, line: newLine(r.RTT, r.Link)}
		s.run()
		died, lived, crossed = died || s.died, lived || !s.died, crossed || s.crossed
		return s
	}
	var tl timeline.Timeline
	if z.Link.Zero() {
		tl = sweep(f, start, r.longest(), func(w *world) []happening { return play(w, nil).out })
	} else {
		tl = sweepOrders(f, start, r.longest(), func(w *world, order *choices) ([]happening, string) {
			s := play(w, order)
			return s.out, s.named()
		})
	}
	if crossed {
		return timeline.Timeline{}, fmt.Errorf("zero window: TCP_USER_TIMEOUT of %v ends the connection while the news of the open window is on its way, and which packet a RST answers first is not known then: choose another time", z.UserTimeout)
	}
	if last := max(z.Drain, z.Until); last > 0 && died && lived {
		return timeline.Timeline{}, fmt.Errorf("zero window: read or look at %v: the kernel may give the connection up just before or not: choose another time", last)
	}
	return tl, nil
}

func (z ZeroWindow) validate(f kernel.Facts, start *Start) error {
	// The rules for what a connection with data needs are those of BlackHole.
	shared := BlackHole{Cut: CutMid, Exchange: z.Write, Write: z.Write, Bytes: 1, Request: 1, Retries2: z.Retries2, RTOMax: z.RTOMax, RTOMin: z.RTOMin,
		UserTimeout: z.UserTimeout, FirstRTT: z.RTT}
	if err := shared.validate(f, start); err != nil {
		return err
	}
	last, trip := max(z.Drain, z.Until, z.Close), z.RTT+2*z.Link.Longest(0, 0)
	switch {
	case z.Segment < 100 || z.Segment > segmentMax(z.IPv6):
		return fmt.Errorf("zero window: segments of %d bytes: want 100 to %d", z.Segment, segmentMax(z.IPv6))
	case z.RTT < 0 || z.RTT > exchangeRTT:
		return fmt.Errorf("zero window: RTT of %v: want 0 to %v", z.RTT, exchangeRTT)
	case z.Write < soonestWrite+2*z.RTT: // sooner, it could fall into the handshake
		return fmt.Errorf("zero window: write at %v: want %v or later", z.Write, soonestWrite+2*z.RTT)
	case z.InvalidRatelimit < 0:
		return fmt.Errorf("zero window: tcp_invalid_ratelimit of %v: want 0 ms or more", z.InvalidRatelimit)
	case z.Gone && z.Drain != 0:
		return fmt.Errorf("zero window: read at %v by a peer that is gone: what comes after it is not modelled", z.Drain)
	case z.Drain != 0 && z.Drain < z.Write+drainAfter+3*trip: // the RTO is up to 3 RTTs
		return fmt.Errorf("zero window: read at %v: want %v or later, %v after the write", z.Drain, z.Write+drainAfter+3*trip, drainAfter+3*trip)
	case z.Until != 0 && z.Until < max(z.Write, z.Drain)+10*time.Millisecond+2*z.RTT:
		return fmt.Errorf("zero window: wait until %v: want it after the write and after the peer's read", z.Until)
	case z.Close != 0 && (z.Drain == 0 || z.Until == 0 || z.Close < z.Until):
		return fmt.Errorf("zero window: close at %v: want it after the window has opened, and not before the end of the wait", z.Close)
	case z.Drain != 0 && z.Close == 0:
		return fmt.Errorf("zero window: read at %v: want the time of close", z.Drain)
	case !z.Gone && last == 0:
		return fmt.Errorf("zero window: the peer answers, so this may never end: want the end of the wait")
	}
	r := newPersistRule(z, f)
	apart := time.Duration(r.when(z.Retries2)) * f.Jiffy() // of probes, once the backoff is at its end
	if n := last / apart; n > probeMany {
		return fmt.Errorf("zero window: about %d probes, one every %v: up to %d are predicted", n, apart, probeMany)
	}
	return nil
}

// persistRule is a ZeroWindow in the kernel's units.
type persistRule struct {
	ZeroWindow
	facts  kernel.Facts
	bases  []int64 // tcp_probe0_base: that of a link which is never late, and with a Link all others that it may make
	baseJ  int64   // the one of this world
	most   int64   // the largest RTO
	limitJ int64   // InvalidRatelimit
	most2  int     // probes without an answer that end it
	atMost string  // what is said of a wait that is the largest RTO
}

func newPersistRule(z ZeroWindow, f kernel.Facts) persistRule {
	r := persistRule{ZeroWindow: z, facts: f, limitJ: ceilJiffies(f, z.InvalidRatelimit), most2: z.Retries2}
	if !f.Version.AtLeast(5, 0) {
		r.most2++ // icsk_probes_out > max_probes until 3976535af0cb (5.0)
	}
	// The handshake and the first segment are what a BlackHole measures before its cut.
	rules := newDataRule(BlackHole{Cut: CutMid, Exchange: z.Write, RTOMax: z.RTOMax, RTOMin: z.RTOMin, RTT: z.RTT, Link: z.Link}, f)
	r.most = rules.most
	r.atMost = fmt.Sprintf(", the largest RTO (%v)", time.Duration(r.most)*f.Jiffy())
	for _, t := range rules.timers() {
		if base := max(t.rto, rtoMin(f)); !slices.Contains(r.bases, base) {
			r.bases = append(r.bases, base)
		}
	}
	r.baseJ = r.bases[0]
	return r
}

// when is tcp_probe0_when.
func (r persistRule) when(backoff int) int64 {
	return min(r.baseJ<<min(backoff, backoffMost), r.most)
}

// longest is the longest timer that is armed before the end.
func (r persistRule) longest() int64 {
	r.baseJ = slices.Max(r.bases)
	last := ceilJiffies(r.facts, max(r.Drain, r.Until, r.Close)-r.Write)
	longest := r.when(0)
	for at, n := longest, 1; n <= r.Retries2 && (last <= 0 || at <= last); n++ {
		longest = r.when(n)
		at += longest
	}
	return longest
}

// stuck plays a ZeroWindow in one world.
type stuck struct {
	persistRule
	w     *world
	line  *line
	order *choices // with a Link: what comes first of two things that are near to each other
	out   []happening
	slip  time.Duration // of the calls
	died  bool

	closed             time.Duration // when the acknowledgement with window 0 is there, by the formula
	probesOut, backoff int           // icsk_probes_out, icsk_backoff
	note               string        // why the wait is as long as the backoff makes it
	chain              string        // persistTimer, or that of a timer which counts from the first probe and not from the one before
	stamp              int64         // icsk_probes_tstamp: the first fire
	stampNominal       time.Duration
	stamped            bool
	answered           [2]int64 // last_oow_ack_time of the peer, at the soonest and at the latest
	hasAnswered        bool
	inFlight           []answerTo
	told               bool          // the peer's read has told of the open window
	updateTakes, opens time.Duration // how long that is under way, and when it is there
	peerReset          time.Duration // when a RST has ended the peer's end; 0: none has
	crossed            bool          // with a Link: the connection died while the update was on its way
	delayed            bool          // with a Link: the peer's delayed ACK of the FIN comes before its own FIN
}

// answerTo is the answer to a probe, on its way.
type answerTo struct {
	probe   int64         // the jiffy of its timer
	trip    time.Duration // the probe's way and its own
	comes   time.Duration // in this world
	nominal time.Duration
}

func (s *stuck) run() {
	host, peer, n := s.Host, s.Peer, uint32(s.Segment)
	if s.order != nil {
		s.baseJ = s.bases[s.order.pick(len(s.bases))]
	}
	s.call(host, timeline.SYN, exact(0, 0, 0), 0, 0, "first SYN: time starts here")
	there := s.line.toServer(0)
	s.call(peer, timeline.SYNACK, exact(0, 1, 0), there, lateness(s.RTT, 1), "answers the SYN at once; its window is one segment")
	open := there + s.line.toClient(there)
	s.call(host, timeline.ACK, exact(1, 1, 0), open, lateness(s.RTT, 2), "answers the SYN-ACK at once")
	s.line.toServer(open)
	s.call(host, timeline.Connected, timeline.Event{}, open, lateness(s.RTT, 2), "the SYN-ACK has come")
	s.slip = s.w.call(0)
	s.call(host, timeline.Data, exact(1, 1, s.Segment), s.Write, answerWithin, "the program writes two segments; the window takes one")
	there = s.Write + s.line.toServer(s.Write+s.slip)
	s.call(peer, timeline.ACK, exact(1, 1+n, 0), there, s.within(1), "the first data is acknowledged at once (quickack); window 0")
	s.closed = there + s.line.toClient(there+s.slip)
	s.probes()
	if s.Drain > 0 {
		s.drain()
	}
	if s.died {
		return
	}
	if s.Until > 0 {
		s.call(host, timeline.Quiet, timeline.Event{}, s.Until, answerWithin, "the program has waited in read() until then")
		s.out[len(s.out)-1].outcome = s.Close == 0
	}
	if s.Close > 0 {
		s.close()
	}
}

// call adds what a program's call does at a planned time, or the answer to it.
func (s *stuck) call(host string, what timeline.What, e timeline.Event, planned, late time.Duration, why string) {
	e.Host, e.What, e.At = host, what, planned
	s.out = append(s.out, happening{Event: e, at: planned + s.slip, late: late, why: say("%s", why)})
}

// within is how late something may be that a call sets off, and that has crossed the link so many times.
func (s *stuck) within(hops int) time.Duration {
	if s.RTT == 0 {
		return answerWithin
	}
	return answerWithin + lateness(s.RTT, hops)
}

// lag is how late a link with a delay is in this world, over so many times.
func (s *stuck) lag(hops int) time.Duration {
	if s.RTT == 0 {
		return 0
	}
	return s.w.late(lateness(s.RTT, hops))
}

// timed adds a packet of the persist timer's, or the answer to it.
func (s *stuck) timed(host string, what timeline.What, n int, e timeline.Event, at int64, nominal time.Duration, why func() string) *happening {
	e.Host, e.What, e.N, e.At, e.Chain = host, what, n, nominal, s.chain
	s.out = append(s.out, happening{Event: e, at: s.w.instant(at), jiffy: at, why: why})
	return &s.out[len(s.out)-1]
}

// probes is tcp_probe_timer, fire by fire, until the window opens, the program has waited long enough, or the connection dies.
func (s *stuck) probes() {
	wait, note := s.when(0), ", the RTO, at least 200 ms"
	nominal, longer := s.closed, s.w.fromJiffies(wait)
	at := s.w.fire(s.w.jiffy(s.closed+s.slip+s.lag(2)), wait)
	s.chain = persistTimer
	for n := 1; ; {
		fires := s.w.instant(at)
		switch {
		case s.Drain > 0 && fires >= s.Drain+s.slip:
			s.tell()
		case s.Drain == 0 && s.Until > 0 && fires >= s.Until+s.slip:
			return
		}
		if len(s.inFlight) > 0 && !(s.told && s.opens <= s.inFlight[0].comes) && s.first(s.inFlight[0].comes, fires) { // tcp_ack, and tcp_ack_probe: the timer anew, with the same wait
			a := s.inFlight[0]
			s.inFlight, s.probesOut = s.inFlight[1:], 0
			here := s.w.jiffy(a.comes)
			wait, longer, note = s.wait(here, a.nominal)
			at, nominal = s.w.fire(here, wait), a.nominal
			continue
		}
		if s.told && s.first(s.opens, fires) {
			return
		}
		from, waited, text := nominal, longer, note
		nominal += waited
		why := say("%v + %v%s", from, waited, text)
		if s.gaveUp(at) {
			s.end(at, nominal)
			return
		}
		s.probesOut++
		s.grow()
		s.timed(s.Host, timeline.WindowProbe, n, exact(uint32(s.Segment), 1, 0), at, nominal, why)
		s.answer(at, nominal)
		n++
		wait, longer, note = s.wait(at, nominal)
		at = s.w.fire(at, wait)
	}
}

// answer is the peer's to a probe: tcp_oow_rate_limited, tcp_send_dupack. Once its program has read, the window in it is open, and the probe, which
// was sent before that was known, is as good as a keepalive probe.
func (s *stuck) answer(at int64, nominal time.Duration) {
	takes := s.line.toServer(s.w.instant(at))
	there := s.w.instant(at) + takes
	if s.Gone || s.limited(at, there) {
		return
	}
	what, window := timeline.WindowProbeACK, "window 0"
	if s.Drain > 0 && s.first(s.Drain+s.slip, there+s.lag(1)) {
		s.tell()
		what, window = timeline.KeepaliveACK, "the window is open by now"
	}
	h := s.timed(s.Peer, what, 0, exact(1, uint32(s.Segment)+1, 0), at, nominal, say("a number outside the window is answered at once; %s", window))
	h.crossed(takes, s.RTT, 1)
	back := s.line.toClient(there)
	s.inFlight = append(s.inFlight, answerTo{at, takes + back, there + back + s.lag(2), nominal + takes + back})
}

// crossed has what a timer sends, or what it sets off, come later by what the link takes, which it has crossed so many times.
func (h *happening) crossed(by, rtt time.Duration, hops int) {
	h.at, h.At, h.After = h.at+by, h.At+by, by
	if rtt > 0 {
		h.late = lateness(rtt, hops)
	}
}

// gaveUp is the decision of tcp_probe_timer at a fire.
func (s *stuck) gaveUp(at int64) bool {
	user := ceilJiffies(s.facts, s.UserTimeout)
	first := !s.stamped
	if first {
		s.stamped, s.stamp = true, at
		s.stampNominal = s.closed + s.w.fromJiffies(s.baseJ)
	}
	switch v := s.facts.Version; {
	case s.UserTimeout == 0:
	case v.AtLeast(5, 11): // 9d9b1ee0b2d1
		if !first && at-s.stamp >= user {
			return true
		}
	case v.AtLeast(5, 1): // 9721e709fa68: only what is not answered counts
		unanswered := jiffiesToMS(s.facts, int64(model(s.probesOut, uint64(s.baseJ), uint64(s.most))))
		if unanswered >= s.UserTimeout.Milliseconds() {
			return true
		}
	case v.AtLeast(4, 13):
		ms := s.w.ms(s.w.instant(at)) - s.w.ms(s.w.instant(s.stamp))
		if s.w.tick%millisecond == 0 {
			ms = (at - s.stamp) * s.w.tick / millisecond
		}
		if !first && ms > s.UserTimeout.Milliseconds() {
			return true
		}
	case v.AtLeast(3, 18): // b248230c3497
		if !first && at-s.stamp > user {
			return true
		}
	}
	return s.probesOut >= s.most2
}

// grow doubles the wait for after a probe: tcp_send_probe0.
func (s *stuck) grow() {
	s.note = ", doubled"
	if s.backoff < s.Retries2 {
		s.backoff++
	} else {
		s.note = ", as before: tcp_retries2 bounds the backoff"
	}
}

// wait is the timer that is armed now: tcp_probe0_when, tcp_clamp_probe0_to_user_timeout.
func (s *stuck) wait(at int64, nominal time.Duration) (wait int64, longer time.Duration, note string) {
	note = s.note
	if wait = s.when(s.backoff); wait == s.most {
		note = s.atMost
	}
	longer = s.w.fromJiffies(wait)
	if s.UserTimeout == 0 || !s.facts.Version.AtLeast(5, 11) { // 344db93ae3ee
		return wait, longer, note
	}
	if left := max(ceilJiffies(s.facts, s.UserTimeout)-(at-s.stamp), timeoutMin); left < wait {
		wait, s.chain = left, "TCP_USER_TIMEOUT"
	}
	if left := max(s.UserTimeout-(nominal-s.stampNominal), s.w.fromJiffies(timeoutMin)); left < longer {
		longer, note = left, ", what is left of TCP_USER_TIMEOUT since the first probe"
	}
	return wait, longer, note
}

// end is tcp_write_err: nothing is sent. What is still on its way to the socket finds none, and is answered with a RST (tcp_v4_send_reset).
func (s *stuck) end(at int64, nominal time.Duration) {
	s.died = true
	n := s.probesOut
	why := say("%v: the timer fires after %s without an answer, tcp_retries2=%d", nominal, plural(n, "probe"), s.Retries2)
	if n < s.most2 {
		why = say("%v: TCP_USER_TIMEOUT, %v, after the first probe; answers do not count", nominal, s.UserTimeout)
	}
	s.timed(s.Host, timeline.SocketError, 0, timeline.Event{Errno: "ETIMEDOUT"}, at, nominal, why).outcome = true
	s.chain = persistTimer
	s.crossed = s.told && s.order != nil
	for _, a := range s.inFlight {
		h := s.timed(s.Host, timeline.RST, 0, exact(1+uint32(s.Segment), 0, 0), a.probe, a.nominal-a.trip, say("the answer to the last probe comes when the connection is gone"))
		h.crossed(a.trip, s.RTT, 2)
		s.peerReset = a.comes + s.line.toServer(a.comes)
	}
}

// drain is the peer's read: tcp_cleanup_rbuf tells of the window, because it is twice what it was or more. The segment that waited fills it
// again, until the program has read that one, too.
func (s *stuck) drain() {
	if s.peerReset > 0 && !s.first(s.Drain+s.slip, s.peerReset) {
		return
	}
	s.tell()
	n, there := uint32(s.Segment), s.Drain+s.updateTakes
	s.call(s.Peer, timeline.WindowUpdate, exact(1, 1+n, 0), s.Drain, answerWithin, "the program reads: the kernel tells of the window by itself")
	takes := s.line.toServer(there + s.slip)
	if s.died {
		s.call(s.Host, timeline.RST, exact(1+n, 0, 0), there, s.within(1), "answers a segment of a connection that is gone")
		return
	}
	s.call(s.Host, timeline.Data, exact(1+n, 1, s.Segment), there, s.within(1), "the window is open: the segment that waited goes at once")
	there += takes
	s.call(s.Peer, timeline.ACK, exact(1, 1+2*n, 0), there, s.within(2), "after so long a silence it is acknowledged at once, and fills the window")
	s.call(s.Peer, timeline.WindowUpdate, exact(1, 1+2*n, 0), there, answerWithin+s.within(2), "the program has read that segment, too")
	s.out[len(s.out)-1].ByProgram = true
	for range 2 {
		s.line.toClient(there + s.slip)
	}
}

// close is shutdown(2) towards a peer that closes as soon as it reads the end. Its FIN carries the ACK of ours, where its program is sooner than
// its delayed ACK.
func (s *stuck) close() {
	n, there := 2*uint32(s.Segment), s.Close+s.line.toServer(s.Close+s.slip)
	s.call(s.Host, timeline.FIN, exact(1+n, 1, 0), s.Close, answerWithin, "the program ends the connection")
	delay := Exchange{}.delay(s.facts)
	at := s.w.fire(s.w.jiffy(there+s.slip+s.lag(1)), delay)
	s.delayed = s.order != nil && s.order.pick(2) == 1
	if s.order == nil || s.delayed {
		h := s.timed(s.Peer, timeline.ACK, 0, exact(1, 2+n, 0), at, there+s.w.fromJiffies(delay), say("only where the program there takes longer than its delayed ACK to close"))
		h.Maybe, h.Chain = !s.delayed, "delayed ACK"
	}
	if s.delayed { // the FIN is the packet behind it
		s.line.toClient(s.w.instant(at))
		there = max(there, s.w.instant(at)-s.slip)
	}
	s.call(s.Peer, timeline.FIN, exact(1, 2+n, 0), there, answerWithin+s.within(1), "the program there reads the end and closes: its FIN acknowledges ours")
	s.out[len(s.out)-1].ByProgram = s.delayed
	there += s.line.toClient(there + s.slip)
	s.call(s.Host, timeline.ACK, exact(2+n, 2, 0), there, answerWithin+s.within(2), "acknowledges the FIN at once")
	s.call(s.Host, timeline.EndOfStream, timeline.Event{}, there, eofWithin, "the peer's FIN has come: the connection was alive to its end")
	s.out[len(s.out)-1].outcome = true
}
