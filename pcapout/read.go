package pcapout

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
	rd, err := NewReader(r)
	if err != nil {
		return File{}, err
	}
	what := "pcapng: packet"
	var f File
	if !rd.ng {
		what, f.Link = "pcap packet", rd.info.Interfaces[0].Link
		if err := f.linkKnown(); err != nil {
			return f, err
		}
	}
	iface, held := -1, int64(0)
	var frame Frame
	for err == nil {
		if err = rd.Next(&frame); err != nil {
			break
		}
		if rd.info.Sections > 1 {
			break
		}
		if iface >= 0 && frame.Interface != iface {
			err = fmt.Errorf("is from interface %d, earlier ones from %d: want one point of capture; split the file with "+
				"tshark -Y frame.interface_id==%d", frame.Interface, iface, iface)
			break
		}
		iface = frame.Interface
		err = f.add(&frame, &held, limit)
	}
	f.describe(rd.info, max(iface, 0))
	switch {
	case rd.info.Sections > 1:
		return f, errors.New("pcapng: two sections: want one; split the file at its second section header")
	case err == io.EOF:
		return f, f.linkKnown()
	}
	return f, fmt.Errorf("%s %d: %w", what, len(f.Records)+1, err)
}

// add checks a packet as Write does, so that what was read can be written.
func (f *File) add(p *Frame, held *int64, limit int64) error {
	if p.NoTime {
		return errors.New("no time stamp (a simple packet block): want enhanced packet blocks")
	}
	r := Record{Packet: p.Packet, DirectionUnknown: p.DirectionUnknown, ID: p.id(), Comments: p.comments()}
	r.Data = bytes.Clone(p.Data)
	if err := r.check(); err != nil {
		return err
	}
	if *held += int64(len(r.Data)) + recordCost; *held > limit {
		return tooLarge(limit)
	}
	f.Records = append(f.Records, r)
	return nil
}

// describe copies what the file says about an interface, and the names.
func (f *File) describe(info Info, iface int) {
	f.Comment, f.Hardware, f.OS, f.Application, f.Names = info.Comment, info.Hardware, info.OS, info.Application, info.Names
	if iface < len(info.Interfaces) {
		i := info.Interfaces[iface]
		f.Interface, f.Description, f.Link, f.SnapLen, f.Statistics = i.Name, i.Description, i.Link, i.SnapLen, i.Statistics
	}
}

func (f *File) linkKnown() error {
	if !f.Link.known() {
		return fmt.Errorf("capture has link type %v: want Ethernet (1), raw IP (101) or Linux cooked (113, 276)", f.Link)
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
