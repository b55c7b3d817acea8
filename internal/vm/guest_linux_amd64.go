package vm

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The devices of the engine, as seen from the guest.
const (
	portChannel = 0xe9  // isa-debugcon
	portExit    = 0xf4  // isa-debug-exit
	portPause   = 0x505 // pvpanic
)

// InGuest reports whether this process is the first one of a machine that Run booted.
func InGuest() bool {
	return os.Getpid() == 1 && len(os.Args) > 0 && os.Args[0] == "/"+pathInit && exists("/"+pathEnvelope)
}

// Guest serves one request and powers the machine off; it does not return. send may be called from any goroutine.
func Guest(serve func(request []byte, send func(Message) error) error) {
	c := &channel{}
	err := openPorts()
	if err == nil {
		err = c.send(Message{Name: msgUp})
	}
	if err == nil {
		err = guest(c, serve)
	}
	last := Message{Name: msgEnd}
	if err != nil {
		last = Message{Name: msgError, Data: []byte(err.Error())}
	}
	if err := c.send(last); err != nil {
		fmt.Fprintln(os.Stderr, "tcplab guest:", err)
	}
	outLong(portExit, 0)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) // an engine without that port
	select {}
}

// AtSecond waits for the next whole second of the guest's CLOCK_MONOTONIC. What begins there begins at the same instant each time, though what was
// done before took another number of instructions, such as a longer name of a folder (docs/adr/0013).
func AtSecond() error {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return fmt.Errorf("read CLOCK_MONOTONIC: %w", err)
	}
	t.Sec, t.Nsec = t.Sec+1, 0
	for {
		switch err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &t, nil); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("wait for a whole second: %w", err)
		}
	}
}

// guestMemory is where the collector begins after all. Near it the runtime gives memory back every five seconds (controllerCooldown in
// mgcscavenge.go), and each time sysmon looks around ten times: with 96 MiB that was most of what woke a guest in two hours of keepalive.
// A program that serves several things collects between them: see Collect.
const guestMemory = 224 << 20

// Collect frees memory, between two things that a guest serves, where much of it is taken.
func Collect() {
	const much = 64 << 20
	var m runtime.MemStats
	if runtime.ReadMemStats(&m); m.HeapAlloc > much {
		runtime.GC()
	}
}

// guest sets the machine up and serves.
func guest(c *channel, serve func([]byte, func(Message) error) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	debug.SetGCPercent(-1) // the collector's own goroutines wake up by the clock
	debug.SetMemoryLimit(guestMemory)
	b, err := os.ReadFile("/" + pathEnvelope)
	if err != nil {
		return err
	}
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return err
	}
	if err := mounts(); err != nil {
		return err
	}
	for _, name := range e.Modules {
		if err := insert(filepath.Join("/", dirKernel, name+".ko")); err != nil {
			return err
		}
	}
	quiet()
	if err := firstConnection(); err != nil {
		return err
	}
	<-time.After(idle)
	if err := os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
		return err
	}
	order, err := c.wait()
	if err != nil {
		return err
	}
	if order.Deadline > 0 {
		time.AfterFunc(order.Deadline, func() {
			_ = c.send(Message{Name: msgError, Data: fmt.Appendf(nil, "%v of virtual time are up", order.Deadline)})
			outLong(portExit, 0)
		})
	}
	return serve(order.Request, c.send)
}

