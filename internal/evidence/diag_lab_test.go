//go:build lab

package evidence

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/netns"
)

func init() { netns.PinMain() }

func TestMain(m *testing.M) { os.Exit(labtest.Leaks(m)) }

// namespace has a loopback that is up, and a route on which every packet to 10.9.0.2 is lost: a veth whose other end nobody owns.
func namespace(t *testing.T) *netns.Namespace {
	t.Helper()
	labtest.Need(t, labtest.Root, labtest.Command("ip"))
	n, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close the namespace: %v", err)
		}
	})
	for _, line := range []string{
		"link set lo up", "link add name v0 type veth peer name v1", "address add 10.9.0.1/24 dev v0", "link set v0 up", "link set v1 up",
		"neighbour add 10.9.0.2 lladdr 02:00:00:00:00:99 dev v0 nud permanent",
	} {
		cmd := exec.Command("ip", strings.Fields(line)...)
		if err := n.Do(func() error { _, err := cmd.CombinedOutput(); return err }); err != nil {
			t.Fatalf("ip %s: %v", line, err)
		}
	}
	return n
}

func open(t *testing.T, n *netns.Namespace) *Diag {
	t.Helper()
	var d *Diag
	if err := n.Do(func() (err error) { d, err = Open(); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close inet_diag: %v", err)
		}
	})
	return d
}

// waiting opens a socket in SYN-SENT.
func waiting(t *testing.T, n *netns.Namespace, to netip.AddrPort) (local netip.AddrPort, done func()) {
	t.Helper()
	fd := -1
	err := n.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != unix.EINPROGRESS {
			return fmt.Errorf("connect: got %w, want EINPROGRESS", err)
		}
		sa, err := unix.Getsockname(fd)
		if err != nil {
			return err
		}
		a := sa.(*unix.SockaddrInet4)
		local = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return local, func() { unix.Close(fd) }
}

