//go:build lab

package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/evidence"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/pcapout"
	"github.com/tcplab/tcplab/sysctl"
)

// log collects what Observe is told.
type log struct {
	mu     sync.Mutex
	events []Event
	hosts  []string
}

func (o *log) observe(host string, e Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events, o.hosts = append(o.events, e), append(o.hosts, host)
}

// of returns the events of a host and of one of the kinds so far.
func (o *log) of(host string, kinds ...any) []Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []Event
	for i, e := range o.events {
		if o.hosts[i] == host && (len(kinds) == 0 || slices.Contains(kinds, any(e.Event))) {
			out = append(out, e)
		}
	}
	return out
}

// TestConnectionDies catches an end of a connection that a waiting client does not learn, or learns with another errno or time.
func TestConnectionDies(t *testing.T) {
	labtest.Need(t, labtest.IPTables)
	for _, tt := range []struct {
		name     string
		rule     func(*Lab) (*Host, Rule)
		dial     SocketOptions
		send     bool
		errno    string
		min, max time.Duration
	}{
		{"nobody acknowledges: TCP_USER_TIMEOUT", func(l *Lab) (*Host, Rule) { return l.Client, DropAllFrom(l.Server.Addr) },
			SocketOptions{UserTimeout: 500 * time.Millisecond}, true, "ETIMEDOUT", 450 * time.Millisecond, 20 * time.Second},
		{"reset", func(l *Lab) (*Host, Rule) { return l.Server, Rule{Chain: "INPUT", ToPort: 8080, Reject: "tcp-reset"} },
			SocketOptions{}, true, "ECONNRESET", 0, 10 * time.Second},
		{"keepalive of the socket: 1 s + 2 times 1 s", func(l *Lab) (*Host, Rule) { return l.Server, DropACK(8080) },
			SocketOptions{KeepAlive: true, KeepIdle: time.Second, KeepInterval: time.Second, KeepCount: 2}, false, "ETIMEDOUT", 3 * time.Second, 20 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var seen log
			l := build(t, Topology{Baseline: sysctl.Baseline, Observe: seen.observe})
			from := mono() // before there is a connection: its timers begin later
			_, c := connect(t, l, ListenOptions{Service: Sink}, DialOptions{SocketOptions: tt.dial})
			h, rule := tt.rule(l)
			if _, err := h.Drop(t.Context(), rule); err != nil {
				t.Fatal(err)
			}
			if tt.send {
				e, err := c.Send(t.Context(), "123456", mono()+20*time.Millisecond)
				if err != nil || e.Bytes != 6 || e.Calls != 1 || e.After < e.Before {
					t.Fatalf("send: got %+v, %v, want 6 bytes in one call", e, err)
				}
				from = e.Before
			}
			_, err := c.Receive(t.Context(), ReceiveOptions{})
			var failed *CallError
			if !errors.As(err, &failed) || failed.Call != "read" || failed.Errno != tt.errno || !strings.HasPrefix(err.Error(), "client: read: "+tt.errno) {
				t.Fatalf("got %v, want %s of read", err, tt.errno)
			}
			if took := failed.At - from; took < tt.min || took > tt.max {
				t.Errorf("got it after %v, want %v to %v", took, tt.min, tt.max)
			}
			if calls := seen.of("client", Calling); len(calls) != 1 || calls[0].Call != "read" || calls[0].Before == 0 || calls[0].Before > failed.At {
				t.Errorf("told before it blocked: got %+v, want read", calls)
			}
		})
	}
}

