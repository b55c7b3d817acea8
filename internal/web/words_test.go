package web

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/report/page"
)

// TestChinese catches a word of the page without a Chinese form: in the template, and in what the code says through words.
func TestChinese(t *testing.T) {
	b, err := os.ReadFile("page.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for _, m := range regexp.MustCompile(`\.T "([^"]*)"`).FindAllStringSubmatch(string(b), -1) {
		said[m[1]] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.CallExpr:
				if s, ok := x.Fun.(*ast.SelectorExpr); ok && (s.Sel.Name == "t" || s.Sel.Name == "tf") {
					collect(said, x.Args[0])
				}
			case *ast.CompositeLit: // problem{status, text}
				if name, ok := x.Type.(*ast.Ident); ok && name.Name == "problem" && len(x.Elts) == 2 {
					collect(said, x.Elts[1])
				}
			}
			return true
		})
	}
	if len(said) < 60 {
		t.Fatalf("got %d texts, want at least 60: the test reads them wrongly", len(said))
	}
	for text := range said {
		filled := strings.NewReplacer("%d", "7", "%s", "1.5 s").Replace(text)
		if _, ok := page.Translate(filled); !ok {
			t.Errorf("no Chinese form of %q", text)
		}
	}
	if _, ok := page.Translate("a word that nobody wrote"); ok {
		t.Error("the control: everything has a Chinese form")
	}
}

func collect(said map[string]bool, x ast.Expr) {
	if l, ok := x.(*ast.BasicLit); ok && l.Kind == token.STRING {
		if s, err := strconv.Unquote(l.Value); err == nil {
			said[s] = true
		}
	}
}

// TestLanguage wants a page in the language that was asked for, also later, and nothing else for a language that there is not.
func TestLanguage(t *testing.T) {
	s, _ := serve(t, nil)
	r := s.ask("GET", s.path("/?lang=zh&q=exp1"), "")
	w := s.answer(r)
	if !strings.Contains(w.Body.String(), `<html lang="zh">`) || !strings.Contains(w.Body.String(), "所有") && !strings.Contains(w.Body.String(), "运行") {
		t.Error("lang=zh: the page is not Chinese")
	}
	if !strings.Contains(w.Body.String(), "?lang=en&amp;q=exp1") {
		t.Error("the way back to English loses what the page shows")
	}
	again := s.ask("GET", s.path("/new"), "")
	for _, c := range w.Result().Cookies() {
		again.AddCookie(c)
	}
	if !strings.Contains(s.answer(again).Body.String(), `<html lang="zh">`) {
		t.Error("the next page is not Chinese")
	}
	if w := s.answer(s.ask("GET", s.path("/?lang=x"), "")); !strings.Contains(w.Body.String(), `<html lang="en">`) || w.Header().Get("Set-Cookie") != "" {
		t.Error("lang=x: got another language, or a cookie")
	}
}
