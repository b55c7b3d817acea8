package pcapout

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	stamp0      = time.Unix(1_700_000_000, 123_456_789).UTC()
	cmpNetip    = cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}
	clientPort  = netip.MustParseAddrPort("10.99.0.1:40000")
	serverPort  = netip.MustParseAddrPort("10.99.0.2:8080")
	clientPort6 = netip.MustParseAddrPort("[fd00::1]:40000")
	serverPort6 = netip.MustParseAddrPort("[fd00::2]:8080")
)

// The pieces of the frames, byte for byte, so that no encoder can make the mistake that the decoder makes.
const (
	ethIPv4 = "020000000002 020000000001 0800"
	ethIPv6 = "020000000002 020000000001 86dd"
	vlan4   = "020000000002 020000000001 8100 2064 0800" // priority 1, VLAN 100

	// 0x0000 is the total length, to be replaced.
	ipv4   = "45 00 LEN4 1234 4000 40 06 0000 0a630001 0a630002"
	ipv6   = "60000000 LEN6 06 40 fd000000000000000000000000000001 fd000000000000000000000000000002"
	ports  = "9c40 1f90"
	synTCP = ports + "00000064 00000000 a002 faf0 0000 0000 0204 05b4 0402 080a 00000001 00000000 01 03 03 07"
	icmp4h = "45 00 LEN4 0001 0000 3f 01 0000 0a630002 0a630001"
)

// frame puts pieces together and fills in the length of the last IP header named by LEN4 (total) or LEN6 (payload).
func frame(t testing.TB, pieces ...string) []byte {
	t.Helper()
	s := strings.ReplaceAll(strings.Join(pieces, ""), " ", "")
	for {
		i := max(strings.LastIndex(s, "LEN4"), strings.LastIndex(s, "LEN6"))
		if i < 0 {
			break
		}
		n := (len(s)-i)/2 + 2 // IPv4: two bytes come before the length
		if s[i+3] == '6' {
			n = (len(s)-i)/2 - 36 // IPv6: length, next header, hop limit and addresses do not count
		}
		s = s[:i] + hex.EncodeToString([]byte{byte(n >> 8), byte(n)}) + s[i+4:]
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("frame %q: %v", s, err)
	}
	return b
}

func packet(data []byte) Packet {
	return Packet{Time: stamp0, Data: data, OrigLen: len(data), Outgoing: true}
}

