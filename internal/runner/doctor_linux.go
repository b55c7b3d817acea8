package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/sysctl"
)

// Doctor tries on this machine what experiments need, in a lab that it takes down again.
func Doctor(ctx context.Context) []Finding {
	d := &doctor{}
	facts, err := kernel.Running()
	d.add("kernel", err, facts.Release+" "+facts.Arch, "use a Linux machine", "")
	if err == nil {
		for _, row := range facts.Table() {
			d.found = append(d.found, Finding{Name: row[0], State: OK, Value: row[1] + "  (" + row[2] + ")"})
		}
	}
	if c, err := kernel.ReadClock(); err == nil {
		d.add("phase of jiffies", nil, fmt.Sprintf("known to %v from /proc/timer_list: predictions are exact to the tick", max(c.Uncertainty, time.Microsecond)), "", "")
	} else {
		d.lesser("phase of jiffies", "not known: "+err.Error(), "run as root; without it each packet has a window instead of a tick", explain.PhaseUnknown)
	}
	if path, err := lab.FindIPTables(false); err != nil {
		d.add("iptables", err, "", "apt-get install iptables", explain.NoIptables)
	} else {
		d.add("iptables", nil, printed(ctx, path, "--version"), "", "")
	}
	d.ipv6(ctx)
	d.lab(ctx)
	for _, tool := range []string{"tshark", "wireshark"} {
		if path, err := exec.LookPath(tool); err == nil {
			d.add(tool, nil, path, "", "")
		} else {
			d.lesser(tool, "not installed", "apt-get install "+tool+" (only to look at captures)", "")
		}
	}
	return d.found
}

type doctor struct{ found []Finding }

// add notes something that experiments need.
func (d *doctor) add(name string, err error, value, cure, code string) {
	f := Finding{Name: name, State: OK, Value: value, Code: code}
	if err != nil {
		f.State, f.Value, f.Cure = Missing, err.Error(), cure
	}
	d.found = append(d.found, f)
}

// lesser notes something that experiments can do without.
func (d *doctor) lesser(name, value, cure, code string) {
	d.found = append(d.found, Finding{Name: name, State: Lesser, Value: value, Cure: cure, Code: code})
}

// ipv6 builds a lab of IPv6 with a rule in it. Only --ipv6 needs that.
func (d *doctor) ipv6(ctx context.Context) {
	l, err := lab.New(ctx, lab.Topology{Baseline: sysctl.BaselineIPv6, IPv6: true})
	if err != nil {
		if !errors.Is(err, os.ErrPermission) { // which is told below
			d.lesser("IPv6", err.Error(), "modprobe ipv6; without it, everything but --ipv6 works", "")
		}
		return
	}
	path, err := lab.FindIPTables(true)
	if err == nil {
		_, err = l.Server.Drop(ctx, lab.DropSYN(8080))
	}
	if err != nil {
		d.lesser("IPv6", err.Error(), "ip6tables comes with the package iptables, and needs what iptables needs; without it, everything but --ipv6 works", explain.NoIptables)
	} else {
		d.add("IPv6", nil, printed(ctx, path, "--version"), "", "")
	}
	if err := l.Close(); err != nil {
		d.add("take the lab of IPv6 down", err, "", "", explain.LeftBehind)
	}
}

// lab builds a lab and tries in it what a run does.
func (d *doctor) lab(ctx context.Context) {
	began := time.Now()
	l, err := lab.New(ctx, lab.Topology{Baseline: sysctl.Baseline})
	if err != nil {
		code := explain.NoVeth
		cure := "the kernel needs CONFIG_NET_NS, CONFIG_VETH and IPv4 (modprobe veth)"
		if errors.Is(err, os.ErrPermission) {
			code, cure = explain.NoPrivilege, "run it with sudo"
		}
		d.add("namespaces and veth", err, "", cure, code)
		return
	}
	defer func() {
		if err := l.Close(); err != nil {
			d.add("take the lab down", err, "", "", explain.LeftBehind)
		}
	}()
	d.add("namespaces and veth", nil, fmt.Sprintf("a lab stands after %.1f ms, %d settings pinned at each end", float64(time.Since(began).Microseconds())/1000,
		len(l.Client.Changes())), "", "")
	if how, err := lab.DelayMethod(); err != nil {
		d.lesser("link with an RTT", err.Error(), "the kernel needs CONFIG_TUN, and /dev/net/tun must be there; without it, only --rtt=0 works", "")
	} else {
		d.add("link with an RTT", nil, how, "", "")
	}
	if _, err := lab.FindIPTables(false); err == nil {
		_, err := l.Server.Drop(ctx, lab.DropSYN(8080))
		d.add("drop rule", err, "INPUT takes a rule", "the kernel needs CONFIG_NF_TABLES with CONFIG_NFT_COMPAT, or CONFIG_IP_NF_FILTER", explain.NoIptables)
	}
	src, err := openCapture(l.Client, false)
	d.add("capture", err, "AF_PACKET with the kernel's own nanosecond stamps", "the kernel needs CONFIG_PACKET; root or CAP_NET_RAW", explain.NoRawSocket)
	if err == nil {
		if err := src.Close(); err != nil {
			d.add("end of a capture", err, "", "", explain.InternalError)
		}
	}
	if diag, err := openDiag(l.Client); err != nil {
		d.lesser("inet_diag", err.Error(), "modprobe tcp_diag; without it states and timers are not shown", explain.StatesUnseen)
	} else {
		server, err := l.Client.Listen(ctx, lab.ListenOptions{Port: 1})
		if err == nil {
			err = diag.Try(server.Addr, l.Server.Port(1))
		}
		if err != nil {
			d.lesser("inet_diag", err.Error(), "modprobe tcp_diag; without it states and timers are not shown", explain.StatesUnseen)
		} else {
			d.add("inet_diag", nil, "shows states and timers", "", "")
		}
		diag.Close()
	}
	c, err := l.Client.Start(ctx)
	d.add("client process", err, "starts in its namespace", "is /proc mounted?", explain.ChildDied)
	if err == nil {
		_ = c.Close()
	}
}

// printed is the first line that a command prints.
func printed(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}
