package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tcplab/tcplab/internal/agent"
)

// Client is a TCP client in a process of its own on a host, at most one connection at a time. It does one thing after the other: a verb whose
// context ends is still under way in the process, and all that is left to do then is Close.
type Client struct {
	host   *Host
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr strings.Builder
	events chan Event
	done   chan struct{} // closed when the process has been waited for
	err    error         // valid after done
	opened atomic.Int64  // CLOCK_MONOTONIC before the newest call that opened a connection

	closing sync.Once
}

// Opened is the CLOCK_MONOTONIC time just before the newest call that opened a connection, connect(2) or sendto(2); zero: there was none. Later
// calls that are planned from that one are made on time though it was late.
func (c *Client) Opened() time.Duration { return time.Duration(c.opened.Load()) }

// Span is a time from and to an instant of CLOCK_MONOTONIC.
type Span = agent.Span

// Expect says when the programs that are started on this host from now on may have something to tell. A client process looks for stops of
// its own at these times as often as a late wake-up could matter, and else ten times a second: so many that wait cost little. Without it,
// or with no spans, a process always looks.
func (h *Host) Expect(due []Span) { h.due = due }

// Start starts a client process on this host and waits until it runs.
func (h *Host) Start(ctx context.Context) (*Client, error) {
	c := &Client{host: h, events: make(chan Event, 64), done: make(chan struct{})}
	c.cmd = exec.Command("/proc/self/exe")
	c.cmd.Args = []string{agent.Name}
	c.cmd.Env = []string{"GOMAXPROCS=2", "GOTRACEBACK=single", "GORACE=" + os.Getenv("GORACE")}
	if h.virtual {
		// One of the packages in this program makes tables for CRC-32C before main. With the processor's own instruction for it these take a million
		// bytes, and an engine that translates makes that instruction bit by bit: some 20 ms of the host's for each process.
		c.cmd.Env = append(c.cmd.Env, agent.VirtualTime+"=1", "GOGC=off", "GODEBUG=cpu.sse42=off")
	}
	if len(h.due) > 0 {
		b, err := json.Marshal(h.due)
		if err != nil {
			return nil, fmt.Errorf("%s: client process: %w", h.Name, err)
		}
		c.cmd.Env = append(c.cmd.Env, agent.Due+"="+string(b))
	}
	// Dies with the namespace's thread; standard input is the second line: it closes however this process ends.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	c.cmd.Stderr = &c.stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("%s: client process: %w", h.Name, err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("%s: client process: %w", h.Name, err)
	}
	c.stdin = stdin
	if err := h.ns.Do(c.cmd.Start); err != nil {
		return nil, fmt.Errorf("%s: client process: %w", h.Name, err)
	}
	go c.read(stdout)
	h.onClose(c.Close)
	if _, err := c.wait(ctx, agent.Ready); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// read owns the process: it passes its events on and waits for its end.
func (c *Client) read(stdout io.Reader) {
	defer close(c.done)
	defer close(c.events)
	in := bufio.NewScanner(stdout)
	in.Buffer(nil, 1<<20)
	var local, remote netip.AddrPort // of the newest connection
	for in.Scan() {
		var e Event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			c.err = fmt.Errorf("%s: client process said %q: %w", c.host.Name, in.Text(), err)
			continue
		}
		if e.Event == Connecting {
			c.opened.Store(int64(e.Before))
			local, remote = e.Local, e.Remote
		}
		e.Local, e.Remote = local, remote // of several clients, which one tells
		c.host.observe(c.host.Name, e)
		c.events <- e
	}
	if err := c.cmd.Wait(); err != nil {
		c.err = errors.Join(c.err, fmt.Errorf("%s: client process: %w: %s", c.host.Name, err, strings.TrimSpace(c.stderr.String())))
	}
}

// wait returns the next event of one of the kinds, or the error of a Failed one.
func (c *Client) wait(ctx context.Context, kinds ...agent.Kind) (Event, error) {
	for {
		select {
		case <-ctx.Done():
			return Event{}, ctx.Err()
		case e, ok := <-c.events:
			if !ok {
				<-c.done
				return Event{}, errors.Join(fmt.Errorf("%s: %w", c.host.Name, ErrClientEnded), c.err)
			}
			for _, k := range kinds {
				if e.Event == k {
					return e, nil
				}
			}
			if e.Event == agent.Failed {
				return e, fmt.Errorf("%s: %w", c.host.Name, &CallError{Call: e.Call, Errno: e.Errno, At: e.At, Text: e.Text})
			}
		}
	}
}

func (c *Client) ask(q agent.Request) error {
	b, err := json.Marshal(q)
	if err != nil {
		return err
	}
	if _, err := c.stdin.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("%s: client process: %w", c.host.Name, err)
	}
	return nil
}

// do asks for something and waits for the event that answers it.
func (c *Client) do(ctx context.Context, q agent.Request, answer ...agent.Kind) (Event, error) {
	if err := c.ask(q); err != nil {
		return Event{}, err
	}
	return c.wait(ctx, answer...)
}

