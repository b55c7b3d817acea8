package experiments

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// The same DROP at each place where netfilter can put one, each for a connection of its own to a port of its own, 40 ms apart:
//
//	client TCP ── OUTPUT ── POSTROUTING ── capture ══ link ══ capture ── PREROUTING ── INPUT ── server TCP
//
// and the same way back.
func init() {
	register(&Experiment{
		Name:    "exp2-capture-point",
		Summary: "the same drop at ten places, and what a capture at each end sees of it",
		Question: "A packet is dropped by an iptables rule on its way. Does a capture at its sender show it? One at its receiver? Does the rule's counter? " +
			"And what does the other end's TCP do?",
		Params: append([]Param{
			{Flag: "at", Doc: "one place only, such as client-input or server-raw-prerouting; all: each of them, with a connection of its own", Kind: Choice,
				Choices: append([]string{"all"}, placeNames()...), Default: "all", Code: explain.CapturePoint},
			{Flag: "syn-retries", Doc: "SYN retransmissions of the client, 1 to 127", Host: "client", Sysctl: "net.ipv4.tcp_syn_retries",
				Textbook: "1", Fast: "1"},
			{Flag: "synack-retries", Doc: "SYN-ACK retransmissions of the server, 0 to 255", Host: "server", Sysctl: "net.ipv4.tcp_synack_retries",
				Textbook: "1", Fast: "1"},
			{Flag: "syn-linear-timeouts", Doc: "first retransmissions at a constant 1 s, 0 to 127 (Linux 6.5 and later)", Host: "client",
				Sysctl: "net.ipv4.tcp_syn_linear_timeouts", Textbook: "0", Fast: "0", Absent: "0", Code: explain.LinearSYNTimeouts},
			rttParam(),
		}, flowJitterParams()...),
		Flows:   flowsOfCapturePoint,
		Setup:   setupCapturePoint,
		Calls:   callsOfCapturePoint,
		Predict: predictCapturePoint,
		Run:     runCapturePoint,
		Checks:  checksOfCapturePoint,
		Rivals:  rivalsOfCapturePoint,
		Story:   storyOfCapturePoint,
		ByHand:  capturePointByHand,
	})
}

// place is where a rule drops, and the port of the connection that it breaks.
type place struct {
	host, table, chain string
	port               uint16
}

// places are all places, in the order of the ports from firstPlace on.
var places = func() []place {
	var out []place
	for _, host := range []string{"client", "server"} {
		for _, at := range []string{"filter INPUT", "raw PREROUTING", "filter OUTPUT", "raw OUTPUT", "mangle POSTROUTING"} {
			w := strings.Fields(at)
			out = append(out, place{host, w[0], w[1], firstPlace + uint16(len(out))})
		}
	}
	return out
}()

const firstPlace = 8001

// name is the place as a value of --at: "client-input", "server-raw-prerouting".
func (p place) name() string {
	return strings.ToLower(p.host + "-" + strings.TrimPrefix(p.table+"-", "filter-") + p.chain)
}

// words is the place as iptables names it.
func (p place) words() string {
	return p.host + " " + strings.TrimPrefix(p.table+" ", "filter ") + p.chain
}

func placeNames() []string {
	var out []string
	for _, p := range places {
		out = append(out, p.name())
	}
	return out
}

// chosen are the places of a run.
func chosen(o Options) []place {
	i := slices.IndexFunc(places, func(p place) bool { return p.name() == o["at"] })
	if i < 0 {
		return places
	}
	return places[i : i+1]
}

// input is what the oracle needs to know of one place.
func (p place) input(e Env) (oracle.CapturePoint, error) {
	c, err := connectInput(e)
	if err != nil {
		return oracle.CapturePoint{}, err
	}
	s, err := serverInput(e)
	return oracle.CapturePoint{Connect: c, Server: s, At: p.host, Table: p.table, Chain: p.chain, RTT: e.Options.rtt(), Link: e.Options.jitteredFlow(p.port), Memory: e.Memory}, err
}

func (p place) rule() lab.Rule {
	r := lab.DropSYNACK(p.port)
	if (oracle.CapturePoint{At: p.host, Table: p.table, Chain: p.chain}).Drops() == timeline.SYN {
		r = lab.DropSYN(p.port)
	}
	r.Table, r.Chain = p.table, p.chain
	return r
}

// flowsOfCapturePoint are the connections by the server's ports.
func flowsOfCapturePoint(o Options) []uint16 {
	var out []uint16
	for _, p := range chosen(o) {
		out = append(out, p.port)
	}
	return out
}

