package wire

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/link"
)

// pair is a socket pair that keeps packets apart, as a TAP device does frames; mine is the test's side.
func pair(t *testing.T) (mine, wires *os.File) {
	t.Helper()
	fd, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mine, wires = os.NewFile(uintptr(fd[0]), "mine"), os.NewFile(uintptr(fd[1]), "wire's")
	t.Cleanup(func() { mine.Close(); wires.Close() })
	return mine, wires
}

// TestOrder catches frames that overtake each other, go to the wrong end, change, or come before their time.
func TestOrder(t *testing.T) {
	a, wa := pair(t)
	b, wb := pair(t)
	const delay = 20 * time.Millisecond
	w := newWire(delay, link.Plan{}, int(wa.Fd()), int(wb.Fd()))
	began := now()
	const n = 50
	for i := range n {
		fmt.Fprintf(a, "to b %d", i)
		fmt.Fprintf(b, "to a %d", i)
		if err := w.read(); err != nil {
			t.Fatal(err)
		}
	}
	// A busy machine may take longer than that to get here.
	if sent, err := w.send(); err != nil || sent && now()-began < delay {
		t.Errorf("at once: got %v, %v, want nothing delivered yet", sent, err)
	}
	for w.stats.Frames < 2*n {
		if err := w.carry(); err != nil {
			t.Fatal(err)
		}
		if w.stats.Frames > 0 && now()-began < delay {
			t.Fatalf("got a frame after %v, want none before %v", now()-began, delay)
		}
	}
	for i := range n {
		for to, f := range map[string]*os.File{"a": a, "b": b} {
			buf := make([]byte, 100)
			k, err := f.Read(buf)
			if got, want := string(buf[:k]), fmt.Sprintf("to %s %d", to, i); err != nil || got != want {
				t.Fatalf("got %q, %v, want %q", got, err, want)
			}
		}
	}
	if w.stats.Lost != 0 || w.next() != nil {
		t.Errorf("got %+v and %+v left, want none", w.stats, w.next())
	}
}

// TestFull catches a queue that grows without end, and frames that are lost without being counted.
func TestFull(t *testing.T) {
	a, wa := pair(t)
	_, wb := pair(t)
	w := newWire(time.Hour, link.Plan{}, int(wa.Fd()), int(wb.Fd()))
	const more = 7
	for range QueueLength + more {
		if _, err := a.Write([]byte("frame")); err != nil {
			t.Fatal(err)
		}
		if err := w.read(); err != nil {
			t.Fatal(err)
		}
	}
	if w.stats.Lost != more || w.end[0].n != QueueLength {
		t.Errorf("got %d lost and %d on their way, want %d and %d", w.stats.Lost, w.end[0].n, more, QueueLength)
	}
}

// TestLate catches a delivery that is late and not told.
func TestLate(t *testing.T) {
	w := &wire{}
	w.delivered(time.Second, 0)
	w.delivered(2*time.Second, 5*time.Millisecond)
	w.delivered(3*time.Second, tellLate)
	if w.stats.Worst != 5*time.Millisecond || len(w.stats.Late) != 1 || w.stats.Late[0] != (Late{2 * time.Second, 5 * time.Millisecond}) || w.stats.Frames != 3 {
		t.Errorf("got %+v, want three frames, the second late by 5 ms", w.stats)
	}
}

