//go:build lab

package runner

import (
	"flag"
	"os"
	"testing"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/netns"
)

// The test binary is the lab's client program too, and must hold its main thread where tcplab does.
func init() { netns.PinMain() }

// TestMain looks for what the labs left behind. The tests mostly wait for a kernel's timers, so more of them go at once than there are
// processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err) // there is such a flag in every test binary
	}
	os.Exit(tries.verdict(labtest.Leaks(m)))
}
