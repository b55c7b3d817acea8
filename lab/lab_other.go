//go:build !linux

package lab

import (
	"context"
	"errors"
	"net/netip"
)

// ErrPlatform is returned by New where there are no network namespaces.
var ErrPlatform = errors.New("a lab needs Linux: network namespaces, veth, iptables")

// Lab is a client and a server; see the Linux implementation. Here it cannot be built.
type Lab struct{ Client, Server *Host }

// Host is one end of a Lab.
type Host struct{ Addr netip.Addr }

// Client is a TCP client on a host.
type Client struct{}

// New returns ErrPlatform.
func New(context.Context, Topology) (*Lab, error) { return nil, ErrPlatform }

// Port is the host's address with a port.
func (h *Host) Port(port uint16) netip.AddrPort { return netip.AddrPortFrom(h.Addr, port) }

// Start returns ErrPlatform.
func (h *Host) Start(context.Context) (*Client, error) { return nil, ErrPlatform }

// Connect returns ErrPlatform.
func (c *Client) Connect(context.Context, netip.AddrPort, DialOptions) error { return ErrPlatform }

// Close does nothing.
func (c *Client) Close() error { return nil }
