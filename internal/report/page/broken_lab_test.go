//go:build lab

package page

import (
	"context"
	"html/template"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/tcplab/tcplab/internal/result"
)

// check is one of the looks at the page of a result in the browser. It says what is wrong.
type check func(*tab, *result.Result) []string

// The checks.

func layout(x *tab, _ *result.Result) []string   { return x.layout() }
func noise(x *tab, _ *result.Result) []string    { return x.noise() }
func keyboard(x *tab, _ *result.Result) []string { return x.keyboard() }
func inert(x *tab, _ *result.Result) []string    { return x.inert() }
func content(x *tab, r *result.Result) []string  { return x.content(r) }
func bare(x *tab, _ *result.Result) []string     { return eval[[]string](x, look+"(false)") }

// Ways to break a page.
func lawless(page string) string   { return without(page, "<meta http-equiv=", ">") }
func styleless(page string) string { return without(page, "<style>", "</style>") }
func swap(old, with string) func(string) string {
	return func(s string) string { return strings.ReplaceAll(s, old, with) }
}
func scripted(more string) func(page string) string {
	return swap("<script>(function () {", "<script>(function () {"+more)
}

// without cuts from one mark to another.
func without(page, from, to string) string {
	before, rest, _ := strings.Cut(page, from)
	_, after, _ := strings.Cut(rest, to)
	return before + after
}

// raw is an attack as a template writes it, and as it must never be.
var raw = swap(template.HTMLEscapeString("<img src=x onerror=alert(1)>"), "<img src=x>")

// broken are pages that are wrong in one way each, and the check that must see it. Every check is here: one that no page fails says nothing.
var broken = []struct {
	name   string
	check  check
	change func(page string) string
	before []step
	want   string

	hostile bool // the page is that of a hostile result
}{
	{"overlap", layout, swap(`x="880" y="4"`, `x="940" y="4"`), nil, "overlap", false},
	{"contrast of text", layout, swap("--pale:#5a6675", "--pale:#b0b8c0"), nil, "contrast", false},
	{"contrast of arrows", layout, swap("--bad:#b3261e", "--bad:#f0c0bc"), nil, "drawn with contrast", false},
	{"contrast of arrows in the dark", layout, swap("--bad:#ff8a80", "--bad:#5a2a28"), []step{media("screen", "dark")}, "drawn with contrast", false},
	{"contrast of a filling alone", layout, swap(".edge{stroke:var(--pale)}", ".edge{stroke:none}"), nil, "drawn with contrast", false},
	{"wide", layout, swap("</main>", `<p><svg width="3000" height="9"></svg></p></main>`), nil, "wider than the window", false},
	{"wide on paper", layout, swap("svg.sequence{min-width:0}", "svg.sequence{min-width:1300px}"), []step{size(paper), media("print", "light")}, "wider than the window", false},
	{"order", layout, swap(`id="run1-p2" transform="translate(0,`, `id="run1-p2" transform="translate(0,-`), nil, "stands above", false},
	{"arrow outside", layout, swap(`x2="634"`, `x2="1634"`), nil, "x2=1634", false},
	{"struck", layout, swap(`y="-2.5"`, `y="8"`), nil, "struck through", false},
	{"id", layout, swap("<main>", `<main id="run1">`), nil, "twice", false},
	{"scroll", layout, swap(` tabindex="0"`, ""), []step{size(360)}, "cannot be focused", false},
	{"text that only the style colours", bare, func(s string) string { return styleless(swap(`fill="#1c2430"`, `fill="#eeeeee"`)(s)) }, nil, "contrast", false},
	{"a request that the policy refuses", noise, swap("</main>", `<img src="http://127.0.0.1:1/x.png"></main>`), nil, "said: ", false},
	{"a request", noise, func(s string) string {
		return swap("</main>", `<img src="http://127.0.0.1:1/x.png"></main>`)(lawless(s))
	}, nil, "a request: http://127.0.0.1:1/x.png", false},
	{"a script that the policy does not name", noise, swap("</main>", "<script>document.title='x'</script></main>"), nil, "said: ", false},
	{"the console", noise, scripted("console.log(1);"), nil, "said: console.log", false},
	{"an exception", noise, scripted("setTimeout(function () { throw new Error('x'); });"), nil, "said: ", false},
	{"no button but looks like one", keyboard, swap(`<button type="button" id="lang" lang="zh">中文</button>`, `<span id="lang">中文</span>`), nil, "not reached with the Tab key: span", false},
	{"left out of the order", keyboard, swap(`data-scale="2"`, `data-scale="2" tabindex="-1"`), nil, "not reached with the Tab key: button", false},
	{"out of order", keyboard, swap(`data-scale="2"`, `data-scale="2" tabindex="1"`), nil, "out of order", false},
	{"focus that is not to be seen", keyboard, swap(":focus-visible{outline:3px", ":focus-visible{outline:0"), nil, "the focus is not to be seen", false},
	{"there with a script alone", content, func(s string) string {
		return scripted("document.querySelector('.story').hidden = false;")(swap(`<section class="story">`, `<section class="story" hidden>`)(s))
	}, []step{scripts(false)}, "not to be read: ", false},
	{"packets with a script alone", content, swap(`<div class="wide scroll"`, `<div hidden class="wide scroll"`), []step{scripts(false)}, "packets drawn", false},
	{"dead buttons", content, swap(`class="tools" hidden`, `class="tools"`), []step{scripts(false)}, "nothing would happen", false},
	{"an element", inert, raw, nil, "became an element: img", true},
	{"a script", inert, func(s string) string {
		return swap("</main>", "<script>document.title='hacked'</script></main>")(lawless(s))
	}, nil, "a string ran", false},
	{"an attribute", inert, swap(`<main>`, `<main onclick="alert(1)">`), nil, "an attribute that acts: onclick", false},
	{"a link that runs", inert, swap(`<a href="#`, `<a href="javascript:alert(1)//`), nil, "an attribute that acts: href", false},
}

// browserBroken is the control of all the others: each check finds nothing in a good page and sees what is wrong in a broken one.
func browserBroken(t *testing.T, ctx context.Context) {
	r, worse := stored(t)["exp1-syn-loss"], stored(t)["exp1-syn-loss"]
	hostile(worse)
	pages := map[bool]string{false: html(t, Options{}, r), true: html(t, Options{}, worse)}
	x := newTab(t, ctx)
	for _, tt := range broken {
		t.Run(tt.name, func(t *testing.T) {
			good := pages[tt.hostile]
			text := tt.change(good)
			if text == good {
				t.Fatal("nothing was broken: the page does not have what is changed in it")
			}
			// The policy names the page's own style and script, changed as they may be.
			_, rest, _ := strings.Cut(text, "<style>")
			css, _, _ := strings.Cut(rest, "</style>")
			js, _, _ := strings.Cut(text[strings.LastIndex(text, "<script>")+len("<script>"):], "</script>")
			escape := strings.NewReplacer("'", "&#39;", "+", "&#43;")
			for _, own := range [][2]string{{style, css}, {script, js}} {
				text = strings.ReplaceAll(text, escape.Replace(hash(own[0])), escape.Replace(hash(own[1])))
			}
			file := filepath.Join(t.TempDir(), "page.html")
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			x.show(t, file, append([]step{size(1024), media("screen", "light")}, tt.before...)...)
			x.run(chromedp.Poll[chromedp.Void]("document.readyState === 'complete'"))
			if found := strings.Join(tt.check(x, r), "\n"); !strings.Contains(found, tt.want) {
				t.Errorf("got %q, want %q among it", found, tt.want)
			}
		})
	}
}
