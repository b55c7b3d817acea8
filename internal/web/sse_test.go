package web

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// message is one event of a stream.
type message struct{ id, kind, data string }

// streamWithin is how long a stream may take, on a busy machine, until it has told all.
const streamWithin = time.Minute

// listen opens a stream as EventSource does, and gives its messages to got until that says that it has enough, or the stream ends.
func listen(t *testing.T, s *Server, path, lastID string, got func(message) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), streamWithin)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.listener.Addr().String()+s.path(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(&http.Cookie{Name: cookieName, Value: s.keys.session})
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	w, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	if w.StatusCode != 200 || w.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: got status %d, %s", path, w.StatusCode, w.Header.Get("Content-Type"))
	}
	var m message
	lines := bufio.NewScanner(w.Body)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			m.id = value
		case "event":
			m.kind = value
		case "data":
			m.data += value
		case "":
			if value != "" { // a comment
				m.kind, m.data = "comment", value
			}
			if m.kind != "" && !got(m) {
				return
			}
			m = message{}
		}
	}
}

// appendLines adds lines to a run's events, as the runner does while it runs.
func appendLines(t *testing.T, s *Server, run string, lines ...[]byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(s.Dir, run), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(s.Dir, run, "events.ndjson"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes.Join(lines, nil)); err != nil {
		t.Fatal(err)
	}
}

// TestReplay breaks a stream off after each of its messages and goes on with Last-Event-ID. Together the two parts must be the whole, without
// a message twice or never; also when the run went on in between.
func TestReplay(t *testing.T) {
	s, _ := serve(t, nil)
	lines := script(t, "exp2-synack-loss")
	const run = "20300101-000000-live"
	half := len(lines) / 2
	appendLines(t, s, run, lines[:half]...)
	rows := func(ms []message) []string { // statuses may be left out, the newest counts
		var out []string
		for _, m := range ms {
			if m.kind != "status" {
				out = append(out, m.kind+" "+m.data)
			}
		}
		return out
	}
	seenEvents := 0
	for _, l := range lines[:half] {
		if bytes.Contains(l, []byte(`"type":"event"`)) {
			seenEvents++
		}
	}
	var whole []message
	listen(t, s, "/runs/"+run+"/events", "", func(m message) bool {
		whole = append(whole, m)
		return len(rows(whole)) < 1+seenEvents
	})
	appendLines(t, s, run, lines[half:]...)
	put(t, s.Dir, run, "result.json", stored(t, "exp2-synack-loss"))
	listen(t, s, "/runs/"+run+"/events", whole[len(whole)-1].id, func(m message) bool { whole = append(whole, m); return true })
	want := []string{"start", "row", "verdict", "over"}
	for _, kind := range want {
		if !slices.ContainsFunc(whole, func(m message) bool { return m.kind == kind }) {
			t.Fatalf("got no %s in %d messages", kind, len(whole))
		}
	}
	last := int64(0)
	for i, m := range whole {
		if m.kind == "over" {
			continue
		}
		id, err := strconv.ParseInt(m.id, 10, 64)
		if err != nil || id <= last && i > 0 {
			t.Fatalf("message %d: got id %q after %d, want a larger number", i, m.id, last)
		}
		last = id
		var rest []message
		listen(t, s, "/runs/"+run+"/events", m.id, func(m message) bool { rest = append(rest, m); return true })
		if got, want := rows(rest), rows(whole[i+1:]); !slices.Equal(got, want) {
			t.Errorf("after message %d: got %d messages, want %d\n%.300q\n%.300q", i, len(got), len(want), got, want)
		}
	}
	// An id that is no place between two lines is another file's: all of it comes.
	for _, id := range []string{"1", strconv.FormatInt(last-1, 10), "999999999", "-5", "x", "9223372036854775808"} {
		var all []message
		listen(t, s, "/runs/"+run+"/events", id, func(m message) bool { all = append(all, m); return true })
		if got, want := rows(all), rows(whole); !slices.Equal(got, want) {
			t.Errorf("id %s: got %d messages, want all %d", id, len(got), len(want))
		}
	}
}

