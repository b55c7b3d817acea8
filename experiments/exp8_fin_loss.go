package experiments

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// A connection without data is closed, and one of the four packets of the close dies each time that it is sent, behind the capture of its
// receiver:
//
//	client, closes first ── FIN ──▶                 ✗ fin
//	                     ✗ ack          ◀── ACK ──  server, in CLOSE-WAIT
//	                     ✗ second-fin   ◀── FIN ──  server, closes, too
//	client, in TIME-WAIT ── ACK ──▶                 ✗ last-ack
func init() {
	register(&Experiment{
		Name:    "exp8-fin-loss",
		Summary: "a packet of the close is lost: what the kernel does for a connection that no program has any more",
		Question: "Both programs have called close(), and each of them believes that this was all. What does the kernel repeat on their behalf, how long, " +
			"in which state, who remembers the connection at the end, and for how long when nothing was lost at all?",
		Params: append([]Param{
			{Flag: "lose", Doc: "which packet is lost, each time: none, fin (the client's), ack (the server's, of it), second-fin (the server's) or last-ack (the client's)",
				Kind: Choice, Choices: []string{"none", "fin", "ack", "second-fin", "last-ack"}, Default: "fin"},
			{Flag: "close", Doc: "who closes: client (the server's program never does) or both", Kind: Choice, Choices: []string{"client", "both"}, Default: "client"},
			{Flag: "call", Doc: "what the client calls: close, or shutdown, which leaves it the socket, and then read", Kind: Choice,
				Choices: []string{"close", "shutdown"}, Default: "close", Code: explain.Orphans},
			{Flag: "server-after", Doc: "with --close=both: how long after the client the server closes, 50ms to 1h", Kind: Time, Min: int64(50 * time.Millisecond),
				Max: int64(time.Hour), Default: "300ms"},
			{Flag: "orphan-retries", Doc: "how long the client repeats a FIN that nobody owns: a time, as a number of doublings from 200 ms, 0 to 255; 0 means 8",
				Host: "client", Sysctl: "net.ipv4.tcp_orphan_retries", Textbook: "0", Fast: "1", Code: explain.Orphans},
			{Flag: "fin-timeout", Doc: "how long the client stays in FIN-WAIT-2 after close(), in seconds; above 60 see TL1282", Host: "client",
				Sysctl: "net.ipv4.tcp_fin_timeout", Textbook: "60", Fast: "2", Code: explain.FINTimeout},
			{Flag: "server-orphan-retries", Doc: "like --orphan-retries, at the server", Host: "server", Sysctl: "net.ipv4.tcp_orphan_retries", Textbook: "0", Fast: "1",
				Code: explain.Orphans},
			{Flag: "server-fin-timeout", Doc: "like --fin-timeout, at the server", Host: "server", Sysctl: "net.ipv4.tcp_fin_timeout", Textbook: "60", Fast: "2",
				Code: explain.FINTimeout},
			{Flag: "retries2", Doc: "with --call=shutdown: how long the client repeats a FIN of a socket that a program has, as --orphan-retries, 0 to 255", Host: "client",
				Sysctl: "net.ipv4.tcp_retries2", Textbook: "15", Fast: "3", Code: explain.RetriesAreTime},
			{Flag: "rto-max-ms", Doc: "longest wait between two repeats of the client, 1000 to 120000 ms (Linux 6.15 and later)", Host: "client",
				Sysctl: "net.ipv4.tcp_rto_max_ms", Textbook: "120000", Fast: "120000", Absent: "120000", Code: explain.Orphans},
			{Flag: "linger2", Doc: "TCP_LINGER2 of the client's socket in seconds, 1 to 120: overrides --fin-timeout; -1: no FIN-WAIT-2", SocketOption: "TCP_LINGER2",
				Min: -1, Max: 120, Code: explain.FINTimeout},
			{Flag: "user-timeout", Doc: "TCP_USER_TIMEOUT of the client's socket, 1 to 86400000 ms: replaces --orphan-retries and --retries2",
				SocketOption: "TCP_USER_TIMEOUT", Min: 1, Max: 86400000},
			rttParam(),
		}, jitterParams()...),
		Setup:   setupFINLoss,
		Calls:   callsOfFINLoss,
		Predict: predictFINLoss,
		Run:     runFINLoss,
		States:  statesOfFINLoss,
		Checks:  checksOfFINLoss,
		Rivals:  rivalsOfFINLoss,
		Story:   storyOfFINLoss,
		ByHand:  finLossByHand,
	})
}

