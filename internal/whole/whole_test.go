package whole

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(s string) func(*os.File) error {
	return func(f *os.File) error {
		_, err := io.WriteString(f, s)
		return err
	}
}

// names are what is in a folder.
func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// ways are the two in which a file comes to its name.
var ways = map[string]func(string) (*os.File, error){
	"without a name": nameless, "under a passing name": func(string) (*os.File, error) { return nil, errors.ErrUnsupported },
}

// TestFile catches a file that is not what was written, one that is lost where the new one fails, and anything else that stays.
func TestFile(t *testing.T) {
	for way, open := range ways {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			name := filepath.Join(dir, "page.html")
			failed := errors.New("no more ink")
			for _, tt := range []struct {
				text string
				fail error
				want string
			}{{"new", nil, "new"}, {"newer", nil, "newer"}, {"half", failed, "newer"}} {
				err := file(name, func(f *os.File) error { return errors.Join(write(tt.text)(f), tt.fail) }, open)
				if !errors.Is(err, tt.fail) || err != nil && tt.fail == nil {
					t.Fatalf("%s: got %v, want %v", tt.text, err, tt.fail)
				}
				if b, err := os.ReadFile(name); err != nil || string(b) != tt.want {
					t.Errorf("%s: got %q, %v, want %q", tt.text, b, err, tt.want)
				}
				if got := names(t, dir); !slices.Equal(got, []string{"page.html"}) {
					t.Errorf("%s: got %q in the folder, want the page alone", tt.text, got)
				}
			}
			if err := file(dir, write("x"), open); err == nil {
				t.Error("a folder: got no error")
			}
			if err := file(filepath.Join(dir, "nosuch", "page.html"), write("x"), open); err == nil {
				t.Error("in a folder that is not there: got no error")
			}
			if got := names(t, filepath.Dir(dir)); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, passing) }) {
				t.Errorf("got %q beside the folder, want nothing that was passing", got)
			}
		})
	}
}

// TestDevice catches a device, or a link to one, that a file takes the place of: root may do that.
func TestDevice(t *testing.T) {
	null := filepath.Join(t.TempDir(), "null")
	if err := os.Symlink(os.DevNull, null); err != nil {
		t.Fatal(err)
	}
	if err := File(null, write("x")); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(null); err != nil || to != os.DevNull {
		t.Errorf("got a link to %q, %v, want it as it was", to, err)
	}
}
