package pcapout

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Reader reads a capture file packet by packet: pcapng with any number of sections and interfaces, and classic pcap in microseconds or
// nanoseconds; each in both byte orders, plain or compressed with gzip. It reads forward only, so a pipe will do. Its memory is readBuffer,
// and what the file says about interfaces and names, each bounded; not the size of the file.
type Reader struct {
	r       *bufio.Reader
	order   binary.ByteOrder
	ng      bool
	classic classicHeader
	section section
	pending int   // bytes of the packet that Next returned last, still in the buffer
	offset  int64 // of the record that is being read
	packets int64
	err     error // what ended it
	last    time.Time
	info    Info
}

// Info is what a file says beside its packets. It grows while the file is read.
type Info struct {
	Format      string // "pcapng", "pcap", "pcap, nanoseconds"
	Compressed  bool   // with gzip
	Sections    int    // of pcapng
	Interfaces  []Interface
	Names       []Name
	Comment     string // of the first section; and so the next three
	Hardware    string
	OS          string
	Application string
}

// Interface is one point of capture of a file.
type Interface struct {
	Section           int // from 0
	Name, Description string
	Link              LinkType
	SnapLen           uint32      // 0: no limit
	Statistics        *Statistics // nil: nobody counted
	units             uint64      // of a time stamp in a second
	offset            int64       // seconds to add to time stamps
}

// Frame is a packet of a file, with what the file says about it.
type Frame struct {
	Packet // its Data is valid until the next call of Next
	Link   LinkType
	Number int64 // from 1, as Wireshark counts
	Offset int64 // where its record begins in the file, before compression
	// Interface is an index into Info.Interfaces. Two sections have different ones.
	Interface        int
	DirectionUnknown bool
	// NoTime: the file does not say when (a simple packet block). Time is that of the packet before.
	NoTime bool

	options []byte
	order   binary.ByteOrder
}

// Bounds of what a Reader keeps or takes at once.
const (
	readBuffer    = 1 << 20 // a longer block that is a packet is an error, another is skipped
	maxInterfaces = 1 << 12
	maxNames      = 1 << 12
)

// CutError says that a file ends in the middle of something, as a killed tcpdump or a full disk leaves it. It wraps io.ErrUnexpectedEOF.
type CutError struct {
	Packets    int64 // whole packets before the cut
	Offset     int64 // where the unfinished record begins, before compression
	Have, Want int   // bytes of it; Want is 0 where its length is not known
}

func (e *CutError) Error() string {
	at := fmt.Sprintf("the file is cut short after packet %d: the record at byte %d ", e.Packets, e.Offset)
	if e.Want == 0 {
		return at + fmt.Sprintf("has only %d bytes", e.Have)
	}
	return at + fmt.Sprintf("has %d of %d bytes", e.Have, e.Want)
}

// Unwrap is io.ErrUnexpectedEOF.
func (e *CutError) Unwrap() error { return io.ErrUnexpectedEOF }

// BrokenError says that a file is damaged in the middle, or is no capture from there on.
type BrokenError struct {
	Packets int64 // whole packets before it
	Offset  int64 // of the record that is broken, before compression
	Err     error
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("the file is broken behind packet %d, at byte %d: %v", e.Packets, e.Offset, e.Err)
}

// Unwrap is the cause.
func (e *BrokenError) Unwrap() error { return e.Err }

// NewReader reads the beginning of a file. The error of a file that is no capture says so; of one that ends in its header it is a CutError.
func NewReader(r io.Reader) (*Reader, error) {
	br := bufio.NewReaderSize(r, readBuffer)
	rd := &Reader{}
	if m, _ := br.Peek(2); bytes.Equal(m, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", noEOF(err))
		}
		br, rd.info.Compressed = bufio.NewReaderSize(z, readBuffer), true
	}
	rd.r = br
	magic, err := br.Peek(4)
	if len(magic) < 4 {
		if err != io.EOF {
			return nil, err
		}
		return nil, fmt.Errorf("capture of %d bytes: want a pcapng or pcap header: %w", len(magic), io.ErrUnexpectedEOF)
	}
	if binary.BigEndian.Uint32(magic) == blockSection {
		rd.ng, rd.info.Format = true, "pcapng"
		err = rd.readSection()
	} else {
		err = rd.readClassicHeader(magic)
	}
	if err != nil {
		return nil, err
	}
	return rd, nil
}

// Info is what the file has said so far. The caller owns the value; what is in its slices belongs to the Reader.
func (r *Reader) Info() Info { return r.info }

