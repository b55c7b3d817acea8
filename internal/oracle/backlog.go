package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Backlog is a listener from whose queue nobody takes a connection, and clients that come one after the other, each from a port of its own,
// on a link that loses nothing else. Of one of them the first acknowledgement is lost, so that its connection is still half open when others fill the
// queue.
type Backlog struct {
	Connect   // of each client; Host is theirs
	Server    Server
	Length    int           // min(backlog of listen(2), net.core.somaxconn), 1 to 4096
	Abort     bool          // tcp_abort_on_overflow
	Cookies   int           // tcp_syncookies, 0 to 2
	Ratelimit time.Duration // tcp_invalid_ratelimit of the clients
	Clients   []BacklogClient
	RTT       time.Duration // the link's, both ways together, up to 500 ms; the third packet of a client is there before the next one's SYN. 0: a veth
	// Reads: the held client's program waits in read(2) until its connection ends; it does only where a RST comes.
	Reads bool
}

// BacklogClient is one client.
type BacklogClient struct {
	Port uint16        // its own
	At   time.Duration // its connect(2), from the first one's
	Held bool          // its first acknowledgement is lost
	Link link.Plan     // what the link does besides, to its connection alone: it holds each packet back for a time of its own
}

// A Place is what becomes of a client.
type Place struct {
	Refused bool // its SYN is dropped, each time: the accept queue is full
	Cookie  bool // the SYN-ACK carries a cookie: the server keeps no half-open connection
	Late    bool // its acknowledgement finds the queue full
	Open    bool // the server has the connection, in the queue
}

// Places plays the queues: who finds which place. The accept queue is full when it holds more than Length (sk_acceptq_is_full compares with >,
// so Length+1 fit), and then a SYN is dropped without a word (tcp_conn_request), and so is the acknowledgement of a half-open connection
// (tcp_v4_syn_recv_sock, tcp_check_req). The queue of half-open ones is full when it holds more than Length, before Linux 6.1.y and 6.4 when it
// holds Length: then the SYN-ACK carries a cookie, or, with tcp_syncookies=0, the SYN is dropped.
func (b Backlog) Places(f kernel.Facts) []Place {
	accepted, half := 0, 0
	out := make([]Place, len(b.Clients))
	for i, c := range b.Clients {
		p := &out[i]
		full := half > b.Length || half == b.Length && !b.longQueue(f)
		switch {
		case full && b.Cookies == 0, accepted > b.Length:
			p.Refused = true
			continue
		}
		p.Cookie = b.Cookies == 2 || full
		switch {
		case c.Held:
			if !p.Cookie {
				half++
			}
		case accepted > b.Length:
			p.Late = true
		default:
			accepted++
			p.Open = true
		}
	}
	for i, c := range b.Clients {
		if c.Held && !out[i].Refused {
			out[i].Late = accepted > b.Length && !out[i].Cookie
			out[i].Open = !out[i].Late && !out[i].Cookie
		}
	}
	return out
}

// longQueue reports whether the queue of half-open connections holds one more than Length: inet_csk_reqsk_queue_is_full, since 6.4 and late 6.1.
func (b Backlog) longQueue(f kernel.Facts) bool {
	return f.Version.AtLeast(6, 4) || f.Version.Major == 6 && f.Version.Minor == 1
}

// Overflows is how often the kernel counts TcpExtListenOverflows: each SYN and each acknowledgement that finds the accept queue full. The
// repeats are those that Predict names.
func (b Backlog) Overflows(t timeline.Timeline, f kernel.Facts) (least, most int) {
	places := b.Places(f)
	for _, e := range t.Events {
		i := slices.IndexFunc(b.Clients, func(c BacklogClient) bool { return c.Port == e.Port })
		if i < 0 || e.Host != b.Connect.Host {
			continue
		}
		syn, ack := e.What.Family() == timeline.SYN && places[i].Refused, e.What == timeline.ChallengeACK && places[i].Late
		if syn || ack {
			most++
			if !e.Maybe {
				least++
			}
		}
	}
	return least, most
}

