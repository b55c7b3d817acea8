package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/link"
)

// A program that imports this package and is started as Name never reaches its main function.
func init() {
	if len(os.Args) > 0 && os.Args[0] == Name {
		os.Exit(run())
	}
}

func run() int {
	if len(os.Args) != 3 {
		fmt.Fprintf(os.Stderr, "%s: want two arguments, the delay in nanoseconds and a plan\n", Name)
		return 2
	}
	ns, err := strconv.ParseInt(os.Args[1], 10, 64)
	if err != nil || ns < 0 {
		fmt.Fprintf(os.Stderr, "%s: delay %q: want nanoseconds\n", Name, os.Args[1])
		return 2
	}
	var plan link.Plan
	if err := json.Unmarshal([]byte(os.Args[2]), &plan); err != nil {
		fmt.Fprintf(os.Stderr, "%s: plan %q: %v\n", Name, os.Args[2], err)
		return 2
	}
	debug.SetGCPercent(-1) // it makes next to no garbage
	urgent()
	w := newWire(time.Duration(ns), plan, 3, 4)
	if err := w.serve(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", Name, err)
		return 1
	}
	return 0
}

// urgent makes every thread of the process run before others as far as it may, and its timers exact. Those that the runtime adds later
// inherit it. Without privilege they run as others do.
func urgent() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // ns; the default of 50 µs would be late
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	fifo := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	for _, t := range threads {
		if tid, err := strconv.Atoi(t.Name()); err == nil && unix.SchedSetAttr(tid, &fifo, 0) != nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, -20)
		}
	}
}

// newWire joins two devices. What they send follows a plan, in which the first one is the client's.
func newWire(delay time.Duration, plan link.Plan, first, second int) *wire {
	return &wire{end: [2]end{{tap: first, way: link.Way{Plan: plan, Delay: delay}}, {tap: second, way: link.Way{Plan: plan.Reverse(), Delay: delay}}}}
}

// wire is the two ends and what is between them.
type wire struct {
	end   [2]end
	stats Stats
	over  [frameBytes]byte // where a frame goes that has no place
}

// end is one TAP device, with the frames that were read from it and are on their way to the other one.
type end struct {
	tap   int
	way   link.Way
	queue [QueueLength]frame // in the order in which they are due
	head  int                // the first
	n     int
}

type frame struct {
	due  time.Duration // CLOCK_MONOTONIC
	data []byte        // frameBytes long; size of them are in use
	size int
}

const frameBytes = 2048 // an Ethernet frame of the lab has 1514 at most

// serve carries frames until standard input ends.
func (w *wire) serve() error {
	fds := []unix.PollFd{{Fd: 0, Events: unix.POLLIN}, {Fd: int32(w.end[0].tap), Events: unix.POLLIN}, {Fd: int32(w.end[1].tap), Events: unix.POLLIN}}
	for {
		var wait *unix.Timespec
		if f := w.next(); f != nil {
			ts := unix.NsecToTimespec(int64(max(f.due-now(), 0)))
			wait = &ts
		}
		if _, err := unix.Ppoll(fds, wait, nil); err == unix.EINTR {
			continue // what it says of the descriptors is of before
		} else if err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		if fds[0].Revents != 0 {
			if ended, err := w.answer(); ended || err != nil {
				return err
			}
		}
		if err := w.carry(); err != nil {
			return err
		}
	}
}

// answer answers the parent, and reports whether it has gone.
func (w *wire) answer() (ended bool, err error) {
	var ask [1]byte
	n, err := unix.Read(0, ask[:])
	if err == unix.EINTR || err == unix.EAGAIN {
		return false, nil
	}
	if n <= 0 {
		return true, nil
	}
	b, err := json.Marshal(w.stats)
	if err != nil {
		return false, err
	}
	if _, err := os.Stdout.Write(append(b, '\n')); err != nil {
		return true, nil // the parent has gone
	}
	return false, nil
}

// carry reads what waits and delivers what is due. What is delivered is answered at once, so the answer is read before the next frame
// goes out: its time counts from then.
func (w *wire) carry() error {
	for {
		if err := w.read(); err != nil {
			return err
		}
		sent, err := w.send()
		if err != nil || !sent {
			return err
		}
	}
}