func mounts() error {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"}, {"tmpfs", "/tmp"}} {
		if err := unix.Mount(m.kind, m.at, m.kind, unix.MS_NOSUID, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return nil
}

// insert loads one module. One that is there already is not an error: some kernels have it built in.
func insert(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}

// quiet switches the kernel's own periodic work off: each wake-up is paid for in every virtual hour. Knobs that a kernel lacks are not
// missed. IPv6 would send at times of its own.
func quiet() {
	for name, value := range map[string]string{
		"vm/dirty_writeback_centisecs":          "0",
		"vm/stat_interval":                      "1000000",
		"kernel/watchdog":                       "0",
		"net/ipv6/conf/all/disable_ipv6":        "1",
		"net/ipv6/conf/default/disable_ipv6":    "1",
		"kernel/printk":                         "1 4 1 7",
		"kernel/hung_task_timeout_secs":         "0",
		"net/core/fb_tunnels_only_for_init_net": "2",
		"vm/compaction_proactiveness":           "0", // else kcompactd looks at the memory twice a second (HPAGE_FRAG_CHECK_INTERVAL_MSEC)
	} {
		_ = os.WriteFile("/proc/sys/"+name, []byte(value), 0o644)
	}
	// Since 6.8 a deadline server looks after the fair class, by a timer that goes off a second after anything ran (dl_server_start).
	if err := unix.Mount("debugfs", "/sys/kernel/debug", "debugfs", unix.MS_NOSUID, ""); err == nil || errors.Is(err, unix.EBUSY) {
		_ = os.WriteFile("/sys/kernel/debug/sched/fair_server/cpu0/runtime", []byte("0"), 0o644)
	}
}

// idle is a time without work: the kernel stops its tick, for the first time, and from then on /proc/timer_list tells the ticks' own phase
// (last_tick). Without it the phase of jiffies would be known to a part of a jiffy only.
const idle = 100 * time.Millisecond

// firstConnection makes the first connection of this kernel's life, to a closed port of the loopback: the first connect(2) fills a table of 256 KB
// with random numbers (net_get_random_once in __inet_hash_connect), which takes some six million instructions in the middle of the call.
func firstConnection() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("first connection: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("first connection: %w", err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("first connection: set lo up: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}); err != unix.ECONNREFUSED {
		return fmt.Errorf("first connection: got %w, want ECONNREFUSED", err)
	}
	return nil
}

// channel is the way out of the guest: one frame at a time.
type channel struct{ mu sync.Mutex }

func (c *channel) send(m Message) error {
	b, err := appendFrame(nil, m)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	outBytes(portChannel, &b[0], len(b))
	return nil
}

// panicked is what a guest says to pvpanic whose kernel has panicked (PVPANIC_PANICKED). This one has not: the engine stops the machine, in the
// middle of this very instruction, and nothing else does.
const panicked = 1

// wait tells the host where in this machine's memory an order may be written, stops the machine, and goes on with the order.
func (c *channel) wait() (o order, err error) {
	mem, err := unix.Mmap(-1, 0, mostOrder, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return o, fmt.Errorf("mailbox: mmap: %w", err)
	}
	at, err := physical(mem)
	if err != nil {
		return o, fmt.Errorf("mailbox: %w", err)
	}
	if err := c.send(Message{Name: msgMailbox, Data: at}); err != nil {
		return o, err
	}
	if err := c.send(Message{Name: msgHold, Data: make([]byte, holdBytes)}); err != nil {
		return o, err
	}
	stood := time.Now()
	outByte(portPause, panicked)
	if err := c.send(Message{Name: msgGoing, Data: strconv.AppendInt(nil, time.Since(stood).Nanoseconds(), 10)}); err != nil {
		return o, err
	}
	if o, err = readOrder(mem); err != nil {
		return o, err
	}
	return o, unix.Munmap(mem)
}

// physical are the numbers of the physical pages of some memory, 8 bytes each in little endian (Documentation/admin-guide/mm/pagemap.rst).
func physical(mem []byte) ([]byte, error) {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := make([]byte, len(mem)/pageSize*8)
	if _, err := f.ReadAt(out, int64(uintptr(unsafe.Pointer(&mem[0])))/pageSize*8); err != nil {
		return nil, err
	}
	for i := 0; i < len(out); i += 8 {
		v := binary.LittleEndian.Uint64(out[i:])
		if v>>63 == 0 {
			return nil, errors.New("a page is not there")
		}
		binary.LittleEndian.PutUint64(out[i:], v&(1<<55-1))
	}
	return out, nil
}
