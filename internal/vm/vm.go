// Package vm boots a stock Linux kernel under QEMU, with this program as its first process, and brings back what that one sends. In
// virtual time the guest's clock jumps to the next timer whenever the guest is idle, so hours of waiting take seconds, and the same run
// is the same to the byte.
//
// It is a transport: a request goes in as bytes, named messages come out as bytes. It knows no experiment and no lab, and what it
// returns says nothing of QEMU, so that another engine could stand beside it.
//
// Its one trap: in the guest, whatever wakes up now and then, however little it does, is paid for in every virtual hour. Watchers and
// tickers of the host's path stay off there.
package vm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/guard"
)

// Options say what to boot, and for how long. Kernel and Program are required.
type Options struct {
	Kernel  Kernel
	Program string // path of a static executable: the guest's first process
	Request []byte // what Guest gets
	// IPv6 loads what a lab of IPv6 takes, too. Zero: the guest is spared the time.
	IPv6 bool
	// RealTime lets the guest's clock run with the host's. Zero: virtual time.
	RealTime bool
	// Wall and Virtual bound the time of the host and that of the guest. Zero: DefaultWall, DefaultVirtual.
	Wall, Virtual time.Duration
	// Silence bounds how long, by the host's clock, the guest may say nothing. Zero: Wall alone bounds it.
	Silence time.Duration
	Memory  int // of the guest, in MiB; 0: DefaultMemory
	// Booted is where the machine goes on. Nil: Run boots one, or takes it from the cache. In real time it is not used.
	Booted *Booted
	// Guard knows of the folder in which a kernel that is not in the cache is unpacked. Nil: a SIGKILL leaves it.
	Guard *guard.Guard

	engine string // the path of QEMU
	apart  bool   // its threads need not take turns
}

// The limits of a machine that names none.
const (
	DefaultWall    = 10 * time.Minute
	DefaultVirtual = 48 * time.Hour
	DefaultMemory  = 512
)

// Stats say what a machine took.
type Stats struct {
	Boot time.Duration // of the host, until the guest began with what it was asked
	Wall time.Duration // of the host, until the machine was gone
	Peak int64         // bytes of memory that the engine held at most
}

// ErrMissing is wrapped where this machine lacks something: QEMU, the kernel, a program that goes into the guest.
var ErrMissing = errors.New("this machine cannot boot a kernel")

// EndError says that the machine ended without having answered.
type EndError struct {
	Why     string // "the guest ended by itself", ...
	Console string // the last lines of the guest's console and of the engine's own complaints
}

func (e *EndError) Error() string {
	if e.Console == "" {
		return e.Why
	}
	return e.Why + "; the console's last lines:\n  " + strings.ReplaceAll(e.Console, "\n", "\n  ")
}

// envelope is what the guest finds in its file system.
type envelope struct {
	Modules []string `json:"modules"` // in the order in which they are loaded
}

// order is what a guest that waits is given to do. In its mailbox it is the length of the request and the deadline, 8 bytes each in little endian, and
// the request.
type order struct {
	Deadline time.Duration // virtual; 0: none
	Request  []byte
}

const orderHead = 16

// mostOrder is the size of a guest's mailbox: thousands of runs.
const mostOrder = 8 << 20

// MostRequest is how many bytes a guest can be asked at once.
const MostRequest = mostOrder - orderHead

func (o order) appendTo(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(o.Request)))
	b = binary.LittleEndian.AppendUint64(b, uint64(o.Deadline))
	return append(b, o.Request...)
}

// readOrder reads the order in a mailbox. It shares no memory with it.
func readOrder(mailbox []byte) (o order, err error) {
	if len(mailbox) < orderHead {
		return o, fmt.Errorf("mailbox: %d bytes, want %d and more", len(mailbox), orderHead)
	}
	n := binary.LittleEndian.Uint64(mailbox)
	o.Deadline = time.Duration(binary.LittleEndian.Uint64(mailbox[8:]))
	if n > uint64(len(mailbox)-orderHead) || o.Deadline < 0 {
		return o, fmt.Errorf("mailbox: a request of %d bytes within %v, want at most %d bytes", n, o.Deadline, len(mailbox)-orderHead)
	}
	o.Request = bytes.Clone(mailbox[orderHead:][:n])
	return o, nil
}

// Names of messages that the transport keeps for itself.
const (
	msgUp      = "vm:up"      // the guest's program runs
	msgMailbox = "vm:mailbox" // it has booted, says where in its memory an order may be written, and will stand still
	msgHold    = "vm:hold"    // bytes that say nothing: they hold the guest up until the host reads them
	msgGoing   = "vm:going"   // it goes on; how many nanoseconds its clock went on meanwhile, in decimal
	msgEnd     = "vm:end"     // the answer is whole
	msgError   = "vm:error"   // the guest gave up; the data say why
)

// holdBytes is more than the pipe from a guest that boots takes while nobody reads: a page.
const holdBytes = 2 * pageSize

const pageSize = 4096

func missing(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrMissing, fmt.Errorf(format, args...))
}

// onArch refuses what cannot be a guest: this program is its first process, and the guest is an x86-64 machine.
func onArch(goarch string) error {
	if goarch != "amd64" {
		return missing("guests are x86-64 machines, and this program, which runs in them too, is one for %s: want tcplab for amd64, on such a machine", goarch)
	}
	return nil
}
