package cli

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/vm"
)

// fakeKernel writes what is taken for a kernel of that release: an ELF file with a banner and the note that the engine wants.
func fakeKernel(t *testing.T, path, release, more string) string {
	t.Helper()
	var b bytes.Buffer
	const note = "\x04\x00\x00\x00\x04\x00\x00\x00\x12\x00\x00\x00Xen\x00\x00\x00\x00\x01"
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	p := elf.Prog64{Type: uint32(elf.PT_NOTE), Off: 120, Filesz: uint64(len(note)), Memsz: uint64(len(note)), Align: 4}
	for _, v := range []any{h, p, []byte(note + "Linux version " + release + " (somebody) " + more)} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	return path
}

// ownCache gives a test an empty cache of kernels.
func ownCache(t *testing.T) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
}

func kernelsOf(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := (&app{out: &out, err: &errs}).kernelsCmd()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	err := cmd.Execute()
	return out.String(), err
}

// TestTwoPathsOfOneRelease catches a matrix in which one of two kernels, built from the same version, is lost, or cannot be told from the other.
func TestTwoPathsOfOneRelease(t *testing.T) {
	ownCache(t)
	dir := t.TempDir()
	a, b := fakeKernel(t, filepath.Join(dir, "a", "bzImage"), "6.12.200-mine", "a"), fakeKernel(t, filepath.Join(dir, "b", "bzImage"), "6.12.200-mine", "b")
	cols, err := columnsOf([]string{a, hostKernel, b, filepath.Join(dir, "a", "..", "a", "bzImage")}, nil)
	if err != nil || len(cols) != 3 {
		t.Fatalf("got %+v, %v, want three: one of them is named twice", cols, err)
	}
	m := &matrixRun{app: &app{}, flags: &matrixFlags{}, cols: cols, batches: make([]*batch, 3), crews: make([]crew, 3), began: time.Now()}
	doc := m.document()
	seen := map[string]bool{}
	for i, k := range doc.Kernels {
		if i != 1 && (!strings.HasPrefix(k.Folder, "6.12.200-mine-") || k.Image == "" || seen[k.Image]) || seen[k.Folder] || seen[k.Name] {
			t.Errorf("got %+v, want names, folders and images apart", k)
		}
		seen[k.Folder], seen[k.Image], seen[k.Name] = true, true, true
	}
	if facts := factsOf(cols[0].kernel); facts == nil || !facts.Version.AtLeast(6, 12) || facts.HZ != debianHZ {
		t.Errorf("got facts %+v, want those of 6.12", facts)
	}
	if r := strings.Join(remarksOn(cols[0].kernel), "\n"); !strings.Contains(r, "CONFIG_HZ") || !strings.Contains(r, "CONFIG_VETH") {
		t.Errorf("got %q, want that HZ is assumed, and what must be built in", r)
	}
	alone, err := columnsOf([]string{a}, nil)
	if err != nil || alone[0].folder() != "6.12.200-mine" {
		t.Errorf("alone: got %+v, %v, want a folder by its release", alone, err)
	}
	// Parts that ran on images that were not the same are no parts of one matrix.
	other := *doc
	other.Kernels = append([]result.MatrixKernel(nil), doc.Kernels...)
	other.Kernels[0].Image = "another"
	if err := sameKernels(&storedMatrix{Matrix: doc}, &storedMatrix{Matrix: doc}); err != nil {
		t.Error(err)
	}
	if err := sameKernels(&storedMatrix{Matrix: doc}, &storedMatrix{Matrix: &other}); err == nil || !strings.Contains(err.Error(), "image another") {
		t.Errorf("got %v, want an error with the images", err)
	}
}

// TestKernelsCommand: a kernel that was named by its path is listed as that, and removed by what the list shows.
func TestKernelsCommand(t *testing.T) {
	ownCache(t)
	path := fakeKernel(t, filepath.Join(t.TempDir(), "vmlinux"), "6.12.201-mine", "")
	k, err := vm.Find(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := kernelsOf(t, "list")
	if want := "6.12.201-mine"; err != nil || !strings.Contains(text, want) || !strings.Contains(text, path) || !strings.Contains(text, k.ShortID()) {
		t.Errorf("got %q, %v, want %s, its path and its ID", text, err, want)
	}
	text, err = kernelsOf(t, "list", "--json")
	var doc struct {
		Schema          string
		Kernels, Images []vm.Kernel
	}
	if jerr := json.Unmarshal([]byte(text), &doc); err != nil || jerr != nil || doc.Schema != "tcplab.kernels/v1" || len(doc.Images) != 1 || doc.Images[0].ID != k.ID {
		t.Errorf("got %q, %v, %v, want the one as data", text, err, jerr)
	}
	if _, err := kernelsOf(t, "rm", k.ShortID()); err != nil {
		t.Error(err)
	}
	if _, err := kernelsOf(t, "rm", k.ShortID()); !errors.Is(err, vm.ErrMissing) {
		t.Errorf("removed twice: got %v, want %v", err, vm.ErrMissing)
	}
	if text, err = kernelsOf(t, "list"); err != nil || strings.Contains(text, "6.12.201-mine") {
		t.Errorf("removed: got %q, %v", text, err)
	}
}

// TestMachineFindings catches a doctor that calls a kernel bootable which cannot be read, or says to install QEMU where that is of no use.
func TestMachineFindings(t *testing.T) {
	ok := vm.Kernel{Release: "6.12.117", From: "cache"}
	shut := vm.Kernel{Release: "6.8.0-31-generic", From: "/boot/vmlinuz-6.8.0-31-generic", Problem: "it cannot be read"}
	for _, tt := range []struct {
		name  string
		got   runner.Finding
		state runner.State
		value string
		cure  string
	}{
		{"one", kernelsFinding([]vm.Kernel{ok}, nil), runner.OK, "6.12.117", ""},
		{"one of two", kernelsFinding([]vm.Kernel{shut, ok}, nil), runner.OK, "6.12.117", ""},
		{"none that can be read", kernelsFinding([]vm.Kernel{shut}, nil), runner.Lesser, "none: " + shut.From + ": " + shut.Problem, "kernels fetch"},
		{"none", kernelsFinding(nil, nil), runner.Lesser, "none", "kernels fetch"},
		{"no cache", kernelsFinding(nil, errors.New("set HOME")), runner.Lesser, "set HOME", ""},
		{"QEMU", engineFinding("/usr/bin/qemu", nil), runner.OK, "/usr/bin/qemu", ""},
		{"no QEMU", engineFinding("", fmt.Errorf("qemu: %w", exec.ErrNotFound)), runner.Lesser, "qemu: " + exec.ErrNotFound.Error(), "apt-get install"},
		{"another architecture", engineFinding("", errors.New("guests are x86-64")), runner.Lesser, "guests are x86-64", ""},
	} {
		if f := tt.got; f.State != tt.state || f.Value != tt.value || !strings.Contains(f.Cure, tt.cure) || tt.cure == "" && f.Cure != "" || f.Code == "" {
			t.Errorf("%s: got %+v, want %s, %q, a cure with %q", tt.name, f, tt.state, tt.value, tt.cure)
		}
	}
	ownCache(t)
	if fs := machineFindings(); len(fs) != 2 {
		t.Errorf("got %+v, want two", fs)
	}
}
