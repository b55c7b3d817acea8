package experiments

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// A whole connection on a link that loses nothing, as curl makes one:
//
//	client ── SYN ──▶ ◀── SYN-ACK ── ── ACK ──▶   ── GET / ──▶ ◀── 200 OK ──   ── FIN ──▶ ◀── (ACK,) FIN ── ── ACK ──▶ server
//
// or one that is refused: by a port without a socket, or by a rule that rejects.
func init() {
	register(&Experiment{
		Name:    "exp0-handshake",
		Summary: "a whole connection: open, HTTP GET, close; or one that is refused",
		Question: "A client opens a connection, asks for a page and closes. Which packets are that, with which numbers? Why does closing take three packets " +
			"one time and four another? And what does a client see of a port that nobody listens on?",
		Params: append([]Param{
			{Flag: "close", Doc: "packets that the close shall take, 3 or 4: the second end closes at once, or 200 ms later", Kind: Choice,
				Choices: []string{"3", "4"}, Default: "3", Textbook: "4", Code: explain.DelayedACK},
			{Flag: "closer", Doc: "who closes first: client or server", Kind: Choice, Choices: []string{"client", "server"}, Default: "client"},
			{Flag: "linger", Doc: "how long the second end takes to close after it can know of the first, up to 50s, instead of what --close says", Kind: Time,
				Max: int64(50 * time.Second), Code: explain.DelayedACK},
			{Flag: "port", Doc: "open: a server listens; closed: nobody does", Kind: Choice, Choices: []string{"open", "closed"}, Default: "open"},
			{Flag: "reject", Doc: "what a rule in the server's INPUT chain answers to the SYN: none, tcp-reset or an ICMP error", Kind: Choice,
				Choices: slices.Concat([]string{"none", "tcp-reset"}, icmpErrors, icmp6Errors), IPv4: icmpErrors, IPv6: icmp6Errors,
				Default: "none", Code: explain.SoftICMP},
			{Flag: "rtt", Doc: "round-trip time of the link, 0s to 200ms; 0s: a veth, without a delay", Kind: Time, Max: int64(200 * time.Millisecond),
				Default: "0s"},
		}, jitterParams()...),
		Setup:   setupHandshake,
		Calls:   callsOfHandshake,
		Predict: predictHandshake,
		Run:     runHandshake,
		States:  statesOfHandshake,
		Checks:  checksOfHandshake,
		Rivals:  rivalsOfHandshake,
		Story:   storyOfHandshake,
		ByHand:  handshakeByHand,
	})
}

// The ICMP errors that a rule can answer with, by their names in iptables and ip6tables.
var (
	icmpErrors  = []string{"icmp-port-unreachable", "icmp-host-unreachable", "icmp-net-unreachable", "icmp-admin-prohibited"}
	icmp6Errors = []string{"icmp6-port-unreachable", "icmp6-addr-unreachable", "icmp6-no-route", "icmp6-adm-prohibited", "icmp6-policy-fail", "icmp6-reject-route"}
)

const (
	closedPort    = httpPort + 1
	requestAfter  = 100 * time.Millisecond // the request, after the connection is open
	closeAfter    = 100 * time.Millisecond // the client's close, after the answer
	lingerFour    = 200 * time.Millisecond // well after the delayed ACK's 40 ms
	lingerThree   = 20 * time.Millisecond  // well before; for a client, whose calls are planned
	handshakePath = "/"
)

// refused says what refuses the connection, as oracle.Refusal.By does; ok is false where nothing does.
func refused(o Options) (by string, ok bool) {
	if r := o["reject"]; r != "" && r != "none" {
		return r, true
	}
	return "", o["port"] == "closed"
}

// linger is how long the second end takes to close.
func linger(o Options) time.Duration {
	switch {
	case o["linger"] != "":
		return o.Duration("linger")
	case o["close"] == "4":
		return lingerFour
	case o["closer"] == "server":
		return lingerThree
	}
	return 0
}

