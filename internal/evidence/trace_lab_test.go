//go:build lab

package evidence

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/netns"
)

func trace(t *testing.T, hosts ...Namespace) *Tracer {
	t.Helper()
	labtest.Need(t, labtest.Root)
	tr, err := Trace(hosts, nil)
	if err != nil {
		t.Fatal(err) // also the verifier's log
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("close the tracepoints: %v", err)
		}
	})
	return tr
}

// await empties the ring until done likes what is there.
func await(t *testing.T, tr *Tracer, done func([]Event) bool) []Event {
	t.Helper()
	deadline, tick := time.After(10*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for {
		events, err := tr.Events()
		if err != nil {
			t.Fatal(err)
		}
		if done(events) {
			return events
		}
		select {
		case <-deadline:
			t.Fatalf("got %d events after 10 s: %+v", len(events), events)
		case <-tick.C:
		}
	}
}

// of are the events of one tracepoint; of the drops those of TCP, because IPv6 greets on every new link.
func of(events []Event, k Kind) (out []Event) {
	for _, e := range events {
		if e.Kind == k && (k != Drop || e.TCP) {
			out = append(out, e)
		}
	}
	return out
}

// TestTraceLost follows a connection whose SYNs are lost. It catches a field that is not what the kernel means, a reason that is not
// resolved, and an event of a namespace that nobody asked for.
func TestTraceLost(t *testing.T) {
	n, other := namespace(t), namespace(t)
	tr := trace(t, Namespace{Host: "client", Path: n.Path(), Addr: netip.MustParseAddr("10.9.0.1")})
	strange := trace(t, Namespace{Host: "stranger", Path: other.Path(), Addr: netip.MustParseAddr("10.9.0.9")})
	var wrong []string
	for port := range uint16(3) { // the tracepoints of a busy machine are silent now and then (connections), not three times in the same place
		if wrong = lost(t, n, tr, netip.AddrPortFrom(netip.MustParseAddr("10.9.0.2"), 8080+port)); len(wrong) == 0 {
			break
		}
		t.Logf("to port %d: %s", 8080+port, strings.Join(wrong, "; "))
	}
	if len(wrong) > 0 {
		t.Errorf("three connections, and each time: %s", strings.Join(wrong, "; "))
	}
	if got, err := strange.Events(); err != nil || slices.ContainsFunc(got, func(e Event) bool { return e.Kind != Drop || e.TCP }) { // IPv6 greets there too
		t.Errorf("another namespace: got %+v, %v, want no TCP", got, err)
	}
	if lost, err := tr.Lost(); err != nil || lost != 0 {
		t.Errorf("lost: got %d, %v, want 0", lost, err)
	}
}

// lost opens a connection to where every SYN is lost, waits for the first repeat, and says what is wrong with the events.
func lost(t *testing.T, n *netns.Namespace, tr *Tracer, to netip.AddrPort) (wrong []string) {
	t.Helper()
	before := monotonic(t)
	local, done := waiting(t, n, to)
	defer done()
	its := func(all []Event, k Kind) []Event {
		return slices.DeleteFunc(of(all, k), func(e Event) bool { return e.Dst != to })
	}
	events := await(t, tr, func(e []Event) bool { return len(its(e, Retransmit)) > 0 && len(its(e, Drop)) > 1 })
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if s := its(events, StateChange); len(s) != 1 || s[0].Was != Closed || s[0].State != "SYN-SENT" || s[0].Host != "client" {
		complain("states: got %+v, want one from CLOSED to SYN-SENT", s)
	}
	r := its(events, Retransmit)[0]
	if r.Src != local || r.Cause != CauseRTO || r.State != "SYN-SENT" || r.Errno != 0 || r.EndSeq != r.Seq+1 {
		complain("repeat: got %+v, want an RTO's of %v", r, local)
	}
	if gap := r.Mono - before; gap < 990*time.Millisecond || gap > 3*time.Second {
		complain("repeat: got it %v after the call, want about 1 s", gap)
	}
	// v1 takes the SYN, though it is for the address of another machine.
	d := its(events, Drop)[0]
	if d.Src != local || !d.TCP || d.Flags != 2 || d.Seq != r.Seq || d.Reason != "OTHERHOST" || d.Where == "" {
		complain("drop: got %+v, want OTHERHOST of the SYN", d)
	}
	return wrong
}

// TestTraceConnection catches a state that is left out, or told twice.
func TestTraceConnection(t *testing.T) {
	n := namespace(t)
	patient(t, n)
	tr := trace(t, Namespace{Host: "both", Path: n.Path(), Addr: netip.MustParseAddr("127.0.0.1")})
	const made = 3
	connections(t, n, made)
	changes := []string{"CLOSED LISTEN", "CLOSED SYN-SENT", "SYN-SENT ESTABLISHED", "SYN-RECV ESTABLISHED", "ESTABLISHED FIN-WAIT-1", "ESTABLISHED CLOSE-WAIT"}
	var seen map[string]int
	events := await(t, tr, func(events []Event) bool {
		seen = map[string]int{}
		for _, e := range of(events, StateChange) {
			seen[e.Was+" "+e.State]++
		}
		return !slices.ContainsFunc(changes, func(c string) bool { return seen[c] < made-1 })
	})
	for _, c := range changes {
		if seen[c] > made {
			t.Errorf("%s: got it %d times of %d connections; all: %v", c, seen[c], made, seen)
		}
	}
	if r := of(events, Retransmit); len(r) != 0 {
		t.Errorf("got repeats, want none: %+v", r)
	}
}

// patient makes TCP wait for an acknowledgement that a busy machine holds up: nothing is sent again.
func patient(t *testing.T, n *netns.Namespace) {
	t.Helper()
	if err := n.Do(func() error {
		for name, value := range map[string]string{"tcp_early_retrans": "0", "tcp_rto_min_us": "1000000"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// connections makes several, so far apart that the tracepoints of a busy machine, which are silent for some 20 ms now and then (judge.Evidence), miss
// no more than one.
func connections(t *testing.T, n *netns.Namespace, several int) {
	t.Helper()
	for range several {
		connection(t, n)
		<-time.After(50 * time.Millisecond)
	}
}

// connection makes one over the loopback and closes it, the client first.
func connection(t *testing.T, n *netns.Namespace) {
	t.Helper()
	var l net.Listener
	if err := n.Do(func() (err error) { l, err = net.Listen("tcp4", "127.0.0.1:0"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var c net.Conn
	dialer := net.Dialer{KeepAlive: -1, Timeout: 5 * time.Second}
	if err := n.Do(func() (err error) { c, err = dialer.Dial("tcp4", l.Addr().String()); return err }); err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Fatal("got data, want the end")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCountersOfNamespace catches counters of the caller's own namespace.
func TestCountersOfNamespace(t *testing.T) {
	n := namespace(t)
	patient(t, n)
	read := func() (c Counters) {
		t.Helper()
		if err := n.Do(func() (err error) { c, err = ReadCounters(); return err }); err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := read()
	connection(t, n)
	d := read().Since(before)
	for name, want := range map[string]uint64{"TcpActiveOpens": 1, "TcpPassiveOpens": 1, "TcpRetransSegs": 0} {
		if d[name] != want {
			t.Errorf("%s: got %d, want %d", name, d[name], want)
		}
	}
}

func monotonic(t *testing.T) time.Duration {
	t.Helper()
	now, err := kernel.MonotonicNow()
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// TestTraceRefused asks for the tracepoints without a single capability, as a rootless run does in the kernel's eyes. It catches a refusal that is taken for a
// failure, which would end the run.
func TestTraceRefused(t *testing.T) {
	const inside = "TCPLAB_TEST_NO_CAPABILITIES"
	if os.Getenv(inside) != "" {
		tr, err := Trace(nil, nil)
		if !errors.Is(err, ErrNoTrace) || !strings.Contains(err.Error(), "first user namespace") {
			t.Errorf("got %v, want %v", err, ErrNoTrace)
		}
		if err == nil {
			tr.Close()
		}
		return
	}
	labtest.Need(t, labtest.Root, labtest.Command("setpriv"))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("setpriv", "--bounding-set=-all", "--inh-caps=-all", self, "-test.run=^TestTraceRefused$")
	cmd.Env = append(os.Environ(), inside+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestTraceAtOnce catches a race between labs of one process, which share what was decoded of the kernel's BTF.
func TestTraceAtOnce(t *testing.T) {
	labtest.Need(t, labtest.Root)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			tr, err := Trace(nil, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if err := tr.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestProgramsServeLabs follows one lab after the other with the same programs. It catches events of a lab that is over, be they of its namespace or left
// in the ring, and two labs that take them at once.
func TestProgramsServeLabs(t *testing.T) {
	labtest.Need(t, labtest.Root)
	p, err := Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	follow := func(host string, n *netns.Namespace) *Tracer {
		tr, err := p.Follow([]Namespace{{Host: host, Path: n.Path(), Addr: netip.MustParseAddr("127.0.0.1")}})
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	one, two := namespace(t), namespace(t)
	first := follow("one", one)
	connections(t, one, 2)
	if _, err := p.Follow(nil); err == nil {
		t.Error("two labs at once: got no error")
	}
	seen := len(await(t, first, func(e []Event) bool { return len(of(e, StateChange)) >= 8 }))
	connection(t, one) // stays in the ring
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	connection(t, one) // is not followed any more
	second := follow("two", two)
	connections(t, two, 2)
	events := await(t, second, func(e []Event) bool { return len(of(e, StateChange)) >= 8 })
	for _, e := range events {
		if e.Host != "two" && e.Kind == StateChange {
			t.Errorf("got an event of %q, want those of the second lab: %+v", e.Host, e)
		}
	}
	calls := slices.DeleteFunc(of(events, StateChange), func(e Event) bool { return e.State != "SYN-SENT" })
	if len(calls) == 0 || len(calls) > 2 {
		t.Errorf("got %d calls, want the two of the second lab alone: %+v", len(calls), calls)
	}
	if lost, err := second.Lost(); err != nil || lost != 0 {
		t.Errorf("lost: got %d, %v, want 0", lost, err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if got, err := first.Events(); err != nil || len(got) != seen {
		t.Errorf("of the first lab: got %d events, %v, want the %d of before", len(got), err, seen)
	}
}
