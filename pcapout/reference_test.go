package pcapout

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// refDecode is a decoder made of gopacket's layers: what Decode must agree with (FuzzDecode).
func refDecode(link LinkType, p Packet) (Segment, error) {
	d := refDecoders.Get().(*refDecoder)
	defer refDecoders.Put(d)
	ip, err := d.network(link.orEthernet(), p.Data)
	if err != nil {
		return Segment{}, err
	}
	return d.segment(ip, p)
}

// refDecoder holds the layers that the parsers fill. Its layers point into the packet until the next one is decoded, so nothing of
// them may go into a Segment without a copy.
type refDecoder struct {
	eth  layers.Ethernet
	tag  layers.Dot1Q
	sll  layers.LinuxSLL
	sll2 layers.LinuxSLL2
	ip4  layers.IPv4
	ip6  layers.IPv6
	ext  layers.IPv6ExtensionSkipper
	frag layers.IPv6Fragment
	tcp  layers.TCP
	icm4 layers.ICMPv4
	icm6 layers.ICMPv6

	link   map[LinkType]*gopacket.DecodingLayerParser
	v4, v6 *gopacket.DecodingLayerParser
	types  []gopacket.LayerType
}

var refDecoders = sync.Pool{New: func() any { return newRefDecoder() }}

func newRefDecoder() *refDecoder {
	d := &refDecoder{link: map[LinkType]*gopacket.DecodingLayerParser{}}
	parser := func(first gopacket.LayerType, all ...gopacket.DecodingLayer) *gopacket.DecodingLayerParser {
		p := gopacket.NewDecodingLayerParser(first, all...)
		p.IgnoreUnsupported = true // a layer that is not in the list ends the walk; it is no error
		return p
	}
	d.link[LinkEthernet] = parser(layers.LayerTypeEthernet, &d.eth, &d.tag)
	d.link[LinkLinuxSLL] = parser(layers.LayerTypeLinuxSLL, &d.sll, &d.tag)
	d.link[LinkLinuxSLL2] = parser(layers.LayerTypeLinuxSLL2, &d.sll2, &d.tag)
	// The fragment layer comes after the skipper and takes its place: behind a fragment header only the first piece has a TCP
	// header, and the skipper does not look.
	all := []gopacket.DecodingLayer{&d.ip4, &d.ip6, &d.ext, &d.frag, &d.tcp, &d.icm4, &d.icm6}
	d.v4 = parser(layers.LayerTypeIPv4, all...)
	d.v6 = parser(layers.LayerTypeIPv6, all...)
	return d
}

// network returns the IP packet of a frame with whatever trails it.
func (d *refDecoder) network(link LinkType, frame []byte) ([]byte, error) {
	switch link {
	case LinkRaw, LinkIPv4, LinkIPv6:
		return frame, nil
	}
	p := d.link[link]
	if p == nil {
		return nil, fmt.Errorf("link type %v: want Ethernet (1), raw IP (101) or Linux cooked (113, 276)", link)
	}
	if err := p.DecodeLayers(frame, &d.types); err != nil {
		return nil, fmt.Errorf("link header of %d bytes: %w", len(frame), err)
	}
	var last gopacket.DecodingLayer
	switch d.types[len(d.types)-1] {
	case layers.LayerTypeEthernet:
		last = &d.eth
	case layers.LayerTypeDot1Q:
		last = &d.tag
	case layers.LayerTypeLinuxSLL:
		last = &d.sll
	case layers.LayerTypeLinuxSLL2:
		last = &d.sll2
	}
	if t := last.NextLayerType(); t != layers.LayerTypeIPv4 && t != layers.LayerTypeIPv6 {
		return nil, ErrNotTCP
	}
	return last.LayerPayload(), nil
}

