package experiments

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// checksOfBacklog are about what nobody sees on the wire: who believes what, how long the queue is, and what the kernel counted.
func checksOfBacklog(e Env, r *result.Result) []result.Check {
	b, err := backlogInput(e)
	if err != nil {
		return nil
	}
	out := []result.Check{believers(b, e, r), queueLength(b, e, r)}
	if c, ok := overflowCount(b, e, r); ok {
		out = append(out, c)
	}
	// Clients that a busy machine let overtake each other find other places than planned.
	open := doubtful(r) || slices.ContainsFunc(r.Checks, func(c result.Check) bool { return c.ID == "count" && c.Verdict == result.Inconclusive })
	for i := range out {
		if open && out[i].Verdict == result.Fail {
			out[i].Verdict, out[i].Detail = result.Inconclusive, "the run proves nothing: see the number of packets"
		}
	}
	return out
}

// believers judges how many connect(2) returned 0.
func believers(b oracle.Backlog, e Env, r *result.Result) result.Check {
	want := 0
	for _, p := range b.Places(e.Facts) {
		if !p.Refused {
			want++
		}
	}
	got := connected(r)
	c := result.Check{ID: "believers", Name: "clients that believe they are connected", Expected: strconv.Itoa(want), Observed: strconv.Itoa(got), Verdict: result.Pass}
	if got != want {
		c.Verdict, c.Code, c.Detail = result.Fail, explain.AcceptQueue, "another number of connect() calls returned 0"
	}
	return c
}

func connected(r *result.Result) int {
	n := 0
	for _, e := range r.Events {
		if e.What == string(timeline.Connected) && e.Seen != nil {
			n++
		}
	}
	return n
}

// queueLength judges the listener's own account: what waits, and its limit. It is the listener that answers a look where the half-open
// connection is gone.
func queueLength(b oracle.Backlog, e Env, r *result.Result) result.Check {
	want := 0
	for _, p := range b.Places(e.Facts) {
		if p.Open {
			want++
		}
	}
	c := result.Check{ID: "accept-queue", Name: "waiting in the queue, and its limit", Expected: fmt.Sprintf("%d, limit %d", want, b.Length), Observed: "not visible", Verdict: result.Skip,
		Detail: "no look found the listener when the queue was full"}
	full := b.Clients[len(b.Clients)-1].At + b.RTT // when the last client came, and the one before it was taken in
	for _, s := range r.Samples {
		if s.Host != "server" || s.Port != 0 || s.State != "LISTEN" || s.At.Duration()-s.Took.Duration() < full {
			continue
		}
		c.Observed, c.Verdict, c.Detail = fmt.Sprintf("%d, limit %d", s.RecvQueue, s.SendQueue), result.Pass, ""
		if s.RecvQueue != want || s.SendQueue != b.Length {
			c.Verdict, c.Code, c.Detail = result.Fail, explain.AcceptQueue, "the kernel says otherwise"
			return c
		}
	}
	return c
}

// overflowCount compares TcpExtListenOverflows with the SYNs and acknowledgements that found the queue full.
func overflowCount(b oracle.Backlog, e Env, r *result.Result) (result.Check, bool) {
	if r.Evidence == nil || r.Prediction == nil {
		return result.Check{}, false
	}
	t, err := predictBacklog(e)
	if err != nil {
		return result.Check{}, false
	}
	least, most := b.Overflows(t, e.Facts)
	got := int(r.Evidence.Added("server", "TcpExtListenOverflows"))
	c := result.Check{ID: "overflows", Name: "overflows counted", Expected: strconv.Itoa(least), Observed: strconv.Itoa(got), Verdict: result.Pass}
	if most != least {
		c.Expected = fmt.Sprintf("%d to %d", least, most)
	}
	if got < least || got > most {
		c.Verdict, c.Code, c.Detail = result.Fail, explain.AcceptQueue, "each SYN and each ACK that finds the queue full is counted once (TcpExtListenOverflows)"
	}
	return c, true
}

