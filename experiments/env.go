package experiments

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Env is what a prediction stands on and a run is given.
type Env struct {
	Profile Profile
	Facts   kernel.Facts
	// Sysctls are the effective values, by "client.net.ipv4.tcp_syn_retries". A knob that the kernel lacks is absent.
	Sysctls map[string]string
	// Options are the values of parameters that are not sysctls.
	Options Options
	// Start is the phase of jiffies at the first packet; nil where it is not known.
	Start *oracle.Start
	// StartAt is the CLOCK_MONOTONIC time at which the client's first call is made. A run has one; a prediction needs none.
	StartAt time.Duration
	// Memory has answers of the oracle's that were worked out before. Nil: there are none.
	Memory *oracle.Memory
	// late is how much later than planned a call was made, by name, where that is known and matters.
	late map[string]time.Duration
	// asked collects the knobs that Int was asked for; nil: nobody wants to know.
	asked map[string]bool
}

// Watched returns a copy of e that notes in asked which knobs are read from it: "client.net.ipv4.tcp_syn_retries".
func (e Env) Watched(asked map[string]bool) Env {
	e.asked = asked
	return e
}

// Options are values of parameters, by flag.
type Options map[string]string

// Number is an option's value; 0 where it is not given. It was checked when the plan was made.
func (o Options) Number(flag string) int64 {
	n, _ := strconv.ParseInt(o[flag], 10, 64)
	return n
}

// Duration is the value of an option of kind Time; 0 where it is not given.
func (o Options) Duration(flag string) time.Duration {
	d, _ := time.ParseDuration(o[flag])
	return d
}

// List is the value of an option of kind List as numbers; nil where it is a word, or not given.
func (o Options) List(flag string) []int64 {
	var out []int64
	for _, f := range strings.Split(o[flag], ",") {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return nil
		}
		out = append(out, n)
	}
	return out
}

// Percent is the value of an option of kind Percent; 0 where it is not given.
func (o Options) Percent(flag string) float64 {
	f, _ := parsePercent(o[flag])
	return f
}

// Rate is the value of an option of kind Rate, in bits a second; 0 where it is not given.
func (o Options) Rate(flag string) int64 {
	n, _ := parseRate(o[flag])
	return n
}

// Whole rounds a time up to whole jiffies: a call that is made so long after the first one finds the same phase.
func (e Env) Whole(d time.Duration) time.Duration {
	jiffy := e.Facts.Jiffy()
	return (d + jiffy - 1) / jiffy * jiffy
}

// Moved returns a copy of e in which a call was made later than planned.
func (e Env) Moved(call string, by time.Duration) Env {
	c := e
	c.late = map[string]time.Duration{call: by}
	for name, d := range e.late {
		if name != call {
			c.late[name] = d
		}
	}
	return c
}

// Begin returns e with a start that can still be kept at a time of CLOCK_MONOTONIC: the planned one, or where a busy machine took too long
// to start the client's process, one that is whole jiffies later. So the later calls keep their distance from the first.
func (e Env) Begin(now time.Duration) Env {
	if soonest := now + beginWithin; e.StartAt < soonest {
		e.StartAt += e.Whole(soonest - e.StartAt)
	}
	return e
}

// beginWithin is how long it takes to tell a process what to do.
const beginWithin = 2 * time.Millisecond

// Call is when a call that was planned for an offset of the first one is made, as the client's own clock told where that differs by
// more than a prediction leaves open.
func (e Env) Call(name string, planned time.Duration) time.Duration { return planned + e.late[name] }

// Int returns the effective value of an integer sysctl; ok is false where the kernel lacks the knob.
func (e Env) Int(host, name string) (v int64, ok bool, err error) {
	s, ok := e.Sysctls[host+"."+name]
	if !ok {
		return 0, false, nil
	}
	if e.asked != nil {
		e.asked[host+"."+name] = true
	}
	digits, base := s, 10
	if hex, ok := strings.CutPrefix(s, "0x"); ok { // a sum of bits, as the user wrote it
		digits, base = hex, 16
	}
	v, err = strconv.ParseInt(digits, base, 64)
	if err != nil {
		return 0, true, fmt.Errorf("%s: %s=%q: want an integer", host, name, s)
	}
	return v, true, nil
}

// Ask asks the oracle for what e says of the start.
func (e Env) Ask(m oracle.Mechanism) (timeline.Timeline, error) {
	return e.Memory.Predict(m, e.Facts, e.Start)
}

// AskBlackHole asks with the alternatives of a capture that cannot tell the first timeout from a tail loss probe.
func (e Env) AskBlackHole(b oracle.BlackHole) (timeline.Timeline, error) { return e.Ask(inWords{b}) }

// inWords is a BlackHole with these alternatives.
type inWords struct{ oracle.BlackHole }

// Predict adds them.
func (b inWords) Predict(f kernel.Facts, start *oracle.Start) (timeline.Timeline, error) {
	t, err := b.BlackHole.Predict(f, start)
	if err != nil || b.NoSACK || b.EarlyRetrans >= 3 {
		return t, err
	}
	var alike []timeline.Timeline
	for one := range t.All() {
		alike = append(alike, likeProbe(one)...)
	}
	t.Alternatives = slices.Concat(t.Alternatives, alike)
	return t, nil
}

// AskRecovery is AskBlackHole for a burst.
func (e Env) AskRecovery(r oracle.Recovery) (timeline.Timeline, error) {
	t, err := e.Ask(r)
	if err == nil && r.SACK && r.EarlyRetrans < 3 {
		t.Alternatives = slices.Concat(t.Alternatives, likeProbes(t))
	}
	return t, err
}

// With returns a copy of e with one sysctl changed.
func (e Env) With(host, name, value string) Env {
	c := e
	c.Sysctls = make(map[string]string, len(e.Sysctls)+1)
	for k, v := range e.Sysctls {
		c.Sysctls[k] = v
	}
	c.Sysctls[host+"."+name] = value
	return c
}

// WithOption returns a copy of e with one option changed.
func (e Env) WithOption(flag, value string) Env {
	c := e
	c.Options = maps.Clone(e.Options)
	if c.Options == nil {
		c.Options = Options{}
	}
	c.Options[flag] = value
	return c
}
