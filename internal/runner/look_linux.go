package runner

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/evidence"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/pcapout"
)

// sockets is what a look asks: evidence.Diag.
type sockets interface {
	Look(local, remote netip.AddrPort) (evidence.Socket, error)
}

// ask looks at one end's socket, and a second time where it is gone and a moment ago was there. The kernel exchanges one socket for another
// as a connection goes on: a request for its child (inet_ehash_insert), a closed connection for a TIME-WAIT socket, which cannot be taken
// hold of before it is ready (inet_twsk_hashdance_schedule). A look that falls between the two finds none, or the listener.
func (o *observer) ask(host string, d sockets, pair [2]netip.AddrPort) (evidence.Socket, error) {
	s, err := d.Look(pair[0], pair[1])
	if err != nil || !none(s.State) {
		return s, err
	}
	if last, ok := o.last(host); ok && !none(last.State) {
		return d.Look(pair[0], pair[1])
	}
	return s, nil
}

// timed makes a look.
func timed(ask func() (evidence.Socket, error)) (look, error) {
	asked, err := kernel.MonotonicNow()
	if err != nil {
		return look{}, err
	}
	s, err := ask()
	if err != nil {
		return look{}, err
	}
	now, err := kernel.MonotonicNow()
	return look{mono: now, took: now - asked, Socket: s}, err
}

// none reports whether a look showed no socket of the connection: nothing, or the listener, which answers for what is not there.
func none(state string) bool { return state == evidence.Closed || state == "LISTEN" }

// last is the newest look at a host.
func (o *observer) last(host string) (look, bool) {
	for _, l := range slices.Backward(o.looks) {
		if l.host == host {
			return l, true
		}
	}
	return look{}, false
}

// vanished are the ends of sockets: looks that show none of the connection any more after one that did, which it was still there at the beginning of. A
// socket in SYN-RECV is a request.
func (o *observer) vanished(origin time.Duration) []timeline.Event {
	var out []timeline.Event
	last := map[string]look{}
	for _, l := range o.looks {
		before, ok := last[l.host]
		last[l.host] = l
		if !ok || none(before.State) || !none(l.State) {
			continue
		}
		e := timeline.Event{Host: l.host, What: timeline.SocketGone, Port: o.r.setup.LookAt, Since: before.mono - before.took - origin, Bound: timeline.Bound{At: l.mono - origin}}
		switch before.State {
		case "SYN-RECV":
			e.What = timeline.RequestGone
		case "SYN-SENT":
			continue // connect(2) tells of it
		}
		out = append(out, e)
	}
	return out
}

// note keeps a look. One that found no socket, between others that found one of the same connection, fell into an exchange that took longer
// than asking twice: a connection that is gone does not come back, in the states of a small socket least of all.
func (o *observer) note(l look) {
	if last, ok := o.last(l.host); ok && none(last.State) && (l.State == "TIME-WAIT" || l.State == "FIN-WAIT-2") {
		o.looks = slices.DeleteFunc(o.looks, func(old look) bool { return old == last })
	}
	o.looks = append(o.looks, l)
}

// asideEvery is how often several connections side by side are looked at: each round asks twice for each of them. Where time is virtual, a round
// costs more than the kernel does for a whole second of their timers.
func (o *observer) asideEvery() time.Duration {
	if o.unwatched() {
		return time.Second
	}
	return 100 * time.Millisecond
}

// lookAside looks at every connection of several, but for the one that is looked at anyway, and keeps what has changed. The caller holds the lock.
func (o *observer) lookAside() error {
	now, err := kernel.MonotonicNow()
	if err != nil || now < o.asideAt+o.asideEvery() {
		return err
	}
	o.asideAt = now
	o.list(now)
	for _, c := range o.neighbours {
		if o.unwatched() && now < c.due() {
			continue
		}
		c.looked = now
		if err := o.lookAt(c); err != nil {
			return err
		}
	}
	return nil
}

// neighbour is one of several connections: its client's end, and its server's.
type neighbour struct {
	port           int // of its looks
	client, server neighbourEnd
	looked         time.Duration // CLOCK_MONOTONIC of the newest look
	stirred        time.Duration // and of what was last seen or told of it
}

// neighbourEnd is one end, and what the looks at it showed.
type neighbourEnd struct {
	local, remote netip.AddrPort
	newest        look
	asked         bool
	absent        int // how many of its newest looks found none where one had been before; -1: the newest found it
}