// rivalsOfBacklog are other settings of both ends, and other rules for the length.
func rivalsOfBacklog(e Env) []Rival {
	b, err := backlogInput(e)
	if err != nil {
		return nil
	}
	truth, err := b.Predict(e.Facts, e.Start)
	if err != nil {
		return nil
	}
	var rivals []Rival
	knob := func(host, flag, name, code string, values ...string) {
		now, have := e.Sysctls[host+".net.ipv4."+name]
		for _, v := range values {
			if !have || v == now {
				continue
			}
			other := e.With(host, "net.ipv4."+name, v)
			in, err := backlogInput(other)
			if err != nil {
				continue
			}
			if t, err := in.Predict(e.Facts, e.Start); err == nil && !sameTimeline(t, truth) {
				rivals = append(rivals, Rival{Code: code, Text: fmt.Sprintf("the %s behaves as if %s were %s (it is set to %s)", host, name, v, now),
					Flags: []string{"--" + flag + "=" + v}, Env: other})
			}
		}
	}
	knob("server", "abort-on-overflow", "tcp_abort_on_overflow", explain.AcceptQueue, "0", "1")
	knob("server", "syncookies", "tcp_syncookies", explain.SYNCookies, "0", "1", "2")
	knob("server", "synack-retries", "tcp_synack_retries", explain.CountAndTime, "0", "1", "2", "3", "4", "5", "6")
	knob("client", "syn-retries", "tcp_syn_retries", explain.CountAndTime, "1", "2", "3", "4", "5", "6")
	if e.Facts.SYNLinear {
		knob("client", "syn-linear-timeouts", "tcp_syn_linear_timeouts", explain.LinearSYNTimeouts, "0", "4")
	}
	return rivals
}

// queuer is one client as the captures show it: packets by number.
type queuer struct {
	syns, answers, acks, lost []int
}

// queuers are the clients by their port, and the ports in order.
func queuers(r *result.Result) (clients map[int]*queuer, order []int) {
	clients = map[int]*queuer{}
	for _, p := range r.Packets {
		port := p.SrcPort
		if p.From == "server" {
			port = p.DstPort
		}
		c := clients[port]
		if c == nil {
			c = &queuer{}
			clients[port], order = c, append(order, port)
		}
		switch family := timeline.What(p.What).Family(); {
		case family == timeline.SYN:
			c.syns = append(c.syns, p.ID)
		case family == timeline.SYNACK:
			c.answers = append(c.answers, p.ID)
		case p.From == "client" && p.Fate == result.Dropped:
			c.lost = append(c.lost, p.ID)
		case p.From == "client":
			c.acks = append(c.acks, p.ID)
		}
	}
	return clients, order
}

// storyOfBacklog tells what became of the clients, from the packets.
func storyOfBacklog(r *result.Result) []result.Sentence {
	t := &teller{r: r}
	clients, order := queuers(r)
	if len(order) == 0 {
		t.say(nil, "No capture shows a SYN.")
		return t.story
	}
	var whole, refused []int
	for _, port := range order {
		switch c := clients[port]; {
		case len(c.answers) == 0:
			refused = append(refused, c.syns...)
		case len(c.lost) == 0:
			whole = append(whole, c.syns[0])
		}
	}
	t.say(whole, "%s opened with three packets and waited in the listener's queue: nobody called accept().", counted(len(whole), "connection"))
	for _, port := range order {
		c := clients[port]
		if len(c.lost) == 0 {
			continue
		}
		t.say(c.lost, "The acknowledgement of the client from port %d was lost once, so its connection was only half open when the queue filled up.", port)
		if len(c.answers) > 1 {
			t.say(c.answers[1:], "The server sent it its SYN-ACK again, %s, by its own timer; the client, connected for its part, acknowledged it.", times(len(c.answers)-1))
		} else {
			t.say(nil, "The server never sent it its SYN-ACK again.")
		}
	}
	if resets := t.all("server", timeline.RST); len(resets) > 0 {
		t.say(resets, "That acknowledgement found the queue full, and the server answered with a RST.")
	} else if again := t.all("client", timeline.ChallengeACK); len(again) > 0 {
		t.say(again, "Each of these acknowledgements found the queue full and was ignored.")
	}
	if len(refused) > 0 {
		t.say(refused, "The last client's SYN found the queue full and was dropped without a word, %s.", times(len(refused)))
	}
	t.say(nil, "%s returned 0.", counted(connected(r), "connect() call"))
	for _, e := range r.Events {
		if e.What == string(timeline.ConnectError) && e.Seen != nil {
			t.say(nil, "The connect() of the client from port %d returned %s after %s.", e.Port, e.SeenErr, seconds(e.Seen.Duration()))
		}
		if e.What == string(timeline.RequestGone) && e.Seen != nil {
			t.say(nil, "By %s the server had forgotten the half-open connection.", seconds(e.Seen.Duration()))
		}
	}
	return t.story
}
