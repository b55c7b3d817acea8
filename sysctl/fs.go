package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// FS reads and writes knobs under a directory. The zero value works on /proc/sys.
type FS struct {
	// Root is the directory that holds net/, kernel/, ...; empty means /proc/sys.
	Root string
}

func (f FS) root() string {
	if f.Root == "" {
		return "/proc/sys"
	}
	return f.Root
}

// path turns "net.ipv4.tcp_sack" into "net/ipv4/tcp_sack". Each part must be a plain file name, so that no name leads out of the root.
func path(name string) (string, error) {
	if name == "" {
		return "", errors.New("sysctl name is empty; want a name such as net.ipv4.tcp_sack")
	}
	if i := strings.IndexFunc(name, func(r rune) bool { return !plain(r) }); i >= 0 {
		return "", fmt.Errorf("sysctl name %q: want letters, digits, dots, dashes and underscores only, such as net.ipv4.tcp_sack", name)
	}
	for part := range strings.SplitSeq(name, ".") {
		if part == "" { // a leading, trailing or doubled dot, ".." among them
			return "", fmt.Errorf("sysctl name %q: has an empty part; want a name such as net.ipv4.tcp_sack", name)
		}
	}
	return strings.ReplaceAll(name, ".", "/"), nil
}

// plain reports whether a name may have a character. Names are printed into scripts for a root shell, where no other is wanted.
func plain(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
}

func (f FS) file(name string) (string, error) {
	p, err := path(name)
	if err != nil {
		return "", err
	}
	return filepath.Join(f.root(), filepath.FromSlash(p)), nil
}

// Exists reports whether this kernel and namespace have the knob. A name that is not valid does not exist.
func (f FS) Exists(name string) bool {
	file, err := f.file(name)
	if err != nil {
		return false
	}
	info, err := os.Stat(file)
	return err == nil && !info.IsDir()
}

// Read returns the value with surrounding blanks removed and single spaces between the parts of a pair or triple. A knob that is not
// there is an error that wraps fs.ErrNotExist.
func (f FS) Read(name string) (string, error) {
	file, err := f.file(name)
	if err != nil {
		return "", err
	}
	b, err := readFile(file)
	if err != nil {
		return "", f.explain(name, "read", err)
	}
	return normal(string(b)), nil
}

// Write sets the knob and reads it back. The errors are: an unknown knob (wraps fs.ErrNotExist); a value that the kernel refuses
// (wraps syscall.EINVAL and the like); no permission (wraps fs.ErrPermission or syscall.EROFS); and a value that the kernel took but
// did not keep (*ChangedError).
func (f FS) Write(name, value string) error {
	file, err := f.file(name)
	if err != nil {
		return err
	}
	w, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return f.explain(name, "set", err)
	}
	_, err = w.WriteString(value + "\n")
	if err = errors.Join(err, w.Close()); err != nil {
		return f.refused(name, value, err)
	}
	got, err := f.Read(name)
	if err != nil {
		return err
	}
	if got != normal(value) && !sameBits(name, got, value) {
		return &ChangedError{Name: name, Wanted: normal(value), Found: got}
	}
	return nil
}

// sameBits allows a mask to be written in hexadecimal: /proc shows it in decimal.
func sameBits(name, got, value string) bool {
	k, known := Lookup(name)
	if !known || k.Kind != Bits {
		return false
	}
	var a, b int64
	_, errA := fmt.Sscan(got, &a)
	_, errB := fmt.Sscan(value, &b)
	return errA == nil && errB == nil && a == b
}

// ChangedError says that the kernel accepted a write and holds another value.
type ChangedError struct{ Name, Wanted, Found string }

func (e *ChangedError) Error() string {
	hint := ""
	if k, ok := Lookup(e.Name); ok && k.Short() == "tcp_invalid_ratelimit" {
		hint = "; the kernel keeps it in jiffies, so it must be a whole number of them"
	}
	return fmt.Sprintf("set %s: wanted %q, found %q after the write%s", e.Name, e.Wanted, e.Found, hint)
}

