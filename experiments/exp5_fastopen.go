package experiments

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// One request after the other, each in a connection of its own:
//
//	client ── SYN, "give me a cookie" ──▶ server      client ── SYN, cookie, request ──▶ server
//	       ◀── SYN-ACK, cookie ──────────                    ◀── SYN-ACK, ack = 1 + len ──
//	       ── ACK, request ─────────────▶                    ◀── answer ─────────────────
//	       ◀── answer ───────────────────
//	             two round trips                                   one round trip
func init() {
	register(&Experiment{
		Name:    "exp5-fastopen",
		Summary: "requests that travel in the SYN, and what it takes until they may",
		Question: "A request costs two round trips: one for the handshake, one for itself. TCP Fast Open puts it into the SYN. Which end must allow it, " +
			"what does the first connection have to fetch, how does the server acknowledge data that come with a SYN, and what happens if that SYN is lost?",
		Params: append([]Param{
			{Flag: "client-fastopen", Doc: "tcp_fastopen of the client, a sum of bits: 1 allows it, 4 sends without a cookie", Host: "client", Sysctl: "net.ipv4.tcp_fastopen",
				Textbook: "1", Fast: "1", Code: explain.FastOpenBits},
			{Flag: "server-fastopen", Doc: "tcp_fastopen of the server, a sum of bits: 2 allows it, 0x200 takes data without a cookie, 0x400 all listeners", Host: "server",
				Sysctl: "net.ipv4.tcp_fastopen", Textbook: "2", Fast: "2", Code: explain.FastOpenBits},
			{Flag: "listener", Doc: "whether the server's program sets TCP_FASTOPEN on its listener: on or off", Kind: Choice, Choices: []string{"on", "off"}, Default: "on"},
			{Flag: "requests", Doc: "connections, one after the other, 1 to 5", Min: 1, Max: 5, Default: "3"},
			{Flag: "bytes", Doc: "length of a request, and of its answer, 1 to 1420, over IPv6 to 1400", Min: 1, Max: 1420, Default: "100"},
			{Flag: "rtt", Doc: "round-trip time of the link, 0 to 200ms", Kind: Time, Min: 0, Max: int64(200 * time.Millisecond), Default: "0s", Textbook: "20ms"},
			{Flag: "lose", Doc: "what is lost of the second request: none, syn-data (its SYN) or syn-ack", Kind: Choice, Choices: []string{"none", "syn-data", "syn-ack"},
				Default: "none"},
		}, jitterParams()...),
		Setup:   setupFastOpen,
		Calls:   callsOfFastOpen,
		Predict: predictFastOpen,
		Run:     runFastOpen,
		States:  statesOfFastOpen,
		Checks:  checksOfFastOpen,
		Rivals:  rivalsOfFastOpen,
		Story:   storyOfFastOpen,
		ByHand:  fastOpenByHand,
	})
}

const (
	fastOpenQueue = 16 // TCP_FASTOPEN of the listener: more than there are connections at a time
	fastOpenLost  = 2  // the request that loses a packet
)

func setupFastOpen(o Options) Setup {
	listen := lab.ListenOptions{Port: httpPort, Service: lab.Echo}
	if o["listener"] == "on" {
		listen.FastOpen = fastOpenQueue
	}
	s := Setup{Listen: []lab.ListenOptions{listen}}
	// Each request has one SYN and one SYN-ACK until then.
	switch oracle.FastOpenLoss(o["lose"]) {
	case oracle.LoseSYNData:
		r := lab.DropSYN(httpPort)
		r.Nth = []int{fastOpenLost}
		s.Faults = []Fault{{Host: "server", Rule: r}}
	case oracle.LoseSYNACK:
		r := lab.DropSYNACK(httpPort)
		r.Nth = []int{fastOpenLost}
		s.Faults = []Fault{{Host: "client", Rule: r}}
	}
	return s
}

