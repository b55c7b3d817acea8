package archtest

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSkips catches a test that no target of make test runs, and a name among those that are skipped that is no test's.
func TestSkips(t *testing.T) {
	dir := root(t)
	makefile, err := os.ReadFile(filepath.Join(dir, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := testsBelow(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(tests["TestSkips"]) != 1 || tests["TestSkips"][0] != "./internal/archtest" || len(tests) < 200 {
		t.Fatalf("got %d tests, TestSkips in %v, want all, and this one in ./internal/archtest", len(tests), tests["TestSkips"])
	}
	for _, bad := range checkSkips(string(makefile), tests) {
		t.Error(bad)
	}
}

// TestCheckSkips is its negative control.
func TestCheckSkips(t *testing.T) {
	tests := map[string][]string{"TestKill": {"./a"}, "TestKilled": {"./vm"}, "TestAllControls": {"./a"}, "TestBoth": {"./a", "./vm"}}
	for _, tt := range []struct {
		skip string
		want []string
	}{
		{"^Test.+Controls$$|^Test(Kill)$$", nil},
		{"^Test(Kill)", []string{"RACE_SKIP: ^Test(Kill): want it", "TestKilled of ./vm never runs"}},
		{"^Test(Kill|Gone)$$", []string{"there is no TestGone"}},
		{"^Test(Both)$$", []string{"TestBoth of ./vm never runs"}},
		{"^Test(Kill", []string{"RACE_SKIP: error parsing"}},
	} {
		wantParts(t, checkSkips("RACE_SKIP := "+tt.skip+"\ntest:\n\t@$(MAKE) lab RACED='./vm'\n", tests), tt.want)
	}
	wantParts(t, checkSkips("all:\n", tests), []string{"want a line RACE_SKIP"})
}
