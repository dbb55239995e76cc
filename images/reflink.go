package images

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// reflink copies a file sharing its blocks where the file system can, and
// otherwise only the parts that are not holes. The copy gets its name when it is
// whole and on the disk, where the file system can do that, so that a killed
// build leaves none; elsewhere one that fails is removed.
func reflink(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Dir(to), unix.O_TMPFILE|os.O_WRONLY, 0o644)
	unnamed := err == nil
	if !unnamed {
		out, err = os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	}
	if err != nil {
		return err
	}
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		err = copySparse(in, out)
	}
	err = errors.Join(err, out.Sync())
	if err == nil && unnamed {
		err = name(out, to)
	}
	err = errors.Join(err, out.Close())
	if err != nil && !unnamed {
		return errors.Join(err, os.Remove(to))
	}
	return err
}

// name gives an open file without a name one that is free; see open(2), O_TMPFILE.
func name(f *os.File, to string) error {
	open := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if err := unix.Linkat(unix.AT_FDCWD, open, unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "link", Old: open, New: to, Err: err}
	}
	return nil
}

func copySparse(in, out *os.File) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	for at := int64(0); at < info.Size(); {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if err == unix.ENXIO { // only a hole is left
			return nil
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := in.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := out.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(out, in, hole-data); err != nil {
			return err
		}
		at = hole
	}
	return nil
}
