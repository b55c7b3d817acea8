package cli

import (
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/netns"
)

// The test binary is the program too, and must hold its main thread where the program does.
func init() { netns.PinMain() }

// TestMain installs the test binary as the command tcplab, for scripts and for exec.Command, and looks for what the tests left behind.
func TestMain(m *testing.M) {
	// Under the race detector a program sleeps a second before it exits, and these tests start hundreds.
	if err := os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	testscript.Main(watched{m}, map[string]func(){"tcplab": func() { os.Exit(Main(os.Args[1:])) }})
}

type watched struct{ m *testing.M }

// programFolder is where the lab tests have built the program as it is released, once for all of them. Empty: none did.
var programFolder string

// Run runs the tests. Those of this package mostly wait for a kernel's timers, so more of them go at once than there are processors.
func (w watched) Run() int {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err) // there is such a flag in every test binary
	}
	code := labtest.Leaks(w.m)
	if err := os.RemoveAll(programFolder); err != nil {
		panic(err)
	}
	return code
}
