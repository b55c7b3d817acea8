package oracle

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/timeline"
)

// The bits of tcp_fastopen (include/net/tcp.h).
const (
	FastOpenClient         = 0x1   // TFO_CLIENT_ENABLE: sendto(MSG_FASTOPEN) works
	FastOpenServer         = 0x2   // TFO_SERVER_ENABLE: listeners that ask for it take data in a SYN
	FastOpenClientNoCookie = 0x4   // TFO_CLIENT_NO_COOKIE: data in the SYN without a cookie
	FastOpenServerNoCookie = 0x200 // TFO_SERVER_COOKIE_NOT_REQD: no SYN needs a cookie, and none is given
	FastOpenAllListeners   = 0x400 // TFO_SERVER_WO_SOCKOPT1: every listener, with the queue that it listens with
)

const leastRTO = 200 * time.Millisecond

// FastOpenListener is the server of a FastOpen.
type FastOpenListener struct {
	Host   string        // "" means "server"
	Bits   int           // its tcp_fastopen when it began to listen
	Queue  bool          // the listener set TCP_FASTOPEN itself
	RTOMin time.Duration // tcp_rto_min_us; 0: 200 ms, which is what a kernel without the knob has
}

// FastOpenLoss is the packet that is lost once.
type FastOpenLoss string

// What can be lost: at its receiver's INPUT, so the sender's TCP knows nothing.
const (
	LoseNothing FastOpenLoss = "none"
	LoseSYNData FastOpenLoss = "syn-data" // the SYN, with or without data
	LoseSYNACK  FastOpenLoss = "syn-ack"  // its answer
)

// FastOpenCall is one request: the offsets of the call that opens its connection, sendto(MSG_FASTOPEN) or connect(2), from the first one's, and
// of the close(2) after its answer. Try is that of a sendto(MSG_FASTOPEN) that is refused before.
type FastOpenCall struct{ Open, Close, Try time.Duration }

// FastOpen is a client that sends one request after another to a server, each in a connection of its own, and reads an answer.
//
// Where sendto(MSG_FASTOPEN) is refused, the program calls connect(2) and sends then. The socket does not block, so that a request that
// did not leave with the SYN leaves once the program has seen the connection open. The client begins with no cookie and no metrics.
type FastOpen struct {
	Connect
	Bits            int // the client's tcp_fastopen
	Server          FastOpenListener
	Calls           []FastOpenCall // at least one; the first at 0, and each after the close before it
	Request, Answer int            // bytes; 1 to 1420 (the most that fits into a SYN), and 1 to 1420; to 1400 with IPv6
	IPv6            bool
	OneWay          time.Duration // what the link adds to each packet; 0 to 1 s
	Link            link.Plan     // what the link does besides: it holds each packet back for a time of its own; without a SYN-ACK that is lost
	Lose            FastOpenLoss  // "" is LoseNothing
	LoseAt          int           // which request's packet is lost, from 1
	// ServerFirst is for Openings: a lost SYN-ACK came again by the server's timer before the client repeated its SYN. Both timers fire in
	// one tick, so either may be, and Predict tells of both.
	ServerFirst bool
}

// Opening is how one request's connection is opened, by the rules alone.
type Opening struct {
	// Refused: sendto(MSG_FASTOPEN) returns EOPNOTSUPP, and nothing is sent by it.
	Refused bool
	// Asks: the first SYN asks for a cookie. Experimental: in the option that RFC 7413 used before it had a number of its own (254).
	Asks, Experimental bool
	Shows              bool // the first SYN shows a cookie
	Data               bool // the first SYN carries the request
	Child              bool // the SYN makes a whole socket at once, not a request socket
	Accepted           bool // the SYN's data are taken: the SYN-ACK acknowledges them
	Gives              bool // the SYN-ACK carries a cookie
	Granted            bool // and arrives
	Lost               FastOpenLoss
	// RoundTrips is how many round trips lie between the SYN that opens the connection, the repeated one where a packet was lost, and the
	// answer that the program gets.
	RoundTrips int
}