// finCloseAt is when the client closes, from its connect(2): both ends have been quiet for a while by then, and a rule of --lose=last-ack is made.
func finCloseAt(o Options) time.Duration { return 400*time.Millisecond + 2*o.longestTrip() }

// finRule is the rule that loses the packet, and the host at which it does.
func finRule(o Options) (Fault, bool) {
	switch o["lose"] {
	case "fin":
		return Fault{"server", lab.DropFIN(httpPort)}, true
	case "ack":
		return Fault{"client", lab.DropPlainFrom(httpPort)}, true
	case "second-fin":
		return Fault{"client", lab.DropFINFrom(httpPort)}, true
	case "last-ack":
		return Fault{"server", lab.DropPlain(httpPort)}, true
	}
	return Fault{}, false
}

// serverCloses is when the server closes, from the client's connect(2); 0: never.
func serverCloses(e Env) time.Duration {
	if e.Options["close"] != "both" {
		return 0
	}
	return e.Whole(finCloseAt(e.Options) + e.Options.Duration("server-after"))
}

func setupFINLoss(o Options) Setup {
	listen := lab.ListenOptions{Port: httpPort, Service: lab.Sink, Close: lab.Never}
	if o["close"] == "both" {
		listen.Close, listen.CloseDelay = lab.AfterAccept, o.sinceAccept(finCloseAt(o)+o.Duration("server-after"))
	}
	s := Setup{Listen: []lab.ListenOptions{listen}}
	if f, ok := finRule(o); ok && o["lose"] != "last-ack" { // that one would catch the third packet of the handshake, too
		s.Faults = []Fault{f}
	}
	return s
}

// The calls after connect(2), by name, beside callClose and callServerClose.
const callRead2 = "read"

func callsOfFINLoss(e Env) []Call {
	calls := []Call{{Name: callClose, At: e.Whole(finCloseAt(e.Options))}}
	if c, err := finLossRules(e); err == nil && c.Waits() {
		calls = append(calls, Call{Name: callRead2, At: e.Whole(finCloseAt(e.Options) + watchFINWait(c))})
	}
	if at := serverCloses(e); at > 0 {
		calls = append(calls, Call{Name: callServerClose, At: at, Host: "server"})
	}
	return calls
}

// watchFINWait is how long a read(2) that never ends is waited for: a tenth longer than FIN-WAIT-2 would last without an owner, from when the FIN is
// acknowledged.
func watchFINWait(c oracle.Closing) time.Duration {
	return max(c.Client.FINWait()*11/10+c.RTT+2*c.Link.Longest(0, 0), time.Second).Round(100 * time.Millisecond)
}

// finLossInput is what the oracle needs.
func finLossInput(e Env) (oracle.Closing, error) {
	c, err := finLossRules(e)
	for _, call := range callsOfFINLoss(e) {
		at := e.Call(call.Name, call.At)
		switch call.Name {
		case callClose:
			c.ClientClose = at
		case callServerClose:
			c.ServerClose = at
		case callRead2:
			c.Until = at
		}
	}
	return c, err
}

// losses are the values of --lose.
var losses = map[string]oracle.FINLoss{"none": oracle.CloseWhole, "fin": oracle.CloseNoFIN, "ack": oracle.CloseNoACK,
	"second-fin": oracle.CloseNoSecondFIN, "last-ack": oracle.CloseNoLastACK}

