package web

import (
	"crypto/subtle"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"strings"
	"sync"
)

// cookieName is the session's cookie. Its path is that of this process, so that another server on 127.0.0.1 is never sent it: browsers do
// not tell ports apart.
const cookieName = "tcplab"

// pagePolicy is the Content-Security-Policy of this package's own pages: their style and script are files of this server, and a form goes to
// this server. Report pages have that of package page.
const pagePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// guard lets through only what comes from a browser that was given this process's address. It is in front of everything.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers(w.Header())
		switch code, why := s.refuse(r); {
		case code == http.StatusMethodNotAllowed:
			w.Header().Set("Allow", "GET, HEAD, POST")
			fallthrough
		case code != 0:
			http.Error(w, why, code)
		case r.URL.Path == "/favicon.ico":
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Path == "/":
			s.welcome(w)
		default:
			r.Body = http.MaxBytesReader(w, r.Body, mostBody)
			next.ServeHTTP(w, r)
		}
	})
}

// headers are those of every answer.
func headers(h http.Header) {
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin") // no-referrer would turn the Origin of our own forms into null
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

const needsLink = "This page needs the link that tcplab serve printed in its terminal: with its token, and while it runs.\n" +
	"请使用 tcplab serve 在终端中打印的链接打开本页：链接带有令牌，且仅在它运行期间有效。"

// refuse says why a request is not answered; 0: it is.
func (s *Server) refuse(r *http.Request) (code int, why string) {
	if !localHost(r.Host) { // a name of an attacker's that leads here: DNS rebinding
		return http.StatusMisdirectedRequest, "tcplab serve answers to 127.0.0.1 and localhost only"
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		return http.StatusMethodNotAllowed, "want GET, HEAD or POST"
	}
	// A page of another origin may lead here, and then only gets what the cookie allows, but it may not load, fetch or post anything.
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" && (r.Method == http.MethodPost || r.Header.Get("Sec-Fetch-Mode") != "navigate") {
		return http.StatusForbidden, "asked for by a page of another origin"
	}
	switch {
	case r.URL.Path == "/favicon.ico" && r.Method != http.MethodPost:
		return 0, ""
	case r.URL.Path == "/" && r.Method != http.MethodPost:
		if !equal(r.URL.Query().Get("token"), s.keys.token) {
			return http.StatusForbidden, needsLink
		}
		return 0, ""
	}
	c, err := r.Cookie(cookieName)
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if err != nil || !equal(c.Value, s.keys.session) || !equal(first, s.keys.path) {
		return http.StatusForbidden, needsLink
	}
	if r.Method != http.MethodPost {
		return 0, ""
	}
	if r.Header.Get("Origin") != "http://"+r.Host {
		return http.StatusForbidden, "a form of another origin"
	}
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(kind) != "application/x-www-form-urlencoded" {
		return http.StatusUnsupportedMediaType, "want application/x-www-form-urlencoded"
	}
	return 0, ""
}

// localHost reports whether a Host header names this machine by a name that no name server decides on. The port does not matter: it may be
// another one at the other end of `ssh -L`.
func localHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	return name == "127.0.0.1" || strings.EqualFold(name, "localhost")
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// posted reports whether a form carries this process's token: the last of the checks of a POST, because it reads the body.
func (s *Server) posted(r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return &problem{http.StatusRequestEntityTooLarge, fmt.Sprintf("the form cannot be read: %v", err)}
	}
	if !equal(r.PostForm.Get("token"), s.keys.form) {
		return &problem{http.StatusForbidden, "the form's token is not that of this process: load the page again"}
	}
	return nil
}

var welcomePage = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("welcome").Parse(`<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>tcplab</title>
<meta http-equiv="refresh" content="0;url={{.}}"></head><body><p><a href="{{.}}">tcplab</a></p></body></html>
`))
})

// welcome gives the cookie to a browser that has the token, and leads on. It is a page and no redirect: after a redirect that began at a link
// in another site (a terminal in a browser) the strict cookie would not be sent.
func (s *Server) welcome(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: s.keys.session, Path: s.path("/"), HttpOnly: true, SameSite: http.SameSiteStrictMode})
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = welcomePage().Execute(w, s.path("/"))
}

// problem is an error with its status.
type problem struct {
	status int
	text   string
}

// Error says what is wrong.
func (p *problem) Error() string { return p.text }