// TestTime catches verbs that start before their time, tell other times than their system call's, or do not stop waiting.
func TestTime(t *testing.T) {
	l := build(t, Topology{Baseline: sysctl.Baseline})
	_, c := connect(t, l, ListenOptions{}, DialOptions{})
	for _, verb := range []struct {
		name string
		call func(at time.Duration) (Event, error)
		kind any
	}{
		{"send", func(at time.Duration) (Event, error) {
			return c.Send(t.Context(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n", at)
		}, Sent},
		{"receive", func(at time.Duration) (Event, error) { return c.Receive(t.Context(), ReceiveOptions{At: at}) }, Received},
		{"receive until", func(at time.Duration) (Event, error) { return c.Receive(t.Context(), ReceiveOptions{Until: at}) }, Quiet},
		{"get", func(at time.Duration) (Event, error) { return c.Get(t.Context(), "/", at) }, Response},
		{"write", func(at time.Duration) (Event, error) { return c.Write(t.Context(), 1, 5, at) }, Sent},
		{"shutdown", func(at time.Duration) (Event, error) { return c.Shutdown(t.Context(), at) }, ShutDown},
		{"hangup", func(at time.Duration) (Event, error) { return c.Hangup(t.Context(), at) }, Closed},
	} {
		at := mono() + 30*time.Millisecond
		e, err := verb.call(at)
		if verb.kind == Quiet {
			if !errors.Is(err, ErrQuiet) {
				t.Errorf("%s: got %v, want %v", verb.name, err, ErrQuiet)
			}
		} else if err != nil {
			t.Fatalf("%s: %v", verb.name, err)
		}
		if any(e.Event) != verb.kind || e.At < at || e.At > at+10*time.Second {
			t.Errorf("%s: got %+v, want %v from %v on", verb.name, e, verb.kind, at)
		}
		if verb.kind == Sent || verb.kind == ShutDown || verb.kind == Closed {
			if e.Before < at || e.After < e.Before || e.At < e.After {
				t.Errorf("%s: got %+v, want its call after %v", verb.name, e, at)
			}
		}
	}
	if _, err := c.Write(t.Context(), 0, 1, 0); err == nil {
		t.Error("write nothing: got no error, want one")
	}
	if _, err := c.Shutdown(t.Context(), 0); err == nil {
		t.Error("shutdown without a connection: got no error, want one")
	}
}

// TestServerCloses catches a server that closes at another time than it was told to, or does not tell.
func TestServerCloses(t *testing.T) {
	const delay = 60 * time.Millisecond
	for _, tt := range []struct {
		name   string
		listen ListenOptions
		first  bool // the server closes first
	}{
		{"after the FIN", ListenOptions{}, false},
		{"after the FIN, late", ListenOptions{CloseDelay: delay}, false},
		{"after the answer", ListenOptions{Close: AfterAnswer}, true},
		{"after the answer, late", ListenOptions{Close: AfterAnswer, CloseDelay: delay}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var seen log
			l := build(t, Topology{Baseline: sysctl.Baseline, Observe: seen.observe})
			_, c := connect(t, l, tt.listen, DialOptions{})
			if _, err := c.Get(t.Context(), "/", 0); err != nil {
				t.Fatal(err)
			}
			silence := 200 * time.Millisecond
			if tt.first {
				silence = 10 * time.Second // ends with the FIN, however late a busy server sends it
			}
			e, err := c.Receive(t.Context(), ReceiveOptions{Until: mono() + silence})
			if tt.first && (err != nil || e.Bytes != 0) || !tt.first && !errors.Is(err, ErrQuiet) {
				t.Fatalf("after the answer: got %+v, %v, want that the server closed: %v", e, err, tt.first)
			}
			if e, err := c.Hangup(t.Context(), 0); err != nil || e.Before == 0 || e.After < e.Before {
				t.Errorf("hangup: got %+v, %v, want its times", e, err)
			}
			if !eventually(func() bool { return len(seen.of("server", Closed)) == 1 }) {
				t.Fatalf("the server told %+v, want that it closed", seen.of("server"))
			}
			var kinds []string
			for _, e := range seen.of("server") {
				kinds = append(kinds, string(e.Event))
				if e.At == 0 || e.Local.Port() != 8080 || e.Remote.Addr() != l.Client.Addr {
					t.Errorf("got %+v, want its time and both addresses", e)
				}
			}
			want := "accepted received sent received closed"
			if tt.first {
				want = "accepted received sent closed"
			}
			if got := strings.Join(kinds, " "); got != want {
				t.Errorf("the server told %s, want %s", got, want)
			}
			events := seen.of("server")
			closed, cause := events[len(events)-1], events[len(events)-2]
			if waited := closed.Before - cause.At; waited < tt.listen.CloseDelay || waited > tt.listen.CloseDelay+10*time.Second {
				t.Errorf("closed %v after its cause, want %v", waited, tt.listen.CloseDelay)
			}
			if closed.Bytes != events[1].Bytes || closed.Bytes == 0 {
				t.Errorf("closed: got %d bytes in all, want %d", closed.Bytes, events[1].Bytes)
			}
		})
	}
}

// TestServices catches a server that answers where it should be silent, and one that accepts where it should not.
func TestServices(t *testing.T) {
	l := build(t, Topology{Baseline: sysctl.Baseline})
	s, c := connect(t, l, ListenOptions{Service: Sink}, DialOptions{})
	if _, err := c.Write(t.Context(), 100, 1448, 0); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return s.Received() == 144_800 }) {
		t.Errorf("sink: got %d bytes, want 144800", s.Received())
	}
	if e, err := c.Receive(t.Context(), ReceiveOptions{Until: mono() + 50*time.Millisecond}); !errors.Is(err, ErrQuiet) {
		t.Errorf("sink: got %+v, %v, want nothing", e, err)
	}

	hold, err := l.Server.Listen(t.Context(), ListenOptions{Port: 9, Service: Hold, Backlog: 1})
	if err != nil {
		t.Fatal(err)
	}
	// A queue of length 1 takes two: sk_acceptq_is_full compares with >.
	for i, want := range []string{"", "", "ETIMEDOUT"} {
		c, err := l.Client.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = c.Connect(t.Context(), hold.Addr, DialOptions{SocketOptions: SocketOptions{UserTimeout: 100 * time.Millisecond}})
		var failed *CallError
		if errors.As(err, &failed) != (want != "") || want != "" && failed.Errno != want {
			t.Errorf("connection %d to a listener that holds: got %v, want %q", i+1, err, want)
		}
	}
	for _, bad := range []ListenOptions{{Port: 10, Service: "dance"}, {Port: 10, Close: "sometime"}, {Port: 10, Service: Sink, Close: AfterAnswer},
		{Port: 10, Close: Never}, {Port: 10, Service: Echo, Close: AfterAccept}} {
		if _, err := l.Server.Listen(t.Context(), bad); err == nil {
			t.Errorf("%+v: got no error, want one", bad)
		}
	}
}

