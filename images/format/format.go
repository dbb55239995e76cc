// Package format writes one raw disk image in the container formats that
// providers take. Every file is read back after it was written, by a program or
// library that did not write it where there is one, and compared with the image;
// equal images give equal files.
package format

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ingot/config/document"
	"ingot/fault"
)

// Format is the name of a container format.
type Format string

// The formats. Raw is the image itself.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"   // compressed
	VMDK  Format = "vmdk"    // streamOptimized
	VHD   Format = "vhd"     // fixed, of whole MiB
	GCP   Format = "gcp"     // disk.raw of whole GiB in a sparse tar, gzip
	Gzip  Format = "raw.gz"  // one member
	XZ    Format = "raw.xz"  // one stream
	Zstd  Format = "raw.zst" // one frame
)

// All are the formats in the order of the help.
var All = []Format{Raw, QCOW2, VMDK, VHD, GCP, Gzip, XZ, Zstd}

// Names lists the formats for people.
func Names() string { return strings.Join(names(), ", ") }

func names() []string {
	n := make([]string, len(All))
	for i, f := range All {
		n[i] = string(f)
	}
	return n
}

// Parse finds the formats by their names. One that is named twice counts once.
func Parse(wanted []string) ([]Format, error) {
	var found []Format
	for _, name := range wanted {
		f := Format(strings.ToLower(strings.TrimSpace(name)))
		if !slices.Contains(All, f) {
			return nil, fault.Input(unknown(name))
		}
		if !slices.Contains(found, f) {
			found = append(found, f)
		}
	}
	if len(found) == 0 {
		return nil, fault.Input(fmt.Errorf("name a format with --format: %s", Names()))
	}
	return found, nil
}

func unknown(name string) error {
	known := names()
	for _, f := range known {
		if short, ok := strings.CutPrefix(f, "raw."); ok {
			known = append(known, short)
		}
	}
	near := document.Nearest(name, known)
	switch {
	case near == "":
		return fmt.Errorf("there is no format %q; there are %s", name, Names())
	case !slices.Contains(names(), near):
		near = "raw." + near
	}
	return fmt.Errorf("there is no format %q; did you mean %s?", name, near)
}

// File is the name of the file, beside image.raw.
func (f Format) File() string {
	if f == GCP {
		return "image.tar.gz"
	}
	return "image." + string(f)
}

// Tools says whether qemu-img is needed, to write the file or to read it back.
func (f Format) Tools() bool { return f == QCOW2 || f == VMDK || f == VHD }

// unit is what the size of the disk must be a multiple of, in bytes.
func (f Format) unit() int64 {
	switch f {
	case VHD:
		return 1 << 20 // Azure: "virtual size aligned to 1 MiB"
	case GCP:
		return 1 << 30 // Google: "a multiple of 1 GB", and means GiB
	default:
		return 1
	}
}

// Image is a finished raw disk.
type Image struct {
	File   string
	SHA256 string // in hex
	Bytes  int64
}

// QEMUImg runs qemu-img.
type QEMUImg func(ctx context.Context, args ...string) error

// Open looks at a raw disk and computes its SHA-256.
func Open(ctx context.Context, file string) (Image, error) {
	f, err := os.Open(file)
	if err != nil {
		return Image{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Image{}, err
	}
	sum, err := sumOf(ctx, f, info.Size())
	return Image{File: file, SHA256: sum, Bytes: info.Size()}, err
}

// Write puts the image as f.File() into dir, a folder that holds nothing else
// and is thrown away when Write fails. The folder's name reaches no byte of the
// file. It needs as much room again for reading the file back.
func Write(ctx context.Context, f Format, img Image, qemuImg QEMUImg, dir string) error {
	if img.Bytes == 0 {
		return fault.Input(fmt.Errorf("%s is empty", img.File))
	}
	in, err := os.Open(img.File)
	if err != nil {
		return err
	}
	defer in.Close()
	file, size := filepath.Join(dir, f.File()), roundUp(img.Bytes, f.unit())
	switch f {
	case QCOW2:
		err = writeQCOW2(ctx, qemuImg, img, file)
	case VMDK:
		err = writeVMDK(ctx, qemuImg, img, file)
	case VHD:
		err = create(file, func(out *os.File) error { return writeVHD(ctx, out, in, size, img.SHA256) })
	case GCP:
		err = create(file, func(out *os.File) error { return writeGCP(ctx, out, in, size) })
	case Gzip:
		err = create(file, func(out *os.File) error { return writeGzip(ctx, out, in, size) })
	case XZ:
		err = create(file, func(out *os.File) error { return writeXZ(ctx, out, in, size) })
	case Zstd:
		err = create(file, func(out *os.File) error { return writeZstd(ctx, out, in, size) })
	default:
		err = fmt.Errorf("%s is not written: it is the image", f)
	}
	if err == nil {
		err = verify(ctx, f, img, size, qemuImg, file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", f.File(), err), os.RemoveAll(file))
	}
	return nil
}

// create makes a new file and has it filled.
func create(file string, fill func(*os.File) error) error {
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(fill(out), out.Close())
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }
