package vm

import (
	"cmp"
	"errors"
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
	// Dir is where it lies unpacked, in the cache; empty: it is unpacked when it is first wanted.

	// ID tells one that was named by its path from others of its release: what it is made of. Empty: it goes by its release.
	ID string `json:"id,omitempty"`
	// Image is the SHA-256 of its image, where it is unpacked.
	Image string `json:"sha256,omitempty"`
	// HZ is its CONFIG_HZ. Zero: not known.
	HZ int `json:"hz,omitempty"`
	// Problem says why it cannot be booted, and what to do.
	Problem string `json:"problem,omitempty"`
	// Remarks are what its user should know before a lab in it fails.
	Remarks []string `json:"-"`

	file   string  // its image, where it is not unpacked
	byPath bool    // named by its path: no version means it
	lent   *lender // in whose cache it is
}

// Cached reports whether the kernel lies unpacked in a cache, this user's or, under sudo, that of who called it.
func (k Kernel) Cached() bool { return k.Dir != "" || k.lent != nil }

// bootDir is where a machine keeps its own kernels.
var bootDir = "/boot"

// Cache is where unpacked kernels are kept: $XDG_CACHE_HOME/tcplab/kernels, by their releases. Beside it are those that were named by their
// paths: see images. Under sudo it is root's, even where HOME is not.
func Cache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", missing("cache of kernels: %w; set HOME, or XDG_CACHE_HOME to the absolute path of a folder that can be written", err)
	}
	dir = filepath.Join(dir, cacheName)
	if l := caller(); l != nil {
		return cmp.Or(l.roots(dir), dir), nil
	}
	return dir, nil
}

const cacheName = "tcplab/kernels"

// Kernels lists the kernels in the cache and those in /boot that are not, the oldest first. One in /boot that was built anew takes the place of what
// was unpacked of it before. Under sudo those in the cache of who called it are there, too.
func Kernels() ([]Kernel, error) {
	cache, err := Cache()
	if err != nil {
		return nil, err
	}
	var ks []Kernel
	origins := map[string]about{}
	for name, a := range aboutsIn(cache) {
		// One that lacks modules that are wanted now would run, in another way than a test expects: fetched or unpacked again it has them.
		if a.whole() {
			ks = append(ks, Kernel{Release: name, From: "cache"}.at(filepath.Join(cache, name), a))
			origins[name] = a
		}
	}
	boot, _ := filepath.Glob(filepath.Join(bootDir, "vmlinuz-*"))
	for _, path := range boot {
		release := strings.TrimPrefix(filepath.Base(path), "vmlinuz-")
		ours := func(k Kernel) bool { return k.Release == release || origins[k.Release].From == path }
		if i := slices.IndexFunc(ks, ours); i >= 0 {
			if !origins[ks[i].Release].rebuilt(path) {
				continue
			}
			ks = slices.Delete(ks, i, i+1)
		}
		ks = append(ks, Kernel{Release: release, From: path, file: path, Problem: unreadable(path)})
	}
	if l := lending(cache); l != nil {
		for _, k := range l.kernels() {
			if !slices.ContainsFunc(ks, func(o Kernel) bool { return o.Release == k.Release && o.Problem == "" }) {
				ks = append(ks, k)
			}
		}
	}
	slices.SortStableFunc(ks, func(a, b Kernel) int { return compareReleases(a.Release, b.Release) })
	return ks, nil
}

// lending is who called sudo, where that user's cache is another than this one. Nil: nobody.
func lending(cache string) *lender {
	l := caller()
	if l == nil {
		return nil
	}
	if dir, err := os.UserCacheDir(); err == nil {
		l.roots(filepath.Join(dir, cacheName))
	}
	if l.cache == "" || l.cache == cache {
		return nil
	}
	return l
}

// whereCached names the caches that were looked through.
func whereCached() string {
	cache, err := Cache()
	if err != nil {
		return "the cache"
	}
	where := "the cache " + cache
	if l := lending(cache); l != nil {
		where += ", in that of " + l.name + ", " + l.cache
	}
	return where
}

// unreadable says what to do about a kernel that this user may not read, as on Ubuntu. Empty: it can be read.
func unreadable(path string) string {
	f, err := os.Open(path)
	if err == nil {
		f.Close()
		return ""
	}
	return problemOf(path, err)
}

func problemOf(path string, err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return "it cannot be read by this user; `sudo chmod a+r " + path + "` lets it, or `tcplab kernels fetch` gets one of Debian's"
	}
	return err.Error()
}

// Find resolves what a user names: a version (6.1, 6.12.117), a release, or a path to a bzImage, a vmlinux, a Debian package, or the folder of an
// unpacked one. Of several kernels of a version it is the newest; one that was named by its path is never what a version means. It is unpacked. An
// error that wraps ErrMissing means that there is none here. The guard may be nil: then a SIGKILL leaves what a package was unpacked to.
func Find(name string, g *guard.Guard) (Kernel, error) {
	if strings.ContainsRune(name, filepath.Separator) {
		return fromPath(name, g)
	}
	ks, err := Kernels()
	if err != nil {
		return Kernel{}, err
	}
	var have []string
	var problem error
	for _, k := range slices.Backward(ks) {
		switch {
		case !matches(k.Release, name):
			have = append(have, k.Release)
		case k.Problem == "":
			return k.unpacked(g)
		case problem == nil:
			problem = missing("%s: %s", k.From, k.Problem)
		}
	}
	if release := outdated(name); release != "" {
		return Kernel{}, missing("kernel %s in the cache was put there by an older tcplab, without modules that a lab needs now; `tcplab kernels fetch %s` gets it anew", release, name)
	}
	if problem != nil {
		return Kernel{}, problem
	}
	slices.Reverse(have)
	return Kernel{}, missing("no kernel %s in %s, or in /boot (there: %s); `tcplab kernels fetch %s` gets Debian's", name, whereCached(), cmp.Or(strings.Join(have, ", "), "none"), name)
}

// outdated is the newest release of a version that lies in the cache without modules that are wanted now. Empty: there is none.
func outdated(name string) (release string) {
	cache, err := Cache()
	if err != nil {
		return ""
	}
	for r, a := range aboutsIn(cache) {
		if !a.whole() && matches(r, name) && (release == "" || compareReleases(release, r) < 0) {
			release = r
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
	if err != nil {
		return Kernel{}, missing("--kernel: %w", err)
	}
	named := path
	if abs, err := filepath.Abs(path); err == nil {
		named = abs
	}
	k := Kernel{From: named, byPath: true}
	switch {
	case st.IsDir():
		return k.fromTree(path, g)
	case strings.HasSuffix(path, ".deb"):
		return k.fromPackage(path, g)
	}
	k.file = path
	return k.unpacked(g)
}

// fromTree finds the one bzImage in the folder of an unpacked package.
func (k Kernel) fromTree(dir string, g *guard.Guard) (Kernel, error) {
	found, _ := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if len(found) != 1 {
		return Kernel{}, missing("%s: %d files boot/vmlinuz-*, want one", dir, len(found))
	}
	k.file = found[0]
	return k.unpacked(g)
}
