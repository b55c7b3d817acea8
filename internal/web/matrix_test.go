package web

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/result"
)

const aMatrix = "20260201-000000-matrix"

// putMatrix stores a matrix of two experiments on two kernels, as `tcplab matrix` leaves it: one of its four runs could not be made.
func putMatrix(t testing.TB, dir, name string, change func(*result.Matrix)) *result.Matrix {
	t.Helper()
	m := &result.Matrix{Schema: result.MatrixSchema, Profile: "fast", Verdict: result.Error, Wall: result.Seconds(12e9),
		Kernels: []result.MatrixKernel{{Name: "6.12", Release: "6.12.9", HZ: 250, Folder: "6.12.9"}, {Name: "host", Release: "6.18.1", HZ: 250, Folder: "host"}}}
	for _, x := range []string{"exp1-syn-loss", "exp2-synack-loss"} {
		row := result.MatrixRow{Experiment: x, Summary: "every SYN is lost on its way to the server"}
		for _, k := range m.Kernels {
			if k.Name == "host" && x == "exp2-synack-loss" {
				row.Cells = append(row.Cells, result.MatrixCell{Kernel: k.Name, Verdict: result.Error, Error: "the machine ended"})
				continue
			}
			b := stored(t, x)
			r, err := result.Read(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			cell := result.Cell(k.Name, r)
			cell.Folder = k.Folder + "/" + x
			row.Cells = append(row.Cells, cell)
			put(t, dir, filepath.Join(name, cell.Folder), "result.json", b)
			put(t, dir, filepath.Join(name, cell.Folder), "client.pcapng", []byte("pcapng"))
		}
		m.Rows = append(m.Rows, row)
	}
	if change != nil {
		change(m)
	}
	var b bytes.Buffer
	if err := m.Write(&b); err != nil {
		t.Fatal(err)
	}
	put(t, dir, name, matrixFile, b.Bytes())
	return m
}

// own is the path of the page of a run of a matrix.
func own(matrix, folder string) string { return "/runs/" + url.PathEscape(matrix+"/"+folder) + "/" }

// TestMatrix catches a matrix that the list takes for a run that was broken off, a page of it that is not the one that report makes, a cell that does
// not lead to its run, and a run of a matrix that is served otherwise than any other.
func TestMatrix(t *testing.T) {
	s, _ := serve(t, nil)
	m := putMatrix(t, s.Dir, aMatrix, nil)
	list := s.page(t, "/")
	row := regexp.MustCompile(`(?s)<tr><td></td><th scope="row"><a href="[^"]*/runs/` + aMatrix + `/">.*?</tr>`).FindString(list)
	for _, want := range []string{"matrix: exp1-syn-loss, exp2-synack-loss", "ERROR", "6.12, host", "12.0 s", "fast"} {
		if !strings.Contains(row, want) {
			t.Errorf("the list: got no %q in its line %q", want, row)
		}
	}
	if found := s.page(t, "/?verdict=error"); !strings.Contains(found, aMatrix) || strings.Contains(s.page(t, "/?verdict=pass"), aMatrix) {
		t.Error("the list does not find it by its verdict")
	}

	served := s.page(t, "/runs/"+aMatrix+"/")
	var runs []*result.Result
	var pages []string
	for _, r := range m.Rows {
		for _, c := range r.Cells {
			if c.Folder != "" {
				x, err := s.runs.result(aMatrix + "/" + c.Folder)
				if err != nil {
					t.Fatal(err)
				}
				runs, pages = append(runs, x), append(pages, s.path(own(aMatrix, c.Folder)))
			}
		}
	}
	var want bytes.Buffer
	if err := page.HTML(&want, page.Options{Matrix: m, Pages: pages}, runs...); err != nil {
		t.Fatal(err)
	}
	cut := func(s string) string { _, after, _ := strings.Cut(s, "<main>"); return after }
	if cut(served) != cut(want.String()) {
		t.Error("the page is not the one that report makes")
	}
	if n := strings.Count(served, `<details class="run"`); n != 3 {
		t.Errorf("got %d runs in its page, want 3", n)
	}
	if !strings.Contains(served, "files/matrix.json") || strings.Contains(served, "files/matrix.txt") {
		t.Error("its page does not lead to the files that are there, and to these alone")
	}

	for _, at := range pages { // as a browser asks for what the cells lead to
		if !strings.Contains(served, `href="`+at+`"`) {
			t.Errorf("no cell leads to %s", at)
		}
		w := s.answer(s.ask("GET", at, ""))
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `class="ladder"`) || !strings.Contains(w.Body.String(), s.path("/runs/"+aMatrix+"/")) {
			t.Errorf("%s: got status %d, want a report that leads back to its matrix", at, w.Code)
		}
		for path, want := range map[string]int{"files/client.pcapng": 200, "files/server.pcapng": 404, "ladder.svg": 200} {
			if w := s.answer(s.ask("GET", at+path, "")); w.Code != want {
				t.Errorf("%s%s: got status %d, want %d", at, path, w.Code, want)
			}
		}
	}
	both := url.Values{"run": {aMatrix + "/6.12.9/exp1-syn-loss", aMatrix + "/host/exp1-syn-loss"}}.Encode()
	for _, path := range []string{"/compare?", "/report?"} {
		s.page(t, path+both)
	}
	for _, path := range []string{"/runs/" + aMatrix + "/", own(aMatrix, m.Rows[0].Cells[0].Folder)} { // the same guard
		r := s.ask("GET", s.path(path), "")
		r.Header.Del("Cookie")
		if w := s.answer(r); w.Code != http.StatusForbidden {
			t.Errorf("%s without the cookie: got status %d, want 403", path, w.Code)
		}
		if got := s.answer(s.ask("GET", s.path(path), "")).Header().Get("Content-Security-Policy"); got != page.Policy()+"; frame-ancestors 'none'" {
			t.Errorf("%s: got the policy %q", path, got)
		}
	}
}

