package vm

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

// Message is one piece of a guest's answer.
type Message struct {
	Name string
	Data []byte
}

// A frame on the channel is
//
//	"tcpL"  name length (1 byte)  packed length (4 bytes)  data length (4 bytes)  name  packed  CRC-32C (4 bytes) of all before it
//
// numbers in big endian. packed is data, deflated where that is shorter: each byte costs the guest an instruction that leaves the
// translated code. Lengths are bounded, so that a guest that goes mad cannot make the host allocate without limit.
const (
	frameMagic = "tcpL"
	frameHead  = len(frameMagic) + 1 + 4 + 4
	mostData   = 256 << 20
	packAbove  = 256 // bytes; below, the deflater's tables cost more than they save
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errFrame is wrapped by everything that is wrong with a channel's bytes.
var errFrame = errors.New("the guest's answer is damaged")

// packers are used again: a new one takes most of a megabyte, which a guest that collects no garbage would clear for each message.
var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err) // of another level
	}
	return w
}}

// pack deflates.
func pack(b []byte) ([]byte, error) {
	var p bytes.Buffer
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	w.Reset(&p)
	_, err := w.Write(b)
	err = errors.Join(err, w.Close())
	return p.Bytes(), err
}

// appendFrame adds a message to b.
func appendFrame(b []byte, m Message) ([]byte, error) {
	if len(m.Name) == 0 || len(m.Name) > 255 || len(m.Data) > mostData {
		return nil, fmt.Errorf("message %.40q of %d bytes: want a name of 1 to 255 bytes and at most %d bytes", m.Name, len(m.Data), mostData)
	}
	packed := m.Data
	if len(packed) > packAbove && m.Name != msgHold {
		p, err := pack(m.Data)
		if err != nil {
			return nil, err
		}
		if len(p) < len(packed) {
			packed = p
		}
	}
	from := len(b)
	b = append(b, frameMagic...)
	b = append(b, byte(len(m.Name)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(packed)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Data)))
	b = append(b, m.Name...)
	b = append(b, packed...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli)), nil
}

// readFrame reads the next message. At the end between two frames the error is io.EOF; everything else wraps errFrame.
func readFrame(r io.Reader) (Message, error) {
	var head [frameHead]byte
	if n, err := io.ReadFull(r, head[:]); err == io.EOF {
		return Message{}, io.EOF
	} else if err != nil {
		return Message{}, fmt.Errorf("%w: %d bytes of a header, want %d: %w", errFrame, n, frameHead, err)
	}
	if string(head[:4]) != frameMagic {
		return Message{}, fmt.Errorf("%w: got %q where a message begins, want %q", errFrame, head[:4], frameMagic)
	}
	name, packed, size := int(head[4]), binary.BigEndian.Uint32(head[5:]), binary.BigEndian.Uint32(head[9:])
	if name == 0 || packed > size || size > mostData {
		return Message{}, fmt.Errorf("%w: a name of %d, %d packed bytes of %d: want at most %d", errFrame, name, packed, size, mostData)
	}
	sum := crc32.Checksum(head[:], castagnoli)
	// What is announced is not believed before it is there.
	var body bytes.Buffer
	want := int64(name) + int64(packed) + 4
	if n, err := io.CopyN(&body, r, want); err != nil {
		return Message{}, fmt.Errorf("%w: a message of %d bytes ends after %d: %w", errFrame, want, n, err)
	}
	b := body.Bytes()
	sum = crc32.Update(sum, castagnoli, b[:want-4])
	if got := binary.BigEndian.Uint32(b[want-4:]); got != sum {
		return Message{}, fmt.Errorf("%w: message %q: checksum %08x, want %08x", errFrame, b[:name], got, sum)
	}
	m := Message{Name: string(b[:name]), Data: b[name : want-4]}
	if packed == size {
		return m, nil
	}
	var err error
	m.Data, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(m.Data)), int64(size)+1))
	if err != nil || len(m.Data) != int(size) {
		return Message{}, fmt.Errorf("%w: message %q unpacks to %d bytes, want %d: %w", errFrame, m.Name, len(m.Data), size, errors.Join(err, errFrame))
	}
	return m, nil
}
