// Package pcapout is where packets enter and leave tcplab: it captures them on an interface (Source, Linux only), decodes a TCP
// segment or an ICMP error out of each (Decode), recognises the same packet in two captures (Key), and reads and writes capture
// files (Read, Write). It is the only package that imports gopacket.
//
// It is not for meaning: which segment is a retransmission, and whether that was right, is for package analyse.
//
// Its one trap: a capture shows a packet where the tap sits, not where it ended. A receiver's capture holds packets that its own
// iptables then dropped, a sender's capture never holds what its OUTPUT chain dropped.
package pcapout

import (
	"fmt"
	"time"

	"github.com/gopacket/gopacket/layers"
)

// Packet is one captured frame.
type Packet struct {
	// Time is the kernel's software stamp, CLOCK_REALTIME, nanoseconds. It is taken at the tap, not when the frame was read.
	Time time.Time
	// Data is the frame from its link header on, without the frame check sequence.
	Data []byte
	// OrigLen is the length of the frame on the wire in bytes, at least len(Data).
	OrigLen int
	// Outgoing is true for a frame that the captured host sent.
	Outgoing bool
}

// LinkType is a LINKTYPE number of the tcpdump group's registry: how a frame begins.
type LinkType uint16

// The link types that Decode knows. 0 is LINKTYPE_NULL in the registry, which tcplab does not read; so a zero LinkType can stand for
// Ethernet in File.
const (
	LinkEthernet  LinkType = 1
	LinkRaw       LinkType = 101 // no link header: the IP packet
	LinkLinuxSLL  LinkType = 113 // tcpdump -i any
	LinkIPv4      LinkType = 228
	LinkIPv6      LinkType = 229
	LinkLinuxSLL2 LinkType = 276 // tcpdump -i any since libpcap 1.10.2
)

// String returns the name and the number, such as "Ethernet (1)".
func (l LinkType) String() string { return fmt.Sprintf("%v (%d)", layers.LinkType(l), uint16(l)) }

func (l LinkType) known() bool {
	switch l {
	case LinkEthernet, LinkRaw, LinkLinuxSLL, LinkIPv4, LinkIPv6, LinkLinuxSLL2:
		return true
	}
	return false
}

// orEthernet gives the zero value its meaning.
func (l LinkType) orEthernet() LinkType {
	if l == 0 {
		return LinkEthernet
	}
	return l
}
