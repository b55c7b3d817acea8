package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzEvents reads files that claim to be events.ndjson. Whatever they hold, a page comes to an end, a stream's message is one line, ids grow,
// and to go on from any place gives what is behind it.
func FuzzEvents(f *testing.F) {
	f.Add(bytes.Join(script(f, "exp1-syn-loss"), nil), int64(100))
	f.Add([]byte("{\"event\":{\"host\":\"a\\nb\",\"what\":\"\\u2028\",\"seen\":1e300}}\n\r\n{}\n{\"status\":{\"client\":{\"host\":\"x\",\"timer\":\"y\"}}}"), int64(1))
	f.Add([]byte("\n\n\n"), int64(2))
	f.Fuzz(func(t *testing.T, b []byte, from int64) {
		v := words{}
		board, err := v.read(bytes.NewReader(b))
		if err != nil || board.After > int64(len(b)) {
			t.Fatalf("got %d of %d bytes, %v", board.After, len(b), err)
		}
		at := resume(bytes.NewReader(b), int64(len(b)), from)
		if at < 0 || at > int64(len(b)) || at > 0 && b[at-1] != '\n' {
			t.Fatalf("resume from %d: got %d", from, at)
		}
		tl := newTail(bytes.NewReader(b), at)
		for last := at; ; {
			l, next, err := tl.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || next <= last || b[next-1] != '\n' {
				t.Fatalf("got place %d after %d, %v", next, last, err)
			}
			last = next
			kind, data := v.message(l)
			if l.Status != nil {
				kind, data = "status", v.status(l.Status)
			}
			if kind == "" {
				continue
			}
			text, err := (&stream{}).text("1", kind, data)
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.Split(strings.TrimSuffix(text, "\n\n"), "\n")
			if len(parts) != 3 || strings.Contains(text, "\r") || !json.Valid([]byte(strings.TrimPrefix(parts[2], "data: "))) {
				t.Fatalf("got the message %q", text)
			}
		}
	})
}

// FuzzGuard sends requests that nobody who knows the secrets sent. None is answered.
func FuzzGuard(f *testing.F) {
	s, err := New(0, Options{Dir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.listener.Close() })
	f.Add("GET", "/", "127.0.0.1", "tcplab=x", "token=x")
	f.Add("POST", "//stop", "localhost:1", "tcplab=", "")
	f.Fuzz(func(t *testing.T, method, path, host, cookie, query string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.URL.Path, r.Host, r.URL.RawQuery = method, path, host, query
		r.Header.Set("Cookie", cookie)
		r.Header.Set("Origin", "http://"+host)
		if w := s.answer(r); w.Code < 400 && path != "/favicon.ico" || strings.Contains(w.Body.String(), s.keys.session) {
			t.Fatalf("got status %d", w.Code)
		}
	})
}
