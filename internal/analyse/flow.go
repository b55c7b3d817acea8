package analyse

import (
	"net/netip"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/pcapout"
)

// flow is a connection while it is being read.
type flow struct {
	c              Connection
	key            pair
	packets        int // so far
	stream         *Stream
	sum            tally
	link           [lists]links
	lastAt         time.Time
	closedAt       time.Time // zero: not closed
	client, server direction
	established    bool // the client has acknowledged a SYN-ACK, or the handshake is not in the capture
	reset          bool
	renewed        bool // an end has changed its initial sequence number
}

// newFlow begins a connection with its first segment, which went, or is quoted as going, from src to dst.
func newFlow(s *pcapout.Segment, src, dst netip.AddrPort, o Options) *flow {
	var fromClient, handshake bool
	switch {
	case s.ICMP == nil && s.Flags.Has(pcapout.SYN) && !s.Flags.Has(pcapout.RST):
		fromClient, handshake = !s.Flags.Has(pcapout.ACK), true
	case o.ServerPort != 0 && (src.Port() == o.ServerPort) != (dst.Port() == o.ServerPort):
		fromClient = dst.Port() == o.ServerPort
	default:
		fromClient = src.Port() >= dst.Port()
	}
	f := &flow{established: !handshake && s.ICMP == nil}
	f.c.Client, f.c.Server = src, dst
	if !fromClient {
		f.c.Client, f.c.Server = dst, src
	}
	return f
}

// replacedBy reports whether s begins another connection between the same ends.
func (f *flow) replacedBy(s *pcapout.Segment) bool {
	if !s.Flags.Has(pcapout.SYN) || s.Flags.Has(pcapout.ACK) || s.Flags.Has(pcapout.RST) {
		return false
	}
	if d, _, _ := f.side(s.Src); !d.started || d.isn == s.Seq {
		return false // the other end's SYN of a simultaneous open, or a repeat
	}
	closed := f.reset || f.client.finSeen && f.server.finSeen
	return closed || !f.established
}

// side returns the direction in which the end at addr sends, the opposite direction, and the name of that end.
func (f *flow) side(addr netip.AddrPort) (from, to *direction, name string) {
	if addr == f.c.Client {
		return &f.client, &f.server, Client
	}
	return &f.server, &f.client, Server
}

// name fills in what segment s is, and remembers what it carried.
func (f *flow) name(n *Named, s *pcapout.Segment) {
	from, to, who := f.side(s.Src)
	isSYN := s.Flags.Has(pcapout.SYN) && !s.Flags.Has(pcapout.RST)
	hasACK := s.Flags.Has(pcapout.ACK)
	n.From, n.Len = who, s.Length
	f.begin(s, from, to, isSYN)
	n.RelSeq = s.Seq - from.isn
	if hasACK {
		n.RelAck = s.Ack - to.isn
	}
	switch {
	case s.Flags.Has(pcapout.RST):
		n.What, f.reset = timeline.RST, true
		to.owe(timeline.ChallengeACK, "answers a RST outside the window", s.Time)
	case isSYN:
		f.nameSYN(n, s, from, to)
	case s.Flags.Has(pcapout.FIN) || s.Length > 0:
		f.nameData(n, s, from, to)
	case hasACK:
		f.nameACK(n, s, from, to)
	}
	if !hasACK || n.What == timeline.RST || isSYN && s.Seq != from.isn {
		return
	}
	to.acknowledge(s, int64(s.Window)<<f.scale(from, s), from)
	from.spoke = s.Time
	if who == Client && !isSYN && !f.established {
		f.established = true
		if !to.synAt.IsZero() {
			from.answered(s.Time.Sub(to.synAt))
		}
	}
}

// begin gives the directions that s shows for the first time their initial numbers.
func (f *flow) begin(s *pcapout.Segment, from, to *direction, isSYN bool) {
	switch {
	case isSYN && (!from.started || !f.established && from.isn != s.Seq):
		f.renewed = f.renewed || from.isnSeen // a server's half-open connection, made anew
		*from = direction{isn: s.Seq, isnSeen: true, started: true, high: unwrapped(s.Seq) + 1}
	case isSYN && from.isn == s.Seq:
		from.isnSeen = true // until now it was inferred from the other end's acknowledgement
	case !from.started && !(s.Flags.Has(pcapout.RST) && s.Seq == 0):
		from.begin(s.Seq) // but a refusal has no sequence number: a port without a socket sends 0 (tcp_v4_send_reset)
	}
	if s.Flags.Has(pcapout.ACK) && !to.started {
		to.begin(s.Ack)
	}
}

// nameICMP fills in an ICMP error by the segment that it quotes.
func (f *flow) nameICMP(n *Named, s *pcapout.Segment) {
	n.What = timeline.ICMP
	from, _, _ := f.side(s.ICMP.Src)
	if !from.started {
		from.begin(s.ICMP.Seq)
	}
	n.RelSeq = s.ICMP.Seq - from.isn
	switch s.Src.Addr() {
	case f.c.Client.Addr():
		n.From = Client
	case f.c.Server.Addr():
		n.From = Server
	}
}
