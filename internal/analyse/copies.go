package analyse

import (
	"math/bits"
	"time"

	"github.com/tcplab/tcplab/pcapout"
)

// copies recognises packets that a capture holds twice: `tcpdump -i any` on a host that forwards sees a packet at each interface, a file
// merged from both ends holds it twice, and a mirror port may send it twice.
//
// The first of two is the packet. A packet with the same TCP header at another point, shortly after, is its copy; and from then on all that this
// end sends is left out at that point, whatever its form: segmentation offload shows one large packet at one point and many small ones at
// the other. At one and the same point a packet is a copy only if its IP identification is the same and not 0: a kernel gives each packet of
// a connection another one (ip_select_ident_segs), so this is not TCP's repeat.
type copies struct {
	table []seenPacket
}

// seenPacket is a packet that passed lately.
type seenPacket struct {
	key, point uint64
	at         time.Time
}

const (
	copySlots = 1 << 15
	// copyWithin is how far apart two copies may be: a path, and clocks that differ.
	copyWithin = 2 * time.Second
)

func newCopies() *copies { return &copies{table: make([]seenPacket, copySlots)} }

// points is where an end's packets are seen.
type points struct {
	known  bool
	home   uint64
	heard  time.Time // when home saw the last packet
	mirror [4]uint64 // points that see the same again
	n      int
}

// mirrors reports whether a point is known to see only what home has seen.
func (p *points) mirrors(point uint64) bool {
	for _, m := range p.mirror[:p.n] {
		if m == point {
			return true
		}
	}
	return false
}

// isCopy reports whether a segment that was seen at a point is one that the capture holds already.
func (f *flow) isCopy(c *copies, s *pcapout.Segment, point uint64) bool {
	from, _, _ := f.side(s.Src)
	p := &from.points
	if !p.known {
		p.known, p.home = true, point
	}
	if p.mirrors(point) {
		if s.Time.Sub(p.heard) <= copyWithin {
			return true
		}
		p.home, p.n = point, 0 // the first point has gone silent: this one is all that is left
	}
	if point == p.home {
		p.heard = s.Time
	}
	key := contentKey(s)
	x := &c.table[key%copySlots]
	if x.key != key || s.Time.Sub(x.at) > copyWithin {
		*x = seenPacket{key, point, s.Time}
		return false
	}
	if x.point == point {
		return s.IPID != 0
	}
	if p.n < len(p.mirror) {
		p.mirror[p.n] = point
		p.n++
	}
	return true
}

// contentKey mixes everything of a segment that does not change on its way. The checksum is left out: offload fills it in late.
func contentKey(s *pcapout.Segment) uint64 {
	h := uint64(s.Seq)<<32 | uint64(s.Ack)
	mix := func(v uint64) {
		hi, lo := bits.Mul64(h^v^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
		h = hi ^ lo
	}
	a, b := s.Src.Addr().As16(), s.Dst.Addr().As16()
	mix(uint64(s.Src.Port())<<48 | uint64(s.Dst.Port())<<32 | uint64(s.Flags)<<16 | uint64(s.Window))
	mix(le64(a[:8]) ^ bits.RotateLeft64(le64(b[:8]), 17))
	mix(le64(a[8:]) ^ bits.RotateLeft64(le64(b[8:]), 31))
	mix(uint64(s.Length)<<16 | uint64(s.IPID))
	mix(uint64(s.Options.TSVal)<<32 | uint64(s.Options.TSEcr))
	for _, k := range s.Options.SACK {
		mix(uint64(k.Left)<<32 | uint64(k.Right))
	}
	return h
}

func le64(b []byte) uint64 {
	_ = b[7]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 | uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}
