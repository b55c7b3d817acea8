package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/sysctl"
)

// The files of a matrix in its folder; its page is pageFile, and its runs are in folders of their kernels.
const (
	matrixFile  = "matrix.json"
	matrixText  = "matrix.txt"
	matrixJUnit = "junit.xml"
)

// matrixRun is a matrix at work.
type matrixRun struct {
	app    *app
	flags  *matrixFlags
	jobs   []job
	shard  *result.Shard // without a Run; nil: the whole matrix
	rows   []int         // with a shard: the number of each job in the whole
	cols   []column
	began  time.Time
	folder *folder

	batches []*batch // one for each column
	crews   []crew

	mu   sync.Mutex
	took map[[2]string]time.Duration // kernel and experiment
}

// hostCan tries a lab on this machine before anything is run, where the host is a column: who lacks the privilege should not learn it at
// the end.
func (m *matrixRun) hostCan(ctx context.Context) error {
	if !slices.ContainsFunc(m.cols, func(c column) bool { return c.host }) {
		return nil
	}
	l, err := lab.New(ctx, lab.Topology{Baseline: sysctl.Baseline})
	if err == nil {
		return l.Close()
	}
	if !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("kernel %s: %w", hostKernel, err)
	}
	others := slices.DeleteFunc(slices.Clone(m.cols), func(c column) bool { return c.host })
	names := make([]string, len(others))
	for i, c := range others {
		names[i] = c.name
	}
	cure := "leave it away and name kernels that run in machines, which need no root"
	if len(names) > 0 {
		cure = fmt.Sprintf("or leave it away: --kernels=%s needs no root", strings.Join(names, ","))
	}
	return &failure{fmt.Errorf("kernel %s: a lab on this machine's own kernel needs root (nothing was run): %w; %s", hostKernel, err, cure), explain.ExitUnable, explain.NoPrivilege}
}

// do runs all of it: the machines first, as many at once as there are processors, then this machine's own labs.
func (m *matrixRun) do(ctx context.Context, form string) (err error) {
	m.began = time.Now()
	w := newWay(m.app.guard, m.flags.out)
	defer func() { err = keepMade(w, err) }()
	if m.folder, err = makeFolder(w, "matrix"); err != nil {
		return err
	}
	err = m.runAll(ctx)
	if err != nil && len(m.results()) > 0 && ctx.Err() != nil {
		_ = m.folder.done(nil) // the runs that are whole stay
		return err
	}
	if err != nil {
		return m.folder.done(err)
	}
	doc := m.document()
	if err := m.write(doc); err != nil {
		return m.folder.done(err)
	}
	if err := m.folder.done(nil); err != nil {
		return err
	}
	return m.show(doc, form)
}

// runAll makes the runs. An error is one that leaves nothing to show.
func (m *matrixRun) runAll(ctx context.Context) error {
	guests := 0
	for _, c := range m.cols {
		if !c.host {
			guests++
		}
	}
	atOnce := m.flags.parallel
	if atOnce == 0 {
		atOnce = machines(guests * len(m.jobs))
	}
	fleet := newFleet(m.app, atOnce)
	errs := make([]error, len(m.cols))
	var wg sync.WaitGroup
	for i := range m.cols { // before any machine is at work in a folder that goes when another cannot be made
		if err := m.batch(i); err != nil {
			return err
		}
	}
	for i, c := range m.cols {
		if !c.host {
			wg.Go(func() { m.crews[i], errs[i] = fleet.run(ctx, m.batches[i], c.kernel, max(1, atOnce/guests)) })
		}
	}
	wg.Wait()
	for i, c := range m.cols {
		if c.host && ctx.Err() == nil {
			errs[i] = m.host(ctx, i)
		}
	}
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	for i, err := range errs { // a kernel without any run
		m.note(i, err)
	}
	if len(m.results()) > 0 {
		return nil
	}
	// Each run was told of; the first says it for all.
	return fmt.Errorf("no run on any kernel could be carried out; on %s: %w", m.cols[0].name, m.batches[0].failed[0].err)
}

// host makes the runs on this machine.
func (m *matrixRun) host(ctx context.Context, i int) error {
	b := m.batches[i]
	began := time.Now()
	b.took = estimate(b.jobs)
	if b.flags.parallel == 0 {
		b.flags.parallel = len(b.jobs)
	}
	b.announce()
	err := b.do(ctx)
	m.crews[i].stats.Wall = time.Since(began)
	return err
}

