package page

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	markup "golang.org/x/net/html"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// FuzzRender renders result.json files that somebody else wrote: valid, and hostile. No renderer panics; a terminal gets no control character, a
// page no element and no attribute that runs or fetches anything, and JUnit and SVG are XML. The second argument goes behind every text of the file, to
// reach more of them than a mutated file does.
func FuzzRender(f *testing.F) {
	all := stored(f)
	for _, name := range []string{"exp1-syn-loss", "exp2-capture-point", "exp7-zero-window"} {
		r := all[name]
		r.Prediction, r.Reproduce, r.Sysctls, r.Story = nil, nil, nil, r.Story[:min(len(r.Story), 2)] // a small seed is changed faster
		r.Events, r.Packets, r.Checks, r.States = r.Events[:min(len(r.Events), 4)], r.Packets[:min(len(r.Packets), 4)], r.Checks[:min(len(r.Checks), 4)], r.States[:min(len(r.States), 4)]
		var b bytes.Buffer
		if err := r.Write(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes(), "")
		f.Add(b.Bytes(), "\x1b[2J\u202e</script></title></svg>\"'`><img src=x onerror=alert(1)>]]>&\x00\xff")
	}
	f.Fuzz(func(t *testing.T, doc []byte, behind string) {
		r, err := result.Read(bytes.NewReader(doc))
		if err != nil {
			return
		}
		if behind != "" {
			plant(reflect.ValueOf(r).Elem(), behind)
		}
		for _, s := range []report.Style{{Dir: behind}, {Width: 40, ASCII: true}} {
			var b bytes.Buffer
			if err := report.Text(&b, r, s); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(b.String()) {
				if line = strings.TrimSuffix(line, "\n"); report.Clean(line) != line {
					t.Fatalf("text: got the line %q, want no control character", line)
				}
			}
		}
		var b bytes.Buffer
		if err := report.Markdown(&b, r); err != nil {
			t.Fatal(err)
		}
		for name, write := range map[string]func(io.Writer) error{
			"junit": func(w io.Writer) error { return report.JUnit(w, r) },
			"svg":   func(w io.Writer) error { return SVG(w, Options{}, r) },
		} {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for d := xml.NewDecoder(&b); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
		for _, lang := range []Lang{"en", "zh"} {
			wantHarmless(t, html(t, Options{Lang: lang}, r, r))
		}
	})
}

// plant puts a text behind every string of a value but the verdicts and fates, which steer a report.
func plant(v reflect.Value, behind string) {
	switch v.Kind() {
	case reflect.String:
		if v.Type() == reflect.TypeFor[string]() && v.CanSet() {
			v.SetString(v.String() + behind)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			plant(v.Elem(), behind)
		}
	case reflect.Slice:
		for i := range v.Len() {
			plant(v.Index(i), behind)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			plant(v.Field(i), behind)
		}
	}
}

// own is what a page is made of; anything else came from a result.
var foreign = map[string]bool{"img": true, "iframe": true, "object": true, "embed": true, "link": true, "base": true, "form": true, "image": true, "use": true,
	"foreignobject": true, "math": true, "audio": true, "video": true, "source": true, "template": true, "frame": true}

// wantHarmless wants a page with its own style and script, and nothing that runs or fetches.
func wantHarmless(t *testing.T, page string) {
	t.Helper()
	scripts, styles := 0, 0
	for z := markup.NewTokenizer(strings.NewReader(page)); ; {
		kind := z.Next()
		if kind == markup.ErrorToken {
			break
		}
		if kind != markup.StartTagToken && kind != markup.SelfClosingTagToken {
			continue
		}
		tag := z.Token()
		switch {
		case tag.Data == "script":
			scripts++
		case tag.Data == "style":
			styles++
		case foreign[tag.Data]:
			t.Fatalf("page: got the element %s", tag)
		}
		for _, a := range tag.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src" || (a.Key == "href" || strings.HasSuffix(a.Key, ":href")) && !strings.HasPrefix(a.Val, "#") {
				t.Fatalf("page: got the attribute %s=%q of %s", a.Key, a.Val, tag.Data)
			}
		}
	}
	if scripts != 1 || styles != 1 {
		t.Fatalf("page: got %d scripts and %d styles, want its own", scripts, styles)
	}
}