// Openings returns how each request's connection is opened, from the settings alone: tcp_sendmsg_fastopen, tcp_send_syn_data,
// tcp_fastopen_cookie_check and tcp_fastopen_cache_set at the client, tcp_try_fastopen at the server (6.18).
func (x FastOpen) Openings() []Opening {
	cookie, tries := false, 0 // of the client's tcp_metrics: fo_cookie, try_exp
	listens := x.Server.Bits&FastOpenServer != 0 && (x.Server.Queue || x.Server.Bits&FastOpenAllListeners != 0)
	var out []Opening
	for i := range x.Calls {
		o := Opening{Lost: LoseNothing, RoundTrips: 2}
		if x.LoseAt == i+1 && x.Lose != "" {
			o.Lost = x.Lose
		}
		switch {
		case x.Bits&FastOpenClient == 0:
			o.Refused = true
		case x.Bits&FastOpenClientNoCookie != 0:
			o.Data = true
		case cookie:
			o.Data, o.Shows = true, true
		default:
			o.Asks, o.Experimental = true, tries == 1
		}
		if listens && o.Lost != LoseSYNData && (o.Data || o.Asks) { // a SYN that is sent again carries neither option nor data
			switch {
			case x.Server.Bits&FastOpenServerNoCookie != 0:
				o.Child, o.Accepted = true, o.Data
			case o.Asks:
				o.Gives, o.Granted = true, o.Lost != LoseSYNACK // a SYN-ACK that is sent again carries no cookie
			case o.Shows:
				o.Child, o.Accepted = true, true
			}
		}
		if o.Accepted && o.Lost == LoseNothing { // else the answer is thrown away, and comes again after the third packet
			o.RoundTrips = 1
		}
		cookie = cookie || o.Granted
		if o.Asks && !o.Granted && (o.Lost == LoseNothing || o.Lost == LoseSYNACK && x.ServerFirst) { // tcp_rcv_fastopen_synack: only where no SYN was repeated (total_retrans)
			tries = max(tries, 1)
			if o.Experimental {
				tries = 2
			}
		}
		out = append(out, o)
	}
	return out
}

// Predict returns every packet of every request, with its numbers. Where a lost SYN-ACK makes the client's timer and the server's fire in
// one tick, they run on two processors: the alternatives are the other ways in which they can meet.
//
// Source: tcp_connect and tcp_send_syn_data in net/ipv4/tcp_output.c, tcp_rcv_fastopen_synack and tcp_rcv_synrecv_state_fastopen in
// net/ipv4/tcp_input.c, tcp_fastopen_synack_timer in net/ipv4/tcp_timer.c, tcp_check_req in net/ipv4/tcp_minisocks.c (6.18).
func (x FastOpen) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if err := x.validate(f, start); err != nil {
		return timeline.Timeline{}, err
	}
	if x.Host == "" {
		x.Host = "client"
	}
	if x.Server.Host == "" {
		x.Server.Host = "server"
	}
	if x.Server.RTOMin == 0 {
		x.Server.RTOMin = leastRTO
	}
	opens := x.Openings()
	longest := ceilJiffies(f, max(f.InitialRTO, rtoFrom(2*x.OneWay+2*time.Millisecond, x.Server.RTOMin)))
	met := false
	all := func(w *world, order meeting, ways *choices) *fastOpen {
		p := &fastOpen{FastOpen: x, w: w, order: order, ways: ways, line: newLine(2*x.OneWay, x.Link)}
		for i, o := range opens {
			p.request(i, o)
		}
		met = met || p.met
		return p
	}
	if !x.Link.Zero() {
		out := sweepOrders(f, start, longest, func(w *world, ways *choices) ([]happening, string) {
			p := all(w, bothRepeat, ways)
			return p.out, p.named()
		})
		out = timersOnly(out)
		for i, alt := range out.Alternatives {
			out.Alternatives[i] = timersOnly(alt)
		}
		return out, nil
	}
	play := func(order meeting) func(*world) []happening {
		return func(w *world) []happening { return all(w, order, nil).out }
	}
	out := timersOnly(sweep(f, start, longest, play(bothRepeat)))
	if met {
		for _, m := range []meeting{clientFirst, serverFirst} {
			alt := timersOnly(sweep(f, start, longest, play(m)))
			alt.Why = m.String()
			out.Alternatives = append(out.Alternatives, alt)
		}
	}
	return out, nil
}

// timersOnly leaves the gaps of timers: what answers a packet is as late as its machine.
func timersOnly(t timeline.Timeline) timeline.Timeline {
	for i := range t.Events {
		if e := &t.Events[i]; e.What != timeline.SYNRetransmission && e.What != timeline.SYNACKAgain {
			e.GapEarliest, e.GapLatest = 0, 0
		}
	}
	return t
}

