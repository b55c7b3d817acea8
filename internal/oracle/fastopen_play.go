package oracle

import (
	"fmt"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
)

// meeting is how two timers of one tick meet on a link without delay, each on its own processor.
type meeting int

const (
	bothRepeat  meeting = iota // both fire before either sees the other's packet
	clientFirst                // the client's SYN is answered, and the handshake done, before the server's timer runs
	serverFirst                // the server's SYN-ACK arrives before the client's timer runs
)

// String says what makes the meeting differ.
func (m meeting) String() string {
	switch m {
	case clientFirst:
		return "the repeated SYN is answered, and the handshake done, before the server's timer of the same tick runs"
	case serverFirst:
		return "the server's SYN-ACK arrives before the client's timer of the same tick runs, so that no SYN is repeated"
	}
	return "both timers of one tick run before either end hears the other"
}

// fastOpen plays all requests in one world.
type fastOpen struct {
	FastOpen
	w     *world
	line  *line
	order meeting
	ways  *choices // with a Link: whether the server's program closes before its delayed ACK, for each request
	after []string // the requests in which it does not
	now   int      // the request that is played, from 1
	met   bool     // the two timers fired in one tick on a link without delay
	out   []happening
}

// moment is when something happens: at the call, or at a timer's tick, and after what came between.
type moment struct {
	at, nominal, after time.Duration
	late               time.Duration // for all that follows a call at once: judge.Allowance is for programs that wake up late
	jiffy              int64         // of the timer that began it; 0: a call did
	program            bool          // a program made a call between that timer and this
}

// timer is the moment at which a timer of d fires that was armed at a moment.
func (x *fastOpen) timer(m moment, d time.Duration, crossed bool) moment {
	armed := m.jiffy
	switch {
	case crossed:
		armed = x.w.jiffy(m.at + x.late())
	case armed == 0:
		armed = x.w.jiffy(m.at)
	}
	j := x.w.fire(armed, x.w.toJiffies(d))
	return moment{at: x.w.instant(j), nominal: m.nominal + d, jiffy: j}
}

// numbers are a packet's: relative sequence number, relative acknowledgement, bytes of data.
type numbers struct{ seq, ack, data int }

// send puts a packet on the link, and returns its arrival at the other end.
func (x *fastOpen) send(m moment, host string, what timeline.What, n int, p numbers, why func() string) moment {
	e := timeline.Event{Host: host, What: what, N: n, RelSeq: uint32(p.seq), RelAck: uint32(p.ack), Len: p.data, Exact: true}
	e.At, e.After, e.Chain, e.ByProgram = m.nominal, m.after, x.chain(what), m.program
	x.out = append(x.out, happening{Event: e, at: m.at, jiffy: m.jiffy, late: m.late, why: why})
	way := x.line.toServer
	if host == x.Server.Host {
		way = x.line.toClient
	}
	by := way(m.at)
	m.at, m.nominal = m.at+by, m.nominal+by
	if m.jiffy != 0 {
		m.after += by
	}
	return m
}

// see adds what the client does that carries no numbers, or that its program sees.
func (x *fastOpen) see(m moment, what timeline.What, errno string, why func() string) {
	e := timeline.Event{Host: x.Host, What: what, Errno: errno, Chain: x.chain(what)}
	e.At, e.After = m.nominal, m.after
	x.out = append(x.out, happening{Event: e, at: m.at, jiffy: m.jiffy, late: m.late, why: why})
}

// chain names the timer behind an event. What no timer sends has a chain of its own for each request, so that no gap counts from it.
func (x *fastOpen) chain(what timeline.What) string {
	switch what {
	case timeline.SYN, timeline.SYNRetransmission, timeline.RTORetransmission:
		return ""
	case timeline.SYNACK, timeline.SYNACKAgain:
		return "SYN-ACK timer"
	}
	return fmt.Sprintf("request %d", x.now)
}

