// Package inspect looks into a finished image file and compares two of them. It
// takes nothing from the build: what it says is what the bytes say.
package inspect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"ingot/fault"
	"ingot/images"
)

// Image is what an image file holds, as plain data. Sizes are in bytes, digests
// are SHA-256 in hex.
type Image struct {
	Path       string      `json:"image"`
	SHA256     string      `json:"sha256"` // of the image file
	Bytes      int64       `json:"bytes"`
	DiskBytes  int64       `json:"disk_bytes"` // what it takes, as it is sparse
	Partitions []Partition `json:"partitions"`
	RootHash   string      `json:"root_hash"` // of a/slot.cfg on the ESP, which the machine boots with
	// Broken says how the root differs from its root hash; empty when every
	// block is as it was sealed.
	Broken    string     `json:"broken,omitempty"`
	System    string     `json:"system"` // "Debian GNU/Linux 13 (trixie)"
	Kernel    Kernel     `json:"kernel"`
	RootBytes int64      `json:"root_bytes"` // of the compressed file system
	ESP       []File     `json:"esp"`
	Packages  []Package  `json:"packages"`
	Files     []File     `json:"files"` // of the root, sorted by path
	Units     []Unit     `json:"units"`
	Sockets   []Socket   `json:"sockets"`
	Ports     []Port     `json:"ports"`
	Users     []User     `json:"users"`
	Groups    []Group    `json:"groups"`
	Documents []Document `json:"documents"` // what the build says of itself, in /usr/share/ingot
}

// Partition is an entry of the partition table.
type Partition struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	Type   string `json:"type"` // UUID
	UUID   string `json:"uuid"`
	Start  int64  `json:"start"`
	Bytes  int64  `json:"bytes"`
}

// Kernel is what the ESP boots.
type Kernel struct {
	Version   string   `json:"version"` // as the kernel itself names it
	Arguments []string `json:"arguments"`
	SHA256    string   `json:"sha256"`
	Initrd    string   `json:"initrd_sha256"`
	// Config is the digest of its configuration; empty when the image has none, as
	// those of earlier versions of Ingot. Options are what is set there.
	Config  string            `json:"config_sha256,omitempty"`
	Options map[string]string `json:"-"`
}

// File is a file of the root or of the ESP.
type File struct {
	Path string `json:"path"`
	Type string `json:"type"` // file, directory, link, or other
	Mode string `json:"mode"` // octal, such as 0644; on the ESP always 0755
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
	// Bytes is the length and Stored what it takes in the image; further names
	// of a file take nothing.
	Bytes   int64  `json:"bytes"`
	Stored  int64  `json:"stored"`
	SHA256  string `json:"sha256,omitempty"`
	Target  string `json:"target,omitempty"`  // of a link
	Package string `json:"package,omitempty"` // whose it is; none for what layers and scripts made
}

// Document is a file that the build left in the image about itself.
type Document struct {
	Path   string `json:"path"`
	Kind   string `json:"kind"` // such as "SPDX-2.3"; JSON, or text
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	// Content is the document, when it is JSON.
	Content json.RawMessage `json:"content,omitempty"`
}

// Read looks into the image file. A file that is none, or is damaged so that it
// cannot be read, is an error of the input; one whose bytes are not those that
// were sealed is described, with Broken set.
func Read(ctx context.Context, file string, cache images.Cache) (image Image, err error) {
	f, err := os.Open(file)
	if err != nil {
		return Image{}, fault.Input(fmt.Errorf("open the image: %w", err))
	}
	defer f.Close()
	// The readers of tables and file systems are other people's, and a damaged
	// image is allowed to surprise them.
	defer func() {
		if v := recover(); v != nil {
			err = fault.Input(fmt.Errorf("%s is damaged: %v", file, v))
		}
	}()
	image = Image{Path: file}
	if err := image.read(ctx, f, cache); err != nil {
		if kind := fault.Of(err); ctx.Err() == nil && (kind == fault.Unknown || kind == fault.OfInput) {
			err = fault.Input(fmt.Errorf("%s is no image of Ingot's, or is damaged: %w", file, err))
		}
		return Image{}, err
	}
	return image, nil
}

func (i *Image) read(ctx context.Context, f *os.File, cache images.Cache) error {
	// 1. The disk.
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a file")
	}
	i.Bytes = info.Size()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		i.DiskBytes = st.Blocks * 512 // st_blocks counts in 512 bytes, stat(2)
	}
	if i.Partitions, err = readTable(f, i.Bytes); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	// 2. What boots.
	if err := i.readESP(ctx, f); err != nil {
		return fmt.Errorf("ESP: %w", err)
	}
	// 3. The seal.
	root, tree, err := i.sealed()
	if err != nil {
		return err
	}
	sealed, broken, err := verify(ctx, part(f, root), part(f, tree), i.RootHash, root, tree)
	if err != nil {
		return fmt.Errorf("verity: %w", err)
	}
	i.Broken = broken
	// 4. The files. The machine does not see what of the partition is not sealed.
	root.Bytes = sealed
	kept, err := i.readRoot(ctx, f, root, cache)
	if err != nil && i.Broken != "" {
		err = fmt.Errorf("%w; %s", err, i.Broken)
	}
	if err != nil {
		return err
	}
	// 5. What they say.
	if err := i.readFiles(kept); err != nil {
		return err
	}
	i.SHA256, err = sum(ctx, io.NewSectionReader(f, 0, i.Bytes))
	return err
}

// sum is the SHA-256 of what is read, until ctx ends.
func sum(ctx context.Context, r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, &interruptible{ctx, r}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// interruptible ends a reader with its context.
type interruptible struct {
	ctx context.Context
	io.Reader
}

// Read implements io.Reader.
func (i *interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.Reader.Read(p)
}
