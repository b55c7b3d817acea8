package vm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Booted is a guest that has booted and waits for its order. Many machines can go on from it, one after the other or at once, and each does the
// same: the guest's clock, its processor, memory and devices are as they were.
type Booted struct {
	// Took is how long it booted. Zero: it lay in the cache.
	Took time.Duration
	// Unkept says why it is not in the cache for the next time. Nil: it is.
	Unkept error

	file *os.File // as writeSaved writes it
	size int64
}

// Close gives it back. What lies in the cache stays there.
func (b *Booted) Close() error { return b.file.Close() }

// Boot boots a guest for Options.Booted of several runs with the same kernel and program, or takes it from the cache. The runs' Request and
// bounds are not part of it; Wall and Silence bound the boot.
func Boot(ctx context.Context, o Options) (*Booted, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	ctx, cancel := o.bounded(ctx)
	defer cancel()
	return boot(ctx, o, true)
}

// boot boots a guest, where cached is not enough, and keeps it beside the unpacked kernel: one for labs of IPv4, another for those of IPv6. Where that
// cannot be it is no error, and the next one boots anew.
func boot(ctx context.Context, o Options, cached bool) (*Booted, error) {
	began := time.Now()
	initrd, sum, err := o.initrd()
	if err != nil {
		return nil, err
	}
	defer initrd.Close()
	key, err := o.key(sum)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(o.Kernel.Dir, fileBooted)
	if o.IPv6 {
		path += "-ipv6"
	}
	if cached {
		if b := o.fromCache(path, key); b != nil {
			return b, nil
		}
	}
	b, err := o.bootAnew(ctx, initrd, key)
	if err != nil {
		return nil, err
	}
	b.Took = time.Since(began)
	b.Unkept = b.keep(path)
	return b, nil
}

// fileBooted is beside an unpacked kernel.
const fileBooted = "booted"

// key tells guests apart that differ in anything that they were made of: the engine and its arguments, the kernel, the file system of the
// given SHA-256 with the program and the modules in it.
func (o Options) key(initrd []byte) (string, error) {
	h := sha256.New()
	for _, path := range []string{o.engine, filepath.Join(o.Kernel.Dir, fileKernel)} {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return "", err
		}
		at, err := os.Stat(real)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, at.Size(), at.ModTime().UnixNano())
	}
	a, err := readAbout(o.Kernel.Dir)
	if err != nil {
		return "", missing("kernel %s: %w", o.Kernel.Release, err)
	}
	fmt.Fprintf(h, "%q %s %x", arguments(o, false), a.Image, initrd)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// fromCache is a guest that was kept. Nil: there is none of that key.
func (o Options) fromCache(path, key string) *Booted {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	h, err := readSavedHead(f, int64(o.Memory)<<20)
	if err == nil && h.Key == key {
		if at, err := f.Stat(); err == nil {
			return &Booted{file: f, size: at.Size()}
		}
	}
	f.Close()
	return nil
}

