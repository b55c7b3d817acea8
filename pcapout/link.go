package pcapout

import (
	"encoding/binary"
	"fmt"

	"github.com/gopacket/gopacket/layers"
)

// LinkType is a LINKTYPE number of the tcpdump group's registry: how a frame begins.
type LinkType uint16

// The link types that Decode knows. 0 is LINKTYPE_NULL in the registry; here a zero LinkType stands for Ethernet in File, and a Reader
// calls the BSD loopback LinkNull.
const (
	LinkEthernet  LinkType = 1
	LinkRaw       LinkType = 101 // no link header: the IP packet
	LinkLoop      LinkType = 108 // OpenBSD's loopback: the address family in network order
	LinkLinuxSLL  LinkType = 113 // tcpdump -i any
	LinkIPv4      LinkType = 228
	LinkIPv6      LinkType = 229
	LinkLinuxSLL2 LinkType = 276    // tcpdump -i any since libpcap 1.10.2
	LinkNull      LinkType = 0xffff // loopback of BSD and macOS: the address family in the byte order of the machine; 0 in files
)

// rawLinks are numbers that some systems write for LINKTYPE_RAW: DLT_RAW of BSD/OS and the others, DLT_RAW of OpenBSD.
const (
	rawLink12 LinkType = 12
	rawLink14 LinkType = 14
)

// String returns the name and the number, such as "Ethernet (1)".
func (l LinkType) String() string {
	if l == LinkNull {
		return "Null (0)"
	}
	return fmt.Sprintf("%v (%d)", layers.LinkType(l), uint16(l))
}

// known reports whether a File may have it. BSD's loopback is for Reader only: no host of tcplab has one.
func (l LinkType) known() bool {
	switch l {
	case LinkEthernet, LinkRaw, LinkLinuxSLL, LinkIPv4, LinkIPv6, LinkLinuxSLL2:
		return true
	}
	return false
}

// Decodes reports whether Decode knows the link type.
func (l LinkType) Decodes() bool {
	switch l {
	case LinkLoop, LinkNull, rawLink12, rawLink14:
		return true
	}
	return l.orEthernet().known()
}

// orEthernet gives the zero value its meaning.
func (l LinkType) orEthernet() LinkType {
	if l == 0 {
		return LinkEthernet
	}
	return l
}

// Numbers of EtherType.
const (
	etherIPv4  = 0x0800
	etherARP   = 0x0806
	etherVLAN  = 0x8100
	etherIPv6  = 0x86dd
	etherMPLS  = 0x8847
	etherPPPoE = 0x8864
	etherQinQ  = 0x88a8
	etherOld   = 0x9100 // QinQ before 802.1ad
)

// network returns the IP packet of a frame with whatever trails it.
func network(link LinkType, frame []byte) ([]byte, error) {
	var kind, head int
	switch link {
	case LinkRaw, LinkIPv4, LinkIPv6, rawLink12, rawLink14:
		return frame, nil
	case LinkEthernet:
		kind, head = 12, 14
	case LinkLinuxSLL:
		kind, head = 14, 16
	case LinkLinuxSLL2:
		kind, head = 0, 20
	case LinkNull, LinkLoop:
		return loopback(frame)
	default:
		return nil, fmt.Errorf("link type %v: want Ethernet (1), raw IP (101), Linux cooked (113, 276) or loopback (0, 108)", link)
	}
	if len(frame) < head {
		return nil, fmt.Errorf("link header of %d bytes: want %d", len(frame), head)
	}
	return payload(binary.BigEndian.Uint16(frame[kind:]), frame[head:])
}

// payload steps over what lies between a link header and IP.
func payload(ether uint16, b []byte) ([]byte, error) {
	for {
		switch ether {
		case etherIPv4, etherIPv6:
			return b, nil
		case etherARP:
			return nil, otherARP
		case etherVLAN, etherQinQ, etherOld:
			if len(b) < 4 {
				return nil, fmt.Errorf("link header of %d bytes behind a VLAN tag: want 4", len(b))
			}
			ether, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		case etherMPLS:
			for bottom := false; !bottom; b = b[4:] {
				if len(b) < 4 {
					return nil, fmt.Errorf("MPLS label of %d bytes: want 4", len(b))
				}
				bottom = b[2]&1 != 0
			}
			if len(b) == 0 || b[0]>>4 != 4 && b[0]>>4 != 6 {
				return nil, otherTraffic
			}
			return b, nil
		case etherPPPoE:
			if len(b) < 8 {
				return nil, fmt.Errorf("PPPoE header of %d bytes: want 8", len(b))
			}
			switch p := binary.BigEndian.Uint16(b[6:]); p {
			case 0x0021, 0x0057: // IPv4, IPv6
				return b[8:], nil
			}
			return nil, otherTraffic
		default:
			return nil, otherTraffic
		}
	}
}

// loopback steps over the address family of a BSD loopback, which is in the byte order of the machine that captured.
func loopback(frame []byte) ([]byte, error) {
	if len(frame) < 4 {
		return nil, fmt.Errorf("link header of %d bytes: want 4", len(frame))
	}
	family := binary.LittleEndian.Uint32(frame)
	if family > 0xffff {
		family = binary.BigEndian.Uint32(frame)
	}
	switch family {
	case 2, 10, 24, 28, 30: // AF_INET; AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS
		return frame[4:], nil
	}
	return nil, otherTraffic
}