// TestProcess catches a wire that outlives its parent, does not answer, or runs with arguments that it does not understand.
func TestProcess(t *testing.T) {
	_, wa := pair(t)
	_, wb := pair(t)
	start := func(args ...string) (*exec.Cmd, func() (string, error)) {
		cmd := exec.Command("/proc/self/exe")
		cmd.Args = append([]string{Name}, args...)
		cmd.ExtraFiles = []*os.File{wa, wb}
		var text strings.Builder
		cmd.Stderr = &text
		return cmd, func() (string, error) { err := cmd.Wait(); return text.String(), err }
	}
	cmd, wait := start("1000000", "{}")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte(Ask)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var s Stats
	if jerr := json.Unmarshal(line, &s); err != nil || jerr != nil {
		t.Errorf("asked: got %q, %v, %v, want its numbers", line, err, jerr)
	}
	in.Close()
	if text, err := wait(); err != nil || text != "" {
		t.Errorf("after its input closed: got %v, %q, want exit code 0", err, text)
	}
	for _, args := range [][]string{nil, {"1"}, {"soon", "{}"}, {"-1", "{}"}, {"1", "soon"}, {"1", "{}", "2"}} {
		cmd, wait := start(args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		text, err := wait()
		if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(text, Name) {
			t.Errorf("%q: got %v, %q, want exit code 2 and why", args, err, text)
		}
	}
}

// segmentFrame is an Ethernet frame with a TCP segment from port 40001 to 80 of so many bytes of data, over IPv4 or IPv6, with its number in the last byte.
func segmentFrame(ipv6 bool, data int, number byte) []byte {
	const tcp = 32 // with timestamps
	ip := make([]byte, 20)
	kind := []byte{0x08, 0x00}
	if ipv6 {
		ip, kind = make([]byte, 40), []byte{0x86, 0xdd}
		ip[0], ip[6] = 0x60, 6
		binary.BigEndian.PutUint16(ip[4:], uint16(tcp+data))
	} else {
		ip[0], ip[9] = 0x45, 6
		binary.BigEndian.PutUint16(ip[2:], uint16(20+tcp+data))
	}
	segment := make([]byte, tcp+data)
	binary.BigEndian.PutUint16(segment, 40001)
	binary.BigEndian.PutUint16(segment[2:], 80)
	segment[12] = tcp / 4 << 4
	b := slices.Concat(make([]byte, 12), kind, ip, segment)
	for len(b) < 60 { // padding is no data
		b = append(b, 0)
	}
	b[len(b)-1] = number
	return b
}

// TestSegmentOf catches padding that counts as data, options that do, ports of another place, and frames that are not TCP or are cut.
func TestSegmentOf(t *testing.T) {
	udp, arp := segmentFrame(false, 100, 0), segmentFrame(false, 100, 0)
	udp[14+9], arp[13] = 17, 6
	udp6 := segmentFrame(true, 100, 0)
	udp6[14+6] = 17
	for name, tt := range map[string]struct {
		frame     []byte
		tcp, data bool
	}{
		"data":          {segmentFrame(false, 1, 0), true, true},
		"none":          {segmentFrame(false, 0, 0), true, false},
		"data of IPv6":  {segmentFrame(true, 1, 0), true, true},
		"none of IPv6":  {segmentFrame(true, 0, 0), true, false},
		"UDP":           {udp, false, false},
		"UDP of IPv6":   {udp6, false, false},
		"ARP":           {arp, false, false},
		"cut":           {segmentFrame(false, 100, 0)[:14+20+10], false, false},
		"cut of IPv6":   {segmentFrame(true, 100, 0)[:14+30], false, false},
		"shorter still": {[]byte{1, 2, 3}, false, false},
	} {
		if s := segmentOf(tt.frame); s.tcp != tt.tcp || s.data != tt.data || s.tcp && (s.from != 40001 || s.to != 80) {
			t.Errorf("%s: got %+v, want %v, %v, from port 40001 to 80", name, s, tt.tcp, tt.data)
		}
	}
}

// TestPlan catches a wire that forgets its plan, applies it to packets without data or to the other way, or mixes up frames that overtake.
func TestPlan(t *testing.T) {
	a, wa := pair(t)
	b, wb := pair(t)
	const delay, held = 5 * time.Millisecond, 500 * time.Millisecond // frames that a busy machine reads far apart overtake nobody
	w := newWire(delay, link.Plan{Behind: []time.Duration{0, held, 0}}, int(wa.Fd()), int(wb.Fd()))
	began := now()
	for n, data := range []int{100, 100, 0, 100} { // the second segment with data is held
		a.Write(segmentFrame(false, data, byte(n+1)))
	}
	b.Write(segmentFrame(false, 100, 9))
	if err := w.read(); err != nil {
		t.Fatal(err)
	}
	at := map[int]time.Duration{}
	for w.stats.Frames < 5 {
		before := w.stats.Frames
		if err := w.carry(); err != nil {
			t.Fatal(err)
		}
		for i := before; i < w.stats.Frames; i++ {
			at[i] = now() - began
		}
	}
	var order []byte
	for range 4 {
		buf := make([]byte, 200)
		n, err := b.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, buf[n-1])
	}
	if want := []byte{1, 3, 4, 2}; !slices.Equal(order, want) {
		t.Errorf("got frames %v, want %v", order, want)
	}
	if at[4] < delay+held || at[0] < delay {
		t.Errorf("got the held one after %v and the first after %v, want %v and %v at least", at[4], at[0], delay+held, delay)
	}
}
