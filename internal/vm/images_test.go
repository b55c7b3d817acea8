package vm

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/tcplab/tcplab/internal/labtest"
)

// emptyCache gives a test a cache and a /boot of its own.
func emptyCache(t *testing.T) (cache string) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	before := bootDir
	bootDir = t.TempDir()
	t.Cleanup(func() { bootDir = before })
	cache, err := Cache()
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

func write(t *testing.T, path string, b []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A kernel that was named by its path is never what a version means, and does not take the place of the one that has its release; two of a release are
// two, and one that is the same is one.
func TestPathIsNoVersion(t *testing.T) {
	cache := emptyCache(t)
	const release = "99.1.0-test"
	if err := store(filepath.Join(cache, release), []byte("debian's"), nil, about{Release: release, Image: "debian's", From: fromApt}, nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	a := write(t, filepath.Join(dir, "a", "vmlinux"), labtest.Kernel(release, noteEntry, 'a'))
	b := write(t, filepath.Join(dir, "b", "vmlinux"), labtest.Kernel(release, noteEntry, 'b'))
	same := write(t, filepath.Join(dir, "c", "vmlinux"), labtest.Kernel(release, noteEntry, 'a'))
	newer := write(t, filepath.Join(dir, "bzImage"), bzImage(packWith(t, "gzip", labtest.Kernel("as its head says", noteEntry))))
	found := map[string]Kernel{}
	for _, path := range []string{a, b, same, newer} {
		k, err := Find(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		found[path] = k
	}
	if k := found[a]; k.Release != release || k.ID == "" || k.ID != found[same].ID || k.ID == found[b].ID || k.Dir == found[b].Dir || k.Dir == filepath.Join(cache, release) {
		t.Errorf("got %+v, %+v and %+v, want %s each, the first and the last one kernel, and none of them the cache's", k, found[b], found[same], release)
	}
	k, err := Find("99.1", nil)
	if got, rerr := os.ReadFile(filepath.Join(k.Dir, fileKernel)); err != nil || rerr != nil || k.Release != release || string(got) != "debian's" {
		t.Errorf("got %+v, %v, %v, want the one that was fetched", k, err, rerr)
	}
	ks, err := Images()
	if err != nil || len(ks) != 3 || ks[0].From != newer || ks[1].From != a && ks[1].From != b {
		t.Errorf("got %+v, %v, want three, with the paths that were named", ks, err)
	}
	write(t, b, labtest.Kernel(release, noteEntry, 'B')) // built anew
	if k, err := Find(b, nil); err != nil || k.ID == found[b].ID {
		t.Errorf("built anew: got %+v, %v, want another than before", k, err)
	}
	// By its release it is the cache's that goes; one of several of a release has to be named by its ID.
	if _, err := Remove(release, nil); err != nil {
		t.Error(err)
	}
	if _, err := Remove(release, nil); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), found[a].ShortID()) {
		t.Errorf("three of a release: got %v, want ErrMissing with their IDs", err)
	}
	for _, name := range []string{found[a].ShortID(), "6.1.0-56-cloud-amd64", found[b].ID} {
		if _, err := Remove(name, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ks, err := Images(); err != nil || len(ks) != 1 {
		t.Errorf("got %+v, %v, want the one that was built anew", ks, err)
	}
}

// Modules that were built anew beside an image that was not are not the ones of before.
func TestModulesBuiltAnew(t *testing.T) {
	emptyCache(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "boot", "vmlinuz-99.2"), labtest.Kernel("99.2", noteEntry))
	write(t, filepath.Join(dir, "lib", "modules", "99.2", "kernel", "unwanted.ko"), []byte("1"))
	a, err := Find(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "lib", "modules", "99.2", "kernel", "unwanted.ko"), []byte("12"))
	b, err := Find(dir, nil)
	if err != nil || a.ID == b.ID {
		t.Errorf("got %q and %q, %v, want two", a.ID, b.ID, err)
	}
	if len(a.Remarks) != 0 {
		t.Errorf("got remarks %q, want none: there are modules", a.Remarks)
	}
}

// One in /boot that was built anew is what its release means, and one that was only touched is still the same.
func TestBootBuiltAnew(t *testing.T) {
	cache := emptyCache(t)
	path := write(t, filepath.Join(bootDir, "vmlinuz-99.3"), labtest.Kernel("99.3", noteEntry, '1'))
	content := func() string {
		t.Helper()
		k, err := Find("99.3", nil)
		if err != nil {
			t.Fatal(err)
		}
		if k.ID != "" || k.Dir != filepath.Join(cache, "99.3") {
			t.Errorf("got %+v, want it by its release", k)
		}
		b, err := os.ReadFile(filepath.Join(k.Dir, fileKernel))
		if err != nil {
			t.Fatal(err)
		}
		return string(b[len(b)-1:])
	}
	if got := content(); got != "1" {
		t.Errorf("got %q, want 1", got)
	}
	write(t, path, labtest.Kernel("99.3", noteEntry, '2'))
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := content(); got != "2" {
		t.Errorf("got %q, want 2, which was built anew", got)
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if ks, err := Kernels(); err != nil || len(ks) != 1 || ks[0].Dir == "" {
		t.Errorf("touched: got %+v, %v, want the one in the cache", ks, err)
	}
	if err := store(filepath.Join(cache, "99.3"), []byte("fetched"), nil, about{Release: "99.3", Image: "x", From: fromApt}, nil); err != nil {
		t.Fatal(err)
	}
	if got := content(); got != "d" {
		t.Errorf("got %q, want the one that was fetched", got)
	}
}

// What cannot be begun by the engine is said before it is.
func TestNoEntry(t *testing.T) {
	emptyCache(t)
	for name, b := range map[string][]byte{
		"CONFIG_PVH=y": labtest.Kernel("99.4", 0x11), "want a bzImage": []byte("#!/bin/sh"), "EM_AARCH64": bytes.Replace(labtest.Kernel("99.4", noteEntry), []byte{62, 0}, []byte{183, 0}, 1),
	} {
		_, err := Find(write(t, filepath.Join(t.TempDir(), "vmlinux"), b), nil)
		if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want ErrMissing with %q", err, name)
		}
	}
}

// FuzzHasNote: notes of any lengths are never a panic.
func FuzzHasNote(f *testing.F) {
	f.Add([]byte("\x04\x00\x00\x00\x04\x00\x00\x00\x12\x00\x00\x00Xen\x00\x00\x00\x00\x01"))
	f.Fuzz(func(_ *testing.T, b []byte) { hasNote(b, "Xen\x00", noteEntry) })
}

// HZ is read from the kernel, or from the configuration beside its image; a kernel without modules says what must be built in.
func TestSettings(t *testing.T) {
	emptyCache(t)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte("CONFIG_HZ=1000\nCONFIG_VETH=y\n# CONFIG_HZ_100 is not set\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	embedded := append(append([]byte("IKCFG_ST"), packed.Bytes()...), "IKCFG_ED"...)
	dir := t.TempDir()
	for _, tt := range []struct {
		name           string
		image          []byte
		beside         string
		hz             int
		wants, without string // in the remark, and not
	}{
		{"inside", labtest.Kernel("99.5", noteEntry, embedded...), "\nCONFIG_HZ=100\n", 1000, "CONFIG_NET_SCH_NETEM", "CONFIG_VETH"},
		{"beside", labtest.Kernel("99.5", noteEntry), "CONFIG_X=y\nCONFIG_HZ=100\n", 100, "CONFIG_VETH", "?"},
		{"nowhere", labtest.Kernel("99.5", noteEntry), "", 0, "CONFIG_VETH", "configuration"},
	} {
		path := write(t, filepath.Join(dir, tt.name, "vmlinux"), tt.image)
		if tt.beside != "" {
			write(t, filepath.Join(dir, tt.name, "config-99.5"), []byte(tt.beside))
		}
		if err := os.RemoveAll(os.Getenv("XDG_CACHE_HOME")); err != nil {
			t.Fatal(err)
		}
		for range 2 { // unpacked, and from the cache
			k, err := Find(path, nil)
			if err != nil || k.HZ != tt.hz {
				t.Errorf("%s: got HZ %d, %v, want %d", tt.name, k.HZ, err, tt.hz)
			}
			if r := strings.Join(k.Remarks, "\n"); !strings.Contains(r, tt.wants) || strings.Contains(r, tt.without) || !strings.Contains(r, "/lib/modules/99.5") {
				t.Errorf("%s: got %q, want %q in it and not %q", tt.name, r, tt.wants, tt.without)
			}
		}
	}
}

// Without a place for it a kernel cannot be unpacked, and that is this machine's lack.
func TestNoCache(t *testing.T) {
	emptyCache(t)
	image := write(t, filepath.Join(t.TempDir(), "vmlinux"), labtest.Kernel("99.6", noteEntry))
	file := write(t, filepath.Join(t.TempDir(), "file"), nil)
	for _, tt := range []struct{ home, xdg string }{{"", ""}, {"/", "relative"}, {"/", file}} {
		t.Setenv("HOME", tt.home)
		t.Setenv("XDG_CACHE_HOME", tt.xdg)
		if _, err := Find(image, nil); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "XDG_CACHE_HOME") {
			t.Errorf("%+v: got %v, want ErrMissing that says what to set", tt, err)
		}
	}
}

// Several that put a kernel into the same place at once all find it there.
func TestTakePlaceAtOnce(t *testing.T) {
	cache := emptyCache(t)
	place := filepath.Join(cache, "99.7")
	errs := make(chan error)
	const each, programs = 20, 4
	for range programs {
		go func() {
			var err error
			for range each {
				err = errors.Join(err, store(place, []byte("k"), nil, about{Release: "99.7", Image: time.Now().String()}, nil))
			}
			errs <- err
		}()
	}
	for range programs {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	entries, err := os.ReadDir(cache)
	if err != nil || len(entries) != 1 {
		t.Errorf("got %v, %v, want one", entries, err)
	}
}

// Those that were not used for long go, and the newest stay.
func TestPrune(t *testing.T) {
	cache := emptyCache(t)
	dir := images(cache)
	for i := range mostImages + 2 {
		place := filepath.Join(dir, string(rune('a'+i)))
		if err := store(place, nil, nil, about{Release: "99.8"}, nil); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(place, time.Time{}, time.Now().Add(-time.Duration(24-i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	prune(dir, "a", nil)
	for name, want := range map[string]bool{"a": true, "b": false, "c": false, "d": true, "j": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); want != !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want that it is there: %v", name, err, want)
		}
	}
}

// What is refused as a release cannot be a folder of the cache.
func TestIsRelease(t *testing.T) {
	for s, want := range map[string]bool{"": false, "..": false, "a/b": false, ".x": false, "6.1.0-56-cloud-amd64": true} {
		if got := isRelease(s); got != want {
			t.Errorf("isRelease(%q): got %v, want %v", s, got, want)
		}
	}
}

// A kernel in /boot that cannot be read is listed with what to do, is nobody's choice, and hides no older one that can be.
func TestUnreadable(t *testing.T) {
	emptyCache(t)
	if err := os.Symlink("nothing", filepath.Join(bootDir, "vmlinuz-99.9.2")); err != nil {
		t.Fatal(err)
	}
	if _, err := Find("99.9", nil); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "vmlinuz-99.9.2") {
		t.Errorf("got %v, want ErrMissing that names it", err)
	}
	write(t, filepath.Join(bootDir, "vmlinuz-99.9.1"), labtest.Kernel("99.9.1", noteEntry))
	if k, err := Find("99.9", nil); err != nil || k.Release != "99.9.1" {
		t.Errorf("got %+v, %v, want the one that can be read", k, err)
	}
	if ks, err := Kernels(); err != nil || len(ks) != 2 || ks[1].Problem == "" {
		t.Errorf("got %+v, %v, want both, the newer with its problem", ks, err)
	}
	if got := problemOf("/boot/x", &fs.PathError{Err: fs.ErrPermission}); !strings.Contains(got, "sudo chmod a+r /boot/x") || !strings.Contains(got, "kernels fetch") {
		t.Errorf("got %q, want the cures", got)
	}
}

// A program for another processor cannot be a guest's.
func TestOtherArch(t *testing.T) {
	if err := onArch("arm64"); !errors.Is(err, ErrMissing) || onArch("amd64") != nil {
		t.Errorf("got %v, %v, want ErrMissing for arm64 alone", err, onArch("amd64"))
	}
	arm := bytes.Replace(labtest.Kernel("x", noteEntry), []byte{62, 0}, []byte{183, 0}, 1)
	if err := static(write(t, filepath.Join(t.TempDir(), "arm"), arm)); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "amd64") {
		t.Errorf("got %v, want ErrMissing", err)
	}
	if err := static(write(t, filepath.Join(t.TempDir(), "amd"), labtest.Kernel("x", noteEntry))); err != nil {
		t.Error(err)
	}
}
