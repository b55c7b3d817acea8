package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/internal/timeline"
)

// form is a Go struct that becomes JSON: a file below root, and the name of the type. An empty name stands for every exported struct.
type form struct{ file, name string }

// schemaPage describes result.json, predictions and events.ndjson from the types that they are written from, and their comments.
func schemaPage(root string) (string, error) {
	head, err := texts.ReadFile("texts/result-json.md")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.Write(head)
	for _, part := range []struct {
		title string
		form
	}{
		{"## The types", form{"internal/result/result.go", ""}},
		{"", form{"internal/result/capture.go", ""}},
		{"", form{"internal/result/link.go", ""}},
		{"", form{"internal/result/case.go", ""}},
		{"", form{"internal/result/shard.go", ""}},
		{"", form{"internal/result/evidence.go", ""}},
		{"## The lines of events.ndjson", form{"internal/runner/observe_linux.go", "statusLine"}},
		{"", form{"internal/agent/protocol.go", "Event"}},
	} {
		if part.title != "" {
			fmt.Fprintf(&b, "\n%s\n", part.title)
		}
		if part.name == "statusLine" {
			kinds, err := texts.ReadFile("texts/events-ndjson.md")
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "\n%s", kinds)
		}
		if err := structs(&b, filepath.Join(root, part.file), part.name); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// structs writes a table for each struct of a Go file that is asked for.
func structs(b *strings.Builder, file, only string) error {
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	found := false
	for _, decl := range tree.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range gen.Specs {
			t, ok := s.(*ast.TypeSpec)
			if !ok || only != "" && t.Name.Name != only || only == "" && !t.Name.IsExported() {
				continue
			}
			if st, ok := t.Type.(*ast.StructType); ok {
				found = true
				if err := table(b, t.Name.Name, gen.Doc.Text(), st); err != nil {
					return fmt.Errorf("%s: %s: %w", filepath.Base(file), t.Name.Name, err)
				}
			}
		}
	}
	if !found {
		return fmt.Errorf("%s: want a struct %s, found none", filepath.Base(file), only)
	}
	return nil
}

// table is one type: its comment, and a row for each field.
func table(b *strings.Builder, name, doc string, st *ast.StructType) error {
	fmt.Fprintf(b, "\n### %s\n\n%s\n\n| field | type | meaning |\n|---|---|---|\n", sentence(name), plain(doc))
	for _, f := range st.Fields.List {
		if f.Tag == nil {
			return fmt.Errorf("field %v: want a json tag", f.Names)
		}
		tag, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			return err
		}
		key, rest, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
		typ, err := jsonType(f.Type)
		if err != nil {
			return fmt.Errorf("field %s: %w", key, err)
		}
		if strings.Contains(rest, "omit") {
			typ += ", optional"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", key, typ, plain(f.Doc.Text()+" "+f.Comment.Text()))
	}
	return nil
}

// plain makes one line of a comment, fit for a table.
func plain(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", "\\|")
}

// scalars are the Go types that have a form of their own in JSON.
var scalars = map[string]string{
	"string": "string", "bool": "boolean", "int": "integer", "int64": "integer", "uint32": "integer", "uint64": "integer",
	"Seconds": "number, s", "time.Duration": "integer, ns", "time.Time": "string, RFC 3339", "netip.AddrPort": "string, address:port",
	"Verdict": "string, see [verdicts](#verdicts)", "Fate": "string: `delivered`, `dropped` or `lost`", "Kind": "string",
}

// jsonType says in words what a Go type is in JSON.
func jsonType(e ast.Expr) (string, error) {
	switch t := e.(type) {
	case *ast.StarExpr:
		return jsonType(t.X)
	case *ast.ArrayType:
		of, err := jsonType(t.Elt)
		return "array of " + of, err
	case *ast.MapType:
		of, err := jsonType(t.Value)
		return "object of " + of, err
	case *ast.SelectorExpr:
		name := t.Sel.Name
		if pkg, ok := t.X.(*ast.Ident); ok && pkg.Name != "result" {
			name = pkg.Name + "." + name
		}
		return named(name)
	case *ast.Ident:
		return named(t.Name)
	}
	return "", fmt.Errorf("type %T: has no words for the page", e)
}

func named(name string) (string, error) {
	if s, ok := scalars[name]; ok {
		return s, nil
	}
	if ast.IsExported(name) {
		return fmt.Sprintf("[%s](#%s)", name, anchor(name)), nil
	}
	return "", fmt.Errorf("type %s: has no words for the page", name)
}

// analysisPage says what the names mean that `tcplab analyse` gives, and describes its JSON form.
func analysisPage(root string) (string, error) {
	head, err := texts.ReadFile("texts/analyse.md")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.Write(head)
	for _, part := range []struct{ title, head, file, typ, last string }{
		{"Names of packets", "name | on the ladder | meaning", "internal/timeline/what.go", "What", "icmp-error"},
		{"How a connection ended", "fate | meaning", "internal/analyse/summary.go", "Fate", ""},
		{"Findings", "kind | meaning", "internal/analyse/finding.go", "Kind", ""},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| %s |\n|%s\n", part.title, part.head, strings.Repeat("---|", strings.Count(part.head, "|")+1))
		if err := constants(&b, filepath.Join(root, part.file), part.typ, part.last, strings.Count(part.head, "|") == 2); err != nil {
			return "", err
		}
	}
	b.WriteString("\n## The JSON form\n\n`--json` prints one document, an Analysis. Connections come in the order in which they end. The form only grows.\n")
	return b.String(), structs(&b, filepath.Join(root, "internal/result/analysis.go"), "")
}

// constants writes a row for each constant of a string type, up to the one with the value last; "" is the end.
func constants(b *strings.Builder, file, typ, last string, words bool) error {
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	rows := 0
	for _, decl := range tree.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		for _, s := range gen.Specs {
			v := s.(*ast.ValueSpec)
			if id, ok := v.Type.(*ast.Ident); !ok || id.Name != typ {
				continue
			}
			value, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				return err
			}
			rows++
			shown := ""
			if words {
				shown = timeline.What(value).Words() + " | "
			}
			fmt.Fprintf(b, "| `%s` | %s%s |\n", value, shown, plain(v.Comment.Text()))
			if value == last {
				return nil
			}
		}
	}
	if rows == 0 {
		return fmt.Errorf("%s: want constants of type %s, found none", filepath.Base(file), typ)
	}
	return nil
}
