package oracle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Server is the passive end of an open: what rules its half-open connection (the request socket, SYN-RECV).
type Server struct {
	Host             string        // "" means "server"
	SYNACKRetries    int           // tcp_synack_retries, or the listener's TCP_SYNCNT; 0 to 255
	InvalidRatelimit time.Duration // tcp_invalid_ratelimit: repeated SYNs are answered at most this often; 0: always
	// Silent: what it sends dies in its own OUTPUT chain. Its TCP sees an error, and the first fire of the timer gives the request up.
	Silent bool
}

// SYNACKLoss is an open in which the client's SYNs reach the server and no SYN-ACK reaches the client.
type SYNACKLoss struct {
	Connect
	Server Server
	RTT    time.Duration // the link's, both ways together, up to 500 ms; 0: a veth, tens of microseconds
	Link   link.Plan     // what the link does besides: it holds each packet back for a time of its own. That of the SYNs counts: they are all that arrives
}

// Predict returns what both ends send, the moments at which a half-open connection vanishes, and the end of connect(2).
//
// A repeated SYN and the request timer meet again and again: both were started by the SYN before, and double from the same value. Then
// the SYN's answer starts the timer anew, or the timer fires first and doubles. The timer is pinned to its CPU and runs from BASE_LOCAL,
// before the client's (run_timer_softirq); but where two CPUs run them, or one counts the jiffy later, either is first. The usual
// timeline has the timer first, each other order is an alternative.
//
// Source: reqsk_timer_handler in net/ipv4/inet_connection_sock.c, tcp_check_req in net/ipv4/tcp_minisocks.c (6.18).
func (s SYNACKLoss) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if err := s.validate(f, start); err != nil {
		return timeline.Timeline{}, err
	}
	if s.Host == "" {
		s.Host = "client"
	}
	if s.Server.Host == "" {
		s.Server.Host = "server"
	}
	r := newRule(s.Connect, f)
	longest := max(int64(r.longest()), s.Server.longest(f))
	_, last := r.nominal(1)
	fires, _ := r.nominal(last + 2) // late timers end it earlier than the formula, never later
	var room []happening            // of the play before: sweepOrders is done with it
	return sweepOrders(f, start, longest, func(w *world, c *choices) ([]happening, string) {
		o := &open{SYNACKLoss: s, rule: r, w: w, choices: c, line: newLine(s.RTT, s.Link), fires: fires, last: last, out: room[:0], request: request{server: s.Server, w: w}}
		o.run()
		room = o.out
		return o.out, strings.Join(o.order, ", ")
	}), nil
}

func (s SYNACKLoss) validate(f kernel.Facts, start *Start) error {
	if err := s.Connect.validate(f, start); err != nil {
		return err
	}
	if s.RTT < 0 || s.RTT > exchangeRTT {
		return fmt.Errorf("open: RTT of %v: want 0 to %v, well below the first timeout of %v", s.RTT, exchangeRTT, f.InitialRTO)
	}
	return s.Server.validate(f)
}

// open plays the two ends of one open in one world.
type open struct {
	SYNACKLoss
	rule
	*choices
	w     *world
	line  *line
	fires []nominalFire // the client's, by the formula
	last  int
	out   []happening
	order []string // the meetings of a SYN and the request timer that went another way than the formula has it

	request
	answers     int
	answered    int64 // last_oow_ack_time
	hasAnswered bool
}

// run plays the client's SYNs, and between them the fires of the request timer.
func (o *open) run() {
	fires, last := o.fires, o.last
	o.emit(o.c.Host, timeline.SYN, 0, turn{}, 0, say("first SYN: time starts here"))
	arrives := o.arrival(turn{})
	o.syn(arrives, arrives.after, 0)
	timer := min(o.initial, o.most)
	next := o.w.fire(0, int64(timer))
	for k := 1; ; k++ {
		at := next
		nominal := fires[min(k, len(fires))-1].at
		if o.expired(k-1, at) {
			o.end(at, fires[last].at, func() string { return o.whyEnd(last, fires[last].at) })
			break
		}
		arrives = o.arrival(turn{fire: at})
		there := nominal + arrives.after
		arrives = o.timers(arrives, there, k)
		o.emit(o.c.Host, timeline.SYNRetransmission, k, turn{fire: at}, nominal, func() string { return fires[k-1].why })
		o.syn(arrives, there, k)
		timer = backoff(o.rule, k, timer, o.most)
		next = o.w.fire(at, o.clampIn(at, int64(timer)))
	}
	o.timers(turn{jiffy: unending}, unending, 0) // the request lives on by itself
}

