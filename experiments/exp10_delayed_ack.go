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

// halfRequest is what each of the two writes of a request carries.
const halfRequest = 100

// The client writes a request in two halves and reads the answer, again and again:
//
//	client ── half ──▶ (Nagle holds the other)   …   ◀── ACK, 40 ms later ── ── half ──▶ ◀── answer ── server, answering whole requests
func init() {
	register(&Experiment{
		Name:    "exp10-delayed-ack",
		Summary: "write, write, read: Nagle's algorithm waits for an acknowledgement that is delayed",
		Question: "A client writes a request in two small pieces and reads the answer; then again. Why does the first round take a fraction of a millisecond and each later " +
			"one more than 40, on a link that loses nothing? Which end waits for which, and what mends it: TCP_NODELAY, TCP_CORK, TCP_QUICKACK, or one write?",
		Params: append([]Param{
			{Flag: "writes", Doc: "how the client writes a request: two write()s, nodelay (the same with TCP_NODELAY), cork (between TCP_CORK on and off), " +
				"forgotten-cork (on all the time), or one", Kind: Choice, Choices: []string{"two", "nodelay", "cork", "forgotten-cork", "one"}, Default: "two",
				Code: explain.NagleDelayed},
			{Flag: "quickack", Doc: "when the server's program sets TCP_QUICKACK: never, once (after accept()), or always (after each answer)", Kind: Choice,
				Choices: []string{never, "once", "always"}, Default: never, Code: explain.NagleDelayed},
			{Flag: "rounds", Doc: "requests, 1 to 8", Min: 1, Max: 8, Default: "4"},
			{Flag: "pace", Doc: "from one request to the next, 100ms to 10s, and two round trips of --rtt; with --writes=forgotten-cork 300ms at least", Kind: Time,
				Min: int64(100 * time.Millisecond), Max: int64(10 * time.Second), Default: "300ms"},
			{Flag: "pingpong-thresh", Doc: "answers after which the server delays its acknowledgements, 1 to 255 (Linux 6.7 and later)", Host: "server",
				Sysctl: "net.ipv4.tcp_pingpong_thresh", Textbook: "1", Fast: "1", Absent: "1", Code: explain.NagleDelayed},
			rttParam(),
		}, jitterParams()...),
		Setup:   setupDelayedACK,
		Calls:   callsOfDelayedACK,
		Predict: predictDelayedACK,
		Run:     runDelayedACK,
		States: func(Env) map[string][]string {
			return map[string][]string{"client": {"(SYN-SENT)", "ESTABLISHED"}, "server": {"(LISTEN)", "(SYN-RECV)", "ESTABLISHED"}}
		},
		Checks: checksOfDelayedACK,
		Rivals: rivalsOfDelayedACK,
		Story:  storyOfDelayedACK,
		ByHand: handOfDelayedACK,
	})
}

func setupDelayedACK(o Options) Setup {
	listen := lab.ListenOptions{Port: httpPort, Service: lab.Echo, Whole: 2 * halfRequest}
	switch o["quickack"] {
	case "once":
		listen.QuickACK = lab.QuickACKOnce
	case "always":
		listen.QuickACK = lab.QuickACKAlways
	}
	return Setup{Listen: []lab.ListenOptions{listen}}
}

func callRound(i int) string { return fmt.Sprintf("request %d", i+1) }
func callReply(i int) string { return fmt.Sprintf("answer %d", i+1) }
func roundsOf(o Options) int { return int(o.Number("rounds")) }

// callsOfDelayedACK are the requests, and the answers where the server's program takes no time.
func callsOfDelayedACK(e Env) []Call {
	d, err := plainDelayedACK(e)
	if err != nil {
		return nil
	}
	var calls []Call
	answers := d.Answers(e.Facts)
	for i, r := range d.Rounds {
		calls = append(calls, Call{Name: callRound(i), At: r.Write}, Call{Name: callReply(i), At: answers[i], Host: "server"})
	}
	return calls
}

// plainDelayedACK reads what the oracle needs from the effective settings, with each call as planned.
func plainDelayedACK(e Env) (oracle.DelayedACK, error) {
	var errs []error
	read := func(host, name string) (int64, bool) {
		v, ok, err := e.Int(host, "net.ipv4."+name)
		errs = append(errs, err)
		return v, ok
	}
	micro := func(host string) time.Duration {
		v, _ := read(host, "tcp_rto_min_us")
		return time.Duration(v) * time.Microsecond
	}
	o := e.Options
	d := oracle.DelayedACK{Client: "client", Server: "server", Writes: oracle.Writes(o["writes"]), Size: halfRequest, QuickACK: o["quickack"] == "always",
		ServerRTOMin: micro("server"), RTT: o.rtt(), Link: o.jittered()}
	if d.Writes == oracle.ForgottenCork {
		d.ClientRTOMin = micro("client")
	}
	if v, ok := read("server", "tcp_pingpong_thresh"); ok {
		d.Threshold = int(v)
	}
	pace := e.Whole(o.Duration("pace") + 2*o.longestTrip())
	for i := range roundsOf(o) {
		d.Rounds = append(d.Rounds, oracle.Round{Write: e.Whole(burstWrite+o.longestTrip()) + time.Duration(i)*pace})
	}
	return d, errors.Join(errs...)
}