// TestServerOptions catches an option of the listener that accepted sockets do not have, or have without being asked for.
func TestServerOptions(t *testing.T) {
	for _, tt := range []struct {
		name   string
		listen ListenOptions
		idle   time.Duration // of the keepalive timer; 0: none
	}{
		{"none", ListenOptions{Service: Echo}, 0},
		{"keepalive by the sysctl", ListenOptions{Service: Echo, KeepAlive: true}, 2 * time.Hour},
		{"keepalive of its own", ListenOptions{Service: Echo, KeepAlive: true, KeepIdle: 40 * time.Second, KeepInterval: time.Second, KeepCount: 1, NoDelay: true}, 40 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var seen log
			l := build(t, Topology{Baseline: sysctl.Baseline, Observe: seen.observe})
			_, c := connect(t, l, tt.listen, DialOptions{})
			talk(t, c, true)
			local := seen.of("client", Connecting)[0].Local
			var got evidence.Socket
			want := ""
			if tt.idle > 0 {
				want = "keepalive"
			}
			if !eventually(func() bool {
				got = sample(t, l.Server, l.Client, 8080, local.Port(), "ESTABLISHED")
				return got.Timer == want
			}) || got.Expires > tt.idle || got.Expires < tt.idle-15*time.Second && tt.idle > 0 {
				t.Errorf("got timer %q in %v, want %q in %v", got.Timer, got.Expires, want, tt.idle)
			}
			eventually(func() bool { return len(seen.of("server", Accepted)) > 0 }) // the server tells on a goroutine of its own
			if accepted := seen.of("server", Accepted); len(accepted) != 1 || accepted[0].KeepAlive != tt.listen.KeepAlive {
				t.Errorf("accepted: got %+v, want keepalive %v", accepted, tt.listen.KeepAlive)
			}
		})
	}
}

