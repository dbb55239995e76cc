package share

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxEntries = 1 << 20
	maxSparse  = 256 << 30 // a disk image with two root slots of 64 GiB
	maxID      = 1 << 16   // uids and gids that an ordinary user has subordinate ids for
)

// Unpack writes what Pack wrote into an empty folder: owners, modes, times, links,
// attributes and holes. It takes nothing else: no devices, no name outside the
// folder, no entry below one that is no folder, no name twice. Every refusal is
// ErrRefused; what is unpacked until then is for the caller to remove.
func Unpack(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer discard(root)
	u := unpacker{root: root, kinds: map[string]byte{".": tar.TypeDir}}
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return u.finish()
		}
		if err != nil {
			return refuse("its tar cannot be read: %w", err)
		}
		if err := u.add(h, archive); err != nil {
			return fmt.Errorf("unpack %q: %w", h.Name, err)
		}
	}
}

type unpacker struct {
	root    *os.Root
	kinds   map[string]byte // tar's type of each name so far
	folders []*tar.Header   // whose times are set when nothing more goes into them
	written int64           // bytes of data
}

// add writes one entry. The names were checked by then, and the parent is a
// folder that this archive made: no link leads anywhere. os.Root holds that, too.
func (u *unpacker) add(h *tar.Header, data io.Reader) error {
	name := path.Clean(h.Name)
	if err := u.check(h, name); err != nil {
		return err
	}
	u.kinds[name] = h.Typeflag
	h.Name = name
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.root.Mkdir(name, 0o700); err != nil {
			return err
		}
		u.folders = append(u.folders, h)
		return u.owned(h) // the mode waits: a folder may be closed to its own user
	case tar.TypeSymlink:
		if err := u.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return errors.Join(u.root.Lchown(name, h.Uid, h.Gid), u.timed(h))
	case tar.TypeLink:
		return u.root.Link(path.Clean(h.Linkname), name)
	}
	if err := u.content(h, data); err != nil {
		return err
	}
	return errors.Join(u.owned(h), u.root.Chmod(name, mode(h)), u.attributes(h), u.timed(h))
}

func (u *unpacker) check(h *tar.Header, name string) error {
	parent, taken := u.kinds[path.Dir(name)], u.kinds[name]
	switch {
	case len(u.kinds) > maxEntries:
		return refuse("it has more than %d entries", maxEntries)
	case !filepath.IsLocal(h.Name) || strings.ContainsRune(h.Name, 0):
		return refuse("the name leads out of the stage")
	case taken != 0:
		return refuse("the name is there twice")
	case parent != tar.TypeDir:
		return refuse("it is not below a folder")
	case !slices.Contains([]byte{tar.TypeDir, tar.TypeReg, tar.TypeSymlink, tar.TypeLink}, h.Typeflag):
		return refuse("no stage has entries of the type %q", h.Typeflag)
	case h.Typeflag == tar.TypeSymlink && !strings.HasPrefix(name, "tree/"):
		return refuse("there are links in a stage's tree only") // what a build itself opens is not below it
	case h.Uid < 0 || h.Uid >= maxID || h.Gid < 0 || h.Gid >= maxID:
		return refuse("it belongs to %d:%d, and ids are below %d", h.Uid, h.Gid, maxID)
	case foreign(h) != "":
		return refuse("it has the record %q", foreign(h))
	case h.Mode&^0o7777 != 0:
		return refuse("it has the mode %o", h.Mode)
	case h.Typeflag == tar.TypeLink && u.kinds[path.Clean(h.Linkname)] != tar.TypeReg:
		return refuse("it is a link to %q, which is no file before it", h.Linkname)
	}
	return nil
}

// foreign is a record that Pack does not write. GNU's maps of holes are among
// them: some bytes of one are gigabytes of zeros.
func foreign(h *tar.Header) string {
	for record := range h.PAXRecords {
		known := []string{"path", "linkpath", "size", "uid", "gid", "mtime", sparseRecord}
		if !strings.HasPrefix(record, xattrRecord) && !slices.Contains(known, record) {
			return record
		}
	}
	return ""
}

// content writes a file's data, leaving its holes.
func (u *unpacker) content(h *tar.Header, data io.Reader) error {
	if u.written += h.Size; u.written > maxUnpacked {
		return refuse("it has more than %d GiB of data", int64(maxUnpacked)>>30)
	}
	size, parts := h.Size, []part{{0, h.Size}}
	if text, sparse := h.PAXRecords[sparseRecord]; sparse {
		var err error
		if size, parts, err = parseSparse(text, h.Size); err != nil {
			return refuse("%w", err)
		}
	}
	f, err := u.root.OpenFile(h.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := f.Seek(p.at, io.SeekStart); err != nil {
			return errors.Join(err, f.Close())
		}
		if _, err := io.CopyN(f, data, p.length); err != nil {
			return errors.Join(refuse("its data end early: %w", err), f.Close())
		}
	}
	if len(parts) != 1 || parts[0].length != size {
		err = f.Truncate(size)
	}
	return errors.Join(err, f.Close())
}

// owned gives an entry its owner, which takes set-ID bits and capabilities away.
func (u *unpacker) owned(h *tar.Header) error { return u.root.Lchown(h.Name, h.Uid, h.Gid) }

// mode is a header's mode as Go has it.
func mode(h *tar.Header) os.FileMode { return h.FileInfo().Mode() &^ os.ModeType }

func (u *unpacker) attributes(h *tar.Header) error {
	var err error
	for record, value := range h.PAXRecords {
		name, is := strings.CutPrefix(record, xattrRecord)
		if !is {
			continue
		}
		if !keptXattr(name) {
			return refuse("it has the attribute %q", name)
		}
		err = errors.Join(err, u.below(h.Name, func(parent int, base string) error {
			// By the descriptor of the parent: there is no setxattrat on Linux 6.1.
			file := fmt.Sprintf("/proc/self/fd/%d/%s", parent, base)
			if e := unix.Lsetxattr(file, name, []byte(value), 0); e != nil && e != unix.ENOTSUP {
				return &os.PathError{Op: "set attribute " + name, Path: h.Name, Err: e}
			}
			return nil
		}))
	}
	return err
}

// timed sets an entry's time, a link's own.
func (u *unpacker) timed(h *tar.Header) error {
	return u.below(h.Name, func(parent int, base string) error {
		t := unix.NsecToTimespec(h.ModTime.Truncate(time.Second).UnixNano())
		return unix.UtimesNanoAt(parent, base, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// below calls f with a descriptor of the folder that a name is in.
func (u *unpacker) below(name string, f func(parent int, base string) error) error {
	parent, err := u.root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer discard(parent)
	return f(int(parent.Fd()), path.Base(name))
}

// finish sets what writing into a folder would change, the inner ones first.
func (u *unpacker) finish() error {
	slices.Reverse(u.folders)
	for _, h := range u.folders {
		if err := errors.Join(u.root.Chmod(h.Name, mode(h)), u.attributes(h), u.timed(h)); err != nil {
			return fmt.Errorf("unpack %q: %w", h.Name, err)
		}
	}
	return nil
}
