//go:build !linux

package lab

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// ErrPlatform is returned by New where there are no network namespaces.
var ErrPlatform = errors.New("a lab needs Linux: network namespaces, veth, iptables")

// Lab is a client and a server; see the Linux implementation. Here it cannot be built.
type Lab struct{ Client, Server, Router *Host }

// Host is one end of a Lab.
type Host struct{ Addr netip.Addr }

// Client is a TCP client on a host.
type Client struct{}

// Server is a listening TCP server on a host.
type Server struct{ Addr netip.AddrPort }

// Filter is a live rule.
type Filter struct{ Rule }

// New returns ErrPlatform.
func New(context.Context, Topology) (*Lab, error) { return nil, ErrPlatform }

// Close does nothing.
func (l *Lab) Close() error { return nil }

// DelayStats is what a link with an RTT did so far.
type DelayStats struct {
	Frames, Lost int
	Worst        time.Duration
	Late         []Stall
}

// Delay is empty.
func (l *Lab) Delay() string { return "" }

// DelayStats returns ErrPlatform.
func (l *Lab) DelayStats() (DelayStats, error) { return DelayStats{}, ErrPlatform }

// DelayMethod returns ErrPlatform.
func DelayMethod() (string, error) { return "", ErrPlatform }

// Port is the host's address with a port.
func (h *Host) Port(port uint16) netip.AddrPort { return netip.AddrPortFrom(h.Addr, port) }

// Start returns ErrPlatform.
func (h *Host) Start(context.Context) (*Client, error) { return nil, ErrPlatform }

// Listen returns ErrPlatform.
func (h *Host) Listen(context.Context, ListenOptions) (*Server, error) { return nil, ErrPlatform }

// Drop returns ErrPlatform.
func (h *Host) Drop(context.Context, Rule) (*Filter, error) { return nil, ErrPlatform }

// DialContext returns ErrPlatform.
func (h *Host) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, ErrPlatform
}

// NetListen returns ErrPlatform.
func (h *Host) NetListen(context.Context, string, string) (net.Listener, error) {
	return nil, ErrPlatform
}

// Rules is empty.
func (h *Host) Rules() []*Filter { return nil }

// Set returns ErrPlatform.
func (h *Host) Set(string, string, string) (Change, error) { return Change{}, ErrPlatform }

// SetLink returns ErrPlatform.
func (h *Host) SetLink(context.Context, bool) error { return ErrPlatform }

// AwaitNoCarrier returns ErrPlatform.
func (h *Host) AwaitNoCarrier(context.Context) error { return ErrPlatform }

// InitialWindow returns ErrPlatform.
func (h *Host) InitialWindow(int) error { return ErrPlatform }

// ReceiveWindow returns ErrPlatform.
func (h *Host) ReceiveWindow(int, int) error { return ErrPlatform }

// FlushMetrics returns ErrPlatform.
func (h *Host) FlushMetrics() error { return ErrPlatform }

// Remove returns ErrPlatform.
func (f *Filter) Remove(context.Context) error { return ErrPlatform }

// Received is 0.
func (s *Server) Received() int64 { return 0 }

// Close does nothing.
func (s *Server) Close() error { return nil }

// Connect returns ErrPlatform.
func (c *Client) Connect(context.Context, netip.AddrPort, DialOptions) error { return ErrPlatform }

// ConnectSend returns ErrPlatform.
func (c *Client) ConnectSend(context.Context, netip.AddrPort, string, DialOptions) (Event, error) {
	return Event{}, ErrPlatform
}

// Get returns ErrPlatform.
func (c *Client) Get(context.Context, string, time.Duration) (Event, error) {
	return Event{}, ErrPlatform
}

// Send returns ErrPlatform.
func (c *Client) Send(context.Context, string, time.Duration) (Event, error) {
	return Event{}, ErrPlatform
}

// Write returns ErrPlatform.
func (c *Client) Write(context.Context, int, int, time.Duration) (Event, error) {
	return Event{}, ErrPlatform
}

// Ask returns ErrPlatform.
func (c *Client) Ask(context.Context, AskOptions) (Event, error) { return Event{}, ErrPlatform }

// Receive returns ErrPlatform.
func (c *Client) Receive(context.Context, ReceiveOptions) (Event, error) {
	return Event{}, ErrPlatform
}

// Shutdown returns ErrPlatform.
func (c *Client) Shutdown(context.Context, time.Duration) (Event, error) {
	return Event{}, ErrPlatform
}

// Hangup returns ErrPlatform.
func (c *Client) Hangup(context.Context, time.Duration) (Event, error) {
	return Event{}, ErrPlatform
}

// Opened is 0.
func (c *Client) Opened() time.Duration { return 0 }

// Close does nothing.
func (c *Client) Close() error { return nil }