// TestLook catches a look at the wrong socket, and a field that is not what the kernel means.
func TestLook(t *testing.T) {
	n := namespace(t)
	d := open(t, n)
	look := func(local, remote netip.AddrPort) Socket {
		t.Helper()
		s, err := d.Look(local, remote)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	to := netip.MustParseAddrPort("10.9.0.2:8080")
	local, done := waiting(t, n, to)
	defer func() { done() }()
	for i := 0; i < 9 && look(local, to).Retrans > 0; i++ { // this machine stood still for a second, and the SYN was sent again
		done()
		local, done = waiting(t, n, to)
	}
	if s := look(local, to); s.State != "SYN-SENT" || s.Timer != "retransmit" || s.RTO != time.Second || s.Expires <= 0 || s.Expires > 1100*time.Millisecond || s.Retrans != 0 {
		t.Errorf("connecting: got %+v, want SYN-SENT, a retransmit timer of at most 1 s, RTO 1 s", s)
	}
	if s := look(local, netip.MustParseAddrPort("10.9.0.2:8081")); s != (Socket{State: Closed}) {
		t.Errorf("another port: got %+v, want CLOSED", s)
	}
	var l net.Listener
	if err := n.Do(func() (err error) { l, err = net.Listen("tcp4", "127.0.0.1:0"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	server := netip.MustParseAddrPort(l.Addr().String())
	if s := look(server, netip.MustParseAddrPort("127.0.0.1:9")); s.State != "LISTEN" || s.Timer != "" {
		t.Errorf("listener: got %+v, want LISTEN", s)
	}
	var c net.Conn
	dialer := net.Dialer{KeepAlive: -1, Timeout: 5 * time.Second}
	if err := n.Do(func() (err error) { c, err = dialer.Dial("tcp4", server.String()); return err }); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client := netip.MustParseAddrPort(c.LocalAddr().String())
	if s := look(client, server); s.State != "ESTABLISHED" || s.Timer != "" || s.RTO < 200*time.Millisecond || s.RTO > 9*time.Second {
		t.Errorf("connected: got %+v, want ESTABLISHED, no timer, RTO 0.2 s and what a busy machine adds", s)
	}
	if err := c.(*net.TCPConn).SetKeepAlive(true); err != nil {
		t.Fatal(err)
	}
	if s := look(client, server); s.Timer != "keepalive" || s.Expires < time.Second {
		t.Errorf("with keepalive: got %+v, want that timer", s)
	}
	for _, remote := range []netip.AddrPort{server, netip.MustParseAddrPort("127.0.0.1:9")} { // in a guest the memory is not collected
		if n := testing.AllocsPerRun(100, func() { look(client, remote) }); n > 0 {
			t.Errorf("a look at %s takes memory %v times, want none", remote, n)
		}
	}
}

// TestLate catches an answer to an earlier question, which was given up, that is taken for the answer to the next.
func TestLate(t *testing.T) {
	n := namespace(t)
	d := open(t, n)
	to := netip.MustParseAddrPort("10.9.0.2:8080")
	local, done := waiting(t, n, to)
	defer done()
	if _, err := d.Look(local, netip.MustParseAddrPort("10.9.0.2:8081")); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(d.fd, d.asked[:]); err != nil { // the same once more, and nobody reads that there is no such socket
		t.Fatal(err)
	}
	if s, err := d.Look(local, to); err != nil || s.State != "SYN-SENT" {
		t.Errorf("got %+v, %v, want SYN-SENT", s, err)
	}
}

// TestRetransmitted waits for the first retransmission. It catches counters that are swapped: the retransmission is 1, and the backoff
// too where linear timeouts are off.
func TestRetransmitted(t *testing.T) {
	n := namespace(t)
	if err := n.Do(func() error {
		err := os.WriteFile("/proc/sys/net/ipv4/tcp_syn_linear_timeouts", []byte("0"), 0)
		if errors.Is(err, os.ErrNotExist) {
			return nil // this kernel has none
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	d := open(t, n)
	to := netip.MustParseAddrPort("10.9.0.2:8080")
	local, done := waiting(t, n, to)
	defer done()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := d.Look(local, to)
		if err != nil {
			t.Fatal(err)
		}
		if s.Retrans > 0 && s.Retrans != s.Backoff+1 { // the kernel counts the one a moment before the other (tcp_retransmit_timer)
			// One, or more where nobody looked in time.
			if s.Retrans > 4 || s.Backoff != s.Retrans || s.RTO != time.Second<<s.Retrans || s.State != "SYN-SENT" {
				t.Errorf("got %+v, want 1 retransmission, backoff 1, RTO 2 s", s)
			}
			return
		}
		select {
		case <-deadline:
			t.Fatalf("got %+v after 10 s, want a retransmission", s)
		case <-tick.C:
		}
	}
}

// TestOtherNamespace catches a look into the namespace of the caller instead of the one that the socket was opened in.
func TestOtherNamespace(t *testing.T) {
	n, other := namespace(t), namespace(t)
	to := netip.MustParseAddrPort("10.9.0.2:8080")
	local, done := waiting(t, n, to)
	defer done()
	for _, tt := range []struct {
		ns   *netns.Namespace
		want string
	}{{n, "SYN-SENT"}, {other, Closed}} {
		if s, err := open(t, tt.ns).Look(local, to); err != nil || s.State != tt.want {
			t.Errorf("got %+v, %v, want %s", s, err, tt.want)
		}
	}
}

// TestTry catches a kernel without inet_diag that is taken for one on which every socket is gone.
func TestTry(t *testing.T) {
	n := namespace(t)
	d := open(t, n)
	var l net.Listener
	if err := n.Do(func() (err error) { l, err = net.Listen("tcp4", "127.0.0.1:0"); return err }); err != nil {
		t.Fatal(err)
	}
	addr, anyone := netip.MustParseAddrPort(l.Addr().String()), netip.MustParseAddrPort("127.0.0.1:9")
	if err := d.Try(addr, anyone); err != nil {
		t.Errorf("a listener is there: got %v, want nil", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Try(addr, anyone); !errors.Is(err, ErrNone) {
		t.Errorf("what must be there is not: got %v, want %v", err, ErrNone)
	}
}