func setupCapturePoint(o Options) Setup {
	rows := chosen(o)
	s := Setup{Apart: len(rows) > 1}
	for _, p := range rows {
		s.Listen = append(s.Listen, lab.ListenOptions{Port: p.port})
		s.Faults = append(s.Faults, Fault{Host: p.host, Rule: p.rule()})
	}
	return s
}

// after is when the connection to a place begins: one after the other, so that they can be told apart by eye.
func (p place) after() time.Duration { return time.Duration(p.port-firstPlace) * 40 * time.Millisecond }

func callsOfCapturePoint(e Env) []Call {
	rows := chosen(e.Options)
	if len(rows) == 1 {
		return nil
	}
	var out []Call
	for _, p := range rows {
		out = append(out, Call{Name: p.name(), At: e.Whole(p.after()), Port: p.port})
	}
	return out
}

func predictCapturePoint(e Env) (timeline.Timeline, error) {
	var points []oracle.CapturePoint
	for _, p := range chosen(e.Options) {
		c, err := p.input(e)
		if err != nil {
			return timeline.Timeline{}, err
		}
		if c.NeverLeaves() && len(chosen(e.Options)) == 1 && e.Options.jitter() > 0 {
			return timeline.Timeline{}, fmt.Errorf("--%s with --at=%s: no SYN gets as far as the link: want another place", jitterFlag, p.name())
		}
		if rows := chosen(e.Options); len(rows) > 1 {
			c.Port, c.Offset = p.port, max(e.Call(p.name(), e.Whole(p.after())), 0)
		}
		points = append(points, c)
	}
	return oracle.CapturePoints(points).Predict(e.Facts, e.Start)
}

