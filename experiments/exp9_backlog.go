package experiments

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// A server listens and never calls accept(2). Clients come one after the other, each in a process and from a port of its own. The first ones
// fill the queue up to its last place; of the next one the ACK is lost once, so that it is half open while another takes that place; the
// last one finds it full:
//
//	:40001 …  SYN ▶ ◀ SYN-ACK  ACK ▶      in the queue
//	held      SYN ▶ ◀ SYN-ACK  ACK ▶ ✗    half open, and connected for the client
//	next      SYN ▶ ◀ SYN-ACK  ACK ▶      in the queue: full
//	last      SYN ▶                       dropped without a word
func init() {
	register(&Experiment{
		Name:    "exp9-backlog",
		Summary: "a server that does not call accept(): who gets a place in its queue, and who only believes so",
		Question: "A program listens with a backlog and is too busy to accept. How many connections fit? What becomes of a client whose SYN comes when the queue is " +
			"full, and of one whose third packet does? Which of them believe that they are connected?",
		Params: append([]Param{
			{Flag: "backlog", Doc: "the backlog of listen(2), 1 to 8; one more fits", Kind: Number, Min: 1, Max: 8, Default: "1", Code: explain.AcceptQueue},
			{Flag: "abort-on-overflow", Doc: "1: an ACK that finds the queue full is answered with a RST; 0: it is ignored", Host: "server",
				Sysctl: "net.ipv4.tcp_abort_on_overflow", Textbook: "0", Fast: "0", Code: explain.AcceptQueue},
			{Flag: "syncookies", Doc: "SYN cookies: 0 never, 1 when too many connections are half open, 2 always", Host: "server", Sysctl: "net.ipv4.tcp_syncookies",
				Textbook: "1", Fast: "1", Code: explain.SYNCookies},
			{Flag: "synack-retries", Doc: "SYN-ACK retransmissions of the server, 0 to 255", Host: "server", Sysctl: "net.ipv4.tcp_synack_retries",
				Textbook: "5", Fast: "1"},
			{Flag: "syn-retries", Doc: "SYN retransmissions of the clients, 1 to 127", Host: "client", Sysctl: "net.ipv4.tcp_syn_retries",
				Textbook: "5", Fast: "1"},
			{Flag: "syn-linear-timeouts", Doc: "first retransmissions at a constant 1 s, 0 to 127 (Linux 6.5 and later)", Host: "client",
				Sysctl: "net.ipv4.tcp_syn_linear_timeouts", Textbook: "0", Fast: "0", Absent: "0", Code: explain.LinearSYNTimeouts},
			rttParam(),
		}, flowJitterParams()...),
		Flows:   flowsOfBacklog,
		Setup:   setupBacklog,
		Calls:   callsOfBacklog,
		Predict: predictBacklog,
		Run:     runBacklog,
		States:  statesOfBacklog,
		Checks:  checksOfBacklog,
		Rivals:  rivalsOfBacklog,
		Story:   storyOfBacklog,
		ByHand:  backlogByHand,
	})
}

const (
	firstClient  = 40001 // the first client's own port
	lastClient   = 900 * time.Millisecond
	betweenConns = 80 * time.Millisecond // from when the third packet of one is there to when the SYN of the next may be
)

// backlogClients are the clients: as many as fill the queue but for its last place, the one that is held, the one that takes the last place, and
// one more.
func backlogClients(o Options) []oracle.BacklogClient {
	n := int(max(o.Number("backlog"), 1))
	out := make([]oracle.BacklogClient, n+3)
	var at time.Duration
	for i := range out {
		port := firstClient + uint16(i)
		out[i] = oracle.BacklogClient{Port: port, At: at, Held: i == n, Link: o.jitteredFlow(port)}
		at += betweenConns + oracle.Accepted(o.rtt(), out[i].Link) - o.rtt()/2
	}
	return out
}

// flowsOfBacklog are the clients by their ports.
func flowsOfBacklog(o Options) []uint16 {
	var out []uint16
	for _, c := range backlogClients(o) {
		out = append(out, c.Port)
	}
	return out
}

// heldClient is the one whose ACK is lost.
func heldClient(o Options) oracle.BacklogClient {
	for _, c := range backlogClients(o) {
		if c.Held {
			return c
		}
	}
	return oracle.BacklogClient{}
}

func setupBacklog(o Options) Setup {
	held := heldClient(o)
	rule := lab.DropPlainFrom(held.Port)
	rule.Nth, rule.Text = []int{1}, fmt.Sprintf("first TCP without SYN, FIN or RST from :%d", held.Port)
	return Setup{Listen: []lab.ListenOptions{{Port: httpPort, Service: lab.Hold, Backlog: int(max(o.Number("backlog"), 1))}},
		Faults: []Fault{{Host: "server", Rule: rule}}, LookAt: held.Port}
}

func clientName(c oracle.BacklogClient) string { return fmt.Sprintf("client :%d", c.Port) }

func callsOfBacklog(e Env) []Call {
	var out []Call
	for _, c := range backlogClients(e.Options) {
		out = append(out, Call{Name: clientName(c), At: e.Whole(c.At), Port: c.Port})
	}
	return out
}

