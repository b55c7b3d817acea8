package oracle

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
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
}

// Predict returns what both ends send, the moments at which a half-open connection vanishes, and the end of connect(2). Where a repeated
// SYN and the request timer fall into one tick, the timer is taken to be first: it is pinned to its CPU and runs from BASE_LOCAL, before
// the client's (run_timer_softirq). The alternatives have the SYN first, once.
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
	meetings := 0
	play := func(first int) func(*world) []happening {
		return func(w *world) []happening {
			o := &open{SYNACKLoss: s, rule: r, w: w, fires: fires, last: last, synFirst: first, request: request{server: s.Server, w: w}}
			o.run()
			meetings = max(meetings, o.meetings)
			return o.out
		}
	}
	out := sweep(f, start, longest, play(0))
	for i := 1; i <= meetings; i++ {
		alt := sweep(f, start, longest, play(i))
		alt.Why = fmt.Sprintf("the repeated SYN comes before the server's timer where both fall into one tick, the %s time", ordinal(i))
		out.Alternatives = append(out.Alternatives, alt)
	}
	return out, nil
}

func (s SYNACKLoss) validate(f kernel.Facts, start *Start) error {
	if err := s.Connect.validate(f, start); err != nil {
		return err
	}
	return s.Server.validate(f)
}

// open plays the two ends of one open in one world.
type open struct {
	SYNACKLoss
	rule
	w        *world
	fires    []nominalFire // the client's, by the formula
	last     int
	out      []happening
	synFirst int // the meeting, from 1, at which the SYN is first; 0: none
	meetings int // how often a repeated SYN and the request timer fell into one tick

	request
	answers     int
	answered    int64 // last_oow_ack_time
	hasAnswered bool
}

// run plays the client's SYNs, and between them the fires of the request timer.
func (o *open) run() {
	fires, last := o.fires, o.last
	o.emit(o.c.Host, timeline.SYN, 0, 0, 0, say("first SYN: time starts here"))
	o.syn(0, 0, 0)
	timer := min(o.initial, o.most)
	next := o.w.fire(0, int64(timer))
	for k := 1; ; k++ {
		at := next
		nominal := fires[min(k, len(fires))-1].at
		if o.expired(k-1, at) {
			o.end(at, fires[last].at, func() string { return o.whyEnd(last, fires[last].at) })
			break
		}
		o.timers(at)
		o.emit(o.c.Host, timeline.SYNRetransmission, k, at, nominal, func() string { return fires[k-1].why })
		o.syn(at, nominal, k)
		timer = backoff(o.rule, k, timer, o.most)
		next = o.w.fire(at, o.clampIn(at, int64(timer)))
	}
	o.timers(1 << 62) // the request lives on by itself
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
func (o *open) syn(at int64, nominal time.Duration, k int) {
	if o.armed == 0 {
		o.numTimeout, o.answers, o.hasAnswered = 0, 0, false
		why := say("answers the first SYN: a request socket is made, its timer starts at %v", requestStart(o.facts))
		if k > 0 {
			why = say("answers SYN again %d: the half-open connection was gone, so this is a new one with a new sequence number", k)
		}
		o.emit(o.SYNACKLoss.Server.Host, timeline.SYNACK, 0, at, nominal, why)
		o.arm(at, nominal)
		return
	}
	limit := o.w.toJiffies(o.SYNACKLoss.Server.InvalidRatelimit)
	if o.hasAnswered && limit > 0 && at-o.answered < limit {
		return // tcp_oow_rate_limited
	}
	o.hasAnswered, o.answered = true, at
	if o.SYNACKLoss.Server.Silent {
		return // tcp_rtx_synack failed, so the timer stays as it is
	}
	o.answers++
	o.emit(o.SYNACKLoss.Server.Host, timeline.SYNACKAnswer, o.answers, at, nominal,
		say("answers SYN again %d at once and starts the timer anew with its present value, %v", k, o.timeout()))
	o.arm(at, nominal)
}

// timers runs the request timer up to the jiffy in which the next SYN comes, that jiffy included unless the SYN is first there.
func (o *open) timers(until int64) {
	for o.armed != 0 && o.armed <= until {
		if o.armed == until {
			o.meetings++
			if o.meetings == o.synFirst {
				return
			}
		}
		at, nominal, start := o.armed, o.nominalFire, o.nominalStart
		if o.dies() {
			o.gone(at, nominal, until)
			o.armed = 0
			return
		}
		why := say("%v + %v, the request timer's fire %d", start, o.timeout(), o.numTimeout+1)
		o.numTimeout++
		o.emit(o.SYNACKLoss.Server.Host, timeline.SYNACKAgain, o.numTimeout, at, nominal, why)
		o.arm(at, nominal)
	}
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

// emit adds a packet that is sent when the timer of jiffy at has fired; jiffy 0 is the call's own.
func (o *open) emit(host string, what timeline.What, n int, at int64, nominal time.Duration, why func() string) {
	if host == o.SYNACKLoss.Server.Host && o.SYNACKLoss.Server.Silent {
		return
	}
	h := happening{Event: timeline.Event{Host: host, What: what, N: n, Bound: timeline.Bound{At: nominal}}, jiffy: at, why: why}
	if what == timeline.SYNACKAgain {
		h.Chain = "request timer"
	}
	if at > 0 {
		h.at = o.w.instant(at)
	} else {
		h.late = answerWithin
	}
	if host == o.c.Host && what == timeline.SYN {
		h.late = 0 // the origin
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
