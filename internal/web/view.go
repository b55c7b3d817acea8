package web

import (
	"bytes"
	_ "embed" // the template, the style and the script
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/result"
)

var (
	//go:embed page.tmpl
	pageText string
	//go:embed web.css
	webStyle string
	//go:embed live.js
	webScript string
)

// words puts texts into the language of one browser.
type words struct{ lang page.Lang }

// t is an English text in that language, safe to show. What has no Chinese form stays English.
func (v words) t(en string) string {
	if v.lang == page.Chinese {
		en, _ = page.Translate(en)
	}
	return report.Clean(en)
}

func (v words) tf(format string, a ...any) string { return v.t(fmt.Sprintf(format, a...)) }

func (v words) host(name string) string {
	if name == "client" || name == "server" {
		return v.t(name)
	}
	return report.Clean(name)
}

func (v words) verdict(x result.Verdict) string {
	if !x.Known() {
		return report.Clean(string(x))
	}
	return v.t(strings.ToUpper(string(x)))
}

// checkWord is the word in a table, where a pass should not shout.
func (v words) checkWord(x result.Verdict) string {
	if x == result.Pass {
		return v.t("ok")
	}
	return v.verdict(x)
}

// langCookie remembers the language. It decides nothing else.
const langCookie = "tcplab_lang"

// words are those of the browser's language: what it asks for with ?lang=, what it asked for before, or the server's.
func (s *Server) words(r *http.Request) words {
	choices := []string{r.URL.Query().Get("lang")}
	if c, err := r.Cookie(langCookie); err == nil {
		choices = append(choices, c.Value)
	}
	for _, l := range choices {
		if l == string(page.English) || l == string(page.Chinese) {
			return words{page.Lang(l)}
		}
	}
	return words{s.Lang}
}

// view is what the template is given.
type view struct {
	words
	Title string // after translation
	Body  string
	Data  any

	Base    string // of every link: the process's part of the path
	Other   page.Lang
	Switch  string // where the page is in the other language
	Token   string // of forms
	Allow   bool
	Now     *job
	Last    string // why the last run came to nothing
	Refresh int    // seconds, where script does not run; 0: never
	Here    string // which part of the page: runs, new
}

// Lang is the language of the page.
func (v view) Lang() page.Lang { return v.lang }

// T translates, for the template.
func (v view) T(en string) string { return v.t(en) }

// Path is the address of a page, from parts that may hold anything.
func (v view) Path(parts ...string) string {
	out := v.Base
	for _, p := range parts {
		out += "/" + url.PathEscape(p)
	}
	return out
}

// Clean makes a text from outside safe to show.
func (v view) Clean(s string) string { return report.Clean(s) }

// Verdict is the word of a verdict.
func (v view) Verdict(x result.Verdict) string { return v.verdict(x) }

// pages are parsed for the first who asks: every process of this program would pay for it, most in a guest.
var pages = sync.OnceValue(func() *template.Template { return template.Must(template.New("web").Parse(pageText)) })

// show answers with a page. Nothing is sent where it cannot be made.
func (s *Server) show(w http.ResponseWriter, r *http.Request, status int, name string, d view) {
	d.words = s.words(r)
	d.Base, d.Token, d.Allow = "/"+s.keys.path, s.keys.form, s.AllowRun && s.Lab != nil
	d.Now, d.Last = s.jobs.state()
	d.Other = page.Chinese
	if d.lang == page.Chinese {
		d.Other = page.English
	}
	q := r.URL.Query()
	q.Set("lang", string(d.Other))
	d.Switch = r.URL.EscapedPath() + "?" + q.Encode()
	if r.Method == http.MethodPost {
		d.Switch = ""
	}
	var b bytes.Buffer
	if err := pages().ExecuteTemplate(&b, name, d); err != nil {
		http.Error(w, "the page cannot be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	s.remember(w, r)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// remember keeps the language that was asked for.
func (s *Server) remember(w http.ResponseWriter, r *http.Request) {
	if l := r.URL.Query().Get("lang"); l == string(page.English) || l == string(page.Chinese) {
		http.SetCookie(w, &http.Cookie{Name: langCookie, Value: l, Path: s.path("/"), HttpOnly: true, SameSite: http.SameSiteStrictMode})
	}
}
