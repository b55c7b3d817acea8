package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/result"
)

// Rows keeps the connections of a capture that a table shows: all of them, or those that a reader wants to see first. The zero value
// keeps the latter.
type Rows struct {
	All    bool
	list   []result.Connection
	left   int // how many are not in list
	groups []group
	shown  []int  // connections whose command was shown
	grades [4]int // connections by the grade of their gravest finding
}

// mostRows is how many connections a table shows, and sameKind how many numbers a group of findings names.
const (
	mostRows = 40
	sameKind = 12
)

// group is a kind of finding: one example, and who else has it.
type group struct {
	kind, grade string
	n           int
	worst       result.Finding
	conn        result.Connection
	others      []int
}

// Add takes a connection.
func (r *Rows) Add(c result.Connection) {
	for i := range c.Findings {
		r.found(&c, &c.Findings[i])
	}
	r.grades[gravity(&c)]++
	r.list = append(r.list, c)
	if !r.All && len(r.list) >= 2*mostRows {
		r.cut()
	}
}

// found counts a finding into its group. The one that cost most is shown.
func (r *Rows) found(c *result.Connection, f *result.Finding) {
	i := slices.IndexFunc(r.groups, func(g group) bool { return g.kind == f.Kind && g.grade == f.Grade })
	if i < 0 {
		r.groups = append(r.groups, group{kind: f.Kind, grade: f.Grade, n: 1, worst: *f, conn: *c})
		return
	}
	g := &r.groups[i]
	if g.n++; g.conn.Number == c.Number {
		g.n--
	}
	other := c.Number
	if f.Cost > g.worst.Cost {
		other, g.worst, g.conn = g.conn.Number, *f, *c
	}
	if len(g.others) < sameKind && other != g.conn.Number && !slices.Contains(g.others, other) {
		g.others = append(g.others, other)
	}
}

// cut keeps the connections that died, then the slow ones, then the largest.
func (r *Rows) cut() {
	if r.All || len(r.list) <= mostRows {
		return
	}
	slices.SortStableFunc(r.list, func(a, b result.Connection) int {
		return cmp.Or(cmp.Compare(gravity(&b), gravity(&a)), cmp.Compare(b.FromClient.Bytes+b.FromServer.Bytes, a.FromClient.Bytes+a.FromServer.Bytes),
			cmp.Compare(a.Number, b.Number))
	})
	r.left += len(r.list) - mostRows
	clear(r.list[mostRows:])
	r.list = r.list[:mostRows]
}

// gravity is the grade of the gravest finding.
func gravity(c *result.Connection) int {
	g := 0
	for i := range c.Findings {
		g = max(g, gradeRank(c.Findings[i].Grade))
	}
	return g
}

func gradeRank(grade string) int { return map[string]int{"note": 1, "slow": 2, "died": 3}[grade] }

// AnalysisText writes what a capture holds, its connections as a table, and what died, was slow or is worth knowing, under these titles.
func AnalysisText(w io.Writer, doc *result.Analysis, rows *Rows, titles [3]string, s Style) error {
	rows.cut()
	slices.SortFunc(rows.list, func(a, b result.Connection) int { return cmp.Compare(a.Number, b.Number) })
	p := newPen(s)
	p.captureFile(doc)
	p.section(func() { p.connections(rows) })
	for i, grade := range []string{"died", "slow", "note"} {
		p.section(func() { p.findings(doc, rows, grade, titles[i]) })
	}
	if doc.File.Connections > 0 {
		p.section(func() { p.analysisEnd(doc, rows) })
	}
	return p.flush(w)
}

// captureFile is the head: the file, what is not TCP, what the capture lacks.
func (p *pen) captureFile(doc *result.Analysis) {
	f := &doc.File
	parts := []string{f.Format}
	parts = append(parts, f.Links...)
	if len(f.Interfaces) > 0 {
		parts = append(parts, strings.Join(f.Interfaces, ", "))
	}
	parts = append(parts, count(f.Packets, "packet"))
	if f.Start != "" {
		parts = append(parts, lasted(f.Duration.Duration()))
		if t, err := time.Parse(time.RFC3339Nano, f.Start); err == nil {
			parts = append(parts, t.UTC().Format("2006-01-02 15:04:05 UTC"))
		}
	}
	p.line(p.paint(bold, p.text(f.Name)))
	p.para("  file         ", plain, strings.Join(parts, " · "))
	if f.Comment != "" {
		p.para("  comment      ", dim, strings.ReplaceAll(f.Comment, "\n", " "))
	}
	var fates []string
	for _, name := range fateOrder {
		if n := doc.Fates[name]; n > 0 {
			fates = append(fates, fmt.Sprintf("%d %s", n, name))
		}
	}
	p.para("  connections  ", plain, fmt.Sprintf("%d: %s", f.Connections, cmp.Or(strings.Join(fates, ", "), "there is no TCP in it")))
	var others []string
	for _, kind := range slices.Sorted(mapKeys(f.Other)) {
		others = append(others, fmt.Sprintf("%d %s", f.Other[kind], kind))
	}
	if len(others) > 0 {
		p.para("  not TCP      ", dim, strings.Join(others, ", "))
	}
	p.captureDoubts(f)
}

var fateOrder = []string{"unanswered", "refused", "unreachable", "half-open", "silent", "reset", "open", "half-closed", "closed", "stray"}

