package pcapout

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// ErrNotTCP says that a packet is neither a TCP segment nor an ICMP error about one: ARP, UDP, neighbour discovery, a fragment.
var ErrNotTCP = errors.New("neither a TCP segment nor an ICMP error about one")

// other is a packet that is not for tcplab, with the word for it. It is ErrNotTCP to errors.Is.
type other string

func (o other) Error() string        { return string(o) + ": " + ErrNotTCP.Error() }
func (o other) Is(target error) bool { return target == ErrNotTCP }

// The kinds of other traffic. What has no word of its own is otherTraffic.
const (
	otherTraffic  other = "other"
	otherARP      other = "ARP"
	otherUDP      other = "UDP"
	otherICMP     other = "ICMP"
	otherSCTP     other = "SCTP"
	otherFragment other = "later fragment" // not the first piece of an IP packet: there is no TCP header in it
)

// OtherKind is what a packet is that Decode refused with ErrNotTCP: "ARP", "UDP", "ICMP", "SCTP", "later fragment" or "other". It is empty
// for every other error.
func OtherKind(err error) string {
	o, _ := err.(other)
	return string(o)
}

// Decode finds the TCP segment or ICMP error in a packet. The zero link is Ethernet. VLAN tags, MPLS labels, PPPoE and IPv6 extension headers
// are stepped over; in a tunnel of IP in IP the innermost packet counts. The first fragment of a packet is decoded as far as it goes, with
// the length of the fragment. The error is ErrNotTCP for other traffic (errors.Is, and OtherKind says what it is), and something else for
// a packet that is malformed or cut short inside a header. No input makes it panic.
func Decode(link LinkType, p Packet) (Segment, error) {
	var s Segment
	err := DecodeInto(&s, link, p)
	return s, err
}

// DecodeInto is Decode for those who decode millions of packets: it fills in s anew and uses the memory of its SACK blocks again. After an
// error s holds nothing of use.
func DecodeInto(s *Segment, link LinkType, p Packet) error {
	sack := s.Options.SACK[:0]
	*s = Segment{}
	ip, err := network(link.orEthernet(), p.Data)
	if err != nil {
		return err
	}
	d := decoder{s: s, sack: sack}
	err = d.packet(ip)
	if err != nil {
		*s = Segment{}
		s.Options.SACK = sack
		switch {
		case errors.Is(err, ErrNotTCP):
			return err
		case d.cut:
			return fmt.Errorf("packet of %d bytes, %d captured: cut short inside a header: %w", p.OrigLen, len(p.Data), err)
		}
		return fmt.Errorf("packet of %d bytes: %w", p.OrigLen, err)
	}
	s.Time, s.Outgoing, s.Truncated = p.Time, p.Outgoing, d.cut
	return nil
}

// Numbers of protocols (IANA).
const (
	protoHopByHop = 0
	protoICMP     = 1
	protoIPv4     = 4
	protoTCP      = 6
	protoUDP      = 17
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoAH       = 51
	protoICMPv6   = 58
	protoOptions  = 60
	protoSCTP     = 132
)

// maxTunnels bounds how often IP lies in IP.
const maxTunnels = 8

// decoder walks through the headers of one IP packet.
type decoder struct {
	s        *Segment
	sack     []SACKBlock
	src, dst netip.Addr
	cut      bool // the capture holds less than the packet
	tunnels  int
}

// packet decodes an IP packet. The version is the packet's own, as the kernel checks it too (ip_rcv_core, ip6_rcv_core).
func (d *decoder) packet(b []byte) error {
	if len(b) == 0 {
		return errors.New("empty IP packet: want at least a header")
	}
	if d.tunnels++; d.tunnels > maxTunnels {
		return otherTraffic
	}
	switch v := b[0] >> 4; v {
	case 4:
		return d.ipv4(b)
	case 6:
		return d.ipv6(b)
	default:
		return fmt.Errorf("IP version %d: want 4 or 6", v)
	}
}

func (d *decoder) short(what string, have, want int) error {
	d.cut = true
	return fmt.Errorf("%s: %d bytes, want at least %d", what, have, want)
}

func (d *decoder) ipv4(b []byte) error {
	if len(b) < 20 {
		return d.short("IPv4 header", len(b), 20)
	}
	head, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if head < 20 {
		return fmt.Errorf("IPv4 header length %d: want at least 20", head)
	}
	if total == 0 { // BIG TCP and segmentation offload: the length does not fit (iph_totlen)
		total = len(b)
	}
	if total < head {
		return fmt.Errorf("IPv4 total length %d: want at least the header's %d", total, head)
	}
	if len(b) < head {
		return d.short("IPv4 header", len(b), head)
	}
	d.src, d.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	d.s.IPID, d.s.TTL, d.s.Size = binary.BigEndian.Uint16(b[4:]), b[8], min(total, 0xffff)
	if total < len(b) {
		b = b[:total]
	} else if total > len(b) {
		d.cut = true
	}
	frag := binary.BigEndian.Uint16(b[6:])
	if frag&0x1fff != 0 {
		return otherFragment
	}
	d.s.Fragment = d.s.Fragment || frag&0x2000 != 0 // MF
	return d.transport(b[9], b[head:], total-head)
}

