package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	alone  bool // parent is this folder's alone
	root   *os.Root
	dir    *os.File // root, to be listed where there are no more descriptors
	drawn  bool     // its pictures are there
	guard  *guard.Guard
	placed bool // among others of one command: "latest" is not for it
}

// placeFolder makes the folder of a run where a name says where it is to be found, in one of the folders of this command's own.
func placeFolder(own *folder, column, name string) (*folder, error) {
	f := &folder{path: filepath.Join(own.path, column, name), name: name, made: time.Now(), placed: true}
	parent, err := own.root.OpenRoot(column)
	if err == nil {
		f.parent, f.alone = parent, true
		if err = parent.Mkdir(name, 0o755); err == nil {
			err = f.enter()
		}
		if err != nil {
			parent.Close()
		}
	}
	if err != nil {
		return nil, unwritable(fmt.Errorf("--out %s: %w", filepath.Join(own.path, column), err))
	}
	return f, nil
}

// makeFolder makes the folder of one run at the end of the way, and tries that it can be written, before anything else is touched. A second run of
// the same second gets a number.
func makeFolder(w *way, experiment string) (*folder, error) {
	bad := func(err error) (*folder, error) {
		return nil, unwritable(fmt.Errorf("--out %s: %w", w.path, err))
	}
	parent, err := w.make()
	if err != nil {
		return bad(err)
	}
	f := &folder{guard: w.guard, parent: parent}
	base := time.Now().Format("20060102-150405") + "-" + experiment
	f.name = base
	for n := 2; ; n++ {
		f.guard.Try(parent, f.name)
		err := parent.Mkdir(f.name, 0o755)
		if err == nil {
			break
		}
		f.guard.Done(f.name)
		if !errors.Is(err, fs.ErrExist) || n > 10000 {
			return bad(err)
		}
		f.name = base + "-" + strconv.Itoa(n)
	}
	f.path, f.made = filepath.Join(w.path, f.name), time.Now()
	if err := f.enter(); err != nil {
		f.guard.Done(f.name)
		return bad(err)
	}
	return f, nil
}

// enter opens the folder, which was made a moment ago. Where that cannot be done, it goes again.
func (f *folder) enter() (err error) {
	if f.root, err = enter(f.parent, f.name, true); err != nil {
		return err
	}
	f.guard.Own(f.name, f.root)
	if f.dir, err = f.root.Open("."); err != nil {
		_ = removeEmpty(f.parent, f.name, f.root)
		f.root.Close()
	}
	return err
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
	defer f.close()
	if failed != nil {
		if err := errors.Join(removeIn(f.root, f.dir), removeEmpty(f.parent, f.name, f.root)); err != nil {
			_, _ = handOver(func(uid, gid int) error { return giveAll(f.root, uid, gid) })
			return errors.Join(failed, fmt.Errorf("remove %s, which is of no use: %w", f.path, err))
		}
		return failed
	}
	if !f.placed {
		f.link()
	}
	if _, err := handOver(func(uid, gid int) error { return giveAll(f.root, uid, gid) }); err != nil {
		return fmt.Errorf("give %s to the user who called sudo: %w", f.path, err)
	}
	return nil
}

func (f *folder) close() {
	f.dir.Close()
	f.root.Close()
	if f.alone {
		f.parent.Close()
	}
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
