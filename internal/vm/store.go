package vm

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tcplab/tcplab/internal/guard"
)

// about is kept beside an unpacked kernel.
type about struct {
	Release string   `json:"release"`
	Image   string   `json:"sha256"` // of the bzImage
	Modules []string `json:"modules"`
	Wanted  []string `json:"wanted"`            // what was looked for; another program may want more
	Matches []string `json:"matches,omitempty"` // what was looked for besides, for rules that look into a packet
	IPv6    []string `json:"ipv6,omitempty"`    // and for labs of IPv6

	// From is where it was unpacked from, with that file's size and time: fromApt, or a path. Empty: an older tcplab did not note it.
	From    string `json:"from,omitempty"`
	Size    int64  `json:"size,omitempty"`
	ModTime int64  `json:"mtime_ns,omitempty"`

	settings
}

const fromApt = "apt"

// whole reports whether the kernel was unpacked with all that a lab needs now.
func (a about) whole() bool {
	return slices.Equal(a.Wanted, wanted) && slices.Equal(a.Matches, matchers) && slices.Equal(a.IPv6, ofIPv6)
}

// rebuilt reports whether the image at path is another than the one that this was unpacked from. What was fetched is what was asked for, and stays.
func (a about) rebuilt(path string) bool {
	if a.From == fromApt {
		return false
	}
	st, err := os.Stat(path)
	if err != nil || a.From == path && st.Size() == a.Size && st.ModTime().UnixNano() == a.ModTime {
		return false
	}
	b, err := os.ReadFile(path)
	return err == nil && sumOf(b) != a.Image // touched, or copied from elsewhere, it may be the same
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

const (
	fileKernel = "vmlinux"
	fileAbout  = "about.json"
	dirModules = "modules"
)

// aboutsIn are the kernels in a folder of the cache, by their folders' names.
func aboutsIn(dir string) iter.Seq2[string, about] {
	return func(yield func(string, about) bool) {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if a, err := readAbout(filepath.Join(dir, e.Name())); err == nil && !yield(e.Name(), a) {
				return
			}
		}
	}
}

func readAbout(dir string) (about, error) {
	var a about
	b, err := os.ReadFile(filepath.Join(dir, fileAbout))
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(b, &a)
}

// at is the kernel where it lies unpacked.
func (k Kernel) at(dir string, a about) Kernel {
	k.Dir, k.Image, k.HZ, k.Remarks = dir, a.Image, a.HZ, a.remarks()
	return k
}

// unpacked makes sure that the kernel lies in the cache, ready to be booted: vmlinux and the modules.
func (k Kernel) unpacked(g *guard.Guard) (Kernel, error) {
	if k.Dir != "" {
		return k, nil
	}
	if k.lent != nil {
		return k.adopted(g)
	}
	cache, err := Cache()
	if err != nil {
		return k, err
	}
	st, err := os.Stat(k.file)
	if err != nil {
		return k, missing("read the kernel: %w", err)
	}
	packed, err := os.ReadFile(k.file)
	if err != nil {
		return k, missing("read the kernel: %w", err)
	}
	a := about{Image: sumOf(packed), From: k.From, Size: st.Size(), ModTime: st.ModTime().UnixNano()}
	k.Release = cmp.Or(imageRelease(packed), strings.TrimPrefix(filepath.Base(k.file), "vmlinuz-"))
	if !isRelease(k.Release) {
		return k, missing("%s: the kernel's release is %q", k.From, k.Release)
	}
	a.Release = k.Release
	root, looked := modulesOf(k.file, k.Release)
	place := filepath.Join(cache, k.Release)
	if k.byPath {
		k.ID = sumOf([]byte(a.Image + printOf(root)))
		place = filepath.Join(images(cache), k.ID)
	}
	if b, err := readAbout(place); err == nil && b.Image == a.Image && b.whole() {
		if k.byPath {
			_ = os.Chtimes(place, time.Time{}, time.Now()) // see prune
		}
		return k.at(place, b), nil
	}
	vmlinux, err := unpackImage(packed)
	if err == nil {
		err = bootable(vmlinux)
	}
	if err != nil {
		return k, missing("%s: %w", k.From, err)
	}
	var modules []module
	if root != "" {
		if modules, err = loadModules(root, slices.Concat(wanted, matchers, ofIPv6)); err != nil {
			return k, missing("%s: %w", k.From, err)
		}
		looked = nil
	}
	a.settings = settingsOf(vmlinux, k.file, k.Release, looked)
	if err := store(place, vmlinux, modules, a, g); err != nil {
		return k, err
	}
	if k.byPath {
		prune(filepath.Dir(place), k.ID, g)
	}
	return k.at(place, a), nil
}