// batch prepares the runs of one column, in a folder of their own.
func (m *matrixRun) batch(i int) error {
	c := m.cols[i]
	flags := m.flags.runFlags
	flags.out = filepath.Join(m.folder.path, c.folder())
	if err := m.folder.root.Mkdir(c.folder(), 0o755); err != nil {
		return unwritable(fmt.Errorf("--out: %w", err))
	}
	b := &batch{app: m.app, flags: &flags, jobs: m.jobs, took: make([]time.Duration, len(m.jobs)), results: make([]*result.Result, len(m.jobs))}
	b.place = func(j job) (*folder, error) { return placeFolder(m.folder, c.folder(), j.x.Name) }
	b.done = func(j job, r *result.Result, took time.Duration) { m.done(c, j, r, took) }
	m.batches[i] = b
	return nil
}

// folder is where the runs of a column lie in that of the matrix.
func (c column) folder() string {
	if c.host {
		return hostKernel
	}
	if c.apart && c.kernel.ID != "" {
		return c.kernel.Release + "-" + c.kernel.ShortID()
	}
	return c.kernel.Release
}

// done takes a run and tells of it while others go on.
func (m *matrixRun) done(c column, j job, r *result.Result, took time.Duration) {
	m.mu.Lock()
	m.took[[2]string{c.name, j.x.Name}] = took
	m.mu.Unlock()
	m.app.mu.Lock()
	defer m.app.mu.Unlock()
	fmt.Fprintf(m.app.err, "%-8s  ", c.name)
	m.app.lost(report.VerdictLine(m.app.err, r, m.app.style(m.app.err)))
}

// note gives each run of a column that was never begun the column's error.
func (m *matrixRun) note(i int, err error) {
	if err == nil {
		return
	}
	b := m.batches[i]
	for _, j := range b.jobs {
		if b.results[j.n-1] == nil && !slices.ContainsFunc(b.failed, func(f failed) bool { return f.n == j.n }) {
			b.failed = append(b.failed, failed{j, err})
		}
	}
}

// results are the runs that have one, by kernel and experiment.
func (m *matrixRun) results() map[[2]string]*result.Result {
	out := map[[2]string]*result.Result{}
	for i, b := range m.batches {
		if b == nil {
			continue
		}
		for _, j := range b.jobs {
			if r := b.results[j.n-1]; r != nil {
				out[[2]string{m.cols[i].name, j.x.Name}] = r
			}
		}
	}
	return out
}

// document is the matrix as data.
func (m *matrixRun) document() *result.Matrix {
	doc := &result.Matrix{Schema: result.MatrixSchema, Tool: result.Tool{Name: "tcplab", Version: version}, Profile: m.flags.profile, Command: os.Args,
		Started: m.began.UTC(), Wall: result.Seconds(time.Since(m.began)), Shard: m.shard, Rows: []result.MatrixRow{}}
	for i, c := range m.cols {
		k := result.MatrixKernel{Name: c.name, Folder: c.folder(), Machines: m.crews[i].machines, Boot: result.Seconds(m.crews[i].stats.Boot),
			Wall: result.Seconds(m.crews[i].stats.Wall), Peak: m.crews[i].stats.Peak}
		if c.kernel.ID != "" {
			k.Image = c.kernel.Image
		}
		if m.batches[i] == nil {
			doc.Kernels = append(doc.Kernels, k) // an empty part
			continue
		}
		if r := firstOf(m.batches[i].results); r != nil {
			k.Release, k.Version, k.HZ = r.Kernel.Release, r.Kernel.Version, r.Kernel.HZ
		}
		doc.Kernels = append(doc.Kernels, k)
	}
	for _, j := range m.jobs {
		doc.Rows = append(doc.Rows, m.row(j))
	}
	doc.Gravest()
	return doc
}

func firstOf(rs []*result.Result) *result.Result {
	if i := slices.IndexFunc(rs, func(r *result.Result) bool { return r != nil }); i >= 0 {
		return rs[i]
	}
	return nil
}

