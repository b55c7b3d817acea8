package evidence

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"
)

// stripped is an ELF file with one section and no symbols, as the vmlinux that a bzImage is unpacked to.
func stripped(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	names := "\x00" + name + "\x00.shstrtab\x00"
	const head, section = 64, 64
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Shoff: head, Ehsize: head, Shentsize: section, Shnum: 3, Shstrndx: 2}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	at := uint64(head + 3*section)
	var b bytes.Buffer
	for _, part := range []any{h, elf.Section64{},
		elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: at, Size: uint64(len(data))},
		elf.Section64{Name: uint32(len(name)) + 2, Type: uint32(elf.SHT_STRTAB), Off: at + uint64(len(data)), Size: uint64(len(names))},
		data, []byte(names)} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// TestDistilStripped catches a vmlinux without symbols whose types are not read: every guest then decoded all of its kernel's, and nobody was
// told. It catches types that are written in another order each time, too: they are part of what a guest is booted with.
func TestDistilStripped(t *testing.T) {
	object, err := elf.NewFile(bytes.NewReader(_TraceBytes))
	if err != nil {
		t.Fatal(err)
	}
	types, err := object.Section(".BTF").Data()
	if err != nil {
		t.Fatal(err)
	}
	vmlinux := stripped(t, ".BTF", types)
	first, err := Distil(bytes.NewReader(vmlinux))
	if err != nil || len(first) == 0 {
		t.Fatalf("got %d bytes, %v, want the types of an ELF file without symbols", len(first), err)
	}
	raw, err := Distil(bytes.NewReader(types))
	if err != nil || !bytes.Equal(first, raw) {
		t.Errorf("raw BTF: got %d bytes, %v, want the same %d", len(raw), err, len(first))
	}
	for range 10 {
		if again, err := Distil(bytes.NewReader(vmlinux)); err != nil || !bytes.Equal(first, again) {
			t.Fatalf("again: got %d bytes, %v, want the same %d", len(again), err, len(first))
		}
	}
	if _, err := Distil(bytes.NewReader(stripped(t, ".text", types))); err == nil || !strings.Contains(err.Error(), "no section .BTF") {
		t.Errorf("no types: got %v, want an error that says so", err)
	}
}