// backlogInput is what the oracle needs.
func backlogInput(e Env) (oracle.Backlog, error) {
	c, err1 := connectInput(e)
	s, err2 := serverInput(e)
	errs := []error{err1, err2}
	read := func(host, name string) int64 {
		v, _, err := e.Int(host, name)
		errs = append(errs, err)
		return v
	}
	b := oracle.Backlog{Connect: c, Server: s, Length: int(max(e.Options.Number("backlog"), 1)), Abort: read("server", "net.ipv4.tcp_abort_on_overflow") != 0,
		Cookies: int(read("server", "net.ipv4.tcp_syncookies")), Ratelimit: time.Duration(read("client", "net.ipv4.tcp_invalid_ratelimit")) * time.Millisecond,
		RTT: e.Options.rtt()}
	if most := int(read("server", "net.core.somaxconn")); most > 0 {
		b.Length = min(b.Length, most)
	}
	b.Clients = backlogClients(e.Options)
	if last := b.Clients[len(b.Clients)-1].At; b.RTT > 0 && last > lastClient {
		with, smaller := "", "one of the two"
		if most := e.Options.jitter(); most > 0 {
			with, smaller = fmt.Sprintf(" and --jitter=%v", most), "one of the three"
		}
		errs = append(errs, fmt.Errorf("--backlog=%s with --rtt=%v%s: the last client would come %v after the first, and must come within %v, before the first timer: want a smaller %s",
			e.Options["backlog"], b.RTT, with, last, lastClient, smaller))
	}
	for i := range b.Clients {
		b.Clients[i].At = max(e.Call(clientName(b.Clients[i]), e.Whole(b.Clients[i].At)), 0)
	}
	b.Reads = b.Abort && heldIsLate(b, e.Facts)
	return b, errors.Join(errs...)
}

// heldIsLate reports whether the held client has a half-open connection whose ACK will find the queue full.
func heldIsLate(b oracle.Backlog, f kernel.Facts) bool {
	places := b.Places(f)
	for i, c := range b.Clients {
		if c.Held {
			return places[i].Late
		}
	}
	return false
}

func predictBacklog(e Env) (timeline.Timeline, error) {
	b, err := backlogInput(e)
	if err != nil {
		return timeline.Timeline{}, err
	}
	return e.Ask(b)
}

// runBacklog opens the connections, each from a process of its own, which does one thing at a time.
func runBacklog(ctx context.Context, l *lab.Lab, e Env) error {
	b, err := backlogInput(e)
	if err != nil {
		return err
	}
	clients := make([]*lab.Client, len(b.Clients))
	errs := make([]error, len(b.Clients))
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() { clients[i], errs[i] = l.Client.Start(ctx) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err // the lab ends those that run
	}
	now, err := kernel.MonotonicNow()
	if err != nil {
		return err
	}
	begin := e.Begin(now).StartAt
	places := b.Places(e.Facts)
	for i, one := range b.Clients {
		opened := make(chan struct{})
		wg.Go(func() {
			o := lab.DialOptions{At: begin + e.Whole(backlogClients(e.Options)[i].At)}
			o.LocalPort = int(one.Port)
			err := clients[i].Connect(ctx, l.Server.Port(httpPort), o)
			close(opened)
			if err == nil && one.Held && b.Reads {
				_, err = clients[i].Receive(ctx, lab.ReceiveOptions{})
			}
			if refused := (*lab.CallError)(nil); err != nil && !errors.As(err, &refused) {
				errs[i] = err
			}
		})
		if !places[i].Refused { // a client that overtook it on a busy machine would take its place
			<-opened
		}
	}
	wg.Wait()
	return errors.Join(errs...) // the processes live on, as their connections do: their end would send FINs
}

// statesOfBacklog are those of the held client's connection: it believes in it, and the server forgets it.
func statesOfBacklog(e Env) map[string][]string {
	b, err := backlogInput(e)
	if err != nil {
		return nil
	}
	client, server := []string{"(CLOSED)", "(SYN-SENT)", "ESTABLISHED"}, []string{"LISTEN"}
	if !heldIsLate(b, e.Facts) {
		places := b.Places(e.Facts)
		for i, c := range b.Clients {
			if c.Held && places[i].Refused {
				client = []string{"(CLOSED)", "SYN-SENT", "CLOSED"}
			}
		}
		return map[string][]string{"client": client, "server": server}
	}
	if b.Abort && b.Server.SYNACKRetries > 0 {
		client = append(client, "CLOSED")
	}
	return map[string][]string{"client": client, "server": {"(LISTEN)", "SYN-RECV", "LISTEN"}}
}

// backlogByHand holds a listener and opens the connections with lines of Python.
func backlogByHand(p Plan) []string {
	const port = httpPort + 10 // the other one belongs to http.server
	hand := p.byHand()
	host := hand.server.Addr()
	var clients []string
	for _, c := range backlogClients(p.Options) {
		clients = append(clients, fmt.Sprint(c.Port))
	}
	return []string{
		fmt.Sprintf(`ip netns exec server python3 -c 'import socket, time; l = %s; l.bind(("%s", %d)); l.listen(%s); time.sleep(86400)' &`, hand.socket, host, port, p.Options["backlog"]),
		"sleep 1 # until it listens",
		fmt.Sprintf(`for from in %s; do ip netns exec client python3 -c 'import socket, sys; s = %s; s.bind(("", int(sys.argv[1]))); s.connect(("%s", %d)); print(sys.argv[1], "is connected", flush=True); print(s.recv(1))' $from & sleep %g; done`,
			strings.Join(clients, " "), hand.socket, host, port, (100*time.Millisecond + p.Options.longestTrip() + p.Options.jitter()).Seconds()),
		"for i in $(seq 70); do ip netns exec server ss -Htan; echo; sleep 1; done # the queue of the listener: how many wait, and how many fit but for one",
		"ip netns exec server nstat -az TcpExtListenOverflows TcpExtListenDrops",
		"kill $(jobs -p)",
	}
}
