package store

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Names of what hides a lower layer (OCI image specification, layer.md,
// "Whiteouts").
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// maxFiles and maxID keep an image from taking all memory, or owners that a build
// by an ordinary user does not have.
const (
	maxFiles = 1_000_000
	maxID    = 65536
	maxName  = 4095     // bytes, PATH_MAX without its end
	maxBytes = 16 << 30 // of all layers' files
)

// node is a folder, a file or a link of the file system that an image's layers
// are together.
type node struct {
	header  tar.Header
	place   place            // of its content, in the layers
	below   map[string]*node // of a folder
	content *node            // of a hard link: the file it is another name of
}

// place is the position of a file among the layers' entries.
type place struct{ layer, entry int }

func newFolder(layer int) *node {
	return &node{header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}, place: place{layer, -1}, below: map[string]*node{}}
}

// flattener puts layers over each other as overlayfs does: it follows no link.
type flattener struct {
	root  *node
	files int
	bytes int64
}

// flatten reads the layers' headers.
func flatten(layers []v1.Layer) (*node, error) {
	f := flattener{root: newFolder(0)}
	for i, layer := range layers {
		entry := 0
		err := eachEntry(layer, func(h *tar.Header, _ io.Reader) error {
			f.files++
			f.bytes += h.Size
			err := f.add(h, place{i, entry})
			if f.files > maxFiles || f.bytes > maxBytes {
				return fmt.Errorf("there are more than %d files, or they have more than %d GiB", maxFiles, maxBytes>>30)
			}
			entry++
			if err != nil {
				return fmt.Errorf("%q: %w", h.Name, err)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	return f.root, nil
}

func eachEntry(layer v1.Layer, visit func(*tar.Header, io.Reader) error) error {
	content, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer content.Close()
	t := tar.NewReader(content)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, content) // the digest is that of the whole
			return err
		}
		if err == nil {
			err = visit(h, t)
		}
		if err != nil {
			return err
		}
	}
}

// add puts one entry of a layer over what is there.
func (f *flattener) add(h *tar.Header, at place) error {
	if len(h.Name) > maxName || len(h.Linkname) > maxName {
		return fmt.Errorf("the name has more than %d bytes", maxName)
	}
	name := path.Clean(strings.TrimPrefix(h.Name, "/"))
	if !filepath.IsLocal(name) || strings.ContainsRune(name, 0) {
		return errors.New("the name leads out of the image")
	}
	if h.Uid < 0 || h.Uid >= maxID || h.Gid < 0 || h.Gid >= maxID {
		return fmt.Errorf("it belongs to %d:%d; ids up to %d can be used", h.Uid, h.Gid, maxID-1)
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return errors.New("the image itself is no folder")
		}
		f.root.header.Mode, f.root.header.Uid, f.root.header.Gid = h.Mode, h.Uid, h.Gid
		return nil
	}
	parent, base := f.folder(path.Dir(name), at.layer), path.Base(name)
	if base == opaque {
		maps.DeleteFunc(parent.below, func(_ string, n *node) bool { return f.lower(n, at.layer) })
		return nil
	}
	if hidden, ok := strings.CutPrefix(base, whiteout); ok {
		if n := parent.below[hidden]; n != nil && f.lower(n, at.layer) { // what this layer has there stays
			delete(parent.below, hidden)
		}
		return nil
	}
	n := &node{place: at, header: tar.Header{
		Typeflag: h.Typeflag, Mode: h.Mode, Uid: h.Uid, Gid: h.Gid, Size: h.Size, Linkname: h.Linkname,
	}}
	switch h.Typeflag {
	case tar.TypeDir:
		n.below = map[string]*node{}
		if there := parent.below[base]; there != nil && there.below != nil {
			n.below = there.below
		}
	case tar.TypeReg, tar.TypeGNUSparse: // the latter is read with its holes
	case tar.TypeSymlink:
		if h.Linkname == "" || strings.ContainsRune(h.Linkname, 0) {
			return errors.New("the link leads nowhere")
		}
	case tar.TypeLink:
		target := f.find(path.Clean(strings.TrimPrefix(h.Linkname, "/")))
		if target == nil || target.below != nil {
			return fmt.Errorf("it is another name of %q, which is no file", h.Linkname)
		}
		if target.content != nil {
			target = target.content
		}
		n.content = target
		if target.header.Typeflag == tar.TypeSymlink {
			n = &node{header: target.header, place: at} // a second link serves
		}
	default:
		return nil // devices are Podman's to make, in /dev
	}
	parent.below[base] = n
	return nil
}

