package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A test reads its variables with os.Getenv, and sudo's env_reset drops what scripts/asroot.sh does not name.
var (
	readsVariable = regexp.MustCompile(`os\.(?:Getenv|LookupEnv)\("(TCPLAB_[A-Z_]+)"\)`)
	passedOn      = regexp.MustCompile(`(?m)^for name in (.+); do$`)
)

// unpassed lists the variables that the tests below dir read and that the script does not pass on.
func unpassed(dir, script string) (missing []string, read int, err error) {
	list := passedOn.FindStringSubmatch(script)
	var passed []string
	if list != nil {
		passed = strings.Fields(list[1])
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "/labtest/") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range readsVariable.FindAllSubmatch(b, -1) {
			read++
			if name := string(m[1]); !slices.Contains(passed, name) && !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
		return nil
	})
	return missing, read, err
}

// TestVariablesReachTests catches a variable that a target or a reader sets and that a test never sees because sudo dropped it: `make kill KILLS=200`
// as an ordinary user once killed 20 and was green. Its negative control is a script that passes nothing on.
func TestVariablesReachTests(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(root(t), "scripts", "asroot.sh"))
	if err != nil {
		t.Fatal(err)
	}
	missing, read, err := unpassed(root(t), string(script))
	if err != nil {
		t.Fatal(err)
	}
	if len(missing) > 0 || read == 0 {
		t.Errorf("scripts/asroot.sh: does not pass on %v of %d that tests read; add them to its list", missing, read)
	}
	if missing, _, err := unpassed(root(t), "for name in CI; do\n"); err != nil || !slices.Contains(missing, "TCPLAB_KILLS") {
		t.Errorf("a script that passes CI alone: got %v missing, %v, want TCPLAB_KILLS among them", missing, err)
	}
}
