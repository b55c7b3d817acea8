package page

import (
	"fmt"
	"strings"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// runView is one run as its template shows it.
type runView struct {
	ID        string
	N         int  // among the runs of the page
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
	Cases     []caseView
	Checks    []checkView
	Gaps      bool // some check has a gap
	Ladder    *ladderView
	States    *statesView
	Sequence  *seqView
	Story     []sentence
	Notes     []note
	Evidence  []evidence
	Reproduce string
	Short     text // why there is no more of it
	Shared    []sharedView
}

// sharedView is a reason that several checks have in common.
type sharedView struct {
	Text, Checks text
	Code         string
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

// caseView is a row of the table that answers the experiment's question.
type caseView struct {
	Port                                 string
	Name, Rule, From, Expected, Observed text
	Verdict                              result.Verdict
	Word                                 text
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

// run composes one run. A short one has neither packets nor evidence.
func (c *composer) run(r *result.Result, n int, folded, short bool) *runView {
	passed, all := r.Tally()
	v := &runView{
		ID: fmt.Sprintf("run%d", n), N: n, Folded: folded, Name: c.clean(r.Experiment.Name), Summary: c.text(r.Experiment.Summary), Question: c.text(r.Experiment.Question),
		Verdict: r.Verdict, Word: c.verdict(r.Verdict), Passed: fmt.Sprintf("%d/%d", passed, all), Wall: fmt.Sprintf("%.1f s", r.Wall.Duration().Seconds()),
		Kernel: c.clean(report.KernelName(r.Kernel)), Profile: c.clean(r.Profile), Command: c.clean(strings.Join(r.Command, " ")), Flags: c.flags(r.Params),
		Reproduce: c.lines(r.Reproduce),
	}
	if !r.Started.IsZero() {
		v.Started = r.Started.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	if r.Verdict != result.Pass {
		v.Reason = c.text(r.Reason)
		v.Cause = c.cause(r)
	}
	v.Cases = c.cases(r)
	shared, rows := report.SharedReasons(report.CheckRows(r))
	for _, s := range shared {
		v.Shared = append(v.Shared, sharedView{c.text(s.Text), c.textf("%d checks leave open what they ask", s.Checks), c.clean(s.Code)})
		if r.Verdict == result.Inconclusive && strings.Contains(r.Reason, s.Text) {
			v.Reason = text{} // it is the same, of the first check
		}
	}
	for _, k := range rows {
		v.Gaps = v.Gaps || k.Gap != ""
		v.Checks = append(v.Checks, checkView{c.text(k.Name), c.text(k.Expected), c.text(k.Allowed), c.text(k.Observed), c.text(k.Gap), c.text(k.AllowedGap), c.text(k.Detail),
			k.Verdict, c.checkWord(k.Verdict), c.clean(k.Code)})
	}
	if short {
		v.Short = c.text("Its packets and its evidence are left out here, because this page holds much already: make a page of this run alone.")
		v.Story = c.story(r, v)
		return v
	}
	v.Ladder = c.ladder(r, v.ID)
	v.States, v.Sequence = c.states(r), c.sequence(r)
	v.Story = c.story(r, v)
	for _, n := range r.Notes {
		v.Notes = append(v.Notes, note{c.clean(n.Code), c.text(n.Text)})
	}
	v.Evidence = c.evidence(r, v.ID)
	return v
}

// cases puts what was seen beside each row of the table that was predicted.
func (c *composer) cases(r *result.Result) []caseView {
	if r.Prediction == nil {
		return nil
	}
	seen := map[string]result.Check{}
	for _, k := range r.Checks {
		seen[k.ID] = k
	}
	var out []caseView
	for _, x := range r.Prediction.Cases {
		v := caseView{Port: fmt.Sprintf(":%d", x.Port), Name: c.text(x.Name), Rule: c.text(x.Rule), From: c.text(x.From), Expected: c.text(x.Words())}
		if k, ok := seen[x.CheckID()]; ok {
			v.Observed, v.Verdict, v.Word = c.text(k.Observed), k.Verdict, c.checkWord(k.Verdict)
		}
		out = append(out, v)
	}
	return out
}

// flags are the parameters that were asked for on the command line: they tell two runs of one experiment apart.
func (c *composer) flags(params []result.Param) string {
	var out []string
	for _, p := range params {
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
	if v.Ladder != nil {
		for _, row := range v.Ladder.Rows {
			there[row.ID] = true
		}
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
