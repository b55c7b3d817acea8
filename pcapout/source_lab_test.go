//go:build lab

package pcapout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/netns"
)

// namespace is a network namespace that ends with the test.
type namespace struct{ *netns.Namespace }

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	n, err := netns.New()
	if err != nil {
		t.Fatalf("new namespace: %v", err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close the namespace: %v", err)
		}
	})
	return &namespace{n}
}

func (n *namespace) do(f func()) {
	if err := n.Do(func() error { f(); return nil }); err != nil {
		panic(err) // a panic inside f, with its stack
	}
}

func (n *namespace) ip(t *testing.T, arg ...string) {
	t.Helper()
	n.do(func() {
		if out, err := exec.Command("ip", arg...).CombinedOutput(); err != nil {
			t.Errorf("ip %v: %v: %s", arg, err, out)
		}
	})
}

// pair builds client 10.99.0.1 ── veth ── 10.99.0.2 server, both ends called eth0.
func pair(t *testing.T) (client, server *namespace) {
	t.Helper()
	client, server = newNamespace(t), newNamespace(t)
	client.ip(t, "link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
	client.ip(t, "link", "set", "peer0", "netns", strconv.Itoa(server.Thread()))
	server.ip(t, "link", "set", "peer0", "name", "eth0")
	for n, addr := range map[*namespace]string{client: "10.99.0.1/24", server: "10.99.0.2/24"} {
		n.ip(t, "addr", "add", addr, "dev", "eth0")
		n.ip(t, "link", "set", "eth0", "up")
		n.ip(t, "link", "set", "lo", "up")
	}
	return client, server
}

func openIn(t *testing.T, n *namespace, iface string, o SourceOptions) *Source {
	t.Helper()
	var s *Source
	var err error
	n.do(func() { s, err = Open(iface, o) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// talk connects, sends a line each way, and closes.
func talk(t *testing.T, client, server *namespace) {
	t.Helper()
	var l net.Listener
	var err error
	server.do(func() { l, err = net.Listen("tcp4", "10.99.0.2:8080") })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := io.Copy(c, c); err != nil {
			t.Error(err)
		}
	})
	var c net.Conn
	client.do(func() { c, err = net.Dial("tcp4", "10.99.0.2:8080") })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
		t.Fatalf("got echo %q, %v, want hello", got, err)
	}
}

// TestSourceBothEnds catches a wrong direction, stamps that do not come from the tap, lost packets, probes and ARP in the capture, and
// keys that differ between the two ends.
func TestSourceBothEnds(t *testing.T) {
	client, server := pair(t)
	cs, ss := openIn(t, client, "eth0", SourceOptions{}), openIn(t, server, "eth0", SourceOptions{})
	before := time.Now().Round(0)
	talk(t, client, server)
	after := time.Now().Round(0)
	waitFINs(t, cs)
	waitFINs(t, ss)
	for name, s := range map[string]*Source{"client": cs, "server": ss} {
		if err := s.Close(); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
	}
	clientAddr := netip.MustParseAddr("10.99.0.1")
	stampOf := map[Fingerprint]time.Time{}
	for _, p := range cs.Packets() {
		if k, err := Key(0, p); err == nil {
			stampOf[k] = p.Time
		}
	}
	for name, s := range map[string]*Source{"client": cs, "server": ss} {
		segments := 0
		for i, p := range s.Packets() {
			if et := uint16(p.Data[12])<<8 | uint16(p.Data[13]); et != unix.ETH_P_IP && et != unix.ETH_P_IPV6 {
				t.Errorf("%s: packet %d: got EtherType %#x, want IPv4 and IPv6 only", name, i, et)
			}
			seg, err := Decode(0, p)
			if err != nil {
				continue // neighbour discovery of IPv6
			}
			segments++
			// Not in order: a packet that waits in a processor's backlog has its stamp (enqueue_to_backlog), and others may pass the tap meanwhile.
			if p.Time.Before(before) || p.Time.After(after) {
				t.Errorf("%s: packet %d: got stamp %v, want from %v to %v", name, i, p.Time, before, after)
			}
			if want := (seg.Src.Addr() == clientAddr) == (name == "client"); p.Outgoing != want {
				t.Errorf("%s: packet %d %v to %v: got outgoing %v, want %v", name, i, seg.Src, seg.Dst, p.Outgoing, want)
			}
			k, err := Key(0, p)
			if at, ok := stampOf[k]; err != nil || !ok {
				t.Errorf("%s: packet %d (%v): got no packet of that key at the client (%v), want one", name, i, seg.Flags, err)
			} else if gap := p.Time.Sub(at).Abs(); gap > 5*time.Second {
				t.Errorf("%s: packet %d: got %v between the taps, want far less than 5 s on the busiest machine", name, i, gap)
			}
		}
		if segments < 7 { // handshake 3, data, and two FINs at least, with an ACK
			t.Errorf("%s: got %d segments, want at least 7", name, segments)
		}
		checkStats(t, name, s, 0)
	}
}

// waitFINs waits until both sides' FINs are in the capture.
func waitFINs(t *testing.T, s *Source) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	seen := map[netip.AddrPort]bool{}
	for n := 0; len(seen) < 2; {
		packets, err := s.From(ctx, n)
		if err != nil {
			t.Fatalf("wait for both FINs: %v", err)
		}
		n += len(packets)
		for _, p := range packets {
			if seg, err := Decode(0, p); err == nil && seg.Flags.Has(FIN) {
				seen[seg.Src] = true
			}
		}
	}
}

