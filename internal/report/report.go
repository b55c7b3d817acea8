// Package report turns a finished run into what people and other programs read: text for a terminal, the ladder of packets, JSON
// and JUnit. Every function is pure: the same result and the same Style give the same bytes.
//
// It is not for judging (package runner does that) and not for drawing while a run goes on (package live does that), but the runner
// prints its permanent lines with Head and LadderLine, so that a live run and a stored one read alike.
//
// Its one trap: the strings of a result come from outside (a stored file, a guest, a kernel's release string). They reach the writer
// only through pen.text, which makes control characters visible; a string that is written past it can move a reader's cursor.
package report

import (
	"io"

	"github.com/tcplab/tcplab/internal/result"
)

// Style says how text is laid out. The zero value is 100 columns of Unicode without colour.
type Style struct {
	// Color emits SGR colour codes. The zero value emits no escape code at all.
	Color bool
	// ASCII keeps the output in 7 bits: --> for arrows, X for a loss, ... for an ellipsis. The zero value uses Unicode.
	ASCII bool
	// Width is the number of columns to stay within; 0 means 100, less than 60 counts as 60. A file name or a word of a command is
	// never cut: only such a line may be longer.
	Width int
	// AbsoluteSeq shows sequence numbers as they are on the wire. The zero value shows them relative to the initial ones.
	AbsoluteSeq bool
	// Dir is the run's folder as the reader should see it. The zero value leaves out the lines that name files to open.
	Dir string
	// Page is the report for a browser, in Dir. The zero value leaves out the line that names it.
	Page string
}

const (
	defaultWidth = 100
	leastWidth   = 60
)

// JSON writes r in its versioned form (schema tcplab.result/v1).
func JSON(w io.Writer, r *result.Result) error { return r.Write(w) }

// Text writes everything that a run leaves on a terminal: head, ladder, checks, story, notes, evidence, failure, files, verdict. It
// is what the live runner has printed piece by piece.
func Text(w io.Writer, r *result.Result, s Style) error {
	p := newPen(s)
	p.head(r, 0)
	p.section(func() { p.ladder(r) })
	p.line()
	p.tail(r)
	return p.flush(w)
}

// Tail writes what follows the ladder: checks, story, notes, evidence, failure, files, verdict.
func Tail(w io.Writer, r *result.Result, s Style) error {
	p := newPen(s)
	p.line()
	p.tail(r)
	return p.flush(w)
}

func (p *pen) tail(r *result.Result) {
	p.checks(r)
	p.section(func() { p.story(r) })
	p.section(func() { p.notes(r) })
	p.section(func() { p.evidence(r) })
	p.section(func() { p.failure(r) })
	p.section(func() { p.files(r); p.verdictLine(r) })
}
