package runner

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/evidence"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
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
	o.list()
	for _, c := range o.neighbours {
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
}

// neighbourEnd is one end, and what the looks at it showed.
type neighbourEnd struct {
	local, remote netip.AddrPort
	newest        look
	asked         bool
	absent        int // how many of its newest looks found none where one had been before; -1: the newest found it
}

// list lists the connections that have been begun since it last did.
func (o *observer) list() {
	at := o.r.setup.LookAt
	for _, e := range o.events[o.listed:] {
		if e.Event != lab.Connecting || at != 0 && e.Local.Port() == at {
			continue
		}
		c := &neighbour{port: int(e.Remote.Port()), client: neighbourEnd{local: e.Local, remote: e.Remote}, server: neighbourEnd{local: e.Remote, remote: e.Local}}
		if at != 0 {
			c.port = int(e.Local.Port())
		}
		if !slices.ContainsFunc(o.neighbours, func(b *neighbour) bool { return b.client.local == e.Local && b.client.remote == e.Remote }) {
			o.neighbours = append(o.neighbours, c)
		}
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