// Connect opens a connection and waits until connect(2) has returned, however long the kernel takes. Its failure wraps a *ConnectError.
func (c *Client) Connect(ctx context.Context, to netip.AddrPort, o DialOptions) error {
	_, err := c.do(ctx, agent.Request{Op: agent.Connect, To: to, Options: o.SocketOptions, At: o.At}, agent.Connected)
	return err
}

// ConnectSend opens a connection with TCP Fast Open: one sendto(MSG_FASTOPEN), and, where the kernel took only a part of text with the
// SYN, or none because it has no cookie yet, write(2) for the rest as soon as the connection is open. Connecting tells how much went with
// the SYN. It returns Sent. A failure wraps a *CallError: Call is "sendto" and Errno EOPNOTSUPP where tcp_fastopen is off at this end, and
// Call is "connect" where the connection did not come about.
func (c *Client) ConnectSend(ctx context.Context, to netip.AddrPort, text string, o DialOptions) (Event, error) {
	return c.do(ctx, agent.Request{Op: agent.ConnectSend, To: to, Data: text, Options: o.SocketOptions, At: o.At}, agent.Sent)
}

// Get is the curl-like client: one HTTP GET over the open connection, sent at a CLOCK_MONOTONIC time (0: at once). It returns Response,
// with the status and the length of the body in bytes. Sent is told when the request has been written. A path that no URL can have is an error.
func (c *Client) Get(ctx context.Context, path string, at time.Duration) (Event, error) {
	text, err := request(path)
	if err != nil {
		return Event{}, err
	}
	return c.do(ctx, agent.Request{Op: agent.Get, Data: string(text), At: at}, agent.Response)
}

// Send is the telnet-like client: it writes text over the open connection, at a CLOCK_MONOTONIC time (0: at once), and returns Sent when
// the kernel has taken all of it. Sending on a connection that has ended fails with a *CallError of "write".
func (c *Client) Send(ctx context.Context, text string, at time.Duration) (Event, error) {
	return c.do(ctx, agent.Request{Op: agent.Send, Data: text, At: at}, agent.Sent)
}

// Write sends that many segments' worth of size bytes each, in one write(2) where the send buffer has the room (SendBuffer; Sent.Calls
// tells). Each is filled with its number. It is the kernel that cuts segments: size is best the connection's MSS.
func (c *Client) Write(ctx context.Context, segments, size int, at time.Duration) (Event, error) {
	return c.do(ctx, agent.Request{Op: agent.Write, Segments: segments, Size: size, At: at}, agent.Sent)
}

// Ask writes a request in pieces and waits until as many bytes have come. It returns Response; Sent is told when the request has been written.
func (c *Client) Ask(ctx context.Context, o AskOptions) (Event, error) {
	return c.do(ctx, agent.Request{Op: agent.Ask, Segments: o.Writes, Size: o.Size, Cork: o.Cork, At: o.At}, agent.Response)
}

// Receive waits for what the peer sends next and returns Received; without Bytes, the peer has closed. On a connection that dies it fails
// with a *CallError of "read" with the kernel's errno (ETIMEDOUT, ECONNRESET, EHOSTUNREACH) and the time at which poll(2) told of it. Its
// error wraps ErrQuiet where nothing came until o.Until.
func (c *Client) Receive(ctx context.Context, o ReceiveOptions) (Event, error) {
	e, err := c.do(ctx, agent.Request{Op: agent.Receive, At: o.At, Until: o.Until}, agent.Received, agent.Quiet)
	if err == nil && e.Event == agent.Quiet {
		err = fmt.Errorf("%s: read: %w", c.host.Name, ErrQuiet)
	}
	return e, err
}

// Shutdown ends the sending direction, at a CLOCK_MONOTONIC time (0: at once): shutdown(SHUT_WR), a FIN after what is still to be sent.
// It returns ShutDown. The connection can still receive.
func (c *Client) Shutdown(ctx context.Context, at time.Duration) (Event, error) {
	return c.do(ctx, agent.Request{Op: agent.Shutdown, At: at}, agent.ShutDown)
}

// Hangup closes the socket, at a CLOCK_MONOTONIC time (0: at once), and keeps the process, which may connect again. It returns Closed. The
// kernel sends a FIN, or a RST where data was left unread.
func (c *Client) Hangup(ctx context.Context, at time.Duration) (Event, error) {
	return c.do(ctx, agent.Request{Op: agent.Close, At: at}, agent.Closed)
}

// Close ends the process, if it still runs, and waits for it.
func (c *Client) Close() error {
	c.closing.Do(func() {
		c.stdin.Close()
		go func() { // a process that is blocked and does not see its input close
			select {
			case <-c.done:
			case <-time.After(time.Second):
				c.cmd.Process.Kill()
			}
		}()
		go func() {
			for range c.events { // let read finish
			}
		}()
	})
	<-c.done
	return nil
}
