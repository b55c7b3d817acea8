package vm

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// wanted are the modules of a lab: its links, rules, evidence. One that a kernel has built in is not there, and not missed. The rules
// come through iptables, as nft or legacy, whichever the host's program is: both ways are kept in the cache.
var wanted = []string{
	"veth", "tun", "sch_netem", "sch_ingress", "cls_matchall", "act_mirred", "inet_diag", "tcp_diag",
	"x_tables", "xt_tcpudp", "xt_statistic", "xt_length", "xt_comment", "ipt_REJECT",
	"nf_tables", "nft_compat", "nf_reject_ipv4", "nft_reject", "nft_reject_ipv4", "nft_limit",
	"ip_tables", "iptable_filter", "iptable_raw", "iptable_mangle",
}

// matchers are modules of iptables' matches that came later: a program that does not know of them still finds its own in the cache.
var matchers = []string{"xt_bpf"}

// ofIPv6 are the modules of a lab of IPv6, which came later still.
var ofIPv6 = []string{"ipv6", "ip6t_REJECT", "nf_reject_ipv6", "nft_reject_ipv6", "ip6_tables", "ip6table_filter", "ip6table_raw", "ip6table_mangle"}

// module is one kernel module, unpacked.
type module struct {
	name    string
	depends []string
	data    []byte
}

// loadModules finds the modules in root (/lib/modules/RELEASE) with all that they depend on, in an order in which they can be loaded.
func loadModules(root string, names []string) ([]module, error) {
	paths := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, ok := moduleName(path); ok && !d.IsDir() {
			paths[name] = path
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	return inOrder(names, func(name string) (module, bool, error) {
		path, ok := paths[name]
		if !ok {
			return module{}, false, nil // built in
		}
		packed, err := os.ReadFile(path)
		if err != nil {
			return module{}, false, fmt.Errorf("modules: %w", err)
		}
		b, err := unpackModule(path, packed)
		if err != nil {
			return module{}, false, err
		}
		deps, err := dependsOf(b)
		return module{name, deps, b}, true, err
	})
}

// moduleName is the name of a module's file as the kernel has it: with underscores.
func moduleName(path string) (string, bool) {
	base, _, ok := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(base, "-", "_"), ok
}

// inOrder loads each module once, after what it depends on.
func inOrder(names []string, load func(string) (module, bool, error)) ([]module, error) {
	var out []module
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		m, ok, err := load(name)
		if !ok || err != nil {
			return err
		}
		for _, d := range m.depends {
			if err := add(d); err != nil {
				return err
			}
		}
		out = append(out, m)
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// dependsOf reads the line depends= of a module's .modinfo section.
func dependsOf(b []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("module: %w", err)
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, errors.New("module: no section .modinfo")
	}
	info, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("module: %w", err)
	}
	for line := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(line, []byte("depends=")); ok && len(list) > 0 {
			names := strings.Split(strings.ReplaceAll(string(list), "-", "_"), ",")
			return slices.DeleteFunc(names, func(s string) bool { return s == "" }), nil
		}
	}
	return nil, nil
}