// checkStats checks the promise that nothing is lost but what the kernel counts.
func checkStats(t *testing.T, name string, s *Source, minDropped uint64) {
	t.Helper()
	st, err := s.Stats()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if got, want := uint64(len(s.Packets())), st.Received-st.Dropped; got != want {
		t.Errorf("%s: got %d packets, want %d (%d received, %d dropped)", name, got, want, st.Received, st.Dropped)
	}
	if st.Dropped < minDropped || minDropped == 0 && st.Dropped > 0 {
		t.Errorf("%s: got %d dropped, want at least %d, and 0 only if that is 0", name, st.Dropped, minDropped)
	}
}

// burst sends n datagrams from the client to a port where nobody listens, with ICMP errors kept out of it by an unconnected socket.
func burst(t *testing.T, client *namespace, n int) {
	t.Helper()
	var c *net.UDPConn
	var err error
	client.do(func() { c, err = net.ListenUDP("udp4", nil) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	to := netip.MustParseAddrPort("10.99.0.2:9")
	for range n {
		if _, err := c.WriteToUDPAddrPort(make([]byte, 100), to); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOpenStampsAtOnce catches an Open that returns before the kernel stamps: the very next packet then has a stamp of reading, which ends
// the capture. It needs a machine on which nobody else asks for stamps to show it, so it tries from cold several times.
func TestOpenStampsAtOnce(t *testing.T) {
	client, _ := pair(t)
	client.ip(t, "neigh", "add", "10.99.0.2", "lladdr", "02:00:00:00:00:02", "dev", "eth0", "nud", "permanent")
	for i := range 10 {
		s := openIn(t, client, "eth0", SourceOptions{EtherTypes: []uint16{unix.ETH_P_IP}})
		burst(t, client, 20)
		if err := s.Close(); err != nil {
			t.Errorf("round %d: got %v, want stamps from the first packet on", i, err)
		}
		if got := len(s.Packets()); got != 20 {
			t.Errorf("round %d: got %d packets, want 20", i, got)
		}
	}
}

// TestSourceDrops catches drops that are not counted, counted twice, or forgotten when the counters are read several times.
func TestSourceDrops(t *testing.T) {
	client, _ := pair(t)
	client.ip(t, "neigh", "add", "10.99.0.2", "lladdr", "02:00:00:00:00:02", "dev", "eth0", "nud", "permanent")
	s := openIn(t, client, "eth0", SourceOptions{ReceiveBuffer: 1})
	s.mu.Lock() // the reader stops at its first packet, so the buffer of the kernel's minimal size must overflow
	sent := uint64(100)
	burst(t, client, int(sent))
	s.mu.Unlock()
	if _, err := s.Stats(); err != nil { // resets the kernel's counters
		t.Fatal(err)
	}
	// A packet behind the hole shows how large it is; a reader that does not get the processor loses that one too. Where the reader took its
	// first packet only when the buffer was full, a packet of the first burst already is behind a hole.
	behind := func() bool { return slices.ContainsFunc(s.Packets(), func(p Packet) bool { return p.Lost > 0 }) }
	for end := time.Now().Add(10 * time.Second); !behind() && time.Now().Before(end); {
		burst(t, client, 1)
		sent++
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkStats(t, "client", s, 50)
	st, _ := s.Stats()
	if st.Received < sent {
		t.Errorf("got %d received, want at least the %d sent", st.Received, sent)
	}
	lost := uint64(0)
	for _, p := range s.Packets() {
		lost += p.Lost
	}
	if lost == 0 || lost > st.Dropped { // the second burst began behind the hole of the first, and may have ended in one of its own
		t.Errorf("got %d lost between packets, want some, at most the %d dropped", lost, st.Dropped)
	}
}

// TestSourceLosesNothing catches packets lost by a slow consumer or at Close, which comes with the burst still in the kernel's queue.
func TestSourceLosesNothing(t *testing.T) {
	client, _ := pair(t)
	client.ip(t, "neigh", "add", "10.99.0.2", "lladdr", "02:00:00:00:00:02", "dev", "eth0", "nud", "permanent")
	s := openIn(t, client, "eth0", SourceOptions{EtherTypes: []uint16{unix.ETH_P_IP}, SnapLen: 60})
	burst(t, client, 5000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	packets := s.Packets()
	if len(packets) != 5000 {
		t.Errorf("got %d packets, want 5000", len(packets))
	}
	for i, p := range packets {
		if len(p.Data) != 60 || p.OrigLen != 142 {
			t.Fatalf("packet %d: got %d of %d bytes, want 60 of 142", i, len(p.Data), p.OrigLen)
		}
	}
	checkStats(t, "client", s, 0)
	rest, err := s.From(t.Context(), 4999)
	if len(rest) != 1 || err != nil {
		t.Errorf("got %d packets after 4999 and %v, want 1", len(rest), err)
	}
	if _, err := s.From(t.Context(), 5000); err != io.EOF {
		t.Errorf("got %v after the last packet of a closed source, want %v", err, io.EOF)
	}
}

// TestSourceCloseUnderReaders catches a Close that hangs, or leaves a waiting reader, a goroutine or a descriptor behind.
func TestSourceCloseUnderReaders(t *testing.T) {
	client, _ := pair(t)
	goroutines, files := runtime.NumGoroutine(), countFiles(t)
	for range 10 {
		s := openIn(t, client, "eth0", SourceOptions{EtherTypes: []uint16{}}) // takes nothing: readers block
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if p, err := s.From(context.Background(), 0); err != io.EOF {
					t.Errorf("got %d packets, %v, want %v", len(p), err, io.EOF)
				}
			})
			wg.Go(func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
		}
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Errorf("close again: %v", err)
		}
		if err := s.Err(); err != nil {
			t.Errorf("got error %v of a closed source, want none", err)
		}
	}
	if got := countFiles(t); got > files {
		t.Errorf("got %d open descriptors, want at most the %d of before", got, files)
	}
	// A goroutine that is done is counted until it has left.
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > goroutines && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if got := runtime.NumGoroutine(); got > goroutines {
		t.Errorf("got %d goroutines, want at most the %d of before", got, goroutines)
	}
}

func countFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestSourceInterfaceGoes catches a capture that hangs silently when its interface goes down or away, and packets from before that are
// lost.
func TestSourceInterfaceGoes(t *testing.T) {
	for name, arg := range map[string][]string{
		"down":    {"link", "set", "eth0", "down"},
		"removed": {"link", "del", "eth0"},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := pair(t)
			client.ip(t, "neigh", "add", "10.99.0.2", "lladdr", "02:00:00:00:00:02", "dev", "eth0", "nud", "permanent")
			s := openIn(t, client, "eth0", SourceOptions{EtherTypes: []uint16{unix.ETH_P_IP}})
			burst(t, client, 3)
			client.ip(t, arg...)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var err error
			for n := 0; err == nil; {
				var p []Packet
				p, err = s.From(ctx, n)
				n += len(p)
			}
			if !errors.Is(err, unix.ENETDOWN) {
				t.Errorf("got %v, want %v", err, unix.ENETDOWN)
			}
			if got := len(s.Packets()); got != 3 {
				t.Errorf("got %d packets, want the 3 from before", got)
			}
			if err := s.Close(); !errors.Is(err, unix.ENETDOWN) {
				t.Errorf("close: got %v, want %v", err, unix.ENETDOWN)
			}
		})
	}
}

// TestSourceLimit catches a capture that eats all memory, or that ends at its limit without a word.
func TestSourceLimit(t *testing.T) {
	client, _ := pair(t)
	client.ip(t, "neigh", "add", "10.99.0.2", "lladdr", "02:00:00:00:00:02", "dev", "eth0", "nud", "permanent")
	s := openIn(t, client, "eth0", SourceOptions{EtherTypes: []uint16{unix.ETH_P_IP}, MaxBytes: 3*(recordCost+142) + 100})
	burst(t, client, 10)
	<-s.done
	if err := s.Err(); !errors.Is(err, errLimit) {
		t.Errorf("got %v, want %v", err, errLimit)
	}
	if got := len(s.Packets()); got != 3 {
		t.Errorf("got %d packets, want 3", got)
	}
}

// TestOpenErrors catches a capture that starts on an interface where it can never see anything.
func TestOpenErrors(t *testing.T) {
	n := newNamespace(t)
	n.ip(t, "link", "add", "down0", "type", "veth", "peer", "name", "down1")
	n.ip(t, "tuntap", "add", "tun0", "mode", "tun")
	n.ip(t, "link", "set", "tun0", "up")
	tests := []struct {
		name, iface, want string
		is                error
	}{
		{name: "no such interface", iface: "eth9", is: unix.ENODEV},
		{name: "down", iface: "down0", is: unix.ENETDOWN},
		{name: "name too long", iface: "an-interface-name-of-too-many-letters", is: unix.EINVAL},
		{name: "not Ethernet", iface: "tun0", want: "capture on tun0: hardware type 65534 with addresses of 0 bytes: want Ethernet"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := countFiles(t)
			var err error
			n.do(func() { _, err = Open(tt.iface, SourceOptions{}) })
			if tt.is != nil && !errors.Is(err, tt.is) || tt.want != "" && fmt.Sprint(err) != tt.want {
				t.Errorf("got %v, want %v%s", err, tt.is, tt.want)
			}
			if got := countFiles(t); got > before {
				t.Errorf("got %d open descriptors, want at most the %d of before", got, before)
			}
		})
	}
}

