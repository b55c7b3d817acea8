package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

// TestRead catches a module that would be given away without its licence, and a licence that is taken for another.
func TestRead(t *testing.T) {
	apache := "Apache License\nVersion 2.0, January 2004\n"
	mit := "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"
	bsd2 := "Redistribution and use in source and binary forms, with or without\nmodification\nother materials provided with the distribution.\n\nTHIS SOFTWARE"
	bsd3 := strings.ReplaceAll(bsd2, "THIS", "Neither the name may be used to endorse or promote products.\nTHIS")
	for _, c := range []struct {
		name, file, body string
		want             string // empty: an error
		apache           bool
	}{
		{"apache", "LICENSE", apache, "Apache-2.0", true},
		{"mit", "LICENSE.txt", mit, "MIT", false},
		{"two clauses, quoted", "LICENSE.md", "\n> " + strings.ReplaceAll(bsd2, "\n", "\n> "), "BSD-2-Clause", false},
		{"three clauses", "COPYING", bsd3, "BSD-3-Clause", false},
		{"several in a file", "LICENSE", apache + bsd3 + mit, "Apache-2.0 AND BSD-3-Clause AND MIT", false},
		{"none", "README", mit, "", false},
		{"one that nobody knows", "LICENSE", "All rights reserved.", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.body), 0o644); err != nil {
				t.Fatal(err)
			}
			p := part{Module: debug.Module{Path: "example.com/m", Version: "v1.0.0"}}
			err := p.read(dir)
			if (err != nil) != (c.want == "") || p.license != c.want {
				t.Fatalf("got %q, %v, want %q", p.license, err, c.want)
			}
			if err == nil && p.texts[0].apache != c.apache {
				t.Errorf("got apache %v, want %v", p.texts[0].apache, c.apache)
			}
		})
	}
}
