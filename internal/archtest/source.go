package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// rules are the rules about source text that checkFile applies.
type rules struct {
	bans             []ban
	skippers         map[string]string
	shells           map[string]string
	long             map[string]string
	maxFileLines     int
	maxFunctionLines int
}

// checkSources applies r to every Go file below root, except in testdata and in folders that the go command ignores.
func checkSources(root string, r rules) ([]string, error) {
	var bad []string
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if file != root && (name == "testdata" || name == "vendor" || name[0] == '.' || name[0] == '_') {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		found, err := checkFile(filepath.ToSlash(rel), src, r)
		bad = append(bad, found...)
		return err
	})
	return bad, err
}

// checkFile returns one complaint per broken rule in one file. name is relative to the module, with slashes.
func checkFile(name string, src []byte, r rules) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	bad := checkNames(name, fset, file, r)
	if !ast.IsGenerated(file) {
		bad = append(bad, checkLengths(name, bytes.Count(src, []byte("\n")), fset, file, r)...)
	}
	slices.Sort(bad)
	return bad, nil
}

// checkNames finds the banned names, called or only mentioned, and the skips.
func checkNames(name string, fset *token.FileSet, file *ast.File, r rules) []string {
	packages, bad := importNames(name, file, r.bans)
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && isShell(lit) && !strings.HasSuffix(name, "_test.go") && !in(name, r.shells) {
			bad = append(bad, fmt.Sprintf("%s:%d: %s: start the program itself; what a user names must not reach a shell", name, fset.Position(lit.Pos()).Line, lit.Value))
		}
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		at := fmt.Sprintf("%s:%d", name, fset.Position(sel.Pos()).Line)
		imported := "" // the package that the name belongs to, if any
		if id, ok := sel.X.(*ast.Ident); ok {
			imported = packages[id.Name]
		}
		for _, b := range r.bans {
			if imported == b.path && sel.Sel.Name == b.name && !in(name, b.allowed) {
				bad = append(bad, fmt.Sprintf("%s: %s.%s: %s", at, path.Base(b.path), b.name, b.why))
			}
		}
		skips := imported == "" && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name)
		if skips && importsTesting(packages) && !in(name, r.skippers) {
			bad = append(bad, fmt.Sprintf("%s: %s: call labtest.Need, which fails where nothing may be missing", at, sel.Sel.Name))
		}
		return true
	})
	return bad
}

// isShell reports whether a literal names a shell, as what starts one must.
func isShell(lit *ast.BasicLit) bool {
	text, err := strconv.Unquote(lit.Value)
	return err == nil && lit.Kind == token.STRING && slices.Contains([]string{"sh", "bash", "dash"}, path.Base(text))
}

// importNames maps the names that a file uses for its imports to their paths. A dot import of a banned package would hide its
// names from checkNames, so that is a complaint of its own.
func importNames(name string, file *ast.File, bans []ban) (names map[string]string, bad []string) {
	names = map[string]string{}
	for _, spec := range file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has accepted it, so it is quoted
		}
		local := path.Base(p)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		names[local] = p
		if local == "." && slices.ContainsFunc(bans, func(b ban) bool { return b.path == p }) {
			bad = append(bad, fmt.Sprintf("%s: import . %q: hides banned names; import it by name", name, p))
		}
	}
	return names, bad
}

func importsTesting(packages map[string]string) bool {
	for _, p := range packages {
		if p == "testing" {
			return true
		}
	}
	return false
}

// checkLengths finds files and functions that are too long.
func checkLengths(name string, lines int, fset *token.FileSet, file *ast.File, r rules) []string {
	var bad []string
	if lines > r.maxFileLines && r.long[name] == "" {
		bad = append(bad, fmt.Sprintf("%s: got %d lines, want at most %d", name, lines, r.maxFileLines))
	}
	if strings.HasSuffix(name, "_test.go") {
		return bad
	}
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
		if n > r.maxFunctionLines && r.long[name+":"+fn.Name.Name] == "" {
			bad = append(bad, fmt.Sprintf("%s: %s: got %d lines, want at most %d", name, fn.Name.Name, n, r.maxFunctionLines))
		}
	}
	return bad
}

// in says whether file is one of the places, or below one of them.
func in(file string, places map[string]string) bool {
	for place := range places {
		if file == place || strings.HasPrefix(file, place+"/") {
			return true
		}
	}
	return false
}
