package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// procSysIPv4 is where the TCP knobs live. In a network namespace it shows the knobs of the calling thread's namespace.
const procSysIPv4 = "/proc/sys/net/ipv4"

// Running returns the facts of the kernel that this program runs on. It needs no privilege.
//
// HZ is exact: clock_getres(CLOCK_MONOTONIC_COARSE) is TICK_NSEC (posix_get_coarse_res in kernel/time/posix-timers.c). Whether
// tcp_syn_linear_timeouts and tcp_rto_max_ms exist is seen in /proc/sys. The rest comes from the version, so a backport can
// make it wrong; Facts.From says which is which.
func Running() (Facts, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Facts{}, fmt.Errorf("kernel: uname: %w", err)
	}
	var res unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &res); err != nil {
		return Facts{}, fmt.Errorf("kernel: clock_getres CLOCK_MONOTONIC_COARSE: %w", err)
	}
	return running(unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]), time.Duration(res.Nano()), procSysIPv4)
}

// running makes the facts from a release, a machine, the length of a tick and the directory of the TCP knobs.
func running(release, machine string, tick time.Duration, root string) (Facts, error) {
	v, err := ParseVersion(release)
	if err != nil {
		return Facts{}, err
	}
	hz, err := hzOfTick(tick)
	if err != nil {
		return Facts{}, err
	}
	f, err := Model(v, hz)
	if err != nil {
		return Facts{}, err
	}
	f.Release, f.Arch = release, machine
	f.From[factVersion], f.From[factRelease], f.From[factArch] = "uname", "uname", "uname"
	f.From[factHZ] = fmt.Sprintf("clock_getres(CLOCK_MONOTONIC_COARSE) = %d ns", tick.Nanoseconds())
	// Without tcp_syn_retries the directory shows no TCP knobs at all (a child namespace before 4.9, or no /proc/sys): then the
	// absence of the others says nothing.
	if known, err := exists(root, "tcp_syn_retries"); err != nil || !known {
		return f, err
	}
	for _, knob := range []struct {
		name string
		fact *bool
	}{{factSYNLinear, &f.SYNLinear}, {factRTOMax, &f.RTOMax}} {
		found, err := exists(root, knob.name)
		if err != nil {
			return Facts{}, err
		}
		*knob.fact = found
		f.From[knob.name] = choose(found, "its file exists in ", "its file is absent from ") + root
	}
	return f, nil
}

// hzOfTick returns the HZ whose tick that is. Kernels before 3.7 derive TICK_NSEC from the clock of the PIT (999848 ns for
// HZ=1000), so the nearest HZ within 0.1 % is taken.
func hzOfTick(tick time.Duration) (int, error) {
	ns := tick.Nanoseconds()
	if ns > 0 {
		hz := (int64(time.Second) + ns/2) / ns
		if off := hz*ns - int64(time.Second); hz >= 24 && hz <= 10000 && off > -1_000_000 && off < 1_000_000 {
			return int(hz), nil
		}
	}
	return 0, fmt.Errorf("kernel: clock_getres CLOCK_MONOTONIC_COARSE: got %v, want 1 s divided by a HZ of 24 to 10000; give HZ by hand", tick)
}

// exists reports whether root has a file of that name. Any error but absence is returned.
func exists(root, name string) (bool, error) {
	_, err := os.Stat(filepath.Join(root, name))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	}
	return false, fmt.Errorf("kernel: %w", err)
}
