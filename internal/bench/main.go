//go:build linux

// Command bench measures tcplab on this machine and prints a table that anybody can make again (make bench): how long a lab takes to
// stand and to go, next to a plain ip script in the same run; how far each packet of an experiment is from its predicted tick; many
// labs at once; the size of the program; and what is left after kill -9.
//
// It is not a test: nothing here passes or fails by a time, and CI does not run it. Its one trap: the figures are those of a quiet
// machine or of a busy one. The table says how busy it was.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/netns"
)

// The main thread stays in the machine's own namespace, as in tcplab.
func init() { netns.PinMain() }

// plan is what is measured, and how often.
type plan struct {
	tcplab   string // the program
	killTest string // the test binary of internal/cli, built with -tags lab; empty: no kill -9
	labs     int
	runs     int
	parallel int
	many     int
}

func main() {
	var p plan
	flag.StringVar(&p.tcplab, "tcplab", "bin/tcplab", "the program to be measured")
	flag.StringVar(&p.killTest, "killtest", "", "test binary of internal/cli (go test -c -tags lab), for kill -9; empty: left out")
	flag.IntVar(&p.labs, "labs", 30, "how many labs are built for the time of one; 0: left out")
	flag.IntVar(&p.runs, "runs", 50, "how many runs for the deviation from the tick; 0: left out")
	flag.IntVar(&p.parallel, "parallel", 10, "how many of these at once")
	flag.IntVar(&p.many, "many", 20, "how many labs at once for equal verdicts; 0: left out")
	flag.Parse()
	if err := p.measure(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// measure prints the table, a part as soon as it is known.
func (p plan) measure() error {
	var err error
	if p.tcplab, err = filepath.Abs(p.tcplab); err != nil {
		return err
	}
	st, err := os.Stat(p.tcplab)
	if err != nil {
		return fmt.Errorf("%w (make build makes it)", err)
	}
	facts, err := kernel.Running()
	if err != nil {
		return err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	began := time.Now()
	fmt.Printf("Linux %s %s HZ=%d, load %s\n\n", facts.Release, facts.Arch, facts.HZ, strings.Join(strings.Fields(string(load))[:3], " "))
	fmt.Printf("program  %.1f MB\n\n", float64(st.Size())/1e6)
	for _, part := range []func() error{p.labTimes, p.deviation, p.equal, p.kill} {
		if err := part(); err != nil {
			return err
		}
	}
	fmt.Printf("measured in %.0f s\n", time.Since(began).Seconds())
	return nil
}

// table prints rows of cells under a head.
func table(rows ...[]string) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	fmt.Fprintln(w)
	return w.Flush()
}
