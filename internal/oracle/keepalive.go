package oracle

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/timeline"
)

const (
	keepaliveMax   = 32767 // MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, in seconds
	keepaliveCount = 127   // MAX_TCP_KEEPCNT
	keepaliveMany  = 1000  // probes that are predicted one by one: a bound for us, not the kernel's

	keepaliveTimer = "keepalive timer" // sk_timer: its Chain

	// readWithin is how long a program may take from shutdown(2) to the end of a read(2) that it calls after it: its own affair, not the
	// kernel's. The FINs are held to their time.
	readWithin = 100 * time.Millisecond
)

// Keepalive is a connection on which nobody says anything after the handshake, on a link that loses nothing.
type Keepalive struct {
	Host        string        // who has SO_KEEPALIVE, and connects; "" means "client"
	Off         bool          // SO_KEEPALIVE is not set: nothing is ever sent
	Time        time.Duration // tcp_keepalive_time, 1 s to 32767 s in whole seconds
	Interval    time.Duration // tcp_keepalive_intvl, 1 s to 32767 s in whole seconds
	Probes      int           // tcp_keepalive_probes, 0 to 255
	Idle        time.Duration // TCP_KEEPIDLE, like Time; 0: not set, Time rules
	SockInterv  time.Duration // TCP_KEEPINTVL, like Interval; 0: not set, Interval rules
	Count       int           // TCP_KEEPCNT, 1 to 127; 0: not set, Probes rules
	UserTimeout time.Duration // TCP_USER_TIMEOUT in whole ms; 0: not set
	Peer        KeepalivePeer
	RTT         time.Duration // the link's, both ways together, up to 500 ms; 0: a veth, tens of microseconds
	Link        link.Plan     // what the link does besides: it holds each packet back for a time of its own
	// Until is how long after its first call the program waits in read(2); 0: until that ends. Close is when it ends its sending side
	// (shutdown(2)), not before Until; the peer then closes at once. 0: never. A connection whose peer answers needs it, unless it is Off.
	Until, Close time.Duration
}

// KeepalivePeer is the other end.
type KeepalivePeer struct {
	Host string // "" means "server"
	Gone bool   // after the handshake nothing of what is sent to it arrives
	// InvalidRatelimit is tcp_invalid_ratelimit: it answers probes at most this often; 0: always.
	InvalidRatelimit time.Duration
}

// Predict returns the handshake, the probes with their answers, and the end: RST and ETIMEDOUT, or the exchange of FINs.
//
// Source: tcp_keepalive_timer in net/ipv4/tcp_timer.c, tcp_finish_connect and tcp_validate_incoming in net/ipv4/tcp_input.c,
// tcp_xmit_probe_skb in net/ipv4/tcp_output.c (6.18).
func (k Keepalive) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if err := k.validate(f, start); err != nil {
		return timeline.Timeline{}, err
	}
	if k.Host == "" {
		k.Host = "client"
	}
	if k.Peer.Host == "" {
		k.Peer.Host = "server"
	}
	r := newKeepaliveRule(k, f)
	died, closed, near := false, false, false
	play := func(delayed bool) timeline.Timeline {
		return sweepOver(f, start, r.starts(), func(w *world) []happening {
			q := newQuiet(r, w)
			q.delayed = delayed
			q.run()
			died, closed, near = died || q.died, closed || !q.died, near || q.near
			return q.out
		})
	}
	tl := play(false)
	if near {
		return timeline.Timeline{}, fmt.Errorf("keepalive: tcp_invalid_ratelimit of %v is so near to the time between two probes that what the link holds back decides whether the second one is answered: choose another value", k.Peer.InvalidRatelimit)
	}
	if k.Close > 0 && !k.Link.Zero() {
		other := play(true)
		other.Why = "the peer's program closed after its delayed ACK, which the link holds back too"
		tl.Alternatives = append(tl.Alternatives, other)
	}
	if k.Close > 0 && died && closed {
		return timeline.Timeline{}, fmt.Errorf("keepalive: close after %v: the kernel may give the connection up just before or not: choose another time", k.Close)
	}
	return tl, nil
}