func (x FastOpen) validate(f kernel.Facts, start *Start) error {
	if err := x.Connect.validate(f, start); err != nil {
		return err
	}
	const bits = FastOpenClient | FastOpenServer | FastOpenClientNoCookie | FastOpenServerNoCookie | FastOpenAllListeners
	switch {
	case !f.Version.AtLeast(4, 19):
		// Before 4.15 tcp_fastopen belonged to the whole machine; up to 4.14 a client that lost SYNs left Fast Open alone for a while.
		return fmt.Errorf("fast open: kernel %v has no tcp_fastopen for each namespace (since 4.15, read in 4.19), which is not modelled", f.Version)
	case x.Bits&^bits != 0 || x.Server.Bits&^bits != 0:
		return fmt.Errorf("fast open: tcp_fastopen=0x%x at the client, 0x%x at the server: bits outside 0x%x are not modelled", x.Bits, x.Server.Bits, bits)
	case x.Request < 1 || x.Request > fastOpenDataMax(x.IPv6):
		return fmt.Errorf("fast open: a request of %d bytes: want 1 to %d, what one SYN can carry", x.Request, fastOpenDataMax(x.IPv6))
	case x.Answer < 1 || x.Answer > fastOpenDataMax(x.IPv6):
		return fmt.Errorf("fast open: an answer of %d bytes: want 1 to %d, one segment", x.Answer, fastOpenDataMax(x.IPv6))
	case x.OneWay < 0 || x.OneWay > time.Second:
		return fmt.Errorf("fast open: %v on the link: want 0 to 1 s one way", x.OneWay)
	case x.Server.RTOMin < 0 || x.Server.RTOMin > rtoMax:
		return fmt.Errorf("fast open: tcp_rto_min_us of %v: want up to %v", x.Server.RTOMin, rtoMax)
	case x.Lose != "" && x.Lose != LoseNothing && x.Lose != LoseSYNData && x.Lose != LoseSYNACK:
		return fmt.Errorf("fast open: lose %q: want none, syn-data or syn-ack", x.Lose)
	case x.Lose != "" && x.Lose != LoseNothing && (x.LoseAt < 1 || x.LoseAt > len(x.Calls)):
		return fmt.Errorf("fast open: lose the %s of request %d: there are %d", x.Lose, x.LoseAt, len(x.Calls))
	case x.Lose == LoseSYNACK && !x.Link.Zero():
		return fmt.Errorf("fast open: a SYN-ACK that is lost on a link that holds each packet back for a time of its own: the timers of both ends meet, and both SYN-ACKs meet the client's request, which is not modelled: want another loss, or a link that does not")
	case x.Lose != "" && x.Lose != LoseNothing && 4*x.OneWay >= f.InitialRTO:
		return fmt.Errorf("fast open: %v on the link and a lost packet: the timers of both ends overlap, which is not modelled from %v on", x.OneWay, f.InitialRTO/4)
	case x.OneWay*2 >= f.InitialRTO:
		return fmt.Errorf("fast open: a round trip of %v: the SYN would be sent again after %v, which is not modelled", 2*x.OneWay, f.InitialRTO)
	case len(x.Calls) == 0 || x.Calls[0].Open != 0:
		return fmt.Errorf("fast open: want at least one request, and the first at 0")
	}
	return x.validateCalls(f)
}

// validateCalls checks that each request ends before the next begins: the openings follow from each other.
func (x FastOpen) validateCalls(f kernel.Facts) error {
	most := x.mostOneWay()
	for i, o := range x.Openings() {
		c := x.Calls[i]
		need := c.Open + time.Duration(2*o.RoundTrips)*most
		if o.Lost != LoseNothing {
			need += f.InitialRTO
		}
		if c.Close < need {
			return fmt.Errorf("fast open: request %d is closed at %v: its answer comes at %v or later", i+1, c.Close, need)
		}
		if i+1 < len(x.Calls) && x.Calls[i+1].Open < c.Close+2*most {
			return fmt.Errorf("fast open: request %d begins at %v: the one before is closed at %v, which takes a round trip", i+2, x.Calls[i+1].Open, c.Close)
		}
	}
	return nil
}

// mostOneWay is how long a packet is under way at most.
func (x FastOpen) mostOneWay() time.Duration { return x.OneWay + x.Link.Longest(0, 0) }

// FastOpenTakes is how long after its call the answer of request i, from 0, has come for sure, on a machine that is not too busy.
func FastOpenTakes(f kernel.Facts, x FastOpen, i int) time.Duration {
	takes := 4*x.mostOneWay() + 50*time.Millisecond
	if x.LoseAt != i+1 || x.Lose == "" || x.Lose == LoseNothing {
		return takes
	}
	takes += f.InitialRTO*9/8 + 2*f.Jiffy() // the timer wheel is late by up to an eighth
	if x.Lose == LoseSYNACK {
		takes += rtoFrom(2*x.OneWay+2*time.Millisecond, max(x.Server.RTOMin, leastRTO))*9/8 + 2*x.OneWay
	}
	return takes
}

// rtoFrom is the retransmission timeout after the first sample of the round trip time (tcp_rtt_estimator, tcp_set_rto).
func rtoFrom(sample, least time.Duration) time.Duration { return sample + max(2*sample, least) }
