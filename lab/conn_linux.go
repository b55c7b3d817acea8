package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tcplab/tcplab/internal/agent"
)

// Client is a TCP client in a process of its own on a host, at most one connection at a time.
type Client struct {
	host   *Host
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr strings.Builder
	events chan Event
	done   chan struct{} // closed when the process has been waited for
	err    error         // valid after done

	closing sync.Once
}

// Start starts a client process on this host and waits until it runs.
func (h *Host) Start(ctx context.Context) (*Client, error) {
	c := &Client{host: h, events: make(chan Event, 64), done: make(chan struct{})}
	c.cmd = exec.Command("/proc/self/exe")
	c.cmd.Args = []string{agent.Name}
	c.cmd.Env = []string{"GOMAXPROCS=2", "GOTRACEBACK=single"}
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
	for in.Scan() {
		var e Event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			c.err = fmt.Errorf("%s: client process said %q: %w", c.host.Name, in.Text(), err)
			continue
		}
		if c.host.observe != nil {
			c.host.observe(c.host.Name, e)
		}
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
			switch {
			case e.Event == agent.Failed && e.Call == "connect" && e.Errno != "":
				return e, &ConnectError{Errno: e.Errno, At: e.At, Text: e.Text}
			case e.Event == agent.Failed:
				return e, fmt.Errorf("%s: %s: %s", c.host.Name, e.Call, e.Text)
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

// Connect opens a connection and waits until connect(2) has returned, however long the kernel takes. Its failure is a *ConnectError.
func (c *Client) Connect(ctx context.Context, to netip.AddrPort, o DialOptions) error {
	if err := c.ask(agent.Request{Op: agent.Connect, To: to, Options: o.SocketOptions, At: o.At}); err != nil {
		return err
	}
	_, err := c.wait(ctx, agent.Connected)
	return err
}

// Get is the curl-like client: one HTTP GET over the open connection. It returns the status and the length of the body in bytes.
func (c *Client) Get(ctx context.Context, path string) (status, bytes int, err error) {
	if err := c.ask(agent.Request{Op: agent.Get, Data: path}); err != nil {
		return 0, 0, err
	}
	e, err := c.wait(ctx, agent.Response)
	return e.Status, e.Bytes, err
}

// Send is the telnet-like client: it writes text over the open connection and returns when the kernel has taken it.
func (c *Client) Send(ctx context.Context, text string) error {
	if err := c.ask(agent.Request{Op: agent.Send, Data: text}); err != nil {
		return err
	}
	_, err := c.wait(ctx, agent.Sent)
	return err
}

// Receive returns what the peer sends next; empty: the peer closed.
func (c *Client) Receive(ctx context.Context) (string, error) {
	if err := c.ask(agent.Request{Op: agent.Receive}); err != nil {
		return "", err
	}
	e, err := c.wait(ctx, agent.Received)
	return e.Data, err
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
