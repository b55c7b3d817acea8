package experiments

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

const (
	// burstSize is a round number, so that segment k carries the bytes from 1000(k-1)+1 on.
	burstSize = 1000
	// burstWrite is the least time from connect to the write: time enough for both ends to be quiet.
	burstWrite = 200 * time.Millisecond
	burstCall  = "write"
	// heldUp is how much later than planned a handshake may end before the write is put off.
	heldUp = 20 * time.Millisecond
	// timestampBytes is TCPOLEN_TSTAMP_ALIGNED: what the timestamp option takes of TCP_MAXSEG.
	timestampBytes = 12
)

// One write of N segments, all in flight at once; chosen ones reach the server's link, where its capture still sees them, and die in its
// INPUT chain, the first time:
//
//	client ── 1 2 3 … N ──▶ half an RTT ──▶ (capture) ──▶ iptables INPUT ✗ 15   server, reading
//	client ◀── ACK 14 ── ACK 14, SACK 16 ── ACK 14, SACK 16-17 … ── server
func init() {
	register(&Experiment{
		Name:    "exp6-fast-retransmit",
		Summary: "a lost segment is found by the acknowledgements of those behind it",
		Question: "A segment in the middle of a burst is lost. The sender hears that from the receiver long before its timer runs out. What tells it, how many " +
			"acknowledgements does it take, what exactly is sent again, and how many round trips does the repair take, with SACK and without?",
		Params: append([]Param{
			{Flag: "lose", Doc: "segments that are lost, by number as they arrive, repeats included: 15, or 15,21, or last (of the burst), or none", Kind: List, Min: 1, Max: throws, Choices: []string{"last", "none"}, Default: "15"},
			{Flag: "segments", Doc: "segments in the one write, 2 to 42", Min: 2, Max: oracle.MaxBurst, Default: "20"},
			{Flag: "rtt", Doc: "round-trip time of the link, 4ms to 300ms", Kind: Time, Min: int64(4 * time.Millisecond), Max: int64(300 * time.Millisecond), Default: "100ms", Fast: "20ms"},
			{Flag: "sack", Doc: "selective acknowledgements of the client, on or off", Host: "client", Sysctl: "net.ipv4.tcp_sack", Textbook: "1", Fast: "1",
				Words: map[string]string{"on": "1", "off": "0"}},
			{Flag: "recovery", Doc: "tcp_recovery of the client: 1 RACK, 4 without the shortcut by three duplicate ACKs", Host: "client",
				Sysctl: "net.ipv4.tcp_recovery", Textbook: "1", Fast: "1"},
			{Flag: "early-retrans", Doc: "tcp_early_retrans of the client: 3 and 4 allow tail loss probes", Host: "client",
				Sysctl: "net.ipv4.tcp_early_retrans", Textbook: "3", Fast: "3"},
			{Flag: "reordering", Doc: "tcp_reordering of the client: duplicate ACKs that prove a loss", Host: "client",
				Sysctl: "net.ipv4.tcp_reordering", Textbook: "3", Fast: "3"},
		}, impairments()...),
		Setup:   setupRecovery,
		Calls:   callsOfRecovery,
		Predict: predictRecovery,
		Run:     runRecovery,
		States:  statesOfRecovery,
		Checks:  checksOfRecovery,
		Rivals:  rivalsOfRecovery,
		Story:   storyOfRecovery,
		ByHand:  recoveryByHand,
	})
}

// loseList are the segments that the user has lost, in order, by their numbers as they arrive.
func loseList(o Options) []int {
	if o["lose"] == "last" {
		return []int{int(o.Number("segments"))}
	}
	var out []int
	for _, k := range o.List("lose") {
		out = append(out, int(k))
	}
	slices.Sort(out)
	return out
}

// lost are those and the ones that the dice lose.
func lost(o Options) []int {
	out := slices.Concat(loseList(o), o.drawn())
	slices.Sort(out)
	return slices.Compact(out)
}

