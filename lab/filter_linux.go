package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-iptables/iptables"

	"github.com/tcplab/tcplab/internal/kernel"
)

// Filter is a live rule.
type Filter struct {
	Rule
	Host string
	// Made is when it was in place, Removed when Remove took it away, CLOCK_MONOTONIC; zero: it is there.
	Made, Removed time.Duration

	h    *Host
	gone *count // what it had counted when Remove took it away; nil: it is there
}

type count struct{ packets, bytes uint64 }

// xtables is a program that makes rules, and where it is.
type xtables struct {
	*iptables.IPTables
	path string
}

// command4 and command6 find iptables and ip6tables once per process: finding out a version costs a process of its own.
var (
	command4 = sync.OnceValues(func() (xtables, error) { return findXtables(iptables.ProtocolIPv4, programName(false)) })
	command6 = sync.OnceValues(func() (xtables, error) { return findXtables(iptables.ProtocolIPv6, programName(true)) })
)

// command is the program for the rules of a family.
func command(ipv6 bool) (xtables, error) {
	if ipv6 {
		return command6()
	}
	return command4()
}

func findXtables(family iptables.Protocol, name string) (xtables, error) {
	ipt, err := iptables.New(iptables.IPFamily(family))
	program := ""
	if err == nil {
		program, err = exec.LookPath(name)
	}
	// An ordinary Debian user's PATH has /usr/bin and not /usr/sbin, where iptables is.
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		beside, isBin := strings.CutSuffix(filepath.Clean(dir), "/bin")
		if isBin && errors.Is(err, exec.ErrNotFound) {
			if path, lerr := exec.LookPath(beside + "/sbin/" + name); lerr == nil {
				ipt, err = iptables.New(iptables.IPFamily(family), iptables.Path(path))
				program = path
			}
		}
	}
	if errors.Is(err, exec.ErrNotFound) {
		return xtables{}, ErrNoIPTables
	}
	if err != nil {
		return xtables{}, fmt.Errorf("%s: %w", name, err)
	}
	return xtables{ipt, program}, nil
}

// FindIPTables returns the path of the iptables program, or of ip6tables, which was run once; an error wraps ErrNoIPTables where it is missing.
func FindIPTables(ipv6 bool) (string, error) {
	x, err := command(ipv6)
	return x.path, err
}

// patience is how long an iptables command may take: it needs a millisecond, and waits for nobody, because its lock is its own.
const patience = 10 * time.Second

// bounded runs fn on the namespace's thread, and ends the programs that fn waits for when the context ends or patience does. Whatever
// else was started on this host ends with them: a lab whose iptables hangs is over.
func (h *Host) bounded(ctx context.Context, fn func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %v", patience))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- h.ns.Do(fn) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		h.ns.KillChildren()
		return errors.Join(context.Cause(ctx), <-done)
	}
}

// Drop appends the rule to its chain on this host, where it drops or rejects. The lab's namespace takes it down. An error wraps
// ErrNoIPTables where the program is missing and ErrUnsupported where the program or the kernel refuses the rule.
//
// A rule with Nth starts to count when it is made, and iptables-legacy starts it anew whenever another rule of the same table is added or
// taken away: make all rules of a table before the first packet.
func (h *Host) Drop(ctx context.Context, r Rule) (*Filter, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name, err)
	}
	r.IPv6 = h.Addr.Is6()
	ipt, err := command(r.IPv6)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name, err)
	}
	h.chains.Lock()
	defer h.chains.Unlock()
	for i, spec := range r.Specs() {
		err = h.bounded(ctx, func() error { return ipt.Append(r.TableName(), r.Chain, spec...) })
		if err == nil {
			continue
		}
		if refused := new(iptables.Error); errors.As(err, &refused) && ctx.Err() == nil {
			if refused.ExitStatus() < 0 { // it refused nothing
				err = fmt.Errorf("a signal ended it: %w", err)
			} else {
				err = fmt.Errorf("%w: %w", ErrUnsupported, err)
			}
		}
		err = fmt.Errorf("%s: %s -t %s -A %s %s: %w", h.Name, r.Program(), r.TableName(), r.Chain, strings.Join(spec, " "), err)
		for range i { // those that were made: a rule is there as a whole or not at all
			err = errors.Join(err, h.bounded(ctx, func() error { return ipt.DeleteById(r.TableName(), r.Chain, h.place(r, nil)+1) }))
		}
		return nil, err
	}
	made, err := kernel.MonotonicNow()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name, err)
	}
	f := &Filter{Rule: r, Host: h.Name, Made: made, h: h}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rules = append(h.rules, f)
	return f, nil
}

// place is how many iptables rules of a rule's chain come before a filter; of nil: how many there are. The namespace is ours alone, so
// the chain holds our rules in the order in which they were appended.
func (h *Host) place(r Rule, f *Filter) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, other := range h.rules {
		if other == f {
			break
		}
		if other.TableName() == r.TableName() && other.Chain == r.Chain {
			n += len(other.Specs())
		}
	}
	return n
}

// Count reads the rule's counters: packets and bytes that it dropped so far.
func (f *Filter) Count(ctx context.Context) (packets, bytes uint64, err error) {
	f.h.chains.Lock()
	defer f.h.chains.Unlock()
	c, err := f.count(ctx)
	return c.packets, c.bytes, err
}

func (f *Filter) count(ctx context.Context) (count, error) {
	if f.gone != nil {
		return *f.gone, nil
	}
	ipt, err := command(f.IPv6)
	if err != nil {
		return count{}, fmt.Errorf("%s: %w", f.Host, err)
	}
	var stats []iptables.Stat
	err = f.h.bounded(ctx, func() (err error) {
		stats, err = ipt.StructuredStats(f.TableName(), f.Chain)
		return err
	})
	if err != nil {
		return count{}, fmt.Errorf("%s: read counters of %s %s: %w", f.Host, f.TableName(), f.Chain, err)
	}
	first, n := f.h.place(f.Rule, f), len(f.Specs())
	if first+n > len(stats) {
		return count{}, fmt.Errorf("%s: rule %d of %s %s is gone: the chain has %d", f.Host, first+n, f.TableName(), f.Chain, len(stats))
	}
	var c count
	for _, s := range stats[first : first+n] {
		c.packets += s.Packets
		c.bytes += s.Bytes
	}
	return c, nil
}

// Remove takes the rule away: what it would have dropped passes from now on. Its counters stay readable as they were a moment before.
// Calling it again does nothing.
func (f *Filter) Remove(ctx context.Context) error {
	f.h.chains.Lock()
	defer f.h.chains.Unlock()
	if f.gone != nil {
		return nil
	}
	c, err := f.count(ctx)
	if err != nil {
		return err
	}
	ipt, err := command(f.IPv6)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Host, err)
	}
	first := f.h.place(f.Rule, f)
	for range f.Specs() {
		if err := f.h.bounded(ctx, func() error { return ipt.DeleteById(f.TableName(), f.Chain, first+1) }); err != nil {
			return fmt.Errorf("%s: %s -t %s -D %s %d: %w", f.Host, f.Program(), f.TableName(), f.Chain, first+1, err)
		}
	}
	f.gone = &c
	f.h.mu.Lock()
	defer f.h.mu.Unlock()
	f.Removed, err = kernel.MonotonicNow()
	f.h.rules = slices.DeleteFunc(f.h.rules, func(other *Filter) bool { return other == f })
	return err
}

// Rules lists the live rules of this host, in the order in which they were made.
func (h *Host) Rules() []*Filter {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*Filter(nil), h.rules...)
}