func (d *decoder) ipv6(b []byte) error {
	if len(b) < 40 {
		return d.short("IPv6 header", len(b), 40)
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	d.src, d.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	next, rest := b[6], b[40:]
	if n := jumbo(rest); length == 0 && next == protoHopByHop && n > 0 {
		length = n
	}
	d.s.IPID, d.s.TTL, d.s.Size = 0, b[7], 40+length
	if length == 0 && (next == protoHopByHop || next == protoTCP) { // an offloaded packet
		length = len(rest)
	}
	if length < len(rest) {
		rest = rest[:length]
	} else if length > len(rest) {
		d.cut = true
	}
	return d.extensions(next, rest, length)
}

// jumbo is the length that a hop-by-hop header has for a jumbogram (RFC 2675); 0: it has none that is valid, which is above 65535.
func jumbo(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	b = b[2:min(len(b), int(b[1])*8+8)]
	for len(b) >= 2 {
		switch n := int(b[1]); {
		case b[0] == optionPad1:
			b = b[1:]
			continue
		case b[0] == optionJumbo && n == 4 && len(b) >= 6:
			if l := int(binary.BigEndian.Uint32(b[2:])); l > 65535 {
				return l
			}
			return 0
		default:
			b = b[min(len(b), n+2):]
		}
	}
	return 0
}

// Options of a hop-by-hop header (IANA).
const (
	optionPad1  = 0
	optionJumbo = 0xc2
)

// extensions steps over IPv6 extension headers. length is how many bytes of the packet follow, captured or not.
func (d *decoder) extensions(next byte, b []byte, length int) error {
	for {
		var n int
		switch next {
		case protoHopByHop, protoRouting, protoOptions:
			if len(b) < 8 {
				return d.short("IPv6 extension header", len(b), 8)
			}
			n = int(b[1])*8 + 8
		case protoAH:
			if len(b) < 8 {
				return d.short("IPv6 authentication header", len(b), 8)
			}
			n = int(b[1])*4 + 8
		case protoFragment:
			if len(b) < 8 {
				return d.short("IPv6 fragment header", len(b), 8)
			}
			if n = 8; binary.BigEndian.Uint16(b[2:])&^7 != 0 {
				return otherFragment
			}
			d.s.Fragment = d.s.Fragment || b[3]&1 != 0
		default:
			return d.transport(next, b, length)
		}
		if n > length {
			return fmt.Errorf("IPv6 extension header of %d bytes in a packet that has %d left", n, length)
		}
		if n > len(b) {
			return d.short("IPv6 extension header", len(b), n)
		}
		next, b, length = b[0], b[n:], length-n
	}
}

// transport decodes what an IP packet carries: b is what was captured of length bytes.
func (d *decoder) transport(proto byte, b []byte, length int) error {
	switch proto {
	case protoTCP:
		return d.tcp(b, length)
	case protoIPv4, protoIPv6:
		return d.packet(b)
	case protoICMP, protoICMPv6:
		return d.icmp(proto == protoICMPv6, b)
	case protoUDP:
		return otherUDP
	case protoSCTP:
		return otherSCTP
	}
	return otherTraffic
}

func (d *decoder) tcp(b []byte, length int) error {
	if len(b) < 20 {
		return d.short("TCP header", len(b), 20)
	}
	head := int(b[12]>>4) * 4
	if head < 20 {
		return fmt.Errorf("TCP data offset %d: want at least 5", b[12]>>4)
	}
	if head > length {
		return fmt.Errorf("TCP data offset %d: the segment has %d bytes", b[12]>>4, length)
	}
	if head > len(b) { // the snap length took options away: the rest is as good as ever
		d.cut, head, d.s.OptionsCut = true, len(b), true
		length -= int(b[12]>>4)*4 - head
	}
	s := d.s
	s.Src = netip.AddrPortFrom(d.src, binary.BigEndian.Uint16(b))
	s.Dst = netip.AddrPortFrom(d.dst, binary.BigEndian.Uint16(b[2:]))
	s.Seq, s.Ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	s.Flags = Flags(binary.BigEndian.Uint16(b[12:]) & 0x1ff)
	s.Window = binary.BigEndian.Uint16(b[14:])
	s.Length = length - head
	d.options(b[20:head])
	return nil
}

// options copies the options that tcplab names; the lengths are those of tcp_parse_options.
func (d *decoder) options(b []byte) {
	o := &d.s.Options
	o.SACK = d.sack
	for len(b) > 0 {
		switch {
		case b[0] == 0: // end of the list
			return
		case b[0] == 1:
			b = b[1:]
			continue
		case len(b) < 2 || b[1] < 2 || int(b[1]) > len(b): // the kernel stops here too
			return
		}
		kind, v := b[0], b[2:b[1]]
		b = b[b[1]:]
		switch {
		case kind == 2 && len(v) == 2:
			o.MSS = binary.BigEndian.Uint16(v)
		case kind == 3 && len(v) == 1:
			o.HasWScale, o.WScale = true, v[0]
		case kind == 4 && len(v) == 0:
			o.SACKPermitted = true
		case kind == 5 && len(v) > 0 && len(v)%8 == 0:
			for ; len(v) > 0; v = v[8:] {
				o.SACK = append(o.SACK, SACKBlock{binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])})
			}
		case kind == 8 && len(v) == 8:
			o.HasTimestamps = true
			o.TSVal, o.TSEcr = binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])
		case kind == 34: // TCPOPT_FASTOPEN
			o.HasFastOpen, o.FastOpen = true, append([]byte(nil), v...)
		case kind == 254 && len(v) >= 2 && binary.BigEndian.Uint16(v) == 0xF989: // TCPOPT_EXP, TCPOPT_FASTOPEN_MAGIC
			o.HasFastOpen, o.FastOpenExperimental, o.FastOpen = true, true, append([]byte(nil), v[2:]...)
		}
	}
}
