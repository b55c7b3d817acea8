package lab

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// SetLink sets this host's end of the link down or up, as `ip link set eth0 down` does. Down, the kernel forgets the routes and neighbours
// of the link; up, SetLink puts back what the lab had made: the route, InitialWindow, the permanent neighbour. It returns when the link
// carries packets again.
//
// With the veth, the other end loses its carrier meanwhile. From the moment at which it knows (AwaitNoCarrier) its packets vanish before
// its own capture sees them (noop_qdisc); until then they are captured as sent.
func (h *Host) SetLink(ctx context.Context, up bool) error {
	err := h.ns.Do(func() error {
		return withRoute(func(nl *netlink.Handle) error {
			eth, err := nl.LinkByName(Iface)
			if err != nil {
				return fmt.Errorf("find %s: %w", Iface, err)
			}
			if !up {
				if err := nl.LinkSetDown(eth); err != nil {
					return fmt.Errorf("set %s down: %w", Iface, err)
				}
				return nil
			}
			if err := h.up(nl, eth); err != nil {
				return err
			}
			h.mu.Lock()
			window := h.window
			h.mu.Unlock()
			if window == 0 {
				return nil
			}
			return initialWindow(nl, eth, window)
		})
	})
	if err == nil && up {
		err = h.carries(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, permission(err))
	}
	return nil
}

// AwaitNoCarrier waits until this host's end of the link knows that the other one is down. The kernel tells it from a work queue, at most
// once a second (linkwatch_event).
func (h *Host) AwaitNoCarrier(ctx context.Context) error {
	err := h.ns.Do(func() error { return awaitState(ctx, Iface, false) })
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return nil
}

// InitialWindow sets how many segments this host sends on a new connection before the first acknowledgement, as `ip route change ...
// initcwnd N` does: 1 and up. Zero is the kernel's own again (TCP_INIT_CWND, 10). Other attributes of the route stay.
func (h *Host) InitialWindow(segments int) error {
	if segments < 0 {
		return fmt.Errorf("%s: initial window of %d segments: want 1 or more, or 0 for the kernel's own", h.Name, segments)
	}
	err := h.ns.Do(func() error {
		return withRoute(func(nl *netlink.Handle) error {
			eth, err := nl.LinkByName(Iface)
			if err != nil {
				return fmt.Errorf("find %s: %w", Iface, err)
			}
			return initialWindow(nl, eth, segments)
		})
	})
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, permission(err))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.window = segments
	return nil
}

func initialWindow(nl *netlink.Handle, eth netlink.Link, segments int) error {
	connected := func() (netlink.Route, error) {
		routes, err := nl.RouteList(eth, unix.AF_INET)
		if err != nil {
			return netlink.Route{}, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if r.Scope == netlink.SCOPE_LINK && r.Gw == nil {
				return r, nil
			}
		}
		return netlink.Route{}, fmt.Errorf("no route of %s: want that of its network (is the link down?)", Iface)
	}
	r, err := connected()
	if err != nil {
		return err
	}
	r.InitCwnd = segments
	r.Flags = 0 // such as linkdown, which the kernel tells and does not take
	if err := nl.RouteReplace(&r); err != nil {
		return fmt.Errorf("set initcwnd %d: %w", segments, err)
	}
	if r, err = connected(); err != nil {
		return err
	}
	if r.InitCwnd != segments {
		return fmt.Errorf("initcwnd reads back as %d, want %d", r.InitCwnd, segments)
	}
	return nil
}

// include/uapi/linux/tcp_metrics.h
const (
	tcpMetricsFamily  = "tcp_metrics"
	tcpMetricsVersion = 1
	tcpMetricsDel     = 2 // TCP_METRICS_CMD_DEL
)

// FlushMetrics forgets what this host's TCP remembers of its peers, as `ip tcp_metrics flush` does: RTT, ssthresh, and Fast Open cookies. A
// new lab remembers nothing.
func (h *Host) FlushMetrics() error {
	err := h.ns.Do(func() error {
		family, err := netlink.GenlFamilyGet(tcpMetricsFamily)
		if err != nil {
			return fmt.Errorf("find netlink's %s: %w", tcpMetricsFamily, err)
		}
		// Without an address all of the namespace's go (tcp_metrics_nl_cmd_del, tcp_metrics_flush_all).
		req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
		req.AddData(&nl.Genlmsg{Command: tcpMetricsDel, Version: tcpMetricsVersion})
		_, err = req.Execute(unix.NETLINK_GENERIC, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: flush tcp_metrics: %w", h.Name, permission(err))
	}
	return nil
}
