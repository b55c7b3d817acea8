// Package pcapout is where packets enter and leave tcplab: it captures them on an interface (Source, Linux only), decodes a TCP
// segment or an ICMP error out of each (Decode), recognises the same packet in two captures (Key), and reads and writes capture
// files (Read, Write; Reader for those that do not fit into memory). It is the only package that imports gopacket.
//
// It is not for meaning: which segment is a retransmission, and whether that was right, is for package analyse.
//
// Its one trap: a capture shows a packet where the tap sits, not where it ended. A receiver's capture holds packets that its own
// iptables then dropped, a sender's capture never holds what its OUTPUT chain dropped.
package pcapout

import "time"

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
	// Lost is how many packets the capture lost between the packet before and this one (SO_RXQ_OVFL; epb_dropcount in a file). What it lost
	// after its last packet only Stats tells.
	Lost uint64
}
