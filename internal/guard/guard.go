// Package guard is a process beside tcplab that outlives it by a moment. When tcplab is gone without a word (SIGKILL, the kernel's want of
// memory, a second Ctrl-C) the guard ends the programs that tcplab had started and that still run, such as an iptables that hangs, and
// removes the folder of a run that has no result.
//
// It also removes a folder that was only needed for a while, such as that of a kernel which is being unpacked.
//
// The kernel does the rest by itself: what a lab is made of has no name (see netns). Its one trap: programs are found by a variable in
// their environment, which tcplab sets in its own, so what is started with another environment is not found.
package guard

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Name is argv[0] of the guard: the same binary under another name. A program that imports this package and is started as Name never
// reaches its main function.
const Name = "tcplab-guard"

// variable marks the programs that a process with a guard starts.
const variable = "TCPLAB_GUARD"

// message is one line to the guard.
type message struct {
	Op   string `json:"op"`
	Out  string `json:"out,omitempty"`  // the folder of all runs
	Name string `json:"name,omitempty"` // the folder of one run in it
}

const (
	opTry  = "try"  // a folder is about to be made, or is there already and another name will be taken
	opOwn  = "own"  // it was made
	opDone = "done" // it is whole, or gone
	opMade = "made" // Out is a folder on the way that was made for this: it goes if nothing is in it
	opBye  = "bye"  // everything was undone: there is nothing to do
)

// result is the file that makes a run's folder whole: it is written when the captures are.
const result = "result.json"

// Try says that a folder is about to be made in out.
func (g *Guard) Try(out, name string) { g.say(message{Op: opTry, Out: out, Name: name}) }

// Own says that the folder was made.
func (g *Guard) Own(name string) { g.say(message{Op: opOwn, Name: name}) }

// Done says that the folder is whole, or gone.
func (g *Guard) Done(name string) { g.say(message{Op: opDone, Name: name}) }

// Made says that a folder and those on the way to it are about to be made. It lists the ones that are missing, the outermost first.
func (g *Guard) Made(path string) (missing []string) {
	for p := filepath.Clean(path); ; p = filepath.Dir(p) {
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append(missing, p)
	}
	slices.Reverse(missing)
	for _, p := range missing {
		if abs, err := filepath.Abs(p); err == nil {
			g.say(message{Op: opMade, Out: abs})
		}
	}
	return missing
}

// Scratch makes a folder in parent that is needed for a while. done removes it with all that is in it.
func (g *Guard) Scratch(parent, prefix string) (dir string, done func() error, err error) {
	name := prefix + rand.Text()
	dir = filepath.Join(parent, name)
	g.Try(parent, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		g.Done(name)
		return "", nil, err
	}
	g.Own(name)
	return dir, func() error {
		defer g.Done(name)
		return os.RemoveAll(dir)
	}, nil
}

// folder is one run's, in the root in which it was made: no link that somebody puts there later leads elsewhere.
type folder struct {
	root *os.Root
	name string
	own  bool
}

// watch reads what tcplab does until it ends, and cleans up where it ended without a word. sweep ends the programs that it left.
func watch(in io.Reader, sweep func()) {
	var folders []folder
	var made []string
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var m message
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			continue // tcplab ended in the middle of a line
		}
		same := func(f folder) bool { return f.name == m.Name }
		switch m.Op {
		case opTry:
			if root, err := os.OpenRoot(m.Out); err == nil {
				folders = append(folders, folder{root: root, name: m.Name})
			}
		case opOwn:
			if i := slices.IndexFunc(folders, same); i >= 0 {
				folders[i].own = true
			}
		case opDone:
			folders = slices.DeleteFunc(folders, func(f folder) bool { // its descriptor too
				return same(f) && f.root.Close() == nil
			})
		case opMade:
			made = append(made, m.Out)
		case opBye:
			return
		}
	}
	sweep() // before the folders: what runs may write
	for _, f := range folders {
		f.remove()
	}
	for _, p := range slices.Backward(made) {
		_ = os.Remove(p) // it stays if there is something in it
	}
}

// remove removes a folder that is not whole, and from one that is whole the files that are not.
func (f folder) remove() {
	defer f.root.Close()
	_ = f.root.Remove(".latest-" + f.name)
	if !f.own {
		_ = f.root.Remove(f.name) // made a moment ago, and empty; or another run's, which is not
		return
	}
	if _, err := f.root.Stat(filepath.Join(f.name, result)); errors.Is(err, fs.ErrNotExist) {
		_ = f.root.RemoveAll(f.name)
		return
	}
	entries, err := fs.ReadDir(f.root.FS(), f.name)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".part") {
			_ = f.root.Remove(filepath.Join(f.name, e.Name()))
		}
	}
}
