// Package whole writes a file whole or not at all, and leaves nothing else behind: not where it fails, and on Linux not where the program is
// killed while it writes either.
//
// It is not for what a run leaves in its folder: the guard removes what is half done there (package guard). Its one trap: no call of Linux
// puts a file without a name in another's place, so a file that takes the place of an older one has a passing name between two system calls.
package whole

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// passing is how the name of a file begins that waits for its own.
const passing = ".tcplab-"

// File makes the file name with what fill writes, or leaves what is there as it was. What is no file, such as a device or a pipe, is
// written to as it is. fill may be called a second time, for another file.
func File(name string, fill func(*os.File) error) error { return file(name, fill, nameless) }

// file is File on a system whose files without a name are made by open.
func file(name string, fill func(*os.File) error, open func(dir string) (*os.File, error)) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return &fs.PathError{Op: "write", Path: name, Err: syscall.EISDIR}
	} else if err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(fill(f), f.Close())
	}
	f, err := open(filepath.Dir(name))
	if err != nil { // not every file system has such files
		return passingly(name, fill)
	}
	defer f.Close()
	if err := fill(f); err != nil {
		return err
	}
	err = link(f, name)
	if err == nil {
		return nil
	}
	if errors.Is(err, fs.ErrExist) {
		return replace(f, name)
	}
	return passingly(name, fill) // no /proc
}

// replace puts a file without a name where another is.
func replace(f *os.File, name string) error {
	other := filepath.Join(filepath.Dir(name), passing+rand.Text())
	if err := link(f, other); err != nil {
		return err
	}
	if err := os.Rename(other, name); err != nil {
		_ = os.Remove(other)
		return err
	}
	return nil
}

// passingly makes a file under another name first.
func passingly(name string, fill func(*os.File) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), passing+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := errors.Join(fill(f), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
