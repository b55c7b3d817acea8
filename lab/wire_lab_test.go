//go:build lab

package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/evidence"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/pcapout"
	"github.com/tcplab/tcplab/sysctl"
)

// TestDrop catches a counter that is another rule's, that misses a packet or counts one twice, and a rule that drops more than it says.
func TestDrop(t *testing.T) {
	labtest.Need(t, labtest.IPTables)
	l := build(t, Topology{})
	rules := map[uint16]*Filter{}
	sent := map[uint16]int{8080: 7, 8081: 3, 8082: 0}
	for _, port := range []uint16{8080, 8081, 8082} {
		f, err := l.Server.Drop(t.Context(), DropSYN(port))
		if err != nil {
			t.Fatal(err)
		}
		rules[port] = f
	}
	for port, n := range sent {
		sendSYNs(t, l.Client, l.Server, port, n)
	}
	sendSYNs(t, l.Client, l.Server, 8083, 2) // no rule catches these
	for port, n := range sent {
		counts(t, rules[port], uint64(n))
	}
	if got := l.Server.Rules(); len(got) != 3 || got[1] != rules[8081] || len(l.Client.Rules()) != 0 {
		t.Errorf("rules: got %v, want the three of the server in order", got)
	}
	run(t, l.Server, "iptables", "-F", "INPUT")
	if _, _, err := rules[8081].Count(t.Context()); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("count a rule that somebody took away: got %v, want that it is gone", err)
	}
	if _, err := l.Server.Drop(t.Context(), Rule{Chain: "NOWHERE"}); err == nil || !strings.HasPrefix(err.Error(), "server: iptables -t filter -A NOWHERE") {
		t.Errorf("rule in a chain that does not exist: got %v, want an error with the command", err)
	}
}

// TestAfterCapture checks what Rule.AfterCapture promises against real captures: what INPUT drops was seen at its host, what OUTPUT drops
// was not, and Matches agrees with iptables on what was dropped.
func TestAfterCapture(t *testing.T) {
	labtest.Need(t, labtest.IPTables)
	output := DropSYN(8081)
	output.Chain = "OUTPUT"
	for _, tt := range []struct {
		name string
		rule Rule
		at   func(*Lab) *Host
	}{
		{"INPUT of the server", DropSYN(8080), func(l *Lab) *Host { return l.Server }},
		{"OUTPUT of the client", output, func(l *Lab) *Host { return l.Client }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := build(t, Topology{Baseline: sysctl.Baseline}) // without IPv6's own packets
			h := tt.at(l)
			f, err := h.Drop(t.Context(), tt.rule)
			if err != nil {
				t.Fatal(err)
			}
			src, err := h.Capture(pcapout.SourceOptions{})
			if err != nil {
				t.Fatal(err)
			}
			const marker = 9 // a SYN that no rule drops, sent last: when it is seen, the others would have been
			sendSYNs(t, l.Client, l.Server, tt.rule.ToPort, 4)
			sendSYNs(t, l.Client, l.Server, marker, 1)
			counts(t, f, 4)
			seen, marked := 0, false
			look := func() bool {
				seen, marked = 0, false
				for _, p := range src.Packets() {
					s, err := pcapout.Decode(pcapout.LinkEthernet, p)
					if err != nil {
						t.Fatal(err)
					}
					if tt.rule.Matches(s) {
						seen++
					}
					marked = marked || s.Dst.Port() == marker
				}
				return marked
			}
			if !eventually(look) {
				t.Fatal("the last SYN was not captured")
			}
			want := 0
			if tt.rule.AfterCapture() {
				want = 4
			}
			if seen != want {
				t.Errorf("got %d of the dropped SYNs in the capture, want %d (AfterCapture is %v)", seen, want, tt.rule.AfterCapture())
			}
		})
	}
}

// sample waits until inet_diag shows a connection of the host in a state.
func sample(t *testing.T, h, peer *Host, port, peerPort uint16, state string) evidence.Socket {
	t.Helper()
	var d *evidence.Diag
	if err := h.Do(func() (err error) { d, err = evidence.Open(); return err }); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var s evidence.Socket
	var err error
	if !eventually(func() bool { s, err = d.Look(h.Port(port), peer.Port(peerPort)); return err != nil || s.State == state }) || err != nil {
		t.Fatalf("got %+v, %v, want %s", s, err, state)
	}
	return s
}

