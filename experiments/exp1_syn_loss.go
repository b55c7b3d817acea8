package experiments

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

const httpPort = 8080

// Every SYN reaches the server's link, where the capture still sees it, and dies in the server's INPUT chain:
//
//	client ── SYN ──▶ (capture) ──▶ iptables INPUT ✗   server, listening
func init() {
	register(&Experiment{
		Name:    "exp1-syn-loss",
		Summary: "every SYN is lost on its way to the server",
		Question: "A client opens a connection and no answer ever comes. How often does the kernel repeat the SYN, at what times, " +
			"and after how long does connect() give up, with which error?",
		Params: append([]Param{
			{Flag: "syn-retries", Doc: "SYN retransmissions of the client, 1 to 127", Host: "client", Sysctl: "net.ipv4.tcp_syn_retries",
				Textbook: "5", Fast: "1"},
			{Flag: "syn-linear-timeouts", Doc: "first retransmissions at a constant 1 s, 0 to 127 (Linux 6.5 and later)", Host: "client",
				Sysctl: "net.ipv4.tcp_syn_linear_timeouts", Textbook: "0", Fast: "0", Absent: "0", Code: explain.LinearSYNTimeouts},
			{Flag: "rto-max-ms", Doc: "longest wait between two retransmissions, 1000 to 120000 ms (Linux 6.15 and later)", Host: "client",
				Sysctl: "net.ipv4.tcp_rto_max_ms", Textbook: "120000", Fast: "120000", Absent: "120000"},
			{Flag: "syncnt", Doc: "TCP_SYNCNT of the client's socket, 1 to 127: overrides --syn-retries", SocketOption: "TCP_SYNCNT", Min: 1, Max: 127},
			{Flag: "user-timeout", Doc: "TCP_USER_TIMEOUT of the client's socket, 1 to 86400000 ms", SocketOption: "TCP_USER_TIMEOUT", Min: 1, Max: 86400000},
			{Flag: "drop-at", Doc: "where the SYN is lost: server-input, client-output, link-down (the server's end of the link) or no-neighbour (nobody answers ARP, or neighbour discovery)",
				Kind: Choice, Choices: []string{atServerInput, atClientOutput, atLinkDown, atNoNeighbour}, Default: atServerInput},
			rttParam(),
		}, jitterParams()...),
		Setup:   setupSYNLoss,
		Predict: predictSYNLoss,
		Run:     runSYNLoss,
		Checks:  checksOfSYNLoss,
		States: func(Env) map[string][]string {
			return map[string][]string{"client": {"SYN-SENT", "CLOSED"}, "server": {"LISTEN"}}
		},
		Rivals: rivalsOfSYNLoss,
		Story:  storyOfSYNLoss,
	})
}

// The places at which exp1 loses its SYNs.
const (
	atServerInput  = "server-input"
	atClientOutput = "client-output"
	atLinkDown     = "link-down"
	atNoNeighbour  = "no-neighbour"
)

func setupSYNLoss(o Options) Setup {
	s := Setup{Listen: []lab.ListenOptions{{Port: httpPort}}}
	rule := lab.DropSYN(httpPort)
	switch o["drop-at"] {
	case atClientOutput:
		rule.Chain = "OUTPUT"
		s.Faults = []Fault{{Host: "client", Rule: rule}}
	case atLinkDown:
		s.LinkDown = "server"
	case atNoNeighbour:
		s.NoNeighbours = true
	default:
		s.Faults = []Fault{{Host: "server", Rule: rule}}
	}
	return s
}

// connectInput reads what the oracle needs from the effective settings.
func connectInput(e Env) (oracle.Connect, error) {
	c := oracle.Connect{Host: "client"}
	var errs []error
	read := func(name string) int64 {
		v, _, err := e.Int("client", name)
		errs = append(errs, err)
		return v
	}
	c.SYNRetries = int(read("net.ipv4.tcp_syn_retries"))
	c.LinearTimeouts = int(read("net.ipv4.tcp_syn_linear_timeouts"))
	c.RTOMax = time.Duration(read("net.ipv4.tcp_rto_max_ms")) * time.Millisecond
	c.SYNCount = int(e.Options.Number("syncnt"))
	c.UserTimeout = time.Duration(e.Options.Number("user-timeout")) * time.Millisecond
	return c, errors.Join(errs...)
}

func predictSYNLoss(e Env) (timeline.Timeline, error) {
	c, err := connectInput(e)
	if err != nil {
		return timeline.Timeline{}, err
	}
	at := e.Options["drop-at"]
	if rtt := e.Options.rtt(); at == atLinkDown && rtt > 0 {
		return timeline.Timeline{}, fmt.Errorf("--drop-at=%s with --rtt=%v: a link with a delay keeps the client's carrier when the server's end goes down, as one over a switch: leave --rtt away", at, rtt)
	}
	if most := e.Options.jitter(); most > 0 && at != atServerInput {
		return timeline.Timeline{}, fmt.Errorf("--drop-at=%s with --%s=%v: no SYN gets as far as the link, so there is nothing to hold back: leave --%s away", at, jitterFlag, most, jitterFlag)
	}
	if at == atNoNeighbour {
		return e.Ask(oracle.NoNeighbour{Connect: c, IPv6: e.Options.IPv6()})
	}
	t, err := oracle.Near(e.Facts, e.Start, c.Predict)
	if at == atClientOutput || at == atLinkDown { // TCP does not know that it sends into nothing, and no capture sees it
		t.Events = nil
	}
	return t, err
}

