package vm

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// settings are what is known of how a kernel was built.
type settings struct {
	HZ int `json:"hz,omitempty"` // CONFIG_HZ; 0: not known
	// NoModules are the folders of modules that were looked for in vain; empty: there is one.
	NoModules []string `json:"no_modules,omitempty"`
	// Lacks are the options of which a lab needs something, and that are not built in; only where there are no modules.
	Lacks []string `json:"lacks,omitempty"`
}

// remarks say what may be missing from a kernel without modules.
func (s settings) remarks() []string {
	if len(s.NoModules) == 0 {
		return nil
	}
	none := "it has no modules (looked for in " + strings.Join(s.NoModules, ", ") + "), so what a lab needs must be built in: "
	if len(s.Lacks) > 0 {
		return []string{none + "its configuration is without " + strings.Join(s.Lacks, ", ")}
	}
	return []string{none + strings.Join(optionNames(), ", ")}
}

// optionOf are the options behind the modules without which hardly any lab can be built. Of iptables' two ways a guest takes the host's.
var optionOf = []struct{ module, option string }{
	{"veth", "VETH"}, {"sch_netem", "NET_SCH_NETEM"}, {"sch_ingress", "NET_SCH_INGRESS"}, {"cls_matchall", "NET_CLS_MATCHALL"}, {"act_mirred", "NET_ACT_MIRRED"},
	{"tcp_diag", "INET_TCP_DIAG"}, {"x_tables", "NETFILTER_XTABLES"}, {"xt_statistic", "NETFILTER_XT_MATCH_STATISTIC"}, {"xt_length", "NETFILTER_XT_MATCH_LENGTH"},
	{"xt_comment", "NETFILTER_XT_MATCH_COMMENT"}, {"xt_bpf", "NETFILTER_XT_MATCH_BPF"}, {"ipt_REJECT", "IP_NF_TARGET_REJECT"},
	{"nft_compat", "NFT_COMPAT"}, {"ip_tables", "IP_NF_IPTABLES"},
}

func optionNames() []string {
	var out []string
	for _, o := range optionOf {
		out = append(out, "CONFIG_"+o.option)
	}
	return out
}

// settingsOf reads them out of a kernel, or of the configuration beside its image. looked are the folders of modules that are not there.
func settingsOf(vmlinux []byte, image, release string, looked []string) settings {
	s := settings{NoModules: looked}
	config := embeddedConfig(vmlinux)
	dir := filepath.Dir(image)
	// The last two are where a kernel is built: vmlinux, and arch/x86/boot/bzImage.
	for _, path := range []string{filepath.Join(dir, "config-"+release), filepath.Join(dir, ".config"), filepath.Join(dir, "../../../.config")} {
		if config != nil {
			break
		}
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte("\nCONFIG_HZ=")) {
			config = b
		}
	}
	if config == nil {
		return s
	}
	config = slices.Concat([]byte("\n"), config, []byte("\n"))
	if m := regexp.MustCompile(`\nCONFIG_HZ=(\d{1,5})\n`).FindSubmatch(config); m != nil {
		s.HZ, _ = strconv.Atoi(string(m[1]))
	}
	for _, o := range optionNames() {
		if len(looked) > 0 && !bytes.Contains(config, []byte("\n"+o+"=y\n")) {
			s.Lacks = append(s.Lacks, o)
		}
	}
	return s
}

// embeddedConfig is the configuration that a kernel carries (CONFIG_IKCONFIG, kernel/configs.c). Nil: it has none.
func embeddedConfig(vmlinux []byte) []byte {
	_, packed, ok := bytes.Cut(vmlinux, []byte("IKCFG_ST"))
	if !ok {
		return nil
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil
	}
	r.Multistream(false)
	b, err := io.ReadAll(io.LimitReader(r, 4<<20))
	if err != nil {
		return nil
	}
	return b
}

var banner = []byte("Linux version ")

// bannerRelease is the release in the words that a kernel begins its log with (linux_banner, init/version.c). Empty: it has none.
func bannerRelease(vmlinux []byte) string {
	for rest := vmlinux; ; {
		_, after, ok := bytes.Cut(rest, banner)
		if !ok {
			return ""
		}
		release, _, _ := bytes.Cut(after[:min(len(after), 128)], []byte(" "))
		if len(release) > 0 && release[0] >= '0' && release[0] <= '9' {
			return string(release)
		}
		rest = after
	}
}

// noteEntry is XEN_ELFNOTE_PHYS32_ENTRY: where a machine without firmware begins (arch/x86/platform/pvh/head.S).
const noteEntry = 0x12

var errEntry = errors.New("want a kernel that can be booted without firmware (an ELF note XEN_ELFNOTE_PHYS32_ENTRY), which this is not: build it with CONFIG_PVH=y")

// bootable makes sure that the engine can begin a kernel.
func bootable(vmlinux []byte) error {
	f, err := elf.NewFile(bytes.NewReader(vmlinux))
	if err != nil {
		return fmt.Errorf("read the kernel's ELF file: %w", err)
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 {
		return fmt.Errorf("a kernel for %v, %v: %w", f.Machine, f.Class, errImage)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > 1<<20 {
			continue
		}
		b, err := io.ReadAll(p.Open())
		if err != nil {
			return fmt.Errorf("read the kernel's ELF notes: %w", err)
		}
		if hasNote(b, "Xen\x00", noteEntry) {
			return nil
		}
	}
	return errEntry
}

// hasNote looks through ELF notes: the lengths of the name and of what follows it, the kind, and both, each filled up to 4 bytes.
func hasNote(b []byte, name string, kind uint32) bool {
	for len(b) >= 12 {
		n, d := uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
		k := binary.LittleEndian.Uint32(b[8:])
		b = b[12:]
		next := (n+3)&^3 + (d+3)&^3
		if next > uint64(len(b)) {
			return false
		}
		if k == kind && string(b[:n]) == name && d >= 4 {
			return true
		}
		b = b[next:]
	}
	return false
}
