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
	"syscall"
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
	Is   *id    `json:"is,omitempty"`   // which folder Out is, or with own, Name: what has its name by now may be another
}

const (
	opTry  = "try"  // a folder is about to be made, or is there already and another name will be taken
	opOwn  = "own"  // it was made
	opDone = "done" // it is whole, or gone
	opMade = "made" // Name in Out is a folder on the way that is made for this: it goes if nothing is in it
	opBye  = "bye"  // everything was undone: there is nothing to do
)

// result is the file that makes a run's folder whole: it is written when the captures are.
const result = "result.json"

// id is which folder one is.
type id struct {
	Dev uint64 `json:"dev"`
	Ino uint64 `json:"ino"`
}

// idOf is nil where it is not known.
func idOf(info fs.FileInfo, err error) *id {
	if err != nil {
		return nil
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return &id{Dev: uint64(st.Dev), Ino: st.Ino}
}

// Try says that a folder is about to be made in another.
func (g *Guard) Try(in *os.Root, name string) {
	g.say(message{Op: opTry, Out: in.Name(), Name: name, Is: idOf(in.Stat("."))})
}

// Own says that the folder was made, and which it is.
func (g *Guard) Own(name string, made *os.Root) {
	g.say(message{Op: opOwn, Name: name, Is: idOf(made.Stat("."))})
}

// Done says that the folder is whole, or gone.
func (g *Guard) Done(name string) { g.say(message{Op: opDone, Name: name}) }

// Way says that a folder and those on the way to it are about to be made. It opens the last one that is there, and lists the names of those that are
// missing from there on, the outermost first.
func (g *Guard) Way(path string) (there *os.Root, missing []string, err error) {
	p := filepath.Clean(path)
	for ; ; p = filepath.Dir(p) {
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append(missing, filepath.Base(p))
	}
	slices.Reverse(missing)
	if there, err = os.OpenRoot(p); err != nil {
		return nil, nil, err
	}
	if abs, err := filepath.Abs(p); err == nil {
		for i := range missing {
			g.say(message{Op: opMade, Out: abs, Name: filepath.Join(missing[:i+1]...), Is: idOf(there.Stat("."))})
		}
	}
	return there, missing, nil
}

// Made is Way for who makes them by their paths, which it lists.
func (g *Guard) Made(path string) (missing []string) {
	there, names, err := g.Way(path)
	if err != nil {
		return nil
	}
	defer there.Close()
	for i := range names {
		missing = append(missing, filepath.Join(there.Name(), filepath.Join(names[:i+1]...)))
	}
	return missing
}

// Scratch makes a folder in parent that is needed for a while. done removes it with all that is in it.
func (g *Guard) Scratch(parent, prefix string) (dir string, done func() error, err error) {
	in, err := os.OpenRoot(parent)
	if err != nil {
		return "", nil, err
	}
	defer in.Close()
	name := prefix + rand.Text()
	g.Try(in, name)
	if err := in.Mkdir(name, 0o700); err != nil {
		g.Done(name)
		return "", nil, err
	}
	if made, err := in.OpenRoot(name); err == nil {
		g.Own(name, made)
		made.Close()
	}
	dir = filepath.Join(parent, name)
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
	is   *id // of one's own
}

// open opens a folder if it is the one that was meant.
func open(path string, is *id) (*os.Root, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return meant(root, is)
}

// meant closes a folder that is another than was meant; nil: that is not known.
func meant(root *os.Root, is *id) (*os.Root, error) {
	if now := idOf(root.Stat(".")); is != nil && (now == nil || *now != *is) {
		root.Close()
		return nil, ErrMoved
	}
	return root, nil
}

// ErrMoved is wrapped where a folder has another's name.
var ErrMoved = errors.New("another folder has its name than a moment ago; want one that nobody moves meanwhile")

// Enter opens a folder in another without following a link, which whoever owns the other may have put there: that is syscall.ENOTDIR.
func Enter(in *os.Root, name string) (*os.Root, error) {
	before, err := in.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOTDIR}
	}
	root, err := in.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	after, err := root.Stat(".")
	if err == nil && !os.SameFile(before, after) {
		err = &fs.PathError{Op: "open", Path: name, Err: ErrMoved}
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// watch reads what tcplab does until it ends, and cleans up where it ended without a word. sweep ends the programs that it left.
func watch(in io.Reader, sweep func()) {
	var folders, made []folder
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var m message
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			continue // tcplab ended in the middle of a line
		}
		same := func(f folder) bool { return f.name == m.Name }
		switch m.Op {
		case opTry, opMade:
			root, err := open(m.Out, m.Is)
			switch {
			case err != nil:
			case m.Op == opTry:
				folders = append(folders, folder{root: root, name: m.Name})
			default:
				made = append(made, folder{root: root, name: m.Name})
			}
		case opOwn:
			if i := slices.IndexFunc(folders, same); i >= 0 {
				folders[i].own, folders[i].is = true, m.Is
			}
		case opDone:
			folders = slices.DeleteFunc(folders, func(f folder) bool { // its descriptor too
				return same(f) && f.root.Close() == nil
			})
		case opBye:
			return
		}
	}
	sweep() // before the folders: what runs may write
	for _, f := range folders {
		f.remove()
	}
	for _, f := range slices.Backward(made) {
		below(f.root, f.name, removeDir) // it stays if there is something in it
	}
}

// below calls do with the folder in which the last name of a path is, if no link leads there.
func below(root *os.Root, path string, do func(in *os.Root, name string)) {
	first, rest, more := strings.Cut(path, "/")
	if !more {
		do(root, first)
		return
	}
	if next := enter(root, first, nil); next != nil {
		defer next.Close()
		below(next, rest, do)
	}
}

// enter opens a folder in another, not through a link. Nil: it is not there, or not the one that was meant.
func enter(in *os.Root, name string, is *id) *os.Root {
	root, err := Enter(in, name)
	if err == nil {
		root, err = meant(root, is)
	}
	if err != nil {
		return nil
	}
	return root
}

// removeDir removes a folder that is empty. Who can put another thing in its place between the two system calls can remove that by himself.
func removeDir(in *os.Root, name string) {
	if info, err := in.Lstat(name); err == nil && info.IsDir() {
		_ = in.Remove(name)
	}
}

// remove removes a folder that is not whole, and from one that is whole the files that are not.
func (f folder) remove() {
	defer f.root.Close()
	if info, err := f.root.Lstat(".latest-" + f.name); err == nil && !info.IsDir() {
		_ = f.root.Remove(".latest-" + f.name)
	}
	if !f.own {
		removeDir(f.root, f.name) // made a moment ago, and empty; or another run's, which is not
		return
	}
	root := enter(f.root, f.name, f.is)
	if root == nil {
		return // moved, and something else may have its name
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return
	}
	_, err = root.Lstat(result)
	half := errors.Is(err, fs.ErrNotExist)
	for _, e := range entries {
		if half || strings.HasSuffix(e.Name(), ".part") {
			_ = root.RemoveAll(e.Name())
		}
	}
	if half {
		removeDir(f.root, f.name)
	}
}
