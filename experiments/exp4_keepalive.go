package experiments

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// The connection is made, then the server's INPUT chain drops all that the client sends, and the client says nothing:
//
//	client, connected, reading ── probes ──▶ (capture) ──▶ iptables INPUT ✗   server, ESTABLISHED for ever
func init() {
	register(&Experiment{
		Name:    "exp4-keepalive",
		Summary: "an idle connection whose peer vanishes: who finds out, and when",
		Question: "A connection is open, nobody has anything to say, and the other end vanishes without a word. When does the client's kernel notice, " +
			"what does it send to find out, what does the program see, and what would happen without keepalive?",
		Params: append([]Param{
			{Flag: "keepalive-time", Doc: "idle time before the first keepalive probe, 1 to 32767 s", Host: "client", Sysctl: "net.ipv4.tcp_keepalive_time",
				Textbook: "7200", Fast: "1", Code: explain.Keepalive},
			{Flag: "keepalive-intvl", Doc: "time between keepalive probes without an answer, 1 to 32767 s", Host: "client", Sysctl: "net.ipv4.tcp_keepalive_intvl",
				Textbook: "75", Fast: "1", Code: explain.Keepalive},
			{Flag: "keepalive-probes", Doc: "keepalive probes without an answer that end a connection, 0 to 255", Host: "client",
				Sysctl: "net.ipv4.tcp_keepalive_probes", Textbook: "9", Fast: "2", Code: explain.Keepalive},
			{Flag: "keepidle", Doc: "TCP_KEEPIDLE of the client's socket, 1 to 32767 s: overrides --keepalive-time", SocketOption: "TCP_KEEPIDLE", Min: 1, Max: 32767},
			{Flag: "keepintvl", Doc: "TCP_KEEPINTVL of the client's socket, 1 to 32767 s: overrides --keepalive-intvl", SocketOption: "TCP_KEEPINTVL", Min: 1, Max: 32767},
			{Flag: "keepcnt", Doc: "TCP_KEEPCNT of the client's socket, 1 to 127: overrides --keepalive-probes", SocketOption: "TCP_KEEPCNT", Min: 1, Max: 127},
			{Flag: "user-timeout", Doc: "TCP_USER_TIMEOUT of the client's socket, 1 to 86400000 ms", SocketOption: "TCP_USER_TIMEOUT", Min: 1, Max: 86400000},
			{Flag: "no-keepalive", Doc: "leave SO_KEEPALIVE off: yes or no", Kind: Choice, Choices: []string{"yes", "no"}, Default: "no"},
			{Flag: "peer", Doc: "what becomes of the server: gone or alive", Kind: Choice, Choices: []string{"gone", "alive"}, Default: "gone"},
			{Flag: "watch", Doc: "how long a connection that does not die is watched, 1s to 48h", Kind: Time, Min: int64(time.Second), Max: int64(48 * time.Hour)},
			rttParam(),
		}, jitterParams()...),
		Setup:   func(Options) Setup { return Setup{Listen: []lab.ListenOptions{{Port: httpPort, Service: lab.Sink}}} },
		Calls:   callsOfKeepalive,
		Predict: predictKeepalive,
		Run:     runKeepalive,
		States:  statesOfKeepalive,
		Checks:  checksOfKeepalive,
		Rivals:  rivalsOfKeepalive,
		Story:   storyOfKeepalive,
		ByHand:  handOfKeepalive,
	})
}

// hangUpAfter is how long after its last look at the connection the program ends it: time to make the call that is planned.
const hangUpAfter = 20 * time.Millisecond

