package pcapout

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzRead feeds capture files of strangers. What can be read must mean the same after it was written and read again, and no length in
// the file may cost more memory than the limit. Texts of a file may be no UTF-8, which Write refuses: then there is nothing to compare.
func FuzzRead(f *testing.F) {
	f.Add(write(f, File{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := read(bytes.NewReader(b), 1<<20)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := Write(&out, file); err != nil {
			return
		}
		again, err := read(&out, 1<<24)
		if err != nil {
			t.Fatalf("read what was written: %v", err)
		}
		if diff := cmp.Diff(file, again, sameFile); diff != "" {
			t.Errorf("file after a round trip (-want +got):\n%s", diff)
		}
	})
}

// FuzzDecode feeds hostile packets. A Segment must be one that its packet can hold, and Decode and Key must agree on what is an IP packet.
func FuzzDecode(f *testing.F) {
	f.Add(uint16(LinkEthernet), []byte{})
	f.Fuzz(func(t *testing.T, link uint16, b []byte) {
		p := packet(b)
		before := string(b)
		s, err := Decode(LinkType(link), p)
		sameAsReference(t, LinkType(link), p, s, err)
		_, kerr := Key(LinkType(link), p)
		if string(b) != before {
			t.Fatalf("got a packet changed by Decode or Key, want it as it was")
		}
		if err != nil {
			return
		}
		if kerr != nil {
			t.Errorf("got key error %v for a segment, want a key", kerr)
		}
		if s.Length < 0 || !s.Truncated && s.Length > len(b) {
			t.Errorf("got payload of %d bytes in a packet of %d, truncated %v", s.Length, len(b), s.Truncated)
		}
		if !s.Src.IsValid() || !s.Dst.IsValid() {
			t.Errorf("got addresses %v and %v, want valid ones", s.Src, s.Dst)
		}
		if s.ICMP != nil && (!s.ICMP.Src.IsValid() || !s.ICMP.Dst.IsValid() || s.Flags != 0) {
			t.Errorf("got ICMP %+v with flags %v, want valid addresses and no flags", s.ICMP, s.Flags)
		}
	})
}

// sameAsReference compares a segment with what gopacket's layers say. Where the two differ on purpose, Decode refuses or accepts more: see the
// cases. What both call a segment must be the same in every field.
func sameAsReference(t *testing.T, link LinkType, p Packet, s Segment, err error) {
	t.Helper()
	want, werr := refDecode(link, p)
	if err != nil || werr != nil {
		return
	}
	want.Fragment = s.Fragment // gopacket does not say
	if diff := cmp.Diff(want, s, cmpNetip, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("link %v, packet %x (-gopacket +got):\n%s", link, p.Data, diff)
	}
}

// FuzzReader feeds capture files of strangers to the reader that takes everything. It must end, keep its bounds, count its packets, and say
// where a file is cut or broken.
func FuzzReader(f *testing.F) {
	f.Add(write(f, File{}))
	for _, name := range []string{"testdata/sample.pcapng"} {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-5])
	}
	f.Add(classic(binary.BigEndian, 0xa1b23c4d, 5, []byte("packet")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		var p Frame
		for n := int64(1); ; n++ {
			if err = r.Next(&p); err != nil {
				break
			}
			if p.Number != n || len(p.Data) > maxFrame || p.OrigLen < len(p.Data) || p.Interface >= len(r.Info().Interfaces) {
				t.Fatalf("packet %d: got %+v", n, p)
			}
			Point(&p)
			p.id()
			p.comments()
		}
		if err != r.Next(&p) {
			t.Errorf("got another error the second time, want %v", err)
		}
		var cut *CutError
		if errors.As(err, &cut) && cut.Offset > int64(len(b)) && !r.Info().Compressed {
			t.Errorf("got a cut at byte %d of %d", cut.Offset, len(b))
		}
	})
}
