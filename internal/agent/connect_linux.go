package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// open answers Connect and ConnectSend.
func (s *session) open(q Request) {
	call := "connect"
	if q.Op == ConnectSend {
		call = "sendto"
	}
	switch {
	case s.fd >= 0:
		s.fail(call, errors.New("there is a connection already: close it first"))
	case !q.To.IsValid(): // the kernel would take an empty address for this host
		s.fail(call, errors.New("no address to connect to"))
	case q.Op == ConnectSend && q.Data == "":
		s.fail(call, errors.New("no data to send with the SYN"))
	default:
		if err := s.connect(q, call); err != nil {
			s.close()
			s.fail(call, err)
		}
	}
}

// socket makes the socket and returns it with its address for the kernel, and SO_KEEPALIVE read back.
func (s *session) socket(q Request) (sa unix.Sockaddr, keep bool, err error) {
	family := unix.AF_INET
	if q.To.Addr().Is4() {
		sa = &unix.SockaddrInet4{Port: int(q.To.Port()), Addr: q.To.Addr().As4()}
	} else {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(q.To.Port()), Addr: q.To.Addr().As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, false, fmt.Errorf("socket: %w", err)
	}
	s.fd = fd
	if keep, err = q.Options.apply(fd); err == nil {
		err = q.Options.bind(fd, family)
	}
	return sa, keep, err
}

// connect does what a blocking connect(2) does, without blocking a thread where Go's signals would interrupt it: a non-blocking
// connect, poll(2) until the socket is writable or failed, SO_ERROR. With Fast Open the call is sendto(MSG_FASTOPEN), which a signal
// would make ask for a cookie again and deliver the data twice. An error that it returns is still to be told.
func (s *session) connect(q Request, call string) error {
	sa, keep, err := s.socket(q)
	if err != nil {
		return err
	}
	waitUntil(q.At)

	beat := startPulse()
	defer beat.stop()
	n := 0 // bytes that the kernel took with the SYN
	before := now()
	if q.Op == ConnectSend {
		n, err = unix.SendmsgN(s.fd, []byte(q.Data), nil, sa, unix.MSG_FASTOPEN|unix.MSG_DONTWAIT)
	} else {
		err = unix.Connect(s.fd, sa)
	}
	after := now()
	if err == unix.EOPNOTSUPP {
		return err // Fast Open is off at this end (tcp_fastopen without bit 0x1): nothing was sent
	}
	local, lerr := localAddr(s.fd)
	if lerr != nil {
		return lerr
	}
	// Told also where the call failed at once, without a route say: it was made.
	s.say(Event{Event: Connecting, Before: before, After: after, Local: local, Remote: q.To, KeepAlive: keep, Bytes: max(n, 0)})
	if err != nil && err != unix.EINPROGRESS {
		return err
	}
	ended := after
	var stalls []Stall
	if err == unix.EINPROGRESS || q.Op == ConnectSend {
		if ended, _, err = ready(s.fd, unix.POLLOUT, 0); err != nil {
			return err
		}
		stalls = beat.stop()
		if soerr, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
			return fmt.Errorf("SO_ERROR: %w", err)
		} else if soerr != 0 {
			// Told with the time at which poll returned: what follows takes time of its own.
			s.close()
			s.failed("connect", unix.Errno(soerr), ended, stalls) // also of sendto(MSG_FASTOPEN), which is connect(2) as well
			return nil
		}
	}
	s.say(Event{Event: Connected, At: ended, Local: local, Stalls: stalls})
	if q.Op == ConnectSend {
		s.rest(q.Data, n, before, after)
	}
	return nil
}

// rest writes what the SYN did not carry, and tells that all is sent.
func (s *session) rest(data string, n int, before, after time.Duration) {
	w := written{before: before, after: after, calls: 1, bytes: n}
	if n <= 0 { // no cookie yet: the SYN only asked for one, and no data was taken
		w = written{}
	}
	if err := s.put([]byte(data)[w.bytes:], &w); err != nil {
		s.fail("write", err)
		return
	}
	s.say(w.event())
}

func localAddr(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("getsockname: %w", err)
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("getsockname: a %T", sa)
}
