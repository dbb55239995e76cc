package writer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// A packed image is one zstd stream of records: the offset (8 bytes, big endian),
// the length (4 bytes), and that much of the image. What no record has is zeros. The
// last record has the image's size as its offset and no length.

// ChunkBytes is the most that a record has, and what an image is looked at for zeros
// in.
const ChunkBytes = 1 << 20

// WindowBytes is how far back the compression looks: the machine needs that much
// memory.
const WindowBytes = 4 << 20

// recordHead is the length of what comes before a record's data.
const recordHead = 12

// AppendRecord makes the head of a record.
func AppendRecord(b []byte, offset int64, n int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, uint64(offset)), uint32(n))
}

// unpack hands the records of a packed image to put, and what is between them to
// zero. Every byte of the image comes exactly once, in order. The data is in buf,
// of ChunkBytes.
func unpack(r io.Reader, size int64, buf []byte, put func(offset int64, data []byte) error, zero func(offset, n int64) error) error {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(WindowBytes))
	if err != nil {
		return err
	}
	defer z.Close()
	var at int64
	for {
		var head [recordHead]byte
		if _, err := io.ReadFull(z, head[:]); err != nil {
			return lost(err)
		}
		offset, n := int64(binary.BigEndian.Uint64(head[:])), int64(binary.BigEndian.Uint32(head[8:]))
		if offset < at || n > ChunkBytes || offset > size || offset+n > size {
			return fmt.Errorf("the packed image has %d bytes for %d, after %d of %d", n, offset, at, size)
		}
		if offset > at {
			if err := zero(at, offset-at); err != nil {
				return err
			}
		}
		if n == 0 {
			if offset != size {
				return errors.New("the packed image ends before the image")
			}
			return atEnd(z)
		}
		if _, err := io.ReadFull(z, buf[:n]); err != nil {
			return lost(err)
		}
		if err := put(offset, buf[:n]); err != nil {
			return err
		}
		at = offset + n
	}
}

// atEnd reads the end of the stream, where zstd's own checksum is.
func atEnd(r io.Reader) error {
	n, err := io.Copy(io.Discard, r)
	if err == nil && n > 0 {
		return errors.New("something follows the packed image")
	}
	return lost(err)
}
