package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-iptables/iptables"

	"github.com/tcplab/tcplab/pcapout"
	"github.com/tcplab/tcplab/sysctl"
)

// Set writes a sysctl of this host and reads it back. A value that the kernel refuses or changes is an error.
func (h *Host) Set(name, value, why string) (Change, error) {
	var c Change
	err := h.ns.Do(func() (err error) {
		c, err = h.set(name, value, why)
		return err
	})
	return c, err
}

func (h *Host) set(name, value, why string) (Change, error) {
	var procfs sysctl.FS
	was, err := procfs.Read(name)
	if err != nil {
		return Change{}, err
	}
	now := was
	if was != value {
		if err := procfs.Write(name, value); err != nil {
			return Change{}, err
		}
		if now, err = procfs.Read(name); err != nil {
			return Change{}, err
		}
	}
	c := Change{Name: name, Was: was, Now: now, Why: why}
	h.note(c)
	return c, nil
}

// note keeps one entry for each knob: what it was at first, what it is now.
func (h *Host) note(c Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.changes {
		if h.changes[i].Name == c.Name {
			h.changes[i].Now, h.changes[i].Why = c.Now, c.Why
			return
		}
	}
	h.changes = append(h.changes, c)
}

// Get reads a sysctl of this host.
func (h *Host) Get(name string) (string, error) {
	var v string
	err := h.ns.Do(func() (err error) {
		v, err = sysctl.FS{}.Read(name)
		return err
	})
	return v, err
}

// Has reports whether this host has the sysctl: a knob that is global on this kernel is absent here.
func (h *Host) Has(name string) bool {
	var ok bool
	err := h.ns.Do(func() error { ok = sysctl.FS{}.Exists(name); return nil })
	return err == nil && ok
}

// Changes lists every sysctl that was set, each once, in the order in which they were first set.
func (h *Host) Changes() []Change {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Change(nil), h.changes...)
}

// Filter is a live rule.
type Filter struct {
	Rule
	Host  string
	h     *Host
	index int // among the rules of its chain
}

// command finds iptables once per process: finding out its version costs a process of its own.
var command = sync.OnceValues(func() (*iptables.IPTables, error) {
	ipt, err := iptables.New()
	// An ordinary Debian user's PATH has /usr/bin and not /usr/sbin, where iptables is.
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		beside, isBin := strings.CutSuffix(filepath.Clean(dir), "/bin")
		if isBin && errors.Is(err, exec.ErrNotFound) {
			if path, lerr := exec.LookPath(beside + "/sbin/iptables"); lerr == nil {
				ipt, err = iptables.New(iptables.Path(path))
			}
		}
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, ErrNoIPTables
	}
	if err != nil {
		return nil, fmt.Errorf("iptables: %w", err)
	}
	return ipt, nil
})

// FindIPTables reports whether the iptables program can be run at all; an error wraps ErrNoIPTables where it is missing.
func FindIPTables() error {
	_, err := command()
	return err
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

// Drop appends the rule to its chain on this host. The lab's namespace takes it down. An error wraps ErrNoIPTables where the program is
// missing and ErrUnsupported where the program or the kernel refuses the rule.
func (h *Host) Drop(ctx context.Context, r Rule) (*Filter, error) {
	ipt, err := command()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name, err)
	}
	err = h.bounded(ctx, func() error { return ipt.Append(r.TableName(), r.Chain, r.Spec()...) })
	if refused := new(iptables.Error); errors.As(err, &refused) && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: iptables -t %s -A %s %s: %w", h.Name, r.TableName(), r.Chain, strings.Join(r.Spec(), " "), err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &Filter{Rule: r, Host: h.Name, h: h}
	for _, other := range h.rules {
		if other.TableName() == f.TableName() && other.Chain == f.Chain {
			f.index++
		}
	}
	h.rules = append(h.rules, f)
	return f, nil
}

// Count reads the rule's counters: packets and bytes that it dropped so far.
func (f *Filter) Count(ctx context.Context) (packets, bytes uint64, err error) {
	ipt, err := command()
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", f.Host, err)
	}
	var stats []iptables.Stat
	err = f.h.bounded(ctx, func() (err error) {
		stats, err = ipt.StructuredStats(f.TableName(), f.Chain)
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("%s: read counters of %s %s: %w", f.Host, f.TableName(), f.Chain, err)
	}
	// The namespace is ours alone, so the chain holds our rules in the order in which they were appended.
	if f.index >= len(stats) {
		return 0, 0, fmt.Errorf("%s: rule %d of %s %s is gone: the chain has %d", f.Host, f.index+1, f.TableName(), f.Chain, len(stats))
	}
	return stats[f.index].Packets, stats[f.index].Bytes, nil
}

// Rules lists the live rules of this host, in the order in which they were made.
func (h *Host) Rules() []*Filter {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*Filter(nil), h.rules...)
}

// Capture starts to record what crosses this host's link, on the wire side of netfilter. Close ends it; the lab's Close does too.
func (h *Host) Capture(o pcapout.SourceOptions) (*pcapout.Source, error) {
	var src *pcapout.Source
	err := h.ns.Do(func() (err error) {
		src, err = pcapout.Open(h.Iface, o)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: capture on %s: %w", h.Name, h.Iface, err)
	}
	h.onClose(func() error {
		_ = src.Close() // why it ended is for whoever reads it: Source.Err
		return nil
	})
	return src, nil
}

// Exec runs a program on this host, to its end, the context's or the lab's, and returns what it printed. What it started itself and left
// running is killed where it is ended early.
func (h *Host) Exec(ctx context.Context, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h.onClose(func() error { cancel(); return nil })
	cmd := exec.CommandContext(ctx, name, args...)
	// A group of its own: the programs that a shell started hold its output open, and the namespace.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.ns.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("%s: start %s: %w", h.Name, name, err)
	}
	if err := cmd.Wait(); err != nil {
		return out.Bytes(), fmt.Errorf("%s: %s: %w", h.Name, name, err)
	}
	return out.Bytes(), nil
}