// TestMatrixInert serves matrices that somebody else made, and catches a cell that reaches out of its folder, a run that is not there and takes the page
// with it, and a document or runs without end.
func TestMatrixInert(t *testing.T) {
	s, _ := serve(t, nil)
	fold := func(to string) func(*result.Matrix) {
		return func(m *result.Matrix) { m.Rows[0].Cells[0].Folder = to }
	}
	links := func(name string) int { return strings.Count(s.page(t, "/runs/"+name+"/"), `<a class="chip`) }
	putMatrix(t, s.Dir, "1-good", nil)
	if n := links("1-good"); n != 3 {
		t.Fatalf("the control: got %d cells that lead to a run, want 3", n)
	}
	if err := os.MkdirAll(filepath.Join(s.Dir, "1-linked"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../20260101-000000-exp1-syn-loss", filepath.Join(s.Dir, "1-linked", "away")); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"1-above": "../20260101-000000-exp1-syn-loss", "1-root": "/20260101-000000-exp1-syn-loss", "1-hidden": ".x/y", "1-linked": "away", "1-itself": ".",
		"1-gone": "6.13/exp1-syn-loss", "1-deep": "6.12.9/exp1-syn-loss/more/still", "1-markup": `"><script>alert(1)</script>`} {
		putMatrix(t, s.Dir, name, fold(to))
		if n := links(name); n != 2 {
			t.Errorf("%s: got %d cells that lead to a run, want the other 2", name, n)
		}
	}
	putMatrix(t, s.Dir, "2-many", func(m *result.Matrix) {
		m.Rows = slices.Repeat(m.Rows[:1], mostMatrixRuns/2+1)
	})
	putMatrix(t, s.Dir, "2-events", func(m *result.Matrix) { m.Rows[0].Cells[0].Events = make([]result.Event, mostDrawn) })
	put(t, s.Dir, "2-huge", matrixFile, nil)
	if err := os.Truncate(filepath.Join(s.Dir, "2-huge", matrixFile), mostResult+1); err != nil {
		t.Fatal(err)
	}
	put(t, s.Dir, "2-broken", matrixFile, []byte(`{"schema":"tcplab.matrix/v1"`))
	put(t, s.Dir, "2-other", matrixFile, []byte(`{"schema":"other/v1"}`))
	for name, want := range map[string]int{"2-many": 422, "2-events": 500, "2-huge": 422, "2-broken": 422, "2-other": 422} {
		if w := s.answer(s.ask("GET", s.path("/runs/"+name+"/"), "")); w.Code != want {
			t.Errorf("%s: got status %d, want %d", name, w.Code, want)
		}
	}
	const attack = `</p><script>alert(1)</script>`
	putMatrix(t, s.Dir, "3-markup", func(m *result.Matrix) {
		m.Profile, m.Kernels[0].Name, m.Rows[0].Experiment = attack, attack, attack
	})
	for _, path := range []string{"/runs/3-markup/", "/"} {
		if strings.Contains(s.page(t, path), "<script>alert") {
			t.Errorf("%s: a string became markup", path)
		}
	}
	for _, name := range []string{"a/b/c", "a"} {
		if parts(name) == nil {
			t.Errorf("%q: got no name of a run", name)
		}
	}
	for _, name := range []string{"", "a/b/c/d", "a//b", "/a", "a/", "a/..", "../a", "a/.b", `a/b\c`, "a/\x00"} {
		if got := parts(name); got != nil {
			t.Errorf("%q: got the folders %q, want none", name, got)
		}
	}
}

// TestOpenMatrix catches a matrix that goes on and is called broken off, one that was broken off and is called running, and runs of either that are not to
// be found.
func TestOpenMatrix(t *testing.T) {
	s, _ := serve(t, nil)
	putMatrix(t, s.Dir, aMatrix, nil)
	if err := os.Remove(filepath.Join(s.Dir, aMatrix, matrixFile)); err != nil {
		t.Fatal(err)
	}
	if got := s.look(aMatrix); got.State != stateLive || got.Passed != 3 || got.All != 3 {
		t.Errorf("a run is new: got %+v, want it live with 3 runs of 3 done", got)
	}
	before := s.listMark()
	put(t, s.Dir, aMatrix+"/host/exp2-synack-loss", "events.ndjson", script(t, "exp2-synack-loss")[0])
	if got := s.look(aMatrix); got.State != stateLive || got.Passed != 3 || got.All != 4 {
		t.Errorf("a run goes on: got %+v, want it live with 3 runs of 4 done", got)
	}
	put(t, s.Dir, aMatrix+"/host/exp2-synack-loss", "result.json", stored(t, "exp2-synack-loss"))
	if s.listMark() == before {
		t.Error("another run is done, and the list does not hear of it")
	}
	served := s.page(t, "/runs/"+aMatrix+"/")
	if n := strings.Count(served, s.path("/runs/"+aMatrix+"%2F")); n != 4 || strings.Count(served, "PASS") != 4 || !strings.Contains(served, "running") {
		t.Errorf("got %d links to its runs, want 4, with their verdicts and that it goes on", n)
	}
	long := time.Now().Add(-2 * fresh)
	err := filepath.WalkDir(filepath.Join(s.Dir, aMatrix), func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, long, long))
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.look(aMatrix); got.State != stateBroken {
		t.Errorf("nothing is new: got %s, want it broken off", got.State)
	}
	if served := s.page(t, "/runs/"+aMatrix+"/"); !strings.Contains(served, "broken off") || strings.Count(served, s.path("/runs/"+aMatrix+"%2F")) != 4 {
		t.Error("the runs of a matrix that was broken off are not to be found")
	}
	if got := s.look("20260101-000000-exp1-syn-loss"); got.State != stateDone {
		t.Errorf("the control: got %s for a run, want done", got.State)
	}
}

// TestHolds catches a matrix of many experiments or kernels that fills the list.
func TestHolds(t *testing.T) {
	m := &result.Matrix{}
	for i := range 7 {
		m.Rows = append(m.Rows, result.MatrixRow{Experiment: fmt.Sprintf("exp%d", i)})
	}
	m.Kernels = slices.Repeat([]result.MatrixKernel{{Name: "6.1"}}, 1000)
	for n, want := range map[int]string{0: "矩阵： ", 5: "矩阵： exp0, exp1, exp2, exp3, exp4", 7: "矩阵： exp0, exp1, exp2, exp3, exp4 还有 2 项"} {
		sum := summaryOfMatrix("x", &result.Matrix{Rows: m.Rows[:n], Kernels: m.Kernels})
		if got := (words{page.Chinese}).holds(sum); got != want {
			t.Errorf("%d experiments: got %q, want %q", n, got, want)
		}
		if len(sum.Kernel) > 100 || !strings.HasSuffix(sum.Kernel, "…") {
			t.Errorf("1000 kernels: got %q", sum.Kernel)
		}
	}
	if got := (words{page.English}).holds(summary{State: stateDone}); got != "" {
		t.Errorf("a run: got %q, want nothing", got)
	}
}
