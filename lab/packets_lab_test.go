//go:build lab

package lab_test

import (
	"testing"

	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/lab/labtest"
)

// TestPackets catches packets that the kernel has captured and that are not told yet: when a call has returned, its packets have been seen.
func TestPackets(t *testing.T) {
	l := labtest.New(t, lab.Topology{})
	for i := range 50 {
		c, err := l.Client.DialContext(t.Context(), "tcp", "server:9")
		if err == nil {
			c.Close()
			t.Fatal("nobody listens: got a connection")
		}
		syn := 0
		for _, p := range l.Packets() {
			if p.What == "syn" {
				syn++
			}
		}
		if syn != i+1 {
			t.Fatalf("after %d calls: got %d SYNs", i+1, syn)
		}
	}
}
