package pcapout

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// seen is what a test looks at in a Frame.
type seen struct {
	Iface    int
	Link     LinkType
	Time     time.Time
	Data     string
	Orig     int
	NoTime   bool
	Outgoing bool
}

// all reads every packet of a file, and how it ended.
func all(b []byte) ([]seen, Info, error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, Info{}, err
	}
	var out []seen
	for {
		var f Frame
		if err := r.Next(&f); err != nil {
			if err == io.EOF {
				err = nil
			}
			return out, r.Info(), err
		}
		out = append(out, seen{f.Interface, f.Link, f.Time, string(f.Data), f.OrigLen, f.NoTime, f.Outgoing})
	}
}

// TestReaderNg catches a pcapng file of another program that is read as something else: several interfaces with resolutions and offsets of
// their own, a second section in the other byte order, simple and obsolete packet blocks, blocks that nobody knows.
func TestReaderNg(t *testing.T) {
	le, be := binary.LittleEndian, binary.BigEndian
	section := func(o binary.AppendByteOrder) []byte {
		return block(o, 0x0A0D0D0A, o.AppendUint32(nil, 0x1A2B3C4D), o.AppendUint16(o.AppendUint16(nil, 1), 0), o.AppendUint64(nil, 1<<64-1))
	}
	iface := func(o binary.AppendByteOrder, link uint16, snap uint32, opts ...[]byte) []byte {
		return block(o, 1, o.AppendUint16(nil, link), []byte{0, 0}, o.AppendUint32(nil, snap), bytes.Join(opts, nil))
	}
	enhanced := func(o binary.AppendByteOrder, i uint32, ts uint64, data string) []byte {
		head := []byte{}
		for _, v := range []uint32{i, uint32(ts >> 32), uint32(ts), uint32(len(data)), 100} {
			head = o.AppendUint32(head, v)
		}
		return block(o, 6, head, []byte(data), make([]byte, -len(data)&3))
	}
	at := time.Unix(1_700_000_000, 0).UTC()
	sec := uint64(at.Unix())
	file := bytes.Join([][]byte{
		section(le),
		iface(le, 1, 0),
		iface(le, 101, 5, option(le, 9, []byte{0x80 | 10}), option(le, 14, le.AppendUint64(nil, 5))), // 1/1024 s, 5 s later
		block(le, 0x40000BAD, []byte("whatever")),
		enhanced(le, 0, sec*1_000_000+7, "one"),
		enhanced(le, 1, sec<<10+512, "two"),
		block(le, 3, le.AppendUint32(nil, 3), []byte("abc\x00")),
		block(le, 2, le.AppendUint16(le.AppendUint16(nil, 1), 0), le.AppendUint32(le.AppendUint32(nil, uint32((sec<<10)>>32)), uint32(sec<<10)),
			le.AppendUint32(le.AppendUint32(nil, 4), 4), []byte("four")),
		section(be),
		iface(be, 0, 0, option(be, 9, []byte{9})),
		enhanced(be, 0, sec*1_000_000_000+9, "five"),
	}, nil)
	want := []seen{
		{0, LinkEthernet, at.Add(7 * time.Microsecond), "one", 100, false, false},
		{1, LinkRaw, at.Add(5*time.Second + 500*time.Millisecond), "two", 100, false, false},
		{0, LinkEthernet, at.Add(5*time.Second + 500*time.Millisecond), "abc", 3, true, false},
		{1, LinkRaw, at.Add(5 * time.Second), "four", 4, false, false},
		{2, LinkNull, at.Add(9 * time.Nanosecond), "five", 100, false, false},
	}
	got, info, err := all(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
	if info.Sections != 2 || len(info.Interfaces) != 3 || info.Interfaces[2].Section != 1 {
		t.Errorf("got %d sections and interfaces %+v, want 2 and 3", info.Sections, info.Interfaces)
	}
}

// TestReaderCut catches a file cut short that loses what it held, hangs, or passes for whole: cut at every byte.
func TestReaderCut(t *testing.T) {
	data := frame(t, ethIPv4, ipv4, synTCP)
	ng, err := os.ReadFile("testdata/sample.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	old := classic(binary.LittleEndian, 0xa1b2c3d4, 0, data)
	old = append(old, old[24:]...)
	for name, whole := range map[string][]byte{"pcapng": ng, "pcap": old, "gzip": zip(t, old)} {
		full, _, err := all(whole)
		if err != nil || len(full) < 2 {
			t.Fatalf("%s: got %d packets, %v", name, len(full), err)
		}
		clean := 0
		for n := range whole {
			got, _, err := all(whole[:n])
			var cut *CutError
			switch {
			case len(got) > len(full) || !cmp.Equal(got, full[:len(got)]) && len(got) > 0:
				t.Errorf("%s cut to %d bytes: got other packets", name, n)
			case err == nil:
				clean++
			case !errors.Is(err, io.ErrUnexpectedEOF):
				t.Errorf("%s cut to %d bytes: got %v, want io.ErrUnexpectedEOF", name, n, err)
			case errors.As(err, &cut) && (cut.Packets != int64(len(got)) || name != "gzip" && int(cut.Offset)+cut.Have != n):
				t.Errorf("%s cut to %d bytes behind %d packets: got %v", name, n, len(got), cut)
			}
		}
		// A cut between two records cannot be seen: pcapng has 6 such places, pcap 2.
		if want := map[string]int{"pcapng": 6, "pcap": 2}[name]; clean != want {
			t.Errorf("%s: got %d cuts that look whole, want %d", name, clean, want)
		}
	}
}

// TestReaderBroken catches damage in the middle that is read as packets, and an error that does not say where it is.
func TestReaderBroken(t *testing.T) {
	le := binary.LittleEndian
	data := frame(t, ethIPv4, ipv4, synTCP)
	s, i, p := foreign(le, 1, data)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	wrong := func(b []byte, at int, v uint32) []byte {
		b = bytes.Clone(b)
		le.PutUint32(b[at:], v)
		return b
	}
	for name, file := range map[string][]byte{
		"two lengths that differ":      join(s, i, p, wrong(p, len(p)-4, 80)),
		"length no multiple of 4":      join(s, i, p, wrong(p, 4, 81)),
		"packet longer than its block": join(s, i, p, wrong(p, 20, 5000)),
		"packet of a huge block":       join(s, i, p, wrong(p, 4, 1<<30)),
		"interface that is not there":  join(s, i, p, wrong(p, 8, 7)),
	} {
		got, _, err := all(file)
		var broken *BrokenError
		if !errors.As(err, &broken) || len(got) != 1 || broken.Packets != 1 || broken.Offset != int64(len(s)+len(i)+len(p)) {
			t.Errorf("%s: got %d packets and %v, want 1 and a place", name, len(got), err)
		}
	}
}

// TestLinks catches a link type of another system that is taken for something else.
func TestLinks(t *testing.T) {
	const qinq = "020000000002 020000000001 88a8 0064 8100 0065 0800"
	want := Segment{Time: stamp0, Outgoing: true, Src: clientPort, Dst: serverPort, Seq: 100, Flags: SYN, Window: 64240, IPID: 0x1234, TTL: 64, Size: 60,
		Options: Options{MSS: 1460, SACKPermitted: true, HasTimestamps: true, TSVal: 1, HasWScale: true, WScale: 7}}
	for _, tt := range []struct {
		name string
		link LinkType
		head string
	}{
		{"loopback of a little-endian machine", LinkNull, "02000000"},
		{"loopback of a big-endian machine", LinkNull, "00000002"},
		{"loopback of OpenBSD", LinkLoop, "00000002"},
		{"raw IP of BSD/OS", rawLink12, ""},
		{"QinQ", LinkEthernet, qinq},
		{"MPLS, two labels", LinkEthernet, "020000000002 020000000001 8847 00010040 00020140"},
		{"PPPoE", LinkEthernet, "020000000002 020000000001 8864 1100 0001 003e 0021"},
	} {
		got, err := Decode(tt.link, packet(frame(t, tt.head, ipv4, synTCP)))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmpNetip); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	for _, tt := range []struct {
		link LinkType
		head string
	}{{LinkNull, "07000000"}, {LinkEthernet, "020000000002 020000000001 8847 00010140 55"}, {LinkEthernet, "020000000002 020000000001 8864 1100 0001 003e c021"}} {
		if _, err := Decode(tt.link, packet(frame(t, tt.head, ipv4, synTCP))); !errors.Is(err, ErrNotTCP) {
			t.Errorf("%v %s: got %v, want ErrNotTCP", tt.link, tt.head, err)
		}
	}
}

// TestOptionsCut catches a segment that is given up because the snap length took its last options.
func TestOptionsCut(t *testing.T) {
	p := packet(frame(t, ethIPv4, ipv4, synTCP))
	p.Data = p.Data[:len(p.Data)-12]
	s, err := Decode(0, p)
	if err != nil {
		t.Fatal(err)
	}
	if !s.OptionsCut || !s.Truncated || s.Length != 0 || s.Options.MSS != 1460 || s.Options.HasWScale {
		t.Errorf("got %+v, want a SYN with MSS and without window scale, cut", s)
	}
}

// TestOptionsBehindMPTCP catches options that are not read because one of MPTCP before them has a length that MPTCP does not have: the kernel goes on behind it
// (tcp_parse_options). Found by FuzzDecode, against gopacket, which stops there.
func TestOptionsBehindMPTCP(t *testing.T) {
	// 20 bytes of TCP with an offset of 8, MPTCP of 2 bytes, MSS 1460, Fast Open with a cookie of 2 bytes, an end
	p := packet(frame(t, ethIPv4, "45000034 0001 4000 40 06 0000 0a630001 0a630002", "9c40 1f90 00000001 00000000 80 02 ffff 0000 0000 1e02 020405b4 2204abcd 0000"))
	s, err := Decode(0, p)
	if err != nil || s.Options.MSS != 1460 || !s.Options.HasFastOpen || string(s.Options.FastOpen) != "\xab\xcd" {
		t.Errorf("got %+v, %v, want MSS 1460 and a cookie", s.Options, err)
	}
}

// TestSegments catches segments that are lost, come twice or in another order between the two goroutines, and a goroutine that is left
// behind when the caller has had enough.
func TestSegments(t *testing.T) {
	data := frame(t, ethIPv4, ipv4, synTCP)
	file := classic(binary.LittleEndian, 0xa1b2c3d4, 0, data)
	const n = 3*batch*batches + 7
	record, arp := file[24:], classic(binary.LittleEndian, 0xa1b2c3d4, 0, frame(t, "ffffffffffff 020000000001 0806", "0001"))[24:]
	file = file[:24]
	for range n {
		file = append(append(file, record...), arp...)
	}
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var frames int64
	c, err := Segments(context.Background(), r, func(_ time.Time, b []Decoded) error {
		for i := range b {
			if want := 2*frames + 1; b[i].Frame != want {
				t.Fatalf("got frame %d, want %d", b[i].Frame, want)
			}
			frames++
		}
		return nil
	})
	if err != nil || frames != n || c.TCP != n || c.Packets != 2*n || c.Other["ARP"] != n {
		t.Errorf("got %d segments, census %+v, %v, want %d", frames, c, err, n)
	}
	r, err = NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	if _, err := Segments(context.Background(), r, func(time.Time, []Decoded) error { return stop }); err != stop {
		t.Errorf("got %v, want the caller's error", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r, err = NewReader(bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	if _, err := Segments(ctx, r, func(time.Time, []Decoded) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// TestDecodeAllocates catches a decoder that makes garbage for each packet: a large capture would then be slow.
func TestDecodeAllocates(t *testing.T) {
	p := packet(frame(t, ethIPv4, ipv4, ports, "00000001 00000002 a010 0003 0000 0000 0101 0512 0000000a 00000014 0000001e 00000028"))
	var s Segment
	if n := testing.AllocsPerRun(100, func() {
		if err := DecodeInto(&s, LinkEthernet, p); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("got %v allocations for a segment, want none", n)
	}
}
