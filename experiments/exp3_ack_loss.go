package experiments

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// Every packet with the ACK flag reaches the server's link, where the capture still sees it, and dies in the server's INPUT chain. The SYN
// has no such flag, so the handshake stops half-way:
//
//	client ── SYN ──▶ ──▶ ──▶ ──▶ ──▶ ──▶ ──▶ ──▶ ──▶ server, in SYN-RECV
//	client ◀── SYN-ACK ────────────────────────────── server
//	client ── ACK, then data ──▶ (capture) ──▶ iptables INPUT ✗
//
// With --cut=mid the handshake and one exchange are whole, and then everything from the client dies there.
func init() {
	register(&Experiment{
		Name:    "exp3-ack-loss",
		Summary: "the third ACK and all that follows is lost on its way to the server",
		Question: "The client believes that the connection is open, the server does not. What does each of them do while nobody speaks? Then the client " +
			"writes six bytes: how often are they repeated, when, and when does the program learn that nobody ever heard them?",
		Params: append([]Param{
			{Flag: "synack-retries", Doc: "SYN-ACK retransmissions of the server, 0 to 255", Host: "server", Sysctl: "net.ipv4.tcp_synack_retries",
				Textbook: "5", Fast: "1"},
			{Flag: "retries2", Doc: "how long unacknowledged data is repeated: a time, as a number of doublings from 200 ms, 0 to 255", Host: "client",
				Sysctl: "net.ipv4.tcp_retries2", Textbook: "15", Fast: "3", Code: explain.RetriesAreTime},
			{Flag: "early-retrans", Doc: "tail loss probes: 3 and 4 send them, 0 to 2 do not", Host: "client", Sysctl: "net.ipv4.tcp_early_retrans",
				Textbook: "0", Code: explain.TailLossProbe},
			{Flag: "rto-max-ms", Doc: "longest wait between two retransmissions, 1000 to 120000 ms (Linux 6.15 and later)", Host: "client",
				Sysctl: "net.ipv4.tcp_rto_max_ms", Textbook: "120000", Fast: "120000", Absent: "120000", Code: explain.RTOMax},
			{Flag: "rto-min-us", Doc: "floor under the variance part of the RTO, in µs (Linux 6.11 and later)", Host: "client",
				Sysctl: "net.ipv4.tcp_rto_min_us", Textbook: "200000", Fast: "200000", Absent: "200000"},
			{Flag: "user-timeout", Doc: "TCP_USER_TIMEOUT of the client's socket, 1 to 86400000 ms: replaces --retries2", SocketOption: "TCP_USER_TIMEOUT",
				Min: 1, Max: 86400000},
			{Flag: "idle", Doc: "when the client writes, from its connect(): 400ms to 1h", Kind: Time, Min: int64(400 * time.Millisecond), Max: int64(time.Hour),
				Default: "70s", Fast: "3500ms"},
			{Flag: "cut", Doc: "when the server stops hearing: start (of the third ACK on) or mid (after one exchange)", Kind: Choice,
				Choices: []string{"start", "mid"}, Default: "start"},
			rttParam(),
		}, jitterParams()...),
		Setup:   setupACKLoss,
		Calls:   callsOfACKLoss,
		Predict: predictACKLoss,
		Run:     runACKLoss,
		States:  statesOfACKLoss,
		Checks:  checksOfACKLoss,
		Rivals:  rivalsOfACKLoss,
		Story:   storyOfACKLoss,
		ByHand:  ackLossByHand,
	})
}

// What the telnet-like client says.
const (
	ackLossRequest = "hello\n"
	ackLossData    = "123456"
)

// ackLossExchange is how long after the handshake the client of --cut=mid makes its request. The cut is made between that and --idle.
const ackLossExchange = 100 * time.Millisecond

// cutWithin is how long the cut may take.
const cutWithin = 100 * time.Millisecond

// midCut reports whether the peer vanishes in mid-connection.
func midCut(o Options) bool { return o["cut"] == "mid" }

func setupACKLoss(o Options) Setup {
	s := Setup{Listen: []lab.ListenOptions{{Port: httpPort, Service: lab.Echo}}}
	if !midCut(o) {
		s.Faults = []Fault{{Host: "server", Rule: lab.DropACK(httpPort)}}
	}
	return s
}

func callsOfACKLoss(e Env) []Call {
	write := Call{Name: "write", At: e.Whole(e.Options.Duration("idle"))}
	if !midCut(e.Options) {
		return []Call{write}
	}
	return []Call{{Name: "request", At: e.Whole(ackLossExchange + e.Options.longestTrip())}, write}
}