// Dies is how long after the last thing heard the connection ends by the formula, where nothing answers. Zero: it does not.
func (k Keepalive) Dies() time.Duration {
	idle, interval, count, _ := k.effective()
	switch {
	case k.Off:
		return 0
	case k.UserTimeout == 0:
		return idle + time.Duration(count)*interval
	}
	at := idle + interval // one probe at least
	if more := k.UserTimeout - at; more > 0 {
		at += (more + interval - 1) / interval * interval
	}
	return at
}

// First is how long after the handshake the first probe comes, by the formula.
func (k Keepalive) First() time.Duration {
	idle, _, _, _ := k.effective()
	return idle
}

// Round is how long after an answered probe the next one comes, by the formula: the timer first waits the interval, then what is left of the
// time since the answer.
func (k Keepalive) Round() time.Duration {
	idle, interval, _, _ := k.effective()
	return max(idle+k.RTT, interval)
}

// effective is keepalive_time_when, keepalive_intvl_when and keepalive_probes, with the name of the first.
func (k Keepalive) effective() (idle, interval time.Duration, count int, names [3]string) {
	idle, interval, count = k.Time, k.Interval, k.Probes
	names = [3]string{"tcp_keepalive_time", "tcp_keepalive_intvl", "tcp_keepalive_probes"}
	if k.Idle != 0 {
		idle, names[0] = k.Idle, "TCP_KEEPIDLE"
	}
	if k.SockInterv != 0 {
		interval, names[1] = k.SockInterv, "TCP_KEEPINTVL"
	}
	if k.Count != 0 {
		count, names[2] = k.Count, "TCP_KEEPCNT"
	}
	return idle, interval, count, names
}

func (k Keepalive) validate(f kernel.Facts, start *Start) error {
	for _, r := range []struct {
		name  string
		value time.Duration
		low   int
		note  string
	}{
		{"tcp_keepalive_time", k.Time, 1, ""}, {"tcp_keepalive_intvl", k.Interval, 1, ""},
		{"TCP_KEEPIDLE", k.Idle, 0, ", 0 stands for not set"}, {"TCP_KEEPINTVL", k.SockInterv, 0, ", 0 stands for not set"},
	} {
		if r.value < time.Duration(r.low)*time.Second || r.value > keepaliveMax*time.Second || r.value%time.Second != 0 {
			return fmt.Errorf("keepalive: %s of %v: want 1 s to %d s in whole seconds%s", r.name, r.value, keepaliveMax, r.note)
		}
	}
	idle, interval, _, _ := k.effective()
	switch {
	case k.Probes < 0 || k.Probes > 255:
		return fmt.Errorf("keepalive: tcp_keepalive_probes=%d: the kernel takes 0..255", k.Probes)
	case k.Count < 0 || k.Count > keepaliveCount:
		return fmt.Errorf("keepalive: TCP_KEEPCNT=%d: the kernel takes 1..127, 0 stands for not set", k.Count)
	case k.UserTimeout < 0 || k.UserTimeout > userTimeMax || k.UserTimeout%time.Millisecond != 0:
		return fmt.Errorf("keepalive: TCP_USER_TIMEOUT of %v: the kernel takes 0 to %v in whole ms", k.UserTimeout, userTimeMax)
	case k.Peer.InvalidRatelimit < 0:
		return fmt.Errorf("keepalive: tcp_invalid_ratelimit of %v: want 0 ms or more", k.Peer.InvalidRatelimit)
	case k.Close != 0 && k.Close < 100*time.Millisecond: // sooner, it could fall into the handshake
		return fmt.Errorf("keepalive: close after %v: want 100 ms or more, 0 stands for never", k.Close)
	case k.Until < 0 || k.Close > 0 && k.Until > k.Close:
		return fmt.Errorf("keepalive: read until %v: want up to the close, 0 stands for no end", k.Until)
	case k.Until > 0 && k.Close == 0 && !k.Off:
		return fmt.Errorf("keepalive: read until %v: what comes after it is not modelled", k.Until)
	case k.Close > 0 && k.Peer.Gone:
		return fmt.Errorf("keepalive: close after %v, of a peer that is gone: the repeats of that FIN are not modelled here", k.Close)
	case k.Close == 0 && !k.Off && !k.Peer.Gone:
		return fmt.Errorf("keepalive: the peer answers, so this never ends: want the time of close")
	case k.RTT < 0 || k.RTT > exchangeRTT:
		return fmt.Errorf("keepalive: RTT of %v: want 0 to %v", k.RTT, exchangeRTT)
	case k.Close > 0 && k.Close < 2*RoundTrip(k.RTT, k.Link):
		return fmt.Errorf("keepalive: close after %v: want it well after the handshake, which takes %v", k.Close, RoundTrip(k.RTT, k.Link))
	case f.HZ < 24 || f.HZ > 10000:
		return fmt.Errorf("keepalive: HZ=%d: want the kernel's CONFIG_HZ, 24..10000", f.HZ)
	case start != nil && (start.Phase < 0 || start.Phase >= f.Jiffy()):
		return fmt.Errorf("keepalive: start phase of %v: want 0 up to a jiffy, %v", start.Phase, f.Jiffy())
	}
	apart := interval
	if !k.Peer.Gone && k.Peer.InvalidRatelimit < k.Round() { // each is answered
		apart = k.Round()
	}
	if n := (max(k.Close, k.UserTimeout) - idle) / apart; !k.Off && n > keepaliveMany {
		return fmt.Errorf("keepalive: about %d probes, one every %v: up to %d are predicted", n, apart, keepaliveMany)
	}
	return nil
}

