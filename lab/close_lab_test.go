//go:build lab

package lab

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/sysctl"
)

// TestServerClosesByItself catches a server that waits for the client though it shall not, and one that closes though it never shall.
func TestServerClosesByItself(t *testing.T) {
	const delay = 60 * time.Millisecond
	for when, want := range map[CloseWhen]string{AfterAccept: "accepted closed", Never: "accepted received"} {
		var seen log
		l := build(t, Topology{Baseline: sysctl.Baseline, Observe: seen.observe})
		_, c := connect(t, l, ListenOptions{Service: Sink, Close: when, CloseDelay: delay}, DialOptions{SocketOptions: SocketOptions{Linger2: -1}})
		if when == Never {
			if _, err := c.Shutdown(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		silence := 300 * time.Millisecond
		if when == AfterAccept {
			silence = 10 * time.Second // ends with the FIN, however late a busy server sends it
		}
		e, err := c.Receive(t.Context(), ReceiveOptions{Until: mono() + silence})
		if closes := when == AfterAccept; closes && (err != nil || e.Bytes != 0) || !closes && !errors.Is(err, ErrQuiet) {
			t.Errorf("%s: got %+v, %v, want that it closed: %v", when, e, err, closes)
		}
		// The server tells that it closed when its call has returned, and its FIN is here before that.
		eventually(func() bool { return len(seen.of("server")) >= len(strings.Fields(want)) })
		var kinds []string
		for _, e := range seen.of("server") {
			kinds = append(kinds, string(e.Event))
			if e.Event == Closed && (e.Before-seen.of("server")[0].At < delay || e.After < e.Before) {
				t.Errorf("%s: got %+v, want its call %v after it was accepted", when, e, delay)
			}
		}
		if got := strings.Join(kinds, " "); got != want {
			t.Errorf("%s: the server told %s, want %s", when, got, want)
		}
		if err := l.Close(); err != nil { // a connection that is never closed goes with its lab
			t.Errorf("%s: %v", when, err)
		}
	}
}
