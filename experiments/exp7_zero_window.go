package experiments

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

const (
	// closingSize is a segment of the client, the window that the server offers, and half of the one write. A sender cuts its segments to half
	// of a window of more than 536 bytes (tcp_bound_to_half_wnd, TCP_MSS_DEFAULT).
	closingSize = 500
	// smallestBuffer is SO_RCVBUF of the server: doubled it is SOCK_MIN_RCVBUF. With a segment in it, and what the kernel takes beside the
	// data, there is not enough left for another: __tcp_select_window offers nothing.
	smallestBuffer = 1152
	// afterDrain is how long after the server's read the client is done, without the round trips.
	afterDrain = 250 * time.Millisecond
)

// closingWrite is when the client writes, from its connect(): by then the rule of --peer=gone is in place.
func closingWrite(o Options) time.Duration { return 500*time.Millisecond + o.rtt() }

// The server offers a window of one segment, and its program does not read. The first segment fills the window, the second waits:
//
//	client ── data 1 ──▶ ◀── ACK, window 0 ──   ── probe ──▶ ◀── ACK, window 0 ── …   ◀── ACK, window 500 ── ── data 2 ──▶ server, reading again
//
// With --peer=gone the probes reach the server's link, where the capture still sees them, and die in its INPUT chain.
func init() {
	register(&Experiment{
		Name:    "exp7-zero-window",
		Summary: "the receiver stops reading: its window closes, and the sender asks when it may go on",
		Question: "The receiver's program reads no more, its buffer is full, and it says so: window 0. How does the sender learn that it may go on, if the one packet " +
			"that would tell it can be lost? How often does it ask, for how long, and what ends the connection: a peer that is gone, or one that only does not read?",
		Params: append([]Param{
			{Flag: "peer", Doc: "what answers the window probes: alive (the server's kernel does) or gone (nothing does)", Kind: Choice,
				Choices: []string{"alive", "gone"}, Default: "alive", Code: explain.ZeroWindow},
			{Flag: "drain-at", Doc: "when the server's program reads again, from the client's connect(): 1s to 24h, or never; with --peer=gone it never does", Kind: Time,
				Min: int64(time.Second), Max: int64(24 * time.Hour), Choices: []string{never}, Default: drainDefault, Fast: drainFast},
			{Flag: "retries2", Doc: "window probes without an answer that end the connection, and the most doublings of the wait, 0 to 255", Host: "client",
				Sysctl: "net.ipv4.tcp_retries2", Textbook: "15", Fast: "3", Code: explain.ZeroWindow},
			{Flag: "user-timeout", Doc: "TCP_USER_TIMEOUT of the client's socket, 1 to 86400000 ms: ends the connection though the probes are answered",
				SocketOption: "TCP_USER_TIMEOUT", Min: 1, Max: 86400000, Code: explain.ZeroWindow},
			{Flag: "rto-max-ms", Doc: "longest wait between two window probes, 1000 to 120000 ms (Linux 6.15 and later)", Host: "client",
				Sysctl: "net.ipv4.tcp_rto_max_ms", Textbook: "120000", Fast: "120000", Absent: "120000", Code: explain.RTOMax},
			{Flag: "watch", Doc: "how long a connection with --drain-at=never that does not die is watched, 1s to 24h", Kind: Time,
				Min: int64(time.Second), Max: int64(24 * time.Hour)},
			rttParam(),
		}, jitterParams()...),
		UnderJitter: closesUnderJitter,
		Setup:       setupZeroWindow,
		Calls:       callsOfZeroWindow,
		Predict:     predictZeroWindow,
		Run:         runZeroWindow,
		States:      statesOfZeroWindow,
		Checks:      checksOfZeroWindow,
		Rivals:      rivalsOfZeroWindow,
		Story:       storyOfZeroWindow,
		ByHand:      handOfZeroWindow,
	})
}

const (
	never        = "never"
	drainDefault = "30s"
	drainFast    = "3s"
	callDrain    = "read again" // the server's
)

// drains is when the server's program reads again; 0: never.
func drains(o Options) time.Duration {
	if o["peer"] == "gone" {
		return 0
	}
	return o.Duration("drain-at") // 0 for never
}

func setupZeroWindow(o Options) Setup {
	listen := lab.ListenOptions{Port: httpPort, Service: lab.Sink, ReceiveBuffer: smallestBuffer, ReadAfter: lab.NeverReads}
	if d := drains(o); d > 0 {
		listen.ReadAfter = o.sinceAccept(d)
	}
	return Setup{Listen: []lab.ListenOptions{listen}, OwnMSS: "server"}
}

// watchZeroWindow is how long a connection is watched that its server never reads from: as asked, or for a minute, or for well longer than
// TCP_USER_TIMEOUT.
func watchZeroWindow(e Env) time.Duration {
	if d := e.Options.Duration("watch"); d != 0 {
		return d
	}
	user := time.Duration(e.Options.Number("user-timeout")) * time.Millisecond
	if e.Profile == Fast {
		return user*9/8 + 4*time.Second
	}
	return user*9/8 + time.Minute
}

