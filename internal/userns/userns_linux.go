package userns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// signals is where the parent's signals come from; nil: this process was not started by Again.
var signals *os.File

func init() {
	want := os.Getenv(variable)
	if want == "" {
		return
	}
	_ = os.Unsetenv(variable) // not for those that this process starts
	const fd = 3              // the first of ExtraFiles
	if got, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil || got != want {
		return // a variable that somebody set by hand
	}
	syscall.CloseOnExec(fd)
	signals = os.NewFile(fd, "signals")
}

// Needed reports whether this process lacks the capabilities that a lab takes.
func Needed() bool {
	status, err := os.ReadFile("/proc/self/status")
	return err == nil && lacks(string(status))
}

// Inside reports whether this process was started by Again.
func Inside() bool { return signals != nil }

// Forwarded calls got for each signal that the parent passes on, until the parent ends. It returns at once where there is no parent.
func Forwarded(got func(syscall.Signal)) {
	if signals == nil {
		return
	}
	for {
		var b [1]byte
		if n, err := signals.Read(b[:]); err != nil || n == 0 {
			return
		}
		got(syscall.Signal(b[0]))
	}
}

// Child is this program, started again by Again.
type Child struct {
	cmd  *exec.Cmd
	pipe *os.File
}

// Again starts this program again, with the same arguments, files and terminal, as root of a new user namespace with a mount namespace.
// The kernel kills it when the calling thread ends, so call it from the main thread. Its network namespace stays the machine's: what
// it says about the machine must be true, and it has no right to change anything there.
//
// An error that wraps ErrRefused says why the kernel would not.
func Again() (*Child, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", r.Fd()))
	if err != nil {
		w.Close()
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdin, os.Stdout, os.Stderr, []*os.File{r}
	// Files already are this user's: nothing is to be given to the one who called sudo, who is no user of the namespace.
	cmd.Env = append(without(os.Environ(), variable, "SUDO_UID", "SUDO_GID"), variable+"="+link)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, fmt.Errorf("%w: %s: %w", ErrRefused, reason(err), err)
	}
	return &Child{cmd, w}, nil
}

// reason is what an error of clone(2) with CLONE_NEWUSER means (create_user_ns, kernel/user_namespace.c).
func reason(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EUSERS):
		return "the limit user.max_user_namespaces is reached, or namespaces are too deep in one another"
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENOSYS):
		return "this kernel is built without CONFIG_USER_NS"
	case errors.Is(err, fs.ErrPermission):
		return denied(setting)
	}
	return "the program could not be started again"
}

// setting reads one below /proc/sys; empty: there is none.
func setting(name string) string {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Signal passes a signal on.
func (c *Child) Signal(s syscall.Signal) {
	_, _ = c.pipe.Write([]byte{byte(s)}) // it has ended: good
}

// Wait waits for the end and returns the exit code. An error says that a signal ended it.
func (c *Child) Wait() (int, error) {
	err := c.cmd.Wait()
	c.pipe.Close()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	}
	return 0, fmt.Errorf("the process that did the work, in its user namespace: %w", err)
}

// Label is the security module's label of this process: empty where there is none. Where AppArmor keeps ordinary users from the rights of
// root in their own namespaces, it is that of a profile into which it puts every process that makes one.
func Label() string {
	for _, file := range []string{"/proc/self/attr/apparmor/current", "/proc/self/attr/current"} {
		if b, err := os.ReadFile(file); err == nil {
			return strings.TrimSpace(strings.TrimRight(string(b), "\x00"))
		}
	}
	return ""
}
