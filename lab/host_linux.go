package lab

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"time"

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
