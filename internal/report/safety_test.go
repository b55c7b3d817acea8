package report

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tcplab/tcplab/internal/result"
)

// evil clears a screen, rings, retitles, starts a C1 sequence, reverses the line, breaks UTF-8, and closes an XML element.
const evil = "\x1b[2J\a\x1b]0;pwned\a\u009b31m\u202eabc\r\b\x00\xff\xfe\u2028\uffff</testcase>]]>&\n\t中文é"

// poison puts evil into every string that v can reach, except the names that steer the report.
func poison(v any) { poisonValue(reflect.ValueOf(v).Elem()) }

func poisonValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		switch v.Type() {
		case reflect.TypeFor[result.Verdict](), reflect.TypeFor[result.Fate]():
		default:
			v.SetString(v.String() + evil)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			poisonValue(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			poisonValue(v.Index(i))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			v.SetMapIndex(reflect.ValueOf(k.String()+evil), v.MapIndex(k))
			v.SetMapIndex(k, reflect.Value{})
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				poisonValue(v.Field(i))
			}
		}
	}
}

// everything is all text that the package makes for a terminal.
func everything(t *testing.T, r *result.Result, s Style) string {
	t.Helper()
	var b bytes.Buffer
	if err := Text(&b, r, s); err != nil {
		t.Fatal(err)
	}
	if r.Prediction != nil {
		if err := PredictionText(&b, *r.Prediction, s); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range r.Events {
		if err := LadderLine(&b, r, e, evil, s); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// Catches a field of the result that reaches the terminal without passing through pen.text: every string of every sample is poisoned.
func TestHostileStringsAreNeutralised(t *testing.T) {
	for name, r := range samples() {
		poison(r)
		// Events and packets keep one copy with a known kind, so that arrows are drawn too.
		drawn := samples()[name]
		for i := range drawn.Packets {
			drawn.Packets[i].Where += evil
		}
		for i := range drawn.Hosts {
			drawn.Hosts[i].Name += evil
		}
		for _, r := range []*result.Result{r, drawn} {
			for _, s := range []Style{{Dir: evil}, {Dir: evil, Color: true, Width: 60}, {Dir: evil, ASCII: true}} {
				out := everything(t, r, s)
				if s.Color {
					out = sgrSequence.ReplaceAllString(out, "")
				}
				for i, c := range out {
					bad := c != '\n' && unsafeRune(c) || c == utf8.RuneError
					if bad || s.ASCII && c >= utf8.RuneSelf {
						t.Fatalf("%s, %+v: got %U at byte %d, after %q", name, s, c, i, out[max(0, i-60):i])
					}
				}
			}
		}
	}
}

// Catches ASCII mode that leaves its own signs in Unicode, or that loses what it cannot spell.
func TestASCII(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"plain", "SYN seq=0", "SYN seq=0"},
		{"signs of tcplab", "1.000 … 1.036 s · ±52 µs ──►✗ ◄", "1.000 ... 1.036 s - +/-52 us -->X <"},
		{"other scripts", "é中😀", `\u00e9\u4e2d\U0001f600`},
	} {
		if got := ascii(tc.in); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

// Catches characters that move a cursor or reorder a line, and clean text that is changed.
func TestClean(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"plain", "SYN 中文 ✗", "SYN 中文 ✗"},
		{"escape", "a\x1b[2Jb", `a\x1b[2Jb`},
		{"C1 control", "a\u009bb", `a\x9bb`},
		{"bidi override", "a\u202eb", `a\u202eb`},
		{"line separator", "a\u2028b", `a\u2028b`},
		{"broken UTF-8", "a\xffb", `a\xffb`},
		{"a real replacement character", "a\ufffdb", "a\ufffdb"},
		{"white space", "a\n\tb", "a  b"},
		{"carriage return", "a\rb", `a\x0db`},
	} {
		if got := clean(tc.in); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

// FuzzClean looks for a string that gets through with a control character, or that is changed though it was clean.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "SYN", evil, "\xc2", "\u200d", strings.Repeat("\x1b", 3)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		if strings.IndexFunc(got, unsafeRune) >= 0 || !utf8.ValidString(got) {
			t.Errorf("clean(%q): got %q, which is not safe", s, got)
		}
		if again := clean(got); again != got {
			t.Errorf("clean twice: got %q, want %q", again, got)
		}
	})
}
