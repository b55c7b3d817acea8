package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// engine is the program that is the machine.
const engine = "qemu-system-x86_64"

// FindEngine reports whether a machine can be made here; an error wraps ErrMissing.
func FindEngine() (string, error) {
	path, err := findProgram(engine)
	if err != nil {
		return "", missing("%w (install it with: apt-get install qemu-system-x86)", err)
	}
	return path, nil
}

// commandLine is the kernel's. Each word took something off the boot, or keeps something from waking the guest up.
var commandLine = []string{
	"quiet", "loglevel=1", "panic=-1", "oops=panic", "rdinit=/" + pathInit,
	"nowatchdog", "mitigations=off", "random.trust_cpu=on", "init_on_alloc=0", "cryptomgr.notests=1",
	"initcall_blacklist=crypto_algapi_init,load_system_certificate_list,init_blk_tracer,init_kprobe_trace,jent_mod_init," +
		"bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init,param_sysfs_builtin_init,blake2s_mod_init,crypto_kdf108_init," +
		// Names of numbers for tracefs, functions that nobody will trace, and /sys/kernel/slab, by its name of 6.1 and of 6.12.
		"trace_eval_init,ftrace_check_for_weak_functions,slab_sysfs_init,slab_late_init",
	"retain_initrd", // else its pages are overwritten one by one before they are given back (free_reserved_area)
	"psi=0", "cgroup_disable=memory", "preempt=full", "audit=0", "apparmor=0",
}

// virtualClock holds for a TSC that counts the guest's nanoseconds. Without the first, the second makes a watchdog that reads other clocks.
var virtualClock = []string{"tsc=reliable", "tsc_early_khz=1000000"}

// processor is what the guest believes it has. Translated code makes each turn of a string instruction by itself: with ERMS the kernel clears
// and copies by REP STOSB and REP MOVSB, which are eight times the turns of their words (clear_page, copy_user_generic). With SMAP each access to a program's memory
// changes the processor's mode twice and leaves the translated code. The others only cost at a switch of tasks.
const processor = "max,-erms,-smap,-smep,-umip,-pku"

// shift makes each instruction of the guest take 2^shift ns of its time. With 0 the kernel burns 2 s of the host's in the calibration of its
// APIC timer (calibrate_APIC_clock waits for 100 ms by the TSC); with more than 2 nothing more is won, and the guest is slower by its own clock.
const shift = "2"

// arguments are the engine's. Files are passed as descriptors: nothing of the machine has a name that could be left behind.
func arguments(o Options, initrd, answer, console int) []string {
	fd := func(n int) string { return "/dev/fd/" + strconv.Itoa(n) }
	timers := "pit=off,pic=off" // with them a virtual hour takes 20 s
	if o.RealTime {
		timers = "pit=on,pic=on" // the TSC is the host's, and calibrated by the PIT
	}
	args := []string{
		"-M", "microvm,rtc=on," + timers, "-accel", "tcg,thread=single", "-cpu", processor, "-smp", "1", "-m", strconv.Itoa(o.Memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(o.Kernel.Dir, fileKernel), "-initrd", fd(initrd),
		"-chardev", "file,id=answer,path=" + fd(answer), "-device", "isa-debugcon,iobase=0xe9,chardev=answer",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=4",
		"-chardev", "file,id=console,path=" + fd(console), "-serial", "chardev:console",
	}
	line := append(slices.Clone(commandLine), "console=ttyS0")
	if !o.RealTime {
		line = append(line, virtualClock...)
		args = append(args, "-icount", "shift="+shift+",sleep=off", "-rtc", "base=2024-01-01T00:00:00,clock=vm", "-seed", "1")
	}
	return append(args, "-append", strings.Join(line, " "))
}

// Run boots the kernel, hands the request to Guest there, and passes on what it sends, one message at a time, until it has ended. The
// machine is gone when Run returns, also when this process is killed. An error is ErrMissing's, the context's cause, receive's own, or
// an EndError.
func Run(ctx context.Context, o Options, receive func(Message) error) (s Stats, err error) {
	began := time.Now()
	path, err := FindEngine()
	if err != nil {
		return s, err
	}
	if o.Kernel, err = o.Kernel.unpacked(o.Guard); err != nil {
		return s, err
	}
	o = o.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, o.Wall, &EndError{Why: fmt.Sprintf("the machine did not end within %v", o.Wall)})
	defer cancel()
	ctx, silent := context.WithCancelCause(ctx)
	defer silent(nil)
	m, err := start(ctx, path, o)
	if err != nil {
		return s, err
	}
	quiet := watchSilence(o.Silence, silent)
	up := func() {
		s.Boot = time.Since(began)
		quiet.heard(msgUp)
	}
	got := make(chan error, 1)
	go func() {
		got <- m.listen(up, func(msg Message) error {
			quiet.heard(msg.Name)
			return receive(msg)
		})
	}()
	heard := <-got // the pipe ends with the engine
	quiet.stop()
	if heard != nil {
		m.kill()
	}
	_, _ = io.Copy(io.Discard, m.answer)
	ended := m.wait()
	s.Wall = time.Since(began)
	if u, ok := m.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.Peak = u.Maxrss << 10
	}
	return s, m.verdict(ctx, heard, ended)
}

