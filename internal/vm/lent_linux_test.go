package vm

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/labtest"
)

const somebody = 4242

// underSudo gives a test, as root, two homes: root's, and that of the user who called sudo.
func underSudo(t *testing.T) (root, home string) {
	t.Helper()
	labtest.Need(t, labtest.Root) // it gives files to another user
	emptyCache(t)
	root, home = t.TempDir(), t.TempDir()
	before := lookupUser
	t.Cleanup(func() { lookupUser = before })
	lookupUser = func(uid string) (*user.User, error) {
		if uid == "0" {
			return &user.User{Username: "root", HomeDir: root}, nil
		}
		return &user.User{Username: "somebody", HomeDir: home}, nil
	}
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", root)
	t.Setenv("SUDO_UID", "4242")
	return root, home
}

// lend puts a kernel into the user's cache, as that user.
func lend(t *testing.T, home, release string) (dir string) {
	t.Helper()
	dir = filepath.Join(home, ".cache", cacheName, release)
	a := about{Release: release, Image: "x", From: fromApt, settings: settings{HZ: 300}}
	if err := store(dir, labtest.Kernel(release, noteEntry), []module{{name: "veth", data: []byte("m")}}, a, nil); err != nil {
		t.Fatal(err)
	}
	give(t, home)
	return dir
}

func give(t *testing.T, dir string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, somebody, somebody))
	}); err != nil {
		t.Fatal(err)
	}
}

// ownedBy fails where anything below dir is not the user's.
func ownedBy(t *testing.T, dir string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err := errors.Join(err, unix.Lstat(path, &st)); err != nil {
			return err
		}
		if st.Uid != somebody {
			t.Errorf("%s is of user %d", path, st.Uid)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// Under sudo a kernel that the user fetched is found; what is booted is a copy of root's, and nothing of root's is left in the user's home. With HOME
// kept it is the same.
func TestLent(t *testing.T) {
	root, home := underSudo(t)
	lend(t, home, "99.1.0-test")
	for _, env := range []string{root, home} {
		t.Setenv("HOME", env)
		k, err := Find("99.1", nil)
		if err != nil || k.HZ != 300 || k.ID == "" || !strings.HasPrefix(k.Dir, root) {
			t.Fatalf("HOME=%s: got %+v, %v, want a copy in %s", env, k, err, root)
		}
		if a, err := readAbout(k.Dir); err != nil || !a.whole() || len(a.Modules) != 1 {
			t.Errorf("got %+v, %v, want it whole with its module", a, err)
		}
		if b, err := os.ReadFile(filepath.Join(k.Dir, dirModules, "veth.ko")); err != nil || string(b) != "m" {
			t.Errorf("got %q, %v", b, err)
		}
		if cache, err := Cache(); err != nil || cache != filepath.Join(root, ".cache", cacheName) {
			t.Errorf("HOME=%s: got %s, %v, want root's cache", env, cache, err)
		}
		if _, err := Remove("99.1.0-test", nil); err != nil { // the copy
			t.Error(err)
		}
		if _, err := Find("99.2", nil); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), home) || !strings.Contains(err.Error(), root) {
			t.Errorf("got %v, want ErrMissing that names both caches", err)
		}
	}
	ownedBy(t, home)
	t.Setenv("SUDO_UID", "")
	t.Setenv("HOME", root)
	if k, err := Find("99.1", nil); !errors.Is(err, ErrMissing) {
		t.Errorf("without sudo: got %+v, %v, want ErrMissing", k, err)
	}
}

// Root is not led by what the user puts into that cache: no link, no file of another user, no pipe, no name with a way in it.
func TestLentWithCare(t *testing.T) {
	_, home := underSudo(t)
	secret := write(t, filepath.Join(t.TempDir(), "secret"), []byte("root's"))
	const release = "99.3.0-test"
	for name, spoil := range map[string]func(dir string) error{
		"a link to root's file": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, dirModules, "veth.ko")), os.Symlink(secret, filepath.Join(dir, dirModules, "veth.ko")))
		},
		"a hard link to root's file": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, dirModules, "veth.ko")), os.Link(secret, filepath.Join(dir, dirModules, "veth.ko")))
		},
		"a pipe": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, fileKernel)), unix.Mkfifo(filepath.Join(dir, fileKernel), 0o644))
		},
		"a name that leads elsewhere": func(dir string) error {
			path := filepath.Join(dir, fileAbout)
			b, err := os.ReadFile(path)
			lost := filepath.Join(dir, "lost.ko")
			return errors.Join(err, os.WriteFile(path, []byte(strings.Replace(string(b), `"veth"`, `"../lost"`, 1)), 0o644),
				os.WriteFile(lost, []byte("m"), 0o644), os.Lchown(lost, somebody, somebody))
		},
		"no kernel": func(dir string) error { return os.WriteFile(filepath.Join(dir, fileKernel), []byte("#!"), 0o644) },
	} {
		dir := lend(t, home, release)
		if err := spoil(dir); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, p := range []string{fileKernel, fileAbout} {
			if err := os.Lchown(filepath.Join(dir, p), somebody, somebody); err != nil {
				t.Fatal(err)
			}
		}
		if k, err := Find(release, nil); !errors.Is(err, ErrMissing) {
			t.Errorf("%s: got %+v, %v, want ErrMissing", name, k, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := filepath.Join(t.TempDir(), "kernels") // of root's, whole, and in the user's cache by a link only
	if err := os.Rename(lend(t, home, release), filepath.Join(t.TempDir(), "x")); err != nil {
		t.Fatal(err)
	}
	if err := store(filepath.Join(elsewhere, release), labtest.Kernel(release, noteEntry), nil, about{Release: release}, nil); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(home, ".cache", cacheName)
	if err := errors.Join(os.Remove(cache), os.Symlink(elsewhere, cache)); err != nil {
		t.Fatal(err)
	}
	if k, err := Find(release, nil); !errors.Is(err, ErrMissing) {
		t.Errorf("a cache that is a link: got %+v, %v, want ErrMissing", k, err)
	}
}

// Root of a user namespace that knows no such user is not root of who called sudo.
func TestMapped(t *testing.T) {
	if !mapped(0) || mapped(1<<32) {
		t.Errorf("got %v, %v, want user 0 alone", mapped(0), mapped(1<<32))
	}
}
