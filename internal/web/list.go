package web

import (
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/result"
)

const (
	rowsPerPage  = 50
	mostSearched = 2000 // runs whose result is read to find those of a verdict
	mostTogether = 20   // runs in one report
)

// listData is a page of the list.
type listData struct {
	Runs     []listRow
	Total    int // of all folders
	Query    string
	Verdict  string
	Verdicts []string
	Newer    string // address; empty: there are none
	Older    string
	Mark     string // of the list as it is shown
	Dir      string
}

type listRow struct {
	summary
	Wall    string
	Started string
	Count   string
	Class   string
	Word    string
	Choose  bool // it can be compared
	Holds   string
}

// list shows the runs, the newest first.
func (s *Server) list(w http.ResponseWriter, r *http.Request) error {
	v := s.words(r)
	mark := s.listMark()
	names, err := s.runs.names()
	if err != nil {
		return err
	}
	q := r.URL.Query()
	d := listData{Total: len(names), Query: q.Get("q"), Verdict: q.Get("verdict"), Mark: mark, Dir: report.Clean(s.Dir)}
	for _, x := range []result.Verdict{result.Pass, result.Fail, result.Inconclusive, result.Error} {
		d.Verdicts = append(d.Verdicts, string(x))
	}
	from, _ := strconv.Atoi(q.Get("from"))
	from = max(0, from)
	n := 0 // that match
	for i, name := range names {
		if !strings.Contains(strings.ToLower(name), strings.ToLower(d.Query)) {
			continue
		}
		if d.Verdict == "" && (n < from || n > from+rowsPerPage) { // it need not be read
			n++
			continue
		}
		if d.Verdict != "" && i > mostSearched {
			break
		}
		sum := s.look(name)
		if d.Verdict != "" && string(sum.Verdict) != d.Verdict {
			continue
		}
		if n >= from && n < from+rowsPerPage {
			d.Runs = append(d.Runs, v.listRow(sum))
		}
		n++
	}
	at := func(from int) string {
		p := url.Values{"q": {d.Query}, "verdict": {d.Verdict}, "from": {strconv.Itoa(from)}}
		return s.path("/?") + p.Encode()
	}
	if from > 0 {
		d.Newer = at(max(0, from-rowsPerPage))
	}
	if n > from+rowsPerPage {
		d.Older = at(from + rowsPerPage)
	}
	s.show(w, r, http.StatusOK, "list", view{Title: v.t("Runs"), Here: "runs", Data: d})
	return nil
}

// look is a run's summary. One that this server runs goes on, however long it is silent.
func (s *Server) look(name string) summary {
	sum := s.runs.summary(name)
	if sum.State == stateBroken && s.jobs.has(name) {
		sum.State = stateLive
	}
	return sum
}