// lower reports whether a node is of a layer below this one only; what this one
// has put into a lower folder stays.
func (f *flattener) lower(n *node, layer int) bool {
	maps.DeleteFunc(n.below, func(_ string, below *node) bool { return f.lower(below, layer) })
	return n.place.layer != layer && len(n.below) == 0
}

// folder is the one of a name. What is none, or is missing, becomes one.
func (f *flattener) folder(name string, layer int) *node {
	n := f.root
	if name == "." {
		return n
	}
	for part := range strings.SplitSeq(name, "/") {
		next := n.below[part]
		if next == nil || next.below == nil {
			next = newFolder(layer)
			f.files++
			n.below[part] = next
		}
		n = next
	}
	return n
}

func (f *flattener) find(name string) *node {
	n := f.root
	for part := range strings.SplitSeq(name, "/") {
		if n = n.below[part]; n == nil {
			return nil
		}
	}
	return n
}

// diff is the SHA-256 and the size of the file system as a tar of its own.
type diff struct {
	digest v1.Hash
	bytes  int64
}

// write writes the file system as a tar below a folder: folders before what is in
// them, then the files in the order of the layers, then further names of files,
// and links last, so that nobody who unpacks it goes through one.
func (n *node) write(t *tar.Writer, below string, layers []v1.Layer, epoch time.Time) (diff, error) {
	sum := &summed{hash: sha256.New()}
	w := writer{tar: t, diff: tar.NewWriter(sum), below: below, epoch: epoch, files: map[place]string{}}
	if err := w.all(n, layers); err != nil {
		return diff{}, err
	}
	err := w.diff.Close()
	return diff{v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.hash.Sum(nil))}, sum.bytes}, err
}

type summed struct {
	hash  hash.Hash
	bytes int64
}

// Write implements [io.Writer].
func (s *summed) Write(p []byte) (int, error) {
	s.bytes += int64(len(p))
	return s.hash.Write(p)
}

func (w *writer) all(n *node, layers []v1.Layer) error {
	if err := w.folder(n, "."); err != nil {
		return err
	}
	for i, layer := range layers {
		entry := 0
		err := eachEntry(layer, func(h *tar.Header, content io.Reader) error {
			name, wanted := w.files[place{i, entry}]
			entry++
			if !wanted {
				return nil
			}
			if err := w.header(name, *h, tar.TypeReg, ""); err != nil {
				return err
			}
			_, err := io.Copy(io.MultiWriter(w.tar, w.diff), content)
			return err
		})
		if err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	for _, l := range slices.Concat(w.names, w.links) {
		if err := w.header(l.name, l.header, l.header.Typeflag, l.header.Linkname); err != nil {
			return err
		}
	}
	return nil
}

type writer struct {
	tar          *tar.Writer
	diff         *tar.Writer // the same without the folder
	below        string
	epoch        time.Time
	files        map[place]string // first name of each file
	names, links []link
}

type link struct {
	name   string
	header tar.Header
}

// folder writes a folder and those in it, and notes the rest.
func (w *writer) folder(n *node, name string) error {
	if err := w.header(name, n.header, tar.TypeDir, ""); err != nil {
		return err
	}
	for _, base := range slices.Sorted(maps.Keys(n.below)) {
		below, full := n.below[base], path.Join(name, base)
		switch {
		case below.below != nil:
			if err := w.folder(below, full); err != nil {
				return err
			}
		case below.header.Typeflag == tar.TypeSymlink:
			w.links = append(w.links, link{full, below.header})
		default:
			content := below
			if below.content != nil {
				content = below.content
			}
			first, named := w.files[content.place]
			if !named {
				w.files[content.place] = full
				continue
			}
			h := content.header
			h.Typeflag, h.Linkname = tar.TypeLink, first
			w.names = append(w.names, link{full, h})
		}
	}
	return nil
}

// setID are the bits that make a program run as another account. In a container
// they have no effect, in the root they would be a way in.
const setID = 0o6000

func (w *writer) header(name string, h tar.Header, kind byte, target string) error {
	out := tar.Header{
		Typeflag: kind, Name: name, Linkname: target, Mode: h.Mode & 0o7777 &^ setID,
		Uid: h.Uid, Gid: h.Gid, ModTime: w.epoch, Format: tar.FormatPAX,
	}
	switch kind {
	case tar.TypeReg:
		out.Size = h.Size
	case tar.TypeSymlink:
		out.Mode = 0o777 // as every link has on a disk
	}
	if err := w.diff.WriteHeader(&out); err != nil {
		return err
	}
	out.Name = path.Join(w.below, name)
	if kind == tar.TypeLink {
		out.Linkname = path.Join(w.below, target)
	}
	return w.tar.WriteHeader(&out)
}
