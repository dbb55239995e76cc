package main

import (
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Inode flags that keep root itself from removing a file, from linux/fs.h.
const (
	flagImmutable  = 0x10
	flagAppendOnly = 0x20
)

// unpin takes the immutable and append-only flags from everything below dir,
// as far as it can: with them, what an attacker planted would outlast every
// sweep, and an identity could not be replaced.
func unpin(dir string) {
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && (d.IsDir() || d.Type().IsRegular()) {
			unpinOne(p)
		}
		return nil
	})
}

func unpinOne(path string) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&(flagImmutable|flagAppendOnly) == 0 {
		return
	}
	_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags&^(flagImmutable|flagAppendOnly))
}
