package page

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// TestAnalyserSpeaksChinese catches words of the analyser about a packet, which the comments of the capture files carry, without a Chinese
// form: half a comment would stay English.
func TestAnalyserSpeaksChinese(t *testing.T) {
	files, err := filepath.Glob("../../analyse/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("got no source, %v", err)
	}
	said := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok && (called(c.Fun) == "panic" || called(c.Fun) == "Errorf" || called(c.Fun) == "New") {
				return false
			}
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			s, ok := literal(e)
			if !ok || !strings.Contains(s, " ") || !strings.ContainsFunc(s, unicode.IsLower) {
				return !ok
			}
			said++
			text := verb.ReplaceAllStringFunc(s, func(v string) string {
				if v[len(v)-1] == 'd' {
					return "7"
				}
				return "SACK"
			})
			if _, ok := Translate(text); !ok {
				t.Errorf("no Chinese form of %q", s)
			}
			return false
		})
	}
	if said < 20 {
		t.Errorf("got %d texts from the source, want at least 20: the test reads it wrongly", said)
	}
}