// due is when a connection is to be looked at again where nobody looks on: in the next round after something was seen or told of it, and ever rarer while
// nothing is. What changes then is that a socket ends in silence, and that is known to an eighth of the silence before.
func (c *neighbour) due() time.Duration {
	const part = 8
	return c.looked + max(c.looked-c.stirred, 0)/part
}

// everybody makes every connection due, for the last word on each.
func (o *observer) everybody() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asideAt = 0
	for _, c := range o.neighbours {
		c.looked, c.stirred = 0, 0
	}
}

// stir notes that something was seen or told of the connections with one of two ports; of all, where neither is known. The caller holds the lock.
func (o *observer) stir(now time.Duration, a, b uint16) {
	if a == 0 && b == 0 {
		for _, c := range o.neighbours {
			c.stirred = now
		}
	}
	for _, port := range [...]uint16{a, b} {
		for _, c := range o.ofPort[port] {
			c.stirred = now
		}
	}
}

// captured stirs the connections that packets are of.
func (o *observer) captured(batch []pcapout.Packet) {
	if !o.unwatched() {
		return
	}
	now, err := kernel.MonotonicNow()
	if err != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range batch {
		a, b := portsOf(p.Data)
		o.stir(now, a, b)
	}
}

// portsOf are both ports of an Ethernet frame with TCP in it; 0 where they are not at once to be seen: in an ICMP error, say.
func portsOf(frame []byte) (from, to uint16) {
	const ether = 14
	if len(frame) < ether+20 {
		return 0, 0
	}
	ip, head := frame[ether:], 0
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case kind == unix.ETH_P_IP && ip[9] == unix.IPPROTO_TCP:
		head = int(ip[0]&0xf) * 4
	case kind == unix.ETH_P_IPV6 && ip[6] == unix.IPPROTO_TCP:
		head = 40
	default:
		return 0, 0
	}
	if len(ip) < head+4 {
		return 0, 0
	}
	return binary.BigEndian.Uint16(ip[head:]), binary.BigEndian.Uint16(ip[head+2:])
}

// list lists the connections that have been begun since it last did.
func (o *observer) list(now time.Duration) {
	at := o.r.setup.LookAt
	for _, e := range o.events[o.listed:] {
		if e.Event != lab.Connecting || at != 0 && e.Local.Port() == at {
			continue
		}
		port := e.Remote.Port()
		if at != 0 {
			port = e.Local.Port()
		}
		if slices.ContainsFunc(o.ofPort[port], func(c *neighbour) bool { return c.client.local == e.Local && c.client.remote == e.Remote }) {
			continue
		}
		c := &neighbour{port: int(port), stirred: now, client: neighbourEnd{local: e.Local, remote: e.Remote}, server: neighbourEnd{local: e.Remote, remote: e.Local}}
		o.neighbours = append(o.neighbours, c)
		o.ofPort[port] = append(o.ofPort[port], c)
	}
	o.listed = len(o.events)
}

// lookAt looks at both ends of a connection that may still be there.
func (o *observer) lookAt(c *neighbour) error {
	for _, of := range [...]struct {
		host string
		*neighbourEnd
	}{{"client", &c.client}, {"server", &c.server}} {
		d := o.diag[of.host]
		if d == nil || c.client.isGone() && of.isGone() {
			continue
		}
		l, err := timed(func() (evidence.Socket, error) { return d.Look(of.local, of.remote) })
		if err != nil {
			return err
		}
		if l.host, l.port = of.host, c.port; of.changed(l) {
			o.aside = append(o.aside, l)
		}
	}
	return nil
}

// isGone reports whether a socket is gone for good, as long as its peer's is: a client's does not come back, and a server's does only for a SYN that its
// client repeats. One look may fall between a socket and the small one that takes its place (FIN-WAIT-2, TIME-WAIT).
func (e *neighbourEnd) isGone() bool { return e.absent >= 2 }

// changed reports whether a look at one of several connections shows something else than the one before, but for the time that runs down.
func (e *neighbourEnd) changed(l look) bool {
	was, asked := e.newest, e.asked
	switch {
	case !none(l.State):
		e.absent = -1
	case e.absent != 0: // it was there before
		e.absent = max(e.absent, 0) + 1
	}
	was.mono, was.took, was.Expires = l.mono, l.took, l.Expires
	e.newest, e.asked = l, true
	return !asked || was != l
}
