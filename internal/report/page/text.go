package page

import (
	"fmt"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// Lang is a language of the page.
type Lang string

// The languages.
const (
	English Lang = "en"
	Chinese Lang = "zh"
)

// A text is what the page shows, and the same in its other language, which the toggle puts in its place. Other is empty where both are the
// same.
type text struct {
	Text, Other string
	Href        string // of a cell of a table that leads somewhere
}

// composer makes the parts of a page in one language.
type composer struct {
	lang  Lang
	pages []string          // Options.Pages
	asked map[string]bool   // every English text that was asked for, and whether it has a Chinese form
	known map[string]string // their Chinese forms, because most texts come often

	tables map[string]link // tables of evidence that a run of the page has, and others need not repeat
}

func newComposer(o Options) *composer {
	c := &composer{lang: o.Lang, pages: o.Pages, asked: map[string]bool{}, known: map[string]string{}, tables: map[string]link{}}
	if c.lang != Chinese {
		c.lang = English
	}
	return c
}

func (c *composer) clean(s string) string { return report.Clean(s) }

// text translates an English text by the catalogue. What is not there stays English.
func (c *composer) text(en string) text {
	if en == "" {
		return text{}
	}
	zh, ok := c.known[en], c.asked[en]
	if !ok {
		zh, ok = translate(en)
		c.asked[en], c.known[en] = ok, zh
	}
	en, zh = c.clean(en), c.clean(zh)
	if !ok || zh == en {
		return text{Text: en}
	}
	if c.lang == Chinese {
		return text{Text: zh, Other: en}
	}
	return text{Text: en, Other: zh}
}

// textf formats an English text and translates the whole.
func (c *composer) textf(format string, a ...any) text { return c.text(fmt.Sprintf(format, a...)) }

// same is a text that no language changes: a name, a number.
func (c *composer) same(s string) text { return text{Text: c.clean(s)} }

// verdict is the word of a verdict.
func (c *composer) verdict(v result.Verdict) text {
	if !v.Known() {
		return c.same(string(v))
	}
	return c.text(verdictWords[v])
}

var verdictWords = map[result.Verdict]string{result.Pass: "PASS", result.Fail: "FAIL", result.Error: "ERROR",
	result.Inconclusive: "INCONCLUSIVE", result.Unable: "UNABLE", result.Skip: "SKIP"}
