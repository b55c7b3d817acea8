package lab

import (
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addAddress gives a link that is down an address, where it does not have it.
//
// An address of IPv6 makes its host a member of a solicited-node group, which the host announces as soon as the link is up, twice, at times of
// its own (MLD): both captures would hold that. A device that resolves no addresses (IFF_NOARP) is spared the group, and duplicate address
// detection (addrconf_join_solict, addrconf_dad_begin), so it is one for the moment at which the kernel decides.
func addAddress(nl *netlink.Handle, link netlink.Link, n *net.IPNet) error {
	ipv6 := n.IP.To4() == nil
	family := unix.AF_INET
	if ipv6 {
		family = unix.AF_INET6
	}
	if _, there, err := addressOf(nl, link, family, n.IP); err != nil || there {
		return err
	}
	if ipv6 {
		if err := nl.LinkSetARPOff(link); err != nil {
			return fmt.Errorf("set %s to resolve no addresses: %w", link.Attrs().Name, err)
		}
	}
	if err := nl.AddrAdd(link, &netlink.Addr{IPNet: n}); err != nil {
		return fmt.Errorf("add address %s: %w", n, err)
	}
	if !ipv6 {
		return nil
	}
	// The kernel decides in a work queue (addrconf_dad_work): the address is tentative until then.
	err := poll(func() error {
		a, there, err := addressOf(nl, link, family, n.IP)
		switch {
		case err != nil:
			return err
		case !there:
			return fmt.Errorf("address %s is gone", n)
		case a.Flags&unix.IFA_F_TENTATIVE != 0:
			return fmt.Errorf("address %s is still tentative", n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := nl.LinkSetARPOn(link); err != nil {
		return fmt.Errorf("set %s to resolve addresses: %w", link.Attrs().Name, err)
	}
	return nil
}

// addressOf finds an address of a link.
func addressOf(nl *netlink.Handle, link netlink.Link, family int, ip net.IP) (netlink.Addr, bool, error) {
	all, err := nl.AddrList(link, family)
	if err != nil {
		return netlink.Addr{}, false, fmt.Errorf("list addresses of %s: %w", link.Attrs().Name, err)
	}
	i := slices.IndexFunc(all, func(a netlink.Addr) bool { return a.IP.Equal(ip) })
	if i < 0 {
		return netlink.Addr{}, false, nil
	}
	return all[i], true, nil
}
