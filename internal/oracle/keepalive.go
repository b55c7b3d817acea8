package oracle

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
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
	died, closed := false, false
	play := func(w *world) []happening {
		q := &quiet{keepaliveRule: r, w: w}
		q.run()
		died, closed = died || q.died, closed || !q.died
		return q.out
	}
	tl := sweepOver(f, start, r.starts(), play)
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
	case k.Close > 0 && k.Close < 2*k.RTT:
		return fmt.Errorf("keepalive: close after %v: want it well after the handshake, which takes %v", k.Close, k.RTT)
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
	w   *world
	out []happening

	heard        int64         // rcv_tstamp: the jiffy in which the last ACK came
	heardNominal time.Duration // the same by the formula
	probesOut    int           // icsk_probes_out: probes since then
	answered     int64         // last_oow_ack_time of the peer
	hasAnswered  bool
	died         bool
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
	opened := q.hears(0)
	q.heard, q.heardNominal = opened, q.k.RTT
	at, nominal := q.w.fire(opened, q.idleJ), q.k.RTT+q.idle
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
	if q.k.Peer.Gone || q.hasAnswered && q.limitJ > 0 && at-q.answered < q.limitJ { // tcp_oow_rate_limited
		return
	}
	q.hasAnswered, q.answered = true, at // by the probes: the way to the peer takes the same time each time
	q.timed(q.k.Peer.Host, timeline.KeepaliveACK, 0, segment{1, 1}, at, nominal,
		say("its number lies before the window, so the kernel answers with what it expects, at once; the program there never knows"))
	q.out[len(q.out)-1].cross(q.k.RTT, 1)
	q.heard, q.heardNominal, q.probesOut = q.hears(q.w.instant(at)), nominal+q.k.RTT, 0 // tcp_ack
}

// hears is the jiffy in which the answer to what is sent at an instant is there.
func (q *quiet) hears(sent time.Duration) int64 {
	if q.k.RTT == 0 {
		return q.w.jiffy(sent)
	}
	return q.w.jiffy(sent + q.k.RTT + q.w.late(answerWithin))
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

func (q *quiet) handshake() {
	half := q.k.RTT / 2
	q.called(q.k.Host, timeline.SYN, segment{0, 0}, 0, 0, 0, say("first SYN: time starts here"))
	q.called(q.k.Peer.Host, timeline.SYNACK, segment{0, 1}, half, half, lateness(q.k.RTT, 1), say("answers the SYN at once"))
	why := say("answers the SYN-ACK at once; the keepalive timer starts here at %v, %s", q.idle, q.names[0])
	if q.k.Off {
		why = say("answers the SYN-ACK at once; without SO_KEEPALIVE no timer runs from here on")
	}
	q.called(q.k.Host, timeline.ACK, segment{1, 1}, q.k.RTT, q.k.RTT, lateness(q.k.RTT, 2), why)
	e := timeline.Event{Host: q.k.Host, What: timeline.Connected, Bound: timeline.Bound{At: q.k.RTT}}
	q.out = append(q.out, happening{Event: e, at: q.k.RTT, late: lateness(q.k.RTT, 2), why: say("the SYN-ACK has come")})
}

// close is shutdown(2) towards a peer that closes as soon as it reads the end: its FIN carries the ACK of ours, where its program is sooner
// than its delayed ACK. That is due at the next tick: until the first data comes, icsk_ack.ato is 0 (tcp_event_data_recv sets it to 40 ms).
func (q *quiet) close(at time.Duration) {
	nominal, half := q.k.Close, q.k.RTT/2
	q.called(q.k.Host, timeline.FIN, segment{1, 1}, at, nominal, answerWithin, say("the program ends the connection after %v", nominal))
	delayed := q.w.fire(q.w.jiffy(at+half), 0)
	q.timed(q.k.Peer.Host, timeline.ACK, 0, segment{1, 2}, delayed, nominal+half,
		say("only where the program there takes longer than to the next tick to close: the delayed ACK of a connection that never had data"))
	q.out[len(q.out)-1].Maybe, q.out[len(q.out)-1].Chain = true, "delayed ACK"
	q.called(q.k.Peer.Host, timeline.FIN, segment{1, 2}, at+half, nominal+half, 2*answerWithin,
		say("the program there reads the end and closes: its FIN acknowledges ours"))
	q.called(q.k.Host, timeline.ACK, segment{2, 2}, at+q.k.RTT, nominal+q.k.RTT, answerWithin+lateness(q.k.RTT, 2), say("acknowledges the FIN at once"))
	e := timeline.Event{Host: q.k.Host, What: timeline.EndOfStream, Bound: timeline.Bound{At: nominal + q.k.RTT}}
	q.out = append(q.out, happening{Event: e, at: at + q.k.RTT, late: readWithin, outcome: true, why: say("the peer's FIN has come: the connection was alive to its end")})
}
