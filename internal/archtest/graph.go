package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const module = "github.com/tcplab/tcplab"

// pkg is what the rules need of one object of go list -json.
type pkg struct {
	ImportPath string
	Imports    []string
}

// list asks the go command for every package of the module in dir. It asks for linux whatever the machine is, because that is
// where all files are built.
func list(dir string) ([]pkg, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=linux")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return pkgs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("go list: decode: %w", err)
		}
		pkgs = append(pkgs, p)
	}
}

// checkImports returns one complaint per package and per import that the tables do not have.
func checkImports(pkgs []pkg, imports map[string][]string, modules map[string]map[string]string) []string {
	var bad []string
	for _, p := range pkgs {
		from := local(p.ImportPath)
		allowed, known := imports[from]
		if !known {
			bad = append(bad, fmt.Sprintf("%s: not in the import table; add a row to internal/archtest/table.go", from))
			continue
		}
		for _, path := range p.Imports {
			switch {
			case path == module || strings.HasPrefix(path, module+"/"):
				if to := local(path); !slices.Contains(allowed, to) {
					bad = append(bad, fmt.Sprintf("%s imports %s: got an edge that the table does not have, want one of %v", from, to, allowed))
				}
			case standard(path):
			default:
				if why := checkModule(from, path, modules); why != "" {
					bad = append(bad, why)
				}
			}
		}
	}
	slices.Sort(bad)
	return bad
}

// checkModule says what is wrong when from imports the third-party package path, or "".
func checkModule(from, path string, modules map[string]map[string]string) string {
	for mod, importers := range modules {
		if path != mod && !strings.HasPrefix(path, mod+"/") {
			continue
		}
		if importers[from] == "" {
			return fmt.Sprintf("%s imports %s: not among the importers of %s; use the package that has it, or add the reason to the table",
				from, path, mod)
		}
		return ""
	}
	return fmt.Sprintf("%s imports %s: third-party module without a row in the table", from, path)
}

// checkTable says what is wrong with the tables themselves: a row that allows an unknown package, or a circle, or an importer
// that has no row, would never be noticed by the code.
func checkTable(imports map[string][]string, modules map[string]map[string]string) []string {
	var bad []string
	for from, tos := range imports {
		for _, to := range tos {
			if _, known := imports[to]; !known {
				bad = append(bad, fmt.Sprintf("%s -> %s: the target has no row", from, to))
			}
		}
		if reaches(imports, from, from, map[string]bool{}) {
			bad = append(bad, fmt.Sprintf("%s: allowed to import itself through others", from))
		}
	}
	for mod, importers := range modules {
		for from, why := range importers {
			if _, known := imports[from]; !known || why == "" {
				bad = append(bad, fmt.Sprintf("%s: importer %s: want a row in the table and a reason, got reason %q", mod, from, why))
			}
		}
	}
	slices.Sort(bad)
	return bad
}

// reaches says whether one or more edges lead from from to to.
func reaches(imports map[string][]string, from, to string, seen map[string]bool) bool {
	for _, next := range imports[from] {
		if next == to {
			return true
		}
		if !seen[next] {
			seen[next] = true
			if reaches(imports, next, to, seen) {
				return true
			}
		}
	}
	return false
}

// local is an import path without the module's.
func local(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
}

// standard says whether path is of the standard library: its first element has no dot.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}
