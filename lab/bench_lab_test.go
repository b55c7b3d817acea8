//go:build lab

package lab

import (
	"slices"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/sysctl"
)

// clock collects the times of one step.
type clock struct {
	b     *testing.B
	times []time.Duration
}

// time runs fn and keeps how long it took; fn fails the benchmark with its error.
func (c *clock) time(fn func() error) {
	start := time.Now()
	if err := fn(); err != nil {
		c.b.Fatal(err)
	}
	c.times = append(c.times, time.Since(start))
}

// report adds the median: on a busy machine the mean of ns/op is the machine's.
func (c *clock) report() {
	if len(c.times) == 0 {
		c.b.Fatal("nothing was measured")
	}
	slices.Sort(c.times)
	c.b.ReportMetric(float64(c.times[len(c.times)/2].Microseconds())/1000, "median-ms")
	c.b.ReportMetric(float64(c.times[len(c.times)-1].Microseconds())/1000, "max-ms")
}

// BenchmarkLabReady is New with the baseline and without a rule: the time until a lab can be used.
func BenchmarkLabReady(b *testing.B) {
	labtest.Need(b, labtest.Root)
	c := &clock{b: b}
	for b.Loop() {
		var l *Lab
		c.time(func() (err error) { l, err = New(b.Context(), Topology{Baseline: sysctl.Baseline}); return err })
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
	c.report()
}

// BenchmarkTeardown is Close.
func BenchmarkTeardown(b *testing.B) {
	labtest.Need(b, labtest.Root)
	c := &clock{b: b}
	for b.Loop() {
		l, err := New(b.Context(), Topology{Baseline: sysctl.Baseline})
		if err != nil {
			b.Fatal(err)
		}
		c.time(l.Close)
	}
	c.report()
}

// BenchmarkIPTablesRule is one rule by the iptables program.
func BenchmarkIPTablesRule(b *testing.B) {
	labtest.Need(b, labtest.IPTables)
	l := build(b, Topology{})
	c := &clock{b: b}
	for b.Loop() {
		c.time(func() error { _, err := l.Server.Drop(b.Context(), DropSYN(8080)); return err })
	}
	c.report()
}

// BenchmarkClientStart is a client process, from fork to its first word.
func BenchmarkClientStart(b *testing.B) {
	l := build(b, Topology{})
	c := &clock{b: b}
	for b.Loop() {
		var client *Client
		c.time(func() (err error) { client, err = l.Client.Start(b.Context()); return err })
		if err := client.Close(); err != nil {
			b.Fatal(err)
		}
	}
	c.report()
}
