// Package explain holds the stable codes that checks, notes and errors carry, with the text that `tcplab explain CODE` prints: what it
// means, why the kernel does it, and what to do. It also holds the table of exit codes.
//
// It is not for the verdicts themselves nor for error values: a code says where to read on, it is not something to branch on.
//
// Its one trap: a code is public the day it is released. It is never given to another meaning, not even after its own has gone.
package explain

import (
	"slices"
	"strings"
)

// Entry is what tcplab knows about one code.
type Entry struct {
	Code  string // "TL1203": TL, the family's two digits, two more
	Title string // one line
	// Text is what it means, why, and what to do: paragraphs separated by an empty line, each on one line.
	Text string
	See  []string // other codes
}

// Paragraphs returns the text, one string for each paragraph.
func (e Entry) Paragraphs() []string { return strings.Split(e.Text, "\n\n") }

// Family is a group of codes with the same first two digits.
type Family struct {
	Prefix string // "TL11"
	Title  string
}

// Families returns the groups of codes, in order. The caller owns the slice.
func Families() []Family {
	return []Family{
		{"TL11", "what was seen contradicts the prediction"},
		{"TL12", "how this kernel behaves"},
		{"TL13", "the machine disturbed the run"},
		{"TL14", "this machine lacks something"},
		{"TL15", "the command cannot be carried out as given"},
		{"TL16", "tcplab itself went wrong"},
	}
}

var entries = slices.Concat(verdictEntries, kernelEntries, handshakeEntries, dataEntries, fastOpenEntries, recoveryEntries, windowEntries, closingEntries, backlogEntries, machineEntries, usageEntries)

// Lookup finds the entry of a code. Case and blanks around it do not matter.
func Lookup(code string) (Entry, bool) {
	code = strings.ToUpper(strings.TrimSpace(code))
	for _, e := range entries {
		if e.Code == code {
			return e.clone(), true
		}
	}
	return Entry{}, false
}

// All returns every entry, sorted by code. The caller owns the slice.
func All() []Entry {
	all := make([]Entry, len(entries))
	for i, e := range entries {
		all[i] = e.clone()
	}
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.Code, b.Code) })
	return all
}

func (e Entry) clone() Entry {
	e.See = slices.Clone(e.See)
	return e
}

// Suggest returns the codes that a mistyped one may have meant, at most five, closest first: the digits alone ("1203"), or a code
// that differs in one or two characters. It is empty where nothing is close.
func Suggest(code string) []string {
	code = strings.ToUpper(strings.TrimSpace(code))
	if !strings.HasPrefix(code, "TL") {
		code = "TL" + code
	}
	if _, ok := Lookup(code); ok {
		return []string{code}
	}
	var near [3][]string
	for _, e := range All() {
		if d := differences(code, e.Code); d < len(near) {
			near[d] = append(near[d], e.Code)
		}
	}
	found := slices.Concat(near[:]...)
	return found[:min(len(found), 5)]
}

// differences counts the places in which two words differ; a missing character is a difference.
func differences(a, b string) int {
	n := max(len(a), len(b)) - min(len(a), len(b))
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}