// ackLossInput reads what the oracle needs from the effective settings.
func ackLossInput(e Env) (oracle.BlackHole, error) {
	server, err := serverInput(e)
	b := oracle.BlackHole{
		Host: "client", Server: server, Bytes: len(ackLossData), Request: len(ackLossRequest),
		UserTimeout: time.Duration(e.Options.Number("user-timeout")) * time.Millisecond, RTT: e.Options.rtt(), Link: e.Options.jittered(),
	}
	if midCut(e.Options) {
		b.Cut = oracle.CutMid
		idle, over := e.Options.Duration("idle"), ackLossExchange+e.Options.longestTrip()*5/2+cutWithin // handshake, exchange, the last acknowledgement's way
		if b.RTT > 0 && idle < over {
			return b, fmt.Errorf("--idle=%v: with --cut=mid and --rtt=%v the exchange and the cut take until %v: want that or more", idle, b.RTT, over)
		}
	}
	for _, c := range callsOfACKLoss(e) {
		at := e.Call(c.Name, c.At)
		if c.Name == "write" {
			b.Write = at
		} else {
			b.Exchange = at
		}
	}
	errs := []error{err}
	read := func(host, name string) int64 {
		v, _, err := e.Int(host, "net.ipv4."+name)
		errs = append(errs, err)
		return v
	}
	b.Retries2, b.EarlyRetrans = int(read("client", "tcp_retries2")), int(read("client", "tcp_early_retrans"))
	b.RTOMax = time.Duration(read("client", "tcp_rto_max_ms")) * time.Millisecond
	b.RTOMin = time.Duration(read("client", "tcp_rto_min_us")) * time.Microsecond
	b.InvalidRatelimit = time.Duration(read("client", "tcp_invalid_ratelimit")) * time.Millisecond
	b.NoSACK = read("client", "tcp_sack") == 0 || read("server", "tcp_sack") == 0
	b.ThinLinear = read("client", "tcp_thin_linear_timeouts") != 0
	return b, errors.Join(errs...)
}

func predictACKLoss(e Env) (timeline.Timeline, error) {
	b, err := ackLossInput(e)
	if err != nil {
		return timeline.Timeline{}, err
	}
	return e.AskBlackHole(b)
}

// likeProbe is a timeline in the words of a capture that cannot tell: with SACK and one segment in flight the first timeout looks like a tail
// loss probe, and each that follows has a number less. Only a second wait of twice the first tells them apart, and then there is no doubt.
func likeProbe(t timeline.Timeline) []timeline.Timeline {
	why := "with SACK and one segment in flight a capture tells a timeout from a tail loss probe by the wait that follows it, and that is not twice the first here"
	if t.Why != "" {
		why = t.Why + "; " + why
	}
	alike := timeline.Timeline{Why: why, Events: slices.Clone(t.Events), Outcome: t.Outcome}
	var sent []time.Duration
	for i := range alike.Events {
		switch e := &alike.Events[i]; {
		case e.Host == "client" && e.What == timeline.Data:
			sent = []time.Duration{e.At} // of several writes, the last
		case e.What == timeline.RTORetransmission && e.N == 1:
			sent = append(sent, e.At)
			e.What, e.N = timeline.TailLossProbe, 0
		case e.What == timeline.RTORetransmission:
			sent = append(sent, e.At)
			e.N--
		}
	}
	if len(sent) < 2 || len(sent) > 2 && sent[2]-sent[1] >= 2*(sent[1]-sent[0]) {
		return nil
	}
	return []timeline.Timeline{alike}
}

func runACKLoss(ctx context.Context, l *lab.Lab, e Env) error {
	c, err := l.Client.Start(ctx)
	if err != nil {
		return err
	}
	if err := talkIntoVoid(ctx, l, c, e); err != nil {
		return err
	}
	return c.Close()
}

// talkIntoVoid opens, writes, and waits for the end. A call that fails ends it: that is an observation.
func talkIntoVoid(ctx context.Context, l *lab.Lab, c *lab.Client, e Env) error {
	ended := func(err error) (bool, error) {
		var call *lab.CallError
		if errors.As(err, &call) {
			return true, nil
		}
		return err != nil, err
	}
	o := lab.DialOptions{At: e.StartAt}
	o.UserTimeout = time.Duration(e.Options.Number("user-timeout")) * time.Millisecond
	if done, err := ended(c.Connect(ctx, l.Server.Port(httpPort), o)); done {
		return err
	}
	began := c.Opened() // later than e.StartAt on a busy machine
	calls := callsOfACKLoss(e)
	if midCut(e.Options) {
		_, err := c.Send(ctx, ackLossRequest, began+calls[0].At)
		if done, err := ended(err); done {
			return err
		}
		_, err = c.Receive(ctx, lab.ReceiveOptions{})
		if done, err := ended(err); done {
			return err
		}
		if err := arrived(ctx, e.Options); err != nil { // the acknowledgement of the answer
			return err
		}
		if _, err := l.Server.Drop(ctx, lab.DropAllFrom(l.Client.Addr)); err != nil {
			return err
		}
	}
	_, err := c.Send(ctx, ackLossData, began+calls[len(calls)-1].At)
	if done, err := ended(err); done {
		return err
	}
	_, err = c.Receive(ctx, lab.ReceiveOptions{})
	_, err = ended(err)
	return err
}

