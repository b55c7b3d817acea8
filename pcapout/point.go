package pcapout

import "encoding/binary"

// Point names the place where a frame was seen, as far as the file tells places apart: the interface of pcapng, that of Linux cooked v2, the
// direction, the hardware addresses and VLAN tags. All packets that one end of a connection sends pass one place in one Point, as long as
// the route does not change; a second Point for the same packets is a second look at them.
func Point(f *Frame) uint64 {
	h := uint64(f.Interface) + 1
	mix := func(v uint64) { h = (h ^ v) * 0x9e3779b97f4a7c15; h ^= h >> 29 }
	if !f.DirectionUnknown && f.Outgoing {
		mix(1)
	}
	b := f.Data
	switch {
	case f.Link == LinkEthernet && len(b) >= 14:
		mix(uint64(binary.BigEndian.Uint32(b)))
		mix(binary.BigEndian.Uint64(b[4:]))
		for kind, rest := binary.BigEndian.Uint16(b[12:]), b[14:]; (kind == etherVLAN || kind == etherQinQ || kind == etherOld) && len(rest) >= 4; {
			mix(uint64(binary.BigEndian.Uint16(rest)&0xfff) + 2)
			kind, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
		}
	case f.Link == LinkLinuxSLL && len(b) >= 14:
		mix(uint64(binary.BigEndian.Uint16(b)))
		mix(binary.BigEndian.Uint64(b[6:]))
	case f.Link == LinkLinuxSLL2 && len(b) >= 12:
		mix(uint64(binary.BigEndian.Uint32(b[4:])))
		mix(uint64(b[10]))
	}
	return h
}