// silence ends a machine that says nothing for too long.
type silence struct {
	bound time.Duration
	timer *time.Timer // nil: nobody waits
	mu    sync.Mutex
	last  string // what it said last
}

func watchSilence(bound time.Duration, end context.CancelCauseFunc) *silence {
	s := &silence{bound: bound}
	if bound > 0 {
		s.timer = time.AfterFunc(bound, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			after := "it was started"
			if s.last != "" {
				after = strconv.Quote(s.last)
			}
			end(&EndError{Why: fmt.Sprintf("the machine said nothing for %v after %s", bound, after)})
		})
	}
	return s
}

func (s *silence) heard(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = what
	if s.timer != nil {
		s.timer.Reset(s.bound)
	}
}

func (s *silence) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
}

func (o Options) withDefaults() Options {
	if o.Wall == 0 {
		o.Wall = DefaultWall
	}
	if o.Virtual == 0 {
		o.Virtual = DefaultVirtual
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	return o
}

// machine is a running engine.
type machine struct {
	cmd     *exec.Cmd
	answer  *os.File
	console tail
	stderr  tail
	copied  sync.WaitGroup
	unpin   func()
}

// start writes the guest's file system and starts the engine.
func start(ctx context.Context, path string, o Options) (*machine, error) {
	fd, err := unix.MemfdCreate("tcplab-initrd", unix.MFD_CLOEXEC) // it never has a name that a SIGKILL could leave
	if err != nil {
		return nil, fmt.Errorf("make the guest's file system: memfd_create: %w", err)
	}
	initrd := os.NewFile(uintptr(fd), "initrd")
	defer initrd.Close()
	if err := initramfs(initrd, o); err != nil {
		return nil, err
	}
	m := &machine{cmd: exec.CommandContext(ctx, path, arguments(o, 3, 4, 5)...)}
	answer, toAnswer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer toAnswer.Close()
	console, toConsole, err := os.Pipe()
	if err != nil {
		answer.Close()
		return nil, err
	}
	defer toConsole.Close()
	m.answer = answer
	m.cmd.ExtraFiles = []*os.File{initrd, toAnswer, toConsole}
	m.cmd.Stderr = &m.stderr
	m.cmd.Stdout = &m.stderr
	m.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := m.cmd.Start(); err != nil {
		answer.Close()
		console.Close()
		return nil, missing("start %s: %w", path, err)
	}
	m.unpin = func() {}
	if !o.RealTime {
		if m.unpin, err = pin(m.cmd.Process.Pid); err != nil {
			m.kill()
			_ = m.cmd.Wait()
			answer.Close()
			console.Close()
			return nil, err
		}
	}
	m.copied.Go(func() {
		_, _ = io.Copy(&m.console, console)
		console.Close()
	})
	return m, nil
}

// errUnanswered is what listen returns where the channel ended before the answer did.
var errUnanswered = errors.New("the guest ended before it had answered")

// guestError is what the guest's own program gave up with.
type guestError struct{ text string }

func (e guestError) Error() string { return e.text }

// listen passes messages on until the last one.
func (m *machine) listen(up func(), receive func(Message) error) error {
	for {
		msg, err := readFrame(m.answer)
		switch {
		case errors.Is(err, io.EOF) && !errors.Is(err, errFrame):
			return errUnanswered
		case err != nil:
			return err
		case msg.Name == msgUp:
			up()
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

// tail keeps the end of what is written to it. It is read when nobody writes any more.
type tail struct{ b []byte }

const tailBytes = 64 << 10

// Write keeps p, and forgets what is too old.
func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - tailBytes; over > 0 {
		t.b = append([]byte(nil), t.b[over:]...)
	}
	return len(p), nil
}

// grave are the lines that say why a guest died. A call trace of some fifty lines follows them.
var grave = regexp.MustCompile(`Kernel panic|Out of memory|BUG: |Oops: |panic: |fatal error: `)

// lines are those that say why, and the last n, without what a terminal would take for a command.
func (t *tail) lines(n int) string {
	text := bytes.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, bytes.TrimSpace(t.b))
	all := strings.Split(string(text), "\n")
	last := max(len(all)-n, 0)
	why := slices.DeleteFunc(all[:last:last], func(line string) bool { return !grave.MatchString(line) })
	return strings.Join(append(why[:min(len(why), 5)], all[last:]...), "\n")
}
