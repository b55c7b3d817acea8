package oracle

import (
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Writes is how a client writes a request of two halves.
type Writes string

// The ways.
const (
	TwoWrites     Writes = "two"            // write(2) twice
	NoDelay       Writes = "nodelay"        // the same, with TCP_NODELAY
	Corked        Writes = "cork"           // the same between TCP_CORK on and off
	ForgottenCork Writes = "forgotten-cork" // the same, with TCP_CORK on from the start
	OneWrite      Writes = "one"            // one write(2), or writev(2), of both
)

// pingpongOld is TCP_PINGPONG_THRESH of 5.1 to 5.18 (4a41f453bedf; taken back by 4d8f24eeedc5, before 5.19).
const pingpongOld = 3

// pingpongMended are the first patch levels that took it back, of the stable kernels that did, by minor version of 5.
var pingpongMended = map[int]int{10: 135, 15: 59, 18: 16}

// wantsThreeAnswers reports whether a kernel without tcp_pingpong_thresh needs pingpongOld answers.
func wantsThreeAnswers(v kernel.Version) bool {
	patch, mended := pingpongMended[v.Minor]
	return v.AtLeast(5, 1) && !v.AtLeast(5, 19) && !(mended && v.Patch >= patch)
}

// answersQuickly are TCP_MAX_QUICKACKS: so many acknowledgements at the start of a connection are sent at once. A request takes two at most.
const answersQuickly = 16

// DelayedACK is a connection on which one end asks and the other answers, round after round, on a link that loses nothing: Nagle's algorithm
// against the delayed acknowledgement.
type DelayedACK struct {
	Client, Server string // "" means "client" and "server"
	Writes         Writes
	Size           int     // bytes of each half of a request, 1 to 250; the answer has as many as the request
	Rounds         []Round // 1 to 8
	QuickACK       bool    // the server's program sets TCP_QUICKACK after each answer
	Threshold      int     // tcp_pingpong_thresh of the server, 1 to 255; 0: the kernel has no such knob
	ServerRTOMin   time.Duration
	ClientRTOMin   time.Duration // tcp_rto_min_us of each end; 0: 200 ms
	// RTT is the link's, both ways together, up to 500 ms; 0: a veth, tens of microseconds. With ForgottenCork it must be 0: what is left of the
	// first samples in the RTO then matters.
	RTT time.Duration
	// Link is what the link does besides: it holds each packet back for a time of its own. Two segments of a request must not come so far apart that
	// icsk_ack.ato grows.
	Link link.Plan
}

// Round is one request and its answer. Write is when the client writes, from the connect(2), and Answer when the server's program answers, as
// far as that is known: much later than it can, and what its kernel does depends on it.
type Round struct{ Write, Answer time.Duration }

const (
	roundsApart     = 90 * time.Millisecond  // well above the delayed ACK's time, so that the client does not count as answering
	roundsForgotten = 250 * time.Millisecond // and above the RTO, with the lateness of its timer
	delackTimer     = "delayed ACK"
)

// Predict returns every packet of every round with its numbers.
//
// A half that is smaller than a segment waits while one before it is not acknowledged (Nagle, as tcp_minshall_check has it). And a server that
// has been answering does not acknowledge at once: in pingpong mode it keeps the acknowledgement for 40 ms, for its answer to carry it. Where
// it waits for the second half to answer, each waits for the other. When the timer of the delayed ACK fires, pingpong mode is over
// (tcp_delack_timer_handler), until the next answer.
//
// Source: tcp_nagle_check, tcp_event_data_sent, tcp_send_delayed_ack, tcp_delack_max in net/ipv4/tcp_output.c; tcp_event_data_recv, tcp_measure_rcv_mss,
// __tcp_ack_snd_check in net/ipv4/tcp_input.c; tcp_cleanup_rbuf, __tcp_sock_set_cork in net/ipv4/tcp.c; tcp_delack_timer_handler in
// net/ipv4/tcp_timer.c (6.18).
func (d DelayedACK) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if d.Client == "" {
		d.Client = "client"
	}
	if d.Server == "" {
		d.Server = "server"
	}
	if err := d.validate(f, start); err != nil {
		return timeline.Timeline{}, err
	}
	r := newAnsweringRule(d, f)
	near, unknown, grows := false, false, false
	play := func(fires bool) timeline.Timeline {
		return sweep(f, start, max(r.delay, r.base), func(w *world) []happening {
			a := newAnswering(r, w)
			a.fires = fires
			a.run()
			near, unknown, grows = near || a.near, unknown || a.unknown, grows || a.grows
			return a.out
		})
	}
	t := play(true)
	if grows {
		return timeline.Timeline{}, fmt.Errorf("delayed ACK: the two segments of a request come more than %v and less than %v apart on this link, so the server delays its next ACK for longer (icsk_ack.ato, tcp_event_data_recv): want another RTT or less jitter", ackTimeout/2, ackTimeout)
	}
	t.Unlisted = t.Unlisted || unknown
	if near {
		other := play(false)
		other.Why = "the program answered when the delayed ACK was due, and was sooner"
		other.Unlisted = unknown
		t.Alternatives = append(t.Alternatives, other)
	}
	return t, nil
}

