package pcapout

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// maxRead bounds what Read holds in memory, in bytes: packet data, and recordCost for each record.
const (
	maxRead    = 1 << 30
	recordCost = 256
)

// Read reads a pcapng or classic pcap file, in either byte order, plain or compressed with gzip. It holds the whole capture in memory,
// at most 1 GiB of it.
//
// A file that ends in the middle of a packet, as a killed tcpdump leaves it, gives what was read before and an error that wraps
// io.ErrUnexpectedEOF. Any other error is about a file that is not a capture, is broken, or is not one point of capture: packets of
// two interfaces, two sections, or a link type that Decode does not know.
func Read(r io.Reader) (File, error) { return read(r, maxRead) }

func read(r io.Reader, limit int64) (File, error) {
	br := bufio.NewReader(r)
	if m, _ := br.Peek(2); bytes.Equal(m, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(br)
		if err != nil {
			return File{}, fmt.Errorf("capture: gzip: %w", err)
		}
		br = bufio.NewReader(z)
	}
	// The limit sits behind the decompressor: a small file must not become a large one in here.
	br = bufio.NewReader(&limitedReader{br, limit + 1, limit})
	magic, err := br.Peek(12)
	if len(magic) < 4 {
		return File{}, fmt.Errorf("capture of %d bytes: want a pcapng or pcap header: %w", len(magic), noEOF(err))
	}
	const sectionHeader = 0x0A0D0D0A
	switch binary.BigEndian.Uint32(magic) {
	case sectionHeader:
		return readNg(br, magic, limit)
	case 0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1:
		return readPcap(br, limit)
	}
	return File{}, fmt.Errorf("capture starts with %#x: want a pcapng or pcap file", magic[:4])
}

// readPcap reads the classic format. It has no direction, no names and no counters.
func readPcap(br *bufio.Reader, limit int64) (File, error) {
	pr, err := pcapgo.NewReader(br)
	if err != nil {
		return File{}, fmt.Errorf("pcap header: %w", noEOF(err))
	}
	f := File{Link: LinkType(pr.LinkType()), SnapLen: pr.Snaplen()}
	if err := f.linkKnown(); err != nil {
		return f, err
	}
	for held := int64(0); ; {
		data, ci, err := pr.ReadPacketData()
		if err == io.EOF && ci.Timestamp.IsZero() {
			return f, nil
		}
		// An io.EOF after a packet header, which set the time, is a packet without its data.
		if err == nil {
			err = f.add(Record{DirectionUnknown: true}, data, ci, &held, limit)
		}
		if err != nil {
			return f, fmt.Errorf("pcap packet %d: %w", len(f.Records)+1, noEOF(err))
		}
	}
}

// readNg reads pcapng. magic is the start of the section header.
func readNg(br *bufio.Reader, magic []byte, limit int64) (File, error) {
	if len(magic) < 12 {
		return File{}, fmt.Errorf("pcapng section header of %d bytes: %w", len(magic), io.ErrUnexpectedEOF)
	}
	bigEndian := binary.BigEndian.Uint32(magic[8:]) == 0x1A2B3C4D // byte-order magic
	var sections int
	stats := map[int]pcapgo.NgInterfaceStatistics{}
	ng, err := pcapgo.NewNgReader(br, pcapgo.NgReaderOptions{
		WantMixedLinkType:  true, // else packets of another link type vanish silently
		SectionEndCallback: func([]pcapgo.NgInterface, pcapgo.NgSectionInfo) { sections++ },
		StatisticsCallback: func(i int, s pcapgo.NgInterfaceStatistics) { stats[i] = s },
	})
	if err != nil {
		return File{}, fmt.Errorf("pcapng section header: %w", noEOF(err))
	}
	info := ng.SectionInfo()
	f := File{Comment: info.Comment, Hardware: info.Hardware, OS: info.OS, Application: info.Application}
	iface := -1
	for held := int64(0); ; {
		data, ci, opts, err := ng.ReadPacketDataWithOptions()
		if sections > 0 {
			return f, errors.New("pcapng: two sections: want one; split the file at its second section header")
		}
		if err == io.EOF {
			break
		}
		if err == nil && iface >= 0 && ci.InterfaceIndex != iface {
			err = fmt.Errorf("is from interface %d, earlier ones from %d: want one point of capture; split the file with "+
				"tshark -Y frame.interface_id==%d", ci.InterfaceIndex, iface, iface)
		}
		if err == nil {
			iface = ci.InterfaceIndex
			err = f.add(record(opts, bigEndian), data, ci, &held, limit)
		}
		if err != nil {
			f.describe(ng, max(iface, 0), stats)
			return f, fmt.Errorf("pcapng: packet %d: %w", len(f.Records)+1, noEOF(err))
		}
	}
	f.describe(ng, max(iface, 0), stats)
	return f, f.linkKnown()
}

