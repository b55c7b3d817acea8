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

	h     *Host
	there int   // how many of its iptables rules are in the chain; under the host's chains, as all that follows
	taken count // what those had counted that were taken away
	gone  bool  // Remove took all of them away
}

type count struct{ packets, bytes uint64 }

func (c *count) add(s iptables.Stat) {
	c.packets += s.Packets
	c.bytes += s.Bytes
}

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
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	go func() { done <- h.ns.Do(fn) }()
	over := ctx.Done()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case err := <-done:
			if over == nil {
				err = errors.Join(context.Cause(ctx), err)
			}
			return err
		case <-over:
			over = nil
			h.ns.KillChildren()
		case <-again.C:
			if over == nil { // fn may have started another one
				h.ns.KillChildren()
			}
		}
	}
}

// Drop appends the rule to its chain on this host, where it drops or rejects. The lab's namespace takes it down. An error wraps
// ErrNoIPTables where the program is missing and ErrUnsupported where the program or the kernel refuses the rule. After an error nothing of
// the rule is there; where iptables fails to take it back too, Rules lists what is left.
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
	f := &Filter{Rule: r, Host: h.Name, h: h}
	for _, spec := range r.Specs() {
		if err := h.bounded(ctx, func() error { return ipt.Append(r.TableName(), r.Chain, spec...) }); err != nil {
			err = fmt.Errorf("%s: %s -t %s -A %s %s: %w", h.Name, r.Program(), r.TableName(), r.Chain, strings.Join(spec, " "), refusal(ctx, err))
			return nil, errors.Join(err, f.takeBack(ctx, ipt, signalled(err)))
		}
		f.there++
	}
	if f.Made, err = kernel.MonotonicNow(); err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name, err)
	}
	h.list(f)
	return f, nil
}

func (h *Host) list(f *Filter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rules = append(h.rules, f)
}

// signalled reports whether an iptables command was ended by a signal, such as by the end of our patience: it may have done its work all the same.
func signalled(err error) bool {
	ended := new(iptables.Error)
	return errors.As(err, &ended) && ended.ExitStatus() < 0
}

// refusal says what an iptables command's failure is.
func refusal(ctx context.Context, err error) error {
	switch refused := new(iptables.Error); {
	case !errors.As(err, &refused) || ctx.Err() != nil:
		return err
	case signalled(err): // it refused nothing
		return fmt.Errorf("a signal ended it: %w", err)
	}
	return fmt.Errorf("%w: %w", ErrUnsupported, err)
}

// tidying is how long what a failure left behind is looked for and taken back: also where the caller's time is up, and not for as long as patience where
// iptables hangs.
const tidying = 2 * time.Second

// takeBack takes away what was made of a rule before iptables failed: a rule is there as a whole or not at all. What cannot be taken away is listed among the
// host's rules, or the places of all later ones would be wrong.
func (f *Filter) takeBack(ctx context.Context, ipt xtables, unsure bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
	defer cancel()
	if unsure {
		f.recount(ctx, ipt)
	}
	place := f.h.place(f.Rule, f) + 1
	for f.there > 0 {
		if err := f.h.bounded(ctx, func() error { return ipt.DeleteById(f.TableName(), f.Chain, place) }); err != nil {
			if f.recount(ctx, ipt); f.there > 0 {
				f.h.list(f)
			}
			return fmt.Errorf("%s: take back what was made of the rule: %w", f.Host, err)
		}
		f.there--
	}
	return nil
}

// recount looks how many of the rule's iptables rules are in the chain: those that are nobody else's. Where that cannot be told it stays as it was.
func (f *Filter) recount(ctx context.Context, ipt xtables) {
	stats, err := f.h.stats(ctx, ipt, f.Rule)
	if err != nil {
		return
	}
	f.h.mu.Lock()
	defer f.h.mu.Unlock()
	n := len(stats)
	for _, other := range f.h.rules {
		if other != f && other.TableName() == f.TableName() && other.Chain == f.Chain {
			n -= other.there
		}
	}
	f.there = min(max(n, 0), len(f.Specs()))
}

// stats are the counters of the iptables rules of a rule's chain, in order.
func (h *Host) stats(ctx context.Context, ipt xtables, r Rule) (stats []iptables.Stat, err error) {
	err = h.bounded(ctx, func() (err error) {
		stats, err = ipt.StructuredStats(r.TableName(), r.Chain)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: read counters of %s %s: %w", h.Name, r.TableName(), r.Chain, err)
	}
	return stats, nil
}

// place is how many iptables rules of a rule's chain come before a filter; of one that is not listed: how many there are. The namespace is ours alone, so
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
			n += other.there
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
	if f.gone {
		return f.taken, nil
	}
	ipt, err := command(f.IPv6)
	if err != nil {
		return count{}, fmt.Errorf("%s: %w", f.Host, err)
	}
	stats, err := f.own(ctx, ipt)
	c := f.taken
	for _, s := range stats {
		c.add(s)
	}
	return c, err
}

// own are the counters of the rule's own iptables rules.
func (f *Filter) own(ctx context.Context, ipt xtables) ([]iptables.Stat, error) {
	stats, err := f.h.stats(ctx, ipt, f.Rule)
	if err != nil {
		return nil, err
	}
	first, n := f.h.place(f.Rule, f), f.there
	if first+n > len(stats) {
		return nil, fmt.Errorf("%s: rule %d of %s %s is gone: the chain has %d", f.Host, first+n, f.TableName(), f.Chain, len(stats))
	}
	return stats[first : first+n], nil
}

// Remove takes the rule away: what it would have dropped passes from now on. Its counters stay readable as they were a moment before.
// Calling it again does nothing, or goes on with what an error left of the rule.
func (f *Filter) Remove(ctx context.Context) error {
	f.h.chains.Lock()
	defer f.h.chains.Unlock()
	if f.gone {
		return nil
	}
	ipt, err := command(f.IPv6)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Host, err)
	}
	stats, err := f.own(ctx, ipt)
	if err != nil {
		return err
	}
	place := f.h.place(f.Rule, f) + 1
	for _, s := range stats {
		if err := f.h.bounded(ctx, func() error { return ipt.DeleteById(f.TableName(), f.Chain, place) }); err != nil {
			before := f.there
			tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
			defer cancel()
			if f.recount(tidy, ipt); f.there < before {
				f.taken.add(s) // it did its work, and failed then
			}
			return fmt.Errorf("%s: %s -t %s -D %s %d: %w", f.Host, f.Program(), f.TableName(), f.Chain, place, err)
		}
		f.there--
		f.taken.add(s)
	}
	f.gone = true
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
