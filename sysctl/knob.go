// Package sysctl is a typed catalogue of the Linux TCP knobs that tcplab names, and a careful way to read and write them: what a
// knob means, its unit and range, its default by kernel, since when it exists and belongs to a network namespace, and when the
// kernel looks at it. It also holds the baseline that a lab pins so that the habits of the host cannot leak into a result.
//
// It is not a binding to sysctl(8) and knows no namespaces: it works on the tree that FS.Root names.
//
// Its one trap: /proc/sys/net shows the namespace of the calling thread. Whoever wants the values of another namespace must make the
// calls on a thread that is in it.
package sysctl

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Kind is the form of a knob's value.
type Kind int

// The kinds of value.
const (
	Int    Kind = iota // one integer from Min to Max
	Flag               // 0 for off, 1 for on
	Enum               // one of Choices
	Bits               // a sum of Choices, each a power of two; decimal, or hexadecimal with 0x
	Pair               // two integers from Min to Max, the first not above the second
	Triple             // three integers from Min to Max
	Text               // one word
)

var kindNames = [...]string{"integer", "flag", "choice", "bit mask", "pair", "triple", "word"}

// String returns the name of the kind in plain words.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kindNames[k]
}

// Moment says when the kernel reads a knob: what must be set before what.
type Moment string

// The moments.
const (
	AtTimer  Moment = "when the timer fires or is armed: a change also rules connections that exist"
	AtSocket Moment = "at socket(2): later changes do not reach a socket, and an accepted one copies its listener"
	AtListen Moment = "at listen(2)"
	AtSYN    Moment = "when a SYN or SYN-ACK is built: a connection keeps what it negotiated"
	AtUse    Moment = "each time it matters: a change works at once"
)

// Bracket is how well the first kernel with some property is known: by source trees that were read, and by release where that is
// believed. Stable and distribution kernels carry backports, so detect rather than compare.
type Bracket struct {
	Absent  string // newest tree read without it; empty where every tree read has it
	Present string // oldest tree read with it; empty where no tree has it
	Release string // mainline release that is said to have brought it; empty where only the bracket is known
}

// First is the best single answer to "since when": Release, else Present, else "".
func (b Bracket) First() string {
	if b.Release != "" {
		return b.Release
	}
	return b.Present
}

// String returns "6.15 (not yet in 6.14)", "4.9 (not yet in 4.4)", "2.6.32 or older", or "never".
func (b Bracket) String() string {
	switch {
	case b.First() == "":
		return "never"
	case b.Absent != "":
		return b.First() + " (not yet in " + b.Absent + ")"
	case b.Release == "":
		return b.Present + " or older"
	default:
		return b.Release
	}
}

// after reports whether version lacks what the bracket speaks of. What every tree read has is taken as always there.
func (b Bracket) after(version string) bool {
	return (b.Absent != "" || b.Release != "" || b.Present == "") && (b.First() == "" || compareVersions(version, b.First()) < 0)
}

// Default is the value that a new namespace has from a kernel version on. Exactly one of Value and Computed is set.
type Default struct {
	Since    string // first kernel version with this default, "" for the oldest
	Value    string // as /proc shows it, with single spaces
	Computed string // the rule, where the kernel works the value out at boot or copies it
}

// Choice is one value of an Enum, or one bit of Bits.
type Choice struct {
	Value   int64
	Meaning string
}

// Knob is one entry of the catalogue.
type Knob struct {
	Name    string // "net.ipv4.tcp_syn_retries"
	Summary string // one line
	Meaning string // a short paragraph
	Unit    string // "retries", "seconds", "ms", "µs", "ns", "bytes", "flag", ...
	Kind    Kind
	Min     int64 // of each integer; unused for Flag, Enum, Bits and Text
	Max     int64
	// Narrow marks a range of tcplab's own, inside what the kernel takes: the rest has no meaning, or depends on the kernel.
	Narrow       bool
	Choices      []Choice  // for Enum and Bits
	Defaults     []Default // oldest first
	Since        Bracket   // first kernel that has the knob
	PerNamespace Bracket   // first kernel where each network namespace has its own; zero: one for the machine
	Gone         string    // first kernel without it; empty while it exists
	ReadAt       Moment
	Source       string // kernel functions and RFC sections that the entry stands on
}

// Short returns the last part of the name: "tcp_syn_retries".
func (k Knob) Short() string { return k.Name[strings.LastIndexByte(k.Name, '.')+1:] }

// DefaultFor returns the default of a kernel version such as "6.1" or "5.15.55". It is false where the kernel lacks the knob, or
// computes the value at boot.
func (k Knob) DefaultFor(version string) (string, bool) {
	if !k.In(version) {
		return "", false
	}
	value := ""
	for _, d := range k.Defaults {
		if d.Since == "" || compareVersions(version, d.Since) >= 0 {
			value = d.Value
		}
	}
	return value, value != ""
}

