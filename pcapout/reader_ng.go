package pcapout

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"math/bits"
	"net/netip"
	"time"
)

// Types of pcapng blocks (draft-ietf-opsawg-pcapng).
const (
	blockSection    = 0x0A0D0D0A
	blockInterface  = 1
	blockPacket     = 2 // obsolete
	blockSimple     = 3
	blockNames      = 4
	blockStatistics = 5
	blockEnhanced   = 6
)

// section is the state of the pcapng section that is being read.
type section struct {
	first int // index of its first interface in Info.Interfaces
}

// nextBlock reads blocks up to the next packet.
func (r *Reader) nextBlock(f *Frame) error {
	for {
		h, err := r.peek(8, 0)
		if err != nil {
			return err
		}
		kind := r.order.Uint32(h)
		if kind == blockSection { // its length is in an order of its own
			if err := r.readSection(); err != nil {
				return err
			}
			continue
		}
		size := r.order.Uint32(h[4:])
		if size < 12 || size%4 != 0 {
			return r.broken("block of type %#x has length %d: want a multiple of 4 and at least 12", kind, size)
		}
		isPacket := kind == blockEnhanced || kind == blockSimple || kind == blockPacket
		if size > readBuffer {
			if isPacket || size > math.MaxInt32 {
				return r.broken("block of type %#x has length %d: want at most %d", kind, size, readBuffer)
			}
			if err := r.discard(int(size)); err != nil {
				return err
			}
			continue
		}
		b, err := r.peek(int(size), int(size))
		if err != nil {
			return err
		}
		if end := r.order.Uint32(b[size-4:]); end != size {
			return r.broken("block of type %#x has length %d at its beginning and %d at its end", kind, size, end)
		}
		body := b[8 : size-4]
		if isPacket {
			r.pending = int(size)
			return r.packet(f, kind, body)
		}
		if err := r.describe(kind, body); err != nil {
			return err
		}
		if err := r.discard(int(size)); err != nil {
			return err
		}
	}
}

// readSection reads a section header.
func (r *Reader) readSection() error {
	h, err := r.peek(12, 0)
	if err == io.EOF {
		err = &CutError{Packets: r.packets, Offset: r.offset}
	}
	if err != nil {
		return err
	}
	switch binary.BigEndian.Uint32(h[8:]) {
	case 0x1A2B3C4D:
		r.order = binary.BigEndian
	case 0x4D3C2B1A:
		r.order = binary.LittleEndian
	default:
		return r.broken("pcapng section header: byte-order magic %#x", h[8:12])
	}
	size := r.order.Uint32(h[4:])
	if size < 28 || size%4 != 0 || size > readBuffer {
		return r.broken("pcapng section header has length %d: want a multiple of 4 from 28 to %d", size, readBuffer)
	}
	b, err := r.peek(int(size), int(size))
	if err != nil {
		return err
	}
	if v := r.order.Uint16(b[12:]); v != 1 {
		return r.broken("pcapng version %d.%d: want 1.x", v, r.order.Uint16(b[14:]))
	}
	r.section.first = len(r.info.Interfaces)
	r.info.Sections++
	if r.info.Sections == 1 {
		for o := range each(b[24:size-4], r.order) {
			switch o.code {
			case 1:
				r.info.Comment = o.text()
			case 2:
				r.info.Hardware = o.text()
			case 3:
				r.info.OS = o.text()
			case 4:
				r.info.Application = o.text()
			}
		}
	}
	return r.discard(int(size))
}

// describe takes what a block says that is no packet.
func (r *Reader) describe(kind uint32, b []byte) error {
	switch kind {
	case blockInterface:
		return r.readInterface(b)
	case blockNames:
		r.readNames(b)
	case blockStatistics:
		if len(b) >= 12 {
			r.readStatistics(b)
		}
	}
	return nil
}

func (r *Reader) readInterface(b []byte) error {
	if len(b) < 8 {
		return r.broken("interface description of %d bytes: want at least 8", len(b))
	}
	if len(r.info.Interfaces) >= maxInterfaces {
		return r.broken("more than %d interfaces", maxInterfaces)
	}
	i := Interface{Section: r.info.Sections - 1, Link: fromFile(uint32(r.order.Uint16(b))), SnapLen: r.order.Uint32(b[4:]), units: 1e6}
	for o := range each(b[8:], r.order) {
		switch {
		case o.code == 2:
			i.Name = o.text()
		case o.code == 3:
			i.Description = o.text()
		case o.code == 9 && len(o.value) == 1:
			if i.units = resolution(o.value[0]); i.units == 0 {
				return r.broken("interface %d has time stamps in units of %#x: too fine", len(r.info.Interfaces), o.value[0])
			}
		case o.code == 14 && len(o.value) == 8:
			i.offset = int64(r.order.Uint64(o.value))
		}
	}
	r.info.Interfaces = append(r.info.Interfaces, i)
	return nil
}

// resolution is how many units of if_tsresol make a second; 0: more than 64 bits hold.
func resolution(b byte) uint64 {
	if b&0x80 != 0 {
		if b &= 0x7f; b > 63 {
			return 0
		}
		return 1 << b
	}
	units := uint64(1)
	for ; b > 0; b-- {
		hi, lo := bits.Mul64(units, 10)
		if hi != 0 {
			return 0
		}
		units = lo
	}
	return units
}

// stamp is a time stamp of the interface.
func (i *Interface) stamp(ts uint64) time.Time {
	sec, rest := ts/i.units, ts%i.units
	hi, lo := bits.Mul64(rest, 1e9)
	nsec, _ := bits.Div64(hi, lo, i.units) // rest < units, so that it fits
	return time.Unix(int64(sec)+i.offset, int64(nsec)).UTC()
}

