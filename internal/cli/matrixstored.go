package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/result"
)

// storedMatrix is a matrix that was written to a folder.
type storedMatrix struct {
	dir string
	*result.Matrix
	merged bool // of several: each row is in a folder of its own
}

// matrixAt reads a matrix by its folder or its matrix.json. It is nil where the path is that of something else.
func matrixAt(path string) (*storedMatrix, error) {
	if filepath.Base(path) != matrixFile {
		path = filepath.Join(path, matrixFile)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, usage(explain.InvalidFile, err)
	}
	defer f.Close()
	m, err := result.ReadMatrix(f)
	if err != nil {
		return nil, usage(explain.InvalidFile, fmt.Errorf("%s: %w (want the matrix.json that `tcplab matrix` writes, schema %s)", path, err, result.MatrixSchema))
	}
	return &storedMatrix{dir: filepath.Dir(path), Matrix: m}, nil
}

// onlyMatrix is the matrix that the paths lead to, put together where they lead to parts of one; nil: they lead to none. There must be nothing
// else among them.
func onlyMatrix(paths []string, partial bool) (*storedMatrix, error) {
	var found []*storedMatrix
	others := false
	for _, path := range paths {
		m, err := matrixAt(path)
		if err != nil {
			return nil, err
		}
		switch {
		case m == nil:
			others = true
		case m.Shard != nil && slices.ContainsFunc(found, func(o *storedMatrix) bool { return reflect.DeepEqual(o.Matrix, m.Matrix) }): // by another name, such as latest
		default:
			found = append(found, m)
		}
	}
	switch {
	case len(found) == 0:
		return nil, nil
	case others, len(found) > 1 && slices.ContainsFunc(found, func(m *storedMatrix) bool { return m.Shard == nil }):
		return nil, usage(explain.InvalidFile, fmt.Errorf("%s is a matrix, and a matrix is shown alone: want its folder and no other, or the parts of one matrix, or the folders of runs", found[0].dir))
	}
	return mergeMatrices(found, partial)
}

// results reads the runs of a matrix, row by row.
func (m *storedMatrix) results() (runs []*result.Result, named map[[2]string]*result.Result, err error) {
	named = map[[2]string]*result.Result{}
	for _, row := range m.Rows {
		dir := m.dir
		if m.merged {
			dir = filepath.FromSlash(row.Part)
		}
		for _, c := range row.Cells {
			if c.Folder == "" {
				continue
			}
			folder := filepath.FromSlash(c.Folder)
			if !filepath.IsLocal(folder) {
				return nil, nil, usage(explain.InvalidFile, fmt.Errorf("%s: %s on %s: folder %q: want one inside the folder of the matrix", filepath.Join(dir, matrixFile), row.Experiment, c.Kernel,
					c.Folder))
			}
			r, err := load(filepath.Join(dir, folder))
			if err != nil {
				return nil, nil, fmt.Errorf("%s on %s: %w", row.Experiment, c.Kernel, err)
			}
			runs = append(runs, r)
			named[[2]string{c.Kernel, row.Experiment}] = r
		}
	}
	return runs, named, nil
}

// reportMatrix shows a stored matrix again.
func (a *app) reportMatrix(f *reportFlags, form string, lang page.Lang, m *storedMatrix) error {
	var runs []*result.Result
	var named map[[2]string]*result.Result
	if form != "text" && form != "json" && form != "markdown" || f.html != "" { // else the document is enough
		var err error
		if runs, named, err = m.results(); err != nil {
			return err
		}
	}
	if m.merged && !f.partial {
		a.code = worstOf(m.Matrix, a.code)
	}
	draw := func(w io.Writer) error { return page.HTML(w, page.Options{Lang: lang, Matrix: m.Matrix}, runs...) }
	if f.html != "" && f.html != "-" {
		if err := writeWhole(f.html, draw); err != nil {
			return err
		}
	}
	switch form {
	case "":
		_, err := fmt.Fprintln(a.out, f.html)
		return err
	case "text":
		return report.Matrix(a.out, m.Matrix, a.style(a.out))
	case "json":
		return m.Write(a.out)
	case "markdown":
		return report.MatrixMarkdown(a.out, m.Matrix)
	case "junit":
		return report.MatrixJUnit(a.out, m.Matrix, named)
	case "html":
		return draw(a.out)
	}
	return a.render(form, lang, nil, runs)
}