// callsOfZeroWindow are the write, the server's read, and the calls that end a connection that lives on.
func callsOfZeroWindow(e Env) []Call {
	calls := []Call{{Name: burstCall, At: e.Whole(closingWrite(e.Options))}}
	over := e.Whole(watchZeroWindow(e))
	if d := drains(e.Options); d > 0 {
		d = e.Whole(d)
		calls = append(calls, Call{Name: callDrain, At: d, Host: "server"})
		over = d + e.Whole(afterDrain+2*e.Options.rtt())
		calls = append(calls, Call{Name: callRead, At: over}, Call{Name: callShutdown, At: over + e.Whole(hangUpAfter)})
	} else if e.Options["peer"] != "gone" {
		calls = append(calls, Call{Name: callRead, At: over})
	}
	return calls
}

// zeroWindowInput reads what the oracle needs from the effective settings.
func zeroWindowInput(e Env) (oracle.ZeroWindow, error) {
	o := e.Options
	gone := o["peer"] == "gone"
	if at := o["drain-at"]; gone && at != never && at != drainDefault && at != drainFast {
		return oracle.ZeroWindow{}, fmt.Errorf("--drain-at=%s: a server that is gone reads nothing; leave it out", at)
	}
	if w := o["watch"]; w != "" && (gone || drains(o) > 0) {
		return oracle.ZeroWindow{}, fmt.Errorf("--watch=%s: only a connection with --drain-at=never and --peer=alive is watched for a time; leave it out", w)
	}
	var errs []error
	read := func(host, name string) int64 {
		v, _, err := e.Int(host, "net.ipv4."+name)
		errs = append(errs, err)
		return v
	}
	z := oracle.ZeroWindow{
		Host: "client", Peer: "server", Segment: closingSize, IPv6: o.IPv6(), RTT: o.rtt(), Link: o.jittered(), Gone: gone,
		Retries2:    int(read("client", "tcp_retries2")),
		RTOMax:      time.Duration(read("client", "tcp_rto_max_ms")) * time.Millisecond,
		RTOMin:      time.Duration(read("client", "tcp_rto_min_us")) * time.Microsecond,
		UserTimeout: time.Duration(o.Number("user-timeout")) * time.Millisecond,
	}
	if !gone {
		z.InvalidRatelimit = time.Duration(read("server", "tcp_invalid_ratelimit")) * time.Millisecond
	}
	for _, c := range callsOfZeroWindow(e) {
		at := e.Call(c.Name, c.At)
		switch c.Name {
		case burstCall:
			z.Write = at
		case callDrain:
			z.Drain = at
		case callRead:
			z.Until = at
		case callShutdown:
			z.Close = at
		}
	}
	if z.Close > 0 { // while a run goes on, some calls are known as they were made and others as they were planned
		z.Until = max(z.Until, z.Drain+hangUpAfter+2*z.RTT)
		z.Close = max(z.Close, z.Until)
	}
	return z, errors.Join(errs...)
}

func predictZeroWindow(e Env) (timeline.Timeline, error) {
	z, err := zeroWindowInput(e)
	if err != nil {
		return timeline.Timeline{}, err
	}
	return e.Ask(z)
}

func runZeroWindow(ctx context.Context, l *lab.Lab, e Env) error {
	mss, err := segmentOption(e, closingSize)
	if err != nil {
		return err
	}
	if err := l.Server.ReceiveWindow(1, mss); err != nil {
		return err
	}
	c, err := l.Client.Start(ctx)
	if err != nil {
		return err
	}
	o := lab.DialOptions{At: e.StartAt, SocketOptions: lab.SocketOptions{UserTimeout: time.Duration(e.Options.Number("user-timeout")) * time.Millisecond}}
	err = c.Connect(ctx, l.Server.Port(httpPort), o)
	at := map[string]time.Duration{}
	for _, call := range callsOfZeroWindow(e) {
		at[call.Name] = c.Opened() + call.At // later than e.StartAt on a busy machine
	}
	if err == nil && e.Options["peer"] == "gone" {
		if err = arrived(ctx, e.Options); err == nil { // the third packet of the handshake
			_, err = l.Server.Drop(ctx, lab.DropBare(httpPort))
		}
	}
	if err == nil {
		_, err = c.Write(ctx, 2, closingSize, at[burstCall])
	}
	if err == nil {
		_, err = c.Receive(ctx, lab.ReceiveOptions{Until: at[callRead]})
	}
	var failed *lab.CallError
	switch {
	case errors.As(err, &failed):
		return c.Close()
	case !errors.Is(err, lab.ErrQuiet):
		return err
	case at[callShutdown] == 0:
		return nil // the process lives on, as its connection does: its end would send a FIN
	}
	if _, err := c.Shutdown(ctx, at[callShutdown]); err != nil {
		return err
	}
	if _, err := c.Receive(ctx, lab.ReceiveOptions{}); err != nil && !errors.As(err, &failed) {
		return err
	}
	return c.Close()
}