// row is one experiment on every kernel, and what changes from one to the next.
func (m *matrixRun) row(j job) result.MatrixRow {
	row := result.MatrixRow{Experiment: j.x.Name, Summary: j.x.Summary}
	if m.shard != nil {
		row.Row = m.rows[j.n-1]
	}
	var before *result.Result
	var name string
	for i, b := range m.batches {
		c := m.cols[i]
		r := b.results[j.n-1]
		if r == nil {
			row.Cells = append(row.Cells, m.unmade(i, j))
			continue
		}
		cell := result.Cell(c.name, r)
		cell.Took = result.Seconds(m.took[[2]string{c.name, j.x.Name}])
		cell.Folder = c.folder() + "/" + j.x.Name
		row.Cells = append(row.Cells, cell)
		for _, q := range r.Params {
			if q.From == "flag" && before == nil {
				row.Params = append(row.Params, q)
			}
		}
		if before != nil && before.Prediction != nil && r.Prediction != nil {
			row.Steps = append(row.Steps, result.MatrixStep{A: name, B: c.name, Difference: differenceOf(before, r)})
		}
		before, name = r, c.name
	}
	return row
}

// unmade is the cell of a run that has no result.
func (m *matrixRun) unmade(i int, j job) result.MatrixCell {
	cell := result.MatrixCell{Kernel: m.cols[i].name, Verdict: result.Error, Error: "no result", Exit: explain.ExitInternal}
	for _, f := range m.batches[i].failed {
		if f.n == j.n {
			cell.Error = f.err.Error()
			cell.Exit, cell.Code = classify(f.err)
		}
	}
	if cell.Exit == explain.ExitUnable {
		cell.Verdict = result.Unable
	}
	return cell
}

// inOrder are the results as the page wants them: by experiment, then by kernel.
func (m *matrixRun) inOrder() []*result.Result {
	var out []*result.Result
	for _, j := range m.jobs {
		for _, b := range m.batches {
			if r := b.results[j.n-1]; r != nil {
				out = append(out, r)
			}
		}
	}
	return out
}

// write fills the folder of the matrix.
func (m *matrixRun) write(doc *result.Matrix) error {
	for _, f := range []struct {
		name string
		fill func(io.Writer) error
	}{
		{matrixFile, doc.Write},
		{matrixText, func(w io.Writer) error { return report.Matrix(w, doc, report.Style{}) }},
		{matrixJUnit, func(w io.Writer) error { return report.MatrixJUnit(w, doc, m.results()) }},
		{pageFile, func(w io.Writer) error { return m.page(w, doc) }},
	} {
		file, err := m.folder.create(f.name)
		if err != nil {
			return err
		}
		if err := errors.Join(f.fill(file), file.Close()); err != nil {
			return fmt.Errorf("write %s/%s: %w", m.folder.path, f.name, err)
		}
	}
	if m.flags.html != "" && m.flags.html != "-" {
		return writeWhole(m.flags.html, func(w io.Writer) error { return m.page(w, doc) })
	}
	return nil
}

func (m *matrixRun) page(w io.Writer, doc *result.Matrix) error {
	return page.HTML(w, page.Options{Lang: m.flags.page, Matrix: doc}, m.inOrder()...)
}

// worstOf is the exit code of a matrix: that of the gravest run, or the one there is.
func worstOf(doc *result.Matrix, code int) int {
	codes := []int{code}
	for _, row := range doc.Rows {
		for _, c := range row.Cells {
			code := c.Verdict.ExitCode()
			if c.Error != "" {
				code = c.Exit
			}
			codes = append(codes, code)
		}
	}
	return explain.Worst(codes...)
}

// show prints the matrix and sets the exit code: that of the gravest run.
func (m *matrixRun) show(doc *result.Matrix, form string) error {
	a := m.app
	a.code = worstOf(doc, a.code)
	switch form {
	case "json":
		return doc.Write(a.out)
	case "junit":
		return report.MatrixJUnit(a.out, doc, m.results())
	case "markdown":
		return report.MatrixMarkdown(a.out, doc)
	case "html":
		return m.page(a.out, doc)
	}
	if m.folder == nil {
		return nil // an empty part, which was told of
	}
	if err := report.Matrix(a.out, doc, a.style(a.out)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "\nfiles    %s/\nreport   %s\n%s %d experiments on %d kernels  %.1fs\n", m.folder.path, filepath.Join(m.folder.path, pageFile),
		strings.ToUpper(string(doc.Verdict)), len(doc.Rows), len(doc.Kernels), doc.Wall.Duration().Seconds())
	return err
}
