package whole

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// nameless opens a file in a folder that has no name: the kernel frees it with its last descriptor (open(2), O_TMPFILE).
func nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// link gives it a name that nothing has. It goes by /proc: a descriptor alone (AT_EMPTY_PATH) wants CAP_DAC_READ_SEARCH before Linux 6.10.
func link(f *os.File, name string) error {
	from := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "link", Old: from, New: name, Err: err}
	}
	return nil
}