func runSYNLoss(ctx context.Context, l *lab.Lab, e Env) error {
	c, err := l.Client.Start(ctx)
	if err != nil {
		return err
	}
	if e.Options["drop-at"] == atNoNeighbour && !e.Options.IPv6() { // where nobody answers anyway: lab.Topology
		const nobody = "8" // do not reply for all local addresses
		if _, err := l.Server.Set("net.ipv4.conf.all.arp_ignore", nobody, "nobody answers ARP"); err != nil {
			return err
		}
	}
	err = c.Connect(ctx, l.Server.Port(httpPort), lab.DialOptions{
		SocketOptions: lab.SocketOptions{
			SYNCount:    int(e.Options.Number("syncnt")),
			UserTimeout: time.Duration(e.Options.Number("user-timeout")) * time.Millisecond,
		},
		At: e.StartAt,
	})
	var refused *lab.ConnectError
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	return c.Close()
}

// checksOfSYNLoss count what no capture shows: SYNs that the client's OUTPUT chain drops, ARP requests that nobody answers.
func checksOfSYNLoss(e Env, r *result.Result) []result.Check {
	switch e.Options["drop-at"] {
	case atClientOutput:
		c, err := connectInput(e)
		if err != nil || len(r.Rules) == 0 {
			return nil
		}
		t, err := oracle.Near(e.Facts, e.Start, c.Predict)
		if err != nil {
			return nil
		}
		least, most := 0, 0
		for _, x := range t.Events {
			most++
			if !x.Maybe {
				least++
			}
		}
		k := result.Check{ID: "dropped-syns", Name: "SYNs that OUTPUT dropped", Expected: fmt.Sprint(least), Observed: fmt.Sprint(r.Rules[0].Packets), Verdict: result.Pass}
		if most > least {
			k.Expected = fmt.Sprintf("%d to %d", least, most)
		}
		if n := int(r.Rules[0].Packets); n < least || n > most {
			k.Verdict, k.Code, k.Detail = result.Fail, explain.RuleCounterOff, "the rule caught another number of SYNs than the client's timer sends"
		}
		return []result.Check{k}
	case atNoNeighbour:
		least := arpRequests(r.Prediction)
		k := result.Check{ID: "arp", Name: "ARP requests without an answer", Expected: fmt.Sprintf("at least %d", least), Verdict: result.Pass}
		if e.Options.IPv6() {
			k.ID, k.Name = "ndisc", "neighbour solicitations without an answer"
		}
		asked := 0
		for _, c := range r.Captures {
			if c.Host == "client" {
				asked = c.ARP
				if e.Options.IPv6() {
					asked = c.Solicitations
				}
			}
		}
		k.Observed = fmt.Sprint(asked)
		if asked < least {
			k.Verdict, k.Code, k.Detail = result.Fail, explain.CapturesDisagree, "a neighbour is asked for once a second, three times (mcast_solicit, retrans_time_ms)"
		}
		return []result.Check{k}
	}
	return nil
}

// arpRequests is how many ARP requests must have left before connect(2) ends: one at once and one each second, up to three (neigh_timer_handler
// with mcast_solicit=3 and retrans_time_ms=1000; the wheel adds less than a tenth).
func arpRequests(p *result.Prediction) int {
	const most, apart = 3, 1100 * time.Millisecond
	if p == nil || p.Outcome == nil {
		return most
	}
	return min(most, 1+int(max(p.Outcome.At, p.Outcome.Earliest).Duration()/apart))
}

