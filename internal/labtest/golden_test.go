package labtest

import (
	"os"
	"strings"
	"testing"
)

// TestGolden catches a comparison that cannot fail, a missing file that passes, and an update that does not write.
func TestGolden(t *testing.T) {
	t.Chdir(t.TempDir())
	golden := func(got string) *fakeTB {
		return record(func(t testing.TB) { Golden(t, "deep/out.txt", got) })
	}
	if got := golden("a\n"); got.end != "fatal" || !strings.Contains(got.message, "-update") {
		t.Errorf("no file: got %s %q, want fatal and a hint at -update", got.end, got.message)
	}

	*update = true
	defer func() { *update = false }()
	if got := golden("a\n"); got.end != "went on" {
		t.Fatalf("update: got %s %q, want the file to be written", got.end, got.message)
	}
	*update = false

	written, err := os.ReadFile("testdata/deep/out.txt")
	if err != nil || string(written) != "a\n" {
		t.Errorf("after the update: got %q, %v, want %q", written, err, "a\n")
	}
	if got := golden("a\n"); got.end != "went on" {
		t.Errorf("same text: got %s %q, want no complaint", got.end, got.message)
	}
	if got := golden("b\n"); got.end != "error" || !strings.Contains(got.message, "-want +got") {
		t.Errorf("other text: got %s %q, want an error with a diff", got.end, got.message)
	}
}
