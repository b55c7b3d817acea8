//go:build lab

package agent

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

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

var lost = netip.MustParseAddrPort("10.9.0.2:8080")

// inside starts an agent in the namespace.
func inside(t *testing.T, n *netns.Namespace) *program {
	t.Helper()
	p := command(t)
	if err := n.Do(p.cmd.Start); err != nil {
		t.Fatal(err)
	}
	return p.ready()
}

func listen(t *testing.T, n *netns.Namespace) net.Listener {
	t.Helper()
	var l net.Listener
	if err := n.Do(func() (err error) { l, err = net.Listen("tcp", "127.0.0.1:0"); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// TestTelnet catches a send or receive that loses bytes, an end of stream that is not told, and a second connection that is refused
// after a close.
func TestTelnet(t *testing.T) {
	n := namespace(t)
	l := listen(t, n)
	p := inside(t, n)
	for range 2 {
		p.ask(Request{Op: Connect, To: netip.MustParseAddrPort(l.Addr().String())})
		c := p.want(Connecting, "")
		if c.Before <= 0 || c.After < c.Before || !c.Local.IsValid() || c.KeepAlive {
			t.Errorf("connecting: got %+v, want before <= after, a local address, keepalive off", c)
		}
		if e := p.want(Connected, ""); e.At < c.Before || e.Local != c.Local {
			t.Errorf("connected: got %+v, want the same socket after %v", e, c.Before)
		}
		p.ask(Request{Op: Connect, To: lost})
		p.want(Failed, "")
		p.ask(Request{Op: Send, Data: "x"}) // the connection that there was must still be there
		p.want(Sent, "")
		p.ask(Request{Op: Close})
		p.want(Closed, "")
		if s, err := l.Accept(); err != nil {
			t.Fatal(err)
		} else {
			s.Close()
		}
	}
	p.ask(Request{Op: Connect, To: netip.MustParseAddrPort(l.Addr().String())})
	p.want(Connecting, "")
	p.want(Connected, "")
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	text := strings.Repeat("0123456789\n", 1000)
	p.ask(Request{Op: Send, Data: text})
	if e := p.want(Sent, ""); e.Bytes != len(text) {
		t.Errorf("sent: got %d bytes, want %d", e.Bytes, len(text))
	}
	buf := make([]byte, len(text))
	for got := 0; got < len(buf); {
		k, err := s.Read(buf[got:])
		if err != nil {
			t.Fatal(err)
		}
		got += k
	}
	if string(buf) != text {
		t.Error("the peer read other bytes than were sent")
	}
	if _, err := s.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	p.ask(Request{Op: Receive})
	p.want(Calling, "")
	if e := p.want(Received, ""); e.Data != "answer" || e.Bytes != 6 {
		t.Errorf("received: got %+v, want answer", e)
	}
	s.Close()
	p.ask(Request{Op: Receive})
	p.want(Calling, "")
	if e := p.want(Received, ""); e.Bytes != 0 || e.Data != "" {
		t.Errorf("end of stream: got %+v, want no data", e)
	}
}

// TestGet catches a body that is not read to its end, and a status that is lost.
func TestGet(t *testing.T) {
	n := namespace(t)
	l := listen(t, n)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/page" || r.UserAgent() != Name {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write(make([]byte, 300_000)) // more than a buffer: chunked
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	defer func() { srv.Close(); <-done }()
	p := inside(t, n)
	p.ask(Request{Op: Connect, To: netip.MustParseAddrPort(l.Addr().String())})
	p.want(Connecting, "")
	p.want(Connected, "")
	for _, tt := range []struct {
		path   string
		status int
	}{{"/page", 200}, {"/other", 404}} {
		p.ask(Request{Op: Get, Data: "GET " + tt.path + " HTTP/1.1\r\nHost: server\r\nUser-Agent: " + Name + "\r\n\r\n"})
		p.want(Sent, "")
		if e := p.want(Response, ""); e.Status != tt.status || e.Bytes != 300_000 {
			t.Errorf("%s: got %d with %d bytes, want %d with 300000", tt.path, e.Status, e.Bytes, tt.status)
		}
	}
}

// TestRefused catches an errno that is lost.
func TestRefused(t *testing.T) {
	n := namespace(t)
	p := inside(t, n)
	p.ask(Request{Op: Connect, To: netip.MustParseAddrPort("127.0.0.1:1")})
	p.want(Connecting, "")
	if e := p.want(Failed, "ECONNREFUSED"); e.Call != "connect" {
		t.Errorf("nobody listens: got %+v, want a failed connect", e)
	}
	p.ask(Request{Op: Connect, To: netip.MustParseAddrPort("192.0.2.1:1")})
	p.want(Connecting, "") // the call was made, though it failed at once
	if e := p.want(Failed, "ENETUNREACH"); e.Call != "connect" {
		t.Errorf("no route: got %+v, want a failed connect", e)
	}
}

// TestBlocked catches an agent that does not see its parent go while it waits in connect(2).
func TestBlocked(t *testing.T) {
	n := namespace(t)
	p := inside(t, n)
	p.ask(Request{Op: Connect, To: lost})
	p.want(Connecting, "")
	p.stdin.Close()
	p.exit(0, "")
}

// TestOptions catches options that are accepted and not applied: what the kernel does with the connection shows them. Without them
// connect(2) would take more than a minute.
func TestOptions(t *testing.T) {
	n := namespace(t)
	knobs := map[string]string{"tcp_syn_retries": "6", "tcp_syn_linear_timeouts": "0"}
	if err := n.Do(func() error {
		for name, value := range knobs {
			path := "/proc/sys/net/ipv4/" + name
			if _, err := os.Stat(path); err != nil {
				continue // a kernel without the knob behaves as with 0
			}
			if err := os.WriteFile(path, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		options  Options
		min, max time.Duration
	}{
		{"TCP_SYNCNT=1: 1 s + 2 s", Options{SYNCount: 1}, 3 * time.Second, 10 * time.Second},
		// The kernel cuts only the timers after the first, so it ends with the one that fires at 1 s, or a jiffy later; a busy machine tells it late.
		{"TCP_USER_TIMEOUT=200 ms", Options{UserTimeout: 200 * time.Millisecond}, time.Second, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := inside(t, n)
			p.ask(Request{Op: Connect, To: lost, Options: tt.options})
			c := p.want(Connecting, "")
			e := p.want(Failed, "ETIMEDOUT")
			if took := e.At - c.Before; took < tt.min || took > tt.max {
				t.Errorf("got %v, want %v to %v", took, tt.min, tt.max)
			}
		})
	}
	t.Run("SO_KEEPALIVE and TCP_NODELAY", func(t *testing.T) {
		l := listen(t, n)
		p := inside(t, n)
		p.ask(Request{Op: Connect, To: netip.MustParseAddrPort(l.Addr().String()), Options: Options{KeepAlive: true, NoDelay: true}})
		e := p.want(Connecting, "")
		p.want(Connected, "")
		if !e.KeepAlive {
			t.Error("keepalive: got off, want on")
		}
		if got := timer(t, n, e.Local); got != "02" {
			t.Errorf("timer of the idle socket in /proc/net/tcp: got %s, want 02, keepalive", got)
		}
	})
	t.Run("every other one, read back", func(t *testing.T) {
		l := listen(t, n)
		p := inside(t, n)
		all := Options{SYNCount: 3, KeepAlive: true, KeepIdle: 9 * time.Second, KeepInterval: 8 * time.Second, KeepCount: 7, NoQuickAck: true, MaxSeg: 600,
			ReceiveBuffer: 50_000, SendBuffer: 60_000, RTOMin: 50 * time.Millisecond, RTOMax: 2 * time.Second}
		p.ask(Request{Op: Connect, To: netip.MustParseAddrPort(l.Addr().String()), Options: all})
		p.want(Connecting, "")
		p.want(Connected, "")
	})
	t.Run("changed by the kernel", func(t *testing.T) {
		p := inside(t, n)
		p.ask(Request{Op: Connect, To: lost, Options: Options{ReceiveBuffer: 1 << 30}}) // cut to net.core.rmem_max
		if e := p.want(Failed, ""); !strings.Contains(e.Text, "SO_RCVBUF=1073741824: it reads back as") {
			t.Errorf("got %+v, want an error that names the option", e)
		}
	})
	t.Run("refused by the kernel", func(t *testing.T) {
		p := inside(t, n)
		p.ask(Request{Op: Connect, To: lost, Options: Options{SYNCount: 128}})
		if e := p.want(Failed, "EINVAL"); !strings.Contains(e.Text, "TCP_SYNCNT=128") {
			t.Errorf("got %+v, want an error that names the option", e)
		}
	})
}

// timer reads which timer a local socket has, from the namespace's own /proc/net/tcp.
func timer(t *testing.T, n *netns.Namespace, local netip.AddrPort) string {
	t.Helper()
	var table []byte
	if err := n.Do(func() (err error) { table, err = os.ReadFile("/proc/thread-self/net/tcp"); return err }); err != nil {
		t.Fatal(err)
	}
	port := strings.ToUpper(strconv.FormatUint(uint64(local.Port())|1<<16, 16))[1:]
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 5 && strings.HasSuffix(f[1], ":"+port) && f[3] == "01" {
			return f[5][:2]
		}
	}
	t.Fatalf("no socket with port %s in\n%s", port, table)
	return ""
}

// TestAt catches a connect(2) that starts before its time, or that forgets it.
func TestAt(t *testing.T) {
	n := namespace(t)
	l := listen(t, n)
	p := inside(t, n)
	for _, ahead := range []time.Duration{-time.Hour, 30 * time.Millisecond, 100 * time.Millisecond} {
		at := now() + ahead
		p.ask(Request{Op: Connect, To: netip.MustParseAddrPort(l.Addr().String()), At: at})
		e := p.want(Connecting, "")
		if late := e.Before - max(at, 0); ahead > 0 && (late < 0 || late > 10*time.Second) {
			t.Errorf("asked for %v ahead: got it %v after that, want at its time, and ten seconds at most on a busy machine", ahead, late)
		}
		p.want(Connected, "")
		p.ask(Request{Op: Close})
		p.want(Closed, "")
	}
}
