package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/cli"
	"github.com/tcplab/tcplab/internal/explain"
)

// notice is the first line of every page that this command writes.
const notice = "<!-- Written by internal/docgen from the program itself. Do not edit; run `make docs`. -->\n\n"

// pages returns every page by its path below root.
func pages(root string) (map[string]string, error) {
	out := map[string]string{
		"docs/reference/cli.md":        cliPage(),
		"docs/reference/codes.md":      codesPage(),
		"docs/reference/exit-codes.md": exitCodesPage(),
		"docs/reference/sysctl.md":     sysctlPage(),
	}
	schema, err := schemaPage(root)
	if err != nil {
		return nil, err
	}
	out["docs/reference/result-json.md"] = schema
	if out["docs/reference/wireshark.md"], err = wiresharkPage(); err != nil {
		return nil, err
	}
	if out["docs/reference/analyse.md"], err = analysisPage(root); err != nil {
		return nil, err
	}
	var index strings.Builder
	index.WriteString("# Experiments\n\nOne page each. Name one by any unique beginning of its name, such as `exp1`.\n\n| experiment | what it breaks |\n|---|---|\n")
	for _, x := range experiments.All() {
		text, err := experimentPage(x)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.Name, err)
		}
		out["docs/experiments/"+x.Name+".md"] = text
		fmt.Fprintf(&index, "| [%s](%s.md) | %s |\n", x.Name, x.Name, x.Summary)
	}
	out["docs/experiments/README.md"] = index.String()
	for name, text := range out {
		if filepath.Ext(name) != ".md" {
			return nil, fmt.Errorf("page %s: want a .md file", name)
		}
		out[name] = notice + text
	}
	if out[architecture], err = architecturePage(root); err != nil {
		return nil, err
	}
	return out, nil
}

// cliPage describes every command: usage, what it does, examples, flags.
func cliPage() string {
	var b strings.Builder
	root := cli.Root()
	b.WriteString("# Commands\n\nWhat `tcplab COMMAND --help` prints, in one place. `tcplab man` prints it as a manual page, and " +
		"`tcplab completion bash` makes the shell complete it.\n\n")
	fmt.Fprintf(&b, "%s\n\n| command | what it does |\n|---|---|\n", root.Long)
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			fmt.Fprintf(&b, "| [tcplab %s](#%s) | %s |\n", c.Name(), anchor(c.CommandPath()), c.Short)
		}
	}
	fmt.Fprintf(&b, "\nFlags of every command:\n\n```text\n%s```\n", root.PersistentFlags().FlagUsages())
	for queue := root.Commands(); len(queue) > 0; {
		c := queue[0]
		queue = append(slices.Clone(c.Commands()), queue[1:]...)
		if !c.IsAvailableCommand() {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n", c.CommandPath())
		long := c.Long
		if long == "" {
			long = strings.ToUpper(c.Short[:1]) + c.Short[1:] + "."
		}
		fmt.Fprintf(&b, "```text\n%s\n```\n\n", c.UseLine())
		if strings.Contains(long, "\n  ") || strings.Contains(long, "\n\t") { // laid out by hand
			fmt.Fprintf(&b, "```text\n%s\n```\n", strings.TrimSpace(long))
		} else {
			fmt.Fprintf(&b, "%s\n", strings.TrimSpace(long))
		}
		if c.Example != "" {
			fmt.Fprintf(&b, "\nExamples:\n\n```console\n%s\n```\n", prompt(c.Example))
		}
		if flags := c.NonInheritedFlags().FlagUsages(); flags != "" {
			fmt.Fprintf(&b, "\nFlags:\n\n```text\n%s```\n", flags)
		}
	}
	return b.String()
}

// prompt writes the lines of an example as a console shows them.
func prompt(example string) string {
	var lines []string
	for line := range strings.Lines(example) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, "$ "+line)
		}
	}
	return strings.Join(lines, "\n")
}

// anchor is the name that GitHub gives a heading.
func anchor(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		}
	}
	return b.String()
}

// plannedCommands are named by some explanations and may not exist yet. The page says so for as long as they do not.
var plannedCommands = regexp.MustCompile(`\btcplab (analyse|clean|kernels|matrix|validate|schema|exec|shell|serve)\b`)

// codesPage holds what `tcplab explain` knows, by family.
func codesPage() string {
	var b strings.Builder
	b.WriteString("# Codes\n\nA check that fails, a note and an error carry a code such as `TL1203`. `tcplab explain TL1203` prints what stands here. " +
		"A code keeps its meaning for ever.\n")
	for _, f := range explain.Families() {
		fmt.Fprintf(&b, "\n## %snn: %s\n", f.Prefix, f.Title)
		for _, e := range explain.All() {
			if !strings.HasPrefix(e.Code, f.Prefix) {
				continue
			}
			fmt.Fprintf(&b, "\n### %s\n\n**%s**\n\n%s\n", e.Code, e.Title, e.Text)
			for _, m := range missing(e.Text) {
				fmt.Fprintf(&b, "\n(%s is planned and does not exist yet.)\n", m)
			}
			if len(e.See) > 0 {
				var see []string
				for _, c := range e.See {
					see = append(see, fmt.Sprintf("[%s](#%s)", c, anchor(c)))
				}
				fmt.Fprintf(&b, "\nSee also: %s\n", strings.Join(see, ", "))
			}
		}
	}
	return b.String()
}

// missing lists the commands in a text that do not exist.
func missing(text string) []string {
	var out []string
	for _, m := range plannedCommands.FindAllStringSubmatch(text, -1) {
		exists := false
		for _, c := range cli.Root().Commands() {
			exists = exists || c.Name() == m[1]
		}
		if !exists && !slices.Contains(out, m[0]) {
			out = append(out, m[0])
		}
	}
	return out
}

// exitCodesPage is the table of exit codes.
func exitCodesPage() string {
	var b strings.Builder
	b.WriteString("# Exit codes\n\n`tcplab help exit-codes` prints the same.\n\n| code | name | meaning |\n|---|---|---|\n")
	for _, e := range explain.Exits() {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", e.Code, e.Name, e.Meaning)
	}
	b.WriteString("\nSeveral runs give the gravest: 1 before 6, 5, 3, 4 and 0. A script that only wants to know whether the kernel did what was\n" +
		"predicted looks for 0. One that must tell a contradiction from a disturbed machine looks for 1 and 5.\n")
	return b.String()
}