// In reports whether a kernel version such as "6.1" or "5.15.55" has the knob, by what is known of the mainline kernel.
func (k Knob) In(version string) bool {
	return !k.Since.after(version) && (k.Gone == "" || compareVersions(version, k.Gone) < 0)
}

// Range says in words what Check accepts: "1 to 127", "0 or 1", "0, 1 or 2".
func (k Knob) Range() string {
	span := fmt.Sprintf("%d to %d", k.Min, k.Max)
	switch k.Kind {
	case Flag:
		return "0 or 1"
	case Enum:
		words := make([]string, len(k.Choices))
		for i, c := range k.Choices {
			words[i] = strconv.FormatInt(c.Value, 10)
		}
		if len(words) == 1 {
			return words[0]
		}
		return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	case Bits:
		words := make([]string, len(k.Choices))
		for i, c := range k.Choices {
			words[i] = fmt.Sprintf("0x%x", c.Value)
		}
		return "0 or a sum of " + strings.Join(words, " ")
	case Pair:
		return "two numbers from " + span + ", the lower first"
	case Triple:
		return "three numbers from " + span
	case Text:
		return "one word of letters, digits, _ and -"
	default:
		return span
	}
}

// Check reports whether the kernel would take value, without touching anything. Integers must be decimal and without a leading zero
// or plus: the kernel reads 010 as eight.
func (k Knob) Check(value string) error {
	if k.ok(value) {
		return nil
	}
	who := "the kernel"
	if k.Narrow {
		who = "tcplab"
	}
	unit := ""
	if k.Kind == Int && k.Unit != "" {
		unit = " (" + k.Unit + ")"
	}
	return fmt.Errorf("%s=%s: %s takes %s%s", k.Short(), value, who, k.Range(), unit)
}

func (k Knob) ok(value string) bool {
	switch k.Kind {
	case Text:
		return value != "" && strings.Trim(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
	case Bits:
		n, err := strconv.ParseInt(value, 0, 64)
		for _, c := range k.Choices {
			n &^= c.Value
		}
		return err == nil && n == 0 && (strings.HasPrefix(value, "0x") || decimal(value))
	}
	want := map[Kind]int{Pair: 2, Triple: 3}[k.Kind]
	if want == 0 {
		return k.okInt(value)
	}
	parts := strings.Fields(value)
	if len(parts) != want {
		return false
	}
	var n []int64
	for _, p := range parts {
		if !k.okInt(p) {
			return false
		}
		v, _ := strconv.ParseInt(p, 10, 64) // okInt has parsed it
		n = append(n, v)
	}
	return k.Kind != Pair || n[0] <= n[1]
}

func (k Knob) okInt(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || !decimal(s) {
		return false
	}
	switch k.Kind {
	case Flag:
		return n == 0 || n == 1
	case Enum:
		return slices.ContainsFunc(k.Choices, func(c Choice) bool { return c.Value == n })
	default:
		return n >= k.Min && n <= k.Max
	}
}

// decimal reports whether s is an integer in its shortest decimal form.
func decimal(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && strconv.FormatInt(n, 10) == s
}

// Lookup finds a knob by its full name ("net.ipv4.tcp_sack") or by the last part ("tcp_sack").
func Lookup(name string) (Knob, bool) {
	for _, k := range catalogue {
		if k.Name == name || k.Short() == name {
			return k, true
		}
	}
	return Knob{}, false
}

// All returns every knob of the catalogue, sorted by name. The caller owns the slice.
func All() []Knob {
	all := slices.Clone(catalogue)
	slices.SortFunc(all, func(a, b Knob) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Suggest returns the full name of the knob that is closest to a mistyped name, or "" where none is close.
func Suggest(name string) string {
	short := name[strings.LastIndexByte(name, '.')+1:]
	best, distance := "", len(strings.TrimPrefix(short, "tcp_"))/3+1 // what all have in common makes none alike
	for _, k := range All() {
		if d := editDistance(short, k.Short()); d < distance || d == distance && best == "" {
			best, distance = k.Name, d
		}
	}
	return best
}

// editDistance is the number of characters to insert, delete, replace, or swap with the next, to get from a to b (optimal string
// alignment).
func editDistance(a, b string) int {
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// compareVersions compares kernel versions by their numbers: "4.9" < "4.14", "6.1.0-28-amd64" = "6.1". What is not a number ends a
// version.
func compareVersions(a, b string) int {
	return slices.Compare(versionNumbers(a), versionNumbers(b))
}

func versionNumbers(s string) []int {
	if i := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }); i >= 0 {
		s = s[:i]
	}
	var n []int
	for part := range strings.SplitSeq(s, ".") {
		v, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		n = append(n, v)
	}
	for len(n) > 0 && n[len(n)-1] == 0 {
		n = n[:len(n)-1]
	}
	return n
}
