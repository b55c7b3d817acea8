package pcapout

import (
	"encoding/binary"
	"net/netip"
)

// icmp decodes an error about a TCP segment; everything else of ICMP is other traffic.
func (d *decoder) icmp(v6 bool, b []byte) error {
	if len(b) < 8 {
		if !v6 && len(b) < 8 || len(b) < 4 {
			return d.short("ICMP header", len(b), 8)
		}
		return otherICMP
	}
	m := ICMP{Type: b[0], Code: b[1]}
	rest := binary.BigEndian.Uint32(b[4:])
	if v6 {
		if m.Type >= 128 { // 128 and up inform, below are errors (RFC 4443 section 2.1)
			return otherICMP
		}
		if m.Type == 2 { // packet too big
			m.MTU = rest
		}
	} else {
		switch m.Type {
		case 3: // destination unreachable
			if m.Code == 4 { // fragmentation needed: the second half of the unused word (RFC 1191 section 4)
				m.MTU = rest & 0xffff
			}
		case 4, 5, 11, 12: // source quench, redirect, time exceeded, parameter problem
		default:
			return otherICMP
		}
	}
	if !m.quoted(b[8:]) {
		return otherICMP
	}
	d.s.Src, d.s.Dst = netip.AddrPortFrom(d.src, 0), netip.AddrPortFrom(d.dst, 0)
	d.s.ICMP = &m
	return nil
}

// quoted reads the IP header and the first 8 bytes behind it, which is all that a router must quote (RFC 792).
func (m *ICMP) quoted(b []byte) bool {
	var src, dst netip.Addr
	var tcp []byte
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		head := int(b[0]&0xf) * 4
		if head < 20 || len(b) < head || b[9] != protoTCP || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return false
		}
		src, dst, tcp = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), b[head:]
	case len(b) >= 40 && b[0]>>4 == 6:
		if b[6] != protoTCP {
			return false
		}
		src, dst, tcp = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), b[40:]
	}
	if len(tcp) < 8 {
		return false
	}
	m.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(tcp))
	m.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(tcp[2:]))
	m.Seq = binary.BigEndian.Uint32(tcp[4:])
	return true
}