// Predict returns what each client and the server send, and what each connect(2) returns, as events. The end of the half-open connection is
// one, too. There is no outcome.
//
// Source: tcp_conn_request in net/ipv4/tcp_input.c, tcp_v4_syn_recv_sock in tcp_ipv4.c, tcp_check_req in tcp_minisocks.c,
// reqsk_timer_handler in inet_connection_sock.c (6.18).
func (b Backlog) Predict(f kernel.Facts, start *Start) (timeline.Timeline, error) {
	if b.Connect.Host == "" {
		b.Connect.Host = "client"
	}
	if b.Server.Host == "" {
		b.Server.Host = "server"
	}
	if err := b.validate(f, start); err != nil {
		return timeline.Timeline{}, err
	}
	var out timeline.Timeline
	for i, p := range b.Places(f) {
		c := b.Clients[i]
		tl, err := delayed(f, start, c.At, func(start *Start) (timeline.Timeline, error) {
			if p.Refused {
				return b.Connect.Predict(f, start)
			}
			return b.one(f, start, c, p)
		})
		if err != nil {
			return timeline.Timeline{}, err
		}
		if tl.Outcome != nil {
			tl.Events = append(tl.Events, *tl.Outcome)
		}
		for _, e := range tl.Events {
			e.Chain, e.Port = strings.TrimSpace(fmt.Sprintf("%s :%d", e.Chain, c.Port)), c.Port
			out.Events = append(out.Events, e)
		}
	}
	slices.SortStableFunc(out.Events, func(a, b timeline.Event) int { return cmp.Compare(a.At, b.At) })
	return out, nil
}

func (b Backlog) validate(f kernel.Facts, start *Start) error {
	if err := b.Connect.validate(f, start); err != nil {
		return err
	}
	if err := b.Server.validate(f); err != nil {
		return err
	}
	ports, held := map[uint16]bool{}, 0
	for i, c := range b.Clients {
		if i > 0 && c.At < b.Clients[i-1].At || c.At < 0 { // a millisecond apart would do, and a busy machine moves them
			return fmt.Errorf("backlog: client %d at %v: want it after the one before", i+1, c.At)
		}
		if i > 0 { // its SYN would find the queue as it was before the other's acknowledgement
			before := b.Clients[i-1]
			if want := before.At + Accepted(b.RTT, before.Link) - newLine(b.RTT, c.Link).toServer(0); c.At < want {
				return fmt.Errorf("backlog: client %d at %v: want it at %v or later, so that its SYN comes after the third packet of the one before (RTT %v)", i+1, c.At, want, b.RTT)
			}
		}
		if c.Held {
			held++
		}
		ports[c.Port] = true
	}
	switch {
	case b.Length < 1 || b.Length > 4096:
		return fmt.Errorf("backlog: length %d: want 1 to 4096", b.Length)
	case b.Cookies < 0 || b.Cookies > 2:
		return fmt.Errorf("backlog: tcp_syncookies=%d: the kernel takes 0 to 2", b.Cookies)
	case len(b.Clients) == 0 || len(ports) != len(b.Clients) || held > 1:
		return fmt.Errorf("backlog: %d clients from %d ports, %d of them held: want each from its own, and one held at most", len(b.Clients), len(ports), held)
	case b.Clients[len(b.Clients)-1].At > 900*time.Millisecond:
		return fmt.Errorf("backlog: the last client at %v: want all within 900 ms, before the first timer", b.Clients[len(b.Clients)-1].At)
	case b.RTT < 0 || b.RTT > exchangeRTT:
		return fmt.Errorf("backlog: RTT of %v: want 0 to %v", b.RTT, exchangeRTT)
	case b.Ratelimit < 0:
		return fmt.Errorf("backlog: tcp_invalid_ratelimit of %v: want 0 ms or more", b.Ratelimit)
	}
	places := b.Places(f)
	for i, c := range b.Clients {
		switch p := places[i]; {
		case c.Held && p.Open:
			return fmt.Errorf("backlog: the queue is not full when the held client's acknowledgement comes: that it is taken in then is not modelled")
		case p.Refused && b.Cookies == 0 && !b.longQueue(f):
			return fmt.Errorf("backlog: kernel %v with tcp_syncookies=0 drops SYNs while as many connections are half open as the backlog says, which is not modelled", f.Version)
		}
	}
	return nil
}

