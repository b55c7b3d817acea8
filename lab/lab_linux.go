package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/netns"
	"github.com/tcplab/tcplab/sysctl"
)

// Lab is a client and a server joined by a veth pair, or, where the topology has an RTT, by a delay line, alive until Close. The line is
// netem in a namespace between them, or, where the kernel has none, a process between TAP devices.
//
//	client eth0 10.99.0.1/24 ──veth── 10.99.0.2/24 eth0 server
//	client eth0 10.99.0.1/24 ──veth── netem ──veth── 10.99.0.2/24 eth0 server
//	client eth0 10.99.0.1/24 ──tap── half an RTT ──tap── 10.99.0.2/24 eth0 server
//	client eth0 10.99.0.1/32 ──veth── router 10.99.0.254 ──veth── 10.99.0.2/32 eth0 server
//
// With IPv6 the addresses are fd00:10:99::1/64, fd00:10:99::2/64, and fd00:10:99::fe for the router.
type Lab struct {
	Client, Server *Host
	Router         *Host // between them; nil: there is none

	// What delays frames, one of them or, with a plain veth, neither.
	line    *line
	middle  *middle
	delayed bool       // the link has an RTT
	closing sync.Mutex // one Close at a time
}

// Host is one end of a Lab: a network namespace with a loopback and one Ethernet link.
type Host struct {
	Name  string
	Addr  netip.Addr
	Iface string // the same name in both namespaces: Iface
	MAC   net.HardwareAddr

	ns      *netns.Namespace
	middle  *middle               // of the link; nil: there is none
	peer    *Host                 // who has a permanent neighbour entry here; nil: nobody
	gateway *gateway              // the router's end; nil: there is none
	far     netip.Addr            // the other host, behind the router
	names   map[string]netip.Addr // of the lab's hosts, for DialContext
	prefix  netip.Prefix
	virtual bool                       // time is
	due     []Span                     // when a client may have something to tell; empty: at any time
	cpu     int                        // receives all frames; -1: there is only one
	ordered bool                       // and really does
	observe func(host string, e Event) // never nil

	chains  sync.Mutex // one change or look of the iptables chains at a time
	mu      sync.Mutex
	route   netlink.Route // metrics of it: what InitialWindow and ReceiveWindow set
	rules   []*Filter
	closers []func() error // in the order they were opened
	changes []Change
}

