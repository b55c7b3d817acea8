package vm

import (
	"fmt"
	"strings"
	"testing"
)

// The line that says why is kept, however long the trace behind it, and nothing moves a reader's cursor.
func TestTail(t *testing.T) {
	var b tail
	fmt.Fprint(&b, strings.Repeat("noise\n", tailBytes/3), "\x1b[2Jquiet\n[ 2.0] Kernel panic - not syncing: no init\n", strings.Repeat("trace\n", 50), "end\r\n")
	if len(b.b) > tailBytes {
		t.Errorf("kept %d bytes, want at most %d", len(b.b), tailBytes)
	}
	if got, want := b.lines(2), "[ 2.0] Kernel panic - not syncing: no init\ntrace\nend"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var empty tail
	if got := empty.lines(5); got != "" {
		t.Errorf("got %q of nothing", got)
	}
	e := &EndError{Why: "gone", Console: "a\nb"}
	if got, want := e.Error(), "gone; the console's last lines:\n  a\n  b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