// releases are what is a folder's name, and nothing to a terminal.
var releases = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+~:@=-]{0,127}$`)

// isRelease reports whether a kernel's own word for its release can be a folder's name.
func isRelease(s string) bool {
	return releases.MatchString(s)
}

// Open opens the kernel's vmlinux, for what can be read out of it. It is unpacked where that was not done before.
func (k Kernel) Open(g *guard.Guard) (*os.File, error) {
	k, err := k.unpacked(g)
	if err != nil {
		return nil, err
	}
	return os.Open(filepath.Join(k.Dir, fileKernel))
}

// modulesOf is the folder of a kernel's modules: in the tree in which it lies, or the machine's. Empty: there is none where it was looked for.
func modulesOf(image, release string) (root string, looked []string) {
	tree := filepath.Dir(filepath.Dir(image))
	for _, dir := range []string{filepath.Join(tree, "lib", "modules", release), filepath.Join("/lib/modules", release)} {
		if _, err := os.Stat(dir); err == nil {
			return dir, looked
		}
		looked = append(looked, dir)
	}
	return "", looked
}

// printOf tells a folder of modules from what it is after they were built anew, without reading them.
func printOf(root string) string {
	if root == "" {
		return ""
	}
	h := sha256.New()
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // loadModules says it
		}
		if _, ok := moduleName(path); ok && !d.IsDir() {
			if st, err := d.Info(); err == nil {
				fmt.Fprintln(h, strings.TrimPrefix(path, root), st.Size(), st.ModTime().UnixNano())
			}
		}
		return nil
	})
	return hex.EncodeToString(h.Sum(nil))
}

// store puts an unpacked kernel into its place in the cache: whole, or not at all.
func store(place string, vmlinux []byte, modules []module, a about, g *guard.Guard) error {
	parent := filepath.Dir(place)
	g.Made(parent)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return uncached(parent, err)
	}
	tmp, done, err := g.Scratch(parent, ".new-")
	if err != nil {
		return uncached(parent, err)
	}
	defer done()
	a.Wanted, a.Matches, a.IPv6, a.Modules = wanted, matchers, ofIPv6, nil
	files := map[string][]byte{fileKernel: vmlinux}
	for _, m := range modules {
		a.Modules = append(a.Modules, m.name)
		files[filepath.Join(dirModules, m.name+".ko")] = m.data
	}
	if files[fileAbout], err = json.MarshalIndent(a, "", "  "); err != nil {
		return err
	}
	fresh := filepath.Join(tmp, filepath.Base(place)) // a level deeper than where kernels are looked for
	err = os.MkdirAll(filepath.Join(fresh, dirModules), 0o755)
	for name, b := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(fresh, name), b, 0o644)
		}
	}
	if err == nil {
		err = os.Chmod(fresh, 0o755)
	}
	if err == nil {
		err = takePlace(fresh, place, filepath.Join(tmp, "old"), a)
	}
	if err != nil {
		return uncached(parent, err)
	}
	return nil
}

// uncached is the error of a cache that cannot be written to.
func uncached(dir string, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("cache of kernels: %w", err)
	}
	return missing("a kernel cannot be unpacked into the cache %s: %w; set XDG_CACHE_HOME to the absolute path of a folder that can be written", dir, err)
}

// takePlace moves a new kernel to where it belongs, and one that is there aside: there is never half of one. Another program that was quicker
// with the same one, and may already boot it, keeps its place.
func takePlace(fresh, place, aside string, a about) error {
	var err error
	for i := range 10 { // each time somebody else was quicker with another one
		if err = os.Rename(fresh, place); !errors.Is(err, fs.ErrExist) {
			return err
		}
		if b, rerr := readAbout(place); rerr == nil && b.Image == a.Image && b.whole() {
			return nil
		}
		if rerr := os.Rename(place, aside+strconv.Itoa(i)); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			return rerr
		}
	}
	return err
}

// Remove takes a kernel out of the cache. It is named by its release alone; one that was unpacked from a path also by the beginning of its ID. One in
// /boot is not the cache's.
func Remove(name string, g *guard.Guard) (Kernel, error) {
	cache, err := Cache()
	if err != nil {
		return Kernel{}, err
	}
	if isRelease(name) {
		dir := filepath.Join(cache, name)
		if a, err := readAbout(dir); err == nil {
			return Kernel{Release: name, From: "cache"}.at(dir, a), remove(dir, g)
		}
	}
	ks, err := Images()
	if err != nil {
		return Kernel{}, err
	}
	ks = slices.DeleteFunc(ks, func(k Kernel) bool {
		return k.Release != name && (len(name) < leastID || !strings.HasPrefix(k.ID, name))
	})
	switch len(ks) {
	case 0:
		return Kernel{}, missing("no kernel %s in the cache %s, which is the one that this user may change", name, cache)
	case 1:
		return ks[0], remove(ks[0].Dir, g)
	}
	var ids []string
	for _, k := range ks {
		ids = append(ids, k.ShortID())
	}
	return Kernel{}, missing("%s is %d kernels that were unpacked from paths: want one of %s", name, len(ids), strings.Join(ids, ", "))
}

func remove(dir string, g *guard.Guard) error {
	tmp, done, err := g.Scratch(filepath.Dir(dir), ".old-")
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(dir, filepath.Join(tmp, filepath.Base(dir))), done())
}
