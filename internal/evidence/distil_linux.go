package evidence

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Distil takes out of a kernel's BTF (vmlinux, or raw) what Trace asks it for, as BTF of a few kilobytes: the structs that the programs read, with
// every embedded one, the tracepoints' arguments, and the reasons of drops. It is for a kernel that runs elsewhere: to decode the whole BTF takes a
// virtual machine a second.
//
// What is distilled has other type numbers than the kernel, so the programs are attached as raw tracepoints, by name.
func Distil(vmlinux io.ReaderAt) ([]byte, error) {
	whole, err := typesOf(vmlinux)
	if err != nil {
		return nil, fmt.Errorf("types of the kernel: %w", err)
	}
	programs, err := loadTrace()
	if err != nil {
		return nil, err
	}
	b, err := btf.NewBuilder(nil, nil)
	if err != nil {
		return nil, err
	}
	p := pruner{done: map[btf.Type]btf.Type{}}
	add := func(name string, t btf.Type) error {
		found, err := whole.AnyTypesByName(name)
		if errors.Is(err, btf.ErrNotFound) {
			return nil // a name of the programs' own, or of another version
		}
		if err != nil {
			return fmt.Errorf("types of the kernel: %s: %w", name, err)
		}
		for _, f := range found {
			if t != nil && fmt.Sprintf("%T", f) != fmt.Sprintf("%T", t) {
				continue
			}
			if _, err := b.Add(p.prune(f)); err != nil {
				return fmt.Errorf("types of the kernel: %s: %w", name, err)
			}
		}
		return nil
	}
	for t, err := range programs.Types.All() {
		if err != nil {
			return nil, err
		}
		switch t.(type) {
		case *btf.Struct, *btf.Union, *btf.Enum:
			name, _, _ := strings.Cut(t.TypeName(), "___") // a flavour of libbpf's
			if err := add(name, t); name != "" && err != nil {
				return nil, err
			}
		}
	}
	for _, name := range append(tracepoints(), "skb_drop_reason") {
		if err := add(name, nil); err != nil {
			return nil, err
		}
	}
	return b.Marshal(nil, nil)
}

// typesOf decodes the BTF of a vmlinux, or raw BTF. Package btf wants a symbol table of an ELF file, for the types of global variables; what a
// bzImage is unpacked to has none.
func typesOf(vmlinux io.ReaderAt) (*btf.Spec, error) {
	f, err := elf.NewFile(vmlinux)
	if err != nil {
		return btf.LoadSpecFromReader(vmlinux)
	}
	s := f.Section(".BTF")
	if s == nil {
		return nil, errors.New("vmlinux has no section .BTF (CONFIG_DEBUG_INFO_BTF)")
	}
	return btf.LoadSpecFromReader(s)
}

// tracepoints are the names of their types.
func tracepoints() []string {
	var out []string
	for _, name := range followed {
		out = append(out, tracepointType+name)
	}
	return out
}

// pruner copies types without what pointers lead to.
type pruner struct{ done map[btf.Type]btf.Type }

func (p pruner) prune(t btf.Type) btf.Type {
	if c, ok := p.done[t]; ok {
		return c
	}
	switch t := t.(type) {
	case *btf.Struct:
		c := &btf.Struct{Name: t.Name, Size: t.Size}
		p.done[t] = c
		c.Members = p.members(t.Members)
		return c
	case *btf.Union:
		c := &btf.Union{Name: t.Name, Size: t.Size}
		p.done[t] = c
		c.Members = p.members(t.Members)
		return c
	case *btf.Array:
		return &btf.Array{Index: p.prune(t.Index), Type: p.prune(t.Type), Nelems: t.Nelems}
	case *btf.Typedef:
		c := &btf.Typedef{Name: t.Name}
		p.done[t] = c
		c.Type = p.prune(t.Type)
		if ptr, ok := t.Type.(*btf.Pointer); ok && strings.HasPrefix(t.Name, tracepointType) { // its arguments are counted
			if proto, ok := ptr.Target.(*btf.FuncProto); ok {
				c.Type = &btf.Pointer{Target: p.proto(proto)}
			}
		}
		return c
	case *btf.Const:
		return p.prune(t.Type)
	case *btf.Volatile:
		return p.prune(t.Type)
	case *btf.Pointer:
		return &btf.Pointer{Target: (*btf.Void)(nil)}
	}
	return t // what has no parts
}

func (p pruner) members(in []btf.Member) []btf.Member {
	out := make([]btf.Member, len(in))
	for i, m := range in {
		out[i] = btf.Member{Name: m.Name, Type: p.prune(m.Type), Offset: m.Offset, BitfieldSize: m.BitfieldSize}
	}
	return out
}

func (p pruner) proto(t *btf.FuncProto) *btf.FuncProto {
	c := &btf.FuncProto{Return: p.prune(t.Return)}
	for _, q := range t.Params {
		c.Params = append(c.Params, btf.FuncParam{Name: q.Name, Type: p.prune(q.Type)})
	}
	return c
}

// distilled are the facts of a kernel whose types were distilled.
func distilled(types []byte) (facts, error) {
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(types))
	if err != nil {
		return facts{}, fmt.Errorf("%w: types of the kernel: %w", ErrNoTrace, err)
	}
	f, err := factsOf(spec)
	f.distilled = spec
	return f, err
}

// asRaw makes raw tracepoints of the programs: they are the same, with the same arguments, but the kernel finds them by name.
func asRaw(spec *ebpf.CollectionSpec) {
	for _, p := range spec.Programs {
		p.Type, p.AttachType = ebpf.RawTracepoint, ebpf.AttachNone
	}
}
