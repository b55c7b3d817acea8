package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

// part is a module that is linked into the binary, or the Go standard library.
type part struct {
	debug.Module
	license string // SPDX identifiers, joined by AND
	texts   []text
}

// text is one file of a licence.
type text struct {
	name   string
	body   string
	apache bool // it is the Apache License 2.0 and nothing else
}

const standardLibrary = "std"

// parts are the modules that a binary has, with their licences: sorted by path, the standard library first.
func parts(root string, info *debug.BuildInfo) ([]part, error) {
	dirs, err := folders(root, info.Deps)
	if err != nil {
		return nil, err
	}
	out := []part{{Module: debug.Module{Path: standardLibrary, Version: info.GoVersion}}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		out = append(out, part{Module: *m})
	}
	for i := range out {
		if err := out[i].read(dirs[out[i].Path]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// folders finds where the modules lie, and the Go tree.
func folders(root string, modules []*debug.Module) (map[string]string, error) {
	goroot, err := run(root, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{standardLibrary: strings.TrimSpace(goroot)}
	args := []string{"list", "-m", "-f", "{{.Path}}@{{.Version}}\t{{.Dir}}"}
	for _, m := range modules {
		args = append(args, m.Path)
	}
	if len(modules) == 0 {
		return dirs, nil
	}
	out, err := run(root, args...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		module, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		path, version, _ := strings.Cut(module, "@")
		if i := slices.IndexFunc(modules, func(m *debug.Module) bool { return m.Path == path }); modules[i].Version != version {
			return nil, fmt.Errorf("%s: the binary has %s and go.mod has %s: build the binary anew", path, modules[i].Version, version)
		}
		dirs[path] = dir
	}
	return dirs, nil
}

func run(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &bad
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, bad.String())
	}
	return out.String(), nil
}

// legal are the names of files that must go with a binary. PATENTS of golang.org/x grants a right and asks for nothing.
var legal = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice)([.-].*)?$`)

// licenses are told by sentences that only they have. They are the ones that a static binary may mix; any other is an error, for a person to read.
var licenses = []struct {
	id  string
	has *regexp.Regexp
}{
	{"Apache-2.0", regexp.MustCompile(`Apache License Version 2\.0, January 2004`)},
	{"BSD-2-Clause", regexp.MustCompile(`Redistribution and use in source and binary forms.* provided with the distribution\. THIS SOFTWARE`)},
	{"BSD-3-Clause", regexp.MustCompile(`Redistribution and use in source and binary forms.* used to endorse or promote products`)},
	{"MIT", regexp.MustCompile(`Permission is hereby granted, free of charge, to any person obtaining a copy`)},
}

// identify lists the licences in a text.
func identify(body string) (ids []string) {
	flat := strings.Join(strings.Fields(strings.ReplaceAll(body, "\n>", "\n")), " ") // one is written as a quotation
	for _, l := range licenses {
		if l.has.MatchString(flat) {
			ids = append(ids, l.id)
		}
	}
	return ids
}

// read takes the licence of a part from its folder.
func (p *part) read(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%s: its licence is in the module cache, which has it not: %w; run go mod download", p.Path, err)
	}
	var ids []string
	for _, e := range entries {
		if !e.Type().IsRegular() || !legal.MatchString(e.Name()) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		t := text{name: e.Name(), body: strings.TrimSpace(string(b))}
		found := identify(t.body)
		t.apache = slices.Equal(found, []string{"Apache-2.0"})
		ids = append(ids, found...)
		p.texts = append(p.texts, t)
	}
	slices.Sort(ids)
	if p.license = strings.Join(slices.Compact(ids), " AND "); p.license == "" {
		return fmt.Errorf("%s %s: want a file LICENSE or COPYING with a known licence in %s, found %d files and none: it cannot be given away", p.Path, p.Version, dir, len(p.texts))
	}
	return nil
}
