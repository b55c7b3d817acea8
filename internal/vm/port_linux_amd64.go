package vm

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// outBytes writes n bytes to an I/O port, outLong 32 bits.
//
//go:noescape
func outBytes(port uint16, b *byte, n int)

//go:noescape
func outByte(port uint16, v uint8)

//go:noescape
func outLong(port uint16, v uint32)

// openPorts lets every thread of this process use I/O ports, those that the runtime starts later included: they inherit it.
func openPorts() error {
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_IOPL, 3, 0, 0); errno != 0 {
		return fmt.Errorf("iopl: %w", errno)
	}
	return nil
}
