package format

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// chunkBytes is how much is read at once where nothing else matters.
const chunkBytes = 1 << 20

// zeros stand for a hole of a chunk.
var zeros = make([]byte, chunkBytes)

// chunks gives use the disk in pieces of n bytes, the last one maybe shorter.
// What is beyond the end of the file is zeros up to size. A piece of zeros alone
// is nil, whether the file has a hole there or not: what is made of the pieces
// depends on the bytes and not on how the file system keeps them. Holes are not
// read. The piece is valid during the call.
func chunks(ctx context.Context, f *os.File, size, n int64, use func(at, length int64, piece []byte) error) error {
	buf := make([]byte, n)
	for at := int64(0); at < size; at += n {
		if err := ctx.Err(); err != nil {
			return err
		}
		piece := buf[:min(n, size-at)]
		data, err := nextData(f, at, size)
		if err != nil {
			return err
		}
		if data >= at+int64(len(piece)) {
			piece = nil
		} else if piece, err = readAt(f, piece, at); err != nil {
			return err
		}
		if err := use(at, min(n, size-at), piece); err != nil {
			return err
		}
	}
	return nil
}

// readAt fills the piece, or returns nil when there are only zeros.
func readAt(f *os.File, piece []byte, at int64) ([]byte, error) {
	n, err := f.ReadAt(piece, at)
	if err != nil && err != io.EOF {
		return nil, err
	}
	clear(piece[n:])
	if allZeros(piece) {
		return nil, nil
	}
	return piece, nil
}

// allZeros: the first byte is zero, and each is like the one before it.
func allZeros(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

// nextData is where the file has data at or after at; size when nowhere.
func nextData(f *os.File, at, size int64) (int64, error) {
	data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	if err == unix.ENXIO {
		return size, nil
	}
	return data, err
}

// stream writes the whole disk, holes as zeros.
func stream(ctx context.Context, w io.Writer, f *os.File, size int64) error {
	return chunks(ctx, f, size, chunkBytes, func(_, length int64, piece []byte) error {
		if piece == nil {
			piece = zeros[:length]
		}
		_, err := w.Write(piece)
		return err
	})
}

// sumOf is the SHA-256 of the disk, in hex.
func sumOf(ctx context.Context, f *os.File, size int64) (string, error) {
	sum := sha256.New()
	if err := stream(ctx, sum, f, size); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
