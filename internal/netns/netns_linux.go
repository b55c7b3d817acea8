// Package netns holds unnamed network namespaces, one OS thread each, and is the only place that moves threads between namespaces.
//
// A Namespace is a thread that unshared its network (and mounts), plus a descriptor. When both are gone, and no process lives in it,
// the kernel takes the namespace down with its links, rules and sockets: nothing has a name, so nothing can be left behind, not even
// by SIGKILL.
//
// Its one trap: a goroutine started inside Do runs on another thread, in the host's namespace. Open sockets, files and processes
// inside Do; use them anywhere. And the calling process must keep its main thread where it is: /proc/self/ns/net and /proc/net name
// the main thread's namespace.
package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ErrClosed is returned by Do after Close.
var ErrClosed = errors.New("netns: closed")

// Namespace is an unnamed network namespace and the thread that lives in it.
type Namespace struct {
	handle vnetns.NsHandle
	tid    int

	mu     sync.Mutex // guards closed, and calls against Close
	closed bool
	calls  chan call
	gone   chan struct{}
}

type call struct {
	fn   func() error
	done chan error
}

// New makes a namespace with a loopback link that is down and nothing else. The thread gets a mount namespace of its own with an
// empty /run, so that programs it starts (iptables-legacy locks /run/xtables.lock) cannot touch the host's. Only Sysfs is in it.
//
// It needs CAP_SYS_ADMIN; without, the error wraps EPERM.
func New() (*Namespace, error) {
	n := &Namespace{calls: make(chan call), gone: make(chan struct{})}
	made := make(chan error)
	go n.serve(made)
	if err := <-made; err != nil {
		<-n.gone
		return nil, err
	}
	return n, nil
}

// serve owns the thread. It never unlocks it: when the goroutine returns, the runtime ends the thread instead of reusing it, and
// the kernel kills the processes that were started on it with Pdeathsig.
func (n *Namespace) serve(made chan<- error) {
	defer close(n.gone)
	runtime.LockOSThread()
	if err := n.enter(); err != nil {
		made <- err
		return
	}
	made <- nil
	for c := range n.calls {
		c.done <- protect(c.fn)
	}
}

func (n *Namespace) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("netns: unshare mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("netns: make mounts private (in a chroot, / must be a mount point: mount --bind DIR DIR before chroot DIR): %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=1m"); err != nil {
		return fmt.Errorf("netns: mount an empty /run: %w", err)
	}
	h, err := vnetns.New()
	if err != nil {
		return fmt.Errorf("netns: unshare network: %w", err)
	}
	n.handle, n.tid = h, unix.Gettid()
	n.mountSysfs()
	return nil
}

// Sysfs is where Do finds the namespace's own view of sysfs, where there is one: /sys shows the links of the host.
const Sysfs = "/run/sys"

// mountSysfs shows the new namespace's links under Sysfs. Where it cannot, nobody finds them there: whoever looks says what that means.
func (n *Namespace) mountSysfs() {
	if unix.Mkdir(Sysfs, 0o755) == nil {
		_ = unix.Mount("sysfs", Sysfs, "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
}

// protect turns a panic of fn into an error with its stack, so that the caller's deferred clean-up runs on the caller's goroutine.
func protect(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			buf := make([]byte, 16<<10)
			err = fmt.Errorf("netns: panic inside the namespace: %v\n%s", r, buf[:runtime.Stack(buf, false)])
		}
	}()
	return fn()
}

// Do runs fn on the namespace's thread and returns its error. Calls are served one at a time; fn must not call Do of the same
// Namespace (it would wait for itself). After Close it returns ErrClosed.
func (n *Namespace) Do(fn func() error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	c := call{fn: fn, done: make(chan error)}
	select {
	case n.calls <- c:
	case <-n.gone:
		return errGone
	}
	select {
	case err := <-c.done:
		return err
	case <-n.gone:
		return errGone
	}
}

// errGone is returned where fn ended its goroutine, and the thread with it.
var errGone = errors.New("netns: the namespace's thread ended: a function inside Do called runtime.Goexit (t.FailNow does)")

// KillChildren kills the processes that were started on the namespace's thread and still run, and what those have started: a script that is killed
// leaves what it waits for, with the other end of our pipe. It may be called while Do waits for one
// of them. Where the kernel does not list a thread's children (CONFIG_PROC_CHILDREN), it does nothing.
func (n *Namespace) KillChildren() {
	for _, pid := range descendants(fmt.Sprintf("/proc/self/task/%d/children", n.tid)) {
		_ = unix.Kill(pid, unix.SIGKILL) // gone already: good
	}
}

// descendants are the processes in a list of children and what those have started, parents first.
func descendants(list string) (all []int) {
	b, err := os.ReadFile(list)
	if err != nil {
		return nil
	}
	for _, field := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			continue
		}
		all = append(all, pid)
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is sound
		for _, t := range threads {
			all = append(all, descendants(t)...)
		}
	}
	return all
}

// Fd is a descriptor of the namespace, for netlink's IFLA_NET_NS_FD. It is valid until Close.
func (n *Namespace) Fd() int { return int(n.handle) }

// Path names the namespace for `nsenter --net=PATH` while this process runs.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), n.tid) }

// Thread is the id of the thread that lives in the namespace, which `ip link set DEV netns ID` takes for a process.
func (n *Namespace) Thread() int { return n.tid }

// Inode is the namespace's identity, as `lsns -t net` prints it.
func (n *Namespace) Inode() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(n.handle), &st); err != nil {
		return 0, fmt.Errorf("netns: stat: %w", err)
	}
	return st.Ino, nil
}

// Close ends the thread, which kills the processes started on it with Pdeathsig, and closes the descriptor. The kernel then removes
// the namespace in the background. Calling it again does nothing.
func (n *Namespace) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	close(n.calls)
	<-n.gone
	n.awaitThread()
	return n.handle.Close()
}

// awaitThread waits until the kernel has ended the thread, which is a moment after its goroutine did: only then do its namespaces lose
// their last user. It gives up after a second; the thread ends in any case.
func (n *Namespace) awaitThread() {
	deadline := time.NewTimer(time.Second)
	defer deadline.Stop()
	look := time.NewTicker(100 * time.Microsecond)
	defer look.Stop()
	for unix.Tgkill(os.Getpid(), n.tid, 0) == nil {
		select {
		case <-deadline.C:
			return
		case <-look.C:
		}
	}
}

// PinMain locks the calling goroutine to the main thread. Call it from an init function: only there is the main goroutine sure to
// be on it. It keeps the main thread in the host's namespace, which /proc/self/ns/net and /proc/net name.
func PinMain() { runtime.LockOSThread() }
