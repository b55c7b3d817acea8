package vm

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Releases are ordered by their numbers, and what apt lists beside kernels is left out.
func TestOffered(t *testing.T) {
	names := `linux-image-6.12.117+deb12-cloud-amd64 linux-image-cloud-amd64 linux-image-6.1.0-9-cloud-amd64
linux-image-6.1.0-56-cloud-amd64 linux-image-6.1.0-56-cloud-amd64-dbg linux-image-6.1.0-56-cloud-amd64-unsigned
linux-image-6.12-cloud-amd64 linux-image-6.12.99+deb12-cloud-amd64 linux-image-6.1.0-56-amd64`
	want := []string{"6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", "6.12.99+deb12-cloud-amd64", "6.12.117+deb12-cloud-amd64"}
	if got := offered(names); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// 6.1 is not 6.12, nor 6.10.
func TestMatches(t *testing.T) {
	for _, c := range []struct {
		release, version string
		want             bool
	}{
		{"6.1.0-56-cloud-amd64", "6.1", true}, {"6.1.0-56-cloud-amd64", "6.1.0-56-cloud-amd64", true}, {"6.12.117+deb12", "6.12.117", true},
		{"6.12.117+deb12", "6.1", false}, {"6.12.117+deb12", "6.12.11", false}, {"6.1.0", "", false},
	} {
		if got := matches(c.release, c.version); got != c.want {
			t.Errorf("matches(%q, %q): got %v, want %v", c.release, c.version, got, c.want)
		}
	}
}

// A kernel that was stored is found by its version, the newest first, and removed again; what is not there is ErrMissing.
func TestCache(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	cache, err := Cache()
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range []string{"99.1.0-9-test", "99.1.0-10-test"} {
		dir := filepath.Join(cache, release)
		if err := store(dir, []byte("\x7fELF"), []module{{name: "veth", data: []byte("m")}}, about{Release: release, Image: "sum"}, nil); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, dirModules, "veth.ko")); err != nil || string(b) != "m" {
			t.Errorf("module: got %q, %v", b, err)
		}
	}
	if k, err := Find("99.1", nil); err != nil || k.Release != "99.1.0-10-test" {
		t.Errorf("got %q, %v, want the newest", k.Release, err)
	}
	old := filepath.Join(cache, "99.1.0-11-test")
	if err := os.MkdirAll(old, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(old, fileAbout), []byte(`{"release":"99.1.0-11-test","modules":["veth"],"wanted":["veth"]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if k, err := Find("99.1", nil); err != nil || k.Release != "99.1.0-10-test" {
		t.Errorf("got %q, %v, want the newest of those that have every module", k.Release, err)
	}
	if _, err := Find("99.1.0-11-test", nil); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "tcplab kernels fetch 99.1.0-11-test") {
		t.Errorf("without modules: got %v, want ErrMissing that says how to get it anew", err)
	}
	if err := os.RemoveAll(old); err != nil {
		t.Fatal(err)
	}
	for _, sum := range []string{"other", "other"} { // the first takes the old one's place, the second finds that somebody was quicker
		dir := filepath.Join(cache, "99.1.0-10-test")
		err := store(dir, []byte("\x7fELF new"), nil, about{Image: sum}, nil)
		b, rerr := os.ReadFile(filepath.Join(dir, fileKernel))
		a, aerr := readAbout(dir)
		if err := errors.Join(err, rerr, aerr); err != nil || string(b) != "\x7fELF new" || a.Image != sum || len(a.Modules) != 0 {
			t.Errorf("stored again: got %q, %+v, %v, want the new one", b, a, err)
		}
	}
	if _, err := Remove("99.1.0-10-test", nil); err != nil {
		t.Error(err)
	}
	if _, err := Find("99.1.0-10-test", nil); !errors.Is(err, ErrMissing) {
		t.Errorf("removed: got %v, want ErrMissing", err)
	}
	if _, err := Remove("99.1", nil); !errors.Is(err, ErrMissing) {
		t.Errorf("by its version: got %v, want ErrMissing: rm takes one release", err)
	}
	left, err := os.ReadDir(cache)
	if err != nil || len(left) != 1 {
		t.Errorf("in the cache: %v, %v, want one kernel", left, err)
	}
}

// Modules come after what they depend on, once; one that is built in is not missed, and a circle ends.
func TestInOrder(t *testing.T) {
	deps := map[string][]string{"tcp_diag": {"inet_diag"}, "inet_diag": nil, "a": {"b", "builtin"}, "b": {"a"}}
	got, err := inOrder([]string{"tcp_diag", "inet_diag", "a", "veth"}, func(name string) (module, bool, error) {
		d, ok := deps[name]
		return module{name: name, depends: d}, ok, nil
	})
	var names []string
	for _, m := range got {
		names = append(names, m.name)
	}
	if want := []string{"inet_diag", "tcp_diag", "b", "a"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("got %q, %v, want %q", names, err, want)
	}
	broken := errors.New("broken")
	if _, err := inOrder([]string{"a"}, func(string) (module, bool, error) { return module{}, false, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}
