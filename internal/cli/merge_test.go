package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
)

// TestHoles is the control of TestTake, and of the merge: it must see what is missing and what is there twice.
func TestHoles(t *testing.T) {
	missing, doubled := holes(6, []int{1, 3, 3, 6})
	if ranges(missing) != "2, 4-5" || ranges(doubled) != "3" {
		t.Errorf("got missing %s, doubled %s, want 2, 4-5 and 3", ranges(missing), ranges(doubled))
	}
}

// pieceOf is a run of a list of so many in so many parts. Its verdict and its reason tell it from another attempt at the same.
func pieceOf(list string, n, count, runs int, reason string) *result.Result {
	return &result.Result{Schema: result.Schema, Experiment: result.Experiment{Name: "exp1-syn-loss"}, Verdict: result.Pass, Reason: reason,
		Shard: &result.Shard{Index: (n-1)%count + 1, Count: count, Run: n, Runs: runs, List: list}}
}

// TestMerge catches a merge that takes a part of a list for the whole, a part that is there twice, parts of different lists or divisions, and
// one that counts a link, a copy or an attempt that was made again as a second run.
func TestMerge(t *testing.T) {
	run := func(n int) namedRun { return namedRun{"a/" + string(rune('0'+n)), pieceOf("a", n, 2, 3, "")} }
	at := func(path string, r namedRun) namedRun { return namedRun{path, r.Result} }
	other := namedRun{"b/2", pieceOf("b", 2, 2, 3, "")}
	again := namedRun{"a/2-2", pieceOf("a", 2, 2, 3, "another")}
	retried := namedRun{"a/2-2", pieceOf("a", 2, 2, 3, "decided")}
	retried.Earlier = []result.Attempt{{Folder: "2"}}
	alone := namedRun{"c", &result.Result{Schema: result.Schema}}
	for _, c := range []struct {
		name   string
		runs   []namedRun
		want   string // the paths, in their order
		wrong  []string
		shared bool
	}{
		{"not of a list, twice", []namedRun{alone, alone}, "c c", nil, false},
		{"whole", []namedRun{run(2), run(1), run(3)}, "a/1 a/2 a/3", nil, true},
		{"a part is missing", []namedRun{run(1), run(3)}, "", []string{"part 2/2 is missing: run 2 of 3"}, false},
		{"a run of a part is missing", []namedRun{run(1), run(2)}, "", []string{"of part 1/2 is missing: run 3 of 3"}, false},
		{"one run", []namedRun{run(2)}, "", []string{"part 1/2 is missing: run 1, 3 of 3"}, false},
		{"doubled", []namedRun{run(1), run(2), run(3), again}, "", []string{"more than once is there: run 2 of 3"}, false},
		{"a link, a copy", []namedRun{run(1), run(2), run(3), at("a/latest", run(3))}, "a/1 a/2 a/3", nil, true},
		{"made again", []namedRun{run(1), run(2), run(3), retried}, "a/1 a/2-2 a/3", nil, true},
		{"made again elsewhere", []namedRun{run(1), run(2), run(3), at("b/2-2", retried)}, "", []string{"more than once is there: run 2 of 3"}, false},
		{"of two lists", []namedRun{run(1), other, run(3)}, "", []string{"of 2 lists of runs (a, b)"}, false},
		{"of two divisions", []namedRun{run(1), {"a/2", pieceOf("a", 2, 3, 3, "")}, run(3)}, "", []string{"part 1/2 has runs of 3, and part 2/3 of 3"}, false},
		{"and one of no list", []namedRun{run(1), run(2), run(3), alone}, "", []string{"1 of the runs are of no list"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, shared, err := merge(c.runs, false)
			if len(c.wrong) > 0 {
				exit, code := classify(err)
				if err == nil || exit != explain.ExitInternal || code != explain.PartsMissing || shared {
					t.Fatalf("got %v (exit %d, %s), want an error with exit code 6", err, exit, code)
				}
				wantParts(t, "error", err.Error(), append(c.wrong, "--partial")...)
				if got, _, err := merge(c.runs, true); err != nil || len(got) == 0 {
					t.Errorf("partial: got %d runs, %v, want what there is", len(got), err)
				}
				return
			}
			var paths []string
			for _, r := range got {
				paths = append(paths, r.path)
			}
			if err != nil || shared != c.shared || strings.Join(paths, " ") != c.want {
				t.Errorf("got %q, shared %t, %v, want %q, %t", paths, shared, err, c.want, c.shared)
			}
		})
	}
}

