package pcapout

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sample uses every field of File.
func sample(t testing.TB) File {
	synAgain := packet(frame(t, ethIPv4, ipv4, synTCP))
	synAgain.Time = stamp0.Add(1004 * time.Millisecond)
	in := packet(frame(t, ethIPv6, ipv6, synTCP)[:60])
	in.Time, in.Outgoing, in.OrigLen = stamp0.Add(time.Nanosecond), false, 94
	return File{
		Comment: "exp1-syn-loss: every SYN is lost\n服务器丢弃每一个 SYN", Hardware: "x86_64", OS: "Linux 6.18.44", Application: "tcplab 0.1.0",
		Interface: "client/eth0", Description: "the client's end of the veth pair", SnapLen: 65535,
		Names: []Name{
			{netip.MustParseAddr("10.99.0.1"), "client"}, {netip.MustParseAddr("10.99.0.2"), "server"},
			{netip.MustParseAddr("fd00::1"), "client"}, {netip.MustParseAddr("fd00::2"), "server"},
		},
		Records: []Record{
			{Packet: packet(frame(t, ethIPv4, ipv4, synTCP)), ID: 0x1122334455667788, Comments: []string{"the first SYN"}},
			{Packet: in, ID: 7},
			{Packet: synAgain, ID: 8, Comments: []string{"SYN retransmission 1 of 2. Expected 1.000 s, seen 1.004 s.", "第一次重传"}},
		},
		Statistics: &Statistics{Start: stamp0.Add(-time.Second), End: stamp0.Add(8 * time.Second), Received: 5, Dropped: 2},
	}
}

// explicit is what Read makes of a File: the link type is never 0.
func explicit(f File) File { f.Link = f.Link.orEthernet(); return f }

var sameFile = cmp.Options{cmpNetip, cmpopts.EquateEmpty()}

func write(t testing.TB, f File) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, f); err != nil {
		t.Fatalf("write: %v", err)
	}
	return b.Bytes()
}