// statesOfACKLoss: the two ends do not agree. Nobody tells the server of the end of a connection that was open.
func statesOfACKLoss(e Env) map[string][]string {
	server := []string{"(LISTEN)", "SYN-RECV", "LISTEN"}
	if midCut(e.Options) {
		server = []string{"(LISTEN)", "(SYN-RECV)", "ESTABLISHED"}
	}
	return map[string][]string{"client": {"(SYN-SENT)", "ESTABLISHED", "CLOSED"}, "server": server}
}

// rivalsOfACKLoss are the usual reasons for another number of repeats or another end.
func rivalsOfACKLoss(e Env) []Rival {
	var rivals []Rival
	add := func(host, flag, name, value, code string) {
		now, have := e.Sysctls[host+"."+name]
		if have && now != value {
			r := Rival{Code: code, Text: fmt.Sprintf("the %s behaves as if %s were %s (it is set to %s)", host, name, value, now), Env: e.With(host, name, value)}
			if flag != "" {
				r.Flags = []string{"--" + flag + "=" + value}
			}
			rivals = append(rivals, r)
		}
	}
	if n, _, err := e.Int("client", "net.ipv4.tcp_early_retrans"); err == nil && n >= 3 {
		add("client", "early-retrans", "net.ipv4.tcp_early_retrans", "0", explain.TailLossProbe)
	} else {
		add("client", "early-retrans", "net.ipv4.tcp_early_retrans", "3", explain.TailLossProbe)
	}
	if e.Options.Number("user-timeout") == 0 {
		for n := range 16 {
			add("client", "retries2", "net.ipv4.tcp_retries2", fmt.Sprint(n), explain.RetriesAreTime)
		}
		for _, v := range []string{"1000", "2000", "120000"} {
			add("client", "rto-max-ms", "net.ipv4.tcp_rto_max_ms", v, explain.RTOMax)
		}
	}
	if !midCut(e.Options) {
		for n := range 8 {
			add("server", "synack-retries", "net.ipv4.tcp_synack_retries", fmt.Sprint(n), explain.CountAndTime)
		}
	}
	for _, v := range []string{"50000", "100000", "200000", "204000"} { // the last: a round trip of 4 to 8 ms on a busy machine at HZ=250
		add("client", "rto-min-us", "net.ipv4.tcp_rto_min_us", v, explain.HZDetection)
	}
	add("client", "", "net.ipv4.tcp_thin_linear_timeouts", "1", explain.RetriesAreTime)
	for _, ms := range []string{"1000", "5000", "30000"} {
		if e.Options["user-timeout"] == ms {
			continue
		}
		r := Rival{Code: explain.RetriesAreTime, Text: fmt.Sprintf("the client's socket behaves as if TCP_USER_TIMEOUT were %s ms", ms), Flags: []string{"--user-timeout=" + ms}, Env: e}
		r.Env.Options = Options{}
		for k, v := range e.Options {
			r.Env.Options[k] = v
		}
		r.Env.Options["user-timeout"] = ms
		rivals = append(rivals, r)
	}
	return rivals
}

// ackLossByHand is a telnet-like client in Python. For --cut=mid it needs a server that answers, on a port of its own, and pulls the cable
// itself.
func ackLossByHand(p Plan) []string {
	hand, port := p.byHand(), uint16(httpPort)
	open, talk := "import os, socket, time; s = "+hand.socket+"; ", ""
	if ms, ok := p.Options["user-timeout"]; ok {
		open += "s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, " + ms + "); "
	}
	var before, after []string
	if midCut(p.Options) {
		port++
		before = []string{fmt.Sprintf(`ip netns exec server python3 -c 'import socket, time; a, _ = %s.accept(); a.send(a.recv(100)); time.sleep(86400)' &`,
			hand.listener(port)), "sleep 1 # until it listens"}
		talk = fmt.Sprintf(`s.send(b"hello\n"); s.recv(100); %sos.system("ip netns exec server %s -A INPUT -s %s -j DROP"); `, waitByHand(p.Options), hand.iptables, hand.client.Addr())
		after = []string{"ip netns exec server " + hand.iptables + " -vnL INPUT", "kill %4"}
	}
	return append(append(before, fmt.Sprintf(`ip netns exec client python3 -c '%ss.connect(("%s", %d)); %stime.sleep(%g); s.send(b"%s"); s.recv(100)'`,
		open, hand.server.Addr(), port, talk, p.Options.Duration("idle").Seconds(), ackLossData)), after...)
}