// keepaliveInput reads what the oracle needs from the effective settings.
func keepaliveInput(e Env) (oracle.Keepalive, error) {
	var errs []error
	read := func(host, name string) int64 {
		v, _, err := e.Int(host, name)
		errs = append(errs, err)
		return v
	}
	second := func(v int64) time.Duration { return time.Duration(v) * time.Second }
	o := e.Options
	k := oracle.Keepalive{
		Host:        "client",
		Off:         o["no-keepalive"] == "yes",
		Time:        second(read("client", "net.ipv4.tcp_keepalive_time")),
		Interval:    second(read("client", "net.ipv4.tcp_keepalive_intvl")),
		Probes:      int(read("client", "net.ipv4.tcp_keepalive_probes")),
		Idle:        second(o.Number("keepidle")),
		SockInterv:  second(o.Number("keepintvl")),
		Count:       int(o.Number("keepcnt")),
		UserTimeout: time.Duration(o.Number("user-timeout")) * time.Millisecond,
		Peer:        oracle.KeepalivePeer{Host: "server", Gone: o["peer"] != "alive"},
		RTT:         o.rtt(),
		Link:        o.jittered(),
	}
	if !k.Peer.Gone && !k.Off {
		k.Peer.InvalidRatelimit = time.Duration(read("server", "net.ipv4.tcp_invalid_ratelimit")) * time.Millisecond
	}
	if err := errors.Join(errs...); err != nil {
		return k, err
	}
	if k.Peer.Gone && !k.Off {
		if o["watch"] != "" {
			return k, fmt.Errorf("--watch=%s: a connection with keepalive and a peer that is gone is watched to its end; leave it out", o["watch"])
		}
		return k, nil
	}
	for _, c := range watchCalls(e, k) {
		switch c.Name {
		case callRead:
			k.Until = e.Call(c.Name, c.At)
		case callShutdown:
			k.Close = e.Call(c.Name, c.At)
		}
	}
	return k, nil
}

// The calls of a program whose connection lives on.
const (
	callRead     = "read"     // it stops waiting in read(2)
	callShutdown = "shutdown" // it ends the connection
)

// watchCalls are the calls that end the watch over a connection that does not die.
func watchCalls(e Env, k oracle.Keepalive) []Call {
	watch := e.Whole(watchFor(k, e.Options.Duration("watch")))
	if k.Peer.Gone {
		return []Call{{Name: callRead, At: watch}}
	}
	return []Call{{Name: callRead, At: watch - e.Whole(hangUpAfter)}, {Name: callShutdown, At: watch}}
}

// watchFor is how long a connection that does not die is watched: as asked, or for three rounds of probes, or, without keepalive, for a
// tenth longer than keepalive would have needed to end it.
func watchFor(k oracle.Keepalive, asked time.Duration) time.Duration {
	if asked != 0 {
		return asked
	}
	on := k
	on.Off = false
	if k.Off {
		return (on.Dies() * 11 / 10).Round(100 * time.Millisecond)
	}
	return k.RTT + k.First() + 2*k.Round() + k.Round()/2
}

func callsOfKeepalive(e Env) []Call {
	k, err := keepaliveInput(e)
	if err != nil || k.Until == 0 {
		return nil
	}
	return watchCalls(e, k)
}

func predictKeepalive(e Env) (timeline.Timeline, error) {
	k, err := keepaliveInput(e)
	if err != nil {
		return timeline.Timeline{}, err
	}
	return e.Ask(k)
}

func runKeepalive(ctx context.Context, l *lab.Lab, e Env) error {
	k, err := keepaliveInput(e)
	if err != nil {
		return err
	}
	c, err := l.Client.Start(ctx)
	if err != nil {
		return err
	}
	err = c.Connect(ctx, l.Server.Port(httpPort), lab.DialOptions{At: e.StartAt, SocketOptions: lab.SocketOptions{
		KeepAlive: !k.Off, KeepIdle: k.Idle, KeepInterval: k.SockInterv, KeepCount: k.Count, UserTimeout: k.UserTimeout,
	}})
	if err == nil && k.Peer.Gone {
		if err = arrived(ctx, e.Options); err != nil { // the third packet of the handshake
			return err
		}
		if _, err = l.Server.Drop(ctx, lab.DropAllFrom(l.Client.Addr)); err == nil && !k.Off {
			err = inTime(c.Opened() + k.First())
		}
	}
	if err == nil {
		err = readKeepalive(ctx, c, e, k)
	}
	var failed *lab.CallError
	if err != nil && !errors.As(err, &failed) {
		return err
	}
	if err == nil && k.Close == 0 {
		return nil // the process lives on, as its connection does: its end would send a FIN
	}
	return c.Close()
}

