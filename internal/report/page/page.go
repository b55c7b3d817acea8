// Package page draws a result as something to look at: report.html, one file that opens anywhere, and ladder.svg.
//
// The page asks for nothing: no font, no picture, no script from elsewhere, and its Content-Security-Policy allows only the style and the
// script that it carries, by their hashes. All of it can be read without script and without style; the script only changes the scale of the
// ladder, the language and what is folded. Every string goes through html/template, and through report.Clean before.
//
// Its one trap: a colour in an SVG must be a presentation attribute (fill="..."), not a style attribute, which the policy forbids. The
// style sheet may repaint it for the dark.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the templates, the style and the script
	"encoding/base64"
	"fmt"
	"html/template"
	"io"

	"github.com/tcplab/tcplab/internal/result"
)

// Options say how a page is made. The zero value is a page in English.
type Options struct {
	// Lang is the language that the page opens in: English or Chinese. The zero value is English.
	Lang Lang
}

var (
	//go:embed page.tmpl
	pageText string
	//go:embed svg.tmpl
	svgText string
	//go:embed style.css
	style string
	//go:embed script.js
	script string
)

// hash is a source expression of CSP: the hash of an inline style or script.
func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// policy forbids everything but the page's own style and script.
func policy() string {
	return "default-src 'none'; style-src " + hash(style) + "; script-src " + hash(script) + "; base-uri 'none'; form-action 'none'"
}

// templates are parsed once for each language, because their words come from a function.
func (c *composer) templates() (*template.Template, error) {
	t := template.New("page").Funcs(template.FuncMap{"t": c.text, "tf": c.textf, "join": func(a ...any) string { return fmt.Sprint(a...) }})
	if _, err := t.Parse(svgText); err != nil {
		return nil, err
	}
	return t.Parse(pageText)
}

// document is what the page's template is given.
type document struct {
	Lang   Lang
	Title  string
	Policy string
	CSS    template.CSS // style.css and script.js are this package's own files
	JS     template.JS
	Matrix *matrix // nil for a single run
	Runs   []*runView
}

// HTML writes one page with the given runs: with several, a matrix of them comes first.
func HTML(w io.Writer, o Options, runs ...*result.Result) error {
	c := newComposer(o)
	d := document{Lang: c.lang, Title: "tcplab", Policy: policy(), CSS: template.CSS(style), JS: template.JS(script)}
	for i, r := range runs {
		d.Runs = append(d.Runs, c.run(r, i+1, len(runs) > 1))
	}
	if len(runs) == 1 {
		d.Title = c.clean(runs[0].Experiment.Name) + " · " + c.verdict(runs[0].Verdict).Text
	} else {
		d.Matrix = c.matrix(runs)
		d.Title = c.textf("%d runs", len(runs)).Text + " · tcplab"
	}
	return c.write(w, "page", d)
}

// SVG writes the ladder of one run as a picture of its own.
func SVG(w io.Writer, o Options, r *result.Result) error {
	c := newComposer(o)
	return c.write(w, "picture", c.ladder(r, "ladder"))
}

// write fills a template. Nothing is written where that fails.
func (c *composer) write(w io.Writer, name string, data any) error {
	t, err := c.templates()
	if err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}
