package lab

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// served is one connection of a Server.
type served struct {
	s      *Server
	file   *os.File
	remote netip.AddrPort
	bytes  int
}

func (c *served) say(e Event) {
	e.Remote = c.remote
	c.s.say(e)
}

// serve does what the server is for, then closes.
func (c *served) serve() {
	var err error
	switch {
	case c.s.o.Close == AfterAccept: // what comes stays unread
	case c.s.o.Service == Echo:
		err = c.echo()
	case c.s.o.Service == Sink:
		err = c.sink()
	default:
		err = c.http()
	}
	if errors.Is(err, os.ErrClosed) { // Server.Close
		c.forget()
		return
	}
	if c.s.o.Close == Never {
		<-c.s.closed // Server.Close closes it
		c.forget()
		return
	}
	if d := c.s.o.CloseDelay; d > 0 {
		c.pause(d)
	}
	before := mono()
	_ = c.file.Close() // Server.Close may have been first
	after := mono()
	c.forget()
	c.say(Event{Event: Closed, At: after, Before: before, After: after, Bytes: c.bytes})
}

// pause waits for so long, or until the server is closed, which it tells by false.
func (c *served) pause(d time.Duration) bool {
	later := time.NewTimer(d)
	defer later.Stop()
	select {
	case <-later.C:
		return true
	case <-c.s.closed:
		return false
	}
}

// sink reads and forgets, from when it is to read.
func (c *served) sink() error {
	b := make([]byte, 64<<10)
	switch d := c.s.o.ReadAfter; {
	case d < 0:
		<-c.s.closed
		return os.ErrClosed
	case d > 0:
		if !c.pause(d) {
			return os.ErrClosed
		}
		before := mono()
		n, err := c.Read(b)
		if err != nil {
			return err
		}
		after := mono()
		c.say(Event{Event: Resumed, At: after, Before: before, After: after, Bytes: n})
	}
	_, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{c}, b)
	return err
}

func (c *served) forget() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	delete(c.s.conns, c.file)
}

// Read reads once and tells of it; io.EOF is the peer's end of stream.
func (c *served) Read(p []byte) (int, error) {
	n, err := c.file.Read(p)
	at := mono()
	switch {
	case n > 0:
		c.bytes += n
		c.say(Event{Event: Received, At: at, Bytes: n})
	case err == io.EOF:
		c.say(Event{Event: Received, At: at})
	case err != nil:
		c.failed("read", at, err)
	}
	return n, err
}

// write writes all of b and tells of it.
func (c *served) write(b []byte) error {
	before := mono()
	n, err := c.file.Write(b)
	after := mono()
	if err != nil {
		c.failed("write", after, err)
		return err
	}
	c.say(Event{Event: Sent, At: after, Before: before, After: after, Bytes: n})
	return nil
}

func (c *served) failed(call string, at time.Duration, err error) {
	if errors.Is(err, os.ErrClosed) {
		return // by Server.Close
	}
	e := Event{Event: Failed, At: at, Call: call, Text: err.Error()}
	if errno := unix.Errno(0); errors.As(err, &errno) {
		e.Errno, e.Text = unix.ErrnoName(errno), errno.Error()
	}
	c.say(e)
}

func (c *served) echo() error {
	b := make([]byte, 64<<10)
	if err := c.quickACK(QuickACKOnce); err != nil {
		return err
	}
	for {
		n, err := io.ReadAtLeast(c, b, max(c.s.o.Whole, 1))
		if err != nil {
			return err
		}
		if err := c.write(b[:n]); err != nil || c.s.o.Close == AfterAnswer {
			return err
		}
		if err := c.quickACK(QuickACKAlways); err != nil {
			return err
		}
	}
}

// quickACK sets TCP_QUICKACK where the occasion is one at which it is to be set.
func (c *served) quickACK(at QuickACK) error {
	if q := c.s.o.QuickACK; q == QuickACKNever || q == QuickACKOnce && at == QuickACKAlways {
		return nil
	}
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) }); err != nil {
		return err
	}
	return set
}

// http answers one request after the other, each with one write(2): what is on the wire depends on TCP alone.
func (c *served) http() error {
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return err // the peer has closed, or it does not speak HTTP
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return err
		}
		first := c.s.o.Close == AfterAnswer
		if err := c.write(hello(req.URL.Path, first)); err != nil || first {
			return err
		}
	}
}
