package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

func (s *Server) try(values url.Values) (code int, to, body string) {
	values.Set("token", s.keys.form)
	w := s.answer(s.ask("POST", s.path("/new/exp1-syn-loss"), values.Encode()))
	return w.Code, w.Header().Get("Location"), w.Body.String()
}

// TestStart catches a run that is started with other values than the form had, one that is started although a value was refused, two at once,
// and a refusal that does not say what is wrong with which value.
func TestStart(t *testing.T) {
	s, lab := serve(t, func(o *Options) { o.Kernels = []string{"6.12.9"} })
	lab.hold = make(chan struct{})
	if code, _, body := s.try(url.Values{"p-syn-retries": {"0"}, "p-drop-at": {"client-output"}}); code != 422 ||
		!strings.Contains(body, "the kernel takes 1 to 127 (retries)") || !strings.Contains(body, `value="0"`) || !strings.Contains(body, `<option selected>client-output`) {
		t.Errorf("a bad value: got status %d and %s", code, body)
	}
	for name, v := range map[string]url.Values{"profile": {"profile": {"x"}}, "kernel": {"kernel": {"/etc/passwd"}}} {
		if code, _, body := s.try(v); code != 422 || !strings.Contains(body, `role="alert"`) {
			t.Errorf("a bad %s: got status %d", name, code)
		}
	}
	if len(lab.started) != 0 {
		t.Fatalf("got %d runs, want none", len(lab.started))
	}
	code, to, _ := s.try(url.Values{"p-syn-retries": {"3"}, "p-drop-at": {""}, "p-other": {"x"}, "profile": {"fast"}, "kernel": {"6.12.9"}})
	if code != http.StatusSeeOther || to != s.path("/runs/20300101-000000-new/") {
		t.Fatalf("a good one: got status %d to %s", code, to)
	}
	if q := lab.started[0]; q.Experiment != "exp1-syn-loss" || q.Profile != "fast" || q.Kernel != "6.12.9" || len(q.Values) != 1 || q.Values["syn-retries"] != "3" {
		t.Errorf("got %+v", q)
	}
	if code, _, body := s.try(url.Values{}); code != http.StatusConflict || !strings.Contains(body, "another run goes on") {
		t.Errorf("a second one: got status %d", code)
	}
	if body := s.page(t, "/"); !strings.Contains(body, "A run goes on:") || !strings.Contains(body, "sudo tcplab run exp1-syn-loss") {
		t.Error("the list does not tell of the run")
	}
	if w := s.answer(s.ask("POST", s.path("/stop"), "token="+s.keys.form)); w.Code != http.StatusSeeOther {
		t.Errorf("stop: got status %d, want 303", w.Code)
	}
	s.settle(t)
	if len(lab.ended) != 1 || !errors.Is(lab.ended[0], errStopped) {
		t.Errorf("stop: the run ended with %v, want %v", lab.ended, errStopped)
	}
	if body := s.page(t, "/"); strings.Contains(body, "could not be carried out") {
		t.Error("a run that was stopped is called one that could not be carried out")
	}
	if code, _, body := s.try(url.Values{"p-syn-retries": {"13"}}); code != http.StatusServiceUnavailable || !strings.Contains(body, "this machine cannot run it") {
		t.Errorf("one that cannot be carried out: got status %d", code)
	}
	if body := s.page(t, "/"); !strings.Contains(body, "this machine cannot run it") {
		t.Error("the list does not say why the last run came to nothing")
	}
}

// TestNotAllowed catches a page that starts runs although nobody allowed it to.
func TestNotAllowed(t *testing.T) {
	s, lab := serve(t, func(o *Options) { o.AllowRun = false })
	if code, _, _ := s.try(url.Values{}); code != http.StatusForbidden || len(lab.started) != 0 {
		t.Errorf("got status %d and %d runs, want 403 and none", code, len(lab.started))
	}
	if w := s.answer(s.ask("POST", s.path("/stop"), "token="+s.keys.form)); w.Code != http.StatusForbidden {
		t.Errorf("stop: got status %d, want 403", w.Code)
	}
	body := s.page(t, "/new/exp1-syn-loss")
	if !strings.Contains(body, "--allow-run") || !strings.Contains(body, `class="first" disabled`) {
		t.Error("the form does not say that it may not run")
	}
	if body = s.page(t, "/predict/exp1-syn-loss?p-syn-retries=3"); !strings.Contains(body, "first SYN: time starts here") || len(lab.started) != 0 {
		t.Error("a prediction needs no permission and starts nothing")
	}
}

// TestEnd catches a server that goes while its lab still stands, or that waits for ever for a page that is open.
func TestEnd(t *testing.T) {
	dir := t.TempDir()
	lab := &fake{dir: dir, hold: make(chan struct{})}
	s, err := New(0, Options{Dir: dir, Catalogue: []Experiment{exp1}, Lab: lab, AllowRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(s.listener.Addr().(*net.TCPAddr).Port, Options{}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("two servers on one port: got %v, want %v", err, syscall.EADDRINUSE)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	s.up(t)
	if code, _, _ := s.try(url.Values{}); code != http.StatusSeeOther {
		t.Fatalf("start: got status %d", code)
	}
	why := errors.New("Ctrl-C")
	var ms []message
	began := time.Now()
	listen(t, s, "/events", "", func(m message) bool {
		if len(ms) == 0 {
			cancel(why)
		}
		ms = append(ms, m)
		return true
	})
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
	if d := time.Since(began); d > streamWithin/2 { // the stream would end with an error, and the run never
		t.Errorf("it took %v to end", d)
	}
	if n := len(ms); n == 0 || ms[n-1].kind != "bye" {
		t.Errorf("the stream: got %v, want bye at its end", ms)
	}
	if len(lab.ended) != 1 || !errors.Is(lab.ended[0], why) {
		t.Errorf("the run ended with %v, want %v before the server", lab.ended, why)
	}
	if _, err := s.jobs.start(lab, Request{}); err == nil {
		t.Error("a run was started after the end")
	}
}
