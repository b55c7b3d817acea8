//go:build !linux || !amd64

package vm

// InGuest reports whether this process is the first one of a machine that Run booted. Here none is.
func InGuest() bool { return false }

// Guest is for a machine that Run booted.
func Guest(func([]byte, func(Message) error) error) { panic("vm: not in a guest") }

// AtSecond is for a guest.
func AtSecond() error { panic("vm: not in a guest") }

// Collect does nothing.
func Collect() {}
