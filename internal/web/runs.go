package web

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// store reads a folder of runs. It follows no link, opens nothing but regular files, and never waits for one (a FIFO).
type store struct {
	dir string

	mu    sync.Mutex
	known map[string]known // by name of the run
}

// known is what was read of a result.json, as long as the file is the same.
type known struct {
	mark    mark
	summary summary
}

// mark tells two versions of a file apart.
type mark struct {
	size  int64
	mtime time.Time
}

// Limits of what is read. The largest result.json of the catalogue is below 1 MB.
const (
	mostEntries = 20000
	mostResult  = 16 << 20
	mostDrawn   = 20000 // packets, events and samples of a run that is drawn
	mostEvents  = 64 << 20
)

// fresh is how long a run without a result counts as going on after its last event: it tells its status four times a second.
const fresh = 30 * time.Second

func newStore(dir string) *store { return &store{dir: dir, known: map[string]known{}} }

// The states of a run.
const (
	stateDone   = "done"
	stateLive   = "live"
	stateBroken = "broken"     // it has no result and nothing comes any more
	stateBad    = "unreadable" // its result cannot be read
	stateMatrix = "matrix"     // it is a matrix, which is done
)

// summary is a run in the list.
type summary struct {
	Name       string
	State      string
	Problem    string // of stateBad
	Experiment string
	Rows       []string // of stateMatrix: its first experiments, and how many more it has
	More       int
	Profile    string
	Flags      string
	Kernel     string
	Verdict    result.Verdict
	Passed     int
	All        int
	Wall       time.Duration
	Started    time.Time
}

// errNoRun says that there is no such run.
var errNoRun = errors.New("no such run")

// plainName reports whether a name is one of an entry of a folder, and not hidden.
func plainName(name string) bool {
	return name != "" && len(name) <= 255 && name[0] != '.' && !strings.ContainsAny(name, "/\\\x00")
}

// mostDeep is how deep the folder of a run lies: those of a matrix are MATRIX/KERNEL/EXPERIMENT.
const mostDeep = 3

// parts are the folders on the way to a run, that of the run the last; nil where a name is not one of a run.
func parts(run string) []string {
	out := strings.Split(run, "/")
	if len(out) > mostDeep || slices.ContainsFunc(out, func(name string) bool { return !plainName(name) }) {
		return nil
	}
	return out
}

// names lists the folders, the newest first: their names begin with the time. Others come last.
func (s *store) names() ([]string, error) {
	d, err := os.Open(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(mostEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && plainName(e.Name()) { // a link is no folder here
			out = append(out, e.Name())
		}
	}
	digit := func(s string) bool { return s[0] >= '0' && s[0] <= '9' }
	slices.SortFunc(out, func(a, b string) int {
		if digit(a) != digit(b) {
			if digit(a) {
				return -1
			}
			return 1
		}
		return strings.Compare(b, a)
	})
	return out, nil
}

// folder opens the folder of a run. The caller closes it.
func (s *store) folder(run string) (*os.Root, fs.FileInfo, error) {
	names := parts(run)
	if names == nil {
		return nil, nil, errNoRun
	}
	at, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, nil, errNoRun
	}
	var st fs.FileInfo
	for _, name := range names {
		var next *os.Root
		if st, err = at.Lstat(name); err == nil && st.IsDir() { // a link is no folder here
			next, _ = at.OpenRoot(name)
		}
		at.Close()
		if next == nil {
			return nil, nil, errNoRun
		}
		at = next
	}
	return at, st, nil
}

// stat describes a regular file of a run.
func (s *store) stat(run, name string) (fs.FileInfo, error) {
	folder, _, err := s.folder(run)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	return regular(folder, name)
}

func regular(folder *os.Root, name string) (fs.FileInfo, error) {
	st, err := folder.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	return st, nil
}

// open opens a file of a run.
func (s *store) open(run, name string) (*os.File, fs.FileInfo, error) {
	folder, _, err := s.folder(run)
	if err != nil {
		return nil, nil, err
	}
	defer folder.Close()
	st, err := regular(folder, name)
	if err != nil {
		return nil, nil, err
	}
	f, err := folder.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO that takes its place would not let us go
	if err != nil {
		return nil, nil, err
	}
	now, err := f.Stat()
	if err != nil || !os.SameFile(st, now) {
		f.Close()
		return nil, nil, errors.Join(err, fmt.Errorf("%s was exchanged", name))
	}
	return f, now, nil
}

