package lab

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// SetLink sets this host's end of the link down or up, as `ip link set eth0 down` does. Down, the kernel forgets the routes and neighbours
// of the link; up, SetLink puts back what the lab had made: the route, InitialWindow and ReceiveWindow, the permanent neighbour. It returns when the link
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
			return h.setRoute(nl, eth, func(*netlink.Route) {})
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
	return h.changeRoute(func(r *netlink.Route) { r.InitCwnd = segments })
}

// ReceiveWindow sets how many segments this host offers to take on a new connection, and how long it wants them, in bytes with the options of
// each, as `ip route change ... initrwnd N advmss M` does: 1 and up. Zero is the kernel's own again. Other attributes of the route stay.
func (h *Host) ReceiveWindow(segments, mss int) error {
	if segments < 0 || mss < 0 {
		return fmt.Errorf("%s: receive window of %d segments of %d bytes: want 1 or more, or 0 for the kernel's own", h.Name, segments, mss)
	}
	return h.changeRoute(func(r *netlink.Route) { r.InitRwnd, r.AdvMSS = segments, mss })
}

// changeRoute changes what the lab set of the route of its network, and remembers it.
func (h *Host) changeRoute(change func(*netlink.Route)) error {
	err := h.ns.Do(func() error {
		return withRoute(func(nl *netlink.Handle) error {
			eth, err := nl.LinkByName(Iface)
			if err != nil {
				return fmt.Errorf("find %s: %w", Iface, err)
			}
			return h.setRoute(nl, eth, change)
		})
	})
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, permission(err))
	}
	return nil
}

// setRoute gives the route of the network what the lab set of it before, and a change.
func (h *Host) setRoute(nl *netlink.Handle, eth netlink.Link, change func(*netlink.Route)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	want := h.route
	change(&want)
	if metrics(want) == metrics(h.route) && metrics(want) == [3]int{} {
		return nil
	}
	r, err := h.connected(nl, eth)
	if err != nil {
		return err
	}
	r.InitCwnd, r.InitRwnd, r.AdvMSS = want.InitCwnd, want.InitRwnd, want.AdvMSS
	r.Flags = 0 // such as linkdown, which the kernel tells and does not take
	if err := nl.RouteReplace(&r); err != nil {
		return fmt.Errorf("set initcwnd, initrwnd, advmss to %v: %w", metrics(want), err)
	}
	if r, err = h.connected(nl, eth); err != nil {
		return err
	}
	if metrics(r) != metrics(want) {
		return fmt.Errorf("initcwnd, initrwnd, advmss read back as %v, want %v", metrics(r), metrics(want))
	}
	h.route = want
	return nil
}

// metrics are what the lab sets of a route: 0 for what it leaves alone.
func metrics(r netlink.Route) [3]int { return [3]int{r.InitCwnd, r.InitRwnd, r.AdvMSS} }

// connected is the route of the lab's network, or, through a router, that to the other host.
func (h *Host) connected(nl *netlink.Handle, eth netlink.Link) (netlink.Route, error) {
	family, to := unix.AF_INET, h.prefix.Masked().String()
	if h.Addr.Is6() {
		family = unix.AF_INET6
	}
	if h.gateway != nil {
		to = single(h.far).String()
	}
	routes, err := nl.RouteList(eth, family)
	if err != nil {
		return netlink.Route{}, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst != nil && r.Dst.String() == to {
			return r, nil
		}
	}
	return netlink.Route{}, fmt.Errorf("no route of %s: want that of its network (is the link down?)", Iface)
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
