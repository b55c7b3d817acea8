package web

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestInert serves folders that somebody else made, and catches a link that is followed, a file that never ends or is never there, a name
// that becomes markup or a path, and a result that is taken for one. The control is the same file, in the way in which a run leaves it.
func TestInert(t *testing.T) {
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, stored(t, "exp1-syn-loss"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, _ := serve(t, nil)
	dir := s.Dir
	link := func(run, name, to string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, run), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(dir, run, name)); err != nil {
			t.Fatal(err)
		}
	}
	const good = "20260101-000000-exp1-syn-loss"
	link("2-linked-file", "result.json", secretFile)
	link("2-linked-file", "client.pcapng", secretFile)
	link("2-near", "result.json", "../"+good+"/result.json")
	if err := os.Symlink(filepath.Dir(secretFile), filepath.Join(dir, "2-linked-folder")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(good, filepath.Join(dir, "latest")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "3-fifo", "junit.xml", nil)
	for _, name := range []string{"result.json", "events.ndjson", "client.pcapng"} {
		if err := syscall.Mkfifo(filepath.Join(dir, "3-fifo", name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	put(t, dir, "4-huge", "result.json", nil)
	if err := os.Truncate(filepath.Join(dir, "4-huge", "result.json"), mostResult+1); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "4-many", "result.json", []byte(`{"schema":"tcplab.result/v1","verdict":"pass","checks":[],"packets":[`+strings.Repeat(`{},`, mostDrawn)+`{}]}`))
	put(t, dir, "4-broken", "result.json", []byte(`{"schema":"tcplab.result/v1"`))
	put(t, dir, "4-other", "result.json", []byte(`{"schema":"other/v1"}`))
	put(t, dir, ".hidden", "result.json", stored(t, "exp1-syn-loss"))
	const markup = `9"><script>alert(1)<script>&?#%2f`
	put(t, dir, markup, "result.json", []byte(strings.ReplaceAll(string(stored(t, "exp1-syn-loss")), `"SYN again`, `"</td><img src=x onerror=alert(1)>`)))
	put(t, dir, "9\x1b[31m\u202e\xff", "result.json", stored(t, "exp1-syn-loss"))
	put(t, dir, good, "report.html", []byte("<script>alert(1)</script>"))

	for _, tt := range []struct {
		name, path string
		want       int
	}{
		{"control: a result", "/runs/" + good + "/", 200},
		{"control: a download", "/runs/" + good + "/files/result.json", 200},
		{"a linked result", "/runs/2-linked-file/", 422},
		{"a linked capture", "/runs/2-linked-file/files/client.pcapng", 500},
		{"a link within the folder of runs", "/runs/2-near/", 422},
		{"a linked folder", "/runs/2-linked-folder/files/secret", 404},
		{"a linked run", "/runs/latest/", 404},
		{"a pipe as a result", "/runs/3-fifo/", 422},
		{"a pipe as a capture", "/runs/3-fifo/files/client.pcapng", 500},
		{"a result without an end", "/runs/4-huge/", 422},
		{"more than a page can show", "/runs/4-many/", 500},
		{"half a result", "/runs/4-broken/", 422},
		{"another program's file", "/runs/4-other/", 422},
		{"a hidden folder", "/runs/.hidden/", 404},
		{"the folder above", "/runs/..%2f" + filepath.Base(dir) + "/", 404},
		{"a file above", "/runs/" + good + "/files/..%2f..%2fsecret", 404},
		{"a file that is not of a run", "/runs/" + good + "/files/report.html", 404},
		{"a name that is markup", "/runs/" + url.PathEscape(markup) + "/", 200},
		{"a name that is no text", "/runs/" + url.PathEscape("9\x1b[31m\u202e\xff") + "/", 200},
	} {
		w := s.answer(s.ask("GET", s.path(tt.path), ""))
		if w.Code != tt.want {
			t.Errorf("%s: got status %d, want %d", tt.name, w.Code, tt.want)
		}
		body := w.Body.String()
		if strings.Contains(body, "<script>alert") || strings.Contains(body, "<img src=x") {
			t.Errorf("%s: a string became markup", tt.name)
		}
		if strings.ContainsAny(body, "\x1b\u202e") && w.Header().Get("Content-Disposition") == "" {
			t.Errorf("%s: the answer holds invisible characters", tt.name)
		}
	}
	list := s.page(t, "/")
	if strings.Contains(list, "<script>alert") || strings.ContainsAny(list, "\x1b\u202e") {
		t.Error("the list shows a name as it is")
	}
	for _, name := range []string{"latest", "2-linked-folder", ".hidden"} {
		if strings.Contains(list, ">"+name+"<") {
			t.Errorf("the list has %s", name)
		}
	}
	if n := strings.Count(list, "unreadable"); n != 6 {
		t.Errorf("the list calls %d runs unreadable, want 6", n)
	}
	w := s.answer(s.ask("GET", s.path("/runs/"+good+"/files/result.json"), ""))
	if got := w.Header().Get("Content-Disposition"); !strings.HasPrefix(got, "attachment") || w.Header().Get("Content-Type") != "application/octet-stream" {
		t.Errorf("a download: got %q as %q, want an attachment", got, w.Header().Get("Content-Type"))
	}
}

// worked is how long processors have worked for this process: unlike the time of day, it does not depend on what else they do.
func worked(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestLargeResult draws a result of the size that is just allowed and full of long strings, and catches a page that never comes.
func TestLargeResult(t *testing.T) {
	s, _ := serve(t, nil)
	long := strings.Repeat("SYN again 1 of 2, RTO after 3 s; ", 20000)
	put(t, s.Dir, "5-long", "result.json", []byte(`{"schema":"tcplab.result/v1","verdict":"fail","reason":"`+long+`","checks":[{"verdict":"fail","name":"`+long+`","detail":"`+long+`"}],"story":[{"text":"`+long+`"}]}`))
	before := worked(t)
	w := s.answer(s.ask("GET", s.path("/runs/5-long/?lang=zh"), ""))
	if w.Code != http.StatusOK {
		t.Errorf("got status %d, want 200", w.Code)
	}
	if d := worked(t) - before; d > 10*time.Second { // it was 48 s before there was a limit, and is 0.3 s
		t.Errorf("took %v of a processor, want at most 10 s", d)
	}
}