// one predicts a client whose SYN is answered.
func (b Backlog) one(f kernel.Facts, start *Start, c BacklogClient, p Place) (timeline.Timeline, error) {
	longest, near := int64(0), false
	if c.Held && p.Late {
		longest = b.Server.longest(f)
	}
	tl := sweep(f, start, longest, func(w *world) []happening {
		h := &overflow{Backlog: b, w: w, line: newLine(b.RTT, c.Link), held: !c.Link.Zero()}
		there := h.open(c, p)
		if c.Held && p.Late {
			h.halfOpen(there)
		}
		near = near || h.near
		return h.out
	})
	if near {
		return timeline.Timeline{}, fmt.Errorf("backlog: tcp_invalid_ratelimit of %v is so near to the time between two SYN-ACKs that what the link holds back decides whether the second one is answered: choose another value", b.Ratelimit)
	}
	return tl, nil
}

// overflow plays one client in one world.
type overflow struct {
	Backlog
	w    *world
	line *line
	held bool // the link holds packets back
	near bool // whether a repeated SYN-ACK is answered hangs on what the link does
	out  []happening
}

func (o *overflow) add(e timeline.Event, at time.Duration, jiffy int64, late time.Duration, why func() string) {
	o.out = append(o.out, happening{Event: e, at: at, jiffy: jiffy, late: late, why: why})
}

// open plays the handshake, and returns when the SYN is at the server.
func (o *overflow) open(c BacklogClient, p Place) time.Duration {
	client, server := o.Connect.Host, o.Server.Host
	at := func(e timeline.Event, when time.Duration) timeline.Event {
		e.At = when
		return e
	}
	there := o.line.toServer(0)
	back := there + o.line.toClient(there)
	o.line.toServer(back) // the third packet: what is lost of it is lost behind the link
	o.add(named(client, timeline.SYN, 0, exact(0, 0, 0)), 0, 0, 0, say("the SYN of the client from port %d", c.Port))
	why := "a place is free: answered, and a half-open connection is kept"
	if p.Cookie {
		why = "answered with a cookie in its sequence number: nothing is kept"
	}
	o.add(named(server, timeline.SYNACK, 0, at(exact(0, 1, 0), there)), there, 0, lateness(o.RTT, 1), say("%s", why))
	why = "completes the handshake: the connection waits in the queue for accept(2)"
	if c.Held {
		why = "completes the handshake for the client; on its way to the server it is lost, once"
	}
	o.add(named(client, timeline.ACK, 0, at(exact(1, 1, 0), back)), back, 0, lateness(o.RTT, 2), say("%s", why))
	o.add(named(client, timeline.Connected, 0, at(timeline.Event{}, back)), back, 0, applicationWithin, say("the SYN-ACK has come: the client believes that it is connected"))
	return there
}