// result reads the result of a run.
func (s *store) result(run string) (*result.Result, error) {
	r, _, err := s.sized(run)
	return r, err
}

// sized reads the result of a run, with the size of its file.
func (s *store) sized(run string) (*result.Result, int64, error) {
	f, st, err := s.open(run, "result.json")
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	r, err := bounded(f, "result.json", st.Size(), result.Read)
	return r, st.Size(), err
}

// bounded reads a file of a run that is not too large.
func bounded[T any](f io.Reader, name string, size int64, read func(io.Reader) (*T, error)) (*T, error) {
	if size > mostResult {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, mostResult>>20)
	}
	return read(io.LimitReader(f, mostResult+1))
}

// drawable refuses what no page can show.
func drawable(r *result.Result) error {
	n := len(r.Packets) + len(r.Events) + len(r.Samples) + len(r.States) + len(r.Checks) + len(r.Sysctls) + len(r.Story) + len(r.Stalls)
	if e := r.Evidence; e != nil {
		n += len(e.Events) + len(e.Counters)
	}
	if n > mostDrawn {
		return fmt.Errorf("%d packets, events and samples are too many to draw", n)
	}
	return nil
}

// summary reads what the list shows of a run, or of a matrix.
func (s *store) summary(run string) summary {
	sum, err := s.summaryFrom(run, "result.json", func(f io.Reader, size int64) (summary, error) {
		r, err := bounded(f, "result.json", size, result.Read)
		if err != nil {
			return summary{}, err
		}
		return summaryOf(run, r), nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		sum, err = s.summaryFrom(run, matrixFile, func(f io.Reader, size int64) (summary, error) {
			m, err := bounded(f, matrixFile, size, result.ReadMatrix)
			if err != nil {
				return summary{}, err
			}
			return summaryOfMatrix(run, m), nil
		})
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.unfinished(run)
	case err != nil:
		return summary{Name: run, State: stateBad, Problem: err.Error()}
	}
	return sum
}

// summaryFrom makes a summary of a file, as long as it stays the same once.
func (s *store) summaryFrom(run, name string, read func(io.Reader, int64) (summary, error)) (summary, error) {
	f, st, err := s.open(run, name)
	if err != nil {
		return summary{}, err
	}
	defer f.Close()
	m := mark{st.Size(), st.ModTime()}
	s.mu.Lock()
	k, ok := s.known[run]
	s.mu.Unlock()
	if ok && k.mark == m {
		return k.summary, nil
	}
	sum, err := read(f, st.Size())
	if err != nil { // as long as the file stays the same, this does too
		sum = summary{Name: run, State: stateBad, Problem: err.Error()}
	}
	s.mu.Lock()
	if len(s.known) > mostEntries {
		clear(s.known)
	}
	s.known[run] = known{m, sum}
	s.mu.Unlock()
	return sum, nil
}

func summaryOf(run string, r *result.Result) summary {
	sum := summary{Name: run, State: stateDone, Experiment: r.Experiment.Name, Profile: r.Profile, Kernel: report.KernelName(r.Kernel), Verdict: r.Verdict,
		Wall: r.Wall.Duration(), Started: r.Started}
	sum.Passed, sum.All = r.Tally()
	var flags []string
	for _, p := range r.Params {
		if p.From == "flag" && len(flags) < 32 {
			flags = append(flags, "--"+p.Name+"="+p.Value)
		}
	}
	sum.Flags = strings.Join(flags, " ")
	return sum
}

// unfinished is a run without a result: it goes on, or it was broken off.
func (s *store) unfinished(run string) summary {
	sum := summary{Name: run, State: stateBroken}
	f, st, err := s.open(run, "events.ndjson")
	if err != nil {
		return s.openMatrix(sum)
	}
	defer f.Close()
	if time.Since(st.ModTime()) < fresh {
		sum.State = stateLive
	}
	// The first line has what was asked for.
	t := newTail(f, 0)
	for range 8 {
		l, _, err := t.next()
		if err != nil {
			break
		}
		if l.Start != nil {
			sum.Experiment, sum.Profile = l.Start.Experiment, l.Start.Profile
			sum.Kernel = report.KernelName(result.Kernel{Version: l.Start.Kernel, HZ: l.Start.HZ})
			sum.Started = l.Time
			break
		}
	}
	return sum
}