// TestListen catches a server that answers wrongly, and keepalive that is on where nobody asked for it: an idle socket with it has a
// timer, which the kernel shows.
func TestListen(t *testing.T) {
	for _, tt := range []struct {
		name   string
		listen ListenOptions
		port   uint16
		timer  string
	}{
		{"HTTP", ListenOptions{}, 8080, ""},
		{"HTTP with keepalive", ListenOptions{Port: 8081, KeepAlive: true}, 8081, "keepalive"},
		{"echo", ListenOptions{Port: 7, Service: Echo}, 7, ""},
		{"echo with keepalive", ListenOptions{Port: 7, Service: Echo, KeepAlive: true}, 7, "keepalive"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			var connecting Event
			l := build(t, Topology{Observe: func(host string, e Event) {
				mu.Lock()
				defer mu.Unlock()
				if e.Event == Connecting && host == "client" {
					connecting = e
				}
			}})
			s, err := l.Server.Listen(t.Context(), tt.listen)
			if err != nil {
				t.Fatal(err)
			}
			c, err := l.Client.Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Connect(t.Context(), s.Addr, DialOptions{}); err != nil {
				t.Fatal(err)
			}
			talk(t, c, tt.listen.Service == Echo)
			mu.Lock()
			local := connecting.Local
			mu.Unlock()
			// A segment that is not acknowledged yet has a timer of its own.
			var got evidence.Socket
			if !eventually(func() bool {
				got = sample(t, l.Server, l.Client, tt.port, local.Port(), "ESTABLISHED")
				return got.Timer == tt.timer
			}) {
				t.Errorf("accepted socket: got timer %q, want %q", got.Timer, tt.timer)
			}
			if got := sample(t, l.Client, l.Server, local.Port(), tt.port, "ESTABLISHED"); got.Timer == "keepalive" || connecting.KeepAlive {
				t.Errorf("client's socket: got timer %q, want no keepalive", got.Timer)
			}
			for range 2 {
				if err := s.Close(); err != nil {
					t.Errorf("close the server: %v", err)
				}
			}
			sample(t, l.Server, l.Client, tt.port, 0, evidence.Closed)
			if tt.listen.Service == Echo {
				if e, err := c.Receive(t.Context(), ReceiveOptions{}); err != nil || e.Bytes != 0 {
					t.Errorf("after the server closed: got %+v, %v, want the end of the stream", e, err)
				}
			}
		})
	}
}

// talk sends something and checks the answer.
func talk(t *testing.T, c *Client, echo bool) {
	t.Helper()
	if !echo {
		if e, err := c.Get(t.Context(), "/page", 0); err != nil || e.Status != 200 || e.Bytes != len("tcplab: you asked for /page\n") {
			t.Errorf("GET /page: got %+v, %v, want 200 with %d bytes", e, err, len("tcplab: you asked for /page\n"))
		}
		return
	}
	if _, err := c.Send(t.Context(), "hello\r\n", 0); err != nil {
		t.Fatal(err)
	}
	if e, err := c.Receive(t.Context(), ReceiveOptions{}); err != nil || e.Data != "hello\r\n" {
		t.Errorf("got %+v, %v, want hello", e, err)
	}
}

// TestListenFails catches a second listener on a port that is taken for one that works.
func TestListenFails(t *testing.T) {
	l := build(t, Topology{})
	if _, err := l.Server.Listen(t.Context(), ListenOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Server.Listen(t.Context(), ListenOptions{}); !errors.Is(err, unix.EADDRINUSE) || !strings.HasPrefix(err.Error(), "server: listen on 10.99.0.2:8080: ") {
		t.Errorf("got %v, want EADDRINUSE with host and address", err)
	}
}

// TestConnectFails catches a connect(2) that fails and whose error or time is lost.
func TestConnectFails(t *testing.T) {
	labtest.Need(t, labtest.IPTables)
	l := build(t, Topology{})
	c, err := l.Client.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var refused *ConnectError
	if err := c.Connect(t.Context(), l.Server.Port(1), DialOptions{}); !errors.As(err, &refused) || refused.Errno != "ECONNREFUSED" || refused.At == 0 {
		t.Errorf("nobody listens: got %v, want ECONNREFUSED with its time", err)
	}
	if _, err := c.Send(t.Context(), "x", 0); err == nil || !strings.HasPrefix(err.Error(), "client: write: ") {
		t.Errorf("send without a connection: got %v, want an error of write", err)
	}
	if _, err := l.Server.Drop(t.Context(), DropSYN(8080)); err != nil {
		t.Fatal(err)
	}
	short := DialOptions{SocketOptions: SocketOptions{UserTimeout: 100 * time.Millisecond}}
	if err := c.Connect(t.Context(), l.Server.Port(8080), short); !errors.As(err, &refused) || refused.Errno != "ETIMEDOUT" {
		t.Errorf("dropped: got %v, want ETIMEDOUT", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Connect(ctx, l.Server.Port(8080), DialOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("given up: got %v, want %v", err, context.DeadlineExceeded)
	}
	for range 2 {
		if err := c.Close(); err != nil { // while connect(2) still waits
			t.Errorf("close: %v", err)
		}
	}
	if _, err := c.Send(t.Context(), "x", 0); err == nil {
		t.Error("send after close: got no error, want one")
	}
}

// TestClientDies catches a client process that ends by itself and is waited for in vain, or without its reason.
func TestClientDies(t *testing.T) {
	l := build(t, Topology{})
	c, err := l.Client.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(t.Context(), ReceiveOptions{}); err == nil || !strings.Contains(fmt.Sprint(err), "client process") {
		t.Errorf("got %v, want that the client process ended", err)
	}
}
