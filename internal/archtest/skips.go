package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// testsBelow finds the tests below root: the packages, as make names them, that have one of each name.
func testsBelow(root string) (map[string][]string, error) {
	tests := map[string][]string{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && file != root && (d.Name() == "testdata" || d.Name()[0] == '.') {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				tests[f.Name.Name] = append(tests[f.Name.Name], "./"+path.Dir(filepath.ToSlash(rel)))
			}
		}
		return nil
	})
	return tests, err
}

// What of the Makefile decides where a test runs: what lab-race skips, and the packages that make test leaves to lab-race alone.
var (
	raceSkip = regexp.MustCompile(`(?m)^RACE_SKIP := (.*)$`)
	raceOnly = regexp.MustCompile(`\$\(MAKE\) lab RACED='([^']*)'`)
	named    = regexp.MustCompile(`^\^Test\(([A-Za-z0-9_|]+)\)\$$`)
)

// checkSkips returns a complaint for each pattern of RACE_SKIP that is open at an end, each of its names that no test has, and each test that it
// skips where nothing else runs it. -skip takes a part of a name for the name: Kill alone skips Killed, too.
func checkSkips(makefile string, tests map[string][]string) (bad []string) {
	skip, only := raceSkip.FindStringSubmatch(makefile), raceOnly.FindStringSubmatch(makefile)
	if skip == nil || only == nil {
		return []string{"Makefile: want a line RACE_SKIP := and a recipe with $(MAKE) lab RACED='...'"}
	}
	text := strings.ReplaceAll(skip[1], "$$", "$")
	skips, err := regexp.Compile(text)
	if err != nil {
		return []string{fmt.Sprintf("RACE_SKIP: %v", err)}
	}
	for _, p := range alternatives(text) {
		if !strings.HasPrefix(p, "^") || !strings.HasSuffix(p, "$") {
			bad = append(bad, fmt.Sprintf("RACE_SKIP: %s: want it to begin with ^ and to end with $$, else it skips other tests too", p))
		}
		if m := named.FindStringSubmatch(p); m != nil {
			for _, name := range strings.Split(m[1], "|") {
				if tests["Test"+name] == nil {
					bad = append(bad, fmt.Sprintf("RACE_SKIP: there is no Test%s", name))
				}
			}
		}
	}
	for name, packages := range tests {
		for _, p := range packages {
			if skips.MatchString(name) && slices.Contains(strings.Fields(only[1]), p) {
				bad = append(bad, fmt.Sprintf("%s of %s never runs: lab-race skips it, and make test leaves the package to lab-race", name, p))
			}
		}
	}
	slices.Sort(bad)
	return bad
}

// alternatives splits a pattern at the bars that are in no group.
func alternatives(pattern string) (parts []string) {
	depth, from := 0, 0
	for i, c := range pattern {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == '|' && depth == 0:
			parts = append(parts, pattern[from:i])
			from = i + 1
		}
	}
	return append(parts, pattern[from:])
}
