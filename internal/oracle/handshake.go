package oracle

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Exchange is a whole connection on a link that loses nothing: it is opened, carries one request and one answer, and is closed from both
// ends. The zero values of the names stand for "client" and "server".
type Exchange struct {
	Client, Server string
	// Request and Answer are the bytes of data each way, each in one segment: 1 to 1448, or 1428 with IPv6, what an Ethernet frame holds
	// beside the headers and timestamps.
	Request, Answer int
	IPv6            bool
	RTT             time.Duration // the link's, both ways together, up to 500 ms; 0: a veth, tens of microseconds
	Link            link.Plan     // what the link does besides: it holds each packet back for a time of its own
	// What the programs do, as offsets from the client's connect(2): the client writes its request and the server its answer, and each closes.
	// Each must be possible: the connection open, the request there, the answer there, the first FIN there. Whoever closes first, the
	// other must close within 50 s, because the first forgets the connection after tcp_fin_timeout, 60 s.
	RequestAt, AnswerAt, ClientClose, ServerClose time.Duration
	// ServerFirst: the server closes first. Otherwise the client does.
	ServerFirst bool
	// RTOMin is tcp_rto_min_us of the end that hears the first FIN; 0: 200 ms, the default and the constant of older kernels.
	RTOMin time.Duration
}

const (
	exchangeRTT  = 500 * time.Millisecond // beyond, a first RTO of 1 s comes near
	lingerMax    = 50 * time.Second
	rtoMinMax    = time.Second            // keeps the probe and the first RTO of a FIN away from its late ACK
	rtoMinNormal = 200 * time.Millisecond // TCP_RTO_MIN
	ackTimeout   = 40 * time.Millisecond  // TCP_ATO_MIN, the first value of icsk_ack.ato
	// closeSlack is how late a program may close and still count as in time: a process that is due may wait for a processor.
	closeSlack = 10 * time.Millisecond
)

// Predict returns every packet with its exact numbers, what the client's calls return, and, as outcome, the end of connect(2).
//
// Whether the close takes three packets or four is decided by one timer: a FIN is acknowledged late (tcp_fin puts the connection into
// pingpong mode, so __tcp_ack_snd_check leaves it to tcp_send_delayed_ack), and the second end's own FIN carries the acknowledgement
// where it comes before. Where Linger is so near to that timer that a machine's own delays decide, the fourth packet is Maybe.
//
// Source: tcp_fin, tcp_event_data_recv, tcp_event_data_sent, __tcp_ack_snd_check in net/ipv4/tcp_input.c and tcp_output.c;
// tcp_send_delayed_ack and tcp_delack_max in tcp_output.c (6.18). All other answers are sent at once: the first data of a connection puts
// it into quickack mode (tcp_incr_quickack), the third packet of the handshake is never delayed (tcp_rcv_synsent_state_process).
func (x Exchange) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if err := x.validate(f, start); err != nil {
		return timeline.Timeline{}, err
	}
	if x.Client == "" {
		x.Client = "client"
	}
	if x.Server == "" {
		x.Server = "server"
	}
	delay := x.delay(f)
	return sweep(f, start, delay, func(w *world) []happening {
		p := &exchange{Exchange: x, w: w, line: newLine(x.RTT, x.Link), delay: delay}
		p.run()
		return p.out
	}), nil
}

func (x Exchange) validate(f kernel.Facts, start *Start) error {
	for _, v := range []struct {
		name  string
		value int
	}{{"request", x.Request}, {"answer", x.Answer}} {
		if most := segmentMax(x.IPv6); v.value < 1 || v.value > most {
			return fmt.Errorf("exchange: %s of %d bytes: want 1 to %d, one segment", v.name, v.value, most)
		}
	}
	first, second := x.ClientClose, x.ServerClose
	if x.ServerFirst {
		first, second = second, first
	}
	on := x.underWay()
	switch {
	case f.HZ < 24 || f.HZ > 10000:
		return fmt.Errorf("exchange: HZ=%d: want the kernel's CONFIG_HZ, 24..10000", f.HZ)
	case x.RTT < 0 || x.RTT > exchangeRTT:
		return fmt.Errorf("exchange: RTT of %v: want 0 to %v", x.RTT, exchangeRTT)
	case x.RequestAt <= on.open:
		return fmt.Errorf("exchange: request at %v: want later than the handshake, which takes %v", x.RequestAt, on.open)
	case x.AnswerAt < x.RequestAt+on.request:
		return fmt.Errorf("exchange: answer at %v: want it when the request of %v has come, or later", x.AnswerAt, x.RequestAt)
	case x.ServerFirst && first < x.AnswerAt || !x.ServerFirst && first < x.AnswerAt+on.answer:
		return fmt.Errorf("exchange: first close at %v: want it when the answer of %v is there, or later", first, x.AnswerAt)
	case x.linger() < 0 || x.linger() > lingerMax:
		return fmt.Errorf("exchange: second close at %v, %v after the first FIN has come: want 0 to %v, before the first end forgets the connection "+
			"(tcp_fin_timeout)", second, x.linger(), lingerMax)
	case x.RTOMin < 0 || x.RTOMin > rtoMinMax:
		return fmt.Errorf("exchange: tcp_rto_min_us of %v: want 1 µs to %v; 0 stands for 200 ms", x.RTOMin, rtoMinMax)
	case x.RTOMin != 0 && x.RTOMin != rtoMinNormal && !f.Version.AtLeast(6, 11):
		return fmt.Errorf("exchange: tcp_rto_min_us of %v: kernel %v has no such knob (since 6.11) and always uses 200 ms; use 0", x.RTOMin, f.Version)
	case !x.Link.Zero() && x.Packets(f) == 0:
		return fmt.Errorf("exchange: second close %v after the first FIN has come: near the delayed ACK of that FIN, which may come before or not at all, so it is not known which packets the link holds back for how long", x.linger())
	case start != nil && (start.Phase < 0 || start.Phase >= f.Jiffy()):
		return fmt.Errorf("exchange: start phase of %v: want 0 up to a jiffy, %v", start.Phase, f.Jiffy())
	}
	return nil
}

