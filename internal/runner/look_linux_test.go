package runner

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/evidence"
	"github.com/tcplab/tcplab/lab"
)

// answers are what a kernel says, one after the other.
type answers []string

func (a *answers) Look(_, _ netip.AddrPort) (evidence.Socket, error) {
	s := evidence.Socket{State: (*a)[0]}
	*a = (*a)[1:]
	return s, nil
}

// TestExchange looks while the kernel exchanges one socket for another. It catches a look that takes the moment between the two for the end
// of the connection, and a second look that hides a real end.
func TestExchange(t *testing.T) {
	for _, c := range []struct {
		name  string
		looks []answers // of one look each: what is asked again follows
		want  []string
	}{
		{"never there", []answers{{"CLOSED"}, {"CLOSED"}}, []string{"CLOSED", "CLOSED"}},
		{"a request becomes a connection", []answers{{"SYN-RECV"}, {"LISTEN", "ESTABLISHED"}}, []string{"SYN-RECV", "ESTABLISHED"}},
		{"a request is gone", []answers{{"SYN-RECV"}, {"LISTEN", "LISTEN"}, {"LISTEN"}}, []string{"SYN-RECV", "LISTEN", "LISTEN"}},
		{"a connection enters TIME-WAIT", []answers{{"ESTABLISHED"}, {"CLOSED", "TIME-WAIT"}}, []string{"ESTABLISHED", "TIME-WAIT"}},
		{"a closed connection becomes a small socket", []answers{{"FIN-WAIT-1"}, {"CLOSED", "CLOSED"}, {"FIN-WAIT-2"}}, []string{"FIN-WAIT-1", "FIN-WAIT-2"}},
		{"the exchange takes longer", []answers{{"FIN-WAIT-2"}, {"CLOSED", "CLOSED"}, {"TIME-WAIT"}}, []string{"FIN-WAIT-2", "TIME-WAIT"}},
		{"a connection is gone", []answers{{"ESTABLISHED"}, {"CLOSED", "CLOSED"}}, []string{"ESTABLISHED", "CLOSED"}},
		{"a closed connection comes back, which none does", []answers{{"ESTABLISHED"}, {"CLOSED", "CLOSED"}, {"ESTABLISHED"}}, []string{"ESTABLISHED", "CLOSED", "ESTABLISHED"}},
	} {
		o := &observer{}
		for i, a := range c.looks {
			s, err := o.ask("client", &a, [2]netip.AddrPort{})
			if err != nil || len(a) > 0 {
				t.Fatalf("%s: look %d: %v, with %v not asked for", c.name, i, err, a)
			}
			o.note(look{mono: time.Duration(i), host: "client", Socket: s})
		}
		var got []string
		for _, l := range o.looks {
			got = append(got, l.State)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestHeldUp catches a look that says of a socket that it was still there, at a time when nobody knows: the program was held up between the answer and
// the clock.
func TestHeldUp(t *testing.T) {
	o := &observer{r: &run{}}
	o.looks = []look{{mono: 130, took: 30, host: "server", Socket: evidence.Socket{State: "SYN-RECV"}}, {mono: 200, took: 20, host: "server", Socket: evidence.Socket{State: "CLOSED"}}}
	if e := o.vanished(0); len(e) != 1 || e[0].Since != 100 || e[0].At != 200 {
		t.Errorf("got %+v, want it from the beginning of the one look to the end of the other", e)
	}
	if l, err := timed(func() (evidence.Socket, error) { <-time.After(2 * time.Millisecond); return evidence.Socket{}, nil }); err != nil || l.took < 2*time.Millisecond || l.mono < l.took {
		t.Errorf("a look of 2 ms: got %+v, %v", l, err)
	}
}

// TestVanished catches the end of a socket that is told of a host that never had one, of the wrong kind, or not at all.
func TestVanished(t *testing.T) {
	const c, s = "client ", "server "
	for _, tt := range []struct {
		name  string
		looks []string
		want  []string
	}{
		{"a close", []string{c + "SYN-SENT", s + "LISTEN", c + "ESTABLISHED", s + "ESTABLISHED", c + "TIME-WAIT", s + "LAST-ACK", s + "LISTEN", c + "CLOSED"},
			[]string{"server socket-gone 5-6", "client socket-gone 4-7"}},
		{"a half-open connection", []string{s + "SYN-RECV", s + "LISTEN", s + "SYN-RECV", s + "CLOSED"}, []string{"server request-gone 0-1", "server request-gone 2-3"}},
		{"a connection that did not come about", []string{c + "CLOSED", c + "SYN-SENT", c + "CLOSED", s + "LISTEN", s + "LISTEN"}, nil},
		{"a small socket", []string{c + "FIN-WAIT-2", c + "FIN-WAIT-2", c + "CLOSED", c + "CLOSED"}, []string{"client socket-gone 1-2"}},
	} {
		o := &observer{r: &run{setup: experiments.Setup{LookAt: 40002}}}
		for i, l := range tt.looks {
			host, state, _ := strings.Cut(l, " ")
			o.looks = append(o.looks, look{mono: time.Duration(i), host: host, Socket: evidence.Socket{State: state}})
		}
		var got []string
		for _, e := range o.vanished(0) {
			got = append(got, fmt.Sprintf("%s %s %d-%d", e.Host, e.What, int(e.Since), int(e.At)))
			if e.Port != 40002 {
				t.Errorf("%s: got port %d, want that of the connection that is looked at", tt.name, e.Port)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestAbsent catches a socket of several that is given up while it may still come, or a small one while it takes another's place, and looks that go
// on for ever at one that is gone.
func TestAbsent(t *testing.T) {
	for _, tt := range []struct {
		name, looks string
		want        bool
	}{
		{"not yet there", "CLOSED CLOSED CLOSED", false},
		{"there", "CLOSED SYN-SENT ESTABLISHED", false},
		{"between two sockets", "FIN-WAIT-1 CLOSED FIN-WAIT-2", false},
		{"perhaps gone", "ESTABLISHED CLOSED", false},
		{"gone", "CLOSED ESTABLISHED CLOSED CLOSED", true},
		{"gone, and the port listens", "ESTABLISHED LISTEN LISTEN LISTEN", true},
		{"a request that came again", "SYN-RECV LISTEN LISTEN SYN-RECV", false},
	} {
		var of neighbourEnd
		for state := range strings.FieldsSeq(tt.looks) {
			of.changed(look{Socket: evidence.Socket{State: state}})
		}
		if got := of.isGone(); got != tt.want {
			t.Errorf("%s (%s): got %v, want %v", tt.name, tt.looks, got, tt.want)
		}
	}
}

// TestDueAside catches a connection that is looked at again and again in silence, one whose packet is not followed by a look, and an end in silence that is
// known much later than it was.
func TestDueAside(t *testing.T) {
	o := newObserver(&run{setup: experiments.Setup{}})
	const s = time.Second
	began := lab.Event{Event: lab.Connecting, Local: netip.MustParseAddrPort("10.99.0.1:40000"), Remote: netip.MustParseAddrPort("10.99.0.2:8101")}
	other := began
	other.Local, other.Remote = netip.MustParseAddrPort("10.99.0.1:40001"), netip.MustParseAddrPort("10.99.0.2:8102")
	o.events = []lab.Event{began, other, began} // the last one for a second call from the same port
	o.list(100 * s)
	if len(o.neighbours) != 2 || o.neighbours[0].port != 8101 || o.neighbours[1].port != 8102 {
		t.Fatalf("got %d connections, want 2, by the server's ports", len(o.neighbours))
	}
	c := o.neighbours[0]
	if now := c.due(); now > 100*s {
		t.Errorf("a new connection: due at %v, want at once", now)
	}
	var looks []time.Duration
	for now := 100 * s; now < 1100*s; now += s { // a round each second
		if now >= c.due() {
			c.looked = now
			looks = append(looks, now)
		}
	}
	if len(looks) < 15 || len(looks) > 80 {
		t.Errorf("in 1000 s of silence: got %d looks, want some dozens", len(looks))
	}
	for i, at := range looks[1:] {
		if gap, silence := at-looks[i], at-100*s; gap > silence/8+s {
			t.Errorf("%v after the last packet: got %v between two looks, want an eighth and a round", silence, gap)
		}
	}
	for _, tt := range []struct {
		name string
		a, b uint16
		want bool
	}{{"a packet to it", 40000, 8101, true}, {"one from it", 8101, 40000, true}, {"another's", 40001, 8102, false}, {"nobody knows whose", 0, 0, true}} {
		c.looked, c.stirred = 1100*s, 100*s
		o.stir(1101*s, tt.a, tt.b)
		if got := c.due() <= 1101*s; got != tt.want {
			t.Errorf("%s: due at %v, want at once: %v", tt.name, c.due(), tt.want)
		}
	}
	c.looked, c.stirred = 1100*s, 100*s
	if o.everybody(); c.due() > 0 || o.asideAt != 0 {
		t.Errorf("at the end: due at %v, want at once", c.due())
	}
}

// TestPortsOf catches a connection that is not recognised by its packet, and ports that are read from where none are.
func TestPortsOf(t *testing.T) {
	frame := func(kind uint16, ip ...byte) []byte {
		return append(binary.BigEndian.AppendUint16(make([]byte, 12), kind), ip...)
	}
	ports := []byte{0x1f, 0xa5, 0x9c, 0x40} // 8101 and 40000
	v4 := func(head, proto byte) []byte {
		ip := make([]byte, 4*int(head))
		ip[0], ip[9] = 0x40|head, proto
		return append(ip, ports...)
	}
	v6 := make([]byte, 40)
	v6[0], v6[6] = 0x60, 6
	for _, tt := range []struct {
		name  string
		frame []byte
		want  [2]uint16
	}{
		{"IPv4", frame(0x0800, v4(5, 6)...), [2]uint16{8101, 40000}},
		{"IPv4 with options", frame(0x0800, v4(15, 6)...), [2]uint16{8101, 40000}},
		{"IPv6", frame(0x86dd, append(v6, ports...)...), [2]uint16{8101, 40000}},
		{"ICMP", frame(0x0800, v4(5, 1)...), [2]uint16{}},
		{"ARP", frame(0x0806, v4(5, 6)...), [2]uint16{}},
		{"cut short", frame(0x0800, v4(5, 6)[:23]...), [2]uint16{}},
		{"a head that is longer than the frame", frame(0x0800, append([]byte{0x4f}, v4(5, 6)[1:]...)...), [2]uint16{}},
		{"no IP in it", frame(0x0800, 0x45), [2]uint16{}},
		{"nothing", nil, [2]uint16{}},
	} {
		if from, to := portsOf(tt.frame); [2]uint16{from, to} != tt.want {
			t.Errorf("%s: got ports %d and %d, want %v", tt.name, from, to, tt.want)
		}
	}
}
