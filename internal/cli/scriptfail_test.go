package cli

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptFails runs a script and reports whether it fails.
func scriptFails(t *testing.T, script string) bool {
	t.Helper()
	file := filepath.Join(t.TempDir(), "control.txtar")
	if err := os.WriteFile(file, []byte(script+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	v := &verdict{t: t}
	done := make(chan struct{})
	go func() { // FailNow ends the goroutine
		defer close(done)
		testscript.RunT(v, testscript.Params{Files: []string{file}, Cmds: scriptCommands(), Setup: func(env *testscript.Env) error {
			files, err := tree(env.WorkDir)
			env.Values[filesKey{}] = files
			return err
		}})
	}()
	<-done
	return v.failed
}

// verdict is a testscript.T that only remembers a failure.
type verdict struct {
	t      *testing.T
	failed bool
}

// Skip must not happen: the scripts are ours.
func (v *verdict) Skip(a ...any) { v.t.Error(append([]any{"script skipped:"}, a...)...) }

// Fatal remembers a failure and ends the goroutine.
func (v *verdict) Fatal(a ...any) { v.FailNow() }

// FailNow remembers a failure and ends the goroutine.
func (v *verdict) FailNow() { v.failed = true; runtime.Goexit() }

// Parallel does nothing: one script after the other.
func (v *verdict) Parallel() {}

// Log passes on.
func (v *verdict) Log(a ...any) { v.t.Log(a...) }

// Verbose says no.
func (v *verdict) Verbose() bool { return false }

// Run runs one script on a goroutine of its own, as testing does.
func (v *verdict) Run(_ string, f func(testscript.T)) {
	done := make(chan struct{})
	go func() { defer close(done); f(v) }()
	<-done
}
