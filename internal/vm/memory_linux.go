package vm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// memory is a guest's, as this process sees it too. It has no name that a SIGKILL could leave.
type memory struct {
	file *os.File
	b    []byte
}

func newMemory(mib int) (*memory, error) {
	f, err := unnamed("memory")
	if err != nil {
		return nil, fmt.Errorf("make the guest's memory: %w", err)
	}
	m := &memory{file: f}
	if err := f.Truncate(int64(mib) << 20); err != nil {
		return nil, errors.Join(fmt.Errorf("make the guest's memory: %w", err), m.Close())
	}
	if m.b, err = unix.Mmap(int(f.Fd()), 0, mib<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, errors.Join(fmt.Errorf("make the guest's memory: mmap: %w", err), m.Close())
	}
	return m, nil
}

// Close gives the memory back, when the engine has too.
func (m *memory) Close() error {
	var err error
	if m.b != nil {
		err = unix.Munmap(m.b)
	}
	return errors.Join(err, m.file.Close())
}

// unnamed is a file of this machine's memory.
func unnamed(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate("tcplab-"+name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// written are the parts of the memory that the guest ever wrote to.
func (m *memory) written() (parts []part, err error) {
	fd := int(m.file.Fd())
	for at := int64(0); at < int64(len(m.b)); {
		from, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // only a hole is left
		}
		if err != nil {
			return nil, fmt.Errorf("the guest's memory: %w", err)
		}
		to, err := unix.Seek(fd, from, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("the guest's memory: %w", err)
		}
		parts = append(parts, part{from, to - from})
		at = to
	}
	return parts, nil
}

// framesOf reads what a guest says of its mailbox: the number of each physical page, 8 bytes in little endian.
func framesOf(b []byte) (frames []uint64) {
	for ; len(b) >= 8; b = b[8:] {
		frames = append(frames, binary.LittleEndian.Uint64(b))
	}
	return frames
}

// post writes an order into the guest's mailbox.
func (m *memory) post(mailbox []uint64, o order) error {
	b := o.appendTo(nil)
	if most := len(mailbox) * pageSize; len(b) > most {
		return fmt.Errorf("what the guest is asked is %d bytes long, want at most %d: fewer runs at once", len(b), most)
	}
	for _, frame := range mailbox {
		if frame >= uint64(len(m.b)/pageSize) {
			return fmt.Errorf("the guest's mailbox is in page %d of its memory, which has %d", frame, len(m.b)/pageSize)
		}
		b = b[copy(m.b[frame*pageSize:][:pageSize], b):]
	}
	return nil
}
