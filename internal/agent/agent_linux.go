package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A program that imports this package and is started as Name never reaches its main function.
func init() {
	if len(os.Args) > 0 && os.Args[0] == Name {
		os.Exit(run(os.Stdin, os.Stdout))
	}
}

// session is one agent: at most one socket, requests one after the other.
type session struct {
	out sync.Mutex
	w   io.Writer
	fd  int // -1: none
}

// run serves requests until standard input ends. Requests are read on a goroutine of their own, so that the parent's death ends the
// agent even while it is blocked in connect.
func run(r io.Reader, w io.Writer) int {
	s := &session{w: w, fd: -1}
	requests := make(chan Request)
	ended := make(chan int, 1)
	go func() {
		in := bufio.NewScanner(r)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			var q Request
			if err := json.Unmarshal(in.Bytes(), &q); err != nil {
				fmt.Fprintf(os.Stderr, "%s: request %q: %v\n", Name, in.Text(), err)
				ended <- 2
				return
			}
			select {
			case requests <- q:
			case <-time.After(time.Minute):
				fmt.Fprintf(os.Stderr, "%s: busy with an earlier request\n", Name)
				ended <- 2
				return
			}
		}
		if err := in.Err(); err != nil { // a line over 1 MiB
			fmt.Fprintf(os.Stderr, "%s: read a request: %v\n", Name, err)
			ended <- 2
			return
		}
		ended <- 0
	}()
	s.say(Event{Event: Ready})
	go func() {
		for q := range requests {
			s.serve(q)
		}
	}()
	return <-ended
}

func (s *session) say(e Event) {
	if e.At == 0 {
		e.At = now()
	}
	s.out.Lock()
	defer s.out.Unlock()
	if _, err := s.w.Write(e.line()); err != nil {
		os.Exit(3) // the parent is gone
	}
}

func (s *session) fail(call string, err error) {
	e := Event{Event: Failed, Call: call, Text: err.Error()}
	var errno unix.Errno
	if errors.As(err, &errno) {
		e.Errno = unix.ErrnoName(errno)
	}
	s.say(e)
}

func (s *session) serve(q Request) {
	switch q.Op {
	case Connect:
		switch {
		case s.fd >= 0:
			s.fail("connect", errors.New("there is a connection already: close it first"))
		case !q.To.IsValid(): // the kernel would take an empty address for this host
			s.fail("connect", errors.New("no address to connect to"))
		default:
			if err := s.connect(q); err != nil {
				s.close()
				s.fail("connect", err)
			}
		}
	case Send:
		if err := s.send([]byte(q.Data)); err != nil {
			s.fail("write", err)
			return
		}
		s.say(Event{Event: Sent, Bytes: len(q.Data)})
	case Receive:
		if err := s.receive(); err != nil {
			s.fail("read", err)
		}
	case Get:
		if err := s.get(q.Data); err != nil {
			s.fail("get", err)
		}
	case Close:
		s.close()
		s.say(Event{Event: Closed})
	default:
		s.fail(string(q.Op), fmt.Errorf("unknown request %q", q.Op))
	}
}

// connect does what a blocking connect(2) does, without blocking a thread where Go's signals would interrupt it: a non-blocking
// connect, poll(2) until the socket is writable or failed, SO_ERROR.
func (s *session) connect(q Request) error {
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(q.To.Port()), Addr: [4]byte{}})
	if q.To.Addr().Is4() {
		sa.(*unix.SockaddrInet4).Addr = q.To.Addr().As4()
	} else {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(q.To.Port()), Addr: q.To.Addr().As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	s.fd = fd
	keep, err := q.Options.apply(fd)
	if err != nil {
		return err
	}
	waitUntil(q.At)

	beat := startPulse()
	defer beat.stop()
	before := now()
	err = unix.Connect(fd, sa)
	after := now()
	local, lerr := localAddr(fd)
	if lerr != nil {
		return lerr
	}
	// Told also where the call failed at once, without a route say: it was made.
	s.say(Event{Event: Connecting, Before: before, After: after, Local: local, KeepAlive: keep})
	if err != nil && err != unix.EINPROGRESS {
		return err
	}
	if err == unix.EINPROGRESS {
		if err := pollOut(fd); err != nil {
			return err
		}
		ended := now()
		stalls := beat.stop()
		if soerr, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
			return fmt.Errorf("SO_ERROR: %w", err)
		} else if soerr != 0 {
			// Told with the time at which poll returned: what follows takes time of its own.
			errno := unix.Errno(soerr)
			s.close()
			s.say(Event{Event: Failed, At: ended, Call: "connect", Errno: unix.ErrnoName(errno), Text: errno.Error(), Stalls: stalls})
			return nil
		}
		s.say(Event{Event: Connected, At: ended, Local: local, Stalls: stalls})
		return nil
	}
	s.say(Event{Event: Connected, At: after, Local: local})
	return nil
}

