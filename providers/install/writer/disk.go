package writer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sectorBytes is the size of the disk's sectors: the image's partition table counts
// in these.
const sectorBytes = 512

// Requests of linux/fs.h that x/sys/unix has no number for, or no function.
const (
	blkDiscard  = 0x1277
	blkZeroOut  = 0x127f
	blkFlushBuf = 0x1261
)

// blockDevice is a whole disk, read and written without the kernel's cache: what is
// read back comes from the disk.
type blockDevice struct {
	file  *os.File
	bytes int64
	sys   string // its folder in /sys
}

// openDisk opens a whole disk. One that is in use cannot be had exclusively.
func openDisk(path string, exclusive bool) (*blockDevice, error) {
	sys, err := wholeDisk(path)
	if err != nil {
		return nil, err
	}
	flags := unix.O_RDWR | unix.O_DIRECT | unix.O_CLOEXEC
	if exclusive {
		flags |= unix.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("%s is in use%s: unmount it, swapoff, mdadm --stop, vgchange -an, whatever applies", path, holders(sys))
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("the kernel does not let %s be written: %w", path, err)
	case err != nil:
		return nil, err
	}
	d := &blockDevice{file: f, sys: sys}
	if err := d.measure(); err != nil {
		f.Close()
		return nil, err
	}
	return d, nil
}

func (d *blockDevice) measure() error {
	sector, err := unix.IoctlGetInt(int(d.file.Fd()), unix.BLKSSZGET)
	if err != nil {
		return fmt.Errorf("%s: ask for the size of its sectors: %w", d.file.Name(), err)
	}
	if sector != sectorBytes {
		return fmt.Errorf("%s has sectors of %d bytes, and the image's partition table is for those of %d", d.file.Name(), sector, sectorBytes)
	}
	// Of this file and no other: the name may mean another disk by now.
	d.bytes, err = d.file.Seek(0, 2)
	return err
}

// wholeDisk is the folder in /sys of a device that is a disk, and no partition.
func wholeDisk(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fmt.Errorf("%s is no disk", path)
	}
	sys, err := sysOf(unix.Major(st.Rdev), unix.Minor(st.Rdev))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(sys, "partition")); err == nil {
		return "", fmt.Errorf("%s is a partition, and not a whole disk", path)
	}
	if readText(filepath.Join(sys, "ro")) == "1" {
		return "", fmt.Errorf("%s is read-only", path)
	}
	return sys, nil
}

// sysOf is the folder of a block device in /sys.
func sysOf(major, minor uint32) (string, error) {
	return filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", major, minor))
}

// holders names what stands on a disk or its partitions, for an error.
func holders(sys string) string {
	var names []string
	for _, pattern := range []string{"holders/*", "*/holders/*"} {
		found, _ := filepath.Glob(filepath.Join(sys, pattern)) // the pattern is right
		for _, f := range found {
			names = append(names, filepath.Base(f))
		}
	}
	if names == nil {
		return ""
	}
	return " by " + strings.Join(names, ", ")
}

// ReadAt implements io.ReaderAt. Offset, length and memory are aligned to sectors.
func (d *blockDevice) ReadAt(p []byte, offset int64) (int, error) { return d.file.ReadAt(p, offset) }

// WriteAt implements io.WriterAt, with the same condition.
func (d *blockDevice) WriteAt(p []byte, offset int64) (int, error) { return d.file.WriteAt(p, offset) }

// Zero makes a range zeros. The kernel writes them where the disk has no command
// for it.
func (d *blockDevice) Zero(offset, n int64) error {
	return d.rangeRequest(blkZeroOut, offset, n)
}

// Discard tells the disk that nobody needs a range. What is read there afterwards
// is not defined.
func (d *blockDevice) Discard(offset, n int64) error {
	return d.rangeRequest(blkDiscard, offset, n)
}

func (d *blockDevice) rangeRequest(request uintptr, offset, n int64) error {
	if n <= 0 {
		return nil
	}
	what := [2]uint64{uint64(offset), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.file.Fd(), request, uintptr(unsafe.Pointer(&what)))
	if errno != 0 {
		return errno
	}
	return nil
}

// Flush waits until the disk has it all.
func (d *blockDevice) Flush() error { return d.file.Sync() }

// Size is the size of the disk in bytes.
func (d *blockDevice) Size() int64 { return d.bytes }

// Close closes the disk.
func (d *blockDevice) Close() error { return d.file.Close() }

// span is a range of a disk in bytes.
type span struct{ offset, n int64 }

// partitions are those that the kernel has found on the disk.
func (d *blockDevice) partitions() ([]span, error) {
	found, err := filepath.Glob(filepath.Join(d.sys, "*", "partition"))
	if err != nil {
		return nil, err
	}
	var list []span
	for _, p := range found {
		dir := filepath.Dir(p)
		// Both count in 512 bytes, whatever the disk's sectors are.
		start, err := strconv.ParseInt(readText(filepath.Join(dir, "start")), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the start of %s: %w", filepath.Base(dir), err)
		}
		size, err := strconv.ParseInt(readText(filepath.Join(dir, "size")), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the size of %s: %w", filepath.Base(dir), err)
		}
		list = append(list, span{start * sectorBytes, size * sectorBytes})
	}
	return list, nil
}

// readText is a file of /sys or /proc, "" when it is not there.
func readText(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