// keepaliveRule is a Keepalive in the kernel's units.
type keepaliveRule struct {
	k              Keepalive
	facts          kernel.Facts
	idle, interval time.Duration
	count          int
	names          [3]string
	idleJ, intervJ int64 // in jiffies
	userJ, limitJ  int64
}

func newKeepaliveRule(k Keepalive, f kernel.Facts) keepaliveRule {
	r := keepaliveRule{k: k, facts: f}
	r.idle, r.interval, r.count, r.names = k.effective()
	r.idleJ, r.intervJ = ceilJiffies(f, r.idle), ceilJiffies(f, r.interval)
	r.userJ, r.limitJ = ceilJiffies(f, k.UserTimeout), ceilJiffies(f, k.Peer.InvalidRatelimit)
	return r
}

// quiet plays a connection on which nobody says anything, in one world.
type quiet struct {
	keepaliveRule
	w       *world
	line    *line
	out     []happening
	delayed bool // where the link holds packets back: the peer's delayed ACK of the FIN comes before its own FIN

	opens        time.Duration // when the SYN-ACK is there
	heard        int64         // rcv_tstamp: the jiffy in which the last ACK came
	heardNominal time.Duration // the same by the formula
	probesOut    int           // icsk_probes_out: probes since then
	answered     int64         // last_oow_ack_time of the peer
	hasAnswered  bool
	near         bool // whether a probe was answered hung on less than the link may be late
	died         bool
}

func newQuiet(r keepaliveRule, w *world) *quiet {
	return &quiet{keepaliveRule: r, w: w, line: newLine(r.k.RTT, r.k.Link)}
}

// run plays the handshake and the fires of sk_timer, which tcp_finish_connect starts where SO_KEEPALIVE was set before.
func (q *quiet) run() {
	q.handshake()
	over := time.Duration(1 << 62)
	if q.k.Close > 0 {
		over = q.w.call(q.k.Close)
	}
	if !q.k.Off {
		q.timer(over)
	}
	if q.died {
		return
	}
	if q.k.Until > 0 {
		e := timeline.Event{Host: q.k.Host, What: timeline.Quiet, Bound: timeline.Bound{At: q.k.Until}}
		q.out = append(q.out, happening{Event: e, at: q.w.call(q.k.Until), late: answerWithin, outcome: q.k.Close == 0,
			why: say("the program has waited in read() for %v", q.k.Until)})
	}
	if q.k.Close > 0 {
		q.close(over)
	}
}

