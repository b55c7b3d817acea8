package sysctl

import (
	"bytes"
	"io/fs"
	"os"
	"syscall"
)

// readFile is os.ReadFile with three system calls for a knob, not eight: a lab reads hundreds.
func readFile(name string) ([]byte, error) {
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err == syscall.EINTR {
		return os.ReadFile(name)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer syscall.Close(fd)
	var b [512]byte
	n, err := syscall.Read(fd, b[:])
	if err != nil || n == len(b) { // a directory, a signal, or more than any knob of ours has
		return os.ReadFile(name)
	}
	return bytes.Clone(b[:n]), nil
}
