package archtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestImports catches an arrow that goes up, a package without a place, and a dependency that nobody gave a reason for.
func TestImports(t *testing.T) {
	pkgs, err := list(root(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 5 {
		t.Fatalf("go list: got %d packages, want the whole module", len(pkgs))
	}
	for _, bad := range checkImports(pkgs, imports, modules) {
		t.Error(bad)
	}
}

// TestTable catches rows that allow a circle or name what does not exist: the compiler would not notice them.
func TestTable(t *testing.T) {
	for _, bad := range checkTable(imports, modules) {
		t.Error(bad)
	}
}

// TestSources catches threads moved outside internal/netns, sleeps that wait, silent skips, shells, and overlong files and functions.
func TestSources(t *testing.T) {
	bad, err := checkSources(root(t), rules{bans, skippers, shells, long, maxFileLines, maxFunctionLines})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bad {
		t.Error(b)
	}
}

// root is the folder of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatalf("module root: %v", err)
	}
	return dir
}

// TestCheckImports is the negative control of TestImports: a bad graph must be seen.
func TestCheckImports(t *testing.T) {
	table := map[string][]string{"cmd/x": {"internal/a"}, "internal/a": {"internal/b"}, "internal/b": {}, "internal/later": {}}
	third := map[string]map[string]string{"example.org/mod": {"internal/a": "reason"}}
	tests := []struct {
		name string
		pkgs []pkg
		want []string // parts of the complaints, in order
	}{
		{"good", []pkg{
			{module + "/cmd/x", []string{"fmt", module + "/internal/a"}},
			{module + "/internal/a", []string{"encoding/json", "example.org/mod/sub", "example.org/mod", module + "/internal/b"}},
		}, nil},
		{"unknown package", []pkg{{module + "/internal/new", []string{"fmt"}}}, []string{"internal/new: not in the import table"}},
		{"the module's root", []pkg{{module, nil}}, []string{": not in the import table"}},
		{"arrow up", []pkg{{module + "/internal/b", []string{module + "/internal/a"}}}, []string{"internal/b imports internal/a: got an edge"}},
		{"over two levels", []pkg{{module + "/cmd/x", []string{module + "/internal/b"}}}, []string{"cmd/x imports internal/b: got an edge"}},
		{"unlisted module", []pkg{{module + "/internal/a", []string{"example.com/other"}}}, []string{"without a row"}},
		{"wrong importer", []pkg{{module + "/internal/b", []string{"example.org/mod/sub"}}}, []string{"not among the importers of example.org/mod;"}},
		{"longer name", []pkg{{module + "/internal/a", []string{"example.org/module"}}}, []string{"example.org/module: third-party module without a row"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantParts(t, checkImports(tt.pkgs, table, third), tt.want) })
	}
}

