package analyse

import (
	"net/netip"
	"time"

	"github.com/tcplab/tcplab/pcapout"
)

// Stream is Analyse for captures that do not fit into memory: it takes segments one after another, tells each name as soon as it is known, and
// forgets a connection that has ended. Its memory is what MaxOpen and the bounds of a connection allow (maxInFlight, maxSpans, maxCounts),
// however long the capture is.
type Stream struct {
	o       StreamOptions
	current map[pair]*flow
	last    *flow // of the segment before
	order   list  // all of current, by when they were heard last
	closed  list  // those of current that have ended, by when they did
	count   int
	copies  *copies
	now     time.Time // the latest time so far
}

// StreamOptions guide a Stream. The zero value works, and tells nothing to anybody.
type StreamOptions struct {
	Options
	// MaxOpen is how many connections are held at once. The one that was silent for longest is given up for another: its Summary says
	// so. 0: 32768.
	MaxOpen int
	// Copies leaves out what a capture holds twice: a packet at a second point of capture (see AddAt), or the very same packet again.
	Copies bool
	// Packet is told of each packet and its name; the Packets of the connection are empty. nil: nobody wants to know.
	Packet func(*Connection, Named)
	// Renamed is told that the packet with this index in its connection has another name now: what followed showed a guess to be wrong. It
	// is one of the last packets of its sender with data. nil: nobody wants to know.
	Renamed func(c *Connection, index int, n Named)
	// Copy is told of each packet that Copies leaves out, in the order of the capture. nil: nobody wants to know.
	Copy func(*Connection, Named)
	// Ended is told of each connection once, when nothing more is expected of it or at Close. nil: nobody wants to know.
	Ended func(*Summary)

	begun func(*flow)
	keep  bool // no connection is forgotten before Close
}

const (
	defaultOpen = 1 << 15
	// linger is how long a connection that ended waits for what is late, in the capture's time: TCP_TIMEWAIT_LEN.
	linger = 60 * time.Second
	// maxLinger bounds how many wait so.
	maxLinger = 1 << 12
)

// NewStream begins an empty analysis.
func NewStream(o StreamOptions) *Stream {
	if o.MaxOpen <= 0 {
		o.MaxOpen = defaultOpen
	}
	s := &Stream{o: o, current: map[pair]*flow{}}
	s.order.side, s.closed.side = bySilence, byEnd
	if o.Copies {
		s.copies = newCopies()
	}
	return s
}

// Add takes the next segment, number being its index in the capture. The segment is not kept. One without addresses is passed over.
func (st *Stream) Add(number int, s *pcapout.Segment) { st.AddAt(number, s, 0) }

// AddAt is Add for a capture of several points. point names the place where the segment was seen (pcapout.Point): an interface, a direction.
func (st *Stream) AddAt(number int, s *pcapout.Segment, point uint64) {
	src, dst := s.Src, s.Dst
	if s.ICMP != nil {
		src, dst = s.ICMP.Src, s.ICMP.Dst
	}
	if !src.IsValid() || !dst.IsValid() {
		return
	}
	if s.Time.After(st.now) {
		st.now = s.Time
	}
	f := st.find(s, src, dst)
	n := Named{Segment: number, Time: s.Time}
	if st.copies != nil && s.ICMP == nil && f.isCopy(st.copies, s, point) {
		f.sum.copies++
		if st.o.Copy != nil {
			n.From, n.Len = f.who(s.Src), s.Length
			st.o.Copy(&f.c, n)
		}
		return
	}
	if s.ICMP != nil {
		f.nameICMP(&n, s)
	} else {
		f.name(&n, s)
		from, _, _ := f.side(s.Src)
		if g := from.guess; g != nil && g.index == f.packets {
			g.named = n
		}
	}
	f.lastAt = s.Time
	f.observe(&n, s)
	if st.o.Packet != nil {
		st.o.Packet(&f.c, n)
	}
	f.packets++
	st.settle(f)
}

// find returns the connection of a segment, a new one where there is none.
func (st *Stream) find(s *pcapout.Segment, src, dst netip.AddrPort) *flow {
	f := st.last
	if f == nil || !(f.c.Client == src && f.c.Server == dst || f.c.Client == dst && f.c.Server == src) {
		f = st.current[pairOf(src, dst)]
	}
	if f != nil && s.ICMP == nil && f.replacedBy(s) {
		st.forget(f, "")
		f = nil
	}
	if f == nil {
		if len(st.current) >= st.o.MaxOpen {
			st.forget(st.order.oldest, TooMany)
		}
		f = newFlow(s, src, dst, st.o.Options)
		f.key, f.stream, f.c.Number = pairOf(src, dst), st, st.count
		f.sum.start, f.sum.first = s.Time, -1
		st.count++
		st.current[f.key] = f
		st.order.push(f)
		if st.o.begun != nil {
			st.o.begun(f)
		}
	} else if f != st.last {
		st.order.remove(f)
		st.order.push(f)
	}
	st.last = f
	return f
}

// settle moves a connection that has ended to those that linger, and lets go of the ones that lingered long enough.
func (st *Stream) settle(f *flow) {
	switch closed := f.isClosed(); {
	case st.o.keep:
		return
	case closed && f.closedAt.IsZero():
		f.closedAt = f.lastAt
		st.closed.push(f)
	case !closed && !f.closedAt.IsZero(): // the RST was not accepted
		f.closedAt = time.Time{}
		st.closed.remove(f)
	}
	for c := st.closed.oldest; c != nil && (st.closed.n > maxLinger || st.now.Sub(c.closedAt) > linger); c = st.closed.oldest {
		st.forget(c, "")
	}
}

// forget ends a connection. why is empty, TooMany, or AtEnd.
func (st *Stream) forget(f *flow, why Left) {
	st.order.remove(f)
	if !f.closedAt.IsZero() {
		st.closed.remove(f)
	}
	if st.last == f {
		st.last = nil
	}
	delete(st.current, f.key)
	f.c.ClientISN, f.c.ClientISNSeen = f.client.isn, f.client.isnSeen
	f.c.ServerISN, f.c.ServerISNSeen = f.server.isn, f.server.isnSeen
	if st.o.Ended != nil {
		s := f.summary(st.now, why)
		st.o.Ended(&s)
	}
}

// Close ends all connections that are left, in the order of their first packets.
func (st *Stream) Close() {
	left := make([]*flow, 0, len(st.current))
	for f := st.order.oldest; f != nil; f = f.link[bySilence].newer {
		left = append(left, f)
	}
	sortByNumber(left)
	for _, f := range left {
		st.forget(f, AtEnd)
	}
}

// Open is how many connections are held now.
func (st *Stream) Open() int { return len(st.current) }

// rename changes a name that was told already.
func (f *flow) rename(g *guess, was Named) {
	f.sum.rename(was, g.named)
	if f.stream.o.Renamed != nil {
		f.stream.o.Renamed(&f.c, g.index, g.named)
	}
}

// who is the name of the end at addr.
func (f *flow) who(addr netip.AddrPort) string {
	_, _, who := f.side(addr)
	return who
}

// isClosed reports whether nothing but stragglers is expected.
func (f *flow) isClosed() bool {
	if f.reset {
		return true
	}
	done := func(d *direction) bool { return d.finSeen && d.acked && d.una > d.fin }
	return done(&f.client) && done(&f.server)
}