// TestFastOpen catches data that does not go with the SYN, or goes twice, and a cookie that outlives FlushMetrics.
func TestFastOpen(t *testing.T) {
	var seen log
	l := build(t, Topology{Baseline: sysctl.Baseline, Observe: seen.observe})
	for _, h := range l.hosts() {
		if _, err := h.Set("net.ipv4.tcp_fastopen", "3", "a test"); err != nil {
			t.Fatal(err)
		}
	}
	src, err := l.Server.Capture(pcapout.SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Server.Listen(t.Context(), ListenOptions{Service: Echo, FastOpen: 5})
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Client.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const text = "hello, fast open"
	once := func() {
		t.Helper()
		e, err := c.ConnectSend(t.Context(), s.Addr, text, DialOptions{At: mono() + 5*time.Millisecond})
		if err != nil || e.Bytes != len(text) || e.Before == 0 || e.After < e.Before {
			t.Fatalf("got %+v, %v, want %d bytes sent", e, err, len(text))
		}
		if e, err := c.Receive(t.Context(), ReceiveOptions{}); err != nil || e.Data != text {
			t.Fatalf("got %+v, %v, want the echo, once", e, err)
		}
		if _, err := c.Hangup(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	once() // asks for a cookie
	once() // has it
	if err := l.Client.FlushMetrics(); err != nil {
		t.Fatal(err)
	}
	once() // asks again
	once()
	var took, carried []int
	for _, e := range seen.of("client", Connecting) {
		took = append(took, e.Bytes)
	}
	isSYN := func(g pcapout.Segment) bool { return g.Flags.Has(pcapout.SYN) && !g.Flags.Has(pcapout.ACK) }
	for _, g := range awaitSegments(t, src, 4, isSYN) {
		if isSYN(g) {
			carried = append(carried, g.Length)
		}
	}
	want := []int{0, len(text), 0, len(text)}
	if !slices.Equal(took, want) || !slices.Equal(carried, want) {
		t.Errorf("with the SYN: the kernel took %v, the capture shows %v, want %v", took, carried, want)
	}

	if _, err := l.Client.Set("net.ipv4.tcp_fastopen", "2", "a test"); err != nil {
		t.Fatal(err)
	}
	var failed *CallError
	if _, err := c.ConnectSend(t.Context(), s.Addr, text, DialOptions{}); !errors.As(err, &failed) || failed.Errno != "EOPNOTSUPP" || failed.Call != "sendto" {
		t.Errorf("without the client's bit: got %v, want EOPNOTSUPP of sendto", err)
	}
	if _, err := l.Client.Set("net.ipv4.tcp_fastopen", "1", "a test"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ConnectSend(t.Context(), l.Server.Port(1), text, DialOptions{}); !errors.As(err, &failed) || failed.Errno != "ECONNREFUSED" || failed.Call != "connect" {
		t.Errorf("nobody listens: got %v, want ECONNREFUSED of connect", err)
	}
	once() // and the process can still connect
}

// TestInitialWindow catches a route attribute that is not applied, at either end's first flight: nothing is acknowledged, so all of it stays.
func TestInitialWindow(t *testing.T) {
	labtest.Need(t, labtest.IPTables)
	for _, window := range []int{0, 4, 20} {
		l := build(t, Topology{Baseline: sysctl.Baseline})
		if err := l.Client.InitialWindow(7); err != nil {
			t.Fatal(err)
		}
		if err := l.Client.InitialWindow(window); err != nil {
			t.Fatal(err)
		}
		_, c := connect(t, l, ListenOptions{Service: Sink}, DialOptions{SocketOptions: SocketOptions{MaxSeg: 1012}})
		if _, err := l.Client.Drop(t.Context(), DropAllFrom(l.Server.Addr)); err != nil {
			t.Fatal(err)
		}
		src, err := l.Server.Capture(pcapout.SourceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(t.Context(), 40, 1000, 0); err != nil {
			t.Fatal(err)
		}
		want := window
		if want == 0 {
			want = 10 // TCP_INIT_CWND
		}
		first := func() int { // segments before the first one that comes again
			n, next := 0, uint32(0)
			for _, g := range segments(t, src) {
				if g.Length > 0 && (next == 0 || g.Seq == next) {
					n, next = n+1, g.Seq+uint32(g.Length)
				}
			}
			return n
		}
		eventually(func() bool { return first() >= want })
		if _, err := c.Receive(t.Context(), ReceiveOptions{Until: mono() + 50*time.Millisecond}); !errors.Is(err, ErrQuiet) {
			t.Errorf("got %v, want %v", err, ErrQuiet)
		}
		// A tail loss probe may send one new segment (tcp_send_loss_probe).
		if got := first(); got != want && got != want+1 {
			t.Errorf("initcwnd %d: got a first flight of %d segments, want %d, and one more at most", window, got, want)
		}
	}
	l := build(t, Topology{})
	if err := l.Client.InitialWindow(-1); err == nil {
		t.Error("window of -1: got no error, want one")
	}
}

// TestSetLink catches a link that does not come back as it was: with its route, window and neighbour.
func TestSetLink(t *testing.T) {
	l := build(t, Topology{Baseline: sysctl.Baseline})
	if err := l.Client.InitialWindow(5); err != nil {
		t.Fatal(err)
	}
	state := func() string {
		return fmt.Sprint(run(t, l.Client, "ip", "route"), run(t, l.Client, "ip", "neighbour"), run(t, l.Client, "ip", "-o", "-4", "address", "show", "dev", "eth0"))
	}
	before := state()
	if !strings.Contains(before, "initcwnd 5") || !strings.Contains(before, "PERMANENT") {
		t.Fatalf("got %s, want the window and the neighbour", before)
	}
	_, c := connect(t, l, ListenOptions{Service: Echo}, DialOptions{})
	talk(t, c, true)
	if _, err := c.Hangup(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := l.Client.SetLink(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	var failed *CallError
	if err := c.Connect(t.Context(), l.Server.Port(8080), DialOptions{}); !errors.As(err, &failed) || failed.Errno != "ENETUNREACH" {
		t.Errorf("link down: got %v, want ENETUNREACH", err)
	}
	for _, h := range []*Host{l.Client, l.Server} {
		if err := h.SetLink(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if h == l.Server {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			if err := l.Client.SetLink(ctx, true); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("up, with the other end down: got %v, want that it never carries", err)
			}
			cancel()
		}
	}
	if err := l.Server.SetLink(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if err := l.Client.SetLink(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if after := state(); after != before {
		t.Errorf("up again: got\n%swant\n%s", after, before)
	}
	if err := c.Connect(t.Context(), l.Server.Port(8080), DialOptions{}); err != nil {
		t.Fatal(err)
	}
	talk(t, c, true)
}

// TestNoNeighbours catches entries that are there though they were not wanted. ARP finds the peer where it answers, and connect(2) fails
// where nobody does.
func TestNoNeighbours(t *testing.T) {
	labtest.Need(t, labtest.Command("ip"))
	var seen log
	l := build(t, Topology{Baseline: sysctl.Baseline, NoNeighbours: true, Observe: seen.observe})
	if got := run(t, l.Client, "ip", "neighbour"); strings.Contains(got, "PERMANENT") {
		t.Errorf("got %q, want no permanent entry", got)
	}
	_, c := connect(t, l, ListenOptions{Service: Echo}, DialOptions{})
	talk(t, c, true)
	if _, err := c.Hangup(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return len(seen.of("server", Closed)) > 0 }) { // an acknowledgement of its FIN would ask for the peer too early
		t.Fatal("the server did not close")
	}
	run(t, l.Server, "ip", "link", "set", "eth0", "arp", "off")
	run(t, l.Client, "ip", "neighbour", "flush", "all")
	began := mono()
	var failed *CallError
	if err := c.Connect(t.Context(), l.Server.Port(8080), DialOptions{}); !errors.As(err, &failed) || failed.Errno != "EHOSTUNREACH" {
		t.Errorf("nobody answers ARP: got %v, want EHOSTUNREACH", err)
	} else if took := failed.At - began; took < 2*time.Second || took > 10*time.Second {
		t.Errorf("nobody answers ARP: got it after %v, want about 3 s", took)
	}
}