// New builds the lab that t describes: namespaces, baseline, links, addresses, permanent neighbours, offloads off. On an error
// nothing is left. It needs CAP_SYS_ADMIN and CAP_NET_ADMIN; without, the error wraps fs.ErrPermission.
func New(ctx context.Context, t Topology) (*Lab, error) {
	t = t.withDefaults()
	if t.Server.Addr().Is6() != t.IPv6 {
		return nil, fmt.Errorf("addresses %s and %s: want both of one family", t.Client, t.Server)
	}
	if !t.Link.Zero() && (t.RTT <= 0 || t.Router) {
		return nil, fmt.Errorf("a link with a rate or with segments held back: want a round-trip time above 0, and no router (RTT %v, router: %v)", t.RTT, t.Router)
	}
	observe := inTurn(t.Observe)
	l := &Lab{
		delayed: t.RTT > 0,
		Client:  &Host{Name: "client", Addr: t.Client.Addr(), Iface: Iface, MAC: net.HardwareAddr{2, 't', 'c', 'p', 0, 1}, observe: observe, prefix: t.Client, virtual: t.Virtual},
		Server:  &Host{Name: "server", Addr: t.Server.Addr(), Iface: Iface, MAC: net.HardwareAddr{2, 't', 'c', 'p', 0, 2}, observe: observe, prefix: t.Server, virtual: t.Virtual},
	}
	for _, h := range l.hosts() {
		h.names = map[string]netip.Addr{"client": l.Client.Addr, "server": l.Server.Addr}
	}
	if t.Router {
		l.Router = &Host{Name: "router", Addr: routerAddr(t.IPv6), observe: observe, virtual: t.Virtual}
		l.Client.far, l.Server.far = l.Server.Addr, l.Client.Addr
	}
	l.Client.cpu = pickCPU()
	l.Server.cpu = l.Client.cpu
	if l.Router != nil {
		l.Router.cpu = l.Client.cpu
	}
	if err := l.build(ctx, t); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// inTurn makes a function that several goroutines call one that is called by one at a time.
func inTurn(observe func(string, Event)) func(string, Event) {
	if observe == nil {
		return func(string, Event) {}
	}
	var turn sync.Mutex
	return func(host string, e Event) {
		turn.Lock()
		defer turn.Unlock()
		observe(host, e)
	}
}

func (l *Lab) hosts() []*Host { return []*Host{l.Client, l.Server} }

// each runs fn for both hosts at once and joins the errors.
func (l *Lab) each(fn func(h, peer *Host) error) error {
	var wg sync.WaitGroup
	var errs [2]error
	for i, h := range l.hosts() {
		peer := l.hosts()[1-i]
		wg.Go(func() {
			if err := fn(h, peer); err != nil {
				errs[i] = fmt.Errorf("%s: %w", h.Name, err)
			}
		})
	}
	wg.Wait()
	if errors.Is(errs[0], ErrPrivilege) && errors.Is(errs[1], ErrPrivilege) {
		return errs[0] // both ends lack the same thing: once is enough
	}
	return errors.Join(errs[:]...)
}

func (l *Lab) build(ctx context.Context, t Topology) error {
	err := l.each(func(h, _ *Host) error {
		ns, err := netns.New()
		if err != nil {
			return permission(err, unix.EINVAL, unix.ENOSPC) // no network namespaces, or too many of them
		}
		h.ns = ns
		return permission(h.ns.Do(func() error {
			if t.IPv6 && !(sysctl.FS{}).Exists("net.ipv6.conf.all.disable_ipv6") {
				return fmt.Errorf("%w: it has no IPv6 (modprobe ipv6; no ipv6.disable=1 on the kernel's command line)", ErrUnsupported)
			}
			return h.pin(t.Baseline)
		}))
	})
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	switch {
	case t.Router:
		err = l.route(t)
	case t.RTT <= 0:
		err = l.Client.ns.Do(func() error { return l.link() })
	case byNetem(t):
		l.middle, err = between(l.Client, l.Server, t.RTT)
		l.Client.middle, l.Server.middle = l.middle, l.middle
	default:
		l.line, err = join(l.Client, l.Server, t.RTT, t.Link)
	}
	if err != nil {
		return fmt.Errorf("link client to server: %w", permission(err))
	}
	err = l.each(func(h, peer *Host) error {
		if !t.NoNeighbours && !t.Router {
			h.peer = peer
		}
		return h.ns.Do(h.configure)
	})
	if err != nil {
		return err
	}
	return l.each(func(h, _ *Host) error { return h.carries(ctx) })
}

// carries waits until the link is operational. The end that came up first has no carrier until its peer is up too, and the kernel gives
// it its queue from a work queue (linkwatch_event): what is sent before is dropped without a word.
func (h *Host) carries(ctx context.Context) error {
	if err := h.ns.Do(func() error { return awaitState(ctx, Iface, true) }); err != nil {
		return err
	}
	switch {
	case h.gateway != nil:
		return h.gateway.carries(ctx, h)
	case h.middle != nil:
		return h.middle.carries(ctx, h)
	}
	return nil
}

// up reports whether a link is operational.
func up(eth netlink.Link) bool {
	a := eth.Attrs()
	// A TAP device never says more than unknown, which is up where there is a carrier (netif_oper_up).
	_, tap := eth.(*netlink.Tuntap)
	return a.OperState == netlink.OperUp || tap && a.OperState == netlink.OperUnknown && a.RawFlags&unix.IFF_RUNNING != 0
}

// awaitState waits until the link of that name is operational, or until it is not, in the calling thread's namespace. Before Linux 6.8 the kernel
// may take a second to say so (linkwatch_schedule_work): the looks become rare soon, because in virtual time each of them costs and the waiting does not.
func awaitState(ctx context.Context, iface string, want bool) error {
	const soon, limit = 100 * time.Microsecond, 20 * time.Second
	return withRoute(func(nl *netlink.Handle) error {
		look, late := time.NewTimer(soon), time.After(limit)
		defer look.Stop()
		for wait := soon; ; wait = min(wait+wait/4, 100*soon) {
			eth, err := nl.LinkByName(iface)
			if err != nil {
				return fmt.Errorf("find %s: %w", iface, err)
			}
			if up(eth) == want {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-late:
				return fmt.Errorf("%s is %s %v after the links were set, want it operational: %v", iface, eth.Attrs().OperState, limit, want)
			case <-look.C:
				look.Reset(wait)
			}
		}
	})
}

// link makes the pair inside the client's namespace with its peer born in the server's: the host never sees either end.
func (l *Lab) link() error {
	return withRoute(func(nl *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = Iface, l.Client.MAC
		attrs.NumTxQueues, attrs.NumRxQueues = 1, 1
		return nl.LinkAdd(&netlink.Veth{
			LinkAttrs:        attrs,
			PeerName:         Iface,
			PeerHardwareAddr: l.Server.MAC,
			PeerNamespace:    netlink.NsFd(l.Server.ns.Fd()),
		})
	})
}

// configure sets one end up, on the namespace's thread.
func (h *Host) configure() error {
	return withRoute(func(nl *netlink.Handle) error {
		lo, err := nl.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find lo: %w", err)
		}
		if err := nl.LinkSetUp(lo); err != nil {
			return fmt.Errorf("set lo up: %w", err)
		}
		eth, err := nl.LinkByName(Iface)
		if err != nil {
			return fmt.Errorf("find %s: %w", Iface, err)
		}
		if err := offloadsOff(Iface); err != nil {
			return err
		}
		// A TAP device is written to by one thread, and TCP has each frame before the next comes: a queue would only keep them waiting.
		if _, tap := eth.(*netlink.Tuntap); !tap {
			if err := h.inOrder(Iface); err != nil {
				return err
			}
		}
		return h.up(nl, eth)
	})
}