func setupRecovery(o Options) Setup {
	s := Setup{
		Listen: []lab.ListenOptions{{Port: httpPort, Service: lab.Sink, LowWater: int(o.Number("segments")) * burstSize}},
		OwnMSS: "client", Link: o.linkPlan(), Frames: int(o.Number("segments")),
	}
	if numbers := lost(o); len(numbers) > 0 { // a rule without numbers would take all
		s.Faults = []Fault{{Host: "server", Rule: lab.DropData(httpPort, numbers...)}}
	}
	return s
}

// writeAt is when the burst is written: after the handshake, and long enough after it on a long link.
func writeAt(e Env) time.Duration {
	return e.Whole(max(burstWrite, 3*e.Options.Duration("rtt")))
}

func callsOfRecovery(e Env) []Call { return []Call{{Name: burstCall, At: writeAt(e)}} }

// recoveryInput reads what the oracle needs.
func recoveryInput(e Env) (oracle.Recovery, error) {
	r := oracle.Recovery{Segments: int(e.Options.Number("segments")), Size: burstSize, Lose: lost(e.Options),
		Write: e.Call(burstCall, writeAt(e)), RTT: e.Options.Duration("rtt"), SACK: true, Link: e.Options.linkPlan()}
	errs := []error{e.Options.soundLink()}
	read := func(host, name string) int64 {
		v, _, err := e.Int(host, "net.ipv4."+name)
		errs = append(errs, err)
		return v
	}
	for _, host := range []string{"client", "server"} {
		r.SACK = read(host, "tcp_sack") != 0 && r.SACK
	}
	r.TCPRecovery = int(read("client", "tcp_recovery"))
	r.EarlyRetrans = int(read("client", "tcp_early_retrans"))
	r.Reordering = int(read("client", "tcp_reordering"))
	r.FRTO = read("client", "tcp_frto") != 0
	r.RTOMin = time.Duration(read("client", "tcp_rto_min_us")) * time.Microsecond
	r.RTOMax = time.Duration(read("client", "tcp_rto_max_ms")) * time.Millisecond
	r.Frame = frameBytes(burstSize, e.Options["ipv6"] == "yes", read("client", "tcp_timestamps") != 0 && read("server", "tcp_timestamps") != 0)
	return r, errors.Join(errs...)
}

func predictRecovery(e Env) (timeline.Timeline, error) {
	r, err := recoveryInput(e)
	if err != nil {
		return timeline.Timeline{}, err
	}
	recovered, err := r.Recovered(e.Facts)
	if err != nil {
		return timeline.Timeline{}, err
	}
	for _, k := range loseList(e.Options) {
		if k > recovered.Sent {
			return timeline.Timeline{}, fmt.Errorf("--lose=%s: number %d never comes: want 1 to %d, which are the %d segments of the burst and what is sent again",
				e.Options["lose"], k, recovered.Sent, r.Segments)
		}
	}
	return e.AskRecovery(r)
}

// frameBytes is the length of a frame with so much data, from the Ethernet header on.
func frameBytes(data int, ipv6, timestamps bool) int {
	n := 14 + 20 + 20 + data
	if ipv6 {
		n += 20
	}
	if timestamps {
		n += timestampBytes
	}
	return n
}

// likeProbes is a timeline in the words of a capture that cannot tell: with SACK, one segment in flight and one repeat of it, a timeout looks
// like a tail loss probe, which takes about the same time. Both are the last segment again.
func likeProbes(t timeline.Timeline) []timeline.Timeline {
	alike := timeline.Timeline{Why: "with SACK and one segment in flight the capture cannot tell a timeout from a tail loss probe", Events: slices.Clone(t.Events)}
	for i := range alike.Events {
		if e := &alike.Events[i]; e.What == timeline.RTORetransmission && e.N == 1 {
			e.What, e.N = timeline.TailLossProbe, 0
			return []timeline.Timeline{alike}
		}
	}
	return nil
}

