package inspect

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/erofs/go-erofs"

	"ingot/images"
)

// What a root may hold. Ingot's have some 10,000 files and, unpacked, at most a
// few slots full of bytes; the rest of a hostile one is not looked at.
const (
	maxFiles = 1 << 20
	maxBytes = 32 << 30
	maxDepth = 100
	maxKept  = 16 << 20 // bytes of a file that is read and not only hashed
	maxTexts = 64 << 20 // bytes of all of them
)

// readRoot lists the root's files and returns the contents of those that
// readFiles wants. go-erofs 0.3 reads everything but compressed contents, so
// those come from fsck.erofs; both must tell the same of every file. What has
// no end or no measure in the directory tree is refused before any program of
// others sees the image.
func (i *Image) readRoot(ctx context.Context, f *os.File, root Partition, cache images.Cache) (texts, error) {
	files, err := listRoot(part(f, root), &i.RootBytes)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	kept := texts{}
	hashed := 0
	err = cache.Unpack(ctx, f.Name(), root.Start, func(h *tar.Header, r io.Reader) error {
		name := path.Join("/", h.Name)
		file := files[name]
		if file == nil {
			return fmt.Errorf("root: fsck.erofs finds %s and go-erofs does not", name)
		}
		hashed++
		return file.read(ctx, h, r, files, kept)
	})
	if err != nil {
		return nil, err
	}
	if hashed != len(files) {
		return nil, fmt.Errorf("root: fsck.erofs finds %d files and go-erofs %d", hashed, len(files))
	}
	for _, file := range files {
		i.Files = append(i.Files, *file)
	}
	slices.SortFunc(i.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return kept, nil
}

// texts are the contents of files that are read, by path.
type texts map[string][]byte

// read takes over the content, and holds the rest against what is known.
func (f *File) read(ctx context.Context, h *tar.Header, r io.Reader, files map[string]*File, kept texts) error {
	if h.Uid != f.UID || h.Gid != f.GID || fmt.Sprintf("%04o", h.Mode&0o7777) != f.Mode {
		return fmt.Errorf("root: %s has mode %04o and belongs to %d:%d for fsck.erofs, and %s and %d:%d for go-erofs", f.Path, h.Mode, h.Uid, h.Gid, f.Mode, f.UID, f.GID)
	}
	switch {
	case h.Typeflag == tar.TypeLink && f.Type == "file" && !wanted(f.Path):
		first := files[path.Join("/", h.Linkname)]
		if first == nil || first.Bytes != f.Bytes {
			return fmt.Errorf("root: %s is another name of %s, which is not there", f.Path, h.Linkname)
		}
		f.SHA256, f.Stored = first.SHA256, 0
		return nil
	case h.Typeflag == tar.TypeSymlink && f.Type == "link" && h.Linkname == f.Target,
		h.Typeflag == tar.TypeDir && f.Type == "directory",
		h.Typeflag != tar.TypeReg && f.Type == "other":
		return nil
	case h.Typeflag != tar.TypeReg || f.Type != "file" || h.Size != f.Bytes:
		return fmt.Errorf("root: fsck.erofs and go-erofs do not agree on what %s is", f.Path)
	}
	if wanted(f.Path) {
		b, err := kept.take(f.Path, f.Bytes, r)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	var err error
	f.SHA256, err = sum(ctx, r)
	return err
}

// take keeps a file of so many bytes.
func (t texts) take(name string, size int64, r io.Reader) ([]byte, error) {
	all := size
	for _, text := range t {
		all += int64(len(text))
	}
	if size > maxKept || all > maxTexts {
		return nil, fmt.Errorf("root: %s has %d bytes, and with others of its kind %d; %d and %d are the most that are read", name, size, all, maxKept, maxTexts)
	}
	b, err := io.ReadAll(r)
	t[name] = b
	return b, err
}

// listRoot walks the directory tree of the file system.
func listRoot(device *io.SectionReader, size *int64) (map[string]*File, error) {
	r, err := newRootReader(device)
	if err != nil {
		return nil, err
	}
	root, err := erofs.Open(r)
	if err != nil {
		return nil, err
	}
	*size = r.bytes
	l := lister{reader: r, root: root, files: map[string]*File{}, left: maxBytes}
	top, err := fs.Stat(root, ".")
	if err != nil {
		return nil, err
	}
	return l.files, l.add("/", top, 0)
}

type lister struct {
	reader rootReader
	root   fs.FS
	files  map[string]*File
	left   int64 // bytes that files may still have
}

// add takes a file, and those below it.
func (l *lister) add(name string, info fs.FileInfo, depth int) error {
	st, ok := info.Sys().(*erofs.Stat)
	if !ok || len(l.files) == maxFiles || depth > maxDepth {
		return fmt.Errorf("there are more than %d files, or folders more than %d deep", maxFiles, maxDepth)
	}
	f := &File{Path: name, Type: "other", UID: int(st.UID), GID: int(st.GID), Mode: octal(st.Mode)}
	l.files[name] = f
	switch {
	case st.Mode.IsRegular():
		if st.Size < 0 || st.Size > l.left {
			return fmt.Errorf("%s: the files have more than %d bytes", name, int64(maxBytes))
		}
		l.left -= st.Size
		f.Type, f.Bytes = "file", st.Size
		var err error
		f.Stored, err = l.reader.stored(st)
		return err
	case st.Mode&fs.ModeSymlink != 0:
		var err error
		f.Type = "link"
		f.Target, err = fs.ReadLink(l.root, name[1:])
		return err
	case st.Mode.IsDir():
		f.Type = "directory"
		return l.below(name, st, depth)
	}
	return nil
}

func (l *lister) below(name string, st *erofs.Stat, depth int) error {
	if st.Size < 0 || st.Size > maxKept {
		return fmt.Errorf("the folder %s has %d bytes", name, st.Size)
	}
	entries, err := fs.ReadDir(l.root, path.Join(".", name))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "." || e.Name() == ".." {
			continue
		}
		if e.Name() == "" || strings.ContainsAny(e.Name(), "/\x00") {
			return fmt.Errorf("the folder %s has a file called %q", name, e.Name())
		}
		below := path.Join(name, e.Name())
		if l.files[below] != nil {
			return fmt.Errorf("%s is there twice", below)
		}
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("%s: %w", below, err)
		}
		if err := l.add(below, info, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// octal writes permissions as chmod(1) takes them.
func octal(m fs.FileMode) string {
	mode := uint32(m.Perm())
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&flag != 0 {
			mode |= bit
		}
	}
	return fmt.Sprintf("%04o", mode)
}

// rootReader shows go-erofs the file system as if no file were compressed: it
// refuses a compressed one as a whole, though it can read all but the contents.
type rootReader struct {
	*io.SectionReader
	bytes int64 // of the file system
	meta  int64 // where the inodes begin
}

// Offsets of the superblock, from fs/erofs/erofs_fs.h of Linux 6.12.
const (
	superAt        = 1024
	superBlockBits = superAt + 12
	superBlocks    = superAt + 36
	superMeta      = superAt + 40
	superIncompat  = superAt + 80 // feature_incompat, then available_compr_algs
	incompatBytes  = 6

	compressionFlags = 0x1 | 0x2 // zero padding; configuration of the compressors
	inodeUnit        = 32
	inodeBlocks      = 16 // i_u: of a compressed file, how many blocks it has
)

func newRootReader(device *io.SectionReader) (rootReader, error) {
	r := rootReader{SectionReader: device}
	b := make([]byte, superIncompat+incompatBytes)
	if _, err := device.ReadAt(b, 0); err != nil {
		return r, err
	}
	le := binary.LittleEndian
	if le.Uint32(b[superAt:]) != 0xe0f5e1e2 || b[superBlockBits] != 12 {
		return r, errors.New("it is no EROFS file system with blocks of 4096 bytes")
	}
	r.bytes, r.meta = int64(le.Uint32(b[superBlocks:]))*blockSize, int64(le.Uint32(b[superMeta:]))*blockSize
	if r.bytes > device.Size() {
		return r, fmt.Errorf("the file system has %d bytes, and sealed are %d", r.bytes, device.Size())
	}
	if flags := le.Uint32(b[superIncompat:]); flags&^compressionFlags != 0 {
		return r, fmt.Errorf("the file system has features that Ingot's have not (%#x)", flags)
	}
	return r, nil
}

// ReadAt implements io.ReaderAt.
func (r rootReader) ReadAt(p []byte, at int64) (int, error) {
	n, err := r.SectionReader.ReadAt(p, at)
	for k := max(at, superIncompat); k < min(at+int64(n), superIncompat+incompatBytes); k++ {
		p[k-at] = 0
	}
	return n, err
}

// stored is how many bytes of the image a file takes.
func (r rootReader) stored(st *erofs.Stat) (int64, error) {
	const flatPlain, compressedFull, compressedCompact = 0, 1, 3
	switch st.InodeLayout {
	case flatPlain:
		return padSize(st.Size), nil
	case compressedFull, compressedCompact:
		b := make([]byte, 4)
		if _, err := r.ReadAt(b, r.meta+st.Ino*inodeUnit+inodeBlocks); err != nil {
			return 0, err
		}
		return int64(binary.LittleEndian.Uint32(b)) * blockSize, nil
	}
	return st.Size, nil // the last piece stands beside the inode
}
