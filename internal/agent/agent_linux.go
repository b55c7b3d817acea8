package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

	asked time.Duration // Request.At of the request that is served, until the call for it was made
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
	if e.After != 0 { // a call that sends, and the first one of its request
		e.Asked, s.asked = s.asked, 0
	}
	s.out.Lock()
	defer s.out.Unlock()
	if _, err := s.w.Write(e.line()); err != nil {
		os.Exit(3) // the parent is gone
	}
}

// fail tells that a call failed, now.
func (s *session) fail(call string, err error) { s.failed(call, err, 0, nil) }

// failed tells that a call failed at a time (0: now), and what this process missed while it waited.
func (s *session) failed(call string, err error, at time.Duration, stalls []Stall) {
	e := Event{Event: Failed, At: at, Call: call, Text: err.Error(), Stalls: stalls}
	var errno unix.Errno
	if errors.As(err, &errno) {
		e.Errno = name(errno)
	}
	s.say(e)
}

// name is the symbolic name of an errno, as the kernel's source has it.
func name(errno unix.Errno) string {
	if errno == unix.EOPNOTSUPP { // x/sys knows the number as ENOTSUP, which the C library has beside it
		return "EOPNOTSUPP"
	}
	return unix.ErrnoName(errno)
}

func (s *session) serve(q Request) {
	s.asked = q.At
	switch q.Op {
	case Connect, ConnectSend:
		s.open(q)
	case Send, Write:
		s.write(q)
	case Receive:
		s.receive(q)
	case Get:
		s.get(q)
	case Ask:
		s.ask(q)
	case Shutdown:
		s.shutdown(q)
	case Close:
		waitUntil(q.At)
		e := Event{Event: Closed}
		if s.fd >= 0 {
			e.Before = now()
			s.close()
			e.After = now()
			e.At = e.After
		}
		s.say(e)
	default:
		s.fail(string(q.Op), fmt.Errorf("unknown request %q", q.Op))
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

// ready waits until fd can be read or written, as events say, failed or was hung up, and no longer than the CLOCK_MONOTONIC time until
// (0: for ever). It returns when poll(2) returned, and false where the time was up.
func ready(fd int, events int16, until time.Duration) (at time.Duration, ok bool, err error) {
	for {
		wait := -1
		if until > 0 {
			wait = int(max(until-now(), 0).Round(time.Millisecond)/time.Millisecond) + 1
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, wait)
		at := now()
		switch {
		case err == unix.EINTR:
		case err != nil:
			return at, false, fmt.Errorf("poll: %w", err)
		case n > 0:
			return at, true, nil
		case at >= until:
			return at, false, nil
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