// keep puts a guest into the cache, whole or not at all: it has no name while it is written.
func (b *Booted) keep(path string) error {
	fd, err := unix.Open(filepath.Dir(path), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if _, err := io.Copy(f, io.NewSectionReader(b.file, 0, b.size)); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if errors.Is(err, unix.EEXIST) {
		return nil // somebody else was quicker, a moment ago
	}
	return err
}

// read puts the guest's memory where it belongs and returns the state of the engine's devices.
func (b *Booted) read(memory []byte) (h savedHead, devices *os.File, err error) {
	if devices, err = unnamed("devices"); err != nil {
		return h, nil, err
	}
	if h, err = readSaved(io.NewSectionReader(b.file, 0, b.size), devices, memory); err == nil {
		_, err = devices.Seek(0, io.SeekStart)
	}
	if err != nil {
		devices.Close()
	}
	return h, devices, err
}

// errWaits ends the boot: the guest waits and is saved.
var errWaits = errors.New("the guest waits")

// bootAnew boots a guest until it waits, and saves it. The machine is gone when it returns. A guest whose clock went on while it stood still would be
// another one than on the next machine, and is not taken.
func (o Options) bootAnew(ctx context.Context, initrd *os.File, key string) (b *Booted, err error) {
	for range mostTries {
		if b, err = o.bootOnce(ctx, initrd, key); !errors.Is(err, errNotUp) {
			break
		}
	}
	return b, err
}

func (o Options) bootOnce(ctx context.Context, initrd *os.File, key string) (b *Booted, err error) {
	ctx, silent := context.WithCancelCause(ctx)
	defer silent(nil)
	m, err := start(ctx, o, initrd)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if err := m.narrow(); err != nil {
		return nil, m.end(ctx, err)
	}
	quiet := watchSilence(o.Silence, silent)
	heard := m.restore(nil, order{})
	var mailbox []uint64
	if heard == nil {
		heard = m.listen(func(msg Message) (err error) {
			quiet.heard(msg.Name)
			switch msg.Name {
			case msgMailbox: // nobody reads on, and the guest is held up, until this is done
				mailbox = framesOf(msg.Data)
				return m.giveWay()
			case msgHold:
				if b, err = m.save(key, mailbox); err == nil {
					err = m.monitor.goOn()
				}
			case msgGoing:
				if err = o.stood(msg.Data); err == nil {
					err = errWaits
				}
			}
			return err
		})
	}
	quiet.stop()
	if err := m.end(ctx, heard); !errors.Is(err, errWaits) {
		if b != nil {
			b.Close()
		}
		return nil, err
	}
	return b, nil
}

// narrow makes the pipe from the guest as small as one can be.
func (m *machine) narrow() error {
	if _, err := unix.FcntlInt(m.answer.Fd(), unix.F_SETPIPE_SZ, pageSize); err != nil {
		return fmt.Errorf("make the pipe from the guest smaller: %w", err)
	}
	return nil
}

// giveWay lets the threads of the engine that make the guest's instructions run only where its first one, which is on the same processor, does not want to,
// if that one does not go before them already (see goFirst). When the guest stops the machine, the engine must have noted that before the instructions end: it
// else finds a guest that does nothing, and moves its clock on to the next timer (icount_start_warp_timer in main_loop_wait), or not, as the host's scheduler
// wills. The engine is ended soon after: an ordinary user cannot take this back.
func (m *machine) giveWay() error {
	if m.first {
		return nil
	}
	pid := m.cmd.Process.Pid
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, t := range threads {
		tid, aerr := strconv.Atoi(filepath.Base(t))
		if aerr == nil && tid != pid {
			aerr = unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
		}
		if err == nil && !errors.Is(aerr, unix.ESRCH) {
			err = aerr
		}
	}
	if err != nil {
		return fmt.Errorf("let the threads of process %d give way: %w", pid, err)
	}
	return nil
}

// save waits until the guest stands still and writes it down.
func (m *machine) save(key string, mailbox []uint64) (*Booted, error) {
	if _, err := m.monitor.event("STOP"); err != nil {
		return nil, err
	}
	devices, err := unnamed("devices")
	if err != nil {
		return nil, err
	}
	defer devices.Close()
	if err := m.monitor.migrate("migrate", devices); err != nil {
		return nil, err
	}
	h := savedHead{Key: key, Mailbox: mailbox, Memory: int64(len(m.memory.b))}
	if h.Parts, err = m.memory.written(); err != nil {
		return nil, err
	}
	if h.Devices, err = devices.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	b := new(Booted)
	if b.file, err = unnamed("guest"); err != nil {
		return nil, err
	}
	if err := writeSaved(b.file, h, io.NewSectionReader(devices, 0, h.Devices), m.memory.b); err != nil {
		b.Close()
		return nil, fmt.Errorf("save the guest: %w", err)
	}
	b.size, err = b.file.Seek(0, io.SeekCurrent)
	return b, err
}