// packet takes a packet out of the three blocks that hold one.
func (r *Reader) packet(f *Frame, kind uint32, b []byte) error {
	*f = Frame{Offset: r.offset, DirectionUnknown: true}
	head := 20
	if kind == blockSimple {
		head = 4
	}
	if len(b) < head {
		return r.broken("packet block of %d bytes: want at least %d", len(b)+12, head+12)
	}
	var index, n, orig uint32
	var ts uint64
	switch kind {
	case blockEnhanced:
		index, ts = r.order.Uint32(b), uint64(r.order.Uint32(b[4:]))<<32|uint64(r.order.Uint32(b[8:]))
		n, orig = r.order.Uint32(b[12:]), r.order.Uint32(b[16:])
	case blockPacket:
		index, ts = uint32(r.order.Uint16(b)), uint64(r.order.Uint32(b[4:]))<<32|uint64(r.order.Uint32(b[8:]))
		n, orig = r.order.Uint32(b[12:]), r.order.Uint32(b[16:])
	case blockSimple:
		orig, f.NoTime = r.order.Uint32(b), true
		n = min(orig, uint32(len(b)-head))
	}
	if uint64(index) >= uint64(len(r.info.Interfaces)-r.section.first) {
		return r.broken("packet of interface %d, which is not present", index)
	}
	f.Interface = r.section.first + int(index)
	i := &r.info.Interfaces[f.Interface]
	if kind == blockSimple && i.SnapLen > 0 {
		n = min(n, i.SnapLen)
	}
	if n > maxFrame {
		return r.broken("packet of %d bytes: want at most %d", n, maxFrame)
	}
	padded := int(n+3) &^ 3
	if padded > len(b)-head {
		return r.broken("packet of %d bytes in a block that has %d", n, len(b)-head)
	}
	f.Link, f.Data, f.OrigLen = i.Link, b[head:head+int(n)], max(int(orig), int(n))
	if !f.NoTime {
		f.Time = i.stamp(ts)
	}
	if kind != blockSimple {
		f.options = b[head+padded:]
		f.flags(r.order)
	}
	return nil
}

// flags reads epb_flags, which is often the only option, and epb_dropcount.
func (f *Frame) flags(order binary.ByteOrder) {
	if len(f.options) == 0 {
		return
	}
	for o := range each(f.options, order) {
		if o.code == 2 && len(o.value) == 4 {
			way := order.Uint32(o.value) & 3
			f.Outgoing, f.DirectionUnknown = way == 2, way != 1 && way != 2
		}
		if o.code == 4 && len(o.value) == 8 {
			f.Lost = order.Uint64(o.value)
		}
	}
}

// id and comments are read only by who wants them.
func (f *Frame) id() (id uint64) {
	for o := range each(f.options, f.order) {
		if o.code == 5 && len(o.value) == 8 {
			id = f.order.Uint64(o.value)
		}
	}
	return id
}

func (f *Frame) comments() (out []string) {
	for o := range each(f.options, f.order) {
		if o.code == 1 {
			out = append(out, string(o.value))
		}
	}
	return out
}

// ngOption is one option of a block.
type ngOption struct {
	code  uint16
	value []byte
}

// text is a string that may end in a zero byte.
func (o ngOption) text() string {
	s, _, _ := bytes.Cut(o.value, []byte{0})
	return string(s)
}

// each walks through the options of a block. A list that is broken ends where it breaks.
func each(b []byte, order binary.ByteOrder) func(func(ngOption) bool) {
	return func(yield func(ngOption) bool) {
		for len(b) >= 4 {
			code, n := order.Uint16(b), int(order.Uint16(b[2:]))
			if code == 0 || n > len(b)-4 {
				return
			}
			if !yield(ngOption{code, b[4 : 4+n]}) {
				return
			}
			b = b[min(4+(n+3)&^3, len(b)):]
		}
	}
}

// readNames reads the records of a name resolution block.
func (r *Reader) readNames(b []byte) {
	for len(b) >= 4 {
		kind, n := r.order.Uint16(b), int(r.order.Uint16(b[2:]))
		if kind == 0 || n > len(b)-4 {
			return
		}
		size := map[uint16]int{1: 4, 2: 16}[kind]
		if v := b[4 : 4+n]; size > 0 && n > size {
			addr, _ := netip.AddrFromSlice(v[:size])
			for name := range bytes.SplitSeq(v[size:], []byte{0}) {
				if len(name) > 0 && len(r.info.Names) < maxNames {
					r.info.Names = append(r.info.Names, Name{addr, string(name)})
				}
			}
		}
		b = b[min(4+(n+3)&^3, len(b)):]
	}
}

// readStatistics keeps the last counters of an interface, if both are there.
func (r *Reader) readStatistics(b []byte) {
	n := uint64(r.order.Uint32(b))
	if n >= uint64(len(r.info.Interfaces)-r.section.first) {
		return
	}
	i := &r.info.Interfaces[r.section.first+int(n)]
	var st Statistics
	var received, dropped bool
	for o := range each(b[12:], r.order) {
		if len(o.value) != 8 {
			continue
		}
		v := r.order.Uint64(o.value)
		switch o.code {
		case 2, 3:
			at := i.stamp(uint64(r.order.Uint32(o.value))<<32 | uint64(r.order.Uint32(o.value[4:]))) // the high half first in either order
			if o.code == 2 {
				st.Start = at
			} else {
				st.End = at
			}
		case 4:
			st.Received, received = v, true
		case 5:
			st.Dropped, dropped = v, true
		}
	}
	if received && dropped {
		i.Statistics = &st
	}
}