// segment decodes an IP packet. The version is the packet's own, as the kernel checks it too (ip_rcv_core, ip6_rcv_core).
func (d *refDecoder) segment(ip []byte, p Packet) (Segment, error) {
	parser, err := d.parser(ip)
	if err != nil {
		return Segment{}, err
	}
	s := Segment{Time: p.Time, Outgoing: p.Outgoing}
	if err := parser.DecodeLayers(ip, &d.types); err != nil {
		if parser.Truncated {
			return s, fmt.Errorf("packet of %d bytes, %d captured: cut short inside a header: %w", p.OrigLen, len(p.Data), err)
		}
		return s, fmt.Errorf("packet of %d bytes: %w", p.OrigLen, err)
	}
	s.Truncated = parser.Truncated
	last := d.types[len(d.types)-1]
	var inner gopacket.LayerType // the innermost IP header
	for _, t := range d.types {
		if t == layers.LayerTypeIPv4 || t == layers.LayerTypeIPv6 {
			inner = t
		}
	}
	var src, dst netip.Addr
	if inner == layers.LayerTypeIPv4 {
		src, _ = netip.AddrFromSlice(d.ip4.SrcIP)
		dst, _ = netip.AddrFromSlice(d.ip4.DstIP)
		s.IPID, s.TTL, s.Size = d.ip4.Id, d.ip4.TTL, int(d.ip4.Length)
	} else {
		src, _ = netip.AddrFromSlice(d.ip6.SrcIP)
		dst, _ = netip.AddrFromSlice(d.ip6.DstIP)
		s.TTL, s.Size = d.ip6.HopLimit, len(d.ip6.Contents)+int(d.ip6.Length)
	}
	switch last {
	case layers.LayerTypeTCP:
		s.Src = netip.AddrPortFrom(src, uint16(d.tcp.SrcPort))
		s.Dst = netip.AddrPortFrom(dst, uint16(d.tcp.DstPort))
		d.fillTCP(&s, inner)
		return s, gaveUp(d.tcp.Padding)
	case layers.LayerTypeICMPv4, layers.LayerTypeICMPv6:
		s.Src, s.Dst = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
		s.ICMP = d.icmp(last)
	}
	if s.ICMP == nil {
		return Segment{}, ErrNotTCP
	}
	return s, nil
}

// parser picks the IP version by the first four bits.
func (d *refDecoder) parser(ip []byte) (*gopacket.DecodingLayerParser, error) {
	if len(ip) == 0 {
		return nil, errors.New("empty IP packet: want at least a header")
	}
	switch v := ip[0] >> 4; v {
	case 4:
		return d.v4, nil
	case 6:
		return d.v6, nil
	default:
		return nil, fmt.Errorf("IP version %d: want 4 or 6", v)
	}
}

func (d *refDecoder) fillTCP(s *Segment, inner gopacket.LayerType) {
	t := &d.tcp
	s.Seq, s.Ack, s.Window = t.Seq, t.Ack, t.Window
	for i, set := range [...]bool{t.FIN, t.SYN, t.RST, t.PSH, t.ACK, t.URG, t.ECE, t.CWR, t.NS} {
		if set {
			s.Flags |= 1 << i
		}
	}
	// What follows the IP header in the capture, and how much of it is not the TCP segment: IPv6 extension headers.
	captured := len(t.Contents) + len(t.Payload)
	if inner == layers.LayerTypeIPv4 {
		s.Length = int(d.ip4.Length) - len(d.ip4.Contents) - len(t.Contents)
		if captured-len(t.Contents) > s.Length {
			s.Length = len(t.Payload) // BIG TCP: the total length is 0, and gopacket fills in at most 65535
		}
	} else {
		rest := len(d.ip6.Payload) - captured
		if d.ip6.HopByHop != nil {
			rest += d.ip6.HopByHop.ActualLength
		}
		length := int(d.ip6.Length)
		if length == 0 { // jumbogram: the length is in a hop-by-hop option, which gopacket demands
			for _, o := range d.ip6.HopByHop.Options {
				if o.OptionType == layers.IPv6HopByHopOptionJumbogram {
					length = int(binary.BigEndian.Uint32(o.OptionData))
					break
				}
			}
		}
		s.Length, s.Size = length-rest-len(t.Contents), len(d.ip6.Contents)+length
	}
	s.Options = refOptions(t.Options)
}

// gaveUp is the error for options that gopacket does not read to their end: at one of MPTCP with a length that it does not know. The kernel goes by its length
// to the next (tcp_parse_options), and so does Decode.
func gaveUp(rest []byte) error {
	if len(rest) > 0 && rest[0] == layers.TCPOptionKindMultipathTCP {
		return errors.New("gopacket has read no option from one of MPTCP on")
	}
	return nil
}

