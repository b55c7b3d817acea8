package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"
)

const (
	own = `%[1]s
Source: https://github.com/tcplab/tcplab
Copyright: the authors of tcplab
License: Apache-2.0

  Licensed under the Apache License, Version 2.0. You may not use these files except in compliance with the License. The whole
  text is in %[2]s.
  Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on an "AS IS"
  BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.

%[1]s is linked statically. It has in it the Go modules below, each under its own licence.
`
	rule = "------------------------------------------------------------------------"
)

// holder is a line that names who holds a copyright: the text of the Apache License ends with one, or with the blank form of one.
var holder = regexp.MustCompile(`(?m)^\s*Copyright (\(c\) |© )?[0-9]{4}.*$`)

// copyright writes the licence of the program and of every part of it.
func copyright(w io.Writer, apache, program string, parts []part) error {
	var b strings.Builder
	fmt.Fprintf(&b, own, program, apache)
	for _, p := range parts {
		title := p.Path + " " + p.Version
		if p.Path == standardLibrary {
			title = "the Go standard library, " + p.Version
		}
		fmt.Fprintf(&b, "\n%s\n%s\nLicense: %s\n", rule, title, p.license)
		for _, t := range p.texts {
			if !t.apache {
				fmt.Fprintf(&b, "\n%s\n", t.body)
				continue
			}
			for _, line := range holder.FindAllString(t.body, -1) {
				fmt.Fprintf(&b, "%s\n", strings.TrimSpace(line))
			}
			fmt.Fprintf(&b, "The text of the licence is in %s.\n", apache)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
