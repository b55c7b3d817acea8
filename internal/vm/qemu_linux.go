package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// engine is the program that is the machine.
const engine = "qemu-system-x86_64"

// FindEngine reports whether a machine can be made here; an error wraps ErrMissing.
func FindEngine() (string, error) {
	if err := onArch(runtime.GOARCH); err != nil {
		return "", err
	}
	path, err := findProgram(engine)
	if err != nil {
		return "", missing("%w (install it with: apt-get install qemu-system-x86)", err)
	}
	return path, nil
}

// commandLine is the kernel's. Each word took something off the boot, or keeps something from waking the guest up.
var commandLine = []string{
	"quiet", "loglevel=1", "panic=-1", "oops=panic", "reboot=triple", "rdinit=/" + pathInit,
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

// Descriptors that the engine gets. Nothing of the machine has a name that could be left behind.
const (
	fdAnswer = 3 + iota
	fdConsole
	fdMemory
	fdMonitor
	fdInitrd // of one that boots
)

// inTurn makes the engine's threads take turns: it writes down what a guest that does the same again would need (record, of which nothing is kept), and for
// that the thread that moves the clock of an idle guest on (icount_start_warp_timer in main_loop_wait) and the one that makes the guest's
// instructions hold one lock each (replay_mutex_lock). Without it the first may come to run just when the other has called the guest idle and not yet counted its last instructions,
// and the guest is another one from there on (docs/adr/0039). A machine that boots cannot have it: QEMU 7.2 aborts where such a one is saved.
const inTurn = ",rr=record,rrfile=/dev/null"

// arguments are the engine's, for a machine that boots or, with booted, for one that goes on where another waits.
func arguments(o Options, booted bool) []string {
	fd := func(n int) string { return "/dev/fd/" + strconv.Itoa(n) }
	timers := "pit=off,pic=off" // with them a virtual hour takes 20 s
	var khz int64
	if o.RealTime { // the TSC is the host's
		if khz = counterKHz(); khz == 0 {
			timers = "pit=on,pic=on" // by which the kernel calibrates it
		}
	}
	args := []string{
		"-M", "microvm,rtc=on,memory-backend=ram," + timers, "-accel", "tcg,thread=single", "-cpu", processor, "-smp", "1",
		"-m", strconv.Itoa(o.Memory), "-object", fmt.Sprintf("memory-backend-file,id=ram,share=on,mem-path=%s,size=%dM", fd(fdMemory), o.Memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-chardev", "file,id=answer,path=" + fd(fdAnswer), "-device", "isa-debugcon,iobase=0xe9,chardev=answer",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=4",
		"-device", "pvpanic,ioport=0x505", "-action", "panic=pause",
		"-chardev", "file,id=console,path=" + fd(fdConsole), "-serial", "chardev:console",
		"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", fdMonitor), "-mon", "chardev=monitor,mode=control",
	}
	line := append(slices.Clone(commandLine), "console=ttyS0")
	if khz > 0 {
		line = append(line, "tsc=reliable", fmt.Sprintf("tsc_early_khz=%d", khz))
	}
	if !o.RealTime {
		line = append(line, virtualClock...)
		counted := "shift=" + shift + ",sleep=off"
		if booted && !o.apart {
			counted += inTurn
		}
		args = append(args, "-icount", counted, "-rtc", "base=2024-01-01T00:00:00,clock=vm", "-seed", "1")
	}
	if booted {
		return append(args, "-incoming", "defer")
	}
	// -S: it does nothing before it was given its processor. On a busy host that may be a while after it was started.
	return append(args, "-S", "-kernel", filepath.Join(o.Kernel.Dir, fileKernel), "-initrd", fd(fdInitrd), "-append", strings.Join(line, " "))
}

// Run hands the request to Guest in a machine with the kernel, and passes on what it sends, one message at a time, until it has ended. In
// virtual time the machine goes on where another one, which had booted, waits: see Boot. The machine is gone when Run returns, also when this process
// is killed. An error is ErrMissing's, the context's cause, receive's own, or an EndError.
func Run(ctx context.Context, o Options, receive func(Message) error) (s Stats, err error) {
	began := time.Now()
	defer func() { s.Wall = time.Since(began) }()
	if o, err = o.complete(); err != nil {
		return s, err
	}
	ctx, cancel := o.bounded(ctx)
	defer cancel()
	if o.RealTime {
		return o.run(ctx, began, nil, receive)
	}
	booted := o.Booted
	for try := 0; ; try++ {
		if booted == nil {
			if booted, err = boot(ctx, o, try == 0); err != nil {
				return s, err
			}
			defer booted.Close()
		}
		o.apart = try == mostTries // an engine of another version may not take what makes its threads take turns
		s, err = o.run(ctx, began, booted, receive)
		if !errors.Is(err, errNotUp) || try == mostTries || ctx.Err() != nil {
			return s, err
		}
		booted = nil // what lay in the cache was no good, whatever its checksum says; nothing of the request was begun
	}
}

// mostGoing is how long a guest that has booted may take until it goes on: a quarter of a second on an idle machine.
const mostGoing = time.Minute

// mostTries is how often a guest that does not go on is booted anew.
const mostTries = 2

// bounded is a context that ends with the machine's time.
func (o Options) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, o.Wall, &EndError{Why: fmt.Sprintf("the machine did not end within %v", o.Wall)})
}