// network is the host's address with the size of its network.
func (h *Host) network() *net.IPNet {
	bits := h.prefix.Bits()
	if h.gateway != nil {
		bits = h.Addr.BitLen() // alone in its network
	}
	return &net.IPNet{IP: h.Addr.AsSlice(), Mask: net.CIDRMask(bits, h.Addr.BitLen())}
}

// up sets the link up, with what the kernel forgets when it goes down: the neighbour, and with IPv6 the address (addrconf_ifdown).
func (h *Host) up(nl *netlink.Handle, eth netlink.Link) error {
	if err := addAddress(nl, eth, h.network()); err != nil {
		return err
	}
	if err := nl.LinkSetUp(eth); err != nil {
		return fmt.Errorf("set %s up: %w", Iface, err)
	}
	if h.gateway != nil {
		return h.through(nl, eth)
	}
	if h.peer == nil {
		return nil
	}
	// An ARP request that a drop rule or a cut link leaves unanswered would end connect() with EHOSTUNREACH after 3 s.
	if err := nl.NeighSet(&netlink.Neigh{
		LinkIndex: eth.Attrs().Index, IP: h.peer.Addr.AsSlice(), HardwareAddr: h.peer.MAC, State: netlink.NUD_PERMANENT,
	}); err != nil {
		return fmt.Errorf("add permanent neighbour %s: %w", h.peer.Addr, err)
	}
	return nil
}

// withRoute opens a route socket in the calling thread's namespace.
func withRoute(fn func(*netlink.Handle) error) error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer nl.Close()
	return fn(nl)
}

// offload reports whether a feature would let one captured record stand for many segments, or leave checksums unfilled in the capture.
// The kinds of TCP segmentation are matched by pattern, because kernels add to them: Linux 6.18 has tx-tcp-accecn-segmentation.
func offload(feature string) bool {
	return feature == "tx-checksum-ip-generic" || feature == "tx-generic-segmentation" || feature == "rx-gro" ||
		strings.HasPrefix(feature, "tx-tcp") && strings.HasSuffix(feature, "-segmentation")
}

func offloadsOff(iface string) error {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("open ethtool: %w", err)
	}
	defer e.Close()
	now, err := e.Features(iface)
	if err != nil {
		return fmt.Errorf("read offloads of %s: %w", iface, err)
	}
	off := map[string]bool{}
	for name, on := range now {
		if on && offload(name) {
			off[name] = false
		}
	}
	if len(off) == 0 {
		return nil
	}
	if err := e.Change(iface, off); err != nil {
		return fmt.Errorf("switch offloads of %s off: %w", iface, err)
	}
	now, err = e.Features(iface)
	if err != nil {
		return fmt.Errorf("read offloads of %s back: %w", iface, err)
	}
	for name := range off {
		if now[name] {
			return fmt.Errorf("offload %s of %s is still on after it was switched off", name, iface)
		}
	}
	return nil
}

