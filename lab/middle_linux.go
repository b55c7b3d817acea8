package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/netns"
	"github.com/tcplab/tcplab/internal/wire"
	"github.com/tcplab/tcplab/sysctl"
)

// middle is a link with a delay in a kernel that has sch_netem: a namespace between the hosts, in which what comes in from one is sent out
// to the other by a device that holds it for half an RTT.
//
//	client eth0 ──veth── client │ ingress: mirred to server │ server: netem ──veth── eth0 server
//	client eth0 ──veth── client: netem │ ingress: mirred to client │ server ──veth── eth0 server
//
// The queue is behind the sender's capture and before the receiver's, so both tell the truth. Frames pass unchanged: nothing routes,
// learns an address or has one of its own.
type middle struct{ ns *netns.Namespace }

const netemMethod = "veth pairs to a namespace between the hosts, where netem holds each frame for half the RTT"

// pschedShift turns netem's ticks into nanoseconds (PSCHED_SHIFT, include/net/pkt_sched.h). The netlink package would read it from
// /proc/net/psched when the program starts, and an init has no /proc yet.
const pschedShift = 6

// netemLongest is the longest RTT that netem makes. netem leaves a frame that it holds to its socket (skb_orphan_partial), and TCP does not
// send a segment again that is still in a queue of its own host (skb_still_in_host_queue): a timer must not expire while a frame is on
// the link. TCP_TIMEOUT_INIT is one second, and each later RTO is longer than the RTT that was measured.
const netemLongest = time.Second

// ticks is a delay in netem's unit, rounded up, so that no frame is early: by less than 64 ns.
func ticks(d time.Duration) uint32 { return uint32((d + 1<<pschedShift - 1) >> pschedShift) }

// netemHere tries once whether this kernel has what a middle is made of: on the loopback of a namespace of its own.
var netemHere = sync.OnceValue(func() error {
	ns, err := netns.New()
	if err != nil {
		return permission(err, unix.EINVAL, unix.ENOSPC)
	}
	return errors.Join(ns.Do(func() error {
		return withRoute(func(nl *netlink.Handle) error {
			lo, err := nl.LinkByName("lo")
			if err != nil {
				return fmt.Errorf("find lo: %w", err)
			}
			if err := hold(nl, lo, time.Millisecond); err != nil {
				return err
			}
			return redirect(nl, lo, lo)
		})
	}), ns.Close())
})

// byNetem reports whether a link with this RTT is made by netem.
func byNetem(t Topology) bool {
	return !t.HoldFrames && t.Link.Zero() && t.RTT <= netemLongest && netemHere() == nil
}

// between makes the middle of two namespaces, and their ends of the link.
func between(client, server *Host, rtt time.Duration) (*middle, error) {
	ns, err := netns.New()
	if err != nil {
		return nil, permission(err, unix.EINVAL, unix.ENOSPC)
	}
	m := &middle{ns: ns}
	err = ns.Do(func() error {
		if err := silence(); err != nil {
			return err
		}
		return withRoute(func(nl *netlink.Handle) error { return m.build(nl, client, server, rtt/2) })
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("middle of the link: %w", permission(err)), ns.Close())
	}
	return m, nil
}

// silence keeps the namespace from sending frames of its own, to routers and groups, that both hosts would capture.
func silence() error {
	const name = "net.ipv6.conf.default.disable_ipv6"
	var procfs sysctl.FS
	if !procfs.Exists(name) {
		return nil
	}
	return procfs.Write(name, "1")
}

func (m *middle) build(nl *netlink.Handle, client, server *Host, delay time.Duration) error {
	var ends [2]netlink.Link
	for i, h := range []*Host{client, server} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = h.Name, net.HardwareAddr{2, 't', 'c', 'p', 1, byte(i + 1)}
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
		ends[i] = end
	}
	for i, end := range ends {
		if err := hold(nl, end, delay); err != nil {
			return err
		}
		if err := redirect(nl, end, ends[1-i]); err != nil {
			return err
		}
		if err := nl.LinkSetUp(end); err != nil {
			return fmt.Errorf("set %s up: %w", end.Attrs().Name, err)
		}
	}
	return nil
}

// hold makes a device keep each frame for a while before it sends it. A constant delay keeps their order (tfifo_enqueue).
func hold(nl *netlink.Handle, out netlink.Link, delay time.Duration) error {
	if err := nl.QdiscReplace(&netlink.Netem{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: out.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Latency:    ticks(delay), Limit: wire.QueueLength,
	}); err != nil {
		return fmt.Errorf("qdisc netem (module sch_netem): %w", err)
	}
	q, err := queueOf(nl, out)
	if err != nil {
		return err
	}
	if q.Latency != ticks(delay) || q.Limit != wire.QueueLength {
		return fmt.Errorf("qdisc netem reads back with a delay of %v and %d frames, want %v and %d", time.Duration(q.Latency)<<pschedShift, q.Limit, delay, wire.QueueLength)
	}
	return nil
}

// queueOf is the netem of a device, with its counters.
func queueOf(nl *netlink.Handle, out netlink.Link) (*netlink.Netem, error) {
	qs, err := nl.QdiscList(out)
	if err != nil {
		return nil, fmt.Errorf("list the qdiscs of %s: %w", out.Attrs().Name, err)
	}
	for _, q := range qs {
		if n, ok := q.(*netlink.Netem); ok {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%s has no qdisc netem any more", out.Attrs().Name)
}

// redirect sends what comes in at one device out of another, whatever its protocol.
func redirect(nl *netlink.Handle, in, out netlink.Link) error {
	index := in.Attrs().Index
	if err := nl.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}); err != nil {
		return fmt.Errorf("qdisc ingress (module sch_ingress): %w", err)
	}
	if err := nl.FilterAdd(&netlink.MatchAll{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.MakeHandle(0xffff, 0), Priority: 1, Protocol: unix.ETH_P_ALL},
		Actions:     []netlink.Action{netlink.NewMirredAction(out.Attrs().Index)},
	}); err != nil {
		return fmt.Errorf("filter matchall with mirred (modules cls_matchall, act_mirred): %w", err)
	}
	return nil
}

// carries waits until the middle's end towards a host is operational: it learns of that end later than the host does.
func (m *middle) carries(ctx context.Context, h *Host) error {
	return m.ns.Do(func() error { return awaitState(ctx, h.Name, true) })
}

// stats reads what the queues did.
func (m *middle) stats(hosts []*Host) (s DelayStats, err error) {
	err = m.ns.Do(func() error {
		return withRoute(func(nl *netlink.Handle) error {
			for _, h := range hosts {
				out, err := nl.LinkByName(h.Name)
				if err != nil {
					return fmt.Errorf("find the veth to the %s: %w", h.Name, err)
				}
				q, err := queueOf(nl, out)
				if err != nil {
					return err
				}
				if q.Statistics == nil || q.Statistics.Basic == nil || q.Statistics.Queue == nil {
					return fmt.Errorf("qdisc netem towards the %s has no counters", h.Name)
				}
				s.Frames += int(q.Statistics.Basic.Packets)
				s.Lost += int(q.Statistics.Queue.Drops)
			}
			return nil
		})
	})
	if err != nil {
		err = fmt.Errorf("middle of the link: %w", err)
	}
	return s, err
}

func (m *middle) close() error { return m.ns.Close() }
