//go:build !linux

package kernel

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// errNotLinux is what every question to the running kernel returns on another system.
var errNotLinux = fmt.Errorf("kernel: this machine runs %s, tcplab asks a Linux kernel; name one by version instead: %w", runtime.GOOS, errors.ErrUnsupported)

// Running returns an error that wraps errors.ErrUnsupported: only a Linux kernel can be asked. Use Model.
func Running() (Facts, error) { return Facts{}, errNotLinux }

// ReadClock returns an error that wraps errors.ErrUnsupported: only Linux has jiffies.
func ReadClock() (Clock, error) { return Clock{}, errNotLinux }

// MonotonicNow returns an error that wraps errors.ErrUnsupported.
func MonotonicNow() (time.Duration, error) { return 0, errNotLinux }
