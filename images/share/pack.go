package share

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Records of a pax header beside the standard ones.
const (
	xattrRecord  = "SCHILY.xattr." // GNU tar's and everybody's
	sparseRecord = "INGOT.sparse"  // "SIZE OFFSET:LENGTH …": the data are these parts, the rest is zeros
)

// keptXattr is what is kept of extended attributes. Capabilities and access
// lists are in packages; what else there is comes from this machine.
func keptXattr(name string) bool {
	return name == "security.capability" || strings.HasPrefix(name, "system.posix_acl_") || strings.HasPrefix(name, "user.")
}

// Pack writes the content of a folder as a tar. The same content gives the same
// bytes: names are sorted, owners are numbers, and no time is later than epoch,
// in seconds since 1970. Folders, files and links are packed; devices and sockets
// are left out, of which no stage needs any.
func Pack(w io.Writer, dir string, epoch int64) error {
	p := packer{dir: dir, tar: tar.NewWriter(w), latest: time.Unix(epoch, 0), first: map[[2]uint64]string{}}
	if err := filepath.WalkDir(dir, p.add); err != nil {
		return err
	}
	return p.tar.Close()
}

type packer struct {
	dir    string
	tar    *tar.Writer
	latest time.Time
	first  map[[2]uint64]string // name of each file that has several, by device and inode
}

func (p *packer) add(file string, d fs.DirEntry, err error) error {
	if err != nil || file == p.dir {
		return err
	}
	name, err := filepath.Rel(p.dir, file)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(file, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: file, Err: err}
	}
	h := &tar.Header{
		Format: tar.FormatPAX, Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Sec, 0), PAXRecords: map[string]string{},
	}
	if h.ModTime.After(p.latest) {
		h.ModTime = p.latest
	}
	switch d.Type() {
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case fs.ModeSymlink:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = os.Readlink(file); err != nil {
			return err
		}
		return p.tar.WriteHeader(h)
	case 0:
		id := [2]uint64{st.Dev, st.Ino}
		if first := p.first[id]; first != "" {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return p.tar.WriteHeader(h)
		}
		if st.Nlink > 1 {
			p.first[id] = name
		}
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	default:
		return nil
	}
	if err := xattrs(file, h.PAXRecords); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		return p.tar.WriteHeader(h)
	}
	return p.file(file, h)
}

// file writes a regular file. A large one with runs of zeros is written in parts.
func (p *packer) file(file string, h *tar.Header) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer discard(f)
	parts := []part{{0, h.Size}}
	if h.Size >= sparseFrom {
		if parts, err = dataOf(f, h.Size); err != nil {
			return err
		}
	}
	if len(parts) != 1 || parts[0].length != h.Size {
		h.PAXRecords[sparseRecord] = sparseMap(h.Size, parts)
		h.Size = 0
		for _, part := range parts {
			h.Size += part.length
		}
	}
	if err := p.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("pack %s: %w", h.Name, err)
	}
	for _, part := range parts {
		if _, err := io.Copy(p.tar, io.NewSectionReader(f, part.at, part.length)); err != nil {
			return fmt.Errorf("pack %s: %w", h.Name, err)
		}
	}
	return nil
}

func xattrs(file string, records map[string]string) error {
	names := make([]byte, 64<<10) // XATTR_LIST_MAX, xattr(7)
	n, err := unix.Llistxattr(file, names)
	if err == unix.ENOTSUP {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "list attributes", Path: file, Err: err}
	}
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if !keptXattr(name) {
			continue
		}
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err := unix.Lgetxattr(file, name, value)
		if err != nil {
			return &fs.PathError{Op: "read attribute " + name, Path: file, Err: err}
		}
		records[xattrRecord+name] = string(value[:n])
	}
	return nil
}

// part is a run of data in a file.
type part struct{ at, length int64 }

const (
	sparseFrom  = 1 << 20  // smaller files are written whole
	sparseBlock = 64 << 10 // a run of zeros is one of whole blocks
	maxParts    = 20_000   // a pax header has at most 1 MiB
)

// dataOf finds the parts of a file that are not zeros, by content: how a file
// system keeps them makes no difference.
func dataOf(f *os.File, size int64) ([]part, error) {
	var parts []part
	buf, zeros := make([]byte, sparseBlock), make([]byte, sparseBlock)
	for at := int64(0); at < size; at += sparseBlock {
		if at%(sparseBlock<<8) == 0 { // where nothing is stored nothing need be read
			data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
			if err == unix.ENXIO {
				break
			}
			if err == nil && data-at >= sparseBlock {
				at += (data - at) / sparseBlock * sparseBlock
			}
		}
		n, err := f.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if n == 0 || bytes.Equal(buf[:n], zeros[:n]) {
			continue
		}
		if last := len(parts) - 1; last >= 0 && parts[last].at+parts[last].length == at {
			parts[last].length += int64(n)
			continue
		}
		parts = append(parts, part{at, int64(n)})
	}
	if len(parts) > maxParts {
		return []part{{0, size}}, nil
	}
	return parts, nil
}

func sparseMap(size int64, parts []part) string {
	var b strings.Builder
	fmt.Fprint(&b, size)
	for _, p := range parts {
		fmt.Fprintf(&b, " %d:%d", p.at, p.length)
	}
	return b.String()
}

// parseSparse reads what sparseMap writes: parts in order, apart, within size.
func parseSparse(text string, data int64) (size int64, parts []part, err error) {
	bad := fmt.Errorf("%q does not describe a file with holes", text[:min(len(text), 40)])
	first, rest, _ := strings.Cut(text, " ")
	if size, err = strconv.ParseInt(first, 10, 64); err != nil || size < 0 || size > maxSparse {
		return 0, nil, bad
	}
	end, sum := int64(0), int64(0)
	for field := range strings.FieldsSeq(rest) {
		a, b, _ := strings.Cut(field, ":")
		at, err1 := strconv.ParseInt(a, 10, 64)
		length, err2 := strconv.ParseInt(b, 10, 64)
		if err1 != nil || err2 != nil || at < end || length <= 0 || length > size-at {
			return 0, nil, bad
		}
		end = at + length
		sum += length
		parts = append(parts, part{at, length})
	}
	if sum != data {
		return 0, nil, bad
	}
	return size, parts, nil
}