// TestUnfold catches a folder of runs that is not looked into, and its latest, which is one of the others.
func TestUnfold(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"part/b/result.json", "part/a/result.json", "part/latest/result.json", "part/m/matrix.json", "part/notes/x", "run/result.json", "none/x"} {
		put(t, filepath.Join(dir, name), (&result.Result{}).Write)
	}
	t.Chdir(dir)
	got := unfold([]string{"part", "run", "none", "nosuch", "part/a/result.json"})
	if want := []string{"part/a", "part/b", "part/m", "run", "none", "nosuch", "part/a/result.json"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// divided stores a matrix of so many experiments in two parts.
func divided(t *testing.T, rows int, change func(part int, m *result.Matrix)) []string {
	t.Helper()
	var dirs []string
	for part := 1; part <= 2; part++ {
		dirs = append(dirs, storeMatrix(t, func(m *result.Matrix) {
			one := m.Rows[0]
			m.Rows = nil
			m.Shard = &result.Shard{Index: part, Count: 2, Runs: rows, List: "a"}
			for n := part; n <= rows; n += 2 {
				row := one
				row.Row, row.Summary = n, "row "+string(rune('0'+n))
				m.Rows = append(m.Rows, row)
			}
			for i := range m.Kernels {
				m.Kernels[i].Machines = part
			}
			change(part, m)
		}))
	}
	return dirs
}

// TestMergeMatrices catches a part of a matrix that is shown as the whole, rows in another order, runs that are read from the wrong part's
// folder, and a column that is two kernels.
func TestMergeMatrices(t *testing.T) {
	keep := func(int, *result.Matrix) {}
	dirs := divided(t, 3, keep)
	m, err := onlyMatrix([]string{dirs[1], dirs[0], dirs[1] + "/" + matrixFile}, false)
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, r := range m.Rows {
		rows = append(rows, r.Summary+" in "+r.Part)
	}
	if want := []string{"row 1 in " + dirs[0], "row 2 in " + dirs[1], "row 3 in " + dirs[0]}; !slices.Equal(rows, want) {
		t.Errorf("got %q, want %q", rows, want)
	}
	if m.Verdict != result.Fail || m.Kernels[0].Machines != 3 || m.Shard != nil {
		t.Errorf("got %s, %d machines, %+v, want fail, 3, and no shard", m.Verdict, m.Kernels[0].Machines, m.Shard)
	}
	if runs, _, err := m.results(); err != nil || len(runs) != 6 {
		t.Errorf("got %d runs, %v, want 6", len(runs), err)
	}
	if err := os.RemoveAll(filepath.Join(dirs[1], "6.1")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.results(); err == nil || !strings.Contains(err.Error(), dirs[1]) {
		t.Errorf("a run of the second part is gone: got %v, want its folder", err)
	}
	otherKernel := divided(t, 3, func(part int, m *result.Matrix) { m.Kernels[1].Release = []string{"6.12.1", "6.12.2"}[part-1] })
	for _, c := range []struct {
		name  string
		paths []string
		exit  int
		want  string
	}{
		{"a part is missing", dirs[:1], explain.ExitInternal, "part 2/2 is missing: run 2 of 3"},
		{"other kernels", otherKernel, explain.ExitUsage, "6.12 6.12.2"},
		{"a whole one and a part", []string{storeMatrix(t, func(*result.Matrix) {}), dirs[0]}, explain.ExitUsage, "a matrix is shown alone"},
		{"empty parts", divided(t, 0, func(_ int, m *result.Matrix) { m.Shard.Runs = 3 }), explain.ExitInternal, "none of them has a run"},
	} {
		_, err := onlyMatrix(c.paths, false)
		if exit, _ := classify(err); err == nil || exit != c.exit || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want exit code %d and %q", c.name, err, c.exit, c.want)
		}
	}
	if m, err := onlyMatrix(dirs[:1], true); err != nil || len(m.Rows) != 2 {
		t.Errorf("partial: got %+v, %v, want two rows", m, err)
	}
}
