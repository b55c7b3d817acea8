package vm

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/internal/guard"
)

// Kernel is a kernel that can be booted.
type Kernel struct {
	Release string `json:"release"` // uname -r
	From    string `json:"from"`    // "cache", or the path where it was found
	Dir     string `json:"dir,omitempty"`
	// Dir is where it lies unpacked, in the cache; empty: it is unpacked when it is first booted.
}

// about is kept beside an unpacked kernel.
type about struct {
	Release string   `json:"release"`
	Image   string   `json:"sha256"` // of the bzImage
	Modules []string `json:"modules"`
	Wanted  []string `json:"wanted"`            // what was looked for; another program may want more
	Matches []string `json:"matches,omitempty"` // what was looked for besides, for rules that look into a packet
	IPv6    []string `json:"ipv6,omitempty"`    // and for labs of IPv6
}

// whole reports whether the kernel was unpacked with all that a lab needs now.
func (a about) whole() bool {
	return slices.Equal(a.Wanted, wanted) && slices.Equal(a.Matches, matchers) && slices.Equal(a.IPv6, ofIPv6)
}

const (
	fileKernel = "vmlinux"
	fileAbout  = "about.json"
	dirModules = "modules"
)

// Cache is where unpacked kernels are kept: $XDG_CACHE_HOME/tcplab/kernels.
func Cache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache of kernels: %w", err)
	}
	return filepath.Join(dir, "tcplab", "kernels"), nil
}

// Kernels lists the kernels in the cache and those in /boot that are not, the oldest first.
func Kernels() ([]Kernel, error) {
	cache, err := Cache()
	if err != nil {
		return nil, err
	}
	var ks []Kernel
	entries, err := os.ReadDir(cache)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cache of kernels: %w", err)
	}
	for _, e := range entries {
		// One that lacks modules that are wanted now would run, in another way than a test expects: fetched or unpacked again it has them.
		if a, err := readAbout(filepath.Join(cache, e.Name())); err == nil && a.whole() {
			ks = append(ks, Kernel{Release: e.Name(), From: "cache", Dir: filepath.Join(cache, e.Name())})
		}
	}
	boot, _ := filepath.Glob("/boot/vmlinuz-*")
	for _, path := range boot {
		release := strings.TrimPrefix(filepath.Base(path), "vmlinuz-")
		if !slices.ContainsFunc(ks, func(k Kernel) bool { return k.Release == release }) {
			ks = append(ks, Kernel{Release: release, From: path})
		}
	}
	slices.SortStableFunc(ks, func(a, b Kernel) int { return compareReleases(a.Release, b.Release) })
	return ks, nil
}

// Find resolves what a user names: a version (6.1, 6.12.117), a release, or a path to a bzImage, a Debian package, or the folder of an
// unpacked one. Of several kernels of a version it is the newest. An error that wraps ErrMissing means that there is none here. The guard may be
// nil: then a SIGKILL leaves what a package was unpacked to.
func Find(name string, g *guard.Guard) (Kernel, error) {
	if strings.ContainsRune(name, filepath.Separator) {
		return fromPath(name, g)
	}
	ks, err := Kernels()
	if err != nil {
		return Kernel{}, err
	}
	for _, k := range slices.Backward(ks) {
		if matches(k.Release, name) {
			return k, nil
		}
	}
	if release := outdated(name); release != "" {
		return Kernel{}, missing("kernel %s in the cache was put there by an older tcplab, without modules that a lab needs now; `tcplab kernels fetch %s` gets it anew", release, name)
	}
	var have []string
	for _, k := range ks {
		have = append(have, k.Release)
	}
	return Kernel{}, missing("no kernel %s in the cache or in /boot (there: %s); `tcplab kernels fetch %s` gets Debian's", name, cmp.Or(strings.Join(have, ", "), "none"), name)
}

// outdated is the newest release of a version that lies in the cache without modules that are wanted now. Empty: there is none.
func outdated(name string) (release string) {
	cache, err := Cache()
	if err != nil {
		return ""
	}
	entries, err := os.ReadDir(cache)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		a, err := readAbout(filepath.Join(cache, e.Name()))
		if err == nil && !a.whole() && matches(e.Name(), name) && (release == "" || compareReleases(release, e.Name()) < 0) {
			release = e.Name()
		}
	}
	return release
}

// matches reports whether a release is of the version that was named: 6.1 is 6.1.0-56-cloud-amd64 and not 6.12.
func matches(release, version string) bool {
	rest, ok := strings.CutPrefix(release, version)
	return ok && (rest == "" || strings.ContainsRune(".-+", rune(rest[0])))
}

// compareReleases orders by numbers first: 6.1 is before 6.12, and 6.1.0-9 before 6.1.0-56.
func compareReleases(a, b string) int {
	for a != "" && b != "" {
		na, ra := leading(a)
		nb, rb := leading(b)
		if c := cmp.Compare(na, nb); c != 0 {
			return c
		}
		if c := cmp.Compare(a[:len(a)-len(ra)], b[:len(b)-len(rb)]); na < 0 && c != 0 {
			return c
		}
		a, b = ra, rb
	}
	return cmp.Compare(len(a), len(b))
}

// leading takes a number, or one other character (as -1), off s.
func leading(s string) (n int, rest string) {
	i := 0
	for i < len(s) && i < 9 && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	if i == 0 {
		return -1, s[1:]
	}
	n, _ = strconv.Atoi(s[:i])
	return n, s[i:]
}

