package runner

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/evidence"
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