const unending = 1 << 62

// turn is when a host does something: what a timer of the jiffy fire leads to, in jiffy after it. fire 0: a call.
type turn struct {
	fire, jiffy int64
	after       time.Duration // after the start of the jiffy fire, or after the call
}

// arrival is when the server deals with a packet that the client sends.
func (o *open) arrival(sent turn) turn {
	sent.jiffy = sent.fire
	if o.RTT == 0 {
		return sent
	}
	at := time.Duration(0)
	if sent.fire != 0 {
		at = o.w.instant(sent.fire)
	}
	sent.after = o.line.toServer(at)
	sent.jiffy = o.w.jiffy(at + sent.after + o.w.late(lateness(o.RTT, 1)))
	return sent
}

// expired is tcp_write_timeout in SYN_SENT, at the fire after n retransmissions.
func (o *open) expired(n int, at int64) bool {
	if o.byCount && n >= o.count {
		return true
	}
	if !o.byTime || n == 0 {
		return false
	}
	if o.inJiffies {
		return uint64(at) >= o.limitJiffies
	}
	return o.w.ms(o.w.instant(at)) >= o.limitMS
}

// clampIn is tcp_clamp_rto_to_user_timeout.
func (o *open) clampIn(at, timer int64) int64 {
	if !o.clamps {
		return timer
	}
	left := o.c.UserTimeout.Milliseconds() - o.w.ms(o.w.instant(at))
	if left <= 0 {
		return 1
	}
	return max(min(timer, (left*int64(o.facts.HZ)+999)/1000), 1)
}

func (o *open) end(at int64, nominal time.Duration, why func() string) {
	errno := o.c.SoftError
	if errno == "" {
		errno = "ETIMEDOUT"
	}
	e := timeline.Event{Host: o.c.Host, What: timeline.ConnectError, Errno: errno, Bound: timeline.Bound{At: nominal}}
	o.out = append(o.out, happening{Event: e, at: o.w.instant(at), jiffy: at, outcome: true, why: why})
}

// syn is the arrival of a SYN at the server, the k-th repeat.
func (o *open) syn(at turn, nominal time.Duration, k int) {
	if o.armed == 0 {
		o.numTimeout, o.answers, o.hasAnswered = 0, 0, false
		why := say("answers the first SYN: a request socket is made, its timer starts at %v", requestStart(o.facts))
		if k > 0 {
			why = say("answers SYN again %d: the half-open connection was gone, so this is a new one with a new sequence number", k)
		}
		o.emit(o.SYNACKLoss.Server.Host, timeline.SYNACK, 0, at, nominal, why)
		o.start(at, nominal)
		return
	}
	limit := o.w.toJiffies(o.SYNACKLoss.Server.InvalidRatelimit)
	if o.hasAnswered && limit > 0 && at.jiffy-o.answered < limit {
		return // tcp_oow_rate_limited
	}
	o.hasAnswered, o.answered = true, at.jiffy
	if o.SYNACKLoss.Server.Silent {
		return // tcp_rtx_synack failed, so the timer stays as it is
	}
	o.answers++
	o.emit(o.SYNACKLoss.Server.Host, timeline.SYNACKAnswer, o.answers, at, nominal,
		say("answers SYN again %d at once and starts the timer anew with its present value, %v", k, o.timeout()))
	o.start(at, nominal)
}

