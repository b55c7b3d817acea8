package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestScript runs the documents in testdata/script: command lines with what they print, exactly, and how they exit. It catches a
// message that lost its cure, output in the wrong stream, a wrong exit code, and a command that leaves something behind although it
// refused. With -update the goldens inside the documents are written anew.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       flag.Lookup("update").Value.String() == "true",
		Cmds:                scriptCommands(),
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "")
			if err := captures(env); err != nil {
				return err
			}
			files, err := tree(env.WorkDir)
			env.Values[filesKey{}] = files
			return err
		},
	})
}

// captures puts the captures of the analyser's tests where scripts find them, and one that is cut short.
func captures(env *testscript.Env) error {
	from, to := os.DirFS("../analyse/testdata"), filepath.Join(env.WorkDir, ".captures")
	env.Setenv("CAPTURES", to)
	b, err := fs.ReadFile(from, "keepalive-client.pcapng")
	if err != nil {
		return err
	}
	return errors.Join(os.Mkdir(to, 0o755), os.WriteFile(filepath.Join(to, "keepalive-client.pcapng"), b, 0o644),
		os.WriteFile(filepath.Join(to, "cut.pcapng"), b[:900], 0o644))
}

// filesKey finds the list of files at the start of a script.
type filesKey struct{}

// scriptCommands are the commands that scripts have beyond testscript's own.
func scriptCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"exits":     scriptExits,
		"untouched": scriptUntouched,
		"json":      scriptJSON,
		"ascii":     scriptASCII,
	}
}

// scriptExits runs a program that must exit with exactly this code: exits 2 tcplab run exp99.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got, err := exitCode(ts.Exec(args[1], args[2:]...))
	ts.Check(err)
	if got != want {
		ts.Fatalf("%s: got exit code %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// exitCode is the code in what exec.Cmd.Run returned.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), nil
	}
	return 0, err
}

// scriptUntouched wants the script's folder to hold what it held at the start, and nothing else.
func scriptUntouched(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: untouched")
	}
	got, err := tree(ts.Getenv("WORK"))
	ts.Check(err)
	if diff := cmp.Diff(ts.Value(filesKey{}), any(got)); diff != "" {
		ts.Fatalf("files in the script's folder changed (-want +got):\n%s", diff)
	}
}

// tree lists the files below root, with their sizes.
func tree(root string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			files = append(files, rel+"/")
		} else {
			files = append(files, fmt.Sprintf("%s %d", rel, info.Size()))
		}
		return nil
	})
	slices.Sort(files)
	return files, err
}

// scriptJSON wants a file (or stdout) to be exactly one JSON document, and fields of it to have values: json stdout schema=tcplab.list/v1.
func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: json FILE [FIELD=VALUE...]")
	}
	doc, err := oneJSON([]byte(ts.ReadFile(args[0])))
	if err != nil {
		ts.Fatalf("%s: %v", args[0], err)
	}
	for _, a := range args[1:] {
		field, want, ok := strings.Cut(a, "=")
		if !ok {
			ts.Fatalf("%q: want FIELD=VALUE", a)
		}
		if got := fmt.Sprint(doc[field]); got != want {
			ts.Fatalf("%s: %s: got %q, want %q", args[0], field, got, want)
		}
	}
}

// oneJSON reads exactly one JSON object.
func oneJSON(b []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	var doc map[string]any
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("after the JSON document at byte %d: got more, want the end", dec.InputOffset())
	}
	return doc, nil
}

// scriptASCII wants a file (or stdout) to be 7-bit; negated, not to be.
func scriptASCII(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] ascii FILE")
	}
	at := strings.IndexFunc(ts.ReadFile(args[0]), func(r rune) bool { return r > 126 })
	if (at < 0) == neg {
		ts.Fatalf("%s: first character beyond ASCII at byte %d (-1: none), want ASCII: %t", args[0], at, !neg)
	}
}

// TestScriptCommands is the negative control of the commands above: a check that cannot fail would let every script pass.
func TestScriptCommands(t *testing.T) {
	for _, doc := range []string{"", "{} {}", "{}x", "[]", `{"a":1`} {
		if _, err := oneJSON([]byte(doc)); err == nil {
			t.Errorf("oneJSON(%q): got no error, want one", doc)
		}
	}
	if doc, err := oneJSON([]byte("{\"a\": 1}\n")); err != nil || fmt.Sprint(doc["a"]) != "1" {
		t.Errorf("oneJSON of one object: got %v, %v, want a=1", doc, err)
	}
	for _, want := range []int{0, 1, 5, 143} {
		got, err := exitCode(exec.Command("sh", "-c", "exit "+strconv.Itoa(want)).Run())
		if err != nil || got != want {
			t.Errorf("exitCode: got %d, %v, want %d", got, err, want)
		}
	}
	if _, err := exitCode(exec.Command("sh", "-c", "kill -9 $$").Run()); err == nil {
		t.Error("exitCode of a killed program: got no error, want one")
	}
	for _, script := range []string{"exits 0 sh -c 'exit 1'", "exec touch new\nuntouched", "exec echo é\nascii stdout", "exec echo e\n! ascii stdout",
		"exec echo '{\"a\":1}'\njson stdout a=2"} {
		if !scriptFails(t, script) {
			t.Errorf("script %q: passed, want it to fail", script)
		}
	}
}