// fromPath unpacks what lies at a path.
func fromPath(path string, g *guard.Guard) (Kernel, error) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return Kernel{}, missing("--kernel: %w", err)
	case st.IsDir():
		return fromTree(path, g)
	case strings.HasSuffix(path, ".deb"):
		return fromPackage(path, g)
	}
	return Kernel{From: path, Release: strings.TrimPrefix(filepath.Base(path), "vmlinuz-")}, nil
}

// fromTree finds the one bzImage in the folder of an unpacked package.
func fromTree(dir string, g *guard.Guard) (Kernel, error) {
	found, _ := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if len(found) != 1 {
		return Kernel{}, missing("%s: %d files boot/vmlinuz-*, want one", dir, len(found))
	}
	return Kernel{From: found[0], Release: strings.TrimPrefix(filepath.Base(found[0]), "vmlinuz-")}.unpacked(g)
}

// unpacked makes sure that the kernel lies in the cache, ready to be booted: vmlinux and the modules.
func (k Kernel) unpacked(g *guard.Guard) (Kernel, error) {
	if k.Dir != "" {
		return k, nil
	}
	packed, err := os.ReadFile(k.From)
	if err != nil {
		return k, missing("read the kernel: %w", err)
	}
	cache, err := Cache()
	if err != nil {
		return k, err
	}
	sum := sha256.Sum256(packed)
	dir := filepath.Join(cache, k.Release)
	if a, err := readAbout(dir); err == nil && a.Image == hex.EncodeToString(sum[:]) && a.whole() {
		k.Dir = dir
		return k, nil
	}
	vmlinux, release, err := unpackImage(packed)
	if err != nil {
		return k, missing("%s: %w", k.From, err)
	}
	if release == "" {
		release = k.Release
	}
	modules, err := loadModules(modulesOf(k.From, release), slices.Concat(wanted, matchers, ofIPv6))
	if err != nil {
		return k, missing("%s: %w", k.From, err)
	}
	k.Release = release
	return k.store(cache, vmlinux, modules, hex.EncodeToString(sum[:]), g)
}

// Open opens the kernel's vmlinux, for what can be read out of it. It is unpacked where that was not done before.
func (k Kernel) Open(g *guard.Guard) (*os.File, error) {
	k, err := k.unpacked(g)
	if err != nil {
		return nil, err
	}
	return os.Open(filepath.Join(k.Dir, fileKernel))
}

// modulesOf is the folder of a kernel's modules: in the tree in which it lies, or the machine's.
func modulesOf(image, release string) string {
	tree := filepath.Join(filepath.Dir(filepath.Dir(image)), "lib", "modules", release)
	if _, err := os.Stat(tree); err == nil {
		return tree
	}
	return filepath.Join("/lib/modules", release)
}

// store puts an unpacked kernel into the cache: whole, or not at all.
func (k Kernel) store(cache string, vmlinux []byte, modules []module, sum string, g *guard.Guard) (Kernel, error) {
	if k.Release == "" || filepath.Base(k.Release) != k.Release || strings.HasPrefix(k.Release, ".") {
		return k, missing("%s: the kernel's release is %q", k.From, k.Release)
	}
	g.Made(cache)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return k, fmt.Errorf("cache of kernels: %w", err)
	}
	tmp, done, err := g.Scratch(cache, ".new-")
	if err != nil {
		return k, fmt.Errorf("cache of kernels: %w", err)
	}
	defer done()
	a := about{Release: k.Release, Image: sum, Wanted: wanted, Matches: matchers, IPv6: ofIPv6}
	files := map[string][]byte{fileKernel: vmlinux}
	for _, m := range modules {
		a.Modules = append(a.Modules, m.name)
		files[filepath.Join(dirModules, m.name+".ko")] = m.data
	}
	if files[fileAbout], err = json.MarshalIndent(a, "", "  "); err != nil {
		return k, err
	}
	fresh := filepath.Join(tmp, k.Release) // a level deeper than where kernels are looked for
	err = os.MkdirAll(filepath.Join(fresh, dirModules), 0o755)
	for name, b := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(fresh, name), b, 0o644)
		}
	}
	if err == nil {
		err = os.Chmod(fresh, 0o755)
	}
	k.Dir = filepath.Join(cache, k.Release)
	if err == nil {
		err = takePlace(fresh, k.Dir, filepath.Join(tmp, "old"), a)
	}
	if err != nil {
		return k, fmt.Errorf("cache of kernels: %w", err)
	}
	return k, nil
}

// takePlace moves a new kernel to where it belongs, and one that is there aside: there is never half of one. Another program that was quicker
// with the same one, and may already boot it, keeps its place.
func takePlace(fresh, place, aside string, a about) error {
	err := os.Rename(fresh, place)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if b, err := readAbout(place); err == nil && b.Image == a.Image && b.whole() {
		return nil
	}
	if err := os.Rename(place, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(fresh, place)
}

func readAbout(dir string) (about, error) {
	var a about
	b, err := os.ReadFile(filepath.Join(dir, fileAbout))
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(b, &a)
}

// Remove takes a kernel out of the cache. It is named as for Find, but by its release alone; one in /boot is not the cache's.
func Remove(name string, g *guard.Guard) (Kernel, error) {
	ks, err := Kernels()
	if err != nil {
		return Kernel{}, err
	}
	for _, k := range ks {
		if k.Release == name && k.Dir != "" {
			tmp, done, err := g.Scratch(filepath.Dir(k.Dir), ".old-")
			if err != nil {
				return k, err
			}
			return k, errors.Join(os.Rename(k.Dir, filepath.Join(tmp, name)), done())
		}
	}
	return Kernel{}, missing("no kernel %s in the cache", name)
}