// fastOpenInput is what the oracle needs, with the calls as they are planned.
func fastOpenInput(e Env) (oracle.FastOpen, error) {
	c, err := connectInput(e)
	bits, have, err1 := e.Int("client", "net.ipv4.tcp_fastopen")
	server, _, err2 := e.Int("server", "net.ipv4.tcp_fastopen")
	least, _, err3 := e.Int("server", "net.ipv4.tcp_rto_min_us")
	if err := errors.Join(err, err1, err2, err3); err != nil {
		return oracle.FastOpen{}, err
	}
	if !have {
		return oracle.FastOpen{}, errors.New("net.ipv4.tcp_fastopen: this kernel does not have it")
	}
	x := oracle.FastOpen{
		Connect: c, Bits: int(bits), Request: int(e.Options.Number("bytes")), Answer: int(e.Options.Number("bytes")), IPv6: e.Options.IPv6(),
		Server: oracle.FastOpenListener{Host: "server", Bits: int(server), Queue: e.Options["listener"] == "on", RTOMin: time.Duration(least) * time.Microsecond},
		Calls:  make([]oracle.FastOpenCall, e.Options.Number("requests")), OneWay: e.Options.Duration("rtt") / 2, Link: e.Options.jittered(),
	}
	if x.Lose = oracle.FastOpenLoss(e.Options["lose"]); x.Lose != oracle.LoseNothing {
		x.LoseAt = fastOpenLost
	}
	for _, host := range []string{"client", "server"} {
		if x.Lose != oracle.LoseSYNACK {
			break
		}
		stamps, have, err := e.Int(host, "net.ipv4.tcp_timestamps")
		if err != nil {
			return oracle.FastOpen{}, err
		}
		if have && stamps == 0 { // tcp_init_metrics: TCP_TIMEOUT_FALLBACK, so the server closes before it repeats its answer
			return oracle.FastOpen{}, fmt.Errorf("--lose=%s with %s net.ipv4.tcp_timestamps=0 is not modelled: without timestamps a repeated SYN-ACK measures no round trip; leave the timestamps on", x.Lose, host)
		}
	}
	if x.LoseAt > len(x.Calls) {
		return oracle.FastOpen{}, fmt.Errorf("--lose=%s: it is the second request's, and --requests=%d", x.Lose, len(x.Calls))
	}
	at := time.Duration(0)
	for i := range x.Calls {
		x.Calls[i].Open, x.Calls[i].Try = at, at-refusedBefore
		x.Calls[i].Close = e.Whole(at + oracle.FastOpenTakes(e.Facts, x, i) + betweenCalls)
		at = e.Whole(x.Calls[i].Close + 2*(x.OneWay+x.Link.Longest(0, 0)) + betweenCalls)
	}
	return x, nil
}

// betweenCalls is how long the program waits where nothing forces it to: long enough for a machine that does ten runs at once.
const betweenCalls = 200 * time.Millisecond

// refusedBefore is how long before its connect(2) the program makes a sendto(MSG_FASTOPEN) that will be refused.
const refusedBefore = 60 * time.Millisecond

func openName(i int) string  { return fmt.Sprintf("open %d", i+1) }
func closeName(i int) string { return fmt.Sprintf("close %d", i+1) }

func callsOfFastOpen(e Env) []Call {
	x, err := fastOpenInput(e)
	if err != nil {
		return nil // Predict says so
	}
	var calls []Call
	for i, c := range x.Calls {
		if i > 0 {
			calls = append(calls, Call{Name: openName(i), At: c.Open})
		}
		calls = append(calls, Call{Name: closeName(i), At: c.Close})
	}
	return calls
}

func predictFastOpen(e Env) (timeline.Timeline, error) {
	x, err := fastOpenInput(e)
	if err != nil {
		return timeline.Timeline{}, err
	}
	for i := range x.Calls {
		if i > 0 {
			x.Calls[i].Open = e.Call(openName(i), x.Calls[i].Open)
		}
		x.Calls[i].Close = e.Call(closeName(i), x.Calls[i].Close)
	}
	return e.Ask(x)
}

func runFastOpen(ctx context.Context, l *lab.Lab, e Env) error {
	x, err := fastOpenInput(e)
	if err != nil {
		return err
	}
	c, err := l.Client.Start(ctx)
	if err != nil {
		return err
	}
	text := strings.Repeat("x", x.Request-1) + "\n"
	start := e.StartAt
	for i, call := range x.Calls {
		if err := fastOpenRequest(ctx, l, c, x, text, start+call.Open); err != nil {
			return err
		}
		if i == 0 && c.Opened() != 0 { // where the first call was late, all are
			start = c.Opened()
		}
		if err := fastOpenAnswer(ctx, c, start+call.Close); err != nil {
			return err
		}
	}
	return c.Close()
}

// fastOpenRequest sends one request, as a program does that can do without Fast Open.
func fastOpenRequest(ctx context.Context, l *lab.Lab, c *lab.Client, x oracle.FastOpen, text string, at time.Duration) error {
	first := at
	if x.Bits&oracle.FastOpenClient == 0 { // it will be refused, and leaves the time to connect
		first -= refusedBefore
	}
	_, err := c.ConnectSend(ctx, l.Server.Port(httpPort), text, lab.DialOptions{At: first})
	var failed *lab.CallError
	if errors.As(err, &failed) && failed.Errno == "EOPNOTSUPP" {
		if err = c.Connect(ctx, l.Server.Port(httpPort), lab.DialOptions{At: at}); err == nil {
			_, err = c.Send(ctx, text, 0)
		}
	}
	if errors.As(err, &failed) {
		return nil // an observation
	}
	return err
}

