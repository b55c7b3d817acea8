package runner

import (
	"net/netip"
	"slices"
	"testing"
	"time"

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