func setupHandshake(o Options) Setup {
	listen := lab.ListenOptions{Port: httpPort}
	if o["closer"] == "server" {
		listen.Close = lab.AfterAnswer
	} else {
		listen.CloseDelay = linger(o)
	}
	s := Setup{Listen: []lab.ListenOptions{listen}}
	if r := o["reject"]; r != "" && r != "none" {
		rule := lab.DropSYN(handshakePort(o))
		rule.Reject = r
		s.Faults = []Fault{{Host: "server", Rule: rule}}
	}
	return s
}

func handshakePort(o Options) uint16 {
	if o["port"] == "closed" {
		return closedPort
	}
	return httpPort
}

// exchangeInput is what the oracle needs of a connection that is not refused.
func exchangeInput(e Env) (oracle.Exchange, error) {
	size, err := lab.RequestSize(handshakePath)
	if err != nil {
		return oracle.Exchange{}, err
	}
	serverFirst := e.Options["closer"] == "server"
	x := oracle.Exchange{Request: size, Answer: lab.AnswerSize(handshakePath, serverFirst), ServerFirst: serverFirst, IPv6: e.Options.IPv6(), RTT: e.Options.Duration("rtt"), Link: e.Options.jittered()}
	late := "server" // who hears the first FIN
	if serverFirst {
		late = "client"
	}
	at := map[string]*time.Duration{callRequest: &x.RequestAt, callAnswer: &x.AnswerAt, callClose: &x.ClientClose, callServerClose: &x.ServerClose}
	for _, c := range callsOfHandshake(e) {
		*at[c.Name] = e.Call(c.Name, c.At)
	}
	x = x.Ordered()
	us, _, err := e.Int(late, "net.ipv4.tcp_rto_min_us")
	x.RTOMin = time.Duration(us) * time.Microsecond
	return x, err
}

func callsOfHandshake(e Env) []Call {
	if _, no := refused(e.Options); no {
		return nil
	}
	trip := e.Options.longestTrip()
	x := oracle.Exchange{ServerFirst: e.Options["closer"] == "server", RTT: e.Options.rtt(), Link: e.Options.jittered(), RequestAt: e.Whole(trip + requestAfter)}
	x.AnswerAt = x.RequestDue()
	if x.ServerFirst {
		x.ServerClose = x.AnswerAt
		x.ClientClose = e.Whole(x.FINDue() + linger(e.Options))
	} else {
		x.ClientClose = e.Whole(x.RequestAt + trip + closeAfter)
		x.ServerClose = x.FINDue() + linger(e.Options)
	}
	request, answer, client, server := x.RequestAt, x.AnswerAt, x.ClientClose, x.ServerClose
	return []Call{{Name: callRequest, At: request}, {Name: callClose, At: client},
		{Name: callAnswer, At: answer, Host: "server"}, {Name: callServerClose, At: server, Host: "server"}}
}

// The calls after connect(2), by name.
const (
	callRequest     = "request"
	callAnswer      = "answer"
	callClose       = "close"
	callServerClose = "server's close"
)

func predictHandshake(e Env) (timeline.Timeline, error) {
	if by, no := refused(e.Options); no {
		c, err := connectInput(e)
		if err != nil {
			return timeline.Timeline{}, err
		}
		return e.Ask(oracle.Refusal{Connect: c, By: by, RTT: e.Options.Duration("rtt"), Link: e.Options.jittered()})
	}
	x, err := exchangeInput(e)
	if err != nil {
		return timeline.Timeline{}, err
	}
	return e.Ask(x)
}

func runHandshake(ctx context.Context, l *lab.Lab, e Env) error {
	c, err := l.Client.Start(ctx)
	if err != nil {
		return err
	}
	now, err := kernel.MonotonicNow()
	if err != nil {
		return errors.Join(err, c.Close())
	}
	e = e.Begin(now)
	at := map[string]time.Duration{}
	for _, call := range callsOfHandshake(e) {
		at[call.Name] = e.StartAt + call.At
	}
	err = c.Connect(ctx, l.Server.Port(handshakePort(e.Options)), lab.DialOptions{At: e.StartAt})
	if err == nil {
		_, err = c.Get(ctx, handshakePath, at[callRequest])
	}
	if err == nil {
		_, err = c.Hangup(ctx, at[callClose])
	}
	var failed *lab.CallError
	if err != nil && !errors.As(err, &failed) {
		return err
	}
	return c.Close()
}