// finLossRules is finLossInput without the times of the calls.
func finLossRules(e Env) (oracle.Closing, error) {
	var errs []error
	read := func(host, name string) int64 {
		v, _, err := e.Int(host, "net.ipv4."+name)
		errs = append(errs, err)
		return v
	}
	end := func(host string) oracle.ClosingEnd {
		return oracle.ClosingEnd{Host: host, OrphanRetries: int(read(host, "tcp_orphan_retries")), Retries2: int(read(host, "tcp_retries2")),
			FINTimeout: time.Duration(read(host, "tcp_fin_timeout")) * time.Second, RTOMax: time.Duration(read(host, "tcp_rto_max_ms")) * time.Millisecond,
			RTOMin: time.Duration(read(host, "tcp_rto_min_us")) * time.Microsecond, EarlyRetrans: int(read(host, "tcp_early_retrans"))}
	}
	o := e.Options
	c := oracle.Closing{Client: end("client"), Server: end("server"), Lose: losses[o["lose"]], Shutdown: o["call"] == "shutdown",
		NoSACK: read("client", "tcp_sack") == 0 || read("server", "tcp_sack") == 0, ServerClose: serverCloses(e),
		RTT: o.rtt(), Link: o.jittered()}
	c.Client.Linger2, c.Client.UserTimeout = int(o.Number("linger2")), time.Duration(o.Number("user-timeout"))*time.Millisecond
	if (o["lose"] == "second-fin" || o["lose"] == "last-ack") && o["close"] != "both" {
		errs = append(errs, fmt.Errorf("--lose=%s: the server must close for it: add --close=both", o["lose"]))
	}
	return c, errors.Join(errs...)
}

func predictFINLoss(e Env) (timeline.Timeline, error) {
	c, err := finLossInput(e)
	if err != nil {
		return timeline.Timeline{}, err
	}
	return e.Ask(c)
}

func runFINLoss(ctx context.Context, l *lab.Lab, e Env) error {
	rules, err := finLossInput(e)
	if err != nil {
		return err
	}
	c, err := l.Client.Start(ctx)
	if err != nil {
		return err
	}
	o := lab.DialOptions{At: e.StartAt}
	o.Linger2, o.UserTimeout = rules.Client.Linger2, rules.Client.UserTimeout
	err = c.Connect(ctx, l.Server.Port(httpPort), o)
	if f, ok := finRule(e.Options); ok && err == nil && e.Options["lose"] == "last-ack" {
		if err = arrived(ctx, e.Options); err == nil { // the third packet of the handshake
			_, err = l.Server.Drop(ctx, f.Rule)
		}
	}
	began := c.Opened() // later than e.StartAt on a busy machine
	switch {
	case err != nil:
	case !rules.Shutdown:
		_, err = c.Hangup(ctx, began+e.Whole(finCloseAt(e.Options)))
	default:
		err = shutAndRead(ctx, c, began, e, rules)
	}
	var failed *lab.CallError
	if err != nil && !errors.As(err, &failed) {
		return err
	}
	if rules.Shutdown {
		return nil // the process lives on: its end would close the socket
	}
	return c.Close()
}

// shutAndRead ends the sending direction and waits for what the server does.
func shutAndRead(ctx context.Context, c *lab.Client, began time.Duration, e Env, rules oracle.Closing) error {
	if _, err := c.Shutdown(ctx, began+e.Whole(finCloseAt(e.Options))); err != nil {
		return err
	}
	var o lab.ReceiveOptions
	if rules.Until > 0 {
		o.Until = began + rules.Until
	}
	_, err := c.Receive(ctx, o)
	if errors.Is(err, lab.ErrQuiet) {
		return nil
	}
	return err
}

// seenFor is how long a state must last for a look, four times a second, to be sure to find it on a busy machine.
const seenFor = time.Second

// statesOfFINLoss are those that the oracle plays, in parentheses where they are short.
func statesOfFINLoss(e Env) map[string][]string {
	c, err := finLossInput(e)
	if err != nil {
		return nil
	}
	stays, err := c.States(e.Facts)
	if err != nil {
		return nil
	}
	out := map[string][]string{"client": {"(SYN-SENT)"}, "server": {"(LISTEN)", "(SYN-RECV)"}}
	for host, list := range stays {
		for i, s := range list {
			name := s.State
			if i+1 < len(list) && s.For < seenFor && i > 0 {
				name = "(" + name + ")"
			}
			if name == "CLOSED" && host == "server" {
				out[host] = append(out[host], "(CLOSED)")
				name = "LISTEN" // the listener answers for what is not there
			}
			out[host] = append(out[host], name)
		}
	}
	return out
}
