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
	// Guard knows of the folder in which a kernel that is not in the cache is unpacked. Nil: a SIGKILL leaves it.
	Guard *guard.Guard
}

// The limits of a machine that names none.
const (
	DefaultWall    = 10 * time.Minute
	DefaultVirtual = 48 * time.Hour
	DefaultMemory  = 512
)

// Stats say what a machine took.
type Stats struct {
	Boot time.Duration // of the host, until the guest's program ran
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
	Deadline time.Duration `json:"deadline"` // virtual
	RealTime bool          `json:"real_time"`
	Modules  []string      `json:"modules"` // in the order in which they are loaded
	Request  []byte        `json:"request"`
}

// Names of messages that the transport keeps for itself.
const (
	msgUp    = "vm:up"    // the guest's program runs
	msgEnd   = "vm:end"   // the answer is whole
	msgError = "vm:error" // the guest gave up; the data say why
)

func missing(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrMissing, fmt.Errorf(format, args...))
}
