package doctest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/experiments/files"
	"github.com/tcplab/tcplab/internal/cli"
	"github.com/tcplab/tcplab/internal/explain"
)

const root = "../.."

// documents reads README.md, CHANGELOG.md and everything in docs/.
func documents(t *testing.T) []Doc {
	t.Helper()
	names := []string{"README.md", "CHANGELOG.md"}
	err := fs.WalkDir(os.DirFS(root), "docs", func(name string, d fs.DirEntry, err error) error {
		if err == nil && path.Ext(name) == ".md" {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var docs []Doc
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, Parse(name, string(b)))
	}
	return docs
}

// tcplab runs this test binary as the program (see TestMain) in a folder of its own, and returns both its outputs and its exit code.
func tcplab(t *testing.T, args ...string) (output string, exit int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Args = append([]string{"tcplab"}, args...)
	cmd.Dir = t.TempDir()
	if len(args) > 1 && args[0] == "analyse" { // the captures of this repository, by their paths in it
		b, err := os.ReadFile(filepath.Join(root, args[1]))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.MkdirAll(filepath.Join(cmd.Dir, path.Dir(args[1])), 0o755), os.WriteFile(filepath.Join(cmd.Dir, args[1]), b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if slices.Contains(args, ownLab) && args[0] != "new" { // a reader has it from an earlier line
		text, err := fs.ReadFile(files.FS, "exp1-syn-loss.yaml")
		if err == nil {
			err = os.WriteFile(filepath.Join(cmd.Dir, ownLab), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// Under the race detector a program sleeps for a second before it exits; there are many.
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("tcplab %v: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// ownLab is the file that a document has the reader write.
const ownLab = "my-lab.yaml"

// programs may stand in a console block without a check of their own.
var programs = []string{"git", "cd", "vagrant", "tshark", "wireshark", "tcpdump", "capinfos", "nsenter", "ss", "ip", "cat", "jq", "source", "install", "podman", "kubectl", "sbatch"}

// commands checks every command line of a document. Those that need root are parsed, and run with --dry-run; those that need a stored
// run are parsed; all others are run, and must exit as the block says. Blocks marked golden must print exactly what the document shows.
func commands(t *testing.T, d Doc) (bad []string) {
	targets := makeTargets(t)
	for _, b := range d.Blocks {
		if !b.Has("console") {
			continue
		}
		for _, c := range b.Commands() {
			if why := command(t, b, c, targets); why != "" {
				bad = append(bad, fmt.Sprintf("%s:%d: %s: %s", d.Name, c.Line, c.Text, why))
			}
		}
	}
	return bad
}

// command checks one command line; "" is good.
func command(t *testing.T, b Block, c Command, targets map[string]bool) string {
	words := Words(c.Text)
	for _, front := range [][]string{{"sudo"}, {"unshare", "-Ur"}} {
		if len(words) > len(front) && slices.Equal(words[:len(front)], front) {
			words = words[len(front):]
		}
	}
	switch {
	case len(words) == 0:
		return "got no command after the prompt"
	case words[0] == "make":
		return target(words[1:], targets)
	case slices.Contains(programs, words[0]):
		return ""
	case path.Base(words[0]) != "tcplab":
		return fmt.Sprintf("got the program %q, want one of the list in this test", words[0])
	}
	args := words[1:]
	name, err := parse(args)
	if err != nil && b.Exit() != 2 {
		return err.Error()
	}
	switch name {
	case "doctor", "report", "diff", "fetch", "rm", "open", "serve":
		return "" // what they print depends on the machine, on a run, or on an archive; serve goes on until it is ended
	case "run":
		args = append(args, "--dry-run")
	case "matrix": // the flags are parsed; the names, profile and parameters are those of run
		args = append(slices.DeleteFunc(append([]string{"run"}, args[1:]...), ofMatrix), "--dry-run")
	case "analyse":
		if _, err := os.Stat(filepath.Join(root, args[1])); err != nil {
			return "" // a capture of the reader's own
		}
	}
	got, exit := tcplab(t, args...)
	if exit != b.Exit() {
		return fmt.Sprintf("got exit code %d, want %d\n%s", exit, b.Exit(), got)
	}
	want := strings.Join(c.Output, "\n") + "\n"
	if diff := cmp.Diff(want, got); b.Has("golden") && diff != "" {
		return "the document shows other output than the program prints (-document +program)\n" + diff
	}
	return ""
}

// ofMatrix reports whether an argument of matrix is one that run does not have, or that a dry run refuses.
func ofMatrix(arg string) bool {
	name, _, _ := strings.Cut(arg, "=")
	return slices.Contains([]string{"--kernels", "--format", "--json", "--junit", "--markdown", "--html"}, name)
}

// parse finds the command of a command line and reads its flags, without running it.
func parse(args []string) (name string, err error) {
	tree := cli.Root()
	cmd, rest, err := tree.Find(args)
	if err != nil {
		return "", err
	}
	if cmd == tree && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return "", fmt.Errorf("unknown command %q", args[0])
	}
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return cmd.Name(), err
	}
	if help, _ := cmd.Flags().GetBool("help"); help {
		return cmd.Name(), nil
	}
	return cmd.Name(), cmd.ValidateArgs(cmd.Flags().Args())
}

// target checks the arguments of make: targets and variables.
func target(args []string, targets map[string]bool) string {
	for _, a := range args {
		if !strings.Contains(a, "=") && !targets[a] {
			return fmt.Sprintf("got the target %q, want one of the Makefile's", a)
		}
	}
	return ""
}

func makeTargets(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z][a-z-]*):`).FindAllStringSubmatch(string(b), -1) {
		targets[m[1]] = true
	}
	return targets
}

// spans checks the code spans of a document: a command of tcplab and its flags, a make target, a path of this repository must exist. What
// is written in capitals stands for something else and is not looked at.
func spans(t *testing.T, d Doc) (bad []string) {
	targets := makeTargets(t)
	place := regexp.MustCompile(`^(cmd|deploy|internal|lab|experiments|sysctl|pcapout|docs|scripts)/[a-z0-9_./-]*$`)
	for _, s := range d.Spans {
		why := ""
		words := Words(strings.TrimPrefix(s.Text, "sudo "))
		switch {
		case len(words) > 1 && words[0] == "make":
			why = target(words[1:2], targets)
		case len(words) > 1 && words[0] == "tcplab":
			why = mentioned(words[1:])
		case place.MatchString(s.Text):
			if _, err := os.Stat(filepath.Join(root, s.Text)); err != nil {
				why = "no such file or folder"
			}
		}
		if why != "" {
			bad = append(bad, fmt.Sprintf("%s:%d: `%s`: %s", d.Name, s.Line, s.Text, why))
		}
	}
	return bad
}

// mentioned checks a command in running text: the command and its flags exist, whatever the arguments.
func mentioned(args []string) string {
	if args[0] == strings.ToUpper(args[0]) {
		return "" // a placeholder
	}
	cmd, _, err := cli.Root().Find(args)
	if err != nil {
		return err.Error()
	}
	if !cmd.HasParent() && !strings.HasPrefix(args[0], "-") {
		return fmt.Sprintf("unknown command %q", args[0])
	}
	for _, a := range args {
		if name, _, _ := strings.Cut(strings.TrimPrefix(a, "--"), "="); strings.HasPrefix(a, "--") && !hasFlag(cmd, name) {
			return fmt.Sprintf("%s has no flag --%s", cmd.CommandPath(), name)
		}
	}
	return ""
}

func hasFlag(cmd *cobra.Command, name string) bool {
	cmd.InitDefaultHelpFlag()
	return cmd.Flags().Lookup(name) != nil || cmd.InheritedFlags().Lookup(name) != nil || name == "version" && !cmd.HasParent()
}

// links checks the links of all documents: files exist, and headings in them.
func links(docs []Doc) (bad []string) {
	byName := map[string]Doc{}
	for _, d := range docs {
		byName[d.Name] = d
	}
	for _, d := range docs {
		for _, l := range d.Links {
			file, heading, _ := strings.Cut(l.Text, "#")
			if strings.Contains(file, "://") {
				continue
			}
			name := d.Name
			if file != "" {
				name = path.Join(path.Dir(d.Name), file)
			}
			other, known := byName[name]
			if _, err := os.Stat(filepath.Join(root, name)); err != nil && !known {
				bad = append(bad, fmt.Sprintf("%s:%d: link to %s: no such file", d.Name, l.Line, l.Text))
			} else if heading != "" && !other.Anchors[heading] {
				bad = append(bad, fmt.Sprintf("%s:%d: link to %s: no such heading", d.Name, l.Line, l.Text))
			}
		}
	}
	return bad
}

// codes checks that every code in a document can be explained.
func codes(d Doc) (bad []string) {
	for _, code := range regexp.MustCompile(`\bTL[0-9]{4}\b`).FindAllString(d.Text, -1) {
		if _, ok := explain.Lookup(code); !ok {
			bad = append(bad, fmt.Sprintf("%s: %s: no such code", d.Name, code))
		}
	}
	return bad
}
