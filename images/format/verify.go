package format

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// verify reads the file back and compares the disk in it with the image, which
// zeros may follow up to size.
func verify(ctx context.Context, f Format, img Image, size int64, qemuImg QEMUImg, file string) error {
	c := &comparison{sum: sha256.New(), rest: img.Bytes}
	var err error
	if f.Tools() {
		err = readByQEMU(ctx, f, qemuImg, file, c)
	} else {
		err = readStream(ctx, f, file, c)
	}
	if err != nil {
		return fmt.Errorf("read it back: %w", err)
	}
	if got := hex.EncodeToString(c.sum.Sum(nil)); got != img.SHA256 || c.total != size || c.dirty {
		return fmt.Errorf("what can be read from it is not the image: %d bytes that begin with SHA-256 %s, and the image has %d with %s; did image.raw change meanwhile? try again", c.total, got, img.Bytes, img.SHA256)
	}
	return nil
}

// comparison takes a disk: its beginning is hashed, the rest must be zeros.
type comparison struct {
	sum         hash.Hash
	rest, total int64
	dirty       bool
}

// Write implements io.Writer.
func (c *comparison) Write(p []byte) (int, error) {
	n := min(c.rest, int64(len(p)))
	c.sum.Write(p[:n])
	c.rest -= n
	c.total += int64(len(p))
	c.dirty = c.dirty || !allZeros(p[n:])
	return len(p), nil
}

// qemuNames are the formats' names with QEMU.
var qemuNames = map[Format]string{QCOW2: "qcow2", VMDK: "vmdk", VHD: "vpc"}

func readByQEMU(ctx context.Context, f Format, qemuImg QEMUImg, file string, to io.Writer) error {
	back := filepath.Join(filepath.Dir(file), "back.raw")
	defer os.Remove(back)
	if err := convert(ctx, qemuImg, file, back, "-f", qemuNames[f], "-O", "raw"); err != nil {
		return err
	}
	raw, err := os.Open(back)
	if err != nil {
		return err
	}
	defer raw.Close()
	info, err := raw.Stat()
	if err != nil {
		return err
	}
	return stream(ctx, to, raw, info.Size())
}

// readStream unpacks by other code than packed: the standard library's gzip and
// tar. For xz and zstd there is only one library.
func readStream(ctx context.Context, f Format, file string, to io.Writer) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	from := io.Reader(cancelled{ctx, in})
	switch f {
	case GCP, Gzip:
		z, err := gzip.NewReader(from)
		if err != nil {
			return err
		}
		from = z
	case XZ:
		if from, err = xz.NewReader(from); err != nil {
			return err
		}
	case Zstd:
		z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return err
		}
		defer z.Close()
		from = z
	}
	if f == GCP {
		return readTar(from, to)
	}
	_, err = io.CopyBuffer(to, struct{ io.Reader }{from}, make([]byte, chunkBytes))
	return err
}

// readTar wants one member, disk.raw.
func readTar(from io.Reader, to io.Writer) error {
	t := tar.NewReader(from)
	h, err := t.Next()
	if err != nil {
		return err
	}
	if h.Name != "disk.raw" {
		return fmt.Errorf("its first member is %q", h.Name)
	}
	if _, err := io.CopyBuffer(to, struct{ io.Reader }{t}, make([]byte, chunkBytes)); err != nil {
		return err
	}
	if h, err := t.Next(); err == nil {
		return fmt.Errorf("it has another member, %q", h.Name)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// cancelled is a reader that ends with its context.
type cancelled struct {
	ctx context.Context
	io.Reader
}

// Read implements io.Reader.
func (c cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}
