package agent

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// written is what became of the bytes of one request.
type written struct {
	before, after time.Duration // around the call that took the first byte
	calls, bytes  int
}

func (w written) event() Event {
	return Event{Event: Sent, Before: w.before, After: w.after, Bytes: w.bytes, Calls: w.calls}
}

// put writes all of b, in one write(2) where the send buffer has the room. It tells when it has to wait for room.
func (s *session) put(b []byte, w *written) error {
	told := false
	for len(b) > 0 {
		before := now()
		n, err := unix.Write(s.fd, b)
		after := now()
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if !told {
				told = true
				s.say(Event{Event: Calling, Call: "write", Before: before})
			}
			if _, _, err := ready(s.fd, unix.POLLOUT, 0); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			if w.calls == 0 {
				w.before, w.after = before, after
			}
			w.calls++
			w.bytes += n
			b = b[n:]
		}
	}
	return nil
}

// write answers Send and Write.
func (s *session) write(q Request) {
	if s.fd < 0 {
		s.fail("write", unix.ENOTCONN)
		return
	}
	data := []byte(q.Data)
	if q.Op == Write {
		if q.Segments <= 0 || q.Size <= 0 || q.Segments > mostWritten/q.Size {
			s.fail("write", fmt.Errorf("%d segments of %d bytes: want at least 1 of 1, and at most %d bytes: %w", q.Segments, q.Size, mostWritten, unix.EINVAL))
			return
		}
		data = numbered(q.Segments, q.Size)
	}
	waitUntil(q.At)
	var w written
	if err := s.put(data, &w); err != nil {
		s.fail("write", err)
		return
	}
	s.say(w.event())
}

const mostWritten = 64 << 20

// numbered is n pieces of size bytes, each filled with its number, from 1: a reader of the capture sees which is which.
func numbered(n, size int) []byte {
	b := make([]byte, 0, n*size)
	for i := range n {
		piece := fmt.Sprintf("[%d]", i+1)
		for len(b) < (i+1)*size {
			b = append(b, piece...)
		}
		b = b[:(i+1)*size]
	}
	return b
}

// shutdown answers Shutdown.
func (s *session) shutdown(q Request) {
	if s.fd < 0 {
		s.fail("shutdown", unix.ENOTCONN)
		return
	}
	waitUntil(q.At)
	before := now()
	err := unix.Shutdown(s.fd, unix.SHUT_WR)
	after := now()
	if err != nil {
		s.failed("shutdown", err, after, nil)
		return
	}
	s.say(Event{Event: ShutDown, At: after, Before: before, After: after})
}

// receive reads once: what has come, at most 64 KiB, or the peer's end of stream, which is told as empty data. An error of the
// connection is told with the time at which poll(2) returned.
func (s *session) receive(q Request) {
	if s.fd < 0 {
		s.fail("read", unix.ENOTCONN)
		return
	}
	waitUntil(q.At)
	s.say(Event{Event: Calling, Call: "read", Before: now()})
	beat := startPulse()
	defer beat.stop()
	b := make([]byte, 64<<10)
	for {
		at, ok, err := ready(s.fd, unix.POLLIN, q.Until)
		if err == nil && !ok {
			s.say(Event{Event: Quiet, At: at, Stalls: beat.stop()})
			return
		}
		n := 0
		if err == nil {
			n, err = unix.Read(s.fd, b)
		}
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		stalls := beat.stop()
		if err != nil {
			s.failed("read", err, at, stalls)
			return
		}
		s.say(Event{Event: Received, At: at, Data: string(b[:n]), Bytes: n, Stalls: stalls})
		return
	}
}

// get is the curl-like client: one HTTP/1.1 GET, the whole answer read.
func (s *session) get(q Request) {
	if s.fd < 0 {
		s.fail("get", unix.ENOTCONN)
		return
	}
	waitUntil(q.At)
	beat := startPulse()
	defer beat.stop()
	var w written
	if err := s.put([]byte(q.Data), &w); err != nil {
		s.fail("write", err)
		return
	}
	s.say(w.event())
	in := socketReader{fd: s.fd}
	status, n, err := readResponse(&in)
	stalls := beat.stop()
	switch {
	case in.err != nil:
		s.failed("read", in.err, in.at, stalls)
	case err != nil:
		s.failed("get", err, in.at, stalls)
	default:
		s.say(Event{Event: Response, At: in.at, Status: status, Bytes: n, Stalls: stalls})
	}
}

// ask answers Ask: a program that writes a request in pieces and waits for as many bytes.
func (s *session) ask(q Request) {
	if s.fd < 0 {
		s.fail("write", unix.ENOTCONN)
		return
	}
	if q.Segments <= 0 || q.Size <= 0 || q.Segments > mostWritten/q.Size {
		s.fail("write", fmt.Errorf("%d writes of %d bytes: want at least 1 of 1, and at most %d bytes: %w", q.Segments, q.Size, mostWritten, unix.EINVAL))
		return
	}
	waitUntil(q.At)
	beat := startPulse()
	defer beat.stop()
	w, err := s.pieces(q)
	if err != nil {
		s.fail("write", err)
		return
	}
	s.say(w.event())
	in := socketReader{fd: s.fd}
	n, err := io.CopyN(io.Discard, &in, int64(q.Segments*q.Size))
	stalls := beat.stop()
	switch {
	case in.err != nil:
		s.failed("read", in.err, in.at, stalls)
	case err != nil:
		s.failed("read", err, in.at, stalls)
	default:
		s.say(Event{Event: Response, At: in.at, Bytes: int(n), Stalls: stalls})
	}
}

// pieces makes the writes of an Ask.
func (s *session) pieces(q Request) (w written, err error) {
	cork := func(on int) error { return unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_CORK, on) }
	if q.Cork != "" {
		if err := cork(1); err != nil {
			return w, err
		}
	}
	var first written
	for i := range q.Segments {
		var piece written
		if err := s.put(numbered(1, q.Size), &piece); err != nil {
			return w, err
		}
		if i == 0 {
			first = piece
		}
		w = written{before: first.before, after: piece.after, calls: w.calls + piece.calls, bytes: w.bytes + piece.bytes}
	}
	if q.Cork == Cork {
		err = cork(0)
		w.after = now()
	}
	return w, err
}

// socketReader reads a non-blocking socket as if it blocked.
type socketReader struct {
	fd  int
	at  time.Duration // when poll(2) returned for the last read
	err error         // of the connection; nil at the end of the stream
}

func (r *socketReader) Read(p []byte) (int, error) {
	for {
		at, _, err := ready(r.fd, unix.POLLIN, 0)
		r.at = at
		n := 0
		if err == nil {
			n, err = unix.Read(r.fd, p)
		}
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case err != nil:
			r.err = err
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}
