// Package predict says beforehand what a Linux kernel does with a TCP connection that is broken on purpose: when it sends again, and when and
// with which error it gives up. Each event has the window that the kernel's own timers leave open, so that a test can hold what it saw against
// the kernel's rules and not against seconds that somebody typed in.
//
//	k, err := predict.Running()
//	...
//	want, err := predict.BlackHole(k, l.Client, predict.Data{Write: 100 * time.Millisecond, Bytes: 6})
//	fmt.Println(want.Outcome.Errno, want.Outcome.Earliest, want.Outcome.Latest)
//
// It is not for looking: it reads settings, and no packet.
//
// Its one trap: a window is what the timers can do. A machine that is busy takes longer: compare with Window.Holds, which allows for a jiffy and
// 5 ms, or with lab/labtest.
package predict

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Kernel is what is known of a kernel. Running and Model make one; the zero value predicts nothing.
type Kernel struct{ facts kernel.Facts }

// Running is the kernel that runs. It is an error on a system without one, where Model still works.
func Running() (Kernel, error) {
	f, err := kernel.Running()
	return Kernel{f}, err
}

// Model is a kernel by its version ("6.12", from 4.1 on) and CONFIG_HZ (100, 250, 300, 1000).
func Model(version string, hz int) (Kernel, error) {
	v, err := kernel.ParseVersion(version)
	if err != nil {
		return Kernel{}, err
	}
	f, err := kernel.Model(v, hz)
	return Kernel{f}, err
}

// Jiffy is the length of the kernel's tick.
func (k Kernel) Jiffy() time.Duration { return k.facts.Jiffy() }

// Settings are the sysctls of a host, by their full name: net.ipv4.tcp_retries2. A *lab.Host has them. A knob that the kernel lacks may be an
// error, where the kernel then has no choice.
type Settings interface {
	Get(name string) (string, error)
	Has(name string) bool
}

// Fixed are settings without a host. A knob that is not there is one that the kernel lacks.
type Fixed map[string]string

// Get returns a value.
func (f Fixed) Get(name string) (string, error) {
	if v, ok := f[name]; ok {
		return v, nil
	}
	return "", fmt.Errorf("%s: not given", name)
}

// Has reports whether there is such a knob.
func (f Fixed) Has(name string) bool { _, ok := f[name]; return ok }

// Window is one event with its time since the first packet.
type Window struct {
	Host string // "client" or "server"
	What string // "syn-retransmission", "rto-retransmission", "connect-error", ...: as in result.json
	N    int    // which repeat, from 1; 0: it is none
	// At is the nominal time, the formula; Earliest and Latest are the first and last instants that the kernel's timer wheel can reach.
	At, Earliest, Latest time.Duration
	Errno                string // of an error: "ETIMEDOUT"
	Why                  string // the formula, in words
	Maybe                bool   // a correct kernel may leave it out
	jiffy                time.Duration
}

// Holds reports whether an event that was seen so long after the first packet is in its window, with what a machine needs on top: a jiffy and
// 5 ms. Earlier than its timer is never right.
func (w Window) Holds(seen time.Duration) bool {
	return seen >= w.Earliest && seen <= w.Latest+judge.Allowance(w.jiffy)
}

// Timeline is all that both kernels do, in order.
type Timeline struct {
	Events  []Window
	Outcome *Window // how the client's call ended; nil: it did not

	raw timeline.Timeline
	k   Kernel
}

// Raw is for package labtest, which compares whole timelines.
func (t Timeline) Raw() (timeline.Timeline, time.Duration) { return t.raw, t.k.Jiffy() }

// String is the timeline, a line for each event.
func (t Timeline) String() string {
	var b strings.Builder
	line := func(w Window) {
		fmt.Fprintf(&b, "%s … %s s  %s %s", secs(w.Earliest), secs(w.Latest), w.Host, w.What)
		if w.N > 0 {
			fmt.Fprintf(&b, " %d", w.N)
		}
		if w.Errno != "" {
			fmt.Fprintf(&b, " %s", w.Errno)
		}
		b.WriteByte('\n')
	}
	for _, w := range t.Events {
		line(w)
	}
	if t.Outcome != nil {
		line(*t.Outcome)
	}
	return b.String()
}

func secs(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }

func (k Kernel) ask(m oracle.Mechanism, errs ...error) (Timeline, error) {
	if err := errors.Join(errs...); err != nil {
		return Timeline{}, err
	}
	if k.facts.HZ == 0 {
		return Timeline{}, errors.New("predict: no kernel: want one of Running or Model")
	}
	raw, err := m.Predict(k.facts, nil)
	if err != nil {
		return Timeline{}, err
	}
	t := Timeline{raw: raw, k: k}
	for _, e := range raw.Events {
		t.Events = append(t.Events, k.window(e))
	}
	if raw.Outcome != nil {
		w := k.window(*raw.Outcome)
		t.Outcome = &w
	}
	return t, nil
}

func (k Kernel) window(e timeline.Event) Window {
	return Window{Host: e.Host, What: string(e.What), N: e.N, At: e.At, Earliest: e.Earliest, Latest: e.Latest, Errno: e.Errno, Why: e.Why, Maybe: e.Maybe, jiffy: k.Jiffy()}
}

// reading reads the knobs that a mechanism stands on, and keeps the errors.
type reading struct {
	s    Settings
	errs []error
}

// int is a knob's value; one that the kernel lacks is 0, which stands for what such a kernel does.
func (r *reading) int(name string) int64 {
	name = "net.ipv4." + name
	if r.s == nil {
		r.errs = append(r.errs, fmt.Errorf("%s: no settings given", name))
		return 0
	}
	if !r.s.Has(name) {
		return 0
	}
	v, err := r.s.Get(name)
	if err != nil {
		r.errs = append(r.errs, err)
		return 0
	}
	n, err := strconv.ParseInt(v, 0, 64)
	r.errs = append(r.errs, err)
	return n
}

func (r *reading) in(name string, unit time.Duration) time.Duration {
	return time.Duration(r.int(name)) * unit
}