// TestReadStamp is the negative control of every stamp: one that was made in reading must not pass. A pair of UNIX sockets makes both
// kinds: the kernel stamps a message as it is sent where the receiver asked before, and as it is read where the receiver asked after.
func TestReadStamp(t *testing.T) {
	for _, tt := range []struct {
		name string
		late bool // SO_TIMESTAMPNS after the message was sent
	}{{"asked before", false}, {"asked after", true}} {
		t.Run(tt.name, func(t *testing.T) {
			fd, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd[0])
			defer unix.Close(fd[1])
			ask := func() {
				if err := unix.SetsockoptInt(fd[1], unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
					t.Fatal(err)
				}
			}
			if !tt.late {
				ask()
			}
			if _, err := unix.Write(fd[0], []byte("probe")); err != nil {
				t.Fatal(err)
			}
			if tt.late {
				ask()
			}
			_, err = recvmsg(fd[1], make([]byte, 8), make([]byte, 128)) // a good stamp gets as far as the address, which is no link-layer one
			if got := errors.Is(err, errReadStamp); err == nil || got != tt.late {
				t.Errorf("got read stamp %v, want %v: %v", got, tt.late, err)
			}
			if _, err := recvmsg(fd[1], make([]byte, 8), make([]byte, 128)); !errors.Is(err, unix.EAGAIN) {
				t.Errorf("empty queue: got %v, want %v", err, unix.EAGAIN)
			}
		})
	}
}

// TestTold catches a message without a stamp that gets one from somewhere.
func TestTold(t *testing.T) {
	if got, _, err := told(nil); err == nil {
		t.Errorf("got %v without a control message, want an error", got)
	}
	if diff := cmp.Diff(htons(0x0102), uint16(0x0201)); diff != "" {
		t.Errorf("htons (-want +got):\n%s", diff)
	}
}