// readKeepalive waits in read(2), as a program does that has nothing to say, and ends a connection that lives on.
func readKeepalive(ctx context.Context, c *lab.Client, e Env, k oracle.Keepalive) error {
	var o lab.ReceiveOptions
	if k.Until != 0 {
		o.Until = e.StartAt + k.Until
	}
	_, err := c.Receive(ctx, o)
	if !errors.Is(err, lab.ErrQuiet) {
		return err
	}
	if k.Close == 0 {
		return nil
	}
	if _, err := c.Shutdown(ctx, e.StartAt+k.Close); err != nil {
		return err
	}
	_, err = c.Receive(ctx, lab.ReceiveOptions{})
	return err
}

// statesOfKeepalive says what keepalive is for: the end that is told nothing stays ESTABLISHED for ever.
func statesOfKeepalive(e Env) map[string][]string {
	k, err := keepaliveInput(e)
	if err != nil {
		return nil
	}
	client, server := []string{"(SYN-SENT)", "ESTABLISHED"}, []string{"(LISTEN)", "(SYN-RECV)", "ESTABLISHED"}
	t, err := e.Memory.Predict(k, e.Facts, nil)
	if err != nil || t.Outcome == nil {
		return nil
	}
	switch t.Outcome.What {
	case timeline.SocketError:
		client = append(client, "CLOSED")
		if !k.Peer.Gone { // the RST reaches it
			server = append(server, "LISTEN")
		}
	case timeline.EndOfStream:
		client = append(client, "(FIN-WAIT-1)", "(FIN-WAIT-2)", "TIME-WAIT")
		server = append(server, "(CLOSE-WAIT)", "(LAST-ACK)", "LISTEN")
	}
	return map[string][]string{"client": client, "server": server}
}

// checksOfKeepalive adds the silence: for how long after the handshake nothing at all is on the wire.
func checksOfKeepalive(e Env, r *result.Result) []result.Check {
	k, err := keepaliveInput(e)
	if err != nil {
		return nil
	}
	c := result.Check{ID: "silence", Name: "silence on the wire", Verdict: result.Pass}
	if len(r.Packets) < handshakePackets {
		c.Verdict, c.Code, c.Expected, c.Observed, c.Detail = result.Fail, explain.TooFewSYNs, "a connection", "none", "the handshake takes three packets"
		return []result.Check{c}
	}
	opened, over, next := r.Packets[handshakePackets-1].At(), time.Duration(0), "end of the run"
	if o := r.Outcome; o != nil && o.Seen != nil {
		over = o.Seen.Duration()
	}
	hangUp := false
	if len(r.Packets) > handshakePackets {
		p := r.Packets[handshakePackets]
		over, next, hangUp = p.At(), timeline.What(p.What).Words()+" of the "+p.From, p.What == string(timeline.FIN) && p.From == "client"
	}
	quiet := over - opened
	c.Observed = seconds(max(quiet, 0))
	if k.Off {
		c.Expected, c.Detail = "to the end", "without SO_KEEPALIVE nothing is sent"
		switch {
		case len(r.Packets) > handshakePackets && !hangUp:
			c.Verdict, c.Code, c.Detail = result.Fail, explain.UnexpectedPacket, "broken by the "+next
		case quiet < k.Until/2:
			c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.CutShort, "the run ended before its time"
		}
	} else {
		c.Expected, c.Detail = "at least "+seconds(k.First()), "nothing is sent before the idle time is over"
		switch {
		case over == 0:
			c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.CutShort, "the run ended before its time"
		case quiet < k.First()-e.Facts.Jiffy(): // the jiffy in which the timer was armed is a whole one to a kernel before 4.8
			c.Verdict, c.Code, c.Detail = result.Fail, explain.TooEarly, "broken by the "+next
		}
	}
	if lostPackets(r) > 0 && c.Verdict != result.Fail {
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.CaptureDrops, "the capture lost packets"
	}
	return []result.Check{c}
}

func lostPackets(r *result.Result) int {
	n := 0
	for _, c := range r.Captures {
		n += c.Dropped
	}
	return n
}