// delayedACKInput is the same with each call as it was made.
func delayedACKInput(e Env) (oracle.DelayedACK, error) {
	d, err := plainDelayedACK(e)
	if err != nil {
		return d, err
	}
	if pace := e.Options.Duration("pace"); d.Writes == oracle.ForgottenCork && pace < 300*time.Millisecond {
		return d, fmt.Errorf("--pace=%v: with --writes=forgotten-cork a request takes some 210 ms: want 300ms or more", pace)
	}
	if d.Writes == oracle.ForgottenCork && d.RTT > 0 {
		return d, fmt.Errorf("--writes=forgotten-cork with --rtt=%v: the RTO that lets the segment out is predicted for a veth alone: leave --rtt away", d.RTT)
	}
	for i, at := range d.Answers(e.Facts) {
		d.Rounds[i].Write = e.Call(callRound(i), d.Rounds[i].Write)
		d.Rounds[i].Answer = e.Call(callReply(i), at)
	}
	return d, nil
}

func predictDelayedACK(e Env) (timeline.Timeline, error) {
	d, err := delayedACKInput(e)
	if err != nil {
		return timeline.Timeline{}, err
	}
	return e.Ask(d)
}

func runDelayedACK(ctx context.Context, l *lab.Lab, e Env) error {
	d, err := delayedACKInput(e)
	if err != nil {
		return err
	}
	c, err := l.Client.Start(ctx)
	if err != nil {
		return err
	}
	o := lab.DialOptions{At: e.StartAt, SocketOptions: lab.SocketOptions{NoDelay: d.Writes == oracle.NoDelay}}
	if err := c.Connect(ctx, l.Server.Port(httpPort), o); err != nil {
		return err
	}
	ask := lab.AskOptions{Writes: 2, Size: halfRequest}
	switch d.Writes {
	case oracle.OneWrite:
		ask.Writes, ask.Size = 1, 2*halfRequest
	case oracle.Corked:
		ask.Cork = lab.Cork
	case oracle.ForgottenCork:
		ask.Cork = lab.ForgetCork
	}
	for _, call := range callsOfDelayedACK(e) {
		if call.Host == "server" {
			continue
		}
		ask.At = c.Opened() + call.At // later than e.StartAt on a busy machine
		if _, err := c.Ask(ctx, ask); err != nil {
			return err
		}
	}
	return nil // the connection stays as it is until the captures are closed
}

// rivalsOfDelayedACK are the usual reasons for other rounds.
func rivalsOfDelayedACK(e Env) []Rival {
	truth, err := predictDelayedACK(e)
	if err != nil {
		return nil
	}
	var rivals []Rival
	option := func(flag, value, text string) {
		if e.Options[flag] != value {
			rivals = append(rivals, Rival{Code: explain.NagleDelayed, Text: text, Flags: []string{"--" + flag + "=" + value}, Env: e.WithOption(flag, value)})
		}
	}
	option("writes", "two", "the client wrote twice, with Nagle's algorithm")
	option("writes", "nodelay", "the client had TCP_NODELAY")
	option("writes", "one", "the client wrote once")
	option("writes", "forgotten-cork", "the client had TCP_CORK on")
	option("quickack", never, "the server's program did not set TCP_QUICKACK")
	option("quickack", "always", "the server's program set TCP_QUICKACK after each answer")
	if _, have := e.Sysctls["server.net.ipv4.tcp_pingpong_thresh"]; have {
		for _, n := range []int{1, 2, 3, 4, 255} {
			v := strconv.Itoa(n)
			rivals = append(rivals, Rival{Code: explain.NagleDelayed, Text: fmt.Sprintf("the kernel behaves as if %s were %s (it is set to %s)", "tcp_pingpong_thresh", v, e.Sysctls["server.net.ipv4.tcp_pingpong_thresh"]),
				Flags: []string{"--pingpong-thresh=" + v}, Env: e.With("server", "net.ipv4.tcp_pingpong_thresh", v)})
		}
	}
	if e.Facts.Version.AtLeast(6, 11) {
		rivals = append(rivals, Rival{Code: explain.DelayedACK, Text: "the server delays its ACKs by 16 ms, as with tcp_rto_min_us=20000", Env: e.With("server", "net.ipv4.tcp_rto_min_us", "20000")})
	}
	return slices.DeleteFunc(rivals, func(r Rival) bool { // such as a threshold that is not reached
		t, err := predictDelayedACK(r.Env)
		return err != nil || reflect.DeepEqual(t, truth)
	})
}