// runCapturePoint opens the connections, each from a process of its own, which does one thing at a time.
func runCapturePoint(ctx context.Context, l *lab.Lab, e Env) error {
	rows := chosen(e.Options)
	clients := make([]*lab.Client, len(rows))
	errs := make([]error, len(rows))
	var wg sync.WaitGroup
	for i := range rows {
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
	for i, p := range rows {
		wg.Go(func() {
			at := begin
			if len(rows) > 1 {
				at += e.Whole(p.after())
			}
			err := clients[i].Connect(ctx, l.Server.Port(p.port), lab.DialOptions{At: at})
			if refused := (*lab.CallError)(nil); err != nil && !errors.As(err, &refused) {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	for _, c := range clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// sighting is what the captures and the counter showed of one place.
type sighting struct {
	synSent, synArrived, ackSent, ackArrived int
	hits                                     uint64
	ids                                      []int
}

// sightingOf counts the packets of a place's connection.
func sightingOf(r *result.Result, p place) sighting {
	var s sighting
	for _, k := range r.Packets {
		family := timeline.What(k.What).Family()
		switch {
		case k.From == "client" && k.DstPort == int(p.port) && family == timeline.SYN:
			s.synSent += seenAt(k.SentAt)
			s.synArrived += seenAt(k.ArrivedAt)
		case k.From == "server" && k.SrcPort == int(p.port) && family == timeline.SYNACK:
			s.ackSent += seenAt(k.SentAt)
			s.ackArrived += seenAt(k.ArrivedAt)
		default:
			continue
		}
		s.ids = append(s.ids, k.ID)
	}
	for _, rule := range r.Rules {
		if rule.Host == p.host && rule.Table == p.table && rule.Chain == p.chain {
			s.hits = rule.Packets
		}
	}
	return s
}

func seenAt(t *result.Seconds) int {
	if t == nil {
		return 0
	}
	return 1
}

// checksOfCapturePoint is the table, one row for each place: SYNs in the client's and in the server's capture, SYN-ACKs in the server's
// and in the client's, and the rule's counter.
func checksOfCapturePoint(e Env, r *result.Result) []result.Check {
	var out []result.Check
	for _, p := range chosen(e.Options) {
		c, err := p.input(e)
		if err != nil {
			continue
		}
		want, err := c.Sights(e.Facts)
		if err != nil {
			continue
		}
		got := sightingOf(r, p)
		check := result.Check{ID: "seen-" + p.name(), Name: "drop in " + p.words(), Verdict: result.Pass,
			Expected: sightText(span(want.SYNAtClient), span(want.SYNAtServer), span(want.SYNACKAtServer), span(want.SYNACKAtClient), span(want.Hits)),
			Observed: sightText(got.synSent, got.synArrived, got.ackSent, got.ackArrived, got.hits)}
		if !want.SYNAtClient.Holds(got.synSent) || !want.SYNAtServer.Holds(got.synArrived) || !want.SYNACKAtServer.Holds(got.ackSent) ||
			!want.SYNACKAtClient.Holds(got.ackArrived) || !want.Hits.Holds(int(got.hits)) {
			check.Verdict, check.Code, check.Detail = result.Fail, explain.CapturePoint, "a capture or the counter shows another number than this place in the packet's way allows"
			if doubtful(r) {
				check.Verdict, check.Detail = result.Inconclusive, "packets may be missing from the captures"
			}
		}
		out = append(out, check)
	}
	return out
}

func sightText[T any](synSent, synArrived, ackSent, ackArrived T, hits any) string {
	return fmt.Sprintf("SYN %v/%v, SYN-ACK %v/%v, rule %v", synSent, synArrived, ackSent, ackArrived, hits)
}

// span writes "2", or "2-3".
func span(c oracle.Count) string {
	if c.Min == c.Max {
		return strconv.Itoa(c.Min)
	}
	return fmt.Sprintf("%d-%d", c.Min, c.Max)
}

// rivalsOfCapturePoint are other settings of both ends.
func rivalsOfCapturePoint(e Env) []Rival {
	var rivals []Rival
	for _, r := range rivalsOfSYNACKLoss(e) {
		if len(r.Flags) == 0 || !strings.HasPrefix(r.Flags[0], "--rto-max-ms") { // no parameter of this experiment
			rivals = append(rivals, r)
		}
	}
	return rivals
}

// storyOfCapturePoint reads the table: which captures showed what the rule dropped.
func storyOfCapturePoint(r *result.Result) []result.Sentence {
	t := &teller{r: r}
	type group struct {
		places []string
		ids    []int
	}
	var blind, seen, none group
	add := func(g *group, p place, s sighting) {
		g.places, g.ids = append(g.places, p.words()), append(g.ids, s.ids...)
	}
	for _, p := range places {
		if !slices.ContainsFunc(r.Rules, func(x result.Rule) bool { return x.Host == p.host && x.Table == p.table && x.Chain == p.chain }) {
			continue
		}
		s := sightingOf(r, p)
		left, came := s.synSent, s.synArrived
		if (oracle.CapturePoint{At: p.host, Table: p.table, Chain: p.chain}).Drops() == timeline.SYNACK {
			left, came = s.ackSent, s.ackArrived
		}
		switch {
		case s.hits == 0:
			add(&none, p, s)
		case left == 0 && came == 0:
			add(&blind, p, s)
		case uint64(came) == s.hits:
			add(&seen, p, s)
		}
	}
	if len(seen.places) > 0 {
		t.say(seen.ids, "What a rule dropped in %s was in both captures, as often as the rule counted: on its way in, a packet passes the capture first and netfilter after it.", list(seen.places))
	}
	if len(blind.places) > 0 {
		t.say(blind.ids, "What a rule dropped in %s was in no capture at all, although the rule counted it: on its way out, a packet passes netfilter first.", list(blind.places))
	}
	if len(none.places) > 0 {
		t.say(none.ids, "Nothing came to the rule in %s.", list(none.places))
	}
	ends := map[string]int{}
	for _, e := range r.Events {
		if e.What == string(timeline.ConnectError) && e.Seen != nil {
			ends[e.SeenErr]++
		}
	}
	if o := r.Outcome; o != nil && o.Seen != nil && o.SeenErr != "" {
		ends[o.SeenErr]++
	}
	for _, errno := range slices.Sorted(maps.Keys(ends)) {
		t.say(nil, "%s of the connect() calls returned %s: the program learns nothing of where the packets died.", strconv.Itoa(ends[errno]), errno)
	}
	return t.story
}

// list writes "a, b and c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// capturePointByHand connects to all ports at once.
func capturePointByHand(p Plan) []string {
	hand := p.byHand()
	rows := chosen(p.Options)
	if len(rows) == 1 {
		return []string{"ip netns exec client curl -sS " + hand.url(rows[0].port)}
	}
	var ports []string
	for _, r := range rows {
		ports = append(ports, strconv.Itoa(int(r.port)))
	}
	return []string{
		fmt.Sprintf("for port in %s; do ip netns exec server python3 -m http.server --bind %s $port & done", strings.Join(ports[1:], " "), hand.server.Addr()),
		"sleep 1 # until all listen",
		fmt.Sprintf("for port in %s; do ip netns exec client curl -sS %s & done", strings.Join(ports, " "), strings.Replace(hand.url(rows[0].port), ports[0], "$port", 1)),
		"sleep 5 # until all have given up",
		"kill %4 %5 %6 %7 %8 %9 %10 %11 %12",
	}
}
