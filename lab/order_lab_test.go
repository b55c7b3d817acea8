//go:build lab

package lab

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/netns"
)

// receives is the processor on which the server's TCP got what a program of the client's sent from a given one.
func receives(t *testing.T, l *Lab, from int) (cpu int) {
	t.Helper()
	addr := net.TCPAddrFromAddrPort(l.Server.Port(9))
	var in *net.TCPListener
	if err := l.Server.Do(func() (err error) { in, err = net.ListenTCP("tcp", addr); return err }); err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	run(t, l.Client, "taskset", "-c", fmt.Sprint(from), "bash", "-c", fmt.Sprintf("echo hello > /dev/tcp/%s/%d", addr.IP, addr.Port))
	conn, err := in.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello\n" {
		t.Fatalf("got %q, %v, want hello", got, err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { cpu, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_INCOMING_CPU) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return cpu
}

// TestInOrder catches a link on which a frame that one processor sent can overtake another's: all must be received by the lab's own. The
// control is the link as the kernel makes it, where each processor receives what it sent.
func TestInOrder(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.Command("taskset"), labtest.Command("bash"))
	cpus := runtime.NumCPU()
	for range cpus { // a lab for each processor
		l := build(t, Topology{})
		if !l.Ordered() {
			t.Fatal("got a link on which frames may overtake, want it ordered: is there no receive packet steering (CONFIG_RPS)?")
		}
		if cpus == 1 {
			return
		}
		for from := range cpus {
			if got := receives(t, l, from); got != l.Server.cpu {
				t.Errorf("sent from CPU %d: got it received by CPU %d, want %d", from, got, l.Server.cpu)
			}
		}
		if l.Server.cpu != cpus-1 {
			continue
		}
		for _, h := range l.hosts() {
			if err := h.Do(func() error {
				return os.WriteFile(filepath.Join(netns.Sysfs, "class/net", Iface, "queues/rx-0/rps_cpus"), []byte("0"), 0)
			}); err != nil {
				t.Fatal(err)
			}
		}
		for from := range cpus {
			got := receives(t, l, from)
			for range 4 { // a repeat, for an acknowledgement that a busy machine held up, is sent by the processor of its timer
				if got != from {
					got = receives(t, l, from)
				}
			}
			if got != from {
				t.Errorf("without steering, sent from CPU %d: got it received by CPU %d, want the sender's", from, got)
			}
		}
	}
}

// TestMask catches a mask that names another processor, or that the kernel prints in another form than it was written.
func TestMask(t *testing.T) {
	for _, c := range []struct {
		cpu           int
		want, printed string
	}{
		{0, "1", "1\n"},
		{1, "2", "0000,00000002\n"},
		{31, "80000000", "80000000\n"},
		{32, "1,00000000", "1,00000000\n"},
		{65, "2,00000000,00000000", "00000002,00000000,00000000\n"},
	} {
		if got := mask(c.cpu); got != c.want {
			t.Errorf("CPU %d: got mask %q, want %q", c.cpu, got, c.want)
		}
		if !sameMask(c.printed, c.cpu) || sameMask(c.printed, c.cpu+1) {
			t.Errorf("CPU %d: %q is not read back as this one alone", c.cpu, c.printed)
		}
	}
}
