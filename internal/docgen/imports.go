package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	architecture = "docs/architecture.md"
	importTable  = "internal/archtest/table.go"
	importFence  = "```text imports\n"
)

// architecturePage is docs/architecture.md, which a person maintains, with the import table that internal/archtest enforces put into its
// block.
func architecturePage(root string) (string, error) {
	page, err := os.ReadFile(filepath.Join(root, architecture))
	if err != nil {
		return "", err
	}
	src, err := os.ReadFile(filepath.Join(root, importTable))
	if err != nil {
		return "", err
	}
	rows, err := importRows(src)
	if err != nil {
		return "", fmt.Errorf("%s: %w", importTable, err)
	}
	before, rest, ok := strings.Cut(string(page), importFence)
	_, after, closed := strings.Cut(rest, "\n```\n")
	if !ok || !closed {
		return "", fmt.Errorf("%s: want a block that begins with %q, found none", architecture, strings.TrimSpace(importFence))
	}
	return before + importFence + strings.Join(rows, "\n") + "\n```\n" + after, nil
}

// importRows writes the variable imports of a Go file as lines of "package -> package package", in its order.
func importRows(src []byte) ([]string, error) {
	tree, err := parser.ParseFile(token.NewFileSet(), "", src, 0)
	if err != nil {
		return nil, err
	}
	var table *ast.CompositeLit
	ast.Inspect(tree, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && v.Names[0].Name == "imports" && len(v.Values) == 1 {
			table, _ = v.Values[0].(*ast.CompositeLit)
		}
		return table == nil
	})
	if table == nil {
		return nil, errors.New("want a variable imports that is a map, found none")
	}
	var rows []string
	for _, e := range table.Elts {
		row, err := importRow(e)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row...)
	}
	return rows, nil
}

// importRow is one package with what it may import, on as many lines as it takes.
func importRow(e ast.Expr) ([]string, error) {
	kv, ok := e.(*ast.KeyValueExpr)
	if !ok {
		return nil, fmt.Errorf("%T: want a key and a value", e)
	}
	from, err := text(kv.Key)
	if err != nil {
		return nil, err
	}
	list, ok := kv.Value.(*ast.CompositeLit)
	if !ok {
		return nil, fmt.Errorf("%s: want a list", from)
	}
	head := fmt.Sprintf("%-18s ->", from)
	rows := []string{head}
	for _, e := range list.Elts {
		to, err := text(e)
		if err != nil {
			return nil, err
		}
		if last := rows[len(rows)-1]; len(last)+1+len(to) <= 110 {
			rows[len(rows)-1] = last + " " + to
		} else {
			rows = append(rows, strings.Repeat(" ", len(head)+1)+to)
		}
	}
	return rows, nil
}

func text(e ast.Expr) (string, error) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", fmt.Errorf("%T: want a string", e)
	}
	return strconv.Unquote(lit.Value)
}
