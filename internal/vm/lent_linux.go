package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/guard"
)

// Under sudo the kernels that the user has fetched are not in root's cache. They are taken from the user's, as data and nothing else: every file is
// read through a descriptor whose owner was looked at, no link leads out of that folder, and what is booted is a copy in root's own cache, by what it
// is made of, as that of a kernel which is named by its path. The guest that the user's kernel booted (fileBooted) is not taken: it is the state
// of QEMU's devices, which is not for reading from anybody. Nothing is written, removed or given away there.

// lender is the user who called sudo.
type lender struct {
	uid   uint32
	name  string
	cache string
}

var lookupUser = user.LookupId

// caller is who called sudo. Nil: nobody did.
func caller() *lender {
	uid, err := strconv.ParseUint(os.Getenv("SUDO_UID"), 10, 31)
	if os.Geteuid() != 0 || err != nil || uid == 0 || !mapped(uid) {
		return nil
	}
	l := &lender{uid: uint32(uid), name: "user " + strconv.FormatUint(uid, 10)}
	if u, err := lookupUser(strconv.FormatUint(uid, 10)); err == nil && filepath.IsAbs(u.HomeDir) {
		l.name, l.cache = u.Username, filepath.Join(u.HomeDir, ".cache", cacheName)
	}
	return l
}

// mapped reports whether this user namespace knows a user. In one that another user has made (see the package userns) root is that user, whoever called
// sudo before.
func mapped(uid uint64) bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(b)) {
		var inside, outside, count uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil && uid >= inside && uid-inside < count {
			return true
		}
	}
	return false
}

// roots is root's own cache, where HOME or XDG_CACHE_HOME lead to a folder of somebody else's (sudo -E): what root makes there its owner could not
// remove. Empty: dir is root's.
func (l *lender) roots(dir string) string {
	for p := dir; ; p = filepath.Dir(p) {
		if st, err := os.Stat(p); err == nil && st.Sys().(*syscall.Stat_t).Uid != 0 {
			break
		}
		if p == filepath.Dir(p) {
			return ""
		}
	}
	l.cache = dir
	home := "/root"
	if u, err := lookupUser("0"); err == nil && filepath.IsAbs(u.HomeDir) {
		home = u.HomeDir
	}
	return filepath.Join(home, ".cache", cacheName)
}

// kernels are those in the user's cache. What is not as tcplab leaves it is passed over.
func (l *lender) kernels() []Kernel {
	root, err := os.OpenRoot(l.cache)
	if err != nil {
		return nil
	}
	defer root.Close()
	entries, _ := fs.ReadDir(root.FS(), ".")
	var ks []Kernel
	for _, e := range entries {
		if a, err := l.about(root, e.Name()); err == nil && a.whole() {
			ks = append(ks, Kernel{Release: e.Name(), From: fmt.Sprintf("cache of %s, %s", l.name, l.cache), lent: l})
		}
	}
	return ks
}

func (l *lender) about(root *os.Root, release string) (a about, err error) {
	if !isRelease(release) {
		return a, errors.New("not a release")
	}
	b, err := l.read(root, filepath.Join(release, fileAbout), 1<<20)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(b, &a)
}

// read reads a file of the user's own. No other can be meant: with a link to it root would read what the user may not.
func (l *lender) read(root *os.Root, name string, most int64) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if uid := st.Sys().(*syscall.Stat_t).Uid; !st.Mode().IsRegular() || uid != l.uid || st.Size() > most {
		return nil, fmt.Errorf("%s: %v of user %d, %d bytes: want a file of user %d, at most %d bytes", f.Name(), st.Mode(), uid, st.Size(), l.uid, most)
	}
	return io.ReadAll(io.LimitReader(f, most))
}

var moduleNames = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)

// adopted is a copy of a kernel in the user's cache.
func (k Kernel) adopted(g *guard.Guard) (Kernel, error) {
	l := k.lent
	cache, err := Cache()
	if err != nil {
		return k, err
	}
	root, err := os.OpenRoot(l.cache)
	if err != nil {
		return k, missing("kernel %s of %s: %w", k.Release, l.name, err)
	}
	defer root.Close()
	theirs, err := l.about(root, k.Release)
	var vmlinux []byte
	if err == nil {
		vmlinux, err = l.read(root, filepath.Join(k.Release, fileKernel), mostKernel)
	}
	if err == nil {
		err = bootable(vmlinux)
	}
	print := k.Release + sumOf(vmlinux)
	var modules []module
	for _, name := range theirs.Modules {
		m := module{name: name}
		if err == nil && !moduleNames.MatchString(name) {
			err = fmt.Errorf("a module %q", name)
		}
		if err == nil {
			m.data, err = l.read(root, filepath.Join(k.Release, dirModules, name+".ko"), mostModule)
		}
		modules = append(modules, m)
		print += name + sumOf(m.data)
	}
	if err != nil {
		return k, missing("kernel %s of %s: %w; `tcplab kernels fetch %s` as root gets one for root", k.Release, l.name, err, k.Release)
	}
	k.ID = sumOf([]byte(print))
	place := filepath.Join(images(cache), k.ID)
	if a, err := readAbout(place); err == nil && a.whole() {
		_ = os.Chtimes(place, time.Time{}, time.Now()) // see prune
		return k.at(place, a), nil
	}
	a := about{Release: k.Release, Image: sumOf(vmlinux), From: k.From, settings: settings{HZ: theirs.HZ}}
	if len(modules) == 0 {
		a.NoModules = []string{l.cache}
	}
	if err := store(place, vmlinux, modules, a, g); err != nil {
		return k, err
	}
	prune(filepath.Dir(place), k.ID, g)
	return k.at(place, a), nil
}

// mostModule is more than any has.
const mostModule = 64 << 20