// request plays one request from its first call to the end of its connection.
func (x *fastOpen) request(i int, o Opening) {
	x.now = i + 1
	call := moment{}
	if i > 0 {
		call = moment{at: x.w.call(x.Calls[i].Open), nominal: x.Calls[i].Open, late: answerWithin}
	}
	if o.Refused && i > 0 { // the first one is refused before time starts
		early := moment{at: x.w.call(x.Calls[i].Try), nominal: x.Calls[i].Try, late: answerWithin}
		x.see(early, timeline.SendRefused, "EOPNOTSUPP", say("sendto(MSG_FASTOPEN): bit 0x1 of the client's tcp_fastopen is clear"))
	}
	first := numbers{}
	if o.Data {
		first.data = x.Request
	}
	came := x.send(call, x.Host, timeline.SYN, 0, first, say("%s", o.why(i, x.Request)))
	came.late, call.late = answerWithin, answerWithin
	switch o.Lost {
	case LoseSYNData:
		again := x.timer(call, x.w.facts.InitialRTO, false)
		x.open(x.synAgain(again, call), o)
	case LoseSYNACK:
		x.loseSYNACK(call, came, o)
	default:
		x.open(came, o)
	}
	x.close(i, o)
}

func (x *fastOpen) synAgain(m, since moment) moment {
	return x.send(m, x.Host, timeline.SYNRetransmission, 1, numbers{},
		say("%v + %v, the initial RTO: the repeated SYN is a plain one, without option and without data", since.nominal, x.w.facts.InitialRTO))
}

// open plays the handshake from a SYN's arrival up to the acknowledged answer.
func (x *fastOpen) open(at moment, o Opening) {
	came := x.synack(at, o, timeline.SYNACK, 0)
	x.established(came, x.early(at, o), o, nil)
}

// synack is a SYN-ACK: it acknowledges what the server took.
func (x *fastOpen) synack(m moment, o Opening, what timeline.What, n int) moment {
	p := numbers{ack: 1}
	if o.Accepted {
		p.ack += x.Request
	}
	why := say("answers the SYN: ack = 1, the SYN alone")
	switch {
	case what == timeline.SYNACKAnswer:
		why = say("answers SYN again at once, with the same numbers: ack = %d", p.ack)
	case what == timeline.SYNACKAgain:
		why = say("the timer of the server's SYN-ACK, %v", x.w.facts.InitialRTO)
	case o.Accepted:
		why = say("answers the SYN and takes its data: ack = 1 + %d, the SYN and the request", x.Request)
	case o.Gives:
		why = say("answers the SYN: ack = 1, with a cookie of 8 bytes")
	case o.Asks && o.Lost != LoseSYNData:
		why = say("answers the SYN: ack = 1, without a cookie: the server gives none")
	case o.Data:
		why = say("answers the SYN but not its data: ack = 1, so the client must send them again")
	}
	return x.send(m, x.Server.Host, what, n, p, why)
}

// early is the answer to a request that came with the SYN: the server need not wait for the third packet. It returns its arrival.
func (x *fastOpen) early(at moment, o Opening) moment {
	if !o.Accepted {
		return moment{}
	}
	at.program = true
	came := x.send(at, x.Server.Host, timeline.Data, 0, numbers{1, 1 + x.Request, x.Answer},
		say("the answer: the server had the request with the SYN"))
	came.program = false
	return came
}

