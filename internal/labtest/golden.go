package labtest

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// Golden compares got with the file testdata/name of the package under test, and reports the difference (-want +got). With the
// flag -update it writes the file instead: read the diff in version control before it is committed.
func Golden(t testing.TB, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", filepath.FromSlash(name))
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatalf("golden %s: %v", name, err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatalf("golden %s: %v", name, err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("golden %s: no such file; run this test with -update to write it", path)
	}
	if err != nil {
		t.Fatalf("golden %s: %v", name, err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("golden %s differs (-want +got); run this test with -update if the new output is right\n%s", path, diff)
	}
}