// statesOfHandshake: those that last as long as a packet takes may not be seen. A look at a server's socket that is just being taken away
// finds it closed (tcp_set_state), or no socket at all; the next one finds the listener.
func statesOfHandshake(e Env) map[string][]string {
	if _, no := refused(e.Options); no {
		if e.Options["port"] == "closed" {
			return map[string][]string{"server": {"LISTEN"}} // on another port
		}
		return map[string][]string{"client": {"(SYN-SENT)", "CLOSED"}, "server": {"LISTEN"}}
	}
	wait, timeWait := "(FIN-WAIT-2)", "(CLOSE-WAIT)"
	// Between a late ACK and a second close soon after it, a busy machine may not get to look.
	if x, err := exchangeInput(e); err == nil && x.Packets(e.Facts) == 4 && linger(e.Options) >= lingerFour {
		wait, timeWait = "FIN-WAIT-2", "CLOSE-WAIT"
	}
	opened := map[string][]string{"client": {"(SYN-SENT)", "ESTABLISHED"}, "server": {"(LISTEN)", "(SYN-RECV)", "ESTABLISHED"}}
	first := []string{"(FIN-WAIT-1)", wait, "TIME-WAIT"}
	second := []string{timeWait, "(LAST-ACK)"}
	if e.Options["closer"] == "server" {
		return map[string][]string{"client": append(append(opened["client"], second...), "CLOSED"), "server": append(opened["server"], first...)}
	}
	return map[string][]string{"client": append(opened["client"], first...), "server": append(append(opened["server"], second...), "(CLOSED)", "LISTEN")}
}

// closing are the packets from the first FIN on, without what the other end sent before that FIN reached it.
func closing(r *result.Result) []result.Packet {
	var out []result.Packet
	for _, p := range r.Packets {
		switch {
		case len(out) == 0 && p.What != string(timeline.FIN):
		case len(out) > 0 && p.From != out[0].From && p.RelAck <= out[0].RelSeq+uint32(out[0].Len):
		default:
			out = append(out, p)
		}
	}
	return out
}

// checksOfHandshake judges what the schedule does not say by itself: how many packets the close took, and that a SYN and a FIN each take
// one sequence number.
func checksOfHandshake(e Env, r *result.Result) []result.Check {
	if _, no := refused(e.Options); no {
		return nil
	}
	x, err := exchangeInput(e)
	if err != nil {
		return nil
	}
	want := strconv.Itoa(x.Packets(e.Facts))
	if want == "0" {
		want = "3 or 4"
	}
	got := len(closing(r))
	c := result.Check{ID: "close-packets", Name: "packets to close", Expected: want, Observed: strconv.Itoa(got), Verdict: result.Pass}
	if g := strconv.Itoa(got); g != want && (want != "3 or 4" || got != 3 && got != 4) {
		c.Verdict, c.Code, c.Detail = result.Fail, explain.DelayedACK, "the second end closed at another time than predicted, or its ACK of the FIN came at another"
	}
	checks := []result.Check{c, numbers(r, "client", x.Request), numbers(r, "server", x.Answer)}
	if doubtful(r) {
		for i := range checks {
			if checks[i].Verdict == result.Fail {
				checks[i].Verdict, checks[i].Detail = result.Inconclusive, "packets may be missing from the captures"
			}
		}
	}
	return checks
}

// doubtful reports whether packets may be missing from what was seen, by the checks so far: the captures lost some, or were cut short. A
// machine that stalled is no reason: it makes packets late, and does not take them away.
func doubtful(r *result.Result) bool {
	return leftOpen(r, func(code string) bool { return code != explain.Stall })
}

// leftOpen reports whether no check so far contradicts, and one is inconclusive for such a reason.
func leftOpen(r *result.Result, reason func(code string) bool) bool {
	open := false
	for _, c := range r.Checks {
		if c.Verdict == result.Fail {
			return false
		}
		open = open || c.Verdict == result.Inconclusive && reason(c.Code)
	}
	return open
}

