package runner

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/evidence"
)

// TestSamples catches a change of the congestion window or of a queue that is left out, and looks that showed nothing new.
func TestSamples(t *testing.T) {
	v := &view{}
	base := evidence.Socket{State: "ESTABLISHED", Timer: "retransmit", Expires: 200 * time.Millisecond, RTO: 204 * time.Millisecond, Cwnd: 10}
	less, window, queue := base, base, base
	less.Expires = 100 * time.Millisecond
	window.Cwnd = 11
	queue.SendQueue = 1000
	var looks []look
	for i, s := range []evidence.Socket{base, less, window, window, queue} {
		looks = append(looks, look{mono: time.Duration(i) * time.Second, host: "client", Socket: s}, look{mono: time.Duration(i) * time.Second, host: "server", Socket: base})
	}
	var got []time.Duration
	for _, s := range v.samples(looks) {
		if s.Host == "client" {
			got = append(got, s.At.Duration())
		} else if s.At != 0 {
			t.Errorf("server: got a sample at %v, where nothing was new", s.At.Duration())
		}
	}
	if len(got) != 3 || got[1] != 2*time.Second || got[2] != 4*time.Second {
		t.Errorf("client: got samples at %v, want 0, 2 s and 4 s", got)
	}
}
