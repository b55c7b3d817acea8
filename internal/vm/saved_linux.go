package vm

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// part is a piece of a guest's memory, in bytes.
type part struct {
	At   int64 `json:"at"`
	Size int64 `json:"size"`
}

// savedHead begins the file of a guest that has booted and waits for its order. The file is
//
//	"tcplab guest 1\n"  head length (4 bytes)  head (JSON)  devices  memory (the parts, one after the other)  CRC-32C (4 bytes) of all before it
//
// numbers in big endian.
type savedHead struct {
	Key     string   `json:"key"`     // of all that it was made of: see keyOf
	Mailbox []uint64 `json:"mailbox"` // the pages of its memory for an order, in their order
	Memory  int64    `json:"memory"`  // bytes that it has
	Devices int64    `json:"devices"` // bytes that the engine's state of its devices takes
	Parts   []part   `json:"parts"`
}

const (
	savedMagic = "tcplab guest 1\n"
	mostHead   = 1 << 20
	mostDevice = 16 << 20
)

// errSaved is wrapped by everything that is wrong with the file of a saved guest.
var errSaved = errors.New("the saved guest is damaged")

// sound refuses what a head cannot say of a guest with so much memory.
func (h savedHead) sound(memory int64) error {
	if h.Memory != memory || h.Devices <= 0 || h.Devices > mostDevice || len(h.Mailbox) == 0 {
		return fmt.Errorf("%w: %d bytes of memory, %d of devices, a mailbox of %d pages", errSaved, h.Memory, h.Devices, len(h.Mailbox))
	}
	end := int64(0)
	for _, p := range h.Parts {
		if p.At < end || p.Size <= 0 || p.Size > memory-p.At {
			return fmt.Errorf("%w: %d bytes at %d of %d, after %d", errSaved, p.Size, p.At, memory, end)
		}
		end = p.At + p.Size
	}
	for _, frame := range h.Mailbox {
		if frame >= uint64(memory/pageSize) {
			return fmt.Errorf("%w: a mailbox in page %d", errSaved, frame)
		}
	}
	return nil
}

// writeSaved writes a guest.
func writeSaved(w io.Writer, h savedHead, devices io.Reader, memory []byte) error {
	sum := crc32.New(castagnoli)
	b := bufio.NewWriterSize(w, 1<<20)
	all := io.MultiWriter(b, sum)
	head, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if _, err := all.Write(append(binary.BigEndian.AppendUint32([]byte(savedMagic), uint32(len(head))), head...)); err != nil {
		return err
	}
	if _, err := io.CopyN(all, devices, h.Devices); err != nil {
		return err
	}
	for _, p := range h.Parts {
		if _, err := all.Write(memory[p.At:][:p.Size]); err != nil {
			return err
		}
	}
	if _, err := b.Write(sum.Sum(nil)); err != nil {
		return err
	}
	return b.Flush()
}

// readSavedHead reads how the file of a saved guest begins, for one with so much memory.
func readSavedHead(r io.Reader, memory int64) (h savedHead, err error) {
	var b [len(savedMagic) + 4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return h, fmt.Errorf("%w: %w", errSaved, err)
	}
	n := binary.BigEndian.Uint32(b[len(savedMagic):])
	if string(b[:len(savedMagic)]) != savedMagic || n > mostHead {
		return h, fmt.Errorf("%w: it begins with %q", errSaved, b)
	}
	head := make([]byte, n)
	if _, err := io.ReadFull(r, head); err != nil {
		return h, fmt.Errorf("%w: %w", errSaved, err)
	}
	if err := json.Unmarshal(head, &h); err != nil {
		return h, fmt.Errorf("%w: %w", errSaved, err)
	}
	return h, h.sound(memory)
}

// readSaved reads a guest: its devices into w, its memory, which must be all zero, into memory.
func readSaved(r io.Reader, w io.Writer, memory []byte) (h savedHead, err error) {
	sum := crc32.New(castagnoli)
	all := io.TeeReader(r, sum)
	if h, err = readSavedHead(all, int64(len(memory))); err != nil {
		return h, err
	}
	if _, err := io.CopyN(w, all, h.Devices); err != nil {
		return h, fmt.Errorf("%w: %w", errSaved, err)
	}
	for _, p := range h.Parts {
		if _, err := io.ReadFull(all, memory[p.At:][:p.Size]); err != nil {
			return h, fmt.Errorf("%w: %w", errSaved, err)
		}
	}
	want := sum.Sum(nil)
	var got [4]byte
	if _, err := io.ReadFull(r, got[:]); err != nil {
		return h, fmt.Errorf("%w: %w", errSaved, err)
	}
	if string(got[:]) != string(want) {
		return h, fmt.Errorf("%w: its checksum is %x, want %x", errSaved, got, want)
	}
	return h, nil
}