// TestRoundTrip catches a field that is written and not read, or the other way round.
func TestRoundTrip(t *testing.T) {
	raw := sample(t)
	raw.Link, raw.Records = LinkRaw, raw.Records[:0]
	unknown := sample(t)
	unknown.Records[0].DirectionUnknown, unknown.Records[0].Outgoing = true, false
	unknown.Statistics = nil
	twice := File{Names: []Name{{netip.MustParseAddr("10.99.0.2"), "server"}, {netip.MustParseAddr("10.99.0.2"), "www"}}}
	zeroes := sample(t)
	zeroes.Statistics = &Statistics{}
	lossy := sample(t)
	lossy.Records[2].Lost = 1<<40 + 2
	tests := []struct {
		name string
		file File
	}{
		{"everything", sample(t)},
		{"nothing", File{}},
		{"no packets, raw IP", raw},
		{"direction and statistics unknown", unknown},
		{"two names for an address", twice},
		{"statistics of zero are not unknown", zeroes},
		{"packets lost before one", lossy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Read(bytes.NewReader(write(t, tt.file)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(explicit(tt.file), got, sameFile); diff != "" {
				t.Errorf("file (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWriteGolden catches bytes that change between versions of tcplab or of gopacket. Run with -update after a change on purpose.
func TestWriteGolden(t *testing.T) {
	name := filepath.Join("testdata", "sample.pcapng")
	got := write(t, sample(t))
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bytes (-want +got):\n%s", diff)
	}
}

// TestBlockOrder catches names that come after packets (tshark then does not use them) and a block whose two lengths differ.
func TestBlockOrder(t *testing.T) {
	b := write(t, sample(t))
	var got []uint32
	for len(b) > 0 {
		n := binary.LittleEndian.Uint32(b[4:])
		if n%4 != 0 || int(n) > len(b) || binary.LittleEndian.Uint32(b[n-4:]) != n {
			t.Fatalf("block %d: got length %d, want a multiple of 4 that stands at both ends", len(got)+1, n)
		}
		got, b = append(got, binary.LittleEndian.Uint32(b)), b[n:]
	}
	want := []uint32{0x0A0D0D0A, 1, 4, 6, 6, 6, 5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("block types (-want +got):\n%s", diff)
	}
}

// TestWriteErrors catches values that gopacket would write as another value, silently.
func TestWriteErrors(t *testing.T) {
	long := strings.Repeat("x", 65536)
	tests := []struct {
		name   string
		change func(*File)
		want   string
	}{
		{"comment too long", func(f *File) { f.Comment = long }, "section comment: text of 65536 bytes: want at most 65535"},
		{"packet comment too long", func(f *File) { f.Records[2].Comments[1] = long }, "packet 3: comment: text of 65536 bytes"},
		{"interface name not UTF-8", func(f *File) { f.Interface = "\xff" }, "interface name: text"},
		{"name without address", func(f *File) { f.Names[0].Addr = netip.Addr{} }, `name "client": address`},
		{"address with a zone", func(f *File) { f.Names[0].Addr = netip.MustParseAddr("fe80::1%eth0") }, "without a zone"},
		{"empty name", func(f *File) { f.Names[0].Name = "" }, "at least one character"},
		{"name with NUL", func(f *File) { f.Names[0].Name = "a\x00b" }, "no NUL"},
		{"name too long", func(f *File) { f.Names[0].Name = long }, "65536 bytes"},
		{"no time", func(f *File) { f.Records[0].Time = time.Time{} }, "packet 1: time"},
		{"time after 2262", func(f *File) { f.Records[0].Time = time.Date(2263, 1, 1, 0, 0, 0, 0, time.UTC) }, "from 1970 to 2262"},
		{"original length too small", func(f *File) { f.Records[1].OrigLen = 59 }, "packet 2: original length 59 with 60 bytes"},
		{"frame too long", func(f *File) { f.Records[0].Data = make([]byte, maxFrame+1) }, "want at most 262144"},
		{"statistics that mean none", func(f *File) { f.Statistics.Dropped = 1<<64 - 1 }, "want less than 2^64-1"},
		{"link type", func(f *File) { f.Link = 147 }, "want Ethernet (1)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := sample(t)
			tt.change(&f)
			var b bytes.Buffer
			err := Write(&b, f)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q in it", err, tt.want)
			}
			if b.Len() > 0 {
				t.Errorf("got %d bytes written, want none", b.Len())
			}
		})
	}
}

// failAfter fails once it has taken n bytes.
type failAfter int

var errDisk = errors.New("no space left on device")

func (n *failAfter) Write(b []byte) (int, error) {
	if len(b) > int(*n) {
		return 0, errDisk
	}
	*n -= failAfter(len(b))
	return len(b), nil
}

// TestWriteToFullDisk catches an error of the writer that is lost in a buffer.
func TestWriteToFullDisk(t *testing.T) {
	size := len(write(t, sample(t)))
	for room := 0; room < size; room += 16 {
		w := failAfter(room)
		if err := Write(&w, sample(t)); !errors.Is(err, errDisk) {
			t.Errorf("room for %d of %d bytes: got %v, want %v", room, size, err, errDisk)
		}
	}
}

// classic builds a pcap file of one packet.
func classic(o binary.AppendByteOrder, magic, fraction uint32, data []byte) []byte {
	b := o.AppendUint32(nil, magic)
	b = o.AppendUint16(o.AppendUint16(b, 2), 4)
	for _, v := range []uint32{0, 0, 65535, 1, uint32(stamp0.Unix()), fraction, uint32(len(data)), uint32(len(data))} {
		b = o.AppendUint32(b, v)
	}
	return append(b, data...)
}

// TestReadClassic catches a wrong byte order or a wrong unit of time in files of tcpdump.
func TestReadClassic(t *testing.T) {
	data := frame(t, ethIPv4, ipv4, synTCP)
	tests := []struct {
		name string
		file []byte
		want time.Time
	}{
		{"microseconds, little endian", classic(binary.LittleEndian, 0xa1b2c3d4, 123_456, data), stamp0.Truncate(time.Microsecond)},
		{"microseconds, big endian", classic(binary.BigEndian, 0xa1b2c3d4, 123_456, data), stamp0.Truncate(time.Microsecond)},
		{"nanoseconds, little endian", classic(binary.LittleEndian, 0xa1b23c4d, 123_456_789, data), stamp0},
		{"nanoseconds, big endian", classic(binary.BigEndian, 0xa1b23c4d, 123_456_789, data), stamp0},
		{"gzip", zip(t, classic(binary.BigEndian, 0xa1b23c4d, 123_456_789, data)), stamp0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Read(bytes.NewReader(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			want := File{Link: LinkEthernet, SnapLen: 65535, Records: []Record{
				{DirectionUnknown: true, Packet: Packet{Time: tt.want, Data: data, OrigLen: len(data)}}}}
			if diff := cmp.Diff(want, got, sameFile); diff != "" {
				t.Errorf("file (-want +got):\n%s", diff)
			}
		})
	}
}

func zip(t testing.TB, b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
}

// block builds a pcapng block; every part is padded to 4 bytes.
func block(o binary.AppendByteOrder, kind uint32, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	n := uint32(len(body) + 12)
	b := o.AppendUint32(o.AppendUint32(nil, kind), n)
	return o.AppendUint32(append(b, body...), n)
}

func option(o binary.AppendByteOrder, code uint16, value []byte) []byte {
	b := o.AppendUint16(o.AppendUint16(nil, code), uint16(len(value)))
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}

// foreign is a pcapng file of one outgoing packet with ID 5, as another program writes it: microseconds by default, interface drops
// counted.
func foreign(o binary.AppendByteOrder, link uint16, data []byte) (section, iface, pkt []byte) {
	us := uint64(stamp0.UnixMicro())
	section = block(o, 0x0A0D0D0A, o.AppendUint32(nil, 0x1A2B3C4D), o.AppendUint16(o.AppendUint16(nil, 1), 0), o.AppendUint64(nil, 1<<64-1))
	iface = block(o, 1, o.AppendUint16(nil, link), []byte{0, 0}, o.AppendUint32(nil, 0), option(o, 2, []byte("eth0")))
	head := []byte{}
	for _, v := range []uint32{0, uint32(us >> 32), uint32(us), uint32(len(data)), uint32(len(data))} {
		head = o.AppendUint32(head, v)
	}
	pkt = block(o, 6, head, data, make([]byte, -len(data)&3), option(o, 2, o.AppendUint32(nil, 2)), option(o, 5, o.AppendUint64(nil, 5)))
	return section, iface, pkt
}

// TestReadForeign catches options read in the wrong byte order: gopacket takes them for little endian always.
func TestReadForeign(t *testing.T) {
	data := frame(t, ethIPv4, ipv4, synTCP)
	for _, tt := range []struct {
		name string
		o    binary.AppendByteOrder
	}{{"little endian", binary.LittleEndian}, {"big endian", binary.BigEndian}} {
		t.Run(tt.name, func(t *testing.T) {
			s, i, p := foreign(tt.o, 1, data)
			got, err := Read(bytes.NewReader(bytes.Join([][]byte{s, i, p}, nil)))
			if err != nil {
				t.Fatal(err)
			}
			want := File{Link: LinkEthernet, Interface: "eth0", Records: []Record{{ID: 5, Packet: Packet{
				Time: stamp0.Truncate(time.Microsecond), Data: data, OrigLen: len(data), Outgoing: true}}}}
			if diff := cmp.Diff(want, got, sameFile); diff != "" {
				t.Errorf("file (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReadErrors catches files that are read as something that they are not, and memory given away to a length in a file.
func TestReadErrors(t *testing.T) {
	data := frame(t, ethIPv4, ipv4, synTCP)
	le := binary.LittleEndian
	s, i, p := foreign(le, 1, data)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	second := bytes.Clone(p)
	second[8] = 1 // interface
	_, null, _ := foreign(le, 0, nil)
	old := classic(le, 0xa1b2c3d4, 0, data)
	huge := bytes.Clone(old)
	le.PutUint32(huge[32:], 1<<31) // captured length
	whole := write(t, sample(t))
	tests := []struct {
		name    string
		file    []byte
		limit   int64
		want    string
		cut     bool // io.ErrUnexpectedEOF
		records int
	}{
		{name: "empty", want: "capture of 0 bytes", cut: true},
		{name: "text", file: []byte("not a capture\n"), want: "want a pcapng or pcap file"},
		{name: "two points of capture", file: join(s, i, i, p, second), want: "tshark -Y frame.interface_id==0", records: 1},
		{name: "two sections", file: join(s, i, p, s, i, p), want: "two sections", records: 1},
		{name: "link type in pcapng", file: join(s, null), want: "link type Null"},
		{name: "link type in pcap", file: append(append(bytes.Clone(old[:20]), 0, 0, 0, 0), old[24:]...), want: "link type Null"},
		{name: "simple packet block", file: join(s, i, block(le, 3, []byte{4, 0, 0, 0}, []byte("abcd"))), want: "no time stamp"},
		{name: "packet before the interface", file: join(s, p), want: "not present"},
		{name: "pcap cut in the data", file: old[:len(old)-1], want: "pcap packet 1", cut: true},
		{name: "pcap cut after a packet header", file: old[:40], want: "pcap packet 1", cut: true},
		{name: "pcap cut in a packet header", file: old[:30], want: "pcap packet 1", cut: true},
		{name: "pcapng cut in the last packet", file: join(s, i, p, p[:50]), want: "packet 2", cut: true, records: 1},
		{name: "pcap with a length of 2 GiB", file: huge, want: "pcap packet 1"},
		{name: "too large", file: whole, limit: 300, want: "editcap"},
		{name: "too large once decompressed", file: zip(t, join(s, i, bytes.Repeat(p, 1000))), limit: 2000, want: "editcap", records: 6},
		{name: "gzip in gzip", file: zip(t, zip(t, whole)), want: "want a pcapng or pcap file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.limit == 0 {
				tt.limit = maxRead
			}
			got, err := read(bytes.NewReader(tt.file), tt.limit)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got error %v, want %q in it", err, tt.want)
			}
			if errors.Is(err, io.ErrUnexpectedEOF) != tt.cut {
				t.Errorf("got cut %v, want %v: %v", !tt.cut, tt.cut, err)
			}
			if len(got.Records) != tt.records {
				t.Errorf("got %d records, want %d", len(got.Records), tt.records)
			}
		})
	}
}