// apply sets the options and returns SO_KEEPALIVE read back: a client with keepalive on by accident ends long experiments early.
func (o Options) apply(fd int) (keepalive bool, err error) {
	set := func(name string, level, opt, v int) {
		if err == nil {
			if e := unix.SetsockoptInt(fd, level, opt, v); e != nil {
				err = fmt.Errorf("setsockopt %s=%d: %w", name, v, e)
			}
		}
	}
	if o.SYNCount != 0 {
		set("TCP_SYNCNT", unix.IPPROTO_TCP, unix.TCP_SYNCNT, o.SYNCount)
	}
	if o.UserTimeout != 0 {
		set("TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(o.UserTimeout/time.Millisecond))
	}
	if o.NoDelay {
		set("TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	on := 0
	if o.KeepAlive {
		on = 1
	}
	set("SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, on)
	if err != nil {
		return false, err
	}
	v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
	if err != nil {
		return false, fmt.Errorf("getsockopt SO_KEEPALIVE: %w", err)
	}
	return v != 0, nil
}

// pollOut waits until fd is writable, failed or hung up.
func pollOut(fd int) error {
	for {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if _, err := unix.Poll(p, -1); err == unix.EINTR {
			continue
		} else if err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		return nil
	}
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

func (s *session) send(b []byte) error {
	if s.fd < 0 {
		return unix.ENOTCONN
	}
	for len(b) > 0 {
		n, err := unix.Write(s.fd, b)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if err := pollOut(s.fd); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			b = b[n:]
		}
	}
	return nil
}

// receive reads once: what has come, at most 64 KiB, or the peer's end of stream, which is told as empty data.
func (s *session) receive() error {
	if s.fd < 0 {
		return unix.ENOTCONN
	}
	b := make([]byte, 64<<10)
	n, err := socketReader(s.fd).Read(b)
	if err != nil && err != io.EOF {
		return err
	}
	s.say(Event{Event: Received, Data: string(b[:n]), Bytes: n})
	return nil
}

// get is the curl-like client: one HTTP/1.1 GET, the whole answer read.
func (s *session) get(path string) error {
	if s.fd < 0 {
		return unix.ENOTCONN
	}
	req, err := http.NewRequest(http.MethodGet, "http://server"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", Name)
	var text writerBuffer
	if err := req.Write(&text); err != nil {
		return err
	}
	if err := s.send(text); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(socketReader(s.fd)), req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return err
	}
	s.say(Event{Event: Response, Status: resp.StatusCode, Bytes: int(n)})
	return nil
}

type writerBuffer []byte

func (b *writerBuffer) Write(p []byte) (int, error) { *b = append(*b, p...); return len(p), nil }

// socketReader reads a non-blocking socket as if it blocked.
type socketReader int

func (fd socketReader) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), p)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); err != nil && err != unix.EINTR {
				return 0, err
			}
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (s *session) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

// waitUntil returns at the CLOCK_MONOTONIC time t, or at once if it has passed.
func waitUntil(t time.Duration) {
	ts := unix.NsecToTimespec(int64(t))
	for t > now() {
		if err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil); err != nil && err != unix.EINTR {
			return
		}
	}
}

func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("agent: CLOCK_MONOTONIC: " + err.Error()) // cannot fail on Linux
	}
	return time.Duration(ts.Nano())
}