// run makes one machine and listens to it. Without booted it boots, and goes on by itself.
func (o Options) run(ctx context.Context, began time.Time, booted *Booted, receive func(Message) error) (s Stats, err error) {
	ctx, silent := context.WithCancelCause(ctx)
	defer silent(nil)
	var initrd *os.File
	if booted == nil {
		if initrd, _, err = o.initrd(); err != nil {
			return s, err
		}
		defer initrd.Close()
	}
	m, err := start(ctx, o, initrd)
	if err != nil {
		return s, err
	}
	defer m.Close()
	var mailbox []uint64
	isUp, w := false, order{Deadline: o.Virtual, Request: o.Request}
	quiet := watchSilence(o.Silence, silent)
	if booted != nil {
		quiet.within(mostGoing)
	}
	heard := m.restore(booted, w)
	if heard == nil {
		heard = m.listen(func(msg Message) error {
			quiet.heard(msg.Name)
			switch msg.Name {
			case msgUp:
				return nil
			case msgMailbox:
				mailbox = framesOf(msg.Data)
				return nil
			case msgHold:
				return m.goOnWith(mailbox, w)
			case msgGoing:
				isUp, s.Boot = true, time.Since(began)
				quiet.within(o.Silence)
				return o.stood(msg.Data)
			}
			return receive(msg)
		})
	}
	quiet.stop()
	err = m.end(ctx, heard)
	if u, ok := m.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.Peak = u.Maxrss<<10 + m.filled // the first has what of it the guest came back to, too: at most
	}
	if err != nil && !isUp && booted != nil && !m.killed(heard) {
		err = fmt.Errorf("%w: %w", errNotUp, err)
	}
	return s, err
}

// stood makes sure that a guest's clock stood still with the guest. msg is how many nanoseconds it went on, in decimal.
func (o Options) stood(msg []byte) error {
	if d, err := strconv.ParseInt(string(msg), 10, 64); !o.RealTime && (err != nil || time.Duration(d) > mostLeap) {
		return fmt.Errorf("%w: its clock went on by %.20q ns while it stood still", errNotUp, msg)
	}
	return nil
}

// mostLeap is some more than the instructions take that a guest makes about its standing still: 0.6 to 3 us. The next timer is up to a jiffy away.
const mostLeap = 10 * time.Microsecond

// complete is the options with what they left open. An error says that there is no engine, or no such kernel.
func (o Options) complete() (Options, error) {
	var err error
	if len(o.Request) > MostRequest {
		return o, fmt.Errorf("what the guest is asked is %d bytes long, want at most %d: ask several guests", len(o.Request), MostRequest)
	}
	if o.engine, err = FindEngine(); err != nil {
		return o, err
	}
	if o.Kernel, err = o.Kernel.unpacked(o.Guard); err != nil {
		return o, err
	}
	return o.withDefaults(), nil
}

// initrd is the guest's file system, and the SHA-256 of it.
func (o Options) initrd() (f *os.File, sum []byte, err error) {
	if f, err = unnamed("initrd"); err != nil {
		return nil, nil, fmt.Errorf("make the guest's file system: %w", err)
	}
	h := sha256.New()
	if err := initramfs(io.MultiWriter(f, h), o); err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, h.Sum(nil), nil
}

// errNotUp is wrapped where a machine that had booted did not go on.
var errNotUp = errors.New("the guest that had booted did not go on")

// silence ends a machine that says nothing for too long.
type silence struct {
	bound time.Duration // 0: there is none
	timer *time.Timer
	mu    sync.Mutex
	last  string // what it said last
}

func watchSilence(bound time.Duration, end context.CancelCauseFunc) *silence {
	s := new(silence)
	s.timer = time.AfterFunc(math.MaxInt64, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		after := "it was started"
		if s.last != "" {
			after = strconv.Quote(s.last)
		}
		end(&EndError{Why: fmt.Sprintf("the machine said nothing for %v after %s", s.bound, after)})
	})
	s.within(bound)
	return s
}

func (s *silence) heard(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = what
	if s.bound > 0 {
		s.timer.Reset(s.bound)
	}
}

// within bounds the silence anew, from now on. Zero: nothing bounds it.
func (s *silence) within(bound time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound = bound; s.bound == 0 {
		s.timer.Stop()
		return
	}
	s.timer.Reset(s.bound)
}

func (s *silence) stop() { s.timer.Stop() }

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
