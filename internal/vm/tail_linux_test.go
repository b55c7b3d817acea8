package vm

import (
	"errors"
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

// A request that no guest can take is refused before anything is booted, and is not taken for a guest that did not go on.
func TestRequestTooLong(t *testing.T) {
	_, err := Run(t.Context(), Options{Request: make([]byte, MostRequest+1)}, func(Message) error { return nil })
	if err == nil || errors.Is(err, errNotUp) || errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "want at most 8388592") {
		t.Errorf("got %v, want an error that says how much a guest can be asked", err)
	}
	if _, err := Run(t.Context(), Options{Request: make([]byte, MostRequest)}, func(Message) error { return nil }); err == nil || !errors.Is(err, ErrMissing) {
		t.Errorf("the longest request, and no kernel: got %v, want %v", err, ErrMissing)
	}
}
