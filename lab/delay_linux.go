package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/netns"
	"github.com/tcplab/tcplab/internal/wire"
)

// line is a link with a delay: two TAP devices, one in each namespace, and a process that carries each frame from one to the other half an
// RTT later. Frames keep their order, and none is lost but where a queue is full. Only that process holds the devices' descriptors, so
// nothing is left by SIGKILL either.
type line struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr strings.Builder

	mu     sync.Mutex // one question at a time
	stdout *bufio.Reader
	closed bool
}

// tap makes a TAP device on the calling thread's namespace and returns its descriptor. It has no virtio header, so that each frame is one
// segment with its checksums.
func tap(mac net.HardwareAddr) (fd int, err error) {
	fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) || err == unix.ENODEV || err == unix.ENXIO {
		return -1, fmt.Errorf("%w: open /dev/net/tun (module tun): %w", ErrUnsupported, err)
	}
	if errors.Is(err, os.ErrPermission) { // %v: it is not the lab that lacks a capability
		return -1, fmt.Errorf("%w: open /dev/net/tun: %v: chmod 0666 /dev/net/tun, as udev does, or load the module sch_netem", ErrUnsupported, err)
	}
	if err != nil {
		return -1, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	req, err := unix.NewIfreq(Iface)
	if err != nil {
		return -1, err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return -1, fmt.Errorf("make a TAP device: %w", err)
	}
	return fd, withRoute(func(nl *netlink.Handle) error {
		eth, err := nl.LinkByName(Iface)
		if err != nil {
			return fmt.Errorf("find %s: %w", Iface, err)
		}
		if err := nl.LinkSetHardwareAddr(eth, mac); err != nil {
			return fmt.Errorf("set the address of %s: %w", Iface, err)
		}
		if err := nl.LinkSetTxQLen(eth, wire.QueueLength); err != nil { // the ring that the wire reads from
			return fmt.Errorf("set the queue length of %s: %w", Iface, err)
		}
		// As a veth: no queue that the machine's net.core.default_qdisc would choose, with pacing or drops of its own.
		if err := nl.QdiscReplace(&netlink.GenericQdisc{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: eth.Attrs().Index, Parent: netlink.HANDLE_ROOT}, QdiscType: "noqueue",
		}); err != nil {
			return fmt.Errorf("take the queue of %s away: %w", Iface, err)
		}
		return nil
	})
}

// join makes the delay line between two namespaces.
func join(client, server *Host, rtt time.Duration, plan link.Plan) (*line, error) {
	way, err := json.Marshal(plan)
	if err != nil {
		return nil, err
	}
	l := &line{cmd: exec.Command("/proc/self/exe")}
	l.cmd.Args = []string{wire.Name, strconv.FormatInt(int64(rtt/2), 10), string(way)}
	l.cmd.Env = []string{"GOMAXPROCS=2", "GOTRACEBACK=single", "GORACE=" + os.Getenv("GORACE")}
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // as Host.Start
	l.cmd.Stderr = &l.stderr
	defer func() { // the process has its own
		for _, f := range l.cmd.ExtraFiles {
			f.Close()
		}
	}()
	for _, h := range []*Host{client, server} {
		err := h.ns.Do(func() error {
			fd, err := tap(h.MAC)
			if err == nil {
				l.cmd.ExtraFiles = append(l.cmd.ExtraFiles, os.NewFile(uintptr(fd), "TAP device of the "+h.Name))
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, permission(err))
		}
	}
	stdin, err := l.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	stdout, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	l.stdin, l.stdout = stdin, bufio.NewReader(stdout)
	if err := client.ns.Do(l.cmd.Start); err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	if _, err := l.ask(); err != nil { // it runs
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// ask reads what the wire did so far.
func (l *line) ask() (wire.Stats, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var s wire.Stats
	if _, err := io.WriteString(l.stdin, wire.Ask); err != nil {
		return s, fmt.Errorf("wire: %w", err)
	}
	answer, err := l.stdout.ReadBytes('\n')
	if err != nil {
		return s, fmt.Errorf("wire: ended: %w", err)
	}
	if err := json.Unmarshal(answer, &s); err != nil {
		return s, fmt.Errorf("wire: said %q: %w", answer, err)
	}
	return s, nil
}

// close ends the process, and the devices with it. Its end before that is an error.
func (l *line) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.stdin.Close()
	stuck := time.AfterFunc(5*time.Second, func() { l.cmd.Process.Kill() })
	defer stuck.Stop()
	if err := l.cmd.Wait(); err != nil {
		return fmt.Errorf("wire: %w: %s", err, strings.TrimSpace(l.stderr.String()))
	}
	return nil
}

// DelayStats is what a link with an RTT did so far.
type DelayStats struct {
	// Frames were delivered. Lost were not, because a queue was full; in a sound run that is 0.
	Frames, Lost int
	// Worst is how much later than it was due a frame was delivered at most, and Late lists those of more than a millisecond, a thousand
	// at most: this machine's doing. What a frame waited for before it was picked up shows only in captures of both ends. netem tells
	// neither: they are zero.
	Worst time.Duration
	Late  []Stall
}

// Delay says how the link gets its RTT: "none", or what makes it.
func (l *Lab) Delay() string {
	switch {
	case l.Router != nil:
		return routerMethod
	case l.middle != nil:
		return netemMethod
	case l.line != nil:
		return tapMethod
	}
	return "none"
}

const tapMethod = "TAP devices joined by a process that holds each frame for half the RTT"

// DelayStats reads what the link did so far. Without Topology.RTT, and after Close, it is zero.
func (l *Lab) DelayStats() (DelayStats, error) {
	if l.delayed && l.Router != nil {
		return l.routedStats()
	}
	if l.middle != nil {
		return l.middle.stats(l.hosts())
	}
	if l.line == nil {
		return DelayStats{}, nil
	}
	w, err := l.line.ask()
	if err != nil {
		return DelayStats{}, err
	}
	s := DelayStats{Frames: w.Frames, Lost: w.Lost, Worst: w.Worst}
	for _, late := range w.Late {
		s.Late = append(s.Late, Stall(late))
	}
	for _, h := range l.hosts() {
		err := h.ns.Do(func() error {
			return withRoute(func(nl *netlink.Handle) error {
				eth, err := nl.LinkByName(Iface)
				if err == nil {
					s.Lost += int(eth.Attrs().Statistics.TxDropped) // the device's own ring was full
				}
				return err
			})
		})
		if err != nil {
			return s, fmt.Errorf("%s: counters of %s: %w", h.Name, Iface, err)
		}
	}
	return s, nil
}

// DelayMethod says how Topology.RTT is made on this machine, as Lab.Delay does. It tries it: an error wraps ErrUnsupported or
// ErrPrivilege where it cannot be.
func DelayMethod() (string, error) {
	if netemHere() == nil {
		return netemMethod, nil
	}
	ns, err := netns.New()
	if err != nil {
		return "", permission(err, unix.EINVAL, unix.ENOSPC)
	}
	defer ns.Close()
	err = ns.Do(func() error {
		fd, err := tap(net.HardwareAddr{2, 't', 'c', 'p', 0, 3})
		if err == nil {
			unix.Close(fd)
		}
		return err
	})
	if err != nil {
		return "", permission(err)
	}
	return tapMethod, nil
}
