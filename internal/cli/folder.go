package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/guard"
)

// newest is when the folder was made that "latest" links to, as far as this process knows.
var newest struct {
	sync.Mutex
	made time.Time
}

// folder is where one run leaves its files.
type folder struct {
	made   time.Time
	path   string // as the user should see it
	name   string // within parent
	parent *os.Root
	root   *os.Root
	drawn  bool // its pictures are there
	guard  *guard.Guard
	placed bool // among others of one command: "latest" is not for it
}

// placeFolder makes the folder of a run where a name says where it is to be found, in a folder that is this command's own.
func placeFolder(parent, name string) (*folder, error) {
	f := &folder{path: filepath.Join(parent, name), name: name, made: time.Now(), placed: true}
	var err error
	if f.parent, err = os.OpenRoot(parent); err == nil {
		if err = f.parent.Mkdir(name, 0o755); err == nil {
			f.root, err = f.parent.OpenRoot(name)
		}
		if err != nil {
			f.parent.Close()
		}
	}
	if err != nil {
		return nil, unwritable(fmt.Errorf("--out %s: %w", parent, err))
	}
	return f, nil
}

// makeFolder makes the folder of one run in out, and tries that it can be written, before anything else is touched. A second run of
// the same second gets a number.
func makeFolder(g *guard.Guard, out, experiment string) (*folder, error) {
	bad := func(err error) (*folder, error) {
		return nil, unwritable(fmt.Errorf("--out %s: %w", out, err))
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return bad(err)
	}
	f := &folder{guard: g}
	var err error
	if f.parent, err = os.OpenRoot(out); err != nil {
		return bad(err)
	}
	base := time.Now().Format("20060102-150405") + "-" + experiment
	f.name = base
	for n := 2; ; n++ {
		g.Try(out, f.name)
		err := f.parent.Mkdir(f.name, 0o755)
		if err == nil {
			g.Own(f.name)
			break
		}
		g.Done(f.name)
		if !errors.Is(err, fs.ErrExist) || n > 10000 {
			f.parent.Close()
			return bad(err)
		}
		f.name = base + "-" + strconv.Itoa(n)
	}
	f.path, f.made = filepath.Join(out, f.name), time.Now()
	if f.root, err = f.parent.OpenRoot(f.name); err != nil {
		f.parent.Close()
		return bad(err)
	}
	return f, nil
}

// create makes a new file in the folder.
func (f *folder) create(name string) (*os.File, error) {
	file, err := f.open(name)
	if err != nil {
		return nil, unwritable(fmt.Errorf("--out: %w", err))
	}
	return file, nil
}

// open is create for a file of a run that was made: that its folder cannot be written any more is not the command line's fault.
func (f *folder) open(name string) (*os.File, error) {
	return f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}

// unwritable marks an error of something new in --out: another command line mends it. A full disk is called that wherever it is met.
func unwritable(err error) error {
	if isDiskFull(err) {
		return err
	}
	return usage(explain.OutputNotWritable, err)
}

// done ends the folder's use. After an error it is removed with what is in it; otherwise "latest" links to it, and under sudo it is
// given to the user who called.
func (f *folder) done(failed error) error {
	defer f.guard.Done(f.name)
	defer f.parent.Close()
	defer f.root.Close()
	if failed != nil {
		_ = f.parent.RemoveAll(f.name)
		return failed
	}
	if !f.placed {
		f.link()
	}
	_, err := handOver(func(uid, gid int) error {
		return fs.WalkDir(f.root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return f.root.Lchown(path, uid, gid)
		})
	})
	if err != nil {
		return fmt.Errorf("give %s to the user who called sudo: %w", f.path, err)
	}
	return nil
}

// keepMade ends the use of the folders that were made for a batch: after an error they go again, if nothing else is in them; otherwise
// they are given to the user who called sudo.
func keepMade(made []string, failed error) error {
	if failed != nil {
		for _, p := range slices.Backward(made) {
			_ = os.Remove(p)
		}
		return failed
	}
	_, err := handOver(func(uid, gid int) error {
		for _, p := range made {
			if err := os.Lchown(p, uid, gid); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("give the folder to the user who called sudo: %w", err)
	}
	return nil
}

// link points "latest" at this run. It is made under another name and renamed, so that there is always one; where it cannot be made
// (a file system without links) there is none.
func (f *folder) link() {
	newest.Lock()
	defer newest.Unlock()
	if f.made.Before(newest.made) {
		return // of runs that were made at once, another is newer
	}
	newest.made = f.made
	tmp := ".latest-" + f.name
	if err := f.parent.Symlink(f.name, tmp); err != nil {
		return
	}
	_, _ = handOver(func(uid, gid int) error { return f.parent.Lchown(tmp, uid, gid) })
	if err := f.parent.Rename(tmp, "latest"); err != nil {
		_ = f.parent.Remove(tmp)
	}
}

// handOver calls give with the user who called sudo; given is false where there is none.
func handOver(give func(uid, gid int) error) (given bool, err error) {
	if os.Geteuid() != 0 {
		return false, nil
	}
	uid, uerr := strconv.Atoi(os.Getenv("SUDO_UID"))
	gid, gerr := strconv.Atoi(os.Getenv("SUDO_GID"))
	if uerr != nil || gerr != nil || uid <= 0 || gid < 0 {
		return false, nil
	}
	// EINVAL: a user that the user namespace does not know, in which somebody ran sudo's environment.
	if err := give(uid, gid); err != nil && !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.EINVAL) {
		return false, err
	}
	return true, nil
}
