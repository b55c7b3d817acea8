package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// machine is a running engine.
type machine struct {
	cmd     *exec.Cmd
	answer  *os.File
	memory  *memory
	monitor *monitor
	filled  int64 // bytes of the memory that were there before the engine was
	virtual bool  // its time is
	first   bool  // its first thread goes before the one that makes the guest's instructions, whatever else this machine does
	console tail
	stderr  tail
	copied  sync.WaitGroup
	unpin   func()
}

// start starts the engine of a machine that boots from initrd. Without it, of one that will be told where it goes on.
func start(ctx context.Context, o Options, initrd *os.File) (_ *machine, err error) {
	m := &machine{cmd: exec.CommandContext(ctx, o.engine, arguments(o, initrd == nil)...), unpin: func() {}}
	var ours, theirs []*os.File
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
		if err != nil {
			for _, f := range ours {
				f.Close()
			}
			m.Close()
		}
	}()
	for range 2 { // the answer, the console
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		ours, theirs = append(ours, r), append(theirs, w)
	}
	if m.memory, err = newMemory(o.Memory); err != nil {
		return nil, err
	}
	files := append(slices.Clone(theirs), m.memory.file)
	end, err := m.newMonitor()
	if err != nil {
		return nil, err
	}
	files, theirs = append(files, end), append(theirs, end)
	if initrd != nil {
		files = append(files, initrd)
	}
	if err := m.launch(ctx, o, files); err != nil {
		return nil, err
	}
	m.answer = ours[0]
	m.copied.Go(func() {
		_, _ = io.Copy(&m.console, ours[1])
		ours[1].Close()
	})
	return m, nil
}

// launch starts the engine with its files, on a processor of its own where time is virtual.
func (m *machine) launch(ctx context.Context, o Options, files []*os.File) error {
	m.cmd.ExtraFiles = files
	m.cmd.Stderr = &m.stderr
	m.cmd.Stdout = &m.stderr
	m.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := m.cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return missing("start %s: %w", o.engine, err)
	}
	if m.virtual = !o.RealTime; !m.virtual {
		return nil
	}
	unpin, err := pin(m.cmd.Process.Pid)
	if err != nil {
		m.kill()
		_ = m.cmd.Wait()
		return err
	}
	m.unpin = unpin
	return nil
}

// Close gives back what a machine that has ended, or never began, had here.
func (m *machine) Close() {
	if m.monitor != nil {
		m.monitor.Close()
	}
	if m.memory != nil {
		m.memory.Close()
	}
}

// restore puts a guest that has booted into the engine, with its order, and lets it go on. Without one it boots.
func (m *machine) restore(booted *Booted, w order) error {
	if err := m.monitor.greet(); err != nil {
		return err
	}
	if booted == nil {
		m.goFirst()
		return m.monitor.goOn()
	}
	h, devices, err := booted.read(m.memory.b)
	if err != nil {
		return err
	}
	defer devices.Close()
	for _, p := range h.Parts {
		m.filled += p.Size
	}
	if err := m.memory.post(h.Mailbox, w); err != nil {
		return err
	}
	if err := m.monitor.migrate("migrate-incoming", devices); err != nil {
		return err
	}
	return m.monitor.goOn()
}

// goOnWith gives a guest that is about to stand still its order, and lets it go on.
func (m *machine) goOnWith(mailbox []uint64, w order) error {
	if _, err := m.monitor.event("STOP"); err != nil {
		return err
	}
	if err := m.memory.post(mailbox, w); err != nil {
		return err
	}
	return m.monitor.goOn()
}

// end waits for the end of a machine that was listened to, and says what went wrong.
func (m *machine) end(ctx context.Context, heard error) error {
	if heard != nil && !errors.Is(heard, errUnanswered) {
		m.kill()
	}
	_, _ = io.Copy(io.Discard, m.answer)
	return m.verdict(ctx, heard, m.wait())
}

// killed reports whether somebody killed an engine that has ended; with heard, which is what listening to it came to, whether that was another.
func (m *machine) killed(heard error) bool {
	at, ok := m.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && at.Signaled() && at.Signal() == syscall.SIGKILL && errors.Is(heard, errUnanswered)
}

// errUnanswered is what listen returns where the channel ended before the answer did.
var errUnanswered = errors.New("the guest ended before it had answered")

// guestError is what the guest's own program gave up with.
type guestError struct{ text string }

func (e guestError) Error() string { return e.text }

// listen passes messages on until the last one.
func (m *machine) listen(receive func(Message) error) error {
	for {
		msg, err := readFrame(m.answer)
		switch {
		case errors.Is(err, io.EOF) && !errors.Is(err, errFrame):
			return errUnanswered
		case err != nil:
			return err
		case msg.Name == msgEnd:
			return nil
		case msg.Name == msgError:
			return guestError{string(msg.Data)}
		default:
			if err := receive(msg); err != nil {
				return err
			}
		}
	}
}

func (m *machine) kill() { _ = m.cmd.Process.Kill() }

// wait waits until the engine is gone and everything that it said is here.
func (m *machine) wait() error {
	err := m.cmd.Wait()
	m.unpin()
	m.answer.Close()
	m.copied.Wait()
	return err
}

// verdict says what went wrong, gravest first.
func (m *machine) verdict(ctx context.Context, heard, ended error) error {
	if heard == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		var late *EndError
		if errors.As(cause, &late) {
			late.Console = m.last()
		}
		return cause
	}
	var guest guestError
	switch {
	case errors.As(heard, &guest):
		return &EndError{Why: "in the guest: " + guest.text, Console: m.last()}
	case errors.Is(heard, errUnanswered):
		var exit *exec.ExitError
		if errors.As(ended, &exit) && exit.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
			return &EndError{Why: fmt.Sprintf("%s was ended by %v", engine, exit.ProcessState.Sys().(syscall.WaitStatus).Signal()), Console: m.last()}
		}
		return &EndError{Why: heard.Error(), Console: m.last()}
	case errors.Is(heard, errFrame):
		return &EndError{Why: heard.Error(), Console: m.last()}
	}
	return heard
}

// last are the last lines of the console, and of what the engine itself had to say.
func (m *machine) last() string {
	return strings.TrimSpace(m.console.lines(8) + "\n" + m.stderr.lines(5))
}