// TestDecode catches wrong offsets, byte order, payload lengths taken from the capture, and lost or invented options.
func TestDecode(t *testing.T) {
	synOptions := Options{MSS: 1460, SACKPermitted: true, HasTimestamps: true, TSVal: 1, HasWScale: true, WScale: 7}
	syn := Segment{Time: stamp0, Outgoing: true, Src: clientPort, Dst: serverPort, Seq: 100, Flags: SYN, Window: 64240, Options: synOptions, IPID: 0x1234, TTL: 64}
	with := func(s Segment, change func(*Segment)) Segment { change(&s); return s }
	syn6 := with(syn, func(s *Segment) { s.Src, s.Dst, s.IPID = clientPort6, serverPort6, 0 })
	data4 := ports + "000003e8 000007d0 5018 01f6 0000 0000"
	data := Segment{Time: stamp0, Outgoing: true, Src: clientPort, Dst: serverPort, Seq: 1000, Ack: 2000, Flags: PSH | ACK, Window: 502, Length: 5, IPID: 0x1234, TTL: 64}
	noLen := strings.Replace(ipv4, "LEN4", "0000", 1)
	tests := []struct {
		name string
		link LinkType
		data []byte
		size int // of the IP packet, by its header
		cut  int // bytes that the capture misses
		want Segment
	}{
		{name: "SYN with every usual option", size: 60, data: frame(t, ethIPv4, ipv4, synTCP), want: syn},
		{name: "Ethernet by its number, not by the zero value", size: 60, link: LinkEthernet, data: frame(t, ethIPv4, ipv4, synTCP), want: syn},
		{name: "VLAN tag", size: 60, data: frame(t, vlan4, ipv4, synTCP), want: syn},
		{name: "raw IPv4", size: 60, link: LinkRaw, data: frame(t, ipv4, synTCP), want: syn},
		{name: "Linux cooked", size: 60, link: LinkLinuxSLL, data: frame(t, "0004 0001 0006 020000000001 0000 0800", ipv4, synTCP), want: syn},
		{name: "Linux cooked v2", size: 60, link: LinkLinuxSLL2, data: frame(t, "0800 0000 00000002 0001 04 06 020000000001 0000", ipv4, synTCP), want: syn},
		{name: "IPv6", size: 80, data: frame(t, ethIPv6, ipv6, synTCP), want: syn6},
		{name: "raw IPv6", size: 80, link: LinkIPv6, data: frame(t, ipv6, synTCP), want: syn6},
		{name: "payload", size: 45, data: frame(t, ethIPv4, ipv4, data4, "68656c6c6f"), want: data},
		{name: "Ethernet padding is no payload", size: 42, data: append(frame(t, ethIPv4, ipv4, data4, "6865"), 0, 0, 0, 0),
			want: with(data, func(s *Segment) { s.Length = 2 })},
		{name: "payload cut by the snap length", size: 45, data: frame(t, ethIPv4, ipv4, data4, "68656c6c6f"), cut: 4,
			want: with(data, func(s *Segment) { s.Truncated = true })},
		{name: "IPv6 payload cut by the snap length", size: 65, data: frame(t, ethIPv6, ipv6, data4, "68656c6c6f"), cut: 4,
			want: with(data, func(s *Segment) { s.Src, s.Dst, s.IPID, s.Truncated = clientPort6, serverPort6, 0, true })},
		{name: "total length 0 of a large offloaded packet", size: 3040, data: frame(t, ethIPv4, noLen, data4, strings.Repeat("61", 3000)),
			want: with(data, func(s *Segment) { s.Length = 3000 })},
		{name: "total length 0 above 65535", size: 65535, data: frame(t, ethIPv4, noLen, data4, strings.Repeat("61", 70000)),
			want: with(data, func(s *Segment) { s.Length = 70000 })},
		{name: "IPv6 destination options", size: 73, data: frame(t, ethIPv6, strings.Replace(ipv6, "06 40", "3c 40", 1), "06 00 01 04 00000000", data4, "68656c6c6f"),
			want: with(data, func(s *Segment) { s.Src, s.Dst, s.IPID = clientPort6, serverPort6, 0 })},
		{name: "IPv6 hop-by-hop options", size: 73, data: frame(t, ethIPv6, strings.Replace(ipv6, "06 40", "00 40", 1), "06 00 01 04 00000000", data4, "68656c6c6f"),
			want: with(data, func(s *Segment) { s.Src, s.Dst, s.IPID = clientPort6, serverPort6, 0 })},
		{name: "IPv6 jumbogram, cut by the snap length", size: 40 + 70028, data: frame(t, ethIPv6, strings.Replace(strings.Replace(ipv6, "06 40", "00 40", 1), "LEN6", "0000", 1), "06 00 c2 04 0001118c", data4, "68656c6c6f"),
			want: with(data, func(s *Segment) {
				s.Src, s.Dst, s.IPID, s.Length, s.Truncated = clientPort6, serverPort6, 0, 70000, true
			})},
		{name: "all flags", size: 40, data: frame(t, ethIPv4, ipv4, ports, "00000001 00000002 51ff 0003 0000 0000"),
			want: with(data, func(s *Segment) { s.Seq, s.Ack, s.Window, s.Length, s.Flags = 1, 2, 3, 0, 0x1ff })},
		{name: "two SACK blocks", size: 60, data: frame(t, ethIPv4, ipv4, ports, "00000001 00000002 a010 0003 0000 0000 0101 0512 0000000a 00000014 0000001e 00000028"),
			want: with(data, func(s *Segment) {
				s.Seq, s.Ack, s.Window, s.Length, s.Flags = 1, 2, 3, 0, ACK
				s.Options.SACK = []SACKBlock{{10, 20}, {30, 40}}
			})},
		{name: "fast open cookie", size: 54, data: frame(t, ethIPv4, ipv4, ports, "00000064 00000000 8002 0003 0000 0000 220a 0102030405060708 0101", "6869"),
			want: with(data, func(s *Segment) {
				s.Seq, s.Ack, s.Window, s.Length, s.Flags = 100, 0, 3, 2, SYN
				s.Options.HasFastOpen, s.Options.FastOpen = true, []byte{1, 2, 3, 4, 5, 6, 7, 8}
			})},
		{name: "fast open cookie request", size: 44, data: frame(t, ethIPv4, ipv4, ports, "00000064 00000000 6002 0003 0000 0000 2202 0101"),
			want: with(data, func(s *Segment) {
				s.Seq, s.Ack, s.Window, s.Length, s.Flags = 100, 0, 3, 0, SYN
				s.Options.HasFastOpen = true
			})},
		{name: "experimental fast open", size: 48, data: frame(t, ethIPv4, ipv4, ports, "00000064 00000000 7002 0003 0000 0000 fe08 f989 01020304"),
			want: with(data, func(s *Segment) {
				s.Seq, s.Ack, s.Window, s.Length, s.Flags = 100, 0, 3, 0, SYN
				s.Options.HasFastOpen, s.Options.FastOpenExperimental, s.Options.FastOpen = true, true, []byte{1, 2, 3, 4}
			})},
		{name: "another experiment in kind 254 and an MSS of wrong length", size: 52, data: frame(t, ethIPv4, ipv4, ports, "00000064 00000000 8002 0003 0000 0000 fe04 abcd 0205 05b400 010101"),
			want: with(data, func(s *Segment) { s.Seq, s.Ack, s.Window, s.Length, s.Flags = 100, 0, 3, 0, SYN })},
		{name: "ICMP fragmentation needed", size: 56, data: frame(t, ethIPv4, icmp4h, "03 04 0000 0000 0578", "45 00 05dc 1234 4000 3f 06 0000 0a630001 0a630002", ports, "000003e8"),
			want: Segment{Time: stamp0, Outgoing: true, Src: netip.MustParseAddrPort("10.99.0.2:0"), Dst: netip.MustParseAddrPort("10.99.0.1:0"), IPID: 1, TTL: 63,
				ICMP: &ICMP{Type: 3, Code: 4, MTU: 1400, Src: clientPort, Dst: serverPort, Seq: 1000}}},
		{name: "ICMPv6 packet too big", size: 96, data: frame(t, ethIPv6, strings.Replace(ipv6, "06 40", "3a 40", 1), "02 00 0000 00000500", strings.Replace(ipv6, "LEN6", "05b4", 1), ports, "000003e8"),
			want: Segment{Time: stamp0, Outgoing: true, Src: netip.MustParseAddrPort("[fd00::1]:0"), Dst: netip.MustParseAddrPort("[fd00::2]:0"), TTL: 64,
				ICMP: &ICMP{Type: 2, MTU: 1280, Src: clientPort6, Dst: serverPort6, Seq: 1000}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := packet(tt.data)
			tt.want.Size = tt.size
			p.Data = p.Data[:len(p.Data)-tt.cut]
			got, err := Decode(tt.link, p)
			if err != nil {
				t.Fatalf("got error %v, want a segment", err)
			}
			if diff := cmp.Diff(tt.want, got, cmpNetip, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("segment (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDecodeErrors catches other traffic that is taken for TCP, and damage that passes as other traffic.
func TestDecodeErrors(t *testing.T) {
	tests := []struct {
		name   string
		link   LinkType
		data   []byte
		notTCP bool
		want   string
	}{
		{name: "ARP", data: frame(t, "ffffffffffff 020000000001 0806", "0001 0800 06 04 0001"), notTCP: true},
		{name: "UDP", data: frame(t, ethIPv4, strings.Replace(ipv4, "40 06", "40 11", 1), ports, "0008 0000"), notTCP: true},
		{name: "TCP in a later fragment", data: frame(t, ethIPv4, strings.Replace(ipv4, "4000", "0010", 1), synTCP), notTCP: true},
		{name: "IPv6 TCP in a later fragment", data: frame(t, ethIPv6, strings.Replace(ipv6, "06 40", "2c 40", 1), "06 00 0010 00000001", synTCP), notTCP: true},
		{name: "ICMP echo", data: frame(t, ethIPv4, icmp4h, "08 00 0000 00000001"), notTCP: true},
		{name: "ICMP error about UDP", data: frame(t, ethIPv4, icmp4h, "03 03 0000 00000000", "45 00 0020 0001 0000 40 11 0000 0a630001 0a630002", ports, "00080000"), notTCP: true},
		{name: "ICMP error that quotes too little", data: frame(t, ethIPv4, icmp4h, "03 03 0000 00000000", "45 00 0028 0001 0000 40 06 0000 0a630001 0a630002", ports), notTCP: true},
		{name: "ICMPv6 neighbour solicitation", data: frame(t, ethIPv6, strings.Replace(ipv6, "06 40", "3a ff", 1), "87 00 0000 00000000"), notTCP: true},
		{name: "no bytes", want: "link header of 0 bytes"},
		{name: "empty IP packet", link: LinkRaw, want: "empty IP packet"},
		{name: "IP version 5", data: frame(t, ethIPv4, "55", ipv4[2:], synTCP), want: "IP version 5: want 4 or 6"},
		{name: "IP header cut", data: frame(t, ethIPv4, "4500"), want: "cut short inside a header"},
		{name: "TCP header cut", data: frame(t, ethIPv4, strings.Replace(ipv4, "LEN4", "0028", 1), ports), want: "cut short inside a header"},
		{name: "TCP data offset 4", data: frame(t, ethIPv4, ipv4, ports, "00000001 00000002 4010 0003 0000 0000"), want: "data offset 4"},
		{name: "unknown link type", link: 147, data: frame(t, ethIPv4), want: "want Ethernet (1)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Decode(tt.link, packet(tt.data))
			if err == nil {
				t.Fatalf("got segment %+v, want an error", got)
			}
			if errors.Is(err, ErrNotTCP) != tt.notTCP {
				t.Errorf("got ErrNotTCP %v, want %v: %v", !tt.notTCP, tt.notTCP, err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %q, want %q in it", err, tt.want)
			}
		})
	}
}

// TestDecodeKeepsNothing catches a Segment that still points into the packet or into the pooled layers.
func TestDecodeKeepsNothing(t *testing.T) {
	b := frame(t, ethIPv4, ipv4, ports, "00000064 00000000 8002 0003 0000 0000 220a 0102030405060708 0101")
	s, err := Decode(0, packet(b))
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if got, want := s.Options.FastOpen, []byte{1, 2, 3, 4, 5, 6, 7, 8}; !cmp.Equal(got, want) {
		t.Errorf("got cookie %x after the packet was overwritten, want %x", got, want)
	}
}

// TestFlags catches names in another order than the bits, which the ladder and the goldens show.
func TestFlags(t *testing.T) {
	tests := []struct {
		name string
		in   Flags
		want string
	}{
		{"none", 0, ""},
		{"one", RST, "RST"},
		{"two", ACK | SYN, "SYN,ACK"},
		{"all", 0x1ff, "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR,AE"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.in.String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if !(SYN | ACK).Has(SYN) || SYN.Has(SYN|ACK) {
		t.Errorf("got Has(SYN,ACK of SYN) %v, want only a full match", SYN.Has(SYN|ACK))
	}
}

// TestKey catches fingerprints that differ for one packet seen twice, and equal ones for two packets.
func TestKey(t *testing.T) {
	key := func(link LinkType, b []byte) Fingerprint {
		t.Helper()
		k, err := Key(link, packet(b))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	edit := func(s, old, with string) string { return strings.Replace(s, old, with, 1) }
	base, base6 := key(0, frame(t, ethIPv4, ipv4, synTCP)), key(0, frame(t, ethIPv6, ipv6, synTCP))
	tests := []struct {
		name string
		got  Fingerprint
		base Fingerprint
		want bool // the same
	}{
		{"other MAC addresses", key(0, frame(t, "0a0000000002 0a0000000001 0800", ipv4, synTCP)), base, true},
		{"no link header", key(LinkRaw, frame(t, ipv4, synTCP)), base, true},
		{"padding", key(0, append(frame(t, ethIPv4, ipv4, synTCP), 0, 0)), base, true},
		{"one hop on", key(0, frame(t, ethIPv4, edit(ipv4, "40 06 0000", "3f 06 abcd"), synTCP)), base, true},
		{"marked by a router", key(0, frame(t, ethIPv4, edit(ipv4, "45 00", "45 03"), synTCP)), base, true},
		{"checksum filled in", key(0, frame(t, ethIPv4, ipv4, edit(synTCP, "faf0 0000", "faf0 1234"))), base, true},
		{"IPv6 one hop on and marked", key(0, frame(t, ethIPv6, edit(edit(ipv6, "6000", "6030"), "06 40", "06 3f"), edit(synTCP, "faf0 0000", "faf0 1234"))), base6, true},
		{"another IP identification", key(0, frame(t, ethIPv4, edit(ipv4, "1234", "1235"), synTCP)), base, false},
		{"another sequence number", key(0, frame(t, ethIPv4, ipv4, edit(synTCP, "00000064", "00000065"))), base, false},
		{"one byte of payload", key(0, frame(t, ethIPv4, ipv4, synTCP, "00")), base, false},
		{"another flow label", key(0, frame(t, ethIPv6, edit(ipv6, "60000000", "60000001"), synTCP)), base6, false},
		{"IPv6 against IPv4", base6, base, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.got == tt.base; got != tt.want {
				t.Errorf("got same key %v, want %v", got, tt.want)
			}
		})
	}
	b := frame(t, ethIPv4, ipv4, synTCP)
	before := string(b)
	key(0, b)
	if string(b) != before {
		t.Errorf("got a packet changed by Key, want it as it was")
	}
}