// refOptions copies the options that tcplab names; the lengths are those of tcp_parse_options.
func refOptions(in []layers.TCPOption) Options {
	var o Options
	for _, opt := range in {
		d := opt.OptionData
		switch {
		case opt.OptionType == layers.TCPOptionKindMSS && len(d) == 2:
			o.MSS = binary.BigEndian.Uint16(d)
		case opt.OptionType == layers.TCPOptionKindWindowScale && len(d) == 1:
			o.HasWScale, o.WScale = true, d[0]
		case opt.OptionType == layers.TCPOptionKindSACKPermitted && len(d) == 0:
			o.SACKPermitted = true
		case opt.OptionType == layers.TCPOptionKindSACK && len(d) > 0 && len(d)%8 == 0:
			for b := range slices.Chunk(d, 8) {
				o.SACK = append(o.SACK, SACKBlock{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])})
			}
		case opt.OptionType == layers.TCPOptionKindTimestamps && len(d) == 8:
			o.HasTimestamps = true
			o.TSVal, o.TSEcr = binary.BigEndian.Uint32(d), binary.BigEndian.Uint32(d[4:])
		case opt.OptionType == 34: // TCPOPT_FASTOPEN
			o.HasFastOpen, o.FastOpen = true, slices.Clone(d)
		case opt.OptionType == 254 && len(d) >= 2 && binary.BigEndian.Uint16(d) == 0xF989: // TCPOPT_EXP, TCPOPT_FASTOPEN_MAGIC
			o.HasFastOpen, o.FastOpenExperimental, o.FastOpen = true, true, slices.Clone(d[2:])
		}
	}
	return o
}

// icmp returns nil where the message is no error or quotes no TCP header.
func (d *refDecoder) icmp(version gopacket.LayerType) *ICMP {
	var m ICMP
	var quote []byte
	if version == layers.LayerTypeICMPv4 {
		m.Type, m.Code, quote = d.icm4.TypeCode.Type(), d.icm4.TypeCode.Code(), d.icm4.Payload
		switch m.Type {
		case layers.ICMPv4TypeDestinationUnreachable:
			if m.Code == layers.ICMPv4CodeFragmentationNeeded {
				m.MTU = uint32(d.icm4.Seq) // the second half of the unused word (RFC 1191 section 4)
			}
		case layers.ICMPv4TypeSourceQuench, layers.ICMPv4TypeRedirect, layers.ICMPv4TypeTimeExceeded, layers.ICMPv4TypeParameterProblem:
		default:
			return nil
		}
	} else {
		m.Type, m.Code = d.icm6.TypeCode.Type(), d.icm6.TypeCode.Code()
		if m.Type >= 128 || len(d.icm6.Payload) < 4 { // 128 and up inform, below are errors (RFC 4443 section 2.1)
			return nil
		}
		quote = d.icm6.Payload[4:]
		if m.Type == layers.ICMPv6TypePacketTooBig {
			m.MTU = binary.BigEndian.Uint32(d.icm6.Payload)
		}
	}
	if !refQuoted(&m, quote) {
		return nil
	}
	return &m
}

// refQuoted reads the IP header and the first 8 bytes behind it, which is all that a router must quote (RFC 792).
func refQuoted(m *ICMP, b []byte) bool {
	var src, dst []byte
	var next gopacket.LayerType
	var tcp []byte
	if len(b) == 0 {
		return false
	}
	switch b[0] >> 4 {
	case 4:
		var ip layers.IPv4
		if ip.DecodeFromBytes(b, gopacket.NilDecodeFeedback) != nil {
			return false
		}
		src, dst, next, tcp = ip.SrcIP, ip.DstIP, ip.NextLayerType(), ip.Payload
	case 6:
		var ip layers.IPv6
		if ip.DecodeFromBytes(b, gopacket.NilDecodeFeedback) != nil {
			return false
		}
		src, dst, next, tcp = ip.SrcIP, ip.DstIP, ip.NextLayerType(), ip.Payload
	}
	if next != layers.LayerTypeTCP || len(tcp) < 8 {
		return false
	}
	s, _ := netip.AddrFromSlice(src)
	t, _ := netip.AddrFromSlice(dst)
	m.Src = netip.AddrPortFrom(s, binary.BigEndian.Uint16(tcp))
	m.Dst = netip.AddrPortFrom(t, binary.BigEndian.Uint16(tcp[2:]))
	m.Seq = binary.BigEndian.Uint32(tcp[4:])
	return true
}