// halfOpen plays the request timer of the held client, whose SYN came at there. Each repeated SYN-ACK is answered with an acknowledgement that would complete the
// handshake, were the queue not full.
func (o *overflow) halfOpen(there time.Duration) {
	const chain = "request timer"
	client, server := o.Connect.Host, o.Server.Host
	q := request{server: o.Server, w: o.w}
	came := int64(0)
	if there > 0 {
		came = o.w.jiffy(there + o.w.late(answerWithin))
	}
	q.arm(came, there)
	answered, before := false, int64(0)
	// after is how long after the timer, in which the link was crossed so often.
	emit := func(host string, what timeline.What, n int, e timeline.Event, at int64, nominal, after time.Duration, crossed int, why func() string) {
		late := time.Duration(0)
		if o.RTT > 0 {
			late = lateness(o.RTT, crossed)
		}
		e.Chain, e.Bound = chain, timeline.Bound{At: nominal + after, After: after}
		o.add(named(host, what, n, e), o.w.instant(at)+after, at, late, why)
	}
	for ; ; q.arm(q.armed, q.nominalFire) {
		at, nominal, from := q.armed, q.nominalFire, q.nominalStart
		if q.dies() {
			emit(server, timeline.RequestGone, 0, timeline.Event{}, at, nominal, 0, 0, say("%v + %v, the request timer fires after %s: forgotten, silently", from, q.timeout(), plural(q.numTimeout, "retransmission")))
			return
		}
		why := say("%v + %v, the request timer's fire %d", from, q.timeout(), q.numTimeout+1)
		q.numTimeout++
		emit(server, timeline.SYNACKAgain, q.numTimeout, exact(0, 1, 0), at, nominal, 0, 0, why)
		sent := o.w.instant(at)
		after := o.line.toClient(sent)
		comes := at // without a jitter each is under way for as long
		if o.held {
			comes = o.w.jiffy(sent + after)
		}
		if answered && o.limited(comes-before) {
			continue
		}
		answered, before = true, comes
		fate := "the queue is full, so the server ignores it"
		if o.Abort {
			fate = "the queue is full, and tcp_abort_on_overflow answers with a RST"
		}
		emit(client, timeline.ChallengeACK, 0, exact(1, 1, 0), at, nominal, after, 1, say("answers SYN-ACK again %d: %s", q.numTimeout, fate))
		after += o.line.toServer(sent + after)
		if !o.Abort {
			continue
		}
		emit(server, timeline.RST, 0, exact(1, 0, 0), at, nominal, after, 2, say("tcp_abort_on_overflow: the acknowledgement found the queue full"))
		emit(server, timeline.RequestGone, 0, timeline.Event{}, at, nominal, after, 2, say("with the RST the half-open connection is dropped"))
		if o.Reads {
			after += o.line.toClient(sent + after)
			emit(client, timeline.SocketError, 0, timeline.Event{Errno: "ECONNRESET"}, at, nominal, after, 3, say("the RST ends the connection that the client believed in"))
		}
		return
	}
}

// limited is __tcp_oow_rate_limited: whether it is so many jiffies after the last answer too early for another one.
func (o *overflow) limited(since int64) bool {
	limit := ceilJiffies(o.w.facts, o.Ratelimit)
	slack := 1 + ceilJiffies(o.w.facts, answerWithin)
	o.near = o.near || o.held && limit > 0 && since >= limit-slack && since <= limit+slack
	return limit > 0 && since < limit
}

// delayed predicts what begins at an offset: as by itself, from the jiffy in which it begins or a neighbouring one.
func delayed(f kernel.Facts, start *Start, offset time.Duration, predict func(*Start) (timeline.Timeline, error)) (timeline.Timeline, error) {
	if offset == 0 {
		return predict(start)
	}
	jiffy := f.Jiffy()
	into, slips := time.Duration(0), []int64{0, -1, 1}
	if start != nil && start.Called {
		into, slips = start.Phase, slips[:1]
	}
	ahead := floorDiv(int64(into+offset), int64(jiffy))
	var out, tl timeline.Timeline
	for i, slip := range slips {
		own := start
		if start != nil {
			own = &Start{Jiffies: start.Jiffies + uint64(ahead+slip), Phase: start.Phase, Called: start.Called}
			if start.Called {
				own.Phase = into + offset - time.Duration(ahead)*jiffy
			}
		}
		if i == 0 || start != nil { // over all starts it is the same
			var err error
			if tl, err = predict(own); err != nil {
				return tl, err
			}
		}
		by := offset + time.Duration(slip)*jiffy
		if slip == 0 {
			out = moved(tl, by, ahead)
			continue
		}
		out = hull(out, moved(tl, by, ahead+slip))
	}
	return out, nil
}
