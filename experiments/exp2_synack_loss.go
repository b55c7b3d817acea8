package experiments

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// Every SYN-ACK crosses the link, where the client's capture still sees it, and dies in the client's INPUT chain:
//
//	client, connecting   ✗ iptables INPUT (capture) ◀── SYN-ACK ── server, listening
func init() {
	register(&Experiment{
		Name:    "exp2-synack-loss",
		Summary: "every SYN-ACK is lost on its way to the client",
		Question: "The server hears the client and answers, but no answer arrives. Now both ends repeat: the client its SYN, the server its SYN-ACK. " +
			"Which SYN-ACK answers which SYN, which comes by the server's own timer, and when does the half-open connection vanish?",
		Params: append([]Param{
			{Flag: "syn-retries", Doc: "SYN retransmissions of the client, 1 to 127", Host: "client", Sysctl: "net.ipv4.tcp_syn_retries",
				Textbook: "5", Fast: "1"},
			{Flag: "synack-retries", Doc: "SYN-ACK retransmissions of the server, 0 to 255", Host: "server", Sysctl: "net.ipv4.tcp_synack_retries",
				Textbook: "5", Fast: "1"},
			{Flag: "syn-linear-timeouts", Doc: "first retransmissions at a constant 1 s, 0 to 127 (Linux 6.5 and later)", Host: "client",
				Sysctl: "net.ipv4.tcp_syn_linear_timeouts", Textbook: "0", Fast: "0", Absent: "0", Code: explain.LinearSYNTimeouts},
			{Flag: "rto-max-ms", Doc: "longest wait between two retransmissions, 1000 to 120000 ms (Linux 6.15 and later)", Host: "client",
				Sysctl: "net.ipv4.tcp_rto_max_ms", Textbook: "120000", Fast: "120000", Absent: "120000"},
			{Flag: "synack-drop-at", Doc: "where the SYN-ACK is dropped: client-input or server-output", Kind: Choice,
				Choices: []string{"client-input", "server-output"}, Default: "client-input"},
			rttParam(),
		}, jitterParams()...),
		Setup:   setupSYNACKLoss,
		Predict: predictSYNACKLoss,
		Run:     runSYNACKLoss,
		States:  statesOfSYNACKLoss,
		Rivals:  rivalsOfSYNACKLoss,
		Story:   storyOfSYNACKLoss,
	})
}

func setupSYNACKLoss(o Options) Setup {
	s := Setup{Listen: []lab.ListenOptions{{Port: httpPort}}}
	if o["synack-drop-at"] == "server-output" {
		s.Faults = []Fault{{Host: "server", Rule: lab.Rule{Chain: "OUTPUT", FromPort: httpPort, Text: "TCP from :8080"}}}
	} else {
		s.Faults = []Fault{{Host: "client", Rule: lab.Rule{Chain: "INPUT", FromPort: httpPort, Text: "TCP from :8080"}}}
	}
	return s
}

func predictSYNACKLoss(e Env) (timeline.Timeline, error) {
	c, err := connectInput(e)
	if err != nil {
		return timeline.Timeline{}, err
	}
	s, err := serverInput(e)
	if err != nil {
		return timeline.Timeline{}, err
	}
	s.Silent = e.Options["synack-drop-at"] == "server-output"
	return e.Ask(oracle.SYNACKLoss{Connect: c, Server: s, RTT: e.Options.rtt(), Link: e.Options.jittered()})
}

// serverInput reads what the oracle needs of the server's effective settings.
func serverInput(e Env) (oracle.Server, error) {
	retries, _, err1 := e.Int("server", "net.ipv4.tcp_synack_retries")
	limit, _, err2 := e.Int("server", "net.ipv4.tcp_invalid_ratelimit")
	return oracle.Server{Host: "server", SYNACKRetries: int(retries), InvalidRatelimit: time.Duration(limit) * time.Millisecond}, errors.Join(err1, err2)
}

func runSYNACKLoss(ctx context.Context, l *lab.Lab, e Env) error {
	c, err := l.Client.Start(ctx)
	if err != nil {
		return err
	}
	err = c.Connect(ctx, l.Server.Port(httpPort), lab.DialOptions{At: e.StartAt})
	var refused *lab.ConnectError
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	return c.Close()
}

