package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tcplab/tcplab/internal/explain"
)

// openEvents opens the target of --events; nil for none.
func (a *app) openEvents(name string) (io.Writer, func(), error) {
	switch name {
	case "":
		return nil, func() {}, nil
	case "-":
		return &locked{w: a.out}, func() {}, nil
	}
	f, err := openLater(name)
	if err != nil {
		return nil, nil, usage(explain.OutputNotWritable, fmt.Errorf("--events: %w", err))
	}
	return &locked{w: f}, f.close, nil
}

// laterFile is a file that is emptied when it is first written to: a run that is refused leaves what was there, and nothing new.
type laterFile struct {
	f     *os.File
	in    *os.Root // the folder in which the file was made; nil: it was there before, and is not ours to give away or to remove
	began bool
}

func openLater(name string) (*laterFile, error) {
	in, err := os.OpenRoot(filepath.Dir(name))
	if err == nil {
		var f *os.File
		if f, err = in.OpenFile(filepath.Base(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err == nil {
			return &laterFile{f: f, in: in}, nil
		}
		in.Close()
	}
	// A file, a pipe, a device, or a link to one; also in a folder that may be entered and no more.
	f, there := os.OpenFile(name, os.O_WRONLY, 0)
	if there == nil {
		return &laterFile{f: f}, nil
	}
	if errors.Is(there, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
		there = err // why it cannot be made
	}
	return nil, fmt.Errorf("open %s: %w", name, bare(there))
}

// bare is what the system said of a path, without the path.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Write empties the file the first time. Something that cannot be emptied, such as a pipe, is written to as it is. Only a file that was made here is
// given to the user who called sudo: root can open what is somebody else's, and devices.
func (l *laterFile) Write(p []byte) (int, error) {
	if !l.began {
		l.began = true
		_ = l.f.Truncate(0)
		if l.in != nil {
			_, _ = handOver(l.f.Chown)
		}
	}
	return l.f.Write(p)
}

// close removes a file that was made and never written to, if it is still the one that has the name.
func (l *laterFile) close() {
	defer l.f.Close()
	if l.in == nil {
		return
	}
	defer l.in.Close()
	if l.began {
		return
	}
	name := filepath.Base(l.f.Name())
	ours, err := l.f.Stat()
	if there, lerr := l.in.Lstat(name); err == nil && lerr == nil && os.SameFile(ours, there) {
		_ = l.in.Remove(name)
	}
}