// pin writes the baseline, on the namespace's thread.
func (h *Host) pin(baseline func(func(string) bool) []sysctl.Setting) error {
	if baseline == nil {
		return nil
	}
	for _, s := range baseline(sysctl.FS{}.Exists) {
		if _, err := h.set(s.Name, s.Value, s.Why); err != nil {
			return err
		}
	}
	return nil
}

// Close undoes everything: clients and servers end, captures stop, the namespaces go and with them links, rules and sockets. It is
// safe to call more than once, and on a lab that was only half built. An error that wraps ErrLeftBehind means that a process still lives
// in a namespace and keeps it.
func (l *Lab) Close() error {
	l.closing.Lock()
	defer l.closing.Unlock()
	// First what runs, at both ends, then the namespaces: the end of one takes the link of the other, and a capture that is still open
	// would report that as a failure.
	err := l.each(func(h, _ *Host) error { return h.stop() })
	if l.line != nil {
		err = errors.Join(err, l.line.close())
		l.line = nil
	}
	if l.middle != nil {
		err = errors.Join(err, l.middle.close())
		l.middle = nil
	}
	return errors.Join(err, l.each(func(h, _ *Host) error { return h.leave() }), l.closeRouter())
}

// leave gives the namespace up and makes sure that nobody else keeps it.
func (h *Host) leave() error {
	if h.ns == nil {
		return nil
	}
	inode, err := h.ns.Inode()
	if err != nil {
		return nil // closed before
	}
	// Until nobody is in it: its number may be given to another lab's namespace when the kernel has no more use for this one.
	held, err := unix.FcntlInt(uintptr(h.ns.Fd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return errors.Join(fmt.Errorf("hold the namespace of %s: %w", h.Name, err), h.ns.Close())
	}
	defer unix.Close(held)
	if err := h.ns.Close(); err != nil {
		return err
	}
	return poll(func() error {
		users, err := netns.Users(inode)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return fmt.Errorf("%w: %s: in its network namespace: %s", ErrLeftBehind, h.Name, strings.Join(users, ", "))
		}
		return nil
	})
}

// poll calls fn until it returns nil, for five seconds at most: a killed process, or a work queue, needs a moment, and more than that on a busy
// machine. It returns fn's last error.
func poll(fn func() error) error {
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		err := fn()
		if err == nil {
			return nil
		}
		select {
		case <-deadline.C:
			return err
		case <-look.C:
		}
	}
}

// stop ends what was started on the host, the latest first.
func (h *Host) stop() error {
	h.mu.Lock()
	closers := h.closers
	h.closers = nil
	h.mu.Unlock()
	var errs []error
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i]())
	}
	return errors.Join(errs...)
}

func (h *Host) onClose(fn func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closers = append(h.closers, fn)
}

// Do runs fn on the thread that lives in the host's namespace. Open sockets, files and processes inside fn and use them anywhere;
// goroutines started inside fn run in the machine's own namespace.
func (h *Host) Do(fn func() error) error { return h.ns.Do(fn) }

// Port is the host's address with a port.
func (h *Host) Port(port uint16) netip.AddrPort { return netip.AddrPortFrom(h.Addr, port) }

// NamespacePath names the host's namespace for `nsenter --net=PATH`, as long as this process runs.
func (h *Host) NamespacePath() string { return h.ns.Path() }

// permission makes EPERM findable as fs.ErrPermission with what is needed, and what a kernel or container lacks as ErrUnsupported: a
// read-only /proc/sys, no veth, and the errors in also.
func permission(err error, also ...unix.Errno) error {
	if errors.Is(err, os.ErrPermission) && !errors.Is(err, ErrPrivilege) {
		return fmt.Errorf("%w: %w", ErrPrivilege, err)
	}
	for _, errno := range append(also, unix.EROFS, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT) {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
	}
	return err
}