// established plays the client from the SYN-ACK on, up to the answer, which is sent here or comes at a moment; one that has gone already is thrown away.
// second is when another SYN-ACK arrives; nil: none does. It returns the third packet's arrival.
func (x *fastOpen) established(at, answer moment, o Opening, second *moment) (third moment) {
	x.see(at, timeline.Connected, "", say("the SYN-ACK has come: the socket is writable"))
	switch {
	case o.Accepted:
		third = x.send(at, x.Host, timeline.ACK, 0, numbers{seq: 1 + x.Request, ack: 1}, say("completes the handshake: the third packet"))
		x.challenge(second)
		if o.Lost != LoseSYNACK {
			x.ackAnswer(answer, "")
		}
		return third
	case o.Data:
		third = x.send(at, x.Host, timeline.DataAgain, 1, numbers{1, 1, x.Request},
			say("completes the handshake and carries the request again, at once: the SYN-ACK did not acknowledge it"))
		x.challenge(second)
		at = third
	default:
		third = x.send(at, x.Host, timeline.ACK, 0, numbers{seq: 1, ack: 1}, say("completes the handshake: the third packet"))
		x.challenge(second)
		at.program = true
		if o.Refused { // two calls, and the program thinks between them
			at.late += tellsWithin
		}
		at = x.send(at, x.Host, timeline.Data, 0, numbers{1, 1, x.Request}, say("the request, once connect is through: a round trip after the SYN"))
	}
	x.send(at, x.Server.Host, timeline.ACK, 0, numbers{seq: 1, ack: 1 + x.Request}, say("acknowledges the request at once: quick ACK mode at the beginning"))
	at.program = true
	x.ackAnswer(x.send(at, x.Server.Host, timeline.Data, 0, numbers{1, 1 + x.Request, x.Answer}, say("the answer")), "")
	return third
}

func (x *fastOpen) ackAnswer(at moment, why string) {
	x.send(at, x.Host, timeline.ACK, 0, numbers{seq: 1 + x.Request, ack: 1 + x.Answer}, say("acknowledges the answer at once%s", why))
}

// loseSYNACK plays a SYN that arrives and a SYN-ACK that does not. Both ends have a timer of the same length, armed one link apart.
func (x *fastOpen) loseSYNACK(call, at moment, o Opening) {
	x.synack(at, o, timeline.SYNACK, 0)
	x.early(at, o)
	client := x.timer(call, x.w.facts.InitialRTO, false)
	server := x.timer(at, x.w.facts.InitialRTO, true)
	order := bothRepeat
	if x.OneWay == 0 && client.jiffy == server.jiffy {
		x.met, order = true, x.order
	}
	if order == serverFirst {
		x.afterLoss(x.synack(server, o, timeline.SYNACKAgain, 1), server, o, nil)
		return
	}
	asked := x.synAgain(client, call)
	if order != bothRepeat || !x.fires(server, asked, o) {
		x.afterLoss(x.synack(asked, o, timeline.SYNACKAnswer, 1), asked, o, nil)
		return
	}
	again := x.synack(server, o, timeline.SYNACKAgain, 1)
	first, came := asked, x.synack(asked, o, timeline.SYNACKAnswer, 1)
	if x.OneWay > 0 && server.at < asked.at+x.late() {
		first, came, again = server, again, came
	}
	x.afterLoss(came, first, o, &again)
}

// challenge is the answer to a SYN-ACK that finds the connection open. It comes before or after the client's data, so that its numbers are
// not certain.
func (x *fastOpen) challenge(at *moment) {
	if at != nil {
		x.see(*at, timeline.ChallengeACK, "", say("answers the second SYN-ACK: the connection is open, so it is not acceptable (RFC 5961)"))
	}
}

// fires reports whether the server's own timer sends a SYN-ACK, although a repeated SYN asks for one at a moment. With its answer, the timer
// of a request starts anew; that of a socket made by Fast Open goes on until the handshake is done (tcp_check_req).
func (x *fastOpen) fires(server, asked moment, o Opening) bool {
	switch {
	case x.OneWay == 0:
		return server.jiffy == asked.jiffy
	case o.Child:
		return server.at < asked.at+2*x.OneWay+x.late()
	}
	return server.at < asked.at+x.late()
}

// late is how late what crosses the link may be dealt with, in some worlds.
func (x *fastOpen) late() time.Duration {
	if x.OneWay > 0 {
		return x.w.late(linkLate)
	}
	return x.w.late(answerWithin)
}

// tellsWithin is how long a program may take that is told what to do next, beside what a machine needs.
const tellsWithin = 10 * time.Millisecond

const linkLate = 2 * time.Millisecond // how much longer than it should a delay line takes, at most, where nothing is starved

