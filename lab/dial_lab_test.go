//go:build lab

package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/sysctl"
)

// TestDial catches a socket that lives in another namespace, a name that is not resolved, an error that is not the kernel's, and a dialer that does
// not end with its context. With a router, so that the way goes through it.
func TestDial(t *testing.T) {
	labtest.Need(t, labtest.Root)
	l := build(t, Topology{Baseline: sysctl.Baseline, Router: true})
	ln, err := l.Server.NetListen(t.Context(), "tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			_, err = io.Copy(c, c)
			err = errors.Join(err, c.Close())
		}
		served <- err
	}()
	c, err := l.Client.DialContext(t.Context(), "tcp", "server:7")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.RemoteAddr().String(), l.Server.Port(7).String(); got != want {
		t.Errorf("got a connection to %s, want %s", got, want)
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v, want an echo", got, err)
	}
	if err := errors.Join(c.Close(), <-served); err != nil {
		t.Error(err)
	}
	if _, err := l.Client.DialContext(t.Context(), "tcp", "server:9"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want ECONNREFUSED", err)
	}
	for _, address := range []string{"elsewhere:7", "server", "server:http", "[::1]:7"} {
		if c, err := l.Client.DialContext(t.Context(), "tcp", address); err == nil {
			t.Errorf("%s: got a connection to %v, want an error", address, c.RemoteAddr())
		}
	}
	if _, err := l.Server.Drop(t.Context(), DropSYN(7)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := l.Client.DialContext(ctx, "tcp", "server:7"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's end", err)
	}
}

// TestDialMany catches a dialer that waits for ever, because the connection stood before it began to wait.
func TestDialMany(t *testing.T) {
	labtest.Need(t, labtest.Root)
	t.Parallel()
	l := build(t, Topology{Baseline: sysctl.Baseline})
	ln, err := l.Server.NetListen(t.Context(), "tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	for i := range 300 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		c, err := l.Client.DialContext(ctx, "tcp", "server:7")
		cancel()
		if err != nil {
			t.Fatalf("dial %d: %v", i+1, err)
		}
		c.Close()
	}
}
