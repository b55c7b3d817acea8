package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/kernel"
)

// Server is a listening TCP server on a host. Its sockets are made with system calls, not with package net, which switches keepalive and
// TCP_NODELAY on behind one's back, and MPTCP where it can.
type Server struct {
	Addr netip.AddrPort

	host   *Host
	o      ListenOptions
	l      *os.File
	wg     sync.WaitGroup // the listener and its connections
	events chan Event     // to observe, in order; tell waits for its end
	tell   sync.WaitGroup
	closed chan struct{}
	once   sync.Once
	bytes  atomic.Int64

	mu    sync.Mutex
	conns map[*os.File]struct{}
}

// Listen starts a server on this host. Its socket lives in the host's namespace; its goroutines need not. What it does is told to
// Topology.Observe: Accepted, Received, Sent, Closed, Failed.
func (h *Host) Listen(_ context.Context, o ListenOptions) (*Server, error) {
	if o.Port == 0 {
		o.Port = 8080
	}
	if o.Backlog == 0 {
		o.Backlog = 4096
	}
	s := &Server{
		Addr: netip.AddrPortFrom(h.Addr, o.Port), host: h, o: o,
		events: make(chan Event, 1024), closed: make(chan struct{}), conns: map[*os.File]struct{}{},
	}
	err := h.ns.Do(func() (err error) {
		s.l, err = o.listen(s.Addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: listen on %s: %w", h.Name, s.Addr, err)
	}
	s.tell.Go(func() {
		for e := range s.events {
			h.observe(h.Name, e)
			if e.Event == Received { // counted last: whoever sees the count finds the events before it
				s.bytes.Add(int64(e.Bytes))
			}
		}
	})
	if o.Service != Hold {
		s.wg.Go(s.accept)
	}
	h.onClose(s.Close)
	return s, nil
}

// listen makes the listening socket, on the namespace's thread. What is set here, accepted sockets inherit.
func (o ListenOptions) listen(at netip.AddrPort) (*os.File, error) {
	switch o.Service {
	case HTTP, Echo, Sink, Hold:
	default:
		return nil, fmt.Errorf("service %q: want one of the lab's", o.Service)
	}
	if !o.closes() {
		return nil, fmt.Errorf("close %q: a %q server cannot", o.Close, o.Service)
	}
	if o.ReadAfter != 0 && o.Service != Sink {
		return nil, fmt.Errorf("read after %v: a %q server cannot", o.ReadAfter, o.Service)
	}
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(at.Port())})
	if at.Addr().Is4() {
		sa.(*unix.SockaddrInet4).Addr = at.Addr().As4()
	} else {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := o.set(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := unix.Bind(fd, sa); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(fd, o.Backlog); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen: %w", err)
	}
	return os.NewFile(uintptr(fd), "listener "+at.String()), nil
}

// closes reports whether the service can close when the options say.
func (o ListenOptions) closes() bool {
	switch o.Close {
	case AfterFIN:
		return true
	case AfterAnswer:
		return o.Service == HTTP || o.Service == Echo
	case AfterAccept, Never:
		return o.Service == Sink
	}
	return false
}

// inherited are the options of the listener that its accepted sockets have from the start.
func (o ListenOptions) inherited() []sockopt {
	on := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	set := []sockopt{
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, on(o.KeepAlive)},
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, on(o.NoDelay)},
	}
	for _, s := range []sockopt{
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(o.KeepIdle / time.Second)},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(o.KeepInterval / time.Second)},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, o.KeepCount},
		{"SO_RCVLOWAT", unix.SOL_SOCKET, unix.SO_RCVLOWAT, o.LowWater},
	} {
		if s.value != 0 {
			set = append(set, s)
		}
	}
	return set
}

type sockopt struct {
	name       string
	level, opt int
	value      int
}

func (o ListenOptions) set(fd int) error {
	list := append(o.inherited(), sockopt{"SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1})
	if o.FastOpen != 0 {
		list = append(list, sockopt{"TCP_FASTOPEN", unix.IPPROTO_TCP, unix.TCP_FASTOPEN, o.FastOpen})
	}
	if o.ReceiveBuffer != 0 {
		list = append(list, sockopt{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, o.ReceiveBuffer})
	}
	for _, s := range list {
		if err := unix.SetsockoptInt(fd, s.level, s.opt, s.value); err != nil {
			return fmt.Errorf("setsockopt %s=%d: %w", s.name, s.value, err)
		}
	}
	return nil
}

// readBack says in which option an accepted socket is not what the options ask for. MPTCP would be another protocol.
func (o ListenOptions) readBack(fd int) error {
	for _, s := range append(o.inherited(), sockopt{"SO_PROTOCOL", unix.SOL_SOCKET, unix.SO_PROTOCOL, unix.IPPROTO_TCP}) {
		got, err := unix.GetsockoptInt(fd, s.level, s.opt)
		if err != nil {
			return fmt.Errorf("getsockopt %s: %w", s.name, err)
		}
		if got != s.value {
			return fmt.Errorf("%s of an accepted socket is %d, want %d", s.name, got, s.value)
		}
	}
	return nil
}

// accept takes connections until the listener is closed.
func (s *Server) accept() {
	raw, err := s.l.SyscallConn()
	if err != nil {
		return // closed before it began
	}
	for {
		var fd int
		var from unix.Sockaddr
		var errno error
		if err := raw.Read(func(l uintptr) bool {
			fd, from, errno = unix.Accept4(int(l), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			return errno != unix.EAGAIN
		}); err != nil {
			return // closed
		}
		switch errno {
		case nil:
			s.take(fd, from)
		case unix.EINTR, unix.ECONNABORTED: // gone before it was accepted
		default:
			s.say(Event{Event: Failed, Call: "accept", Errno: unix.ErrnoName(errno.(unix.Errno)), Text: errno.Error()})
			return
		}
	}
}

// take starts to serve a connection.
func (s *Server) take(fd int, from unix.Sockaddr) {
	at := mono()
	c := &served{s: s, remote: addrPort(from)}
	if err := s.o.readBack(fd); err != nil {
		unix.Close(fd)
		c.say(Event{Event: Failed, Call: "accept", Text: err.Error()})
		return
	}
	c.file = os.NewFile(uintptr(fd), "connection from "+c.remote.String())
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		c.file.Close()
		return
	default:
	}
	s.conns[c.file] = struct{}{}
	c.say(Event{Event: Accepted, At: at, KeepAlive: s.o.KeepAlive})
	s.wg.Go(c.serve)
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

func (s *Server) say(e Event) {
	if e.At == 0 {
		e.At = mono()
	}
	e.Local = s.Addr
	s.events <- e
}

// mono is CLOCK_MONOTONIC, which cannot fail on Linux.
func mono() time.Duration {
	t, err := kernel.MonotonicNow()
	if err != nil {
		panic("lab: CLOCK_MONOTONIC: " + err.Error())
	}
	return t
}

// Received is how many bytes the server has read, on all its connections, and has told Topology.Observe of: what the server did before it read
// the last of them has been told, too.
func (s *Server) Received() int64 { return s.bytes.Load() }

// Close stops listening, ends the connections and waits for them. Calling it again does nothing.
func (s *Server) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.l.Close()
		s.mu.Lock()
		for c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
		close(s.events)
	})
	s.tell.Wait()
	return nil
}
