package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// pending is a new file that gets its name when it is whole and on the disk, where
// the file system can do that, so that a killed build leaves none; elsewhere one
// that is given up is removed.
type pending struct {
	*os.File
	name    string
	unnamed bool
}

// create begins a file. Its name must be free.
func create(name string) (pending, error) {
	f, err := os.OpenFile(filepath.Dir(name), unix.O_TMPFILE|os.O_RDWR, 0o644)
	if err == nil {
		return pending{f, name, true}, nil
	}
	f, err = os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	return pending{f, name, false}, err
}

// finish gives the file its name, or gives it up when err is not nil, which it
// returns.
func (p pending) finish(err error) error {
	if err == nil {
		err = p.Sync()
	}
	if err == nil && p.unnamed {
		// open(2), O_TMPFILE
		open := fmt.Sprintf("/proc/self/fd/%d", p.Fd())
		if err = unix.Linkat(unix.AT_FDCWD, open, unix.AT_FDCWD, p.name, unix.AT_SYMLINK_FOLLOW); err != nil {
			err = &os.LinkError{Op: "link", Old: open, New: p.name, Err: err}
		}
	}
	err = errors.Join(err, p.Close())
	if err != nil && !p.unnamed {
		err = errors.Join(err, os.Remove(p.name))
	}
	return err
}
