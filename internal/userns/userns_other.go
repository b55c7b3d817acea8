//go:build !linux

package userns

import "syscall"

// Needed is false: there are no labs here.
func Needed() bool { return false }

// Inside is false.
func Inside() bool { return false }

// Forwarded returns at once.
func Forwarded(func(syscall.Signal)) {}

// Child is a process that is never started here.
type Child struct{}

// Again returns ErrRefused.
func Again() (*Child, error) { return nil, ErrRefused }

// Signal does nothing.
func (*Child) Signal(syscall.Signal) {}

// Wait returns ErrRefused.
func (*Child) Wait() (int, error) { return 0, ErrRefused }

// Label is empty.
func Label() string { return "" }
