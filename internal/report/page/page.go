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
	"cmp"
	"crypto/sha256"
	_ "embed" // the templates, the style and the script
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/tcplab/tcplab/internal/result"
)

// Options say how a page is made. The zero value is a page in English.
type Options struct {
	// Lang is the language that the page opens in: English or Chinese. The zero value is English.
	Lang Lang
	// Most is about how many bytes the packets and the evidence of several runs may take; the zero value is 8 MiB. Once they do, the runs that
	// are left have their checks and their story only. Runs that did not pass come first.
	Most int
	// Matrix is the stored matrix that the runs belong to: its table comes first, with what changes from kernel to kernel and why. The runs
	// are those of its cells that have a folder, row by row. Nil: the table is made from the runs alone.
	Matrix *result.Matrix
	// Pages are addresses, beside the runs: of a page of each run's own. The cells of Matrix lead there. Nil: to the run in this page.
	Pages []string
	// Links stand beside the name in the bar, where a page is served and not a file. Nil: there are none.
	Links []Link
}

// Link leads to another page. Text is English.
type Link struct{ Text, Href string }

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
	for _, text := range []string{svgText, pageText} {
		if _, err := t.Parse(text); err != nil {
			return nil, fmt.Errorf("report page: %w", err)
		}
	}
	return t, nil
}

// document is what the page's template is given.
type document struct {
	Lang   Lang
	Title  string
	Policy string
	CSS    template.CSS // style.css and script.js are this package's own files
	JS     template.JS
	Links  []linkView
	Matrix *matrix         // nil for a single run without one
	Runs   []template.HTML // filled by the same templates
}

// mostBytes is how large a page of many runs may grow before their packets and evidence are left out: what a browser opens at once, and a
// mail carries.
const mostBytes = 8 << 20

// HTML writes one page with the given runs: with several, or a stored matrix, a table of them comes first, and each is folded. Many runs are bounded: see
// Options.Most.
func HTML(w io.Writer, o Options, runs ...*result.Result) error {
	c := newComposer(o)
	t, err := c.templates()
	if err != nil {
		return err
	}
	d := document{Lang: c.lang, Title: "tcplab", Policy: policy(), CSS: template.CSS(style), JS: template.JS(script)}
	for _, l := range o.Links {
		d.Links = append(d.Links, linkView{c.text(l.Text), l.Href})
	}
	several := len(runs) != 1 || o.Matrix != nil
	if d.Runs, err = c.bodies(t, o, runs, several); err != nil {
		return err
	}
	switch {
	case o.Matrix != nil:
		if d.Matrix, err = c.kernelMatrix(o.Matrix, runs); err != nil {
			return err
		}
		d.Title = d.Matrix.Heading.Text + " · tcplab"
	case several:
		d.Matrix = c.matrix(runs)
		d.Title = c.textf("%d runs", len(runs)).Text + " · tcplab"
	default:
		d.Title = c.clean(runs[0].Experiment.Name) + " · " + c.verdict(runs[0].Verdict).Text
	}
	return fill(w, t, "page", d)
}

// bodies fills in each run. Those that did not pass come first to the room that there is; the order in the page is that of runs.
func (c *composer) bodies(t *template.Template, o Options, runs []*result.Result, several bool) ([]template.HTML, error) {
	room := cmp.Or(o.Most, mostBytes)
	out := make([]template.HTML, len(runs))
	for _, passed := range []bool{false, true} {
		for i, r := range runs {
			if (r.Verdict == result.Pass) != passed {
				continue
			}
			var b strings.Builder
			if err := fill(&b, t, "body", c.run(r, i+1, several, several && room <= 0)); err != nil {
				return nil, err
			}
			room -= b.Len()
			out[i] = template.HTML(b.String()) // it came from a template, which has escaped it
		}
	}
	return out, nil
}

// SVG writes the ladders of runs as one picture, one below the other.
func SVG(w io.Writer, o Options, runs ...*result.Result) error {
	c := newComposer(o)
	t, err := c.templates()
	if err != nil {
		return err
	}
	if len(runs) == 1 {
		return fill(w, t, "picture", c.ladder(runs[0], "ladder"))
	}
	return fill(w, t, "pictures", c.pictures(runs))
}

// fill fills a template. Nothing is written where that fails.
func fill(w io.Writer, t *template.Template, name string, data any) error {
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}