// TestPageAndStreamAgree catches a live page that misses what happened before its stream began, or shows it twice: the page's table and the
// stream from there on must come to what a reader of the whole file has.
func TestPageAndStreamAgree(t *testing.T) {
	lines := script(t, "exp1-syn-loss")
	v := words{}
	whole, err := v.read(bytes.NewReader(bytes.Join(lines, nil)))
	if err != nil || len(whole.Rows) == 0 || whole.Status == nil || whole.Verdict == nil {
		t.Fatalf("got %d rows, %v, %v, %v", len(whole.Rows), whole.Status, whole.Verdict, err)
	}
	for _, r := range whole.Rows {
		if !r.Seen {
			t.Errorf("got no %q, want every predicted event of a run that passed to be seen", r.Key)
		}
	}
	for n := range lines {
		b, err := v.read(bytes.NewReader(bytes.Join(lines[:n], nil)))
		if err != nil {
			t.Fatal(err)
		}
		tl := newTail(bytes.NewReader(bytes.Join(lines, nil)), b.After)
		for {
			l, _, err := tl.next()
			if err != nil {
				break
			}
			b.add(v, l)
		}
		if !slices.EqualFunc(b.Rows, whole.Rows, func(a, b liveRow) bool { return a.Key == b.Key && slices.Equal(a.Cells, b.Cells) }) {
			t.Errorf("with a page after %d lines: got other rows\n%v\n%v", n, b.Rows, whole.Rows)
		}
	}
}

// TestBeat catches a silent stream that a proxy would cut, and that never finds out that nobody reads.
func TestBeat(t *testing.T) {
	s, _ := serve(t, func(o *Options) { o.Beat = 50 * time.Millisecond })
	const run = "20300101-000000-live"
	appendLines(t, s, run, script(t, "exp1-syn-loss")[:1]...)
	beats := 0
	listen(t, s, "/runs/"+run+"/events", "", func(m message) bool {
		if m.kind == "comment" {
			beats++
		}
		return beats < 3
	})
	if beats != 3 {
		t.Errorf("got %d beats, want 3", beats)
	}
}

// TestListTells catches a list that does not hear of a new run, or hears of it again and again.
func TestListTells(t *testing.T) {
	s, _ := serve(t, nil)
	n := 0
	listen(t, s, "/events", "", func(m message) bool {
		if m.kind != "changed" {
			t.Errorf("got %q, want changed", m.kind)
		}
		if m.id != s.listMark() && n > 0 {
			t.Errorf("got the mark %s, want that of the list", m.id)
		}
		n++
		if n == 1 {
			put(t, s.Dir, "20300101-000000-new", "result.json", stored(t, "exp0-handshake"))
		}
		return n < 2
	})
	if n != 2 {
		t.Errorf("got %d messages, want 2", n)
	}
	if !strings.Contains(s.page(t, "/"), "20300101-000000-new") {
		t.Error("the list does not have the new run")
	}
}

// TestLimits catches streams without number, which would hold every descriptor of this process.
func TestLimits(t *testing.T) {
	s, _ := serve(t, nil)
	for range mostStreams {
		s.streams <- struct{}{}
	}
	if w := s.answer(s.ask("GET", s.path("/events"), "")); w.Code != http.StatusServiceUnavailable {
		t.Errorf("one stream too many: got status %d, want 503", w.Code)
	}
	<-s.streams
	listen(t, s, "/events", "", func(message) bool { return false })
	for range mostStreams - 1 {
		<-s.streams
	}
}

// TestStates catches a run that is called live for ever, or broken off while this server runs it.
func TestStates(t *testing.T) {
	s, _ := serve(t, nil)
	appendLines(t, s, "1-fresh", script(t, "exp1-syn-loss")[:2]...)
	appendLines(t, s, "1-old", script(t, "exp1-syn-loss")[:2]...)
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(s.Dir, "1-old", "events.ndjson"), past, past); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.Dir, "1-empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"1-fresh": stateLive, "1-old": stateBroken, "1-empty": stateBroken, "20260101-000000-exp1-syn-loss": stateDone} {
		if got := s.look(name).State; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := s.look("1-fresh").Experiment; got != "exp1-syn-loss" {
		t.Errorf("a live run: got the experiment %q", got)
	}
	var ms []message
	listen(t, s, "/runs/1-old/events", "", func(m message) bool { ms = append(ms, m); return true })
	if n := len(ms); n == 0 || ms[n-1].kind != "over" || !strings.Contains(ms[n-1].data, stateBroken) {
		t.Errorf("a run that was broken off: got %q, want it to be over", ms)
	}
}

// TestSigned catches a difference that loses its sign.
func TestSigned(t *testing.T) {
	for d, want := range map[time.Duration]string{8 * time.Millisecond: "+8 ms", -8 * time.Millisecond: "-8 ms", 0: "+0 µs"} {
		if got := signed(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