// statesOfSYNACKLoss follows the prediction: each time a request vanishes the server's listener stands alone again, for as long as it
// takes the next SYN to come.
func statesOfSYNACKLoss(e Env) map[string][]string {
	states := map[string][]string{"client": {"SYN-SENT", "CLOSED"}}
	t, err := predictSYNACKLoss(e)
	if err != nil {
		return states
	}
	server := []string{"(LISTEN)", "SYN-RECV"}
	for _, x := range t.Events {
		if x.What == timeline.RequestGone && !x.Maybe {
			server = append(server, "LISTEN", "(SYN-RECV)")
		} else if x.What == timeline.RequestGone {
			server = append(server, "(LISTEN)", "(SYN-RECV)")
		}
	}
	states["server"] = server
	return states
}

func rivalsOfSYNACKLoss(e Env) []Rival {
	rivals := rivalsOfSYNLoss(e)
	now := e.Sysctls["server.net.ipv4.tcp_synack_retries"]
	for n := range 8 {
		if v := fmt.Sprint(n); v != now {
			rivals = append(rivals, Rival{Code: explain.CountAndTime,
				Text:  fmt.Sprintf("the server behaves as if tcp_synack_retries were %s (it is set to %s)", v, now),
				Flags: []string{"--synack-retries=" + v}, Env: e.With("server", "net.ipv4.tcp_synack_retries", v)})
		}
	}
	return rivals
}

// storyOfSYNACKLoss tells who repeated what, counted from the packets.
func storyOfSYNACKLoss(r *result.Result) []result.Sentence {
	var story []result.Sentence
	say := func(packets []int, format string, a ...any) {
		story = append(story, result.Sentence{Text: fmt.Sprintf(format, a...), Packets: packets})
	}
	by := map[timeline.What][]int{}
	var dropped []int
	for _, p := range r.Packets {
		by[timeline.What(p.What)] = append(by[timeline.What(p.What)], p.ID)
		if p.Fate == result.Dropped && p.From == "server" {
			dropped = append(dropped, p.ID)
		}
	}
	syns := append(slices.Clone(by[timeline.SYN]), by[timeline.SYNRetransmission]...)
	say(syns, "The client sent its SYN %s.", times(len(syns)))
	fresh, answers, timer := by[timeline.SYNACK], by[timeline.SYNACKAnswer], by[timeline.SYNACKAgain]
	all := slices.Concat(fresh, answers, timer)
	if len(all) == 0 {
		say(nil, "No capture shows a SYN-ACK: what a host's OUTPUT chain drops never reaches its own link.")
	} else {
		say(all, "The server sent a SYN-ACK %s: %s for a new request, %s in answer to a repeated SYN, and %s by its own timer.", times(len(all)), count(len(fresh)),
			count(len(answers)), count(len(timer)))
	}
	if len(answers) > 0 && len(timer) > 0 {
		say(slices.Concat(answers, timer), "A repeated SYN is answered at once and starts the server's timer anew, with the value that it has at that moment; only a fire of that timer doubles it.")
	}
	if len(dropped) > 0 && len(dropped) == len(all) {
		say(dropped, "Every one of them reached the client's link, where its capture saw it, and died in the client's INPUT chain.")
	}
	if len(fresh) > 1 {
		say(fresh[1:], "A SYN that came after the half-open connection had vanished made a new one, with a new sequence number of the server's: %s.", times(len(fresh)-1))
	}
	for _, e := range r.Events {
		switch {
		case e.What != string(timeline.RequestGone) || e.Seen == nil:
		case len(all) == 0:
			say(nil, "By %s the half-open connection (SYN-RECV) was gone: when its timer fired for the first time, the SYN-ACK could not be sent, and the kernel drops a request that it cannot answer.", seconds(e.Seen.Duration()))
		default:
			say(nil, "By %s the half-open connection (SYN-RECV) was gone: the timer fired once more than tcp_synack_retries allows, and nobody is told.", seconds(e.Seen.Duration()))
		}
	}
	if o := r.Outcome; o != nil && o.Seen != nil {
		say(nil, "The client's connect() returned %s after %s.", o.SeenErr, seconds(o.Seen.Duration()))
	} else {
		say(nil, "connect() had not returned when the run ended.")
	}
	return story
}

// times writes "once", "twice", "3 times".
func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// count writes "none", "1", "2".
func count(n int) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(n)
}