// Next reads the next packet into f. At the end of the file it is io.EOF; what else ends it is a CutError, a BrokenError, or the error of the
// underlying reader, and stays.
func (r *Reader) Next(f *Frame) error {
	if r.err != nil {
		return r.err
	}
	if r.err = r.discard(r.pending); r.err != nil {
		return r.err
	}
	r.pending = 0
	if r.ng {
		r.err = r.nextBlock(f)
	} else {
		r.err = r.nextClassic(f)
	}
	if r.err != nil {
		return r.err
	}
	r.packets++
	f.Number, f.order = r.packets, r.order
	if f.NoTime {
		f.Time = r.last
	}
	r.last = f.Time
	return nil
}

// peek returns the next n bytes of the record without consuming them; n counts from the record's beginning. An end before the first byte
// is io.EOF.
func (r *Reader) peek(n, want int) ([]byte, error) {
	b, err := r.r.Peek(n)
	switch {
	case err == nil:
		return b, nil
	case err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF): // a gzip stream that is cut says the second
		return nil, err
	case len(b) == 0 && err == io.EOF:
		return nil, io.EOF
	}
	return nil, &CutError{Packets: r.packets, Offset: r.offset, Have: len(b), Want: want}
}

// discard steps over n bytes.
func (r *Reader) discard(n int) error {
	m, err := r.r.Discard(n)
	r.offset += int64(m)
	if m < n {
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return &CutError{Packets: r.packets, Offset: r.offset - int64(m), Have: m, Want: n}
		}
		return err
	}
	return nil
}

func (r *Reader) broken(format string, a ...any) error {
	return &BrokenError{Packets: r.packets, Offset: r.offset, Err: fmt.Errorf(format, a...)}
}

// classicHeader is what the header of a classic file says.
type classicHeader struct {
	units    uint64
	modified bool // Kuznetzov's format: longer packet headers
}

// readClassicHeader reads the 24 bytes at the beginning of a classic file.
func (r *Reader) readClassicHeader(magic []byte) error {
	r.order = binary.BigEndian
	m := binary.BigEndian.Uint32(magic)
	if m&0xff == 0xa1 { // the last byte first
		m, r.order = binary.LittleEndian.Uint32(magic), binary.LittleEndian
	}
	switch m {
	case 0xa1b2c3d4:
		r.classic.units, r.info.Format = 1e6, "pcap"
	case 0xa1b2cd34:
		r.classic.units, r.classic.modified, r.info.Format = 1e6, true, "pcap, modified"
	case 0xa1b23c4d:
		r.classic.units, r.info.Format = 1e9, "pcap, nanoseconds"
	default:
		return fmt.Errorf("capture starts with %#x: want a pcapng or pcap file", magic)
	}
	h, err := r.peek(24, 24)
	if err != nil {
		return err
	}
	if v := r.order.Uint16(h[4:]); v != 2 {
		return fmt.Errorf("pcap version %d.%d: want 2.x", v, r.order.Uint16(h[6:]))
	}
	r.info.Interfaces = []Interface{{Link: fromFile(r.order.Uint32(h[20:])), SnapLen: r.order.Uint32(h[16:]), units: r.classic.units}}
	return r.discard(24)
}

// fromFile is a link type as files have it. The upper half of classic pcap's field says whether there is a frame check sequence.
func fromFile(n uint32) LinkType {
	if uint16(n) == 0 {
		return LinkNull
	}
	return LinkType(n)
}

func (r *Reader) nextClassic(f *Frame) error {
	head := 16
	if r.classic.modified {
		head = 24
	}
	b, err := r.peek(head, 0)
	if err != nil {
		return err
	}
	sec, frac, n, orig := r.order.Uint32(b), r.order.Uint32(b[4:]), r.order.Uint32(b[8:]), r.order.Uint32(b[12:])
	if n > maxFrame {
		return r.broken("packet of %d bytes: want at most %d", n, maxFrame)
	}
	if b, err = r.peek(head+int(n), head+int(n)); err != nil {
		return err
	}
	r.pending = head + int(n)
	nsec := int64(frac)
	if r.classic.units == 1e6 {
		nsec *= 1000
	}
	*f = Frame{Link: r.info.Interfaces[0].Link, Offset: r.offset, DirectionUnknown: true}
	f.Time, f.Data = time.Unix(int64(sec), nsec).UTC(), b[head:]
	f.OrigLen = max(int(orig), int(n)) // some writers leave it 0
	return nil
}
