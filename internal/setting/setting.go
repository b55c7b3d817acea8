// Package setting says in seconds what TCP settings mean on a kernel: tcp_retries2=8 is a connection that dies 102.2 s after the first
// repeat. A setting is a sysctl of the catalogue or an option of a socket; several at once are read together.
//
// It is not for running anything, and not for the catalogue itself: meaning, unit and range of a sysctl are package sysctl's, times are the
// oracle's.
//
// Its one trap: a setting that was not given has the default of that kernel version, not the value that this machine holds. An answer then
// depends on the question alone.
package setting

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/sysctl"
)

// Assignment is one setting with its value.
type Assignment struct {
	Name  string // "tcp_retries2", "net.core.somaxconn" is "somaxconn"; an option by its kernel name: "TCP_USER_TIMEOUT"
	Value string
}

// String returns "tcp_retries2=8".
func (a Assignment) String() string { return a.Name + "=" + a.Value }

// Meaning is what settings come to in one mechanism.
type Meaning struct {
	About string // the mechanism: "connecting", "unacknowledged data", "keepalive", ...
	// Says holds sentences, the one with the seconds first.
	Says []string
	// Settings are those that take part, with where each value comes from.
	Settings []Value
	// Nominal is the time that the settings stand for by the kernel's formula, and Formula how it is computed. Zero and empty where the
	// settings do not come to a time.
	Nominal time.Duration
	Formula string
	// Timeline is what happens when nobody answers, with the windows of the timer wheel; nil where there is nothing to show.
	Timeline *timeline.Timeline
	Notes    []Note
}

// Value is a setting that takes part in a meaning.
type Value struct {
	Name, Value string
	From        string // Given, BuiltIn, or "default of Linux 6.18"
}

// Where a value comes from, besides a default.
const (
	Given   = "given"
	BuiltIn = "built in" // the kernel lacks the setting and behaves as if it had this value
)

// Note is a remark with the code that `tcplab explain` knows, "" for none.
type Note struct{ Code, Text string }

// ErrUnknown is wrapped where no setting has the name; ErrMissing where this kernel lacks it; ErrRange where the kernel would refuse the
// value.
var (
	ErrUnknown = errors.New("neither a sysctl nor a socket option that tcplab knows")
	ErrMissing = errors.New("this kernel has no such setting")
	ErrRange   = errors.New("out of range")
)

// marked is an error with one of the sentinels above, without changing its words.
type marked struct {
	error
	is error
}

func (m marked) Is(target error) bool { return target == m.is }

// Parse reads "tcp_retries2=8" or "net.ipv4.tcp_retries2=8", "TCP_USER_TIMEOUT=30000" in any case, and checks the value against the range. A
// mask comes back in the form in which it was given.
func Parse(s string) (Assignment, error) {
	name, value, found := strings.Cut(s, "=")
	name, value = strings.TrimSpace(name), strings.Join(strings.Fields(value), " ")
	if !found || value == "" {
		return Assignment{}, marked{fmt.Errorf("%q: want NAME=VALUE, such as tcp_retries2=8", s), ErrRange}
	}
	short, err := "", error(nil)
	if k, ok := sysctl.Lookup(name); ok { // first: tcp_rto_max_ms is the sysctl, TCP_RTO_MAX_MS the option
		short, err = k.Short(), k.Check(value)
	} else if o, ok := LookupOption(name); ok {
		short, err = o.Name, o.Check(value)
	} else {
		return Assignment{}, Unknown(name)
	}
	if err != nil {
		return Assignment{}, marked{err, ErrRange}
	}
	return Assignment{short, value}, nil
}

// Unknown is the error for a name that no setting has, with what is near.
func Unknown(name string) error {
	hint := ""
	if near := Suggest(name); near != "" {
		hint = "; did you mean " + near + "?"
	}
	return marked{fmt.Errorf("%q is %w%s", name, ErrUnknown, hint), ErrUnknown}
}

