package page

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// evidence is one table of what the verdict stands on.
type evidence struct {
	ID     string
	Title  text
	Heads  []text
	Rows   [][]text
	Remark text
	Folded bool
	Same   *link // where another run of the page has the same table: that one
	shared bool  // it may be left out for the same of another run
}

func (c *composer) evidence(r *result.Result, id string) []evidence {
	matters, baseline := c.sysctls(r)
	var out []evidence
	tables := []evidence{c.deaths(r, id), c.told(r), matters, c.rules(r), c.captures(r), c.clock(r), c.kernelEvents(r, id), c.counters(r), c.samples(r), c.stalls(r), c.params(r), baseline,
		c.kernelFacts(r)}
	for _, e := range tables {
		if len(e.Rows) == 0 {
			continue
		}
		e.prune()
		e.ID = fmt.Sprintf("%s-e%d", id, len(out)+1)
		if e.shared {
			c.once(&e, id)
		}
		out = append(out, e)
	}
	return out
}

// prune takes out the columns in which nothing stands: what nobody could see in this run, or what did not happen.
func (e *evidence) prune() {
	for i := len(e.Heads) - 1; i >= 0; i-- {
		if slices.ContainsFunc(e.Rows, func(row []text) bool { return row[i].Text != "" }) {
			continue
		}
		e.Heads = slices.Delete(e.Heads, i, i+1)
		for n := range e.Rows {
			e.Rows[n] = slices.Delete(e.Rows[n], i, i+1)
		}
	}
}

// once replaces a table that the page has already by a link to it.
func (c *composer) once(e *evidence, id string) {
	key := fmt.Sprintf("%q %q", e.Title, e.Rows)
	if there, ok := c.tables[key]; ok {
		e.Same = &there
		return
	}
	c.tables[key] = link{"#" + e.ID, strings.TrimPrefix(id, "run")}
}

// mostRows is how many rows a table has at most that grows with the length of a run.
const mostRows = 100

func (c *composer) heads(names ...string) []text {
	var out []text
	for _, n := range names {
		out = append(out, c.text(n))
	}
	return out
}

func (c *composer) cells(values ...string) []text {
	var out []text
	for _, v := range values {
		out = append(out, c.same(v))
	}
	return out
}

func (c *composer) sysctls(r *result.Result) (matters, baseline evidence) {
	heads := c.heads("host", "sysctl", "was", "now", "this machine", "set by")
	matters = evidence{Title: c.text("Settings that matter here"), Heads: heads}
	baseline = evidence{Title: c.text("Baseline: all other settings that are pinned"), Heads: heads, Folded: true, shared: true}
	for _, s := range bothEnds(r.Sysctls) {
		row := append([]text{c.host(s.Host)}, c.cells(s.Name, s.Was, s.Now, s.Here)...)
		row = append(row, c.text(s.Origin))
		if s.Matters {
			matters.Rows = append(matters.Rows, row)
		} else {
			baseline.Rows = append(baseline.Rows, row)
		}
	}
	return matters, baseline
}

// bothEnds puts the settings that are the same at client and server into one line.
func bothEnds(all []result.Sysctl) []result.Sysctl {
	at := map[result.Sysctl]int{}
	var out []result.Sysctl
	for _, s := range all {
		k := s
		k.Host = ""
		if i, ok := at[k]; ok && out[i].Host == "client" && s.Host == "server" {
			out[i].Host = "client and server"
			continue
		}
		at[k] = len(out)
		out = append(out, s)
	}
	return out
}

func (c *composer) rules(r *result.Result) evidence {
	e := evidence{Title: c.text("Rules and what they caught"), Heads: c.heads("host", "chain", "rule", "packets", "bytes", "capture sees it")}
	for _, x := range r.Rules {
		seen := "no: it dies before the capture"
		switch {
		case x.AfterCapture:
			seen = "yes: it dies after the capture"
		case x.Between():
			seen = "the sender's alone: it dies between the captures"
		}
		table := x.Table
		if table == "" {
			table = "filter"
		}
		e.Rows = append(e.Rows, []text{c.host(x.Host), c.same(table + " " + x.Chain), c.same(strings.Join(x.Spec, " ")), c.same(fmt.Sprint(x.Packets)), c.same(fmt.Sprint(x.Bytes)), c.text(seen)})
	}
	return e
}

func (c *composer) captures(r *result.Result) evidence {
	e := evidence{Title: c.text("Captures"), Heads: c.heads("host", "file", "packets", "lost by the capture")}
	for _, x := range r.Captures {
		e.Rows = append(e.Rows, append([]text{c.host(x.Host)}, c.cells(x.File, fmt.Sprint(x.Packets), fmt.Sprint(x.Dropped)+report.GapText(x))...))
	}
	return e
}

func (c *composer) clock(r *result.Result) evidence {
	e := evidence{Title: c.text("Clock and link")}
	for _, s := range report.ClockText(r.Clock) {
		e.Rows = append(e.Rows, []text{c.text(s)})
	}
	if l := r.Link; l != nil {
		e.Rows = append(e.Rows, []text{c.textf("RTT %s by %s: %d frames, %d lost from a full queue, at most %s late", report.Small(l.RTT.Duration()), l.How, l.Frames, l.Lost,
			report.Small(l.Worst.Duration()))})
	}
	return e
}

func (c *composer) stalls(r *result.Result) evidence {
	e := evidence{Title: c.text("Stalls of this machine"), Heads: c.heads("who", "from", "late by"), Folded: len(r.Stalls) > 4}
	for i, s := range r.Stalls {
		if i == mostRows {
			e.Remark = c.textf("and %d more; result.json has all", len(r.Stalls)-mostRows)
			break
		}
		e.Rows = append(e.Rows, []text{c.text(report.Who(s)), c.same(secs(s.At)), c.same(report.Small(s.For.Duration()))})
	}
	return e
}

func (c *composer) params(r *result.Result) evidence {
	e := evidence{Title: c.text("Parameters"), Heads: c.heads("parameter", "value", "from"), Folded: true}
	for _, p := range r.Params {
		e.Rows = append(e.Rows, []text{c.same("--" + p.Name), c.same(p.Value), c.text(p.From)})
	}
	return e
}

func (c *composer) kernelFacts(r *result.Result) evidence {
	e := evidence{Title: c.text("Facts of the kernel that the prediction stands on"), Heads: c.heads("fact", "value", "from"), Folded: true, shared: true}
	for _, f := range r.Kernel.Facts {
		e.Rows = append(e.Rows, []text{c.same(f.Name), c.same(f.Value), c.text(f.From)})
	}
	return e
}
