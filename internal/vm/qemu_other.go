//go:build !linux

package vm

import "context"

// FindEngine reports whether a machine can be made here; an error wraps ErrMissing.
func FindEngine() (string, error) {
	return "", missing("a guest needs the iptables program of a Linux host")
}

// Run boots a kernel. Here it cannot.
func Run(context.Context, Options, func(Message) error) (Stats, error) {
	_, err := FindEngine()
	return Stats{}, err
}
