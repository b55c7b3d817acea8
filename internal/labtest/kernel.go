package labtest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// Kernel is an ELF file with a kernel's banner, a note of that type (18 is the one for machines without firmware, XEN_ELFNOTE_PHYS32_ENTRY), and more behind
// it. Nothing of it runs.
func Kernel(release string, note uint32, more ...byte) []byte {
	const head, prog = 64, 56
	text := append([]byte("Linux version %s\x00Linux version "+release+" (somebody) #1\n"), more...)
	notes := binary.LittleEndian.AppendUint32(nil, 4)
	notes = binary.LittleEndian.AppendUint32(notes, 4)
	notes = binary.LittleEndian.AppendUint32(notes, note)
	notes = append(notes, "Xen\x00\x00\x00\x00\x01"...)
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: head, Ehsize: head, Phentsize: prog, Phnum: 1, Shentsize: 64}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	p := elf.Prog64{Type: uint32(elf.PT_NOTE), Off: head + prog, Filesz: uint64(len(notes)), Memsz: uint64(len(notes)), Align: 4}
	var b bytes.Buffer
	for _, v := range []any{h, p, notes, text} {
		_ = binary.Write(&b, binary.LittleEndian, v) // a buffer takes everything, and each has a size
	}
	return b.Bytes()
}
