package cli

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/vm"
)

// A machine that ended is an internal error, one that cannot be made is this machine's lack, and neither is taken for the other.
func TestCannotBoot(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want int
		ok   bool
	}{
		{"ended", fmt.Errorf("boot: %w", &vm.EndError{Why: "was ended by killed"}), explain.ExitInternal, true},
		{"missing", fmt.Errorf("%w: no QEMU", vm.ErrMissing), explain.ExitUnable, true},
		{"another", errors.New("disk full"), 0, false},
	} {
		if got, _, ok := cannotBoot(tt.err); got != tt.want || ok != tt.ok {
			t.Errorf("%s: got exit code %d, %v, want %d, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}
