package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// mostLine is the longest line of events.ndjson that is looked at. The longest of the catalogue, a prediction, is some 50 kB.
const mostLine = 4 << 20

// line is one line of events.ndjson, as far as a page shows it.
type line struct {
	Time   time.Time          `json:"time"`
	Start  *result.Prediction `json:"start"`
	Event  *result.Event      `json:"event"`
	Status *statusLine        `json:"status"`
	End    *endLine           `json:"end"`
}

type statusLine struct {
	Elapsed result.Seconds `json:"elapsed"`
	Next    string         `json:"next"`
	NextAt  result.Seconds `json:"next_at"`
	Client  result.Sample  `json:"client"`
	Server  result.Sample  `json:"server"`
}

type endLine struct {
	Verdict result.Verdict `json:"verdict"`
	Reason  string         `json:"reason"`
}

// tail reads a file of lines that may still grow.
type tail struct {
	r    io.ReaderAt
	at   int64 // of the next line
	buf  []byte
	skip bool // the line at hand is too long
}

func newTail(r io.ReaderAt, at int64) *tail { return &tail{r: r, at: at} }

// raw returns the next whole line and where the one after it begins; io.EOF where there is none yet.
func (t *tail) raw() ([]byte, int64, error) {
	for {
		if i := bytes.IndexByte(t.buf, '\n'); i >= 0 {
			l := t.buf[:i]
			t.buf, t.at = t.buf[i+1:], t.at+int64(i)+1
			if t.skip {
				t.skip = false
				continue
			}
			return l, t.at, nil
		}
		if len(t.buf) > mostLine {
			t.at, t.buf, t.skip = t.at+int64(len(t.buf)), nil, true
		}
		chunk := make([]byte, 64<<10)
		n, err := t.r.ReadAt(chunk, t.at+int64(len(t.buf)))
		if n == 0 {
			if err == nil {
				err = io.EOF
			}
			return nil, 0, err
		}
		t.buf = append(t.buf, chunk[:n]...)
	}
}

// next returns the next line. One that is none of ours comes as an empty one.
func (t *tail) next() (line, int64, error) {
	b, at, err := t.raw()
	if err != nil {
		return line{}, 0, err
	}
	return parseLine(b), at, nil
}

func parseLine(b []byte) line {
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return line{}
	}
	return l
}

// resume is where a stream goes on whose reader has everything before id, the offset of a line. What is no such offset means from the
// beginning: the file is another one.
func resume(r io.ReaderAt, size, id int64) int64 {
	if id <= 0 || id > size {
		return 0
	}
	var b [1]byte
	if n, _ := r.ReadAt(b[:], id-1); n != 1 || b[0] != '\n' {
		return 0
	}
	return id
}

// liveRow is a line of the table of a live run: something that is expected, or was seen.
type liveRow struct {
	Key   string   `json:"key"` // what a seen event has in common with the prediction of it
	At    float64  `json:"at"`  // seconds, to sort by
	Seen  bool     `json:"seen"`
	Class string   `json:"class"` // its verdict
	Cells []string `json:"cells"`
}

// liveStatus is where a run stands.
type liveStatus struct {
	Elapsed float64   `json:"elapsed"` // seconds since the first packet; negative before it
	Next    string    `json:"next"`
	NextAt  float64   `json:"next_at"`
	Ends    []liveEnd `json:"ends"`
}

// liveEnd is the newest look at one end's socket.
type liveEnd struct {
	Host    string  `json:"host"`
	State   string  `json:"state"`
	Timer   string  `json:"timer"`   // the kernel's own, which is armed; empty: none
	Expires float64 `json:"expires"` // seconds since the first packet
	Detail  string  `json:"detail"`
}

// liveVerdict is how a run was judged.
type liveVerdict struct {
	Verdict string `json:"verdict"`
	Word    string `json:"word"`
	Reason  string `json:"reason"`
}

// rowsOf are the lines that a prediction promises.
func (v words) rowsOf(p *result.Prediction) []liveRow {
	var out []liveRow
	events := p.Events
	if p.Outcome != nil {
		events = append(slices.Clone(events), *p.Outcome)
	}
	if len(events) > mostDrawn {
		events = events[:mostDrawn]
	}
	for _, e := range events {
		out = append(out, v.row(e))
	}
	slices.SortStableFunc(out, byTime)
	return out
}

func byTime(a, b liveRow) int {
	switch {
	case a.At < b.At:
		return -1
	case a.At > b.At:
		return 1
	}
	return 0
}