func runRecovery(ctx context.Context, l *lab.Lab, e Env) error {
	segments := int(e.Options.Number("segments"))
	if err := l.Client.InitialWindow(max(segments, 10)); err != nil {
		return err
	}
	c, err := l.Client.Start(ctx)
	if err != nil {
		return err
	}
	now, err := kernel.MonotonicNow()
	if err != nil {
		return err
	}
	e = e.Begin(now)
	o := lab.DialOptions{At: e.StartAt}
	o.MaxSeg = burstSize
	client, _, err1 := e.Int("client", "net.ipv4.tcp_timestamps")
	server, _, err2 := e.Int("server", "net.ipv4.tcp_timestamps")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if client != 0 && server != 0 {
		o.MaxSeg += timestampBytes
	}
	o.SendBuffer = 4 * segments * burstSize // with what the kernel adds to each segment
	if err := c.Connect(ctx, l.Server.Port(httpPort), o); err != nil {
		return err
	}
	// A process that a busy machine held up opened the connection later; the write keeps its distance.
	if now, err = kernel.MonotonicNow(); err != nil {
		return err
	}
	if behind := now - e.Options.Duration("rtt") - e.StartAt; behind > heldUp {
		e.StartAt += e.Whole(behind)
	}
	sent, err := c.Write(ctx, segments, burstSize, e.StartAt+writeAt(e))
	if err == nil && sent.Calls != 1 {
		err = fmt.Errorf("client: the burst took %d writes, want one", sent.Calls)
	}
	return err // the connection stays as it is until the captures are closed
}

func statesOfRecovery(Env) map[string][]string {
	return map[string][]string{"client": {"(SYN-SENT)", "ESTABLISHED"}, "server": {"(LISTEN)", "(SYN-RECV)", "ESTABLISHED"}}
}

// rivalsOfRecovery are the usual reasons for another repair: SACK the other way round, other losses, no probes, no shortcut.
func rivalsOfRecovery(e Env) []Rival {
	var rivals []Rival
	knob := func(flag, name string, values ...string) {
		now := e.Sysctls["client.net.ipv4."+name]
		for _, v := range values {
			if v != now {
				rivals = append(rivals, Rival{Code: explain.FastRetransmits, Flags: []string{"--" + flag + "=" + v}, Env: e.With("client", "net.ipv4."+name, v),
					Text: fmt.Sprintf("the kernel behaves as if %s were %s (it is set to %s)", name, v, now)})
			}
		}
	}
	knob("sack", "tcp_sack", "0", "1")
	knob("recovery", "tcp_recovery", "1", "5")
	knob("early-retrans", "tcp_early_retrans", "0", "3")
	option := func(flag, value, text string) {
		other := e
		other.Options = Options{}
		for k, v := range e.Options {
			other.Options[k] = v
		}
		other.Options[flag] = value
		rivals = append(rivals, Rival{Code: explain.FastRetransmits, Flags: []string{"--" + flag + "=" + value}, Env: other, Text: text})
	}
	for _, k := range loseList(e.Options) {
		var others []string
		for _, other := range loseList(e.Options) {
			if other != k {
				others = append(others, strconv.Itoa(other))
			}
		}
		if len(others) > 0 {
			option("lose", strings.Join(others, ","), fmt.Sprintf("segment %d was not lost", k))
		}
	}
	truth, err := predictRecovery(e)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(rivals, func(r Rival) bool { // such as a probe setting where nothing is probed
		t, err := predictRecovery(r.Env)
		return err != nil || reflect.DeepEqual(t, truth)
	})
}

// recoveryByHand are the commands of the client: one send of the whole burst, then time to look.
func recoveryByHand(p Plan) []string {
	n, hand := int(p.Options.Number("segments")), p.byHand()
	return []string{
		"ip netns exec client " + hand.route(hand.client) + fmt.Sprintf(" initcwnd %d", max(n, 10)),
		fmt.Sprintf(`ip netns exec client python3 -c 'import socket, time; s = %s; s.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, %d); `+
			`s.connect(("%s", %d)); time.sleep(%v); s.send(bytes(%d)); time.sleep(2)'`, hand.socket, burstSize+timestampBytes, hand.server.Addr(), httpPort, max(burstWrite, 3*p.Options.Duration("rtt")).Seconds(), n*burstSize),
	}
}