// Answers are the times at which the server can answer, by the formula: the Answers of Rounds that are not late.
func (d DelayedACK) Answers(f kernel.Facts) []time.Duration {
	r := newAnsweringRule(d, f)
	r.Rounds = slices.Clone(d.Rounds)
	for i := range r.Rounds {
		r.Rounds[i].Answer = 0 // as soon as it can
	}
	a := newAnswering(r, &world{facts: f, tick: f.Jiffy().Nanoseconds(), jiffies: 1 << 40})
	a.run()
	return a.whole
}

func (d DelayedACK) validate(f kernel.Facts, start *Start) error {
	apart := roundsApart
	switch d.Writes {
	case TwoWrites, NoDelay, Corked, OneWrite:
	case ForgottenCork:
		apart = roundsForgotten
	default:
		return fmt.Errorf("delayed ACK: writes %q: want two, nodelay, cork, forgotten-cork or one", d.Writes)
	}
	for _, v := range []struct {
		name  string
		value time.Duration
	}{{"server", d.ServerRTOMin}, {"client", d.ClientRTOMin}} {
		shared := BlackHole{Cut: CutMid, Bytes: 1, Request: 1, RTOMin: v.value}
		if err := shared.validate(f, start); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	switch {
	case d.RTT < 0 || d.RTT > exchangeRTT:
		return fmt.Errorf("delayed ACK: RTT of %v: want 0 to %v", d.RTT, exchangeRTT)
	case d.RTT > 0 && d.Writes == ForgottenCork:
		return fmt.Errorf("delayed ACK: writes %q with an RTT of %v: the persist timer's RTO is modelled for a veth alone", d.Writes, d.RTT)
	case d.Size < 1 || d.Size > 250:
		return fmt.Errorf("delayed ACK: halves of %d bytes: want 1 to 250, both together less than TCP_MSS_DEFAULT, with which a receiver begins to guess what a full segment is", d.Size)
	case len(d.Rounds) < 1 || len(d.Rounds) > answersQuickly/2:
		return fmt.Errorf("delayed ACK: %d rounds: want 1 to %d", len(d.Rounds), answersQuickly/2)
	case d.Threshold < 0 || d.Threshold > 255:
		return fmt.Errorf("delayed ACK: tcp_pingpong_thresh=%d: the kernel takes 1..255, 0 stands for no such knob", d.Threshold)
	}
	trip := d.longestTrip()
	apart += 2 * trip
	before := roundsApart + trip - apart // the first one only has to keep away from the handshake
	for i, r := range d.Rounds {
		if r.Write < before+apart {
			return fmt.Errorf("delayed ACK: round %d at %v: want it %v after the one before, or after the connect(2)", i+1, r.Write, apart)
		}
		before = r.Write
	}
	return nil
}

// longestTrip is how long a packet and the answer to it are under way at most.
func (d DelayedACK) longestTrip() time.Duration { return d.RTT + 2*d.Link.Longest(0, 0) }

// answeringRule is a DelayedACK in the kernel's units.
type answeringRule struct {
	DelayedACK
	facts     kernel.Facts
	delay     int64 // of a delayed acknowledgement, in jiffies
	base      int64 // after which a cork is taken out by force
	threshold int   // answers after which acknowledgements wait
}

func newAnsweringRule(d DelayedACK, f kernel.Facts) answeringRule {
	r := answeringRule{DelayedACK: d, facts: f, delay: Exchange{RTOMin: d.ServerRTOMin}.delay(f), threshold: d.Threshold}
	if r.threshold == 0 {
		r.threshold = 1
		if wantsThreeAnswers(f.Version) {
			r.threshold = pingpongOld
		}
	}
	if d.Writes == ForgottenCork { // tcp_check_probe_timer: nothing is in flight
		r.base = newPersistRule(ZeroWindow{RTOMin: d.ClientRTOMin}, f).baseJ
	}
	return r
}

// answered is the pingpong mode after an answer that came soon.
func (r answeringRule) answered(mode int) int {
	if r.QuickACK {
		return 0
	}
	return min(mode+1, 255)
}

// answering plays a DelayedACK in one world.
type answering struct {
	answeringRule
	w    *world
	line *line
	out  []happening
	slip time.Duration // of the calls
	mode int           // icsk_ack.pingpong of the server
	nth  int           // the round, from 1
	c, s uint32        // the next numbers of client and server

	near  bool // an answer came so close to the timer of a delayed ACK that either may have been first
	fires bool // then it was the timer

	whole   []time.Duration // when the server had each request
	unknown bool            // a probe that may have come or not moves the draws of the packets behind it
	grows   bool            // two segments came so far apart that icsk_ack.ato grew
}

func newAnswering(r answeringRule, w *world) *answering {
	return &answering{answeringRule: r, w: w, line: newLine(r.RTT, r.Link), c: 1, s: 1}
}

func (a *answering) run() {
	a.slip = a.w.call(0)
	a.add(a.Client, timeline.SYN, exact(0, 0, 0), point{}, 0, "first SYN: time starts here")
	there := a.toServer(point{})
	a.add(a.Server, timeline.SYNACK, exact(0, 1, 0), there, answerWithin, "answers the SYN at once")
	back := a.toClient(there)
	a.add(a.Client, timeline.ACK, exact(1, 1, 0), back, answerWithin, "answers the SYN-ACK at once")
	a.toServer(back)
	a.add(a.Client, timeline.Connected, timeline.Event{}, back, answerWithin, "the SYN-ACK has come")
	for i, r := range a.Rounds {
		a.nth = i + 1
		a.round(r)
	}
}

// point is when something happens: at a call's instant, or at the start of a jiffy, or when a packet of either has crossed the link.
type point struct {
	at, nominal time.Duration
	jiffy       int64         // 0: no timer's
	after       time.Duration // since the start of that jiffy
	late        time.Duration // of the link
}

// toServer is the point at which the next packet of the client's arrives, and toClient the same of the server's.
func (a *answering) toServer(m point) point { return a.cross(m, a.line.toServer(m.at)) }
func (a *answering) toClient(m point) point { return a.cross(m, a.line.toClient(m.at)) }

// cross is the point at the other end of the link.
func (a *answering) cross(m point, by time.Duration) point {
	if a.RTT == 0 {
		return m
	}
	m.at, m.nominal, m.late = m.at+by, m.nominal+by, m.late+lateness(a.RTT, 1)
	if m.jiffy != 0 {
		m.after += by
	}
	return m
}

// call is the point of a planned call.
func (a *answering) call(planned time.Duration) point {
	return point{at: planned + a.slip, nominal: planned}
}

// timer is the point at which a timer fires that is armed in another.
func (a *answering) timer(m point, d int64) point {
	if m.late > 0 {
		m.at += a.w.late(m.late)
	}
	j := a.w.fire(a.w.jiffy(m.at), d)
	return point{at: a.w.instant(j), nominal: m.nominal + a.w.fromJiffies(d), jiffy: j}
}

// add adds an event at a point, up to so much later.
func (a *answering) add(host string, what timeline.What, e timeline.Event, m point, late time.Duration, why string) *happening {
	e.Host, e.What, e.At, e.After = host, what, m.nominal, m.after
	if m.jiffy != 0 { // from one round to the next it is the programs' calls that decide, and not a timer
		e.Chain = fmt.Sprintf("round %d", a.nth)
	}
	a.out = append(a.out, happening{Event: e, at: m.at, jiffy: m.jiffy, late: late + m.late, why: say("%s", why)})
	return &a.out[len(a.out)-1]
}

// acknowledge adds an acknowledgement of the server's, of all that it has, and returns when it arrives.
func (a *answering) acknowledge(m point, why string) (*happening, point) {
	h := a.add(a.Server, timeline.ACK, exact(a.s, a.c, 0), m, answerWithin, why)
	return h, a.toClient(m)
}

// chain names a timer of this round.
func (a *answering) chain(timer string) string { return fmt.Sprintf("%s, round %d", timer, a.nth) }

// send adds a segment of the client's, and returns when it arrives.
func (a *answering) send(n int, m point, why string) point {
	a.add(a.Client, timeline.Data, exact(a.c, a.s, n), m, answerWithin, why)
	a.c += uint32(n)
	return a.toServer(m)
}

// apart notes whether two segments come so far apart that the server waits for longer with its next delayed ACK: more than TCP_ATO_MIN / 2 and less than
// icsk_ack.ato (tcp_event_data_recv). While no smoothed RTT is above TCP_DELACK_MIN, it bounds that to 40 ms again (tcp_send_delayed_ack).
func (a *answering) apart(first, second point) {
	if a.Link.Zero() || a.longestTrip()+2*answerWithin <= ackTimeout {
		return
	}
	gap, slack := second.at-first.at, answerWithin+a.facts.Jiffy()
	a.grows = a.grows || gap > ackTimeout/2-slack && gap < ackTimeout+slack
}

// round plays a request and its answer.
func (a *answering) round(r Round) {
	m := a.request(r)
	a.whole = append(a.whole, m.at)
	answer := m
	answer.jiffy, answer.after = 0, 0 // a program's
	late := r.Answer + a.slip - m.at
	slow := late > closeSlack+2*a.facts.Jiffy()
	if slow {
		answer = a.call(r.Answer)
	}
	timer, counts := a.race(m, answer)
	switch {
	case a.mode < a.threshold:
		a.acknowledge(m, "at once: not in pingpong mode")
	case a.Writes == NoDelay:
		if slow { // the read may have been as late as the answer, and a tail loss probe sooner: 2 ms and two round trips (tcp_schedule_loss_probe)
			e := exact(a.c-uint32(a.Size), a.s, a.Size)
			e.Maybe = true
			a.unknown = a.unknown || !a.Link.Zero()
			a.add(a.Client, timeline.TailLossProbe, e, m, late, "only where the program reads later than that")
		}
		h, _ := a.acknowledge(m, "two segments with a push wait for it (ICSK_ACK_PUSHED2): the program's read lets it go")
		h.late = max(answerWithin, late)
	case timer:
		h, _ := a.acknowledge(a.timer(m, a.delay), "the program takes longer to answer than the delayed ACK")
		h.Chain = a.chain(delackTimer)
	}
	if timer && a.mode >= a.threshold {
		a.mode = 0
	}
	size := 2 * a.Size
	a.add(a.Server, timeline.Data, exact(a.s, a.c, size), answer, applicationWithin, "the server's program has the whole request, and answers")
	a.s += uint32(size)
	if counts {
		a.mode = a.answered(a.mode)
	} else if a.QuickACK {
		a.mode = 0
	}
	answer = a.toClient(answer)
	a.toServer(answer) // the acknowledgement
	a.add(a.Client, timeline.ACK, exact(a.c, a.s, 0), answer, 2*applicationWithin, "at once: the client has not been answering")
	a.add(a.Client, timeline.Answered, timeline.Event{}, answer, 2*applicationWithin, "the whole answer has come")
}

// race is between the timer of the delayed ACK of what came at m and an answer: whether the timer fires before, and whether the answer counts
// as one (tcp_event_data_sent: it comes within icsk_ack.ato). Where the two come at about the same time, a.fires decides.
func (a *answering) race(m, answer point) (timer, counts bool) {
	if answer.at == m.at {
		return false, true
	}
	t := a.timer(m, a.delay)
	if a.mode >= a.threshold && (t.at-answer.at).Abs() < applicationWithin {
		a.near = true
		return a.fires, !a.fires
	}
	took, within := a.w.jiffy(answer.at)-a.w.jiffy(m.at), ceilJiffies(a.facts, ackTimeout)
	if took == within || took == within-1 { // whether it counts hangs on the jiffy in which the program's call was, and that in which the request came
		a.near = true
		return t.at < answer.at, !a.fires
	}
	return t.at < answer.at, took < within
}

// request plays the client's writes, and returns when the last segment of them has come.
func (a *answering) request(r Round) point {
	m := a.call(r.Write)
	switch a.Writes {
	case TwoWrites:
		first := a.send(a.Size, m, "the first half: nothing is in flight")
		acknowledged := first
		why := "at once: not in pingpong mode"
		kept := a.mode >= a.threshold
		if kept {
			acknowledged = a.timer(first, a.delay)
			why = fmt.Sprintf("the delayed ACK's timer, %v (TCP_ATO_MIN): the server has been answering, and has nothing to say yet", a.w.fromJiffies(a.delay))
		}
		h, back := a.acknowledge(acknowledged, why)
		if kept {
			h.Chain = a.chain(delackTimer)
			a.mode = 0
		}
		second := a.send(a.Size, back, "the second half waited for that (Nagle)")
		if !kept { // else they come further apart than icsk_ack.ato
			a.apart(first, second)
		}
		return second
	case NoDelay:
		first := a.send(a.Size, m, "the first half")
		if a.mode < a.threshold {
			a.acknowledge(first, "at once: not in pingpong mode")
		}
		second := a.send(a.Size, m, "the second half, at once: TCP_NODELAY")
		a.apart(first, second)
		return second
	case ForgottenCork:
		t := a.timer(m, a.base)
		there := a.send(2*a.Size, t, fmt.Sprintf("%v, the RTO, after the writes: the persist timer lets it out", a.w.fromJiffies(a.base)))
		a.out[len(a.out)-1].Chain = a.chain(persistTimer)
		return there
	case Corked:
		return a.send(2*a.Size, m, "both halves in one segment: the cork is out")
	}
	return a.send(2*a.Size, m, "the whole request in one segment")
}
