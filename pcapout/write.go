package pcapout

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// maxFrame is the longest frame that libpcap and Wireshark read (MAXIMUM_SNAPLEN, WTAP_MAX_PACKET_SIZE_STANDARD), in bytes.
const maxFrame = 262144

// Write writes f as pcapng, little endian, with time stamps in nanoseconds. The blocks come in the order section header, interface
// description, name resolution, packets, interface statistics. The same File gives the same bytes. An error means that f cannot be
// said in pcapng (a text over 65535 bytes or not UTF-8, a time outside 1970 to 2262, a record shorter than it claims), in which case
// nothing was written, or that w failed.
func Write(w io.Writer, f File) error {
	if err := f.check(); err != nil {
		return err
	}
	ng, err := pcapgo.NewNgWriterInterface(w,
		pcapgo.NgInterface{
			Name:                f.Interface,
			Description:         f.Description,
			LinkType:            layers.LinkType(f.Link.orEthernet()),
			SnapLength:          f.SnapLen,
			TimestampResolution: 9, // if_tsresol: 10^-9 s
		},
		pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{
			Hardware: f.Hardware, OS: f.OS, Application: f.Application, Comment: f.Comment,
		}})
	if err != nil {
		return fmt.Errorf("pcapng: write the headers: %w", err)
	}
	// gopacket reads name resolution blocks and has no writer for them. The writer buffers, so it is flushed before the block goes
	// round it.
	if err := ng.Flush(); err != nil {
		return fmt.Errorf("pcapng: write the headers: %w", err)
	}
	if len(f.Names) > 0 {
		if _, err := w.Write(nameBlock(f.Names)); err != nil {
			return fmt.Errorf("pcapng: write the names: %w", err)
		}
	}
	for i, r := range f.Records {
		ci := gopacket.CaptureInfo{Timestamp: r.Time, CaptureLength: len(r.Data), Length: r.OrigLen}
		if err := ng.WritePacketWithOptions(ci, r.Data, r.options()); err != nil {
			return fmt.Errorf("pcapng: write packet %d: %w", i+1, err)
		}
	}
	if st := f.Statistics; st != nil {
		if err := ng.WriteInterfaceStats(0, pcapgo.NgInterfaceStatistics{
			LastUpdate: st.End, StartTime: st.Start, EndTime: st.End, PacketsReceived: st.Received, PacketsDropped: st.Dropped,
		}); err != nil {
			return fmt.Errorf("pcapng: write the statistics: %w", err)
		}
	}
	if err := ng.Flush(); err != nil {
		return fmt.Errorf("pcapng: write the packets: %w", err)
	}
	return nil
}

func (r Record) options() pcapgo.NgPacketOptions {
	o := pcapgo.NgPacketOptions{Comments: r.Comments}
	if !r.DirectionUnknown {
		o.Flags = &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
		if r.Outgoing {
			o.Flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
		}
	}
	if r.ID != 0 {
		o.PacketID = &r.ID
	}
	if r.Lost != 0 {
		o.DropCount = &r.Lost
	}
	return o
}

// nameBlock builds a name resolution block: one record per name, then an end record (pcapng, section 4.5).
func nameBlock(names []Name) []byte {
	const blockType, recordEnd, recordIPv4, recordIPv6 = 4, 0, 1, 2
	le := binary.LittleEndian
	var body []byte
	for _, n := range names {
		kind := uint16(recordIPv4)
		if n.Addr.Is6() {
			kind = recordIPv6
		}
		value := append(n.Addr.AsSlice(), n.Name...)
		value = append(value, 0)
		body = le.AppendUint16(body, kind)
		body = le.AppendUint16(body, uint16(len(value)))
		body = append(body, value...)
		body = append(body, make([]byte, -len(value)&3)...)
	}
	body = le.AppendUint16(body, recordEnd)
	body = le.AppendUint16(body, 0)
	total := uint32(12 + len(body))
	b := le.AppendUint32(nil, blockType)
	b = le.AppendUint32(b, total)
	b = append(b, body...)
	return le.AppendUint32(b, total)
}

// check finds what gopacket would write wrongly: its option lengths wrap at 16 bits and its times at 64.
func (f File) check() error {
	if !f.Link.orEthernet().known() {
		return fmt.Errorf("pcapng: link type %v: want Ethernet (1), raw IP (101) or Linux cooked (113, 276)", f.Link)
	}
	for _, t := range []struct{ what, text string }{
		{"section comment", f.Comment}, {"hardware", f.Hardware}, {"operating system", f.OS}, {"application", f.Application},
		{"interface name", f.Interface}, {"interface description", f.Description},
	} {
		if err := checkText(t.text); err != nil {
			return fmt.Errorf("pcapng: %s: %w", t.what, err)
		}
	}
	for _, n := range f.Names {
		if !n.Addr.IsValid() || n.Addr.Zone() != "" {
			return fmt.Errorf("pcapng: name %q: address %v: want an address without a zone", n.Name, n.Addr)
		}
		if n.Name == "" || strings.ContainsRune(n.Name, 0) {
			return fmt.Errorf("pcapng: name %q of %v: want at least one character and no NUL", n.Name, n.Addr)
		}
		if len(n.Name)+17 > math.MaxUint16 {
			return fmt.Errorf("pcapng: name of %v has %d bytes: want at most %d", n.Addr, len(n.Name), math.MaxUint16-17)
		}
		if err := checkText(n.Name); err != nil {
			return fmt.Errorf("pcapng: name of %v: %w", n.Addr, err)
		}
	}
	for i, r := range f.Records {
		if err := r.check(); err != nil {
			return fmt.Errorf("pcapng: packet %d: %w", i+1, err)
		}
	}
	if st := f.Statistics; st != nil {
		if st.Received == pcapgo.NgNoValue64 || st.Dropped == pcapgo.NgNoValue64 {
			return fmt.Errorf("pcapng: statistics: %d received, %d dropped: want less than 2^64-1", st.Received, st.Dropped)
		}
		for _, t := range []time.Time{st.Start, st.End} {
			if err := checkTime(t); err != nil && !t.IsZero() {
				return fmt.Errorf("pcapng: statistics: %w", err)
			}
		}
	}
	return nil
}

func (r Record) check() error {
	if len(r.Data) > maxFrame {
		return fmt.Errorf("%d bytes: want at most %d", len(r.Data), maxFrame)
	}
	if r.OrigLen < len(r.Data) || int64(r.OrigLen) > math.MaxUint32 {
		return fmt.Errorf("original length %d with %d bytes captured: want %d to 2^32-1", r.OrigLen, len(r.Data), len(r.Data))
	}
	for _, c := range r.Comments {
		if err := checkText(c); err != nil {
			return fmt.Errorf("comment: %w", err)
		}
	}
	return checkTime(r.Time)
}

func checkText(s string) error {
	if len(s) > math.MaxUint16 {
		return fmt.Errorf("text of %d bytes: want at most %d", len(s), math.MaxUint16)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("text %.40q: want UTF-8", s)
	}
	return nil
}

var lastTime = time.Unix(0, math.MaxInt64)

func checkTime(t time.Time) error {
	if t.Before(time.Unix(0, 0)) || t.After(lastTime) {
		return fmt.Errorf("time %v: want a time from 1970 to 2262", t.UTC())
	}
	return nil
}
