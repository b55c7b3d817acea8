package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
)

// namedRun is a run that was written to a folder.
type namedRun struct {
	path string // as it was named
	*result.Result
}

// unfold replaces a folder of runs by the runs in it: --out of a part. What has a result or a matrix itself stays, and so does what has none: to
// read it is the error.
func unfold(paths []string) []string {
	var out []string
	for _, path := range paths {
		if holds(path) {
			out = append(out, path)
			continue
		}
		entries, _ := os.ReadDir(path)
		found := false
		for _, e := range entries {
			// latest is one of the others; a copy that followed links has it twice.
			if in := filepath.Join(path, e.Name()); e.IsDir() && e.Name() != "latest" && holds(in) {
				out, found = append(out, in), true
			}
		}
		if !found {
			out = append(out, path)
		}
	}
	return out
}

// holds reports whether a folder is that of a run or of a matrix.
func holds(dir string) bool {
	for _, name := range []string{"result.json", matrixFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// merge puts the runs of a shared list into the order of that list, each once, and wants all of them there. shared is false where the runs are
// not those of one list: then they are shown as they were named. partial: what there is will do.
func merge(runs []namedRun, partial bool) (out []namedRun, shared bool, err error) {
	runs = once(runs)
	var pieces []result.Shard
	for _, r := range runs {
		if r.Shard != nil {
			pieces = append(pieces, *r.Shard)
		}
	}
	if len(pieces) == 0 || partial {
		return runs, false, nil
	}
	wrong := gaps(pieces)
	if n := len(runs) - len(pieces); n > 0 {
		wrong = append(wrong, fmt.Sprintf("%d of the runs are of no list: they were made without --shard", n))
	}
	if len(wrong) > 0 {
		return nil, false, notWhole(wrong)
	}
	slices.SortFunc(runs, func(a, b namedRun) int { return a.Shard.Run - b.Shard.Run })
	return runs, true, nil
}

// notWhole is the error of parts that are not the whole.
func notWhole(wrong []string) error {
	return &failure{fmt.Errorf("the parts are not the whole: %s; --partial shows what there is", strings.Join(wrong, "; ")), explain.ExitInternal, explain.PartsMissing}
}

// once leaves out what is there twice without being a second run: the same folder by another name (latest), a copy, and an attempt that decided
// nothing and was made again. It is for runs of a list alone; others are shown as often as they are named.
func once(runs []namedRun) []namedRun {
	again := map[string]bool{}
	for _, r := range runs {
		for _, e := range r.Earlier {
			again[filepath.Join(filepath.Dir(r.dir()), e.Folder)] = true
		}
	}
	var out []namedRun
	for _, r := range runs {
		if r.Shard != nil && (again[r.dir()] || slices.ContainsFunc(out, func(o namedRun) bool { return reflect.DeepEqual(o.Result, r.Result) })) {
			continue
		}
		out = append(out, r)
	}
	return out
}

// dir is the folder of a run.
func (r namedRun) dir() string { return filepath.Clean(strings.TrimSuffix(r.path, "result.json")) }

// gaps checks that pieces are the whole: every run of one list once. It returns a sentence for each thing that is wrong.
func gaps(pieces []result.Shard) (wrong []string) {
	if len(pieces) == 0 {
		return []string{"none of them has a run"}
	}
	var lists []string
	for _, p := range pieces {
		if !slices.Contains(lists, p.List) {
			lists = append(lists, p.List)
		}
	}
	if len(lists) > 1 {
		return []string{fmt.Sprintf("they are of %d lists of runs (%s): other experiments, parameters or repeats", len(lists), strings.Join(lists, ", "))}
	}
	count, total := pieces[0].Count, pieces[0].Runs
	var seen []int
	for _, p := range pieces {
		if p.Count != count || p.Runs != total {
			return []string{fmt.Sprintf("part %d/%d has runs of %d, and part %d/%d of %d: want parts of one division", pieces[0].Index, count, total, p.Index, p.Count, p.Runs)}
		}
		seen = append(seen, p.Run)
	}
	missing, doubled := holes(total, seen)
	wrong = byPart(missing, seen, count, total)
	if len(doubled) > 0 {
		wrong = append(wrong, fmt.Sprintf("more than once is there: run %s of %d", ranges(doubled), total))
	}
	return wrong
}

// byPart says of each part what is missing of it.
func byPart(missing, seen []int, count, total int) (out []string) {
	owner := func(n int) int { return (n-1)%count + 1 }
	for part := 1; part <= count; part++ {
		mine := slices.DeleteFunc(slices.Clone(missing), func(n int) bool { return owner(n) != part })
		switch {
		case len(mine) == 0:
		case slices.ContainsFunc(seen, func(n int) bool { return owner(n) == part }):
			out = append(out, fmt.Sprintf("of part %d/%d is missing: run %s of %d", part, count, ranges(mine), total))
		default:
			out = append(out, fmt.Sprintf("part %d/%d is missing: run %s of %d", part, count, ranges(mine), total))
		}
	}
	return out
}

// holes lists the numbers, 1 to total, that are not among those seen, and those that are there more than once.
func holes(total int, seen []int) (missing, doubled []int) {
	times := map[int]int{}
	for _, n := range seen {
		times[n]++
	}
	for n := 1; n <= total; n++ {
		switch c := times[n]; {
		case c == 0:
			missing = append(missing, n)
		case c > 1:
			doubled = append(doubled, n)
		}
	}
	return missing, doubled
}

// ranges writes ascending numbers shortly: "1-3, 7".
func ranges(ns []int) string {
	var parts []string
	for i := 0; i < len(ns); {
		k := i
		for k+1 < len(ns) && ns[k+1] == ns[k]+1 {
			k++
		}
		if k == i {
			parts = append(parts, strconv.Itoa(ns[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", ns[i], ns[k]))
		}
		i = k + 1
	}
	return strings.Join(parts, ", ")
}

// mergeMatrices puts the parts of a matrix together, row by row.
func mergeMatrices(parts []*storedMatrix, partial bool) (*storedMatrix, error) {
	if len(parts) == 1 && parts[0].Shard == nil {
		return parts[0], nil
	}
	var pieces []result.Shard
	for _, p := range parts {
		if err := sameKernels(parts[0], p); err != nil {
			return nil, err
		}
		for _, row := range p.Rows {
			piece := *p.Shard
			piece.Run = row.Row
			pieces = append(pieces, piece)
		}
	}
	if wrong := gaps(pieces); len(wrong) > 0 && !partial {
		return nil, notWhole(wrong)
	}
	return together(parts), nil
}

// sameKernels wants the columns of two parts to be the same kernels: a column is one kernel, in all its rows.
func sameKernels(a, b *storedMatrix) error {
	bad := func(i int) error {
		return usage(explain.InvalidFile, fmt.Errorf("%s ran on %s, and %s on %s: want the same kernels in each part", a.dir, columnNames(a, i), b.dir, columnNames(b, i)))
	}
	if len(a.Kernels) != len(b.Kernels) {
		return bad(-1)
	}
	for i, k := range a.Kernels {
		o := b.Kernels[i]
		if k.Name != o.Name || k.Image != o.Image || k.Release != o.Release && k.Release != "" && o.Release != "" { // empty: no run on it was carried out
			return bad(i)
		}
	}
	return nil
}

// columnNames are the kernels of a matrix, or one of them; -1: all.
func columnNames(m *storedMatrix, i int) string {
	var names []string
	for n, k := range m.Kernels {
		if i < 0 || n == i {
			name := strings.TrimSpace(k.Name + " " + k.Release)
			if k.Image != "" {
				name += " (image " + k.Image[:min(len(k.Image), 12)] + ")"
			}
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// together is the matrix that parts make. Its times are those of the part that took longest: the parts ran at once, or nobody knows.
func together(parts []*storedMatrix) *storedMatrix {
	doc := *parts[0].Matrix
	doc.Shard, doc.Rows, doc.Kernels = nil, nil, slices.Clone(doc.Kernels)
	for n, p := range parts {
		if p.Started.Before(doc.Started) {
			doc.Started = p.Started
		}
		doc.Wall = max(doc.Wall, p.Wall)
		for _, row := range p.Rows {
			row.Part = filepath.ToSlash(p.dir)
			doc.Rows = append(doc.Rows, row)
		}
		for i, k := range p.Kernels {
			d := &doc.Kernels[i]
			if d.Release == "" {
				d.Release, d.Version, d.HZ = k.Release, k.Version, k.HZ
			}
			if n > 0 {
				d.Machines += k.Machines
			}
			d.Boot, d.Wall, d.Peak = max(d.Boot, k.Boot), max(d.Wall, k.Wall), max(d.Peak, k.Peak)
		}
	}
	slices.SortStableFunc(doc.Rows, func(a, b result.MatrixRow) int { return a.Row - b.Row })
	doc.Gravest()
	return &storedMatrix{Matrix: &doc, merged: true}
}
