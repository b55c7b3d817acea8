package pcapout

import (
	"net/netip"
	"time"
)

// File is the content of one capture file: one section, one interface. The zero value is an empty capture on Ethernet.
type File struct {
	Comment     string // of the section: experiment, fault, verdict
	Hardware    string
	OS          string
	Application string

	Interface   string   // if_name, such as "client/eth0"
	Description string   // if_description
	Link        LinkType // 0: Ethernet. Read never returns 0
	SnapLen     uint32   // bytes of a frame that the capture keeps; 0: no limit

	Names   []Name   // what the addresses are called; tshark shows them with -N n
	Records []Record // in the order of the capture

	// Statistics is nil where nobody counted: in a classic pcap file, and in a pcapng file that has no drop counter.
	Statistics *Statistics
}

// Name is one name of one address.
type Name struct {
	Addr netip.Addr
	Name string
}

// Record is a packet with what the file says about it.
type Record struct {
	Packet
	// DirectionUnknown is set by Read where the file does not say which way the packet went; Outgoing then means nothing. Classic
	// pcap never says.
	DirectionUnknown bool
	// ID is epb_packetid: equal in two files for the same packet. 0: none.
	ID       uint64
	Comments []string
}

// Statistics are the counters of the capture, as Source.Stats has them. A capture that dropped packets proves nothing about packets
// that are not in it.
type Statistics struct {
	Start, End time.Time // of the capture; zero: not known
	Received   uint64    // packets that passed the filter, the dropped ones included
	Dropped    uint64    // packets that were received and are not in the file
}