// timer is tcp_keepalive_timer, fire by fire.
func (q *quiet) timer(over time.Duration) {
	opened := q.hears(0, q.opens)
	q.heard, q.heardNominal = opened, q.opens
	at, nominal := q.w.fire(opened, q.idleJ), q.opens+q.idle
	for q.w.instant(at) < over {
		elapsed := at - q.heard // the peer never sends data: lrcvtime is not later
		if elapsed < q.idleJ {
			at = q.w.fire(at, q.idleJ-elapsed)
			continue
		}
		nominal = max(nominal, q.heardNominal+q.idle)
		if q.expired(elapsed) {
			q.end(at, nominal)
			return
		}
		q.probe(at, nominal)
		at, nominal = q.w.fire(at, q.intervJ), nominal+q.interval
	}
}

func (q *quiet) expired(elapsed int64) bool {
	if q.userJ != 0 {
		return elapsed >= q.userJ && q.probesOut > 0
	}
	return q.probesOut >= q.count
}

// probe is tcp_write_wakeup of a connection with nothing to send: tcp_xmit_probe_skb.
func (q *quiet) probe(at int64, nominal time.Duration) {
	q.probesOut++
	why := say("%v + %v, %s", nominal-q.interval, q.interval, q.names[1])
	if q.probesOut == 1 {
		why = say("%v + %v, %s, with nothing heard", q.heardNominal, q.idle, q.names[0])
	}
	q.timed(q.k.Host, timeline.KeepaliveProbe, q.probesOut, segment{0, 1}, at, nominal, why)
	sent := q.w.instant(at)
	there := q.line.toServer(sent)
	if q.k.Peer.Gone || q.limited(at, sent+there) {
		return
	}
	q.timed(q.k.Peer.Host, timeline.KeepaliveACK, 0, segment{1, 1}, at, nominal,
		say("its number lies before the window, so the kernel answers with what it expects, at once; the program there never knows"))
	q.out[len(q.out)-1].crossed(there, q.k.RTT, 1)
	trip := there + q.line.toClient(sent+there)
	q.heard, q.heardNominal, q.probesOut = q.hears(sent, trip), nominal+trip, 0 // tcp_ack
}

// limited is tcp_oow_rate_limited of a probe that is sent in a jiffy and arrives at an instant: whether the peer has answered one too short a time ago.
func (q *quiet) limited(at int64, arrives time.Duration) bool {
	if !q.k.Link.Zero() { // else the way to the peer takes the same time each time
		at = q.w.jiffy(arrives)
		q.near = q.near || q.hasAnswered && q.limitJ > 0 && (at-q.answered-q.limitJ) <= 1 && (at-q.answered-q.limitJ) >= -1
	}
	if q.hasAnswered && q.limitJ > 0 && at-q.answered < q.limitJ {
		return true
	}
	q.hasAnswered, q.answered = true, at
	return false
}

// hears is the jiffy in which the answer to what is sent at an instant is there, after a round trip.
func (q *quiet) hears(sent, trip time.Duration) int64 {
	if q.k.RTT == 0 {
		return q.w.jiffy(sent)
	}
	return q.w.jiffy(sent + trip + q.w.late(answerWithin))
}

// end is tcp_send_active_reset and tcp_write_err.
func (q *quiet) end(at int64, nominal time.Duration) {
	q.died = true
	n := q.probesOut
	why := say("%v: %s without an answer, %s=%d", nominal, plural(n, "probe"), q.names[2], q.count)
	if q.userJ != 0 {
		why = say("%v: a fire of the timer, a probe sent, and nothing heard for TCP_USER_TIMEOUT, %v; %s does not count", nominal, q.k.UserTimeout, q.names[2])
	}
	q.timed(q.k.Host, timeline.RST, 0, segment{1, 1}, at, nominal, why)
	e := timeline.Event{Host: q.k.Host, What: timeline.SocketError, Errno: "ETIMEDOUT", Bound: timeline.Bound{At: nominal}}
	q.out = append(q.out, happening{Event: e, at: q.w.instant(at), jiffy: at, outcome: true, why: why})
}

// segment is what a packet without data says.
type segment struct{ seq, ack uint32 }

