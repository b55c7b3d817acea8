package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/result"
)

// stored are real runs, as package page keeps them for its tests.
func stored(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../report/page/testdata/" + name + ".json.gz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := out.ReadFrom(z); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// put makes a file of a run, at once, as the runner does: a server that looks meanwhile must find neither half of it nor, where it is a new
// run's, a folder without it.
func put(t testing.TB, dir, run, name string, content []byte) {
	t.Helper()
	folder := filepath.Join(dir, run)
	aside := filepath.Join(t.TempDir(), "run")
	err := errors.Join(os.MkdirAll(aside, 0o755), os.MkdirAll(filepath.Dir(folder), 0o755), os.WriteFile(filepath.Join(aside, name), content, 0o644))
	if err == nil {
		if _, serr := os.Stat(folder); errors.Is(serr, fs.ErrNotExist) {
			err = os.Rename(aside, folder)
		} else {
			err = os.Rename(filepath.Join(aside, name), filepath.Join(folder, name))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// script are the lines of events.ndjson of a stored run, as the runner writes them.
func script(t testing.TB, name string) [][]byte {
	t.Helper()
	r, err := result.Read(bytes.NewReader(stored(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	events := slices.DeleteFunc(seenEvents(r), func(e result.Event) bool { return e.Seen == nil })
	var out [][]byte
	add := func(kind string, v any) {
		b, err := json.Marshal(map[string]any{"schema": "tcplab.event/v1", "type": kind, "time": time.Unix(1000, 0).UTC(), kind: v})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, append(b, '\n'))
	}
	add("start", r.Prediction)
	for _, e := range events {
		add("event", e)
		add("status", map[string]any{"elapsed": *e.Seen, "next": "SYN again 1", "next_at": 1, "client": result.Sample{Host: "client", State: "SYN-SENT", Timer: "retransmit", Expires: 1e9, RTO: 1e9, Cwnd: 10},
			"server": result.Sample{Host: "server", State: "LISTEN"}})
	}
	add("end", map[string]any{"verdict": r.Verdict, "reason": r.Reason})
	return out
}

// fake is a Lab that runs nothing. hold keeps a run going.
type fake struct {
	dir  string
	hold chan struct{} // nil: a run is over at once

	mu      sync.Mutex
	started []Request
	ended   []error // the causes with which contexts ended
}

func (f *fake) Check(q Request) map[string]string {
	if q.Values["syn-retries"] == "0" {
		return map[string]string{"syn-retries": "--syn-retries=0: tcp_syn_retries=0: the kernel takes 1 to 127 (retries)"}
	}
	return nil
}

func (f *fake) Predict(Request) (*result.Prediction, error) {
	return &result.Prediction{Kernel: "6.12", HZ: 250, Events: []result.Event{{Host: "client", What: "syn", Expected: true, Why: "first SYN: time starts here"}}}, nil
}

func (f *fake) Command(q Request) string { return "sudo tcplab run " + q.Experiment }

func (f *fake) Run(ctx context.Context, q Request, begun func(string)) error {
	f.mu.Lock()
	f.started = append(f.started, q)
	f.mu.Unlock()
	if q.Values["syn-retries"] == "13" {
		return errors.New("this machine cannot run it")
	}
	if err := os.MkdirAll(filepath.Join(f.dir, "20300101-000000-new"), 0o755); err != nil {
		return err
	}
	begun("20300101-000000-new")
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = append(f.ended, context.Cause(ctx))
	return ctx.Err()
}

var exp1 = Experiment{Name: "exp1-syn-loss", Summary: "every SYN is lost on its way to the server", Question: "why?",
	Params: []Param{{Flag: "syn-retries", Doc: "how often", Takes: "1 to 127", Under: map[string]string{"textbook": "5"}}, {Flag: "drop-at", Choices: []string{"server-input", "client-output"}}}}

// serve makes a server over a folder with one stored run, and ends it with the test.
func serve(t testing.TB, change func(*Options)) (*Server, *fake) {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, "20260101-000000-exp1-syn-loss", "result.json", stored(t, "exp1-syn-loss"))
	lab := &fake{dir: dir}
	o := Options{Dir: dir, Catalogue: []Experiment{exp1}, Lab: lab, AllowRun: true}
	if change != nil {
		change(&o)
	}
	s, err := New(0, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	s.up(t)
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s, lab
}

// up waits until the server answers.
func (s *Server) up(t testing.TB) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	w, err := c.Get("http://" + s.listener.Addr().String() + "/favicon.ico")
	if err != nil {
		t.Fatal(err)
	}
	w.Body.Close()
}

// ask is a request of the browser that was given the address.
func (s *Server) ask(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = s.listener.Addr().String()
	r.AddCookie(&http.Cookie{Name: cookieName, Value: s.keys.session})
	if method == "POST" {
		r.Header.Set("Origin", "http://"+r.Host)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

// answer is what the server says, without a network.
func (s *Server) answer(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.guard(s.routes()).ServeHTTP(w, r)
	return w
}

func (s *Server) page(t testing.TB, path string) string {
	t.Helper()
	w := s.answer(s.ask("GET", s.path(path), ""))
	if w.Code != http.StatusOK {
		t.Fatalf("%s: got status %d, want 200\n%s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

// TestGuard changes one thing of a request that is answered, and wants it refused: each line is an attack, and its control is the request
// without the change.
func TestGuard(t *testing.T) {
	s, lab := serve(t, nil)
	form := url.Values{"token": {s.keys.form}, "profile": {"fast"}}.Encode()
	read := func() *http.Request { return s.ask("GET", s.path("/"), "") }
	post := func() *http.Request { return s.ask("POST", s.path("/new/exp1-syn-loss"), form) }
	enter := func() *http.Request {
		r := s.ask("GET", "/?token="+s.keys.token, "")
		r.Header.Del("Cookie")
		return r
	}
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	body := func(b string) func(*http.Request) { return func(r *http.Request) { *r = *withBody(r, b) } }
	cross := func(r *http.Request) {
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Mode", "no-cors")
	}
	for _, tt := range []struct {
		name   string
		of     func() *http.Request
		good   int // without the change
		change func(*http.Request)
		want   int
	}{
		{"a name of an attacker's that leads to 127.0.0.1", read, 200, host("attacker.example"), 421},
		{"the same with our port", read, 200, host("attacker.example:7351"), 421},
		{"a name that begins like ours", read, 200, host("127.0.0.1.attacker.example"), 421},
		{"a name that ends like ours", read, 200, host("x.localhost"), 421},
		{"no name", read, 200, host(""), 421},
		{"no cookie", read, 200, func(r *http.Request) { r.Header.Del("Cookie") }, 403},
		{"another process's cookie", read, 200, set("Cookie", cookieName+"="+secret()), 403},
		{"an empty cookie", read, 200, set("Cookie", cookieName+"="), 403},
		{"another process's path", read, 200, func(r *http.Request) { r.URL.Path = "/" + secret() + "/" }, 403},
		{"a page of another site loads it", read, 200, cross, 403},
		{"a page of another port loads it", read, 200, func(r *http.Request) { cross(r); r.Header.Set("Sec-Fetch-Site", "same-site") }, 403},
		{"a method that writes", read, 200, func(r *http.Request) { r.Method = "PUT" }, 405},
		{"a preflight", read, 200, func(r *http.Request) { r.Method = "OPTIONS" }, 405},
		{"a form sent to what is read", read, 200, func(r *http.Request) { *r = *s.ask("POST", s.path("/"), form) }, 405},
		{"no token", enter, 200, func(r *http.Request) { r.URL.RawQuery = "" }, 403},
		{"another token", enter, 200, func(r *http.Request) { r.URL.RawQuery = "token=" + secret() }, 403},
		{"the session's cookie as token", enter, 200, func(r *http.Request) { r.URL.RawQuery = "token=" + s.keys.session }, 403},
		{"a form without an origin", post, 303, func(r *http.Request) { r.Header.Del("Origin") }, 403},
		{"a form of another site", post, 303, set("Origin", "https://attacker.example"), 403},
		{"a form of another port", post, 303, set("Origin", "http://127.0.0.1:1"), 403},
		{"a form of a page without origin", post, 303, set("Origin", "null"), 403},
		{"a form that the browser calls another site's", post, 303, set("Sec-Fetch-Site", "same-site"), 403},
		{"a form without its token", post, 303, body("profile=fast"), 403},
		{"a form with the cookie as its token", post, 303, body("token=" + s.keys.session), 403},
		{"a form without the cookie", post, 303, func(r *http.Request) { r.Header.Del("Cookie") }, 403},
		{"JSON, which needs no form", post, 303, set("Content-Type", "text/plain"), 415},
		{"a body without an end", post, 303, body(form + "&p-syn-retries=" + strings.Repeat("1", mostBody)), 413},
		{"the same, asked for by GET", post, 303, func(r *http.Request) { *r = *s.ask("GET", s.path("/stop"), "") }, 405},
	} {
		if w := s.answer(tt.of()); w.Code != tt.good {
			t.Errorf("%s: the control: got status %d, want %d", tt.name, w.Code, tt.good)
		}
		s.settle(t)
		lab.mu.Lock()
		before := len(lab.started)
		lab.mu.Unlock()
		r := tt.of()
		tt.change(r)
		w := s.answer(r)
		if w.Code != tt.want {
			t.Errorf("%s: got status %d, want %d", tt.name, w.Code, tt.want)
		}
		if got := w.Header().Get("Set-Cookie"); got != "" {
			t.Errorf("%s: got the cookie %q, want none", tt.name, got)
		}
		if strings.Contains(w.Body.String(), s.keys.form) || strings.Contains(w.Body.String(), s.keys.session) {
			t.Errorf("%s: the answer holds a secret", tt.name)
		}
		s.settle(t)
		lab.mu.Lock()
		if len(lab.started) != before {
			t.Errorf("%s: a run was started", tt.name)
		}
		lab.mu.Unlock()
	}
}

func withBody(r *http.Request, body string) *http.Request {
	n := httptest.NewRequest(r.Method, r.URL.Path, strings.NewReader(body))
	n.Host, n.Header = r.Host, r.Header
	return n
}

// settle waits until no run goes on.
func (s *Server) settle(t testing.TB) {
	t.Helper()
	s.jobs.mu.Lock()
	now := s.jobs.now
	s.jobs.mu.Unlock()
	if now != nil {
		<-now.done
	}
}

// TestHeaders wants the same protection on every kind of answer, and no permission for other origins on any.
func TestHeaders(t *testing.T) {
	s, _ := serve(t, nil)
	if a := s.listener.Addr().String(); !strings.HasPrefix(a, "127.0.0.1:") {
		t.Errorf("it listens on %s, want 127.0.0.1", a)
	}
	const run = "/runs/20260101-000000-exp1-syn-loss/"
	for _, path := range []string{"/", run, run + "ladder.svg", run + "files/result.json", "/style.css", "/live.js", "/new", "/new/exp1-syn-loss", "/nosuch", "/runs/nosuch/", "/compare"} {
		r := s.ask("GET", s.path(path), "")
		r.Header.Set("Origin", "https://attacker.example")
		h := s.answer(r).Header()
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store"} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s: got %q, want %q", path, name, got, want)
			}
		}
		policy := h.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("%s: policy: got %q", path, policy)
		}
		for name := range h {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: got %s, want no permission for other origins", path, name)
			}
		}
	}
	c, err := http.ParseSetCookie(s.answer(s.ask("GET", "/?token="+s.keys.token, "")).Header().Get("Set-Cookie"))
	if err != nil || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != s.path("/") || c.MaxAge != 0 || !c.Expires.IsZero() || c.Domain != "" {
		t.Errorf("cookie: got %+v, %v, want one for this session and this path alone", c, err)
	}
	if strings.Contains(s.URL(), s.keys.session) || strings.Contains(s.URL(), s.keys.form) {
		t.Error("the address holds more than its token")
	}
}

// TestHosts wants the names of this machine that no name server decides on, with any port: it may be another at the end of a tunnel.
func TestHosts(t *testing.T) {
	for host, want := range map[string]bool{"127.0.0.1": true, "127.0.0.1:7351": true, "localhost:9000": true, "LOCALHOST": true, "127.0.0.1:": true,
		"": false, "0.0.0.0:7351": false, "127.1": false, "2130706433": false, "[::1]:7351": false, "localhost.": false, "localhost@attacker": false, "127.0.0.1:7351:1": false, "example.com": false} {
		if got := localHost(host); got != want {
			t.Errorf("%q: got %v, want %v", host, got, want)
		}
	}
}
