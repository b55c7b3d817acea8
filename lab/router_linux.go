package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/netns"
)

// RouterAddr is the address of a Topology's router, towards both hosts, and RouterAddr6 that of one with IPv6.
var (
	RouterAddr  = netip.MustParseAddr("10.99.0.254")
	RouterAddr6 = netip.MustParseAddr("fd00:10:99::fe")
)

func routerAddr(ipv6 bool) netip.Addr {
	if ipv6 {
		return RouterAddr6
	}
	return RouterAddr
}

// forwards makes the namespace a router. With IPv6 a device that is made to forward joins the group of all routers and announces it
// (dev_forward_change, MLD); what forwards is the namespace (ip6_forward), so devices that are made later are spared it.
func (r *Host) forwards() error {
	settings := [][2]string{{"net.ipv4.ip_forward", "1"}}
	if r.Addr.Is6() {
		settings = [][2]string{{"net.ipv6.conf.all.forwarding", "1"}, {"net.ipv6.conf.default.forwarding", "0"}}
	}
	for _, s := range settings {
		if _, err := r.set(s[0], s[1], "it forwards"); err != nil {
			return err
		}
	}
	return nil
}

// A router between the hosts is a namespace that forwards. Each host is alone in its network, so everything it sends goes through the router:
//
//	client eth0 10.99.0.1/32 ──veth── client │ IP forwarding, chain FORWARD │ server ──veth── 10.99.0.2/32 eth0 server
//
// With an RTT each of the router's two devices holds what it sends for half of it. The captures at the hosts sit on either side: what the
// router drops was sent, and never arrives.

// route makes the router of two namespaces, and their ends of the links.
func (l *Lab) route(t Topology) error {
	if t.RTT > netemLongest || t.RTT > 0 && netemHere() != nil {
		return fmt.Errorf("%w: a router with a round-trip time of %v needs netem, which makes up to %v", ErrUnsupported, t.RTT, netemLongest)
	}
	ns, err := netns.New()
	if err != nil {
		return permission(err)
	}
	r := l.Router
	r.ns = ns
	err = ns.Do(func() error {
		if err := silence(); err != nil {
			return err
		}
		if err := r.pin(t.Baseline); err != nil {
			return err
		}
		if err := r.forwards(); err != nil {
			return err
		}
		return withRoute(func(nl *netlink.Handle) error {
			lo, err := nl.LinkByName("lo")
			if err != nil {
				return fmt.Errorf("find lo: %w", err)
			}
			if err := nl.LinkSetUp(lo); err != nil {
				return fmt.Errorf("set lo up: %w", err)
			}
			for i, h := range l.hosts() {
				if err := r.leg(nl, h, byte(i), t.RTT/2); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("router: %w", permission(err))
	}
	return nil
}

// leg makes the router's end towards a host.
func (r *Host) leg(nl *netlink.Handle, h *Host, i byte, delay time.Duration) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = h.Name, net.HardwareAddr{2, 't', 'c', 'p', 2, i + 1}
	attrs.NumTxQueues, attrs.NumRxQueues = 1, 1
	if err := nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: Iface, PeerHardwareAddr: h.MAC, PeerNamespace: netlink.NsFd(h.ns.Fd())}); err != nil {
		return fmt.Errorf("make the veth to the %s: %w", h.Name, err)
	}
	if err := offloadsOff(h.Name); err != nil {
		return err
	}
	if err := h.inOrder(h.Name); err != nil {
		return err
	}
	end, err := nl.LinkByName(h.Name)
	if err != nil {
		return fmt.Errorf("find the veth to the %s: %w", h.Name, err)
	}
	if delay > 0 {
		if err := hold(nl, end, delay); err != nil {
			return err
		}
	}
	if err := addAddress(nl, end, single(r.Addr)); err != nil {
		return err
	}
	if err := nl.LinkSetUp(end); err != nil {
		return fmt.Errorf("set %s up: %w", h.Name, err)
	}
	if err := nl.RouteAdd(&netlink.Route{LinkIndex: end.Attrs().Index, Dst: single(h.Addr), Scope: unix.RT_SCOPE_LINK, Src: r.Addr.AsSlice()}); err != nil {
		return fmt.Errorf("add the route to the %s: %w", h.Name, err)
	}
	if err := nl.NeighSet(&netlink.Neigh{LinkIndex: end.Attrs().Index, IP: h.Addr.AsSlice(), HardwareAddr: h.MAC, State: netlink.NUD_PERMANENT}); err != nil {
		return fmt.Errorf("add permanent neighbour %s: %w", h.Addr, err)
	}
	h.gateway = &gateway{addr: r.Addr, mac: attrs.HardwareAddr, router: r}
	return nil
}

// gateway is a host's way to the other one, through a router.
type gateway struct {
	addr   netip.Addr
	mac    net.HardwareAddr
	router *Host
}

// single is a network of one address.
func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

// through puts in what the kernel forgets when a routed host's link goes down: the routes and the router's neighbour entry.
func (h *Host) through(nl *netlink.Handle, eth netlink.Link) error {
	index := eth.Attrs().Index
	if err := nl.RouteReplace(&netlink.Route{LinkIndex: index, Dst: single(h.gateway.addr), Scope: unix.RT_SCOPE_LINK, Src: h.Addr.AsSlice()}); err != nil {
		return fmt.Errorf("add the route to the router: %w", err)
	}
	if err := nl.RouteReplace(&netlink.Route{LinkIndex: index, Dst: single(h.far), Gw: h.gateway.addr.AsSlice(), Src: h.Addr.AsSlice()}); err != nil {
		return fmt.Errorf("add the route to %s: %w", h.far, err)
	}
	if err := nl.NeighSet(&netlink.Neigh{LinkIndex: index, IP: h.gateway.addr.AsSlice(), HardwareAddr: h.gateway.mac, State: netlink.NUD_PERMANENT}); err != nil {
		return fmt.Errorf("add permanent neighbour %s: %w", h.gateway.addr, err)
	}
	return nil
}

// routed waits until the router's end towards a host carries packets.
func (g *gateway) carries(ctx context.Context, h *Host) error {
	return g.router.ns.Do(func() error { return awaitState(ctx, h.Name, true) })
}

// routedStats reads what the router's queues did.
func (l *Lab) routedStats() (DelayStats, error) {
	m := &middle{ns: l.Router.ns}
	return m.stats(l.hosts())
}

const routerMethod = "netem on both of the router's devices, each holding a frame for half the RTT"

// closeRouter takes the router down.
func (l *Lab) closeRouter() error {
	if l.Router == nil {
		return nil
	}
	return errors.Join(l.Router.stop(), l.Router.leave())
}
