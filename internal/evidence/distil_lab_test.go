//go:build lab

package evidence

import (
	"maps"
	"os"
	"testing"

	"github.com/tcplab/tcplab/internal/labtest"
)

// What is distilled of this kernel's types says the same as all of them, in a hundredth of the bytes. It catches a tracepoint whose arguments are
// counted wrongly, reasons that are not the kernel's, and a pruning that keeps nearly everything. That a guest's tracepoints tell the same with it
// is the matter of internal/cli's TestRunOnOtherKernels.
func TestDistil(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.Requirement{Name: "BTF of this kernel", Missing: func() string {
		if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
			return err.Error()
		}
		return ""
	}})
	f, err := os.Open("/sys/kernel/btf/vmlinux")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := Distil(f)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil || int64(len(b))*20 > info.Size() {
		t.Errorf("got %d bytes of %d, %v, want a twentieth at most", len(b), info.Size(), err)
	}
	got, err := distilled(b)
	if err != nil {
		t.Fatal(err)
	}
	want, err := readFacts()
	if err != nil {
		t.Fatal(err)
	}
	if got.retransmitArgs != want.retransmitArgs || got.dropArgs != want.dropArgs || !maps.Equal(got.reasons, want.reasons) {
		t.Errorf("got %d and %d arguments, %d reasons, want %d, %d, %d", got.retransmitArgs, got.dropArgs, len(got.reasons), want.retransmitArgs, want.dropArgs, len(want.reasons))
	}
	if _, err := distilled(b[:len(b)/2]); err == nil {
		t.Error("half of it was taken for types")
	}
	t.Logf("%d bytes of %d", len(b), info.Size())
}