func mapKeys(m map[string]int) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// captureDoubts are the reasons not to trust a capture blindly.
func (p *pen) captureDoubts(f *result.CaptureFile) {
	const first = "  note         "
	for _, d := range []struct {
		n    int
		text string
	}{
		{f.Copies, "%d packets were seen twice (a second interface, a mirror port or a merged file). The copies are left out."},
		{f.Truncated, "%d packets were cut by the snap length. Their lengths are taken from their headers."},
		{f.Fragments, "%d segments came in IP fragments. Only the first piece of each was read."},
		{f.Undecodable, "%d packets could not be decoded. The first: " + strings.ReplaceAll(f.WhyNot, "%", "%%")},
		{f.NoTime, "%d packets have no time stamp (simple packet blocks). They count as sent with the one before."},
		{int(min(f.Dropped, 1<<62)), "The capture lost %d packets, as it says itself. What seems lost on the wire may be lost in the capture."},
		{f.GivenUp, "%d connections were let go before their end, because too many were open at once."},
	} {
		if d.n > 0 {
			p.para(first, yellow, fmt.Sprintf(d.text, d.n))
		}
	}
	if f.Cut != "" {
		p.para(first, yellow, strings.ToUpper(f.Cut[:1])+f.Cut[1:]+". What came before is shown.")
	}
}

// wideTable is the width from which on a table has every column.
const wideTable = 116

// connections is the table.
func (p *pen) connections(rows *Rows) {
	cols := []column{{title: "#", right: true}, {title: "client"}, {title: "server"}, {title: "start", right: true}, {title: "lasted", right: true},
		{title: "RTT", right: true}, {title: "packets", right: true}, {title: "sent", right: true}, {title: "received", right: true},
		{title: "again", right: true}, {title: "how it ended", whole: true}}
	var cells [][]cell
	for i := range rows.list {
		c := &rows.list[i]
		var rtt, packets, again string
		if p.width >= wideTable {
			packets = strconv.Itoa(c.Packets)
			if c.RTT != nil {
				rtt = brief(c.RTT.Duration())
			}
		}
		if n := repeatsOf(c.FromClient) + repeatsOf(c.FromServer); n > 0 {
			again = strconv.Itoa(n)
		}
		text, color := ending(c)
		cells = append(cells, []cell{{strconv.Itoa(c.Number), plain}, {c.Client, plain}, {c.Server, plain}, {seconds(c.Start.Duration()), plain},
			{brief((c.End - c.Start).Duration()), plain}, {rtt, plain}, {packets, plain}, {size(c.FromClient.Bytes), plain},
			{size(c.FromServer.Bytes), plain}, {again, yellow}, {text, color}})
	}
	for i := range cols { // a number or an address in two lines can be neither read nor copied; a long address of IPv6 has to
		cols[i].whole = i > 2 || !slices.ContainsFunc(cells, func(r []cell) bool { return len(r[i].text) > 22 })
	}
	p.table(cols, cells)
	if rows.left > 0 {
		p.line("  ", p.paint(dim, p.text(fmt.Sprintf("and %d more that are neither worse nor larger: --all lists them", rows.left))))
	}
}

// ending is the last column: how a connection ended, or what it suffered from.
func ending(c *result.Connection) (string, sgr) {
	switch gravity(c) {
	case 3:
		return "✗ " + fateText(c), red
	case 2:
		return "! " + slowText(c), yellow
	}
	if c.Fate == "closed" {
		return "closed", green
	}
	return fateText(c), plain
}

// fateText is a fate in few words.
func fateText(c *result.Connection) string {
	has := func(kind string) *result.Finding {
		i := slices.IndexFunc(c.Findings, func(f result.Finding) bool { return f.Kind == kind })
		if i < 0 {
			return nil
		}
		return &c.Findings[i]
	}
	switch c.Fate {
	case "unanswered":
		return "no answer to SYN"
	case "refused":
		return "refused by RST"
	case "unreachable":
		return "refused by ICMP"
	case "half-open":
		return "SYN-ACK unheard"
	case "half-closed":
		return "half closed"
	}
	for _, kind := range []string{"keepalive-unanswered", "data-unanswered"} {
		if f := has(kind); f != nil && f.Grade == "died" {
			return other(f.Host) + " is gone"
		}
	}
	switch {
	case has("window-closed") != nil && has("window-closed").Grade == "died":
		return "window closed"
	case has("fin-unanswered") != nil:
		return "no ACK of FIN"
	case c.Fate == "reset":
		return "RST by " + c.ResetBy
	case c.Fate == "silent":
		return "one end is gone"
	}
	return c.Fate
}

// slowText names the first thing that cost time.
func slowText(c *result.Connection) string {
	words := map[string]string{"syn-lost": "SYN lost", "syn-ack-lost": "SYN-ACK lost", "ack-unheard": "third ACK unheard", "loss-repaired": "losses repaired",
		"window-closed": "window closed", "fin-lost": "FIN repeated", "fin-unanswered": "no ACK of FIN", "delayed-ack": "delayed ACKs", "data-unanswered": "no ACK of data"}
	for i := range c.Findings {
		if f := &c.Findings[i]; f.Grade == "slow" && words[f.Kind] != "" {
			return words[f.Kind]
		}
	}
	return c.Fate
}

func other(host string) string {
	if host == "client" {
		return "server"
	}
	return "client"
}

func repeatsOf(h result.HalfFlow) int {
	n := 0
	for kind, k := range h.Kinds {
		if kind != "keepalive-probe" && kind != "window-probe" && strings.Contains(againKinds, " "+kind+" ") {
			n += k
		}
	}
	return n
}

const againKinds = " syn-retransmission syn-ack-answer syn-ack-retransmission data-retransmission tail-loss-probe rto-retransmission fast-retransmission fin-retransmission "
