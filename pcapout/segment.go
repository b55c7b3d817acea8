package pcapout

import (
	"net/netip"
	"strings"
	"time"
)

// Flags is the set of TCP control bits, with the bit values of the header (RFC 9293 section 3.1; AE: RFC 9768).
type Flags uint16

// The control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
	AE // NS in older texts
)

var flagNames = [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"}

// Has reports whether every bit of all is set.
func (f Flags) Has(all Flags) bool { return f&all == all }

// String lists the set bits from FIN up, separated by commas: "SYN,ACK". It is empty for no bits.
func (f Flags) String() string {
	var set []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, ",")
}

// Segment is a TCP segment, or an ICMP error that quotes one. It holds no reference to the packet it was decoded from.
type Segment struct {
	Time     time.Time // Packet.Time
	Outgoing bool      // Packet.Outgoing

	Src, Dst netip.AddrPort // the ports of an ICMP error are 0
	Seq, Ack uint32         // as in the header; Ack means nothing without the ACK flag
	Flags    Flags
	Window   uint16 // as in the header: not scaled
	// Length is the payload in bytes. It comes from the IP header, so that a short capture does not shorten the segment.
	Length  int
	Options Options

	// Size is the IP packet in bytes, with its headers and also where the capture is cut short, as iptables' match "length" counts it. Of
	// an ICMP error it is the error's own.
	Size int

	IPID      uint16 // identification; 0 for IPv6
	TTL       uint8  // TTL or hop limit
	Truncated bool   // the capture holds less than the IP packet
	// OptionsCut: the capture ends inside the options. Those that are missing from Options may have been there.
	OptionsCut bool
	Fragment   bool // the first piece of an IP packet in fragments: Length is what this piece holds

	ICMP *ICMP // nil for a TCP segment
}

// Options are the TCP options of a segment. The zero value is a segment without options. An option whose length is wrong is left
// out, as the kernel leaves it out (tcp_parse_options).
type Options struct {
	MSS           uint16 // bytes; 0: absent
	HasWScale     bool
	WScale        uint8 // shift count as sent, 0 to 255; the kernel uses at most 14
	SACKPermitted bool
	SACK          []SACKBlock // in the order of the segment
	HasTimestamps bool
	TSVal, TSEcr  uint32
	HasFastOpen   bool   // kind 34, or kind 254 with the magic number 0xF989 (RFC 7413, and its draft)
	FastOpen      []byte // the cookie; empty: a request for one
	// FastOpenExperimental: the option is the draft's, of kind 254.
	FastOpenExperimental bool
}

// SACKBlock is one block of received data: [Left, Right) (RFC 2018 section 3).
type SACKBlock struct{ Left, Right uint32 }

// ICMP is what an ICMPv4 or ICMPv6 error says about a TCP segment.
type ICMP struct {
	Type, Code uint8
	MTU        uint32         // next-hop MTU of "fragmentation needed" and "packet too big"; 0 elsewhere
	Src, Dst   netip.AddrPort // the quoted segment's, as it was sent
	Seq        uint32         // the quoted segment's
}
