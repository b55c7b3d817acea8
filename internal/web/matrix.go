package web

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/result"
)

// matrixFile is the document of a matrix in its folder.
const matrixFile = "matrix.json"

// Limits of a matrix that is drawn. The whole catalogue on ten kernels is 140 runs of some 100 kB.
const (
	mostMatrixRuns  = 500
	mostMatrixBytes = 64 << 20 // of the results of its runs
)

// fewNames is how many experiments or kernels of a matrix the list names.
const fewNames = 5

// summaryOfMatrix is a matrix in the list.
func summaryOfMatrix(name string, m *result.Matrix) summary {
	sum := summary{Name: name, State: stateMatrix, Profile: m.Profile, Verdict: m.Verdict, Wall: m.Wall.Duration(), Started: m.Started}
	for _, row := range m.Rows {
		if len(sum.Rows) < fewNames {
			sum.Rows = append(sum.Rows, row.Experiment)
		} else {
			sum.More++
		}
		for _, c := range row.Cells {
			sum.Passed, sum.All = sum.Passed+c.Passed, sum.All+c.Checks
		}
	}
	var kernels []string
	for i, k := range m.Kernels {
		if i == 2*fewNames {
			kernels = append(kernels, "…")
			break
		}
		kernels = append(kernels, k.Name)
	}
	sum.Kernel = strings.Join(kernels, ", ")
	return sum
}

// holds says what experiments a matrix has; empty for a run.
func (v words) holds(sum summary) string {
	if sum.State != stateMatrix {
		return ""
	}
	text := v.t("matrix:") + " " + report.Clean(strings.Join(sum.Rows, ", "))
	if sum.More > 0 {
		text += " " + v.tf("and %d more", sum.More)
	}
	return text
}

// matrix shows a stored matrix as `tcplab report` does. The cells whose runs are there lead to the pages of these.
func (s *Server) matrix(w http.ResponseWriter, r *http.Request, name string) error {
	done, err := s.working(r.Context())
	if err != nil {
		return err
	}
	defer done()
	m, err := s.runs.matrix(name)
	if err != nil {
		return fmt.Errorf("%s: %w", report.Clean(name), err)
	}
	o := page.Options{Matrix: m}
	runs, folders, err := s.runs.matrixRuns(name, m)
	if err != nil {
		return err
	}
	for _, f := range folders {
		o.Pages = append(o.Pages, s.runPath(f))
	}
	return s.send(w, r, name, o, runs)
}

// matrix reads a matrix that a page can show.
func (s *store) matrix(name string) (*result.Matrix, error) {
	f, st, err := s.open(name, matrixFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := bounded(f, matrixFile, st.Size(), result.ReadMatrix)
	if err != nil {
		return nil, err
	}
	n := len(m.Kernels)
	for _, row := range m.Rows {
		for _, c := range row.Cells {
			n += 1 + len(c.Events)
		}
		for _, d := range row.Steps {
			n += 1 + len(d.Predicted) + len(d.Checks) + len(d.Causes)
		}
	}
	if n > mostDrawn {
		return nil, fmt.Errorf("%d cells, events and changes are too many to draw", n)
	}
	return m, nil
}

// matrixRuns reads the runs of a matrix, row by row, with their folders. What is not there, or cannot be shown, is taken out of its cell.
func (s *store) matrixRuns(name string, m *result.Matrix) (runs []*result.Result, folders []string, err error) {
	tooMany := &problem{http.StatusUnprocessableEntity, "the runs of this matrix are too many for one page: tcplab report --html"}
	n := 0
	for _, row := range m.Rows {
		n += len(row.Cells)
	}
	if n > mostMatrixRuns {
		return nil, nil, tooMany
	}
	room := int64(mostMatrixBytes)
	for _, row := range m.Rows {
		for i := range row.Cells {
			c := &row.Cells[i]
			if c.Folder == "" {
				continue
			}
			folder := name + "/" + c.Folder
			x, size, err := s.sized(folder)
			if err == nil {
				err = drawable(x)
			}
			if room -= size; room < 0 {
				return nil, nil, tooMany
			}
			if err != nil {
				c.Folder = ""
				continue
			}
			runs, folders = append(runs, x), append(folders, folder)
		}
	}
	return runs, folders, nil
}

// openMatrix looks at a folder without a document. That of a matrix that goes on, or was broken off, has folders of kernels with runs in them.
func (s *store) openMatrix(sum summary) summary {
	runs, newest := s.inside(sum.Name)
	for _, run := range runs {
		x := s.summary(run)
		if x.State == stateLive {
			newest = time.Now()
		}
		if sum.All++; x.State == stateDone {
			sum.Passed++
		}
	}
	if time.Since(newest) < fresh {
		sum.State = stateLive
	}
	return sum
}

// inside lists the runs in the folder of a matrix, and says when one was last begun or got a file; zero: it is not the folder of a matrix.
func (s *store) inside(name string) (runs []string, newest time.Time) {
	if strings.Contains(name, "/") { // a matrix lies beside runs, not in another
		return nil, newest
	}
	kernels, _ := s.below(name)
	for _, kernel := range kernels {
		found, at := s.below(name + "/" + kernel)
		if at.After(newest) {
			newest = at
		}
		for _, run := range found {
			runs = append(runs, name+"/"+kernel+"/"+run)
		}
	}
	return runs[:min(len(runs), mostMatrixRuns)], newest
}

// below lists the folders in a folder, and says when that or one of them last got another entry.
func (s *store) below(name string) (names []string, newest time.Time) {
	folder, st, err := s.folder(name)
	if err != nil {
		return nil, newest
	}
	defer folder.Close()
	newest = st.ModTime()
	d, err := folder.Open(".")
	if err != nil {
		return nil, newest
	}
	defer d.Close()
	entries, _ := d.ReadDir(mostMatrixRuns) // what cannot be read is not there
	for _, e := range entries {
		if !e.IsDir() || !plainName(e.Name()) {
			continue
		}
		names = append(names, e.Name())
		if info, err := e.Info(); err == nil && info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	slices.Sort(names)
	return names, newest
}
