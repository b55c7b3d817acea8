package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/tcplab/tcplab/internal/guard"
)

// way is the folder in which those of runs are made, with the ones on the way to it that are missing. What is above the first missing one is looked up
// once; from there on everything is done through descriptors: whoever owns a folder on the way can put a link to another in its place meanwhile, and
// root would follow it.
type way struct {
	guard   *guard.Guard
	path    string
	missing []string // names, the outermost first

	mu    sync.Mutex
	root  *os.Root // the last folder of the way that is there
	steps []stair  // that were made here
	err   error    // why root is not to be had
}

// stair is a folder that was made on the way.
type stair struct {
	in   *os.Root
	name string
	root *os.Root
}

func newWay(g *guard.Guard, path string) *way {
	w := &way{guard: g, path: path}
	w.root, w.missing, w.err = g.Way(path)
	return w
}

// make makes what is missing, and returns the last folder. It belongs to the way, and is closed with it.
func (w *way) make() (*os.Root, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.missing) > 0 && w.err == nil {
		name := w.missing[0]
		err := w.root.Mkdir(name, 0o755)
		made := err == nil
		if err != nil && !errors.Is(err, fs.ErrExist) { // another tcplab may have come first
			return nil, err
		}
		next, err := enter(w.root, name, made)
		if err != nil {
			return nil, err
		}
		before := w.root
		w.missing, w.root = w.missing[1:], next
		if !made {
			before.Close()
			continue
		}
		w.steps = append(w.steps, stair{before, name, next})
		// At once: it is the user's also where this program is killed and something is in it.
		if _, err := handOver(func(uid, gid int) error { return giveAll(next, uid, gid) }); err != nil {
			return nil, fmt.Errorf("give it to the user who called sudo: %w", err)
		}
	}
	return w.root, w.err
}

// keepMade ends the use of the folders that were made on the way: after an error they go again, if nothing else is in them.
func keepMade(w *way, failed error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range slices.Backward(w.steps) {
		if failed != nil {
			_ = removeEmpty(s.in, s.name, s.root)
		}
	}
	for _, s := range w.steps {
		s.in.Close()
	}
	if w.root != nil {
		w.root.Close()
	}
	w.root, w.steps, w.err = nil, nil, fs.ErrClosed
	return failed
}

// enter opens a folder without following a link. made: it was made a moment ago, and goes again where it cannot be opened.
func enter(in *os.Root, name string, made bool) (*os.Root, error) {
	root, err := guard.Enter(in, name)
	if err == nil && made {
		var entries []fs.DirEntry
		if entries, err = entriesOf(root); len(entries) > 0 {
			err = &fs.PathError{Op: "open", Path: name, Err: guard.ErrMoved}
		}
	}
	if err == nil {
		return root, nil
	}
	if root != nil {
		root.Close()
	}
	if made && !errors.Is(err, syscall.ENOTDIR) { // that is what whoever owns the folder put there
		_ = in.Remove(name) // empty; somebody else's folder is not
	}
	return nil, err
}

// removeEmpty removes a folder that is empty, if it is still the one that has the name. Who can put another there between the two system calls owns
// the folder that it is in, and can remove that other by himself.
func removeEmpty(in *os.Root, name string, root *os.Root) error {
	there, err := in.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if ours, err := root.Stat("."); err != nil || !os.SameFile(there, ours) {
		return err
	}
	return in.Remove(name)
}

// giveAll gives what is in a folder to a user, and then the folder itself: from that moment on its new owner may put there what he likes, such as a
// second name of somebody else's file. What is not this process's any more, or what others may write, is left as it is for the same reason.
func giveAll(root *os.Root, uid, gid int) error {
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return nil
	}
	entries, err := entriesOf(root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			if err := root.Lchown(e.Name(), uid, gid); err != nil {
				return err
			}
			continue
		}
		sub, err := root.OpenRoot(e.Name())
		if err != nil {
			return err
		}
		err = giveAll(sub, uid, gid)
		sub.Close()
		if err != nil {
			return err
		}
	}
	return root.Chown(".", uid, gid)
}

func entriesOf(root *os.Root) ([]fs.DirEntry, error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.ReadDir(-1)
}

// removeIn removes what is in a folder, which dir lists: it was opened when there were descriptors.
func removeIn(root *os.Root, dir *os.File) error {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		err = errors.Join(err, root.RemoveAll(name))
	}
	return err
}
