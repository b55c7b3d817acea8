package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

const root = "../.."

// committed are the pages that should be there, computed once.
var committed = sync.OnceValues(func() (map[string]string, error) { return pages(root) })

// TestPagesAreCommitted catches a page that was edited by hand, one that was not written anew after a change of the program, and one
// whose experiment is gone.
func TestPagesAreCommitted(t *testing.T) {
	want, err := committed()
	if err != nil {
		t.Fatal(err)
	}
	if bad := differences(t, root, want); bad != "" {
		t.Errorf("the committed pages are not what the program says; run `make docs` and read the diff\n%s", bad)
	}
}

// differences compares the files below dir with the pages that should be there, and names files that should not.
func differences(t *testing.T, dir string, want map[string]string) string {
	t.Helper()
	got := map[string]string{}
	for name := range want {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			got[name] = "no such file"
			continue
		}
		got[name] = string(b)
	}
	old, err := stale(dir, want)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range old {
		got[name] = "nothing generates this file"
	}
	return cmp.Diff(want, got) // committed files are +, generated ones -
}

// TestDifferences is the negative control of TestPagesAreCommitted: a missing, a changed and a left-over page must be seen, and write
// must mend all three.
func TestDifferences(t *testing.T) {
	want, err := committed()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mend := func() {
		t.Helper()
		if err := write(dir, want); err != nil {
			t.Fatal(err)
		}
		if diff := differences(t, dir, want); diff != "" {
			t.Fatalf("after write (-want +got):\n%s", diff)
		}
	}
	mend()
	page := filepath.Join(dir, "docs/reference/codes.md")
	for _, tt := range []struct {
		name  string
		spoil func() error
		want  string
	}{
		{"missing", func() error { return os.Remove(page) }, "no such file"},
		{"another table", func() error {
			return os.WriteFile(filepath.Join(dir, architecture), []byte("# A\n\n```text imports\na -> b\n```\n"), 0o644)
		}, "# A"},
		{"changed", func() error { return os.WriteFile(page, []byte("# Codes\n"), 0o644) }, "# Codes"},
		{"left over", func() error { return os.WriteFile(filepath.Join(dir, "docs/experiments/exp0.md"), []byte("x"), 0o644) }, "nothing generates"},
	} {
		if err := tt.spoil(); err != nil {
			t.Fatal(err)
		}
		if diff := differences(t, dir, want); !strings.Contains(diff, tt.want) {
			t.Errorf("%s: got difference %q, want it to contain %q", tt.name, diff, tt.want)
		}
		mend()
	}
}

// TestImportRows catches a row of the import table that the page would lose, and a table that is not one.
func TestImportRows(t *testing.T) {
	got, err := importRows([]byte(`package p
var imports = map[string][]string{
	"cmd/x": {"internal/a"}, // why
	"internal/a": {"` + strings.Repeat("b", 60) + `", "` + strings.Repeat("c", 60) + `"},
	"internal/b": {},
}`))
	want := []string{"cmd/x              -> internal/a", "internal/a         -> " + strings.Repeat("b", 60),
		"                      " + strings.Repeat("c", 60), "internal/b         ->"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"package p", "package p; var imports = f()", `package p; var imports = m{"a": b}`, `package p; var imports = m{"a": {b}}`, "x"} {
		if got, err := importRows([]byte(bad)); err == nil {
			t.Errorf("%s: got %q, want an error", bad, got)
		}
	}
}

// TestNewExperiment catches a generator that only knows today's experiments: one that is only data, has no text of its own, and drops
// at the sender, must get a page.
func TestNewExperiment(t *testing.T) {
	x := &experiments.Experiment{
		Name: "exp99-own-drop", Summary: "the client drops its own SYN", Question: "What does the client see?",
		Setup: func(experiments.Options) experiments.Setup {
			return experiments.Setup{
				Faults: []experiments.Fault{{Host: "client", Rule: lab.Rule{Chain: "OUTPUT", ToPort: 9, Text: "TCP to :9"}}},
				Listen: []lab.ListenOptions{{Port: 9}},
			}
		},
		Predict: func(e experiments.Env) (timeline.Timeline, error) {
			return oracle.Connect{SYNRetries: 3}.Predict(e.Facts, nil)
		},
		States: func(experiments.Env) map[string][]string {
			return map[string][]string{"client": {"SYN-SENT", "CLOSED"}}
		},
	}
	page, err := experimentPage(x)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# exp99-own-drop\n\nThe client drops its own SYN.", "server TCP :9", "iptables -t filter -A OUTPUT -p tcp --dport 9 -j DROP",
		"### Profile fast, Linux 6.12", "client SYN again 3", "| TCP to :9 | does not show it: the rule drops it before the capture | does not show it |",
		"| client | SYN-SENT → CLOSED |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("page: got no %q in\n%s", want, page)
		}
	}
}