// TestCheckTable is the negative control of TestTable.
func TestCheckTable(t *testing.T) {
	tests := []struct {
		name    string
		imports map[string][]string
		modules map[string]map[string]string
		want    []string
	}{
		{"good", map[string][]string{"a": {"b", "c"}, "b": {"c"}, "c": nil}, map[string]map[string]string{"m": {"c": "why"}}, nil},
		{"no such package", map[string][]string{"a": {"typo"}}, nil, []string{"a -> typo"}},
		{"circle", map[string][]string{"a": {"b"}, "b": {"c"}, "c": {"a"}}, nil, []string{"a: allowed", "b: allowed", "c: allowed"}},
		{"beside a circle", map[string][]string{"a": {"b"}, "b": {"b"}}, nil, []string{"b: allowed"}},
		{"no reason", map[string][]string{"a": nil}, map[string]map[string]string{"m": {"a": ""}}, []string{"m: importer a"}},
		{"importer without a row", nil, map[string]map[string]string{"m": {"a": "why"}}, []string{"m: importer a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantParts(t, checkTable(tt.imports, tt.modules), tt.want) })
	}
}

// TestCheckFile is the negative control of TestSources: each rule must see its offender, under every spelling, and only there.
func TestCheckFile(t *testing.T) {
	const head = "package p\n\nimport (\n\t\"runtime\"\n\t\"testing\"\n\t\"time\"\n\tu \"golang.org/x/sys/unix\"\n)\n\n"
	r := rules{bans, skippers, shells, map[string]string{"p/long.go": "r", "p/f.go:Long": "r"}, 20, 3}
	tests := []struct {
		name, file, src string
		want            []string
	}{
		{"clean", "p/f.go", head + "func F() { runtime.Gosched() }\n", nil},
		{"lock", "p/f.go", head + "func F() { runtime.LockOSThread() }\n", []string{"p/f.go:10: runtime.LockOSThread"}},
		{"lock in netns", "internal/netns/f.go", head + "func F() { runtime.LockOSThread() }\n", nil},
		{"lock in main.go only", "cmd/tcplab/other.go", head + "func F() { runtime.LockOSThread() }\n", []string{"LockOSThread"}},
		{"a neighbour with a longer name", "internal/netnsx/f.go", head + "func F() { runtime.LockOSThread() }\n", []string{"LockOSThread"}},
		{"renamed import", "p/f.go", head + "func F() { u.Setns(1, 2) }\n", []string{"unix.Setns"}},
		{"as a value", "p/f.go", head + "var f = u.Unshare\n", []string{"unix.Unshare"}},
		{"by number", "p/f.go", head + "var n = u.SYS_SETNS\n", []string{"unix.SYS_SETNS"}},
		{"dot import", "p/f.go", "package p\n\nimport . \"time\"\n\nfunc F() { Sleep(1) }\n", []string{`import . "time"`}},
		{"sleep in a test", "p/f_test.go", head + "func F() { time.Sleep(1) }\n", []string{"time.Sleep"}},
		{"somebody else's Sleep", "p/f.go", "package p\n\nfunc F(c clock) { c.Sleep(1) }\n", nil},
		{"skip", "p/f_test.go", head + "func F(t *testing.T) { t.Skip() }\n", []string{"p/f_test.go:10: Skip"}},
		{"skip now", "p/f_test.go", head + "func F(t *testing.T) { t.SkipNow() }\n", []string{"SkipNow"}},
		{"a Skip that is no test's", "p/f.go", "package p\n\nfunc F(r reader) { r.Skip() }\n", nil},
		{"a package's Skip", "p/f_test.go", head + "var v = u.Skip\n", nil},
		{"skip in labtest", "internal/labtest/f.go", head + "func F(t *testing.T) { t.Skipf(\"\") }\n", nil},
		{"shell", "p/f.go", "package p\n\nfunc F() { run(`sh`, \"-c\", \"x\") }\n", []string{"p/f.go:3: `sh`"}},
		{"shell by its path", "p/f.go", "package p\n\nvar s = \"/bin/bash\"\n", []string{`p/f.go:3: "/bin/bash"`}},
		{"shell in a test", "p/f_test.go", "package p\n\nvar s = \"sh\"\n", nil},
		{"a word with a shell's letters", "p/f.go", "package p\n\nvar s = \"shard sh\"\n", nil},
		{"long function", "p/f.go", "package p\n\nfunc F() {\n\t_ = 1\n\t_ = 2\n}\n", []string{"p/f.go: F: got 4 lines, want at most 3"}},
		{"long function with a reason", "p/f.go", "package p\n\nfunc Long() {\n\t_ = 1\n\t_ = 2\n}\n", nil},
		{"long test", "p/f_test.go", "package p\n\nfunc F() {\n\t_ = 1\n\t_ = 2\n}\n", nil},
		{"long file", "p/f.go", "package p\n" + strings.Repeat("\n", 20), []string{"p/f.go: got 21 lines, want at most 20"}},
		{"long file with a reason", "p/long.go", "package p\n" + strings.Repeat("\n", 20), nil},
		{"long generated file", "p/f.go", "// Code generated by x. DO NOT EDIT.\n\npackage p\n" + strings.Repeat("\n", 20), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := checkFile(tt.file, []byte(tt.src), r)
			if err != nil {
				t.Fatal(err)
			}
			wantParts(t, got, tt.want)
		})
	}
}

// TestCheckSources catches a walk that stops early, looks into testdata, or passes over a file that it cannot parse.
func TestCheckSources(t *testing.T) {
	dir := t.TempDir()
	write := func(name, src string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const sleeps = "package p\n\nimport \"time\"\n\nfunc F() { time.Sleep(1) }\n"
	write("a/a.go", sleeps)
	write("a/testdata/x.go", sleeps)
	write(".hidden/x.go", sleeps)
	write("b/note.txt", sleeps)
	write("b/c/c_test.go", sleeps)
	r := rules{bans, skippers, shells, long, maxFileLines, maxFunctionLines}
	got, err := checkSources(dir, r)
	if err != nil {
		t.Fatal(err)
	}
	wantParts(t, got, []string{"a/a.go:5: time.Sleep", "b/c/c_test.go:5: time.Sleep"})

	write("d/broken.go", "package p\n\nfunc {\n")
	if _, err := checkSources(dir, r); err == nil {
		t.Error("broken file: got no error, want one")
	}
}

// wantParts compares complaints with parts of them, in order.
func wantParts(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("complaints (-want +got):\n%s", cmp.Diff(want, got))
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("got complaint %q, want it to hold %q", got[i], want[i])
		}
	}
}
