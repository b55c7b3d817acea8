package explain

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var format = regexp.MustCompile(`^TL1[1-6][0-9]{2}$`)

// Catches a code that is used twice or misspelt, a reference to nothing, and an entry without a text that helps.
func TestEntries(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range All() {
		if !format.MatchString(e.Code) {
			t.Errorf("%s: want the form TL1[1-6]nn", e.Code)
		}
		if seen[e.Code] {
			t.Errorf("%s: used twice", e.Code)
		}
		seen[e.Code] = true
		if e.Title == "" || strings.HasSuffix(e.Title, ".") || strings.Contains(e.Title, "\n") {
			t.Errorf("%s: got title %q, want one line without a full stop", e.Code, e.Title)
		}
		paragraphs := e.Paragraphs()
		if len(paragraphs) < 3 {
			t.Errorf("%s: got %d paragraphs, want what, why and what to do", e.Code, len(paragraphs))
		}
		for _, p := range paragraphs {
			if p != strings.TrimSpace(p) || strings.Contains(p, "\n") || !strings.HasSuffix(p, ".") {
				t.Errorf("%s: got paragraph %q, want one line that ends with a full stop", e.Code, p)
			}
		}
		for _, s := range e.See {
			if _, ok := Lookup(s); !ok || s == e.Code {
				t.Errorf("%s: see %s: want the code of another entry", e.Code, s)
			}
		}
		if !slices.ContainsFunc(Families(), func(f Family) bool { return strings.HasPrefix(e.Code, f.Prefix) }) {
			t.Errorf("%s: belongs to no family", e.Code)
		}
	}
}

// Catches a constant without an entry, which `tcplab explain` would not know, and two constants with one code.
func TestEveryConstantHasAnEntry(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{} // code -> constant
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !spec.Names[0].IsExported() {
				return true
			}
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				code, _ := strconv.Unquote(lit.Value)
				if names[code] != "" {
					t.Errorf("%s: both %s and %s", code, names[code], spec.Names[0].Name)
				}
				names[code] = spec.Names[0].Name
				if _, ok := Lookup(code); !ok {
					t.Errorf("%s = %s: has no entry", spec.Names[0].Name, code)
				}
			}
			return true
		})
	}
	if got, want := len(names), len(All()); got != want {
		t.Errorf("constants: got %d, want %d, one for each entry", got, want)
	}
}

// Catches a code that changed its meaning: other programs and old results hold these.
func TestCodesAreStable(t *testing.T) {
	for _, tt := range []struct{ code, want string }{
		{LinearSYNTimeouts, "TL1203"}, {TooFewSYNs, "TL1101"}, {RuleCounterOff, "TL1111"}, {TimerWheel, "TL1201"}, {Stall, "TL1301"},
		{NoPrivilege, "TL1401"}, {UnknownExperiment, "TL1501"}, {LeftBehind, "TL1601"},
	} {
		if tt.code != tt.want {
			t.Errorf("got %s, want %s", tt.code, tt.want)
		}
	}
	if e, ok := Lookup(" tl1203\n"); !ok || !strings.Contains(e.Text, "tcp_syn_linear_timeouts") {
		t.Errorf("got %+v %v, want the entry about tcp_syn_linear_timeouts", e, ok)
	}
	if e, ok := Lookup("TL9999"); ok {
		t.Errorf("got %+v, want nothing", e)
	}
}

// Catches a caller that can change the table for others.
func TestEntriesAreCopies(t *testing.T) {
	e, _ := Lookup(LinearSYNTimeouts)
	want := slices.Clone(e.See)
	e.See[0] = "x"
	All()[0].See[0] = "x"
	again, _ := Lookup(LinearSYNTimeouts)
	if diff := cmp.Diff(want, again.See); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Catches a mistyped code without help, and help for something that is no code.
func TestSuggest(t *testing.T) {
	for _, tt := range []struct {
		in, first string
		none      bool
	}{
		{in: "1203", first: "TL1203"},
		{in: "tl1203", first: "TL1203"},
		{in: "TL1703", first: "TL1103"},
		{in: "TL123", first: "TL1201"},
		{in: "hello there", none: true},
		{in: "", none: true},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got := Suggest(tt.in)
			if tt.none != (len(got) == 0) || len(got) > 5 || !tt.none && got[0] != tt.first {
				t.Errorf("got %q, want first %q", got, tt.first)
			}
		})
	}
}

// Catches a precedence other than the documented 1 > 6 > 5 > 3 > 4 > 0.
func TestWorst(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []int
		want int
	}{
		{"nothing", nil, 0},
		{"one", []int{4}, 4},
		{"skip after pass", []int{0, 4}, 4},
		{"unable over skip", []int{4, 3}, 3},
		{"inconclusive over unable", []int{3, 5}, 5},
		{"internal over inconclusive", []int{5, 6}, 6},
		{"fail over internal", []int{6, 1, 5}, 1},
		{"signal over all", []int{1, 130}, 130},
		{"unknown is internal", []int{0, 77}, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Worst(tt.in...); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
	for i, e := range Exits() {
		if e.Name == "" || e.Meaning == "" || i > 0 && Exits()[i-1].Code >= e.Code || Worst(e.Code) != e.Code {
			t.Errorf("exit %d: got %+v, want ascending codes with a meaning and a precedence", i, e)
		}
	}
	if got, want := len(Exits()), len(precedence); got != want {
		t.Errorf("got %d exit codes, want %d", got, want)
	}
}