// Ordered puts what the programs do into the order of its causes: while a run goes on, some calls are known as they were made and others as
// they were planned.
func (x Exchange) Ordered() Exchange {
	first, second := &x.ClientClose, &x.ServerClose
	if x.ServerFirst {
		first, second = second, first
	}
	back := func() time.Duration { // from the answer to whoever closes first
		if x.ServerFirst {
			return 0
		}
		return x.underWay().answer
	}
	x.AnswerAt = max(min(x.AnswerAt, *first-back()), x.RequestAt+x.underWay().request)
	*first = max(*first, x.AnswerAt+back())
	*second = max(*second, *first+x.underWay().fin)
	return x
}

// crossings are how long the packets are under way on which the programs' calls wait: the handshake's first two together, the request, the answer
// and the first FIN.
type crossings struct{ open, request, answer, fin time.Duration }

// underWay puts on the link what is sent before the second close.
func (x Exchange) underWay() crossings {
	var c crossings
	l := newLine(x.RTT, x.Link)
	syn := l.toServer(0)
	c.open = syn + l.toClient(syn)
	l.toServer(c.open)
	c.request = l.toServer(x.RequestAt)
	l.toClient(x.RequestAt + c.request) // its acknowledgement
	c.answer = l.toClient(x.AnswerAt)
	l.toServer(x.AnswerAt + c.answer)
	if x.ServerFirst {
		c.fin = l.toClient(x.ServerClose)
	} else {
		c.fin = l.toServer(x.ClientClose)
	}
	return c
}

// RequestDue is when the request arrives.
func (x Exchange) RequestDue() time.Duration { return x.RequestAt + x.underWay().request }

// FINDue is when the first FIN arrives at the end that closes second.
func (x Exchange) FINDue() time.Duration {
	if x.ServerFirst {
		return x.ServerClose + x.underWay().fin
	}
	return x.ClientClose + x.underWay().fin
}

// delay is the timer of a delayed ACK in jiffies: icsk_ack.ato at its first value, which is at least TCP_DELACK_MIN, within
// tcp_delack_max.
func (x Exchange) delay(f kernel.Facts) int64 {
	d := int64(4) // TCP_ATO_MIN below HZ=100
	if f.HZ >= 100 {
		d = int64(f.HZ / 25)
	}
	if x.RTOMin > 0 {
		d = min(d, max(ceilJiffies(f, x.RTOMin), 2)-1)
	}
	return d
}

// linger is how long the second end takes to close after the first FIN has come.
func (x Exchange) linger() time.Duration {
	if x.ServerFirst {
		return x.ClientClose - x.FINDue()
	}
	return x.ServerClose - x.FINDue()
}

// Packets is how many packets the close takes, from the first FIN to the last ACK: 3 or 4, or 0 where a machine's own delays decide.
func (x Exchange) Packets(f kernel.Facts) int {
	linger := x.linger()
	tick, d := f.Jiffy(), x.delay(f)
	_, last := Fire(f, 0, uint64(d))
	soonest, latest := time.Duration(d-1)*tick, time.Duration(last+1)*tick
	switch {
	case linger+closeSlack < soonest:
		return 3
	case linger > latest+closeSlack:
		return 4
	}
	return 0
}

// exchange plays both ends in one world.
type exchange struct {
	Exchange
	w     *world
	line  *line
	delay int64
	shift time.Duration // of the calls that are played, from where they were planned: no part of a nominal time
	out   []happening
}