// numbers judges how many sequence numbers a host has used by the end: its data, and one each for SYN and FIN.
func numbers(r *result.Result, host string, data int) result.Check {
	c := result.Check{ID: "numbers-" + host, Name: "numbers used by " + host, Expected: fmt.Sprintf("%d = 1 + %d + 1", data+2, data), Verdict: result.Pass}
	used := uint32(0)
	for _, p := range r.Packets {
		if p.From != host && p.RelAck > used {
			used = p.RelAck
		}
	}
	c.Observed = fmt.Sprint(used)
	if used != uint32(data)+2 {
		c.Verdict, c.Code, c.Detail = result.Fail, explain.UnexpectedPacket, "the last acknowledgement is another"
	}
	return c
}

// rivalsOfHandshake are the usual other pictures: the second end closes sooner or later, the other end closes first, a shorter delayed ACK,
// another refusal.
func rivalsOfHandshake(e Env) []Rival {
	var rivals []Rival
	option := func(code, flag, value, text string) {
		rivals = append(rivals, Rival{Code: code, Text: text, Flags: []string{"--" + flag + "=" + value}, Env: e.WithOption(flag, value)})
	}
	by, no := refused(e.Options)
	icmp := icmpErrors[:3]
	if e.Options.IPv6() {
		icmp = icmp6Errors[:4]
	}
	for _, other := range slices.Concat([]string{"none", "tcp-reset"}, icmp) {
		same := other == by || by == "" && (other == "none" || no && other == "tcp-reset")
		if !same {
			option(explain.SoftICMP, "reject", other, "what refuses the SYN is "+other)
		}
	}
	if no {
		return rivals
	}
	for _, d := range []time.Duration{lingerThree, lingerFour} {
		if d != linger(e.Options) {
			option(explain.DelayedACK, "linger", d.String(), fmt.Sprintf("the second end closes %v after the first", d))
		}
	}
	late := "server"
	if e.Options["closer"] == "server" {
		late = "client"
		option(explain.DelayedACK, "closer", "client", "the client closes first")
	} else {
		option(explain.DelayedACK, "closer", "server", "the server closes first")
	}
	x, err := exchangeInput(e)
	if err == nil && x.Packets(e.Facts) != 3 && e.Facts.Version.AtLeast(6, 11) {
		rivals = append(rivals, Rival{Code: explain.DelayedACK, Text: "the " + late + " delays its ACKs by 16 ms, as with tcp_rto_min_us=20000",
			Env: e.With(late, "net.ipv4.tcp_rto_min_us", "20000")})
	}
	return rivals
}

// handshakeByHand is a client and a server of a few lines each, because the ready ones close when they like; a port that refuses needs only
// the client.
func handshakeByHand(p Plan) []string {
	const settle = "sleep 2 # tcpdump gets its packets in blocks, up to a second late"
	hand := p.byHand()
	if _, no := refused(p.Options); no {
		return []string{"ip netns exec client curl -sS " + hand.url(handshakePort(p.Options)), settle}
	}
	wait := fmt.Sprintf("time.sleep(%g); ", linger(p.Options).Seconds())
	serverEnd, clientEnd := "c.recv(1); "+wait, "time.sleep(0.1); "
	if p.Options["closer"] == "server" {
		serverEnd, clientEnd = "", "s.recv(1); "+wait
	}
	const port = httpPort + 10 // the other one belongs to http.server
	return []string{
		fmt.Sprintf(`ip netns exec server python3 -c 'import socket, time; c = %s.accept()[0]; c.recv(4096); c.sendall(b"hello\n"); %sc.close()' &`,
			hand.listener(port), serverEnd),
		"sleep 1 # until it listens",
		fmt.Sprintf(`ip netns exec client python3 -c 'import socket, time; s = socket.create_connection(("%s", %d)); time.sleep(0.1); s.sendall(b"GET\n"); s.recv(4096); %ss.close()'`,
			hand.server.Addr(), port, clientEnd),
		"wait %4",
		settle,
	}
}
