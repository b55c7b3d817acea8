//go:build !linux

package vm

import (
	"context"
	"time"
)

// FindEngine reports whether a machine can be made here; an error wraps ErrMissing.
func FindEngine() (string, error) {
	return "", missing("a guest needs the iptables program of a Linux host")
}

// Run boots a kernel. Here it cannot.
func Run(context.Context, Options, func(Message) error) (Stats, error) {
	_, err := FindEngine()
	return Stats{}, err
}

// Booted is a guest that waits for its order. Here there is none.
type Booted struct {
	Took   time.Duration
	Unkept error
}

// Close does nothing.
func (b *Booted) Close() error { return nil }

// Boot boots a guest. Here it cannot.
func Boot(context.Context, Options) (*Booted, error) {
	_, err := FindEngine()
	return nil, err
}