// afterLoss plays what follows the first SYN-ACK that arrives, at a moment. A server that has answered already sends its answer again by its
// retransmission timer: the client, in SYN-SENT, threw the first one away.
func (x *fastOpen) afterLoss(at, sent moment, o Opening, second *moment) {
	ack := x.established(at, moment{}, o, second)
	if !o.Accepted {
		return
	}
	// The SYN-ACK was sent more than once, so that the sample comes from the timestamps, in whole milliseconds (tcp_synack_rtt_meas,
	// tcp_rtt_tsopt_us).
	sample := max(x.w.ms(ack.at+x.late())-x.w.ms(sent.at), 1)
	rto := rtoFrom(time.Duration(sample)*time.Millisecond, x.Server.RTOMin)
	again := x.timer(ack, rto, true)
	came := x.send(again, x.Server.Host, timeline.RTORetransmission, 1, numbers{1, 1 + x.Request, x.Answer},
		say("the third packet arrived at %v and armed the timer: %v after a round trip of %d ms", ack.nominal, rto, sample))
	x.ackAnswer(came, ": the client threw the first one away, it had no SYN-ACK then")
}

// close plays the client's close(2), and the server's after it.
func (x *fastOpen) close(i int, o Opening) {
	at := moment{at: x.w.call(x.Calls[i].Close), nominal: x.Calls[i].Close, late: answerWithin}
	at = x.send(at, x.Host, timeline.FIN, 0, numbers{seq: 1 + x.Request, ack: 1 + x.Answer}, say("the client closes"))
	// A program that takes its time lets the delayed ACK go first (tcp_fin ends quick ACK mode). How long it waits is set by the first data
	// (tcp_event_data_recv), which those of a SYN do not do: icsk_ack.ato is 0, and the ACK goes in the next jiffy.
	ato := min(ackTimeout, x.Server.RTOMin-x.w.facts.Jiffy()) // tcp_delack_max
	if o.Accepted {
		ato = 0
	}
	delayed := x.ways != nil && x.ways.pick(2) == 1
	if x.ways == nil || delayed {
		due := x.timer(at, ato, true)
		x.send(due, x.Server.Host, timeline.ACK, 0, numbers{seq: 1 + x.Answer, ack: 2 + x.Request},
			say("acknowledges the client's FIN by itself, if the server's program has not closed within %v", ato))
		x.out[len(x.out)-1].Maybe = !delayed
		if delayed { // the FIN is the packet behind it
			x.after = append(x.after, fmt.Sprint(i+1))
			at = moment{at: max(at.at, due.at), nominal: max(at.nominal, due.nominal), late: answerWithin, program: true}
		}
	}
	at = x.send(at, x.Server.Host, timeline.FIN, 0, numbers{seq: 1 + x.Answer, ack: 2 + x.Request}, say("the server reads the end and closes: its FIN acknowledges the client's"))
	x.send(at, x.Host, timeline.ACK, 0, numbers{seq: 2 + x.Request, ack: 2 + x.Answer}, say("acknowledges the server's FIN"))
}

// named is what decides which packet has which number.
func (x *fastOpen) named() string {
	if len(x.after) == 0 {
		return "the server's program closes before its delayed ACK each time"
	}
	return "the server's program closes after its delayed ACK in request " + strings.Join(x.after, ", ")
}

// why says what the first SYN is, and why.
func (o Opening) why(i, request int) string {
	nth := ordinal(i+1) + " request: "
	if i == 0 {
		nth = "time starts here; "
	}
	switch {
	case o.Refused:
		return nth + "a plain SYN by connect(2), because sendto(MSG_FASTOPEN) says EOPNOTSUPP: bit 0x1 of the client's tcp_fastopen is clear"
	case o.Shows:
		return nth + fmt.Sprintf("a SYN with the cookie of the cache and %d bytes of data", request)
	case o.Data:
		return nth + fmt.Sprintf("a SYN with %d bytes of data and no cookie: bit 0x4 of the client's tcp_fastopen is set", request)
	case o.Experimental:
		return nth + "a SYN that asks for a cookie in the experimental option (254): the option of RFC 7413 (34) got none"
	}
	return nth + "a SYN that asks for a cookie, without data: the cache has none"
}