func (s segment) event(host string, what timeline.What, n int, nominal time.Duration) timeline.Event {
	return timeline.Event{Host: host, What: what, N: n, RelSeq: s.seq, RelAck: s.ack, Exact: true, Bound: timeline.Bound{At: nominal}}
}

// timed adds a packet that the keepalive timer sends, or the answer to it.
func (q *quiet) timed(host string, what timeline.What, n int, s segment, at int64, nominal time.Duration, why func() string) {
	e := s.event(host, what, n, nominal)
	e.Chain = keepaliveTimer
	q.out = append(q.out, happening{Event: e, at: q.w.instant(at), jiffy: at, why: why})
}

// called adds a packet that a call sends at an instant, or the answer to it.
func (q *quiet) called(host string, what timeline.What, s segment, at, nominal, late time.Duration, why func() string) {
	q.out = append(q.out, happening{Event: s.event(host, what, 0, nominal), at: at, late: late, why: why})
}

// open puts the handshake on the link, and returns when its first two packets arrive.
func (q *quiet) open() (there, opens time.Duration) {
	there = q.line.toServer(0)
	q.opens = there + q.line.toClient(there)
	q.line.toServer(q.opens) // the third packet
	return there, q.opens
}

func (q *quiet) handshake() {
	there, opens := q.open()
	q.called(q.k.Host, timeline.SYN, segment{0, 0}, 0, 0, 0, say("first SYN: time starts here"))
	q.called(q.k.Peer.Host, timeline.SYNACK, segment{0, 1}, there, there, lateness(q.k.RTT, 1), say("answers the SYN at once"))
	why := say("answers the SYN-ACK at once; the keepalive timer starts here at %v, %s", q.idle, q.names[0])
	if q.k.Off {
		why = say("answers the SYN-ACK at once; without SO_KEEPALIVE no timer runs from here on")
	}
	q.called(q.k.Host, timeline.ACK, segment{1, 1}, opens, opens, lateness(q.k.RTT, 2), why)
	e := timeline.Event{Host: q.k.Host, What: timeline.Connected, Bound: timeline.Bound{At: opens}}
	q.out = append(q.out, happening{Event: e, at: opens, late: lateness(q.k.RTT, 2), why: say("the SYN-ACK has come")})
}

// close is shutdown(2) towards a peer that closes as soon as it reads the end: its FIN carries the ACK of ours, where its program is sooner
// than its delayed ACK. That is due at the next tick: until the first data comes, icsk_ack.ato is 0 (tcp_event_data_recv sets it to 40 ms).
func (q *quiet) close(at time.Duration) {
	nominal, there := q.k.Close, q.line.toServer(at)
	q.called(q.k.Host, timeline.FIN, segment{1, 1}, at, nominal, answerWithin, say("the program ends the connection after %v", nominal))
	if q.k.Link.Zero() || q.delayed {
		delayed := q.w.fire(q.w.jiffy(at+there), 0)
		q.timed(q.k.Peer.Host, timeline.ACK, 0, segment{1, 2}, delayed, nominal+there,
			say("only where the program there takes longer than to the next tick to close: the delayed ACK of a connection that never had data"))
		q.out[len(q.out)-1].Maybe, q.out[len(q.out)-1].Chain = !q.delayed, "delayed ACK"
	}
	if q.delayed { // of two packets, which follow each other at once
		q.line.toClient(at + there)
	}
	trip := there + q.line.toClient(at+there)
	q.called(q.k.Peer.Host, timeline.FIN, segment{1, 2}, at+there, nominal+there, 2*answerWithin,
		say("the program there reads the end and closes: its FIN acknowledges ours"))
	q.called(q.k.Host, timeline.ACK, segment{2, 2}, at+trip, nominal+trip, answerWithin+lateness(q.k.RTT, 2), say("acknowledges the FIN at once"))
	e := timeline.Event{Host: q.k.Host, What: timeline.EndOfStream, Bound: timeline.Bound{At: nominal + trip}}
	q.out = append(q.out, happening{Event: e, at: at + trip, late: readWithin, outcome: true, why: say("the peer's FIN has come: the connection was alive to its end")})
}
