package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// DialContext opens a TCP connection from this host: a dialer for one's own client, with the form of http.Transport.DialContext. The address is
// an IP address with a port, or the name of a host of the lab: "server:8080". What comes back is an ordinary *net.TCPConn, with the options that
// net.Dial sets (TCP_NODELAY, keepalive after 15 s); its socket lives in the host's namespace, wherever it is used.
//
// It waits as long as the kernel does, or until the context ends. The kernel's error is found with errors.Is: syscall.ETIMEDOUT.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := h.resolve(network, address)
	if err != nil {
		return nil, fmt.Errorf("%s: dial %s: %w", h.Name, address, err)
	}
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	var fd int
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(to.Port())})
	if to.Addr().Is4() {
		sa.(*unix.SockaddrInet4).Addr = to.Addr().As4()
	} else {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	err = h.ns.Do(func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		return err
	})
	if err != nil {
		return fail(os.NewSyscallError("socket", err))
	}
	f := os.NewFile(uintptr(fd), "connection to "+to.String()) // the runtime's poller waits for it
	defer f.Close()
	if err := await(ctx, f, unix.Connect(fd, sa)); err != nil {
		return fail(err)
	}
	c, err := net.FileConn(f) // a descriptor of its own
	if err != nil {
		return fail(err)
	}
	return c, nil
}

// await waits for the end of a connect(2) that does not block.
func await(ctx context.Context, f *os.File, started error) error {
	if started != nil && !errors.Is(started, unix.EINPROGRESS) {
		return os.NewSyscallError("connect", started)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	// The socket is asked before each wait: its becoming writable is told once, and that may have been before this one began.
	left := error(nil)
	err = raw.Write(func(fd uintptr) bool {
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			left = os.NewSyscallError("getsockopt", err)
		case errno != 0:
			left = os.NewSyscallError("connect", unix.Errno(errno))
		default:
			_, err := unix.Getpeername(int(fd))
			if errors.Is(err, unix.ENOTCONN) {
				return false // until the poller says that it can be written to
			}
			left = os.NewSyscallError("getpeername", err)
		}
		return true
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(err, left)
}

// tcp reports whether a network is one of TCP's.
func tcp(network string) bool { return network == "tcp" || network == "tcp4" || network == "tcp6" }

// resolve is the address that a dialer was given.
func (h *Host) resolve(network, address string) (netip.AddrPort, error) {
	if !tcp(network) {
		return netip.AddrPort{}, fmt.Errorf("network %q: want tcp, tcp4 or tcp6", network)
	}
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q: want a number", port)
	}
	addr, known := h.names[name]
	if !known {
		if addr, err = netip.ParseAddr(name); err != nil || addr.Zone() != "" {
			return netip.AddrPort{}, fmt.Errorf("host %q: want an IP address without a zone, client or server", name)
		}
	}
	if network == "tcp4" && !addr.Is4() || network == "tcp6" && !addr.Is6() {
		return netip.AddrPort{}, fmt.Errorf("host %q: its address %s is not one of %s", name, addr, network)
	}
	return netip.AddrPortFrom(addr, uint16(n)), nil
}

// NetListen announces on an address of this host, for one's own server: http.Serve takes it. An address without a host, ":8080", is all of them.
// Its socket lives in the host's namespace; connections that it accepts do too. The lab's Close closes it.
func (h *Host) NetListen(ctx context.Context, network, address string) (net.Listener, error) {
	if !tcp(network) {
		return nil, fmt.Errorf("%s: listen %s: network %q: want tcp, tcp4 or tcp6", h.Name, address, network)
	}
	var l net.Listener
	err := h.ns.Do(func() (err error) {
		c := net.ListenConfig{KeepAlive: -1}
		c.SetMultipathTCP(false)
		if network == "tcp" {
			network = "tcp4"
			if h.Addr.Is6() {
				network = "tcp6"
			}
		}
		l, err = c.Listen(ctx, network, address) // opens, binds and listens on this thread
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name, err)
	}
	h.onClose(func() error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		return nil
	})
	return l, nil
}
