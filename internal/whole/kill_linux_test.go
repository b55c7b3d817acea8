package whole

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/labtest"
)

// child is the variable that makes the test's program write the file that it names, in the way after the colon, and never come to the end.
const child = "TCPLAB_WHOLE_CHILD"

func TestMain(m *testing.M) {
	name, way, ok := strings.Cut(os.Getenv(child), ":")
	if !ok {
		os.Exit(m.Run())
	}
	err := file(name, func(f *os.File) error {
		if _, err := f.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
		fmt.Println("half")
		_, err := os.Stdin.Read(make([]byte, 1)) // until it is killed
		return err
	}, ways[way])
	fmt.Println(err)
}

// TestKill catches a file that is left by a program that was killed while it wrote. The control is a system without files that have no
// name, where one is.
func TestKill(t *testing.T) {
	labtest.Need(t, labtest.Requirement{Name: "files without a name", Missing: func() string {
		f, err := nameless(t.TempDir())
		if err != nil {
			return fmt.Sprintf("%v: want TMPDIR on a file system with O_TMPFILE", err)
		}
		f.Close()
		return ""
	}})
	for _, tt := range []struct {
		way  string
		was  string // what had the name before; empty: nothing
		left int
	}{
		{"without a name", "", 0}, {"without a name", "old", 0}, {"under a passing name", "", 1}, {"under a passing name", "old", 1},
	} {
		dir := t.TempDir()
		name := filepath.Join(dir, "page.html")
		if tt.was != "" {
			if err := os.WriteFile(name, []byte(tt.was), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), child+"="+name+":"+tt.way)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said, err := bufio.NewReader(out).ReadString('\n')
		if said != "half\n" {
			t.Errorf("%s: got %q, %v, want half", tt.way, said, err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		in.Close()
		left := 0
		for _, n := range names(t, dir) {
			if strings.HasPrefix(n, passing) {
				left++
			} else if b, err := os.ReadFile(name); n != "page.html" || err != nil || string(b) != tt.was || tt.was == "" {
				t.Errorf("%s, %q: got %s with %.20q, %v, want what was there", tt.way, tt.was, n, b, err)
			}
		}
		if left != tt.left {
			t.Errorf("%s, %q: %d files left, want %d", tt.way, tt.was, left, tt.left)
		}
	}
}
