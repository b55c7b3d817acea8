//go:build lab

package evidence

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/netns"
)

// TestTraceWheel follows a SYN that is lost up to its first repeat. It catches a timer that is told of a socket that has it not, and a bucket that is not
// the jiffy in which the wheel had it due.
func TestTraceWheel(t *testing.T) {
	n := namespace(t)
	tr := trace(t, Namespace{Host: "client", Path: n.Path(), Addr: netip.MustParseAddr("10.9.0.1")})
	if err := tr.Unwound(); err != nil {
		t.Fatal(err)
	}
	clock, err := kernel.ReadClock()
	if err != nil {
		t.Fatal(err)
	}
	facts, err := kernel.Running()
	if err != nil {
		t.Fatal(err)
	}
	var wrong string
	for port := range uint16(3) { // see TestTraceLost
		if wrong = wound(t, n, tr, clock, facts.HZ, netip.AddrPortFrom(netip.MustParseAddr("10.9.0.2"), 8090+port)); wrong == "" {
			return
		}
		t.Logf("to port %d: %s", 8090+port, wrong)
	}
	t.Errorf("three connections, and each time: %s", wrong)
}

// wound opens a connection to where every SYN is lost, waits for the first repeat, and says what is wrong with the record of its timer.
func wound(t *testing.T, n *netns.Namespace, tr *Tracer, clock kernel.Clock, hz int, to netip.AddrPort) string {
	t.Helper()
	first, _ := clock.At(monotonic(t))
	local, done := waiting(t, n, to)
	defer done()
	last, _ := clock.At(monotonic(t))
	events := await(t, tr, func(e []Event) bool {
		return slices.ContainsFunc(of(e, Retransmit), func(e Event) bool { return e.Dst == to })
	})
	var wrong []string
	for _, e := range of(events, Expire) {
		if e.Dst != to {
			continue
		}
		due := clock.Start(e.Bucket)
		switch {
		case e.Src != local || e.Host != "client" || e.Timer != WriteTimer:
			wrong = append(wrong, fmt.Sprintf("got %+v, want the retransmission timer of %v", e, local))
		case e.Asked+1 < first+uint64(hz) || e.Asked > last+uint64(hz)+1:
			wrong = append(wrong, fmt.Sprintf("asked for jiffy %d, want a second after the SYN, which left in one of %d to %d", e.Asked, first, last))
		case e.Bucket < e.Asked || e.Bucket > e.Asked+uint64(hz)/7:
			wrong = append(wrong, fmt.Sprintf("in the bucket of jiffy %d for %d: want it rounded up, by an eighth of a second at most", e.Bucket, e.Asked))
		case due > e.Mono+50*time.Microsecond: // the clock was read by another processor
			wrong = append(wrong, fmt.Sprintf("due at %v and fired at %v, want it late, if anything", due, e.Mono))
		default:
			return ""
		}
	}
	return fmt.Sprintf("no record of the timer is right: %q", strings.Join(wrong, "; "))
}
