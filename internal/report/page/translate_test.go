package page

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/tcplab/tcplab/internal/result"
)

// TestTranslated catches a text that appears in the page of a stored run and has no Chinese form. It lists them.
func TestTranslated(t *testing.T) {
	missing := map[string]string{}
	for name, r := range stored(t) {
		c := newComposer(Options{Lang: Chinese})
		d := c.run(r, 1, false, false)
		tmpl, err := c.templates()
		if err != nil {
			t.Fatal(err)
		}
		if err := fill(discard{}, tmpl, "body", d); err != nil {
			t.Fatal(err)
		}
		if err := fill(discard{}, tmpl, "page", document{Lang: Chinese, Matrix: c.matrix([]*result.Result{r})}); err != nil {
			t.Fatal(err)
		}
		for en, ok := range c.asked {
			if !ok {
				missing[en] = name
			}
		}
	}
	for en, name := range missing {
		t.Errorf("%s: no Chinese form of %q", name, en)
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// TestTold catches a sentence, a check or a reason that the program can say, whether a stored run has it or not, and that has no Chinese
// form. It reads the formats from the program's source.
func TestTold(t *testing.T) {
	var said []string
	for _, folder := range []string{"../../../experiments/*.go", "../../judge/*.go", "../../runner/*.go", "../../spec/story.go"} {
		said = append(said, spoken(t, folder)...)
	}
	if len(said) < 150 {
		t.Fatalf("got %d texts from the source, want at least 150: the test reads it wrongly", len(said))
	}
	for _, format := range said {
		text := verb.ReplaceAllStringFunc(format, func(v string) string {
			switch v[len(v)-1] {
			case 'd':
				return "7"
			case 'q':
				return `"read"`
			}
			return "1.5 s"
		})
		if _, ok := translate(text); !ok && !fragments[format] {
			t.Errorf("no Chinese form of %q", format)
		}
	}
}

// fragments are the parts of which the program makes a text; the whole is in the catalogue.
var fragments = map[string]bool{
	"numbers used by ": true, "drop in ": true, "what refuses the SYN is ": true, "end of ": true, " never returned": true, " drops": true, " states": true, "the ": true,
	" delays its ACKs by 16 ms, as with tcp_rto_min_us=20000": true, " of the ": true, "broken by the ": true, "at least ": true, "the run ended before ": true,
	" was due to return": true, " does not belong here": true, "The answer was there after %s%s.": true, "inet_diag did not show ": true, "it carries ": true,
	"Kernel timers fire late, never early: the timer wheel rounds a wait of d up to the next step of about d/8. The windows follow from HZ=": true,
	"The phase of jiffies is not known (": true, "), so the prediction is a window for each packet and not one tick.": true,
}

// listeners are the functions whose first format is told to the reader, and fields those whose strings are.
var (
	listeners = []string{"say"}
	fields    = []string{"Name", "Summary", "Question", "Expected", "Observed", "Detail", "Text"}
)

// spoken collects the texts that a package tells.
func spoken(t *testing.T, pattern string) (out []string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: got no source, %v", pattern, err)
	}
	add := func(x ast.Expr) {
		ast.Inspect(x, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			if _, ok := n.(*ast.IndexExpr); ok {
				return false
			}
			if s, ok := literal(e); ok {
				if strings.ContainsFunc(s, unicode.IsLower) && strings.ContainsAny(s, " ") {
					out = append(out, s)
				}
				return false
			}
			return true
		})
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
				if slices.Contains(listeners, called(x.Fun)) {
					for _, a := range x.Args {
						add(a)
					}
				}
			case *ast.KeyValueExpr:
				if k, ok := x.Key.(*ast.Ident); ok && slices.Contains(fields, k.Name) {
					add(x.Value)
				}
			case *ast.AssignStmt:
				for i, l := range x.Lhs {
					if slices.Contains(fields, called(l)) && len(x.Rhs) > i {
						add(x.Rhs[i])
					}
				}
			}
			return true
		})
	}
	return out
}

// called is the last name of what is called or assigned to.
func called(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	}
	return ""
}

// literal is a string constant, put together from its parts.
func literal(e ast.Expr) (string, bool) {
	switch x := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(x.Value)
		return s, x.Kind == token.STRING && err == nil
	case *ast.BinaryExpr:
		a, ok := literal(x.X)
		b, also := literal(x.Y)
		return a + b, ok && also
	}
	return "", false
}

// TestCatalogue catches a Chinese form that loses a value of its message, or names one that it has not, and two forms of one message.
func TestCatalogue(t *testing.T) {
	seen := map[string]string{}
	for _, m := range catalogue() {
		if zh, ok := seen[m.en]; ok && zh != m.zh {
			t.Errorf("%q: got %q and %q, want one form", m.en, zh, m.zh)
		}
		seen[m.en] = m.zh
		n := len(verb.FindAllString(m.en, -1))
		for i := 1; i <= 9; i++ {
			has := strings.Contains(m.zh, "{"+strconv.Itoa(i)+"}")
			if has != (i <= n) {
				t.Errorf("%q: {%d} in %q: got %v, want %v", m.en, i, m.zh, has, i <= n)
			}
		}
	}
}

// TestTemplates catches a word of the templates without a Chinese form.
func TestTemplates(t *testing.T) {
	for _, file := range []string{"page.tmpl", "svg.tmpl"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		words := regexp.MustCompile(`\(t "([^"]*)"\)`).FindAllStringSubmatch(string(b), -1)
		for _, m := range words {
			if _, ok := translate(m[1]); !ok {
				t.Errorf("%s: no Chinese form of %q", file, m[1])
			}
		}
	}
}

// TestTranslate checks that values are translated too, that what needs no translation is left alone, and that a text which the catalogue
// does not have stays whole and is known to be missing: half of it in Chinese would be worse than none.
func TestTranslate(t *testing.T) {
	for _, tt := range []struct {
		en, zh string
		ok     bool
	}{
		{"The client sent its SYN twice.", "客户端发了两次 SYN。", true},
		{"SYN again (1 of 2)", "重传 SYN（第 1 次，共 2 次）", true},
		{"1.000 … 1.036 s", "1.000 … 1.036 s", true},
		{"SYN-SENT → CLOSED", "SYN-SENT → CLOSED", true},
		{"It waited 1.0 and 2.0 s: each wait doubles (exponential backoff).", "它依次等了 1.0 和 2.0 s：每次等待加倍（指数退避）。", true},
		{"The client sent its SYN with great care.", "The client sent its SYN with great care.", false},
		{"a sentence that nobody wrote", "a sentence that nobody wrote", false},
	} {
		if zh, ok := translate(tt.en); zh != tt.zh || ok != tt.ok {
			t.Errorf("%q: got %q, %v, want %q, %v", tt.en, zh, ok, tt.zh, tt.ok)
		}
	}
}