// segmentOption is the MSS for segments of so many bytes: the timestamps of every segment count as well.
func segmentOption(e Env, size int) (int, error) {
	client, _, err1 := e.Int("client", "net.ipv4.tcp_timestamps")
	server, _, err2 := e.Int("server", "net.ipv4.tcp_timestamps")
	if client != 0 && server != 0 {
		size += timestampBytes
	}
	return size, errors.Join(err1, err2)
}

// statesOfZeroWindow: a peer to whom nothing comes does not know of the end; one that tells of its window learns of it by a RST.
func statesOfZeroWindow(e Env) map[string][]string {
	z, err := zeroWindowInput(e)
	if err != nil {
		return nil
	}
	client, server := []string{"(SYN-SENT)", "ESTABLISHED"}, []string{"(LISTEN)", "(SYN-RECV)", "ESTABLISHED"}
	t, err := e.Ask(z) // of the start alone where it is known, which is quick
	if err != nil || t.Outcome == nil {
		return nil
	}
	switch t.Outcome.What {
	case timeline.SocketError:
		client = append(client, "CLOSED")
		reset := slices.ContainsFunc(t.Events, func(ev timeline.Event) bool { return ev.What == timeline.RST && !ev.Maybe })
		if z.Drain > 0 || reset {
			server = append(server, "(CLOSED)", "LISTEN")
		}
	case timeline.EndOfStream:
		client = append(client, "(FIN-WAIT-1)", "(FIN-WAIT-2)", "TIME-WAIT")
		server = append(server, "(CLOSE-WAIT)", "(LAST-ACK)", "(CLOSED)", "LISTEN")
	}
	return map[string][]string{"client": client, "server": server}
}

// rivalsOfZeroWindow are the usual reasons for other probes or another end.
func rivalsOfZeroWindow(e Env) []Rival {
	truth, err := predictZeroWindow(e)
	if err != nil {
		return nil
	}
	var rivals []Rival
	add := func(code, flag, value, text string, other Env) {
		rivals = append(rivals, Rival{Code: code, Text: text, Flags: []string{"--" + flag + "=" + value}, Env: other})
	}
	knob := func(code, flag, name string, values ...string) {
		for _, v := range values {
			add(code, flag, v, fmt.Sprintf("the kernel behaves as if %s were %s (it is set to %s)", name, v, e.Sysctls["client.net.ipv4."+name]), e.With("client", "net.ipv4."+name, v))
		}
	}
	for n := range 16 {
		knob(explain.ZeroWindow, "retries2", "tcp_retries2", strconv.Itoa(n))
	}
	if _, have := e.Sysctls["client.net.ipv4.tcp_rto_max_ms"]; have {
		knob(explain.RTOMax, "rto-max-ms", "tcp_rto_max_ms", "1000", "2000", "120000")
	}
	for _, v := range []string{"500", "1000", "2000", "3000", "5000", "30000"} {
		add(explain.ZeroWindow, "user-timeout", v, "the client's socket behaves as if TCP_USER_TIMEOUT were "+v+" ms", e.WithOption("user-timeout", v))
	}
	if e.Options["user-timeout"] != "" {
		other := e.WithOption("user-timeout", "")
		if e.Options["watch"] == "" && other.Options["peer"] != "gone" && drains(e.Options) == 0 {
			other.Options["watch"] = watchZeroWindow(e).String()
		}
		rivals = append(rivals, Rival{Code: explain.ZeroWindow, Text: "the program never set TCP_USER_TIMEOUT", Env: other})
	}
	if e.Options["peer"] == "gone" {
		add(explain.ZeroWindow, "peer", "alive", "the server was there and answered", e.WithOption("peer", "alive"))
	} else {
		other := e.WithOption("peer", "gone")
		other.Options["drain-at"], other.Options["watch"] = never, ""
		add(explain.ZeroWindow, "peer", "gone", "nothing answered the window probes", other)
	}
	if d := drains(e.Options); d > 0 {
		other := e.WithOption("drain-at", never)
		other.Options["watch"] = (d + afterDrain + 2*e.Options.rtt()).String()
		rivals = append(rivals, Rival{Code: explain.ZeroWindow, Text: "the server's program never read", Env: other,
			Flags: []string{"--drain-at=never", "--watch=" + other.Options["watch"]}})
	}
	fine := Rival{Code: explain.TimerWheel, Flags: []string{"--kernel=4.4"}, Text: "the kernel's timers are exact to the jiffy, as before Linux 4.8", Env: e}
	fine.Env.Facts.Wheel = false
	rivals = append(rivals, fine)
	return slices.DeleteFunc(rivals, func(r Rival) bool { // such as a bound of the backoff that is not reached
		t, err := predictZeroWindow(r.Env)
		return err != nil || reflect.DeepEqual(t, truth)
	})
}
