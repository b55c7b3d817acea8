package page

import (
	"fmt"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// runView is one run as its template shows it.
type runView struct {
	ID        string
	Folded    bool // one of several
	Name      string
	Summary   text
	Question  text
	Verdict   result.Verdict
	Word      text
	Passed    string
	Wall      string
	Kernel    string
	Profile   string
	Started   string
	Command   string
	Flags     string // what was asked for: "--close=4"
	Reason    text
	Cause     *causeView
	Checks    []checkView
	Gaps      bool // some check has a gap
	Ladder    *ladderView
	States    *statesView
	Sequence  *seqView
	Story     []sentence
	Notes     []note
	Evidence  []evidence
	Reproduce string
}

type causeView struct {
	Text text
	Fits text
	Code string
	More string
}

type checkView struct {
	Name, Expected, Allowed, Observed, Gap, AllowedGap, Detail text
	Verdict                                                    result.Verdict
	Word                                                       text
	Code                                                       string
}

type sentence struct {
	Text  text
	Links []link
}

type link struct{ Href, Name string }

type note struct {
	Code string
	Text text
}

func (c *composer) run(r *result.Result, n int, folded bool) *runView {
	passed, all := r.Tally()
	v := &runView{
		ID: fmt.Sprintf("run%d", n), Folded: folded, Name: c.clean(r.Experiment.Name), Summary: c.text(r.Experiment.Summary), Question: c.text(r.Experiment.Question),
		Verdict: r.Verdict, Word: c.verdict(r.Verdict), Passed: fmt.Sprintf("%d/%d", passed, all), Wall: fmt.Sprintf("%.1f s", r.Wall.Duration().Seconds()),
		Kernel: c.clean(report.KernelName(r.Kernel)), Profile: c.clean(r.Profile), Command: c.clean(strings.Join(r.Command, " ")), Flags: c.flags(r),
		Reproduce: c.lines(r.Reproduce),
	}
	if !r.Started.IsZero() {
		v.Started = r.Started.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	if r.Verdict != result.Pass {
		v.Reason = c.text(r.Reason)
		v.Cause = c.cause(r)
	}
	for _, k := range report.CheckRows(r) {
		v.Gaps = v.Gaps || k.Gap != ""
		v.Checks = append(v.Checks, checkView{c.text(k.Name), c.text(k.Expected), c.text(k.Allowed), c.text(k.Observed), c.text(k.Gap), c.text(k.AllowedGap), c.text(k.Detail),
			k.Verdict, c.checkWord(k.Verdict), c.clean(k.Code)})
	}
	v.Ladder = c.ladder(r, v.ID)
	v.States, v.Sequence = c.states(r), c.sequence(r)
	v.Story = c.story(r, v)
	for _, n := range r.Notes {
		v.Notes = append(v.Notes, note{c.clean(n.Code), c.text(n.Text)})
	}
	v.Evidence = c.evidence(r)
	return v
}

// flags are the parameters that were asked for on the command line: they tell two runs of one experiment apart.
func (c *composer) flags(r *result.Result) string {
	var out []string
	for _, p := range r.Params {
		if p.From == "flag" {
			out = append(out, c.clean("--"+p.Name+"="+p.Value))
		}
	}
	return strings.Join(out, " ")
}

// lines cleans lines one by one, so that they stay lines.
func (c *composer) lines(all []string) string {
	var out []string
	for _, s := range all {
		for l := range strings.SplitSeq(s, "\n") {
			out = append(out, c.clean(l))
		}
	}
	return strings.Join(out, "\n")
}

// checkWord is the word in the table, where a pass should not shout.
func (c *composer) checkWord(v result.Verdict) text {
	switch v {
	case result.Pass:
		return c.text("ok")
	case result.Fail:
		return c.text("FAIL")
	}
	return c.text(string(v))
}

// cause is the model that fits the run, or that none does.
func (c *composer) cause(r *result.Result) *causeView {
	h := r.Hypothesis
	switch {
	case h != nil:
		return &causeView{c.text(h.Text), c.textf("fits %d of %d events of this run", h.Fits, h.Of), c.clean(h.Code), c.clean(h.Command)}
	case r.Verdict == result.Fail:
		return &causeView{Text: c.text("not known: no other model fits this run")}
	}
	return nil
}

// mostLinks is how many packets a sentence names one by one.
const mostLinks = 8

// story links each sentence with the lines of its packets.
func (c *composer) story(r *result.Result, v *runView) []sentence {
	there := map[string]bool{}
	for _, row := range v.Ladder.Rows {
		there[row.ID] = true
	}
	var out []sentence
	for _, s := range r.Story {
		x := sentence{Text: c.text(s.Text)}
		for i, p := range s.Packets {
			id := packetID(v.ID, p)
			if !there[id] {
				continue
			}
			if i >= mostLinks {
				x.Links = append(x.Links, link{"#" + id, "…"})
				break
			}
			x.Links = append(x.Links, link{"#" + id, fmt.Sprintf("#%d", p)})
		}
		out = append(out, x)
	}
	return out
}

// matrix is the table of several runs: a line for each experiment and profile, a column for each kernel.
type matrix struct {
	Kernels []string
	Lines   []matrixLine
	Counts  []count
}

type matrixLine struct {
	Name, Profile string
	Cells         [][]cell
}

type cell struct {
	Href    string
	Verdict result.Verdict
	Word    text
	Detail  string
}

type count struct {
	Verdict result.Verdict
	Word    text
	N       int
}

func (c *composer) matrix(runs []*result.Result) *matrix {
	m := &matrix{}
	column, line := map[string]int{}, map[string]int{}
	counts := map[result.Verdict]int{}
	for _, r := range runs {
		name := c.clean(report.KernelName(r.Kernel))
		if _, ok := column[name]; !ok {
			column[name] = len(m.Kernels)
			m.Kernels = append(m.Kernels, name)
		}
	}
	for i, r := range runs {
		key := r.Experiment.Name + "\x00" + r.Profile
		if _, ok := line[key]; !ok {
			line[key] = len(m.Lines)
			m.Lines = append(m.Lines, matrixLine{c.clean(r.Experiment.Name), c.clean(r.Profile), make([][]cell, len(m.Kernels))})
		}
		passed, all := r.Tally()
		counts[r.Verdict]++
		at := &m.Lines[line[key]].Cells[column[c.clean(report.KernelName(r.Kernel))]]
		*at = append(*at, cell{fmt.Sprintf("#run%d", i+1), r.Verdict, c.verdict(r.Verdict), strings.TrimSpace(fmt.Sprintf("%d/%d · %.1f s %s", passed, all, r.Wall.Duration().Seconds(), c.flags(r)))})
	}
	for _, v := range []result.Verdict{result.Pass, result.Fail, result.Error, result.Inconclusive, result.Unable, result.Skip} {
		if counts[v] > 0 {
			m.Counts = append(m.Counts, count{v, c.verdict(v), counts[v]})
		}
	}
	return m
}

// evidence is one table of what the verdict stands on. What the kernel's own events say will be one more.
type evidence struct {
	Title  text
	Heads  []text
	Rows   [][]text
	Remark text
	Folded bool
}

// filled appends the tables that have rows.
func filled(tables ...evidence) []evidence {
	var out []evidence
	for _, e := range tables {
		if len(e.Rows) > 0 {
			out = append(out, e)
		}
	}
	return out
}

func (c *composer) evidence(r *result.Result) []evidence {
	matters, baseline := c.sysctls(r)
	return filled(matters, c.rules(r), c.captures(r), c.clock(r), c.stalls(r), c.params(r), baseline, c.samples(r), c.kernelFacts(r))
}

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
	baseline = evidence{Title: c.text("Baseline: all other settings that are pinned"), Heads: heads, Folded: true}
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
		if x.AfterCapture {
			seen = "yes: it dies after the capture"
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
		e.Rows = append(e.Rows, append([]text{c.host(x.Host)}, c.cells(x.File, fmt.Sprint(x.Packets), fmt.Sprint(x.Dropped))...))
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
	for _, s := range r.Stalls {
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

func (c *composer) samples(r *result.Result) evidence {
	e := evidence{Title: c.text("What inet_diag said of the sockets"), Heads: c.heads("time", "host", "state", "timer", "expires in", "repeats", "backoff", "RTO"), Folded: true}
	for _, s := range r.Samples {
		rto := ""
		if s.RTO > 0 {
			rto = report.Small(s.RTO.Duration())
		}
		expires := ""
		if s.Timer != "" {
			expires = report.Small(s.Expires.Duration())
		}
		e.Rows = append(e.Rows, append([]text{c.same(secs(s.At)), c.host(s.Host)}, c.cells(s.State, s.Timer, expires, fmt.Sprint(s.Retrans), fmt.Sprint(s.Backoff), rto)...))
	}
	return e
}

func (c *composer) kernelFacts(r *result.Result) evidence {
	e := evidence{Title: c.text("Facts of the kernel that the prediction stands on"), Heads: c.heads("fact", "value", "from"), Folded: true}
	for _, f := range r.Kernel.Facts {
		e.Rows = append(e.Rows, []text{c.same(f.Name), c.same(f.Value), c.text(f.From)})
	}
	return e
}

func secs(s result.Seconds) string { return fmt.Sprintf("%.6f s", time.Duration(s).Seconds()) }