// Suggest returns the sysctl or option that is closest to a mistyped name, or "".
func Suggest(name string) string {
	upper := strings.ToUpper(name)
	for _, o := range options {
		if missing := strings.TrimPrefix(o.Name, "TCP_"); upper == missing || strings.ReplaceAll(upper, "_", "") == strings.ReplaceAll(o.Name, "_", "") {
			return o.Name
		}
	}
	if near := sysctl.Suggest(strings.ToLower(name)); near != "" && upper != name {
		return near
	}
	return suggestOption(upper)
}

// Question is what to explain.
type Question struct {
	Facts kernel.Facts
	// RTT is the round trip on which a data RTO depends. Zero: a local network's, 50 µs.
	RTT   time.Duration
	Given []Assignment
}

// Explain says what the settings mean, a meaning for each mechanism that they rule. The errors wrap ErrMissing or ErrRange.
func Explain(q Question) ([]Meaning, error) {
	if q.RTT == 0 {
		q.RTT = localRTT
	}
	for i, a := range q.Given {
		if err := q.available(a); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(q.Given[:i], func(b Assignment) bool { return a.Name == b.Name }) {
			return nil, marked{fmt.Errorf("%s is given twice", a.Name), ErrRange}
		}
	}
	var out []Meaning
	spoken := map[string]bool{} // settings that a meaning has taken into account
	run := func(m mechanism) error {
		c := &context{Question: q}
		if err := m.explain(c); err != nil {
			return err
		}
		c.meaning.About = m.about
		out = append(out, c.meaning)
		for _, v := range c.meaning.Settings {
			spoken[v.Name] = true
		}
		return nil
	}
	for _, m := range mechanisms {
		if slices.ContainsFunc(q.Given, func(a Assignment) bool { return slices.Contains(m.leads, a.Name) }) {
			if err := run(m); err != nil {
				return nil, err
			}
		}
	}
	var left []string // what only modifies, such as TCP_USER_TIMEOUT, is shown in all that it modifies
	for _, a := range q.Given {
		if !spoken[a.Name] {
			left = append(left, a.Name)
		}
	}
	for _, m := range mechanisms {
		if slices.ContainsFunc(left, func(name string) bool { return slices.Contains(m.also, name) }) {
			if err := run(m); err != nil {
				return nil, err
			}
		}
	}
	for _, a := range q.Given {
		if !spoken[a.Name] {
			out = append(out, q.plainly(a))
		}
	}
	return out, nil
}

// available reports whether the kernel has the setting.
func (q Question) available(a Assignment) error {
	if q.Has(a.Name) {
		return nil
	}
	return marked{fmt.Errorf("%s: Linux %v has no %s%s", a, q.Facts.Version, a.Name, sinceWords(a.Name)), ErrMissing}
}

// Has reports whether the kernel has the sysctl or option: by the facts where they say so, by the catalogue elsewhere.
func (q Question) Has(name string) bool {
	switch name {
	case "tcp_syn_linear_timeouts":
		return q.Facts.SYNLinear
	case "tcp_rto_max_ms", "TCP_RTO_MAX_MS":
		return q.Facts.RTOMax
	}
	version := q.Facts.Version.String()
	if o, ok := LookupOption(name); ok {
		return o.Since == "" || q.since(o.Since)
	}
	k, ok := sysctl.Lookup(name)
	return ok && k.In(version)
}

// since reports whether the kernel is that version or newer.
func (q Question) since(version string) bool {
	v, err := kernel.ParseVersion(version)
	return err != nil || q.Facts.Version.AtLeast(v.Major, v.Minor)
}

func sinceWords(name string) string {
	if o, ok := LookupOption(name); ok {
		return ", which came with " + o.Since
	}
	k, ok := sysctl.Lookup(name)
	switch {
	case !ok:
		return ""
	case k.Gone != "":
		return ", which existed up to " + k.Gone
	default:
		return ", which came with " + k.Since.String()
	}
}