func (p *exchange) run() {
	req, ans := uint32(p.Request), uint32(p.Answer)
	there := p.send(p.Client, timeline.SYN, 0, 0, 0, 0, 0, "first SYN: time starts here")
	back := p.send(p.Server, timeline.SYNACK, 0, 1, 0, there, 1, "answers the SYN at once")
	p.send(p.Client, timeline.ACK, 1, 1, 0, back, 2, "completes the handshake: never delayed")
	p.see(timeline.Connected, back, 2, "the SYN-ACK has come: one round trip").outcome = true

	p.shift = p.w.call(0)
	at, answer := p.RequestAt+p.shift, p.AnswerAt+p.shift
	there = p.send(p.Client, timeline.Data, 1, 1, p.Request, at, 0, fmt.Sprintf("the client writes its request of %d bytes", p.Request))
	p.send(p.Server, timeline.ACK, 1, 1+req, 0, there, 1, "the first data of a connection is acknowledged at once (quickack)")
	back = p.send(p.Server, timeline.Data, 1, 1+req, p.Answer, answer, 1, fmt.Sprintf("the server writes its answer of %d bytes", p.Answer))
	p.send(p.Client, timeline.ACK, 1+req, 1+ans, 0, back, 2, "the first data of a connection is acknowledged at once (quickack)")
	p.see(timeline.Answered, back, 2, "the whole answer has come")

	if p.ServerFirst {
		p.close(p.Server, p.Client, p.ServerClose, p.ClientClose)
	} else {
		p.close(p.Client, p.Server, p.ClientClose, p.ServerClose)
	}
}

// close plays the close: the first end's FIN and the second one's, as they are planned.
func (p *exchange) close(first, second string, finAt, closeAt time.Duration) {
	seq := map[string]uint32{p.Client: 1 + uint32(p.Request), p.Server: 1 + uint32(p.Answer)}
	hops := map[string]int{p.Client: 0, p.Server: 1} // the server only answers: it may be late
	finAt, closeAt = finAt+p.shift, closeAt+p.shift
	there := p.send(first, timeline.FIN, seq[first], seq[second], 0, finAt, hops[first], "the "+first+" closes first")
	why := fmt.Sprintf("the %s closes %v after that FIN has come", second, p.linger())
	switch packets := p.Packets(p.w.facts); packets {
	case 3:
		why += ", before its ACK of it was due: one packet for both"
	default:
		p.acknowledge(second, seq[second], seq[first]+1, there, packets == 0)
	}
	back := p.send(second, timeline.FIN, seq[second], seq[first]+1, 0, closeAt, hops[second], why)
	p.send(first, timeline.ACK, seq[first]+1, seq[second]+1, 0, back, hops[second]+1, "a FIN is answered at once by an end that has closed (TIME-WAIT)")
}

// acknowledge is the late ACK of a FIN that arrives at an instant. A link that holds each packet back may deliver near the end of a jiffy, and its
// own lateness move that into the next one: both are played.
func (p *exchange) acknowledge(host string, seq, ack uint32, arrived time.Duration, maybe bool) {
	armed := arrived
	if !p.Link.Zero() {
		armed += p.w.late(answerWithin)
	}
	at := p.w.fire(p.w.jiffy(armed), p.delay)
	p.crosses(host, p.w.instant(at))
	e := timeline.Event{Host: host, What: timeline.ACK, RelSeq: seq, RelAck: ack, Exact: true, Maybe: maybe, Chain: "delayed ACK",
		Bound: timeline.Bound{At: arrived - p.shift + p.w.fromJiffies(p.delay)}}
	p.out = append(p.out, happening{Event: e, at: p.w.instant(at), jiffy: at,
		why: say("a FIN is acknowledged late, %v after it came (TCP_ATO_MIN): perhaps the own FIN can carry it", p.w.fromJiffies(p.delay))})
}

// send adds a packet that a host sends at an instant, a call of its own or an answer after so many crossings of the link, and returns when it arrives.
func (p *exchange) send(host string, what timeline.What, seq, ack uint32, n int, at time.Duration, hops int, why string) time.Duration {
	e := timeline.Event{Host: host, What: what, RelSeq: seq, RelAck: ack, Len: n, Exact: true, Bound: timeline.Bound{At: at}}
	p.add(e, hops, why)
	return p.crosses(host, at)
}

// crosses puts a packet of a host on the link at an instant, and returns when it arrives.
func (p *exchange) crosses(host string, at time.Duration) time.Duration {
	if host == p.Client {
		return at + p.line.toServer(at)
	}
	return at + p.line.toClient(at)
}

// see adds what a call of the client returns.
func (p *exchange) see(what timeline.What, at time.Duration, hops int, why string) *happening {
	return p.add(timeline.Event{Host: p.Client, What: what, Bound: timeline.Bound{At: at}}, hops, why)
}

func (p *exchange) add(e timeline.Event, hops int, why string) *happening {
	at := e.At
	e.At -= p.shift
	h := happening{Event: e, at: at, late: lateness(p.RTT, hops), why: say("%s", why)}
	p.out = append(p.out, h)
	return &p.out[len(p.out)-1]
}

// lateness is how late an answer may be that has crossed the link so many times. A veth takes no time that counts; what delays a link by
// other means may be late at each crossing.
func lateness(rtt time.Duration, hops int) time.Duration {
	switch {
	case hops == 0:
		return 0
	case rtt == 0:
		return answerWithin
	}
	return time.Duration(hops) * answerWithin
}
