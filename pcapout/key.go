package pcapout

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Fingerprint names an IP packet by its content.
type Fingerprint [sha256.Size]byte

// Key returns the fingerprint by which the same IP packet is recognised in the captures of both ends. The zero link is Ethernet.
// The link header, padding behind the IP packet, and every field that the path may rewrite are left out: traffic class with the ECN
// bits, TTL, the IPv4 header checksum, and the TCP or UDP checksum, which a sender with checksum offload has not filled in yet.
//
// It does not tell two identical packets apart: a SYN-ACK without timestamps and its repeat have the same key (the kernel gives both
// the IP identification 0). Pair packets of one key in order. The error is that of Decode for a frame without an IP packet.
func Key(link LinkType, p Packet) (Fingerprint, error) {
	ip, err := network(link.orEthernet(), p.Data)
	if err != nil {
		return Fingerprint{}, err
	}
	if len(ip) == 0 {
		return Fingerprint{}, errors.New("empty IP packet: want at least a header")
	}
	if v := ip[0] >> 4; v != 4 && v != 6 {
		return Fingerprint{}, fmt.Errorf("IP version %d: want 4 or 6", v)
	}
	return sha256.Sum256(immutable(slices.Clone(ip))), nil
}

// immutable cuts and blanks a copy of an IP packet. A packet too short for its header stays as it is.
func immutable(b []byte) []byte {
	proto := -1
	var head int
	switch {
	case b[0]>>4 == 4 && len(b) >= 20:
		if total := int(binary.BigEndian.Uint16(b[2:])); total >= 20 && total < len(b) {
			b = b[:total]
		}
		b[1], b[8], b[10], b[11] = 0, 0, 0, 0 // TOS, TTL, checksum
		if binary.BigEndian.Uint16(b[6:])&0x1fff == 0 {
			proto, head = int(b[9]), int(b[0]&0xf)*4
		}
	case b[0]>>4 == 6 && len(b) >= 40:
		if n := int(binary.BigEndian.Uint16(b[4:])); n > 0 && 40+n < len(b) {
			b = b[:40+n]
		}
		b[0], b[1], b[7] = 0x60, b[1]&0x0f, 0 // traffic class, hop limit; the flow label stays
		proto, head = int(b[6]), 40
	}
	at := 0
	switch proto {
	case protoTCP:
		at = head + 16
	case protoUDP:
		at = head + 6
	}
	if at > 0 && at+2 <= len(b) {
		b[at], b[at+1] = 0, 0
	}
	return b
}