// rivalsOfSYNLoss are the usual reasons for another schedule: another number of retries, another first wait, linear timeouts.
func rivalsOfSYNLoss(e Env) []Rival {
	var rivals []Rival
	sysctlRival := func(flag, name, value, code string) {
		now, have := e.Sysctls["client."+name]
		if have && now != value {
			rivals = append(rivals, Rival{Code: code, Text: fmt.Sprintf("the kernel behaves as if %s were %s (it is set to %s)", name, value, now),
				Flags: []string{"--" + flag + "=" + value}, Env: e.With("client", name, value)})
		}
	}
	for _, v := range []string{"0", "1", "2", "3", "4"} {
		sysctlRival("syn-linear-timeouts", "net.ipv4.tcp_syn_linear_timeouts", v, explain.LinearSYNTimeouts)
	}
	for n := 1; n <= 8; n++ {
		sysctlRival("syn-retries", "net.ipv4.tcp_syn_retries", strconv.Itoa(n), explain.CountAndTime)
	}
	for _, v := range []string{"1000", "2000", "120000"} {
		sysctlRival("rto-max-ms", "net.ipv4.tcp_rto_max_ms", v, explain.RTOMax)
	}
	if !e.Facts.SYNLinear {
		r := Rival{Code: explain.LinearSYNTimeouts, Flags: []string{"--profile=kernel", "--kernel=6.5"}, Text: "the kernel sends its first four retransmissions one second apart, as Linux 6.5 and later do", Env: e}
		r.Env = e.With("client", "net.ipv4.tcp_syn_linear_timeouts", "4")
		r.Env.Facts.SYNLinear = true
		rivals = append(rivals, r)
	}
	old := Rival{Code: explain.CountAndTime, Text: "the kernel's first retransmission timeout is 3 s, as before Linux 3.1 (RFC 1122)", Env: e}
	old.Env.Facts.InitialRTO = 3 * time.Second
	fine := Rival{Code: explain.TimerWheel, Flags: []string{"--kernel=4.4"}, Text: "the kernel's timers are exact to the jiffy, as before Linux 4.8", Env: e}
	fine.Env.Facts.Wheel = false
	return append(rivals, old, fine)
}

func storyOfSYNLoss(r *result.Result) []result.Sentence {
	var syns, dropped []int
	for _, p := range r.Packets {
		if p.From == "client" && (p.What == string(timeline.SYN) || p.What == string(timeline.SYNRetransmission)) {
			syns = append(syns, p.ID)
			if p.Fate == result.Dropped {
				dropped = append(dropped, p.ID)
			}
		}
	}
	var story []result.Sentence
	say := func(ids []int, format string, a ...any) {
		story = append(story, result.Sentence{Text: fmt.Sprintf(format, a...), Packets: ids})
	}
	if len(syns) == 0 {
		say(nil, "The client's capture shows no SYN at all.")
	} else {
		say(syns[:1], "The client sent a SYN and entered SYN-SENT; nothing came back.")
		if len(syns) > 1 {
			if len(syns) == 2 {
				say(syns[1:], "When the retransmission timer fired, the kernel sent the same SYN again, once, with the same sequence number.")
			} else {
				say(syns[1:], "Each time the retransmission timer fired, the kernel sent the same SYN again, %d times in all, with the same sequence number.",
					len(syns)-1)
			}
			if w, n := waits(r); n > 1 {
				say(syns[1:], "It waited %s: %s", w, whyWaits(r))
			}
		}
		if len(dropped) == len(syns) && len(dropped) > 0 {
			say(dropped, "Every one of them reached the server's link, where its capture saw it, and died in the server's INPUT chain: "+
				"the server's TCP never knew.")
		}
	}
	if o := r.Outcome; o != nil && o.Seen != nil {
		_, why, _ := strings.Cut(o.Why, ": ")
		say(nil, "After %s the kernel gave up instead of sending again, and connect() returned %s.", seconds(o.Seen.Duration()), o.SeenErr)
		switch o.Verdict {
		case result.Fail:
			say(nil, "That is not what was predicted: %s.", o.Why)
			return story
		case result.Inconclusive: // neither the rule nor the wheel need be the reason
			return story
		}
		say(nil, "Its rule: %s.", why)
		if late := o.Seen.Duration() - o.At.Duration(); late > 5*time.Millisecond {
			say(nil, "That is %s later than the formula says: the kernel's timer wheel rounds long waits up, never down.", millis(late))
		}
	} else {
		say(nil, "connect() had not returned when the run ended.")
	}
	return story
}

// waits lists the gaps between the SYNs that were seen, and the last one up to the end of connect.
func waits(r *result.Result) (list string, n int) {
	var at []time.Duration
	for _, e := range r.Events {
		if e.Seen != nil {
			at = append(at, e.Seen.Duration())
		}
	}
	if r.Outcome != nil && r.Outcome.Seen != nil {
		at = append(at, r.Outcome.Seen.Duration())
	}
	s := ""
	for i := 1; i < len(at); i++ {
		switch {
		case i > 1 && i == len(at)-1:
			s += " and "
		case i > 1:
			s += ", "
		}
		s += strconv.FormatFloat((at[i] - at[i-1]).Seconds(), 'f', 1, 64)
	}
	return s + " s", len(at) - 1
}

func whyWaits(r *result.Result) string {
	for _, s := range r.Sysctls {
		if s.Host == "client" && s.Name == "net.ipv4.tcp_syn_linear_timeouts" && s.Now != "0" {
			return "the first " + s.Now + " retransmissions come at a constant pace (tcp_syn_linear_timeouts), then each wait doubles."
		}
	}
	return "each wait doubles (exponential backoff)."
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) + " s" }

func millis(d time.Duration) string {
	return strconv.FormatInt(d.Round(time.Millisecond).Milliseconds(), 10) + " ms"
}
