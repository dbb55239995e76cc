package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"ingot/fault"
	"ingot/providers/install/writer"
)

// Image is a raw disk image.
type Image struct {
	Data   io.ReaderAt
	Bytes  int64
	SHA256 string // in hex
}

// pack writes an image so that zeros do not travel; see [writer] for the form. Equal
// images are packed to equal bytes.
func (i Image) pack(ctx context.Context, w io.Writer, read func(chunk []byte)) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(writer.WindowBytes), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return err
	}
	buf, zeros := make([]byte, writer.ChunkBytes), make([]byte, writer.ChunkBytes)
	for at := int64(0); at < i.Bytes; at += writer.ChunkBytes {
		if err := ctx.Err(); err != nil {
			return err
		}
		chunk := buf[:min(writer.ChunkBytes, i.Bytes-at)]
		if _, err := io.ReadFull(io.NewSectionReader(i.Data, at, int64(len(chunk))), chunk); err != nil {
			return fault.Machine(fmt.Errorf("read the image at %d: %w", at, err))
		}
		read(chunk)
		if bytes.Equal(chunk, zeros[:len(chunk)]) {
			continue
		}
		if _, err := z.Write(writer.AppendRecord(nil, at, len(chunk))); err != nil {
			return err
		}
		if _, err := z.Write(chunk); err != nil {
			return err
		}
	}
	if _, err := z.Write(writer.AppendRecord(nil, i.Bytes, 0)); err != nil {
		return err
	}
	return z.Close()
}

// measure reads an image once: whether it is the one that it should be, and how
// long it is when packed. A machine that has to hold it in memory must know that
// before.
func (i Image) measure(ctx context.Context) (packed int64, err error) {
	if i.Bytes <= 0 || i.Bytes%512 != 0 {
		return 0, fault.Input(fmt.Errorf("an image of %d bytes is no disk: give the image.raw of \"ingot build\"", i.Bytes))
	}
	sum := sha256.New()
	var count counter
	if err := i.pack(ctx, &count, func(chunk []byte) { sum.Write(chunk) }); err != nil {
		return 0, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != i.SHA256 {
		return 0, fault.Input(fmt.Errorf("the image has the SHA-256 %s, and %s is the one to be installed", got, i.SHA256))
	}
	return int64(count), nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