// mechanism is something in the kernel that several settings rule.
type mechanism struct {
	about   string
	leads   []string // settings that are about it
	also    []string // settings that change it and other mechanisms
	explain func(*context) error
}

// context collects one meaning.
type context struct {
	Question
	meaning Meaning
}

func (c *context) say(format string, a ...any) {
	c.meaning.Says = append(c.meaning.Says, fmt.Sprintf(format, a...))
}

func (c *context) note(code, format string, a ...any) {
	c.meaning.Notes = append(c.meaning.Notes, Note{code, fmt.Sprintf(format, a...)})
}

// given returns the value of a setting that was given.
func (c *context) given(name string) (string, bool) {
	for _, a := range c.Given {
		if a.Name == name {
			return a.Value, true
		}
	}
	return "", false
}

// number is the value of a setting: given, or the kernel's default; absent, what a kernel without it behaves as, where it lacks it. It is
// listed in the meaning.
func (c *context) number(name string, absent int64) int64 {
	value, from := strconv.FormatInt(absent, 10), BuiltIn
	if v, ok := c.given(name); ok {
		value, from = v, Given
	} else if k, ok := sysctl.Lookup(name); ok && c.Has(name) {
		if v, ok := k.DefaultFor(c.Facts.Version.String()); ok {
			value, from = v, "default of Linux "+c.release()
		}
	}
	c.meaning.Settings = append(c.meaning.Settings, Value{name, value, from})
	n, err := strconv.ParseInt(value, 0, 64)
	if err != nil {
		return absent
	}
	return n
}

// option is the value of a socket option where it was given; 0 where not.
func (c *context) option(name string) int64 {
	if _, ok := c.given(name); !ok {
		return 0
	}
	return c.number(name, 0)
}

// release is the version without its patch level.
func (q Question) release() string {
	return fmt.Sprintf("%d.%d", q.Facts.Version.Major, q.Facts.Version.Minor)
}

// plainly is what can be said of a value that rules no time: its choice in words, or the number with its unit.
func (q Question) plainly(a Assignment) Meaning {
	m := Meaning{About: a.Name, Settings: []Value{{a.Name, a.Value, Given}}}
	k, ok := sysctl.Lookup(a.Name)
	if !ok {
		return m
	}
	n, err := strconv.ParseInt(a.Value, 0, 64)
	switch {
	case err != nil || k.Kind == sysctl.Pair || k.Kind == sysctl.Triple || k.Kind == sysctl.Text:
		m.Says = append(m.Says, fmt.Sprintf("%s: %s.", a, k.Summary))
	case k.Kind == sysctl.Flag:
		m.Says = append(m.Says, fmt.Sprintf("%s is %s: %s.", a, map[bool]string{true: "on", false: "off"}[n != 0], k.Summary))
	case k.Kind == sysctl.Enum || k.Kind == sysctl.Bits:
		m.Says = append(m.Says, fmt.Sprintf("%s: %s.", a, choices(k, n)))
	default:
		m.Says = append(m.Says, fmt.Sprintf("%s: %s, %s.", a, k.Summary, quantity(n, k.Unit)))
	}
	m.Says = append(m.Says, k.Meaning)
	if d, ok := k.DefaultFor(q.Facts.Version.String()); ok && d != a.Value {
		m.Says = append(m.Says, fmt.Sprintf("Linux %s has %s by default.", q.release(), d))
	}
	return m
}

// choices says which values or bits are chosen.
func choices(k sysctl.Knob, n int64) string {
	var words []string
	for _, c := range k.Choices {
		if k.Kind == sysctl.Enum && c.Value == n || k.Kind == sysctl.Bits && c.Value&n != 0 {
			words = append(words, c.Meaning)
		}
	}
	if len(words) == 0 {
		return "nothing is on"
	}
	return strings.Join(words, "; ")
}
