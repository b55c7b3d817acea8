//go:build lab

package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tcplab/tcplab/internal/labtest"
)

// calledBy makes this process one that a user called with sudo.
func calledBy(t *testing.T, uid, gid int) {
	t.Helper()
	labtest.Need(t, labtest.Root)
	t.Setenv("SUDO_UID", fmt.Sprint(uid))
	t.Setenv("SUDO_GID", fmt.Sprint(gid))
}

func ownerOf(t *testing.T, path string) uint32 {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

// TestEventsOwner catches --events giving away what was there before: a file of root's, a device, or what a link leads to. The control is a file
// that was made for it.
func TestEventsOwner(t *testing.T) {
	calledBy(t, 65534, 65534)
	const other = 4321
	for _, tt := range []struct {
		name string
		make func(path string) error // what is there before; nil: nothing
		want uint32
	}{
		{"new", nil, 65534},
		{"file", func(p string) error { return os.WriteFile(p, []byte("before\n"), 0o644) }, 0},
		{"a file of somebody else's", func(p string) error {
			if err := os.WriteFile(p, nil, 0o644); err != nil {
				return err
			}
			return os.Chown(p, other, other)
		}, other},
		{"device", func(p string) error { return syscall.Mknod(p, syscall.S_IFCHR|0o666, 1<<8|3) }, 0},
		{"link", func(p string) error {
			if err := os.WriteFile(p+".real", nil, 0o644); err != nil {
				return err
			}
			return os.Symlink(p+".real", p)
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "events")
			if tt.make != nil {
				if err := tt.make(path); err != nil {
					t.Fatal(err)
				}
			}
			w, end, err := (&app{}).openEvents(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, "{}\n"); err != nil {
				t.Error(err)
			}
			end()
			if got := ownerOf(t, path); got != tt.want {
				t.Errorf("owner: got %d, want %d", got, tt.want)
			}
			if tt.name == "device" {
				return
			}
			if b, err := os.ReadFile(path); string(b) != "{}\n" || err != nil {
				t.Errorf("got %q, %v, want what was written alone", b, err)
			}
			if real := path + ".real"; tt.name == "link" && ownerOf(t, real) != 0 {
				t.Errorf("what the link leads to: got owner %d, want 0", ownerOf(t, real))
			}
		})
	}
}

// TestEventsRefused catches a run that is refused and leaves an empty file of --events, empties what was there, or removes what has the name since.
func TestEventsRefused(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, after string // what the name holds; empty: nothing is there
	}{{"new", "", ""}, {"there before", "text", "text"}, {"another has the name", "", "other"}} {
		path := filepath.Join(t.TempDir(), "events")
		write := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if tt.before != "" {
			write(tt.before)
		}
		l, err := openLater(path)
		if err != nil {
			t.Fatal(err)
		}
		if tt.after == "other" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			write(tt.after)
		}
		l.close()
		if b, err := os.ReadFile(path); string(b) != tt.after || os.IsNotExist(err) != (tt.after == "") {
			t.Errorf("%s: got %q, %v, want %q", tt.name, b, err, tt.after)
		}
	}
}

// TestPageOwner catches a page that takes the place of a file of somebody else's and becomes the caller's.
func TestPageOwner(t *testing.T) {
	calledBy(t, 65534, 65534)
	name := filepath.Join(t.TempDir(), "page.html")
	for _, want := range []uint32{65534, 65534, 4321} {
		if want == 4321 {
			if err := os.Chown(name, 4321, 4321); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeWhole(name, func(w io.Writer) error { _, err := io.WriteString(w, "page"); return err }); err != nil {
			t.Fatal(err)
		}
		if got := ownerOf(t, name); got != want {
			t.Errorf("owner: got %d, want %d", got, want)
		}
	}
}