func (v words) listRow(sum summary) listRow {
	row := listRow{summary: sum, Class: string(sum.Verdict), Holds: v.holds(sum)}
	switch sum.State {
	case stateLive:
		row.Class, row.Word = "live", v.t("running")
	case stateBroken:
		row.Class, row.Word = "skip", v.t("broken off")
	case stateBad:
		row.Class, row.Word = "error", v.t("unreadable")
	default:
		row.Choose = sum.State == stateDone && report.Clean(sum.Name) == sum.Name // a form would send another name
		row.Word = v.verdict(sum.Verdict)
		row.Count = fmt.Sprintf("%d/%d", sum.Passed, sum.All)
		row.Wall = fmt.Sprintf("%.1f s", sum.Wall.Seconds())
	}
	if !sum.Started.IsZero() {
		row.Started = sum.Started.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	return row
}

// listMark tells two states of the list apart: which runs there are, and how the newest ones stand.
func (s *Server) listMark() string {
	h := fnv.New64a()
	names, err := s.runs.names()
	_, _ = fmt.Fprintf(h, "%d %v\n", len(names), err)
	for i, name := range names {
		_, _ = io.WriteString(h, name)
		if i < rowsPerPage {
			sum := s.look(name)
			_, _ = fmt.Fprintf(h, " %s %s %d", sum.State, sum.Verdict, sum.Passed)
		}
	}
	now, last := s.jobs.state()
	_, _ = fmt.Fprintf(h, "%v %s", now != nil, last)
	return strconv.FormatUint(h.Sum64(), 36)
}

// run shows one run: its report, or, while it goes on, what is known of it.
func (s *Server) run(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("run")
	folder, _, err := s.runs.folder(name)
	if err != nil {
		return err
	}
	folder.Close()
	v := s.words(r)
	switch sum := s.look(name); sum.State {
	case stateDone:
		return s.drawn(w, r, []string{name})
	case stateMatrix:
		return s.matrix(w, r, name)
	case stateBad:
		s.show(w, r, http.StatusUnprocessableEntity, "problem", view{Title: report.Clean(name), Body: v.tf("its result cannot be read: %s", sum.Problem)})
		return nil
	default:
		if inside, _ := s.runs.inside(name); len(inside) > 0 {
			d := listData{Mark: s.listMark()}
			for _, run := range inside {
				d.Runs = append(d.Runs, v.listRow(s.runs.summary(run)))
			}
			s.show(w, r, http.StatusOK, "parts", view{Title: report.Clean(name), Body: v.listRow(sum).Word, Here: "runs", Data: d})
			return nil
		}
		return s.live(w, r, sum)
	}
}

// liveData is a run without a result.
type liveData struct {
	Run   string
	Sum   listRow
	Heads []string
	board
	Mine bool // this server started it
}

func (s *Server) live(w http.ResponseWriter, r *http.Request, sum summary) error {
	v := s.words(r)
	d := liveData{Run: sum.Name, Sum: v.listRow(sum), Mine: s.jobs.has(sum.Name)}
	if now, _ := s.jobs.state(); d.Mine && now != nil { // its first line may be still to come
		d.Sum.Experiment, d.Sum.Profile = now.Request.Experiment, now.Request.Profile
	}
	for _, h := range []string{"seen", "host", "event", "expected", "window", "off", "result"} {
		d.Heads = append(d.Heads, v.t(h))
	}
	if f, _, err := s.runs.open(sum.Name, "events.ndjson"); err == nil {
		defer f.Close()
		done, err := s.working(r.Context())
		if err != nil {
			return err
		}
		d.board, err = v.read(f)
		done()
		if err != nil {
			return err
		}
	}
	refresh := 2
	if sum.State != stateLive {
		refresh = 0
	}
	s.show(w, r, http.StatusOK, "live", view{Title: report.Clean(sum.Name), Here: "live", Data: d, Refresh: refresh})
	return nil
}

// report shows several runs in one page, with their table.
func (s *Server) report(w http.ResponseWriter, r *http.Request) error {
	names := r.URL.Query()["run"]
	v := s.words(r)
	if len(names) == 0 || len(names) > mostTogether {
		return &problem{http.StatusBadRequest, v.tf("choose 1 to %d runs", mostTogether)}
	}
	return s.drawn(w, r, names)
}

// drawn draws the page of runs anew from their results.
func (s *Server) drawn(w http.ResponseWriter, r *http.Request, names []string) error {
	done, err := s.working(r.Context())
	if err != nil {
		return err
	}
	defer done()
	var runs []*result.Result
	for _, name := range names {
		x, err := s.runs.result(name)
		if err == nil {
			err = drawable(x)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", report.Clean(name), err)
		}
		runs = append(runs, x)
	}
	one := ""
	if len(names) == 1 {
		one = names[0]
	}
	return s.send(w, r, one, page.Options{}, runs)
}

// send answers with the report of runs, and links to the files of the folder that it is about; empty: it is about several.
func (s *Server) send(w http.ResponseWriter, r *http.Request, folder string, o page.Options, runs []*result.Result) error {
	o.Lang, o.Links = s.words(r).lang, []page.Link{{Text: "all runs", Href: s.path("/")}}
	if above, _, ok := strings.Cut(folder, "/"); ok && s.look(above).State == stateMatrix {
		o.Links = append(o.Links, page.Link{Text: "its matrix", Href: s.runPath(above)})
	}
	if folder != "" {
		for _, f := range files {
			if _, err := s.runs.stat(folder, f); err == nil {
				o.Links = append(o.Links, page.Link{Text: f, Href: s.runPath(folder) + "files/" + f})
			}
		}
	}
	s.remember(w, r)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", page.Policy()+"; frame-ancestors 'none'")
	return page.HTML(w, o, runs...)
}

// runPath is the address of a run's page.
func (s *Server) runPath(run string) string { return s.path("/runs/" + url.PathEscape(run) + "/") }

// ladder draws the ladder of a run as a picture.
func (s *Server) ladder(w http.ResponseWriter, r *http.Request) error {
	done, err := s.working(r.Context())
	if err != nil {
		return err
	}
	defer done()
	x, err := s.runs.result(r.PathValue("run"))
	if err == nil {
		err = drawable(x)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	return page.SVG(w, page.Options{Lang: s.words(r).lang}, x)
}

// files are what can be downloaded of a run, or of a matrix. Nothing of a run's folder is shown as it is: report.html of somebody else's run may be anything.
var files = []string{"client.pcapng", "server.pcapng", "result.json", "events.ndjson", matrixFile, "matrix.txt", "junit.xml"}

// download sends a file, to be kept and not to be shown.
func (s *Server) download(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("file")
	known := false
	for _, f := range files {
		known = known || f == name
	}
	if !known {
		return errNoRun
	}
	f, st, err := s.runs.open(r.PathValue("run"), name)
	if err != nil {
		return err
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	w.Header().Set("Content-Length", strconv.FormatInt(st.Size(), 10))
	if r.Method == http.MethodHead {
		return nil
	}
	_, _ = io.CopyN(w, f, st.Size()) // a client that goes away, or a file that shrinks: the length tells
	return nil
}