// fastOpenAnswer waits for the answer, and closes at a time, whether it has come or not.
func fastOpenAnswer(ctx context.Context, c *lab.Client, until time.Duration) error {
	_, err := c.Receive(ctx, lab.ReceiveOptions{Until: until})
	var failed *lab.CallError
	if err != nil && !errors.As(err, &failed) && !errors.Is(err, lab.ErrQuiet) {
		return err
	}
	_, err = c.Hangup(ctx, until)
	return err
}

// statesOfFastOpen names the states of each connection in turn. Most last for microseconds on a link without delay; a lost packet holds
// one for a second.
func statesOfFastOpen(e Env) map[string][]string {
	x, err := fastOpenInput(e)
	if err != nil {
		return nil
	}
	client, server := []string{}, []string{"(LISTEN)"}
	for _, o := range x.Openings() {
		sent, received := "(SYN-SENT)", "(SYN-RECV)"
		if o.Lost != oracle.LoseNothing {
			sent = "SYN-SENT"
		}
		if o.Lost == oracle.LoseSYNACK {
			received = "SYN-RECV"
		}
		client = append(client, sent, "ESTABLISHED", "(FIN-WAIT-1)", "(FIN-WAIT-2)", "(TIME-WAIT)", "(CLOSED)")
		server = append(server, received, "ESTABLISHED", "(CLOSE-WAIT)", "(LAST-ACK)", "(CLOSED)", "(LISTEN)")
	}
	return map[string][]string{"client": client, "server": server}
}

// rivalsOfFastOpen are the usual reasons for another sequence: a bit that is set or clear at one end, or an initial RTO of old.
func rivalsOfFastOpen(e Env) []Rival {
	var rivals []Rival
	for _, r := range []struct{ host, value string }{
		{"client", "0"}, {"client", "1"}, {"client", "5"}, {"server", "0"}, {"server", "2"}, {"server", "0x202"}, {"server", "0x402"}, {"server", "0x602"},
	} {
		now, err := fastOpenInput(e)
		if err != nil {
			return nil
		}
		other := e.With(r.host, "net.ipv4.tcp_fastopen", r.value)
		if x, err := fastOpenInput(other); err != nil || reflect.DeepEqual(x.Openings(), now.Openings()) {
			continue // it would make no difference here
		}
		rivals = append(rivals, Rival{Code: explain.FastOpenBits,
			Text:  fmt.Sprintf("the %s behaves as if tcp_fastopen were %s (it is set to %s)", r.host, r.value, e.Sysctls[r.host+".net.ipv4.tcp_fastopen"]),
			Flags: []string{"--" + r.host + "-fastopen=" + r.value}, Env: other})
	}
	if e.Options["lose"] == string(oracle.LoseNothing) {
		return rivals // no timer fires
	}
	old := Rival{Code: explain.CountAndTime, Text: "the kernel's first retransmission timeout is 3 s, as before Linux 3.1 (RFC 1122)", Env: e}
	old.Env.Facts.InitialRTO = 3 * time.Second
	return append(rivals, old)
}

// fastOpenByHand is a client in Python: the socket does not block, as the lab's does not.
func fastOpenByHand(p Plan) []string {
	hand := p.byHand()
	program := fmt.Sprintf(`import select, socket, time
text = b"x" * (%d - 1) + b"\n"
for i in range(%d):
    s = %s
    s.setblocking(False)
    sent = 0
    try:
        sent = s.sendto(text, socket.MSG_FASTOPEN, ("%s", %d))
    except BlockingIOError:
        pass # no cookie yet: the SYN asks for one
    except OSError as e:
        print(e) # EOPNOTSUPP: do without
        s.setblocking(True)
        s.connect(("%s", %d))
    select.select([], [s], [])
    s.setblocking(True)
    s.sendall(text[sent:])
    s.recv(len(text))
    time.sleep(0.2)
    s.close()
    time.sleep(0.2)`, p.Options.Number("bytes"), p.Options.Number("requests"), hand.socket, hand.server.Addr(), httpPort, hand.server.Addr(), httpPort)
	return []string{
		"ip netns exec client python3 -c '" + program + "'",
		"ip netns exec client ip tcp_metrics show # the cookie, as the client keeps it",
	}
}