// row is one event.
func (v words) row(e result.Event) liveRow {
	sec := func(s result.Seconds) string { return fmt.Sprintf("%.3f s", s.Duration().Seconds()) }
	row := liveRow{Key: fmt.Sprintf("%s %s %d %d %d", report.Clean(e.Host), report.Clean(e.What), e.N, e.Port, e.At), At: e.At.Duration().Seconds(), Class: "wait"}
	name := v.t(report.EventName(e))
	expected, window, seen, off, word := sec(e.At), "", "", "", ""
	from := max(e.At, e.Earliest)
	if to := e.At + e.Late; to > from {
		window = fmt.Sprintf("%.3f … %.3f s", from.Duration().Seconds(), to.Duration().Seconds())
	}
	if !e.Expected {
		expected, window, row.Key = "", "", ""
	}
	if e.Maybe && e.Seen == nil {
		word = v.t("optional")
	}
	if e.Seen != nil {
		row.Seen, row.At, row.Class = true, e.Seen.Duration().Seconds(), string(e.Verdict)
		seen = fmt.Sprintf("%.6f s", row.At)
		word = v.checkWord(e.Verdict)
		switch {
		case e.OffTick != nil:
			off = v.t("tick " + signed(e.OffTick.Duration()))
		case e.Expected:
			off = signed((*e.Seen - e.At).Duration())
		default:
			word = v.t("unexpected")
		}
	}
	row.Cells = []string{seen, v.host(e.Host), name, expected, window, off, word}
	return row
}

func signed(d time.Duration) string {
	if d < 0 {
		return "-" + report.Small(-d)
	}
	return "+" + report.Small(d)
}

// status puts a status line into words.
func (v words) status(l *statusLine) *liveStatus {
	out := &liveStatus{Elapsed: l.Elapsed.Duration().Seconds(), Next: v.t(l.Next), NextAt: l.NextAt.Duration().Seconds()}
	for _, x := range []result.Sample{l.Client, l.Server} {
		if x.Host == "" {
			continue
		}
		e := liveEnd{Host: v.host(x.Host), State: report.Clean(x.State), Timer: v.t(x.Timer)}
		if x.Timer != "" {
			e.Expires = (x.At + x.Expires).Duration().Seconds()
		}
		var parts []string
		if x.RTO > 0 {
			parts = append(parts, "RTO "+report.Small(x.RTO.Duration()))
		}
		if x.Backoff > 0 {
			parts = append(parts, v.t(fmt.Sprintf("backoff %d", x.Backoff)))
		}
		if x.Cwnd > 0 && x.State != "LISTEN" {
			parts = append(parts, fmt.Sprintf("cwnd %d", x.Cwnd))
		}
		e.Detail = strings.Join(parts, " · ")
		out.Ends = append(out.Ends, e)
	}
	return out
}

func (v words) end(l *endLine) *liveVerdict {
	return &liveVerdict{Verdict: string(knownVerdict(l.Verdict)), Word: v.verdict(l.Verdict), Reason: v.t(l.Reason)}
}

// knownVerdict is a verdict, or none for one that does not exist.
func knownVerdict(x result.Verdict) result.Verdict {
	if x.Known() {
		return x
	}
	return ""
}

// board is what a live page shows: the events file so far.
type board struct {
	Rows    []liveRow
	Status  *liveStatus
	Verdict *liveVerdict
	After   int64 // offset of the first line that is not in it
}

// statusMark ends the lines of most of a file; only the last of them matters. (Keys are written in the order of the alphabet.)
var statusMark = []byte(`"type":"status"}`)

// read reads a file as far as it goes, and at most mostEvents of it.
func (v words) read(r io.ReaderAt) (board, error) {
	b, t := board{}, newTail(r, 0)
	var last []byte
	for {
		raw, at, err := t.raw()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return b, err
		}
		b.After = at
		if at > mostEvents {
			break
		}
		if bytes.HasSuffix(raw, statusMark) {
			last = slices.Clone(raw)
			continue
		}
		b.add(v, parseLine(raw))
	}
	if last != nil {
		if l := parseLine(last); l.Status != nil {
			b.Status = v.status(l.Status)
		}
	}
	return b, nil
}

func (b *board) add(v words, l line) {
	switch {
	case l.Start != nil:
		b.Rows = v.rowsOf(l.Start)
	case l.Event != nil && len(b.Rows) < 2*mostDrawn:
		b.put(v.row(*l.Event))
	case l.End != nil:
		b.Verdict = v.end(l.End)
	}
}

// put fills the line that waits for a row, or makes room for it where its time says. live.js does the same.
func (b *board) put(row liveRow) {
	if i := slices.IndexFunc(b.Rows, func(x liveRow) bool { return row.Key != "" && x.Key == row.Key && !x.Seen }); i >= 0 {
		b.Rows[i] = row
		return
	}
	i := slices.IndexFunc(b.Rows, func(x liveRow) bool { return x.At > row.At })
	if i < 0 {
		i = len(b.Rows)
	}
	b.Rows = slices.Insert(b.Rows, i, row)
}
