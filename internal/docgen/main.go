// Command docgen writes the pages of docs/ that are made from the program itself: one for each experiment, the reference,
// and the import table in architecture.md. `make docs` runs it; the pages are committed, and a test of this package fails when they are not
// what it would write.
//
// It is not for prose that a person maintains: that is in docs/ itself. What a page of an experiment says beyond its data is in
// texts/NAME.md, which may be missing.
//
// Its one trap: a page must not depend on the machine that makes it, so predictions are for kernels that are named here.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:generate go run . ../..

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: docgen ROOT, the folder of go.mod")
		os.Exit(2)
	}
	pages, err := pages(os.Args[1])
	if err == nil {
		err = write(os.Args[1], pages)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1)
	}
}

// write writes the pages, and removes those that nothing stands behind any more.
func write(root string, pages map[string]string) error {
	old, err := stale(root, pages)
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	for name, text := range pages {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generated are the folders that hold generated pages and nothing else.
var generated = []string{"docs/experiments", "docs/reference"}

// stale lists the files in the generated folders that no page is for.
func stale(root string, pages map[string]string) ([]string, error) {
	var old []string
	for _, dir := range generated {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if name := dir + "/" + e.Name(); pages[name] == "" {
				old = append(old, name)
			}
		}
	}
	return old, nil
}