// next is the frame that is due first, or nil.
func (w *wire) next() *frame {
	var first *frame
	for i := range w.end {
		e := &w.end[i]
		if f := &e.queue[e.head]; e.n > 0 && (first == nil || f.due < first.due) {
			first = f
		}
	}
	return first
}

// read takes all frames that wait at both ends.
func (w *wire) read() error {
	for i := range w.end {
		e := &w.end[i]
		for {
			data, full := w.over[:], e.n == len(e.queue)
			f := &e.queue[(e.head+e.n)%len(e.queue)]
			if !full {
				if f.data == nil {
					f.data = make([]byte, frameBytes)
				}
				data = f.data
			}
			n, err := unix.Read(e.tap, data)
			if err == unix.EAGAIN {
				break
			}
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return fmt.Errorf("read: %w", err)
			}
			if full {
				w.stats.Lost++
				continue
			}
			s := segmentOf(data[:n])
			f.due, f.size = e.way.Of(s.from, s.to).Due(now(), n, e.way.Counts(s.tcp, s.data)), n
			e.n++
			e.settle()
		}
	}
	return nil
}

// settle puts the newest frame before those that are due later.
func (e *end) settle() {
	at := func(i int) *frame { return &e.queue[(e.head+i)%len(e.queue)] }
	for i := e.n - 1; i > 0 && at(i).due < at(i-1).due; i-- {
		*at(i), *at(i - 1) = *at(i - 1), *at(i)
	}
}

// segment is what a frame is to a plan.
type segment struct {
	tcp, data bool
	from, to  uint16 // the ports of a TCP segment
}

// segmentOf reads an Ethernet frame. The lab's packets of IPv6 have no extension headers.
func segmentOf(b []byte) segment {
	const ethernet, ipv6 = 14, 40
	if len(b) < ethernet+20 {
		return segment{}
	}
	ip := b[ethernet:]
	var header, end int
	switch binary.BigEndian.Uint16(b[12:]) {
	case unix.ETH_P_IP:
		header, end = int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
		if ip[9] != unix.IPPROTO_TCP {
			return segment{}
		}
	case unix.ETH_P_IPV6:
		if len(ip) < ipv6 || ip[6] != unix.IPPROTO_TCP {
			return segment{}
		}
		header, end = ipv6, ipv6+int(binary.BigEndian.Uint16(ip[4:]))
	default:
		return segment{}
	}
	if len(ip) < header+20 {
		return segment{}
	}
	port := func(at int) uint16 { return binary.BigEndian.Uint16(ip[header+at:]) }
	return segment{tcp: true, data: end > header+int(ip[header+12]>>4)*4, from: port(0), to: port(2)}
}

// send delivers the frame that is due first, if it is due, and reports whether there was one.
func (w *wire) send() (bool, error) {
	f := w.next()
	if f == nil {
		return false, nil
	}
	late := now() - f.due
	if late < 0 {
		return false, nil
	}
	from, to := &w.end[0], &w.end[1]
	if f != &from.queue[from.head] {
		from, to = to, from
	}
	switch _, err := unix.Write(to.tap, f.data[:f.size]); err {
	case nil:
		w.delivered(f.due, late)
	case unix.EINTR:
		return true, nil // again
	case unix.EIO: // the link is down at that end: as with a cable, nobody is told
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		w.stats.Lost++
	default:
		return false, fmt.Errorf("write: %w", err)
	}
	from.head = (from.head + 1) % len(from.queue)
	from.n--
	return true, nil
}

const (
	tellLate = time.Millisecond
	mostLate = 1000
)

func (w *wire) delivered(due, late time.Duration) {
	w.stats.Frames++
	w.stats.Worst = max(w.stats.Worst, late)
	if late > tellLate && len(w.stats.Late) < mostLate {
		w.stats.Late = append(w.stats.Late, Late{Due: due, For: late})
	}
}

func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("wire: CLOCK_MONOTONIC: " + err.Error()) // cannot fail on Linux
	}
	return time.Duration(ts.Nano())
}
