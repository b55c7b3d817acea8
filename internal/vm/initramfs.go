package vm

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cavaliergopher/cpio"
)

// Paths in the guest's file system.
const (
	pathInit     = "init"
	pathEnvelope = "tcplab.json"
	dirKernel    = "modules"
)

// initramfs writes the guest's file system: the program as /init, iptables with its libraries, the modules, and the envelope. It is not
// packed: the guest would have to unpack it.
func initramfs(w io.Writer, o Options) error {
	a := archive{w: cpio.NewWriter(w), made: map[string]bool{}}
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "etc"} {
		a.folder(dir)
	}
	if err := static(o.Program); err != nil {
		return err
	}
	a.copy(pathInit, o.Program)
	legacy, err := a.iptables("iptables")
	if err != nil {
		return err
	}
	if o.IPv6 {
		if _, err := a.iptables("ip6tables"); err != nil {
			return err
		}
	}
	var e envelope
	about, err := readAbout(o.Kernel.Dir)
	if err != nil {
		return missing("kernel %s: %w", o.Kernel.Release, err)
	}
	for _, name := range about.Modules {
		if skip(name, legacy, o.IPv6) {
			continue
		}
		a.copy(filepath.Join(dirKernel, name+".ko"), filepath.Join(o.Kernel.Dir, dirModules, name+".ko"))
		e.Modules = append(e.Modules, name)
	}
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	a.file(pathEnvelope, 0o644, b)
	if a.err != nil {
		return fmt.Errorf("make the guest's file system: %w", a.err)
	}
	return a.w.Close()
}

// static makes sure that the program needs no loader: the guest has none for it.
func static(program string) error {
	f, err := elf.Open(program)
	if err != nil {
		return missing("the guest's program %s: %w", program, err)
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 {
		return missing("%s is a program for %v, and the guest is an x86-64 machine: want tcplab for amd64", program, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return missing("%s is not static, and so cannot be a guest's first process (build it with CGO_ENABLED=0)", program)
		}
	}
	return nil
}

// skip leaves out the modules of the iptables that is not used, and those of IPv6 where no lab is one of it: each takes the guest milliseconds
// to load.
func skip(name string, legacy, ipv6 bool) bool {
	if !ipv6 && slices.Contains(ofIPv6, name) {
		return true
	}
	if legacy {
		return strings.HasPrefix(name, "nf") && name != "nf_reject_ipv4" && name != "nf_reject_ipv6"
	}
	return strings.HasPrefix(name, "iptable_") || name == "ip_tables" || strings.HasPrefix(name, "ip6table_") || name == "ip6_tables"
}

// archive writes files with the folders above them. Every time in it is zero and every owner root, so that it is the same each time.
type archive struct {
	w    *cpio.Writer
	made map[string]bool
	err  error // the first one
	ino  int64
}

func (a *archive) put(h *cpio.Header, b []byte) {
	if a.err != nil || a.made[h.Name] {
		return
	}
	a.made[h.Name] = true
	if dir := filepath.Dir(h.Name); dir != "." {
		a.folder(dir)
	}
	a.ino++
	h.Inode, h.Links, h.Size = a.ino, 1, int64(len(b))
	if a.err = a.w.WriteHeader(h); a.err == nil {
		_, a.err = a.w.Write(b)
	}
}

func (a *archive) folder(name string) {
	a.put(&cpio.Header{Name: name, Mode: cpio.TypeDir | 0o755}, nil)
}

func (a *archive) file(name string, mode fs.FileMode, b []byte) {
	a.put(&cpio.Header{Name: name, Mode: cpio.TypeReg | cpio.FileMode(mode)}, b)
}

func (a *archive) link(name, target string) {
	a.put(&cpio.Header{Name: name, Mode: cpio.TypeSymlink | 0o777, Linkname: target}, []byte(target))
}

func (a *archive) copy(name, from string) {
	if a.err != nil || a.made[name] {
		return
	}
	b, err := os.ReadFile(from)
	if err != nil {
		a.err = err
		return
	}
	a.file(name, 0o755, b)
}

// iptables copies the host's program of that name, iptables or ip6tables, with its extensions and libraries. The guest finds it in /usr/sbin.
func (a *archive) iptables(program string) (legacy bool, err error) {
	path, err := findProgram(program)
	if err != nil {
		return false, missing("%w (install it with: apt-get install iptables)", err)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false, missing("iptables: %w", err)
	}
	name := filepath.Base(real)
	a.copy("usr/sbin/"+name, real)
	a.link("usr/sbin/"+program, name)
	need := []string{real}
	// Extensions are loaded by name at run time.
	for _, lib := range libraryDirs {
		found, _ := filepath.Glob(filepath.Join(lib, "xtables", "lib*.so"))
		for _, f := range found {
			if base := filepath.Base(f); slices.Contains(extensions, strings.TrimSuffix(base, ".so")) {
				a.copy(strings.TrimPrefix(f, "/"), f)
				need = append(need, f)
			}
		}
	}
	for _, f := range need {
		if err := a.libraries(f); err != nil {
			return false, missing("iptables: %w", err)
		}
	}
	return strings.Contains(name, "legacy"), nil
}

// extensions are those that lab.Rule uses.
var extensions = []string{"libxt_standard", "libxt_tcp", "libxt_udp", "libxt_statistic", "libxt_length", "libxt_bpf", "libxt_comment", "libipt_REJECT", "libip6t_REJECT"}

// findProgram looks where an ordinary user's PATH does not.
func findProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// libraryDirs is where shared libraries are looked for: what ld.so looks through without a cache on Debian and its like.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}

// libraries copies what an ELF file needs: its interpreter and its libraries, with theirs.
func (a *archive) libraries(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b, err := io.ReadAll(p.Open())
			if err != nil {
				return err
			}
			loader := string(bytes.TrimRight(b, "\x00"))
			a.copy(strings.TrimPrefix(loader, "/"), loader)
		}
	}
	names, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, name := range names {
		at, err := findLibrary(name)
		if err != nil {
			return err
		}
		to := strings.TrimPrefix(at, "/")
		if a.made[to] {
			continue
		}
		a.copy(to, at)
		if err := a.libraries(at); err != nil {
			return err
		}
	}
	return a.err
}

func findLibrary(name string) (string, error) {
	for _, dir := range libraryDirs {
		if at := filepath.Join(dir, name); exists(at) {
			return at, nil
		}
	}
	return "", fmt.Errorf("library %s: %w", name, fs.ErrNotExist)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
