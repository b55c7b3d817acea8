package pcapout

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
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