// record takes over the options of a packet. gopacket reads the numbers in them as little endian whatever the file says.
func record(o pcapgo.NgPacketOptions, bigEndian bool) Record {
	r := Record{DirectionUnknown: true, Comments: o.Comments}
	if o.Flags != nil {
		word := o.Flags.ToUint32()
		if bigEndian {
			word = bits.ReverseBytes32(word)
		}
		switch pcapgo.NgEpbFlag(word) & pcapgo.NgEpbFlagDirectionMask {
		case pcapgo.NgEpbFlagDirectionOutbound:
			r.Outgoing, r.DirectionUnknown = true, false
		case pcapgo.NgEpbFlagDirectionInbound:
			r.DirectionUnknown = false
		}
	}
	if o.PacketID != nil {
		r.ID = *o.PacketID
		if bigEndian {
			r.ID = bits.ReverseBytes64(r.ID)
		}
	}
	return r
}

// add checks a packet as Write does, so that what was read can be written.
func (f *File) add(r Record, data []byte, ci gopacket.CaptureInfo, held *int64, limit int64) error {
	if ci.Timestamp.IsZero() {
		return errors.New("no time stamp (a simple packet block): want enhanced packet blocks")
	}
	r.Packet = Packet{Time: ci.Timestamp, Data: data, OrigLen: ci.Length, Outgoing: r.Outgoing}
	if err := r.check(); err != nil {
		return err
	}
	if *held += int64(len(data)) + recordCost; *held > limit {
		return tooLarge(limit)
	}
	f.Records = append(f.Records, r)
	return nil
}

// describe copies what the file says about an interface, and the names.
func (f *File) describe(ng *pcapgo.NgReader, iface int, stats map[int]pcapgo.NgInterfaceStatistics) {
	if i, err := ng.Interface(iface); err == nil {
		f.Interface, f.Description = i.Name, i.Description
		f.Link, f.SnapLen = LinkType(i.LinkType), i.SnapLength
	}
	if s, ok := stats[iface]; ok && s.PacketsReceived != pcapgo.NgNoValue64 && s.PacketsDropped != pcapgo.NgNoValue64 {
		f.Statistics = &Statistics{Start: s.StartTime, End: s.EndTime, Received: s.PacketsReceived, Dropped: s.PacketsDropped}
	}
	for i := range ng.NNames() {
		n, err := ng.Name(i)
		if err != nil {
			continue
		}
		ip, ok := n.Addr.(*pcapgo.NgIPAddress)
		if !ok {
			continue // a hardware address
		}
		for _, name := range n.Names {
			if name != "" {
				f.Names = append(f.Names, Name{ip.Addr, name})
			}
		}
	}
}

func (f *File) linkKnown() error {
	if !f.Link.known() {
		return fmt.Errorf("capture has link type %v: want Ethernet (1), raw IP (101) or Linux cooked (113, 276)",
			layers.LinkType(f.Link))
	}
	return nil
}

// noEOF names an end in the middle for what it is.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func tooLarge(limit int64) error {
	return fmt.Errorf("capture needs more than %d MiB of memory: cut it with editcap -c or a filter", limit>>20)
}

// limitedReader is an io.LimitedReader that says so instead of pretending that the file ends.
type limitedReader struct {
	r           io.Reader
	left, limit int64 // left starts at limit+1: a file of exactly limit bytes is not too large
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, tooLarge(l.limit)
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	return n, err
}