// start starts the request timer when a SYN has come. The client's own timer is started by the same SYN on its way out, and the jiffy can
// change between the two, or be the one before for a processor that looks early.
func (o *open) start(at turn, nominal time.Duration) {
	o.arm(at.jiffy, nominal)
	shifts := []int64{1} // what a timer sends is not there before it
	if at.fire == 0 {
		shifts = o.w.around()
	}
	fires := []int64{o.armed}
	for _, shift := range shifts {
		if j := o.w.fire(at.jiffy+shift, o.w.toJiffies(o.timeout())); !slices.Contains(fires, j) {
			fires = append(fires, j)
		}
	}
	if len(fires) > 1 {
		o.armed = fires[o.pick(len(fires))]
	}
}

// timers runs the request timer until the next SYN comes, the k-th repeat, and returns when the server deals with that one. Within a jiffy
// of each other either comes first.
func (o *open) timers(syn turn, nominal time.Duration, k int) turn {
	for o.armed != 0 {
		first := o.armed <= syn.jiffy
		if d := syn.jiffy - o.armed; -1 <= d && d <= 1 && o.pick(2) == 1 {
			first = !first
		}
		at, due, start := o.armed, o.nominalFire, o.nominalStart
		if !first {
			if due <= nominal {
				o.order = append(o.order, fmt.Sprintf("SYN again %d comes before the server's timer %d", k, o.numTimeout+1))
			}
			return syn
		}
		if due > nominal {
			o.order = append(o.order, fmt.Sprintf("the server's timer %d fires before SYN again %d", o.numTimeout+1, k))
		}
		if at > syn.jiffy {
			syn.jiffy = at
		}
		if o.dies() {
			o.gone(at, due, syn.jiffy)
			o.armed = 0
			return syn
		}
		why := say("%v + %v, the request timer's fire %d", start, o.timeout(), o.numTimeout+1)
		o.numTimeout++
		o.emit(o.SYNACKLoss.Server.Host, timeline.SYNACKAgain, o.numTimeout, turn{fire: at}, due, why)
		o.arm(at, due)
	}
	return syn
}

// gone is the end of the request. Where the next SYN makes a new one soon, no look from outside is sure to see it.
func (o *open) gone(at int64, nominal time.Duration, next int64) {
	why := say("the request timer fired after %s: the half-open connection is forgotten, silently", plural(o.numTimeout, "retransmission"))
	if o.SYNACKLoss.Server.Silent {
		why = say("the SYN-ACK could not be sent again (OUTPUT dropped it), so the request timer's first fire forgets the half-open connection")
	}
	e := timeline.Event{Host: o.SYNACKLoss.Server.Host, What: timeline.RequestGone, Bound: timeline.Bound{At: nominal}, Chain: "SYN-RECV"}
	e.Maybe = next-at < ceilJiffies(o.facts, time.Second)
	o.out = append(o.out, happening{Event: e, at: o.w.instant(at), jiffy: at, why: why})
}

// emit adds a packet that is sent at a moment.
func (o *open) emit(host string, what timeline.What, n int, at turn, nominal time.Duration, why func() string) {
	if host == o.SYNACKLoss.Server.Host && o.SYNACKLoss.Server.Silent {
		return
	}
	h := happening{Event: timeline.Event{Host: host, What: what, N: n, Bound: timeline.Bound{At: nominal, After: at.after}}, at: at.after, jiffy: at.fire, why: why}
	if what == timeline.SYNACKAgain {
		h.Chain = "request timer"
	}
	if at.fire > 0 {
		h.at += o.w.instant(at.fire)
	}
	switch {
	case at.after > 0:
		h.late = lateness(o.RTT, 1)
	case at.fire == 0 && what != timeline.SYN: // the SYN is the origin
		h.late = answerWithin
	}
	o.out = append(o.out, h)
}

// answerWithin is how long a host may take to answer a packet at once, for answers that no timer dates: the judge adds what a machine needs.
const answerWithin = time.Millisecond

// ordinal writes 1st, 2nd, 3rd, 4th.
func ordinal(n int) string {
	switch {
	case n%10 == 1 && n%100 != 11:
		return fmt.Sprintf("%dst", n)
	case n%10 == 2 && n%100 != 12:
		return fmt.Sprintf("%dnd", n)
	case n%10 == 3 && n%100 != 13:
		return fmt.Sprintf("%drd", n)
	}
	return fmt.Sprintf("%dth", n)
}