// explain turns an error of open or read into one that says what to do.
func (f FS) explain(name, verb string, err error) error {
	err = cause(err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %s: %s: %w", verb, name, f.whyMissing(name), err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s %s: %s: %w", verb, name, needed(err), err)
	default:
		return fmt.Errorf("%s %s: %w", verb, name, err)
	}
}

// refused explains an error of write(2). Its ENOENT does not mean that the knob is missing: there is no module of that name.
func (f FS) refused(name, value string, err error) error {
	err = cause(err)
	subject := fmt.Sprintf("set %s=%s", name, value)
	k, known := Lookup(name)
	if known && k.Short() == "tcp_congestion_control" {
		allowed, rerr := f.Read("net.ipv4.tcp_allowed_congestion_control")
		if rerr == nil {
			return fmt.Errorf("%s: this machine allows %s; choose one of them, or set it by route (ip route change ... congctl NAME): %w", subject, allowed, err)
		}
	}
	switch {
	case errors.Is(err, syscall.EINVAL) && known:
		return fmt.Errorf("%s: the kernel refuses the value; want %s: %w", subject, k.Range(), err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s: %s: %w", subject, needed(err), err)
	default:
		return fmt.Errorf("%s: %w", subject, err)
	}
}

// cause drops the path from an error: the name of the knob says the same.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func needed(err error) string {
	if errors.Is(err, syscall.EROFS) {
		return "/proc/sys is mounted read-only, as in a container; want a privileged one, or a namespace with its own /proc"
	}
	return "want root, or CAP_NET_ADMIN in the user namespace that owns this network namespace"
}

// whyMissing says whether the kernel is too old, too new, or keeps one value for the whole machine.
func (f FS) whyMissing(name string) string {
	k, known := Lookup(name)
	if !known {
		if near := Suggest(name); near != "" {
			return "no such knob here; did you mean " + near + "?"
		}
		return "no such knob here"
	}
	release, err := f.Read("kernel.osrelease")
	if err != nil || len(versionNumbers(release)) == 0 {
		return "the knob exists since Linux " + k.Since.String() + " and per namespace since " + k.PerNamespace.String()
	}
	here := "this kernel is " + release
	switch {
	case k.Since.after(release):
		return "the knob came with Linux " + k.Since.String() + "; " + here + " and lacks it"
	case k.Gone != "" && compareVersions(release, k.Gone) >= 0:
		return "the knob was removed in Linux " + k.Gone + "; " + here
	case k.PerNamespace.First() == "":
		return "the kernel has it only globally, in the first namespace; " + here
	case k.PerNamespace.after(release):
		return "the knob is global before Linux " + k.PerNamespace.String() + "; " + here + " and has it only in the first namespace"
	default:
		return "the knob exists since Linux " + k.Since.String() + "; " + here + " but lacks it: a build without it, or a restricted namespace"
	}
}

// Snapshot returns every readable value under a prefix such as "net.ipv4" or "net", by name. Files that cannot be read (write-only
// triggers, secrets that are not set) are left out; a prefix that does not exist is an error that wraps fs.ErrNotExist. A dot inside
// a file name (interface eth0.5) appears as a slash, as sysctl(8) writes it.
func (f FS) Snapshot(prefix string) (map[string]string, error) {
	top, err := f.file(prefix)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	err = filepath.WalkDir(top, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			if file == top {
				return err
			}
			return nil // vanished or closed to us: an interface may go while we walk
		}
		if entry.IsDir() {
			return nil
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return nil // not readable: see above
		}
		rel, err := filepath.Rel(f.root(), file)
		if err != nil {
			return err
		}
		swap := strings.NewReplacer(".", "/", string(filepath.Separator), ".")
		values[swap.Replace(rel)] = normal(string(b))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", prefix, cause(err))
	}
	return values, nil
}