// TestPicture catches a cross under the wrong chain: it says where a packet dies.
func TestPicture(t *testing.T) {
	for _, tt := range []struct{ host, chain, way, under string }{
		{"server", "INPUT", "to the server", "INPUT"},
		{"client", "OUTPUT", "to the server", "OUTPUT"},
		{"client", "PREROUTING", "to the client", "INPUT"},
		{"server", "OUTPUT", "to the client", "OUTPUT"},
	} {
		t.Run(tt.host+" "+tt.chain, func(t *testing.T) {
			x := experiments.Setup{Listen: []lab.ListenOptions{{}}, Faults: []experiments.Fault{{Host: tt.host, Rule: lab.Rule{Chain: tt.chain, Text: "x"}}}}
			lines := strings.Split(picture(x), "\n")
			i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, "✗") })
			if i < 1 {
				t.Fatalf("got no cross in %q", lines)
			}
			at := len([]rune(lines[i][:strings.Index(lines[i], "✗")]))
			way := []rune(lines[i-1])
			if got := string(way[at:min(at+len(tt.under), len(way))]); got != tt.under || !strings.HasPrefix(lines[i-1], tt.way) {
				t.Errorf("got the cross under %q of %q, want under %q of %q", got, lines[i-1], tt.under, tt.way)
			}
		})
	}
}

// TestMissingCommands catches an explanation that sends its reader to a command that does not exist without saying so.
func TestMissingCommands(t *testing.T) {
	got := missing("tcplab clean removes it, tcplab run does not, tcplab sleeps; tcplab clean again")
	if diff := cmp.Diff([]string{"tcplab clean"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestEventKinds catches a kind of line in events.ndjson that the page does not name, and one that it invents.
func TestEventKinds(t *testing.T) {
	text, err := texts.ReadFile("texts/events-ndjson.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		want = append(want, m[1])
	}
	slices.Sort(want)
	files, err := filepath.Glob(root + "/internal/runner/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := kinds(found, src); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(found))); diff != "" {
		t.Errorf("kinds of lines (-page +runner):\n%s", diff)
	}
}

// kinds collects the first arguments of write and log of a source file, where they are strings.
func kinds(found map[string]bool, src []byte) error {
	tree, err := parser.ParseFile(token.NewFileSet(), "", src, 0)
	if err != nil {
		return err
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "write" && sel.Sel.Name != "log" {
			return true
		}
		if lit, ok := call.Args[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
			s, _ := strconv.Unquote(lit.Value)
			found[s] = true
		}
		return true
	})
	return nil
}

// TestSchemaErrors catches a field that would be left out of the page, or get a type that says nothing.
func TestSchemaErrors(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{"no tag", "package p\ntype T struct{ A int }", "want a json tag"},
		{"unknown type", "package p\ntype T struct{ A float32 `json:\"a\"` }", "type float32: has no words"},
		{"function", "package p\ntype T struct{ A func() `json:\"a\"` }", "has no words"},
		{"no such struct", "package p\ntype U struct{}", "want a struct T, found none"},
		{"good", "package p\n// T is it.\ntype T struct{ A []*Seconds `json:\"a,omitempty\"` // when | where\n}", "<nil>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.go")
			if err := os.WriteFile(file, []byte(tt.src), 0o644); err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			err := structs(&b, file, "T")
			if got := fmt.Sprint(err); !strings.Contains(got, tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
			if row := "| `a` | array of number, s, optional | when \\| where |\n"; err == nil && !strings.HasSuffix(b.String(), row) {
				t.Errorf("got %q, want it to end in %q", b.String(), row)
			}
		})
	}
}
