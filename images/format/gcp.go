package format

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
)

// extent is a run of data in a sparse file, in bytes.
type extent struct{ start, length int64 }

// gcpGrain is the smallest hole. Larger than a block, so that the map stays
// small; zeros between data cost nothing after gzip.
const gcpGrain = 64 << 10

// writeGCP writes what Google Compute Engine imports: the result of "tar
// --format=oldgnu -Sczf image.tar.gz disk.raw". Go's archive/tar reads sparse
// files and does not write them.
func writeGCP(ctx context.Context, out io.Writer, in *os.File, size int64) error {
	var data []extent
	err := chunks(ctx, in, size, gcpGrain, func(at, length int64, piece []byte) error {
		switch last := len(data) - 1; {
		case piece == nil:
		case last >= 0 && data[last].start+data[last].length == at:
			data[last].length += length
		default:
			data = append(data, extent{at, length})
		}
		return nil
	})
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(out, 6)
	if err != nil {
		return err
	}
	if _, err := z.Write(sparseHeader("disk.raw", size, data)); err != nil {
		return err
	}
	for _, e := range data {
		n, err := io.Copy(z, cancelled{ctx, io.NewSectionReader(in, e.start, e.length)})
		if err != nil {
			return err
		}
		if n <= e.length-gcpGrain {
			return io.ErrUnexpectedEOF // the file became shorter
		}
		if _, err := z.Write(zeros[:e.length-n]); err != nil { // beyond the end of the file
			return err
		}
	}
	if _, err := z.Write(zeros[:2*tarBlock]); err != nil { // the end of an archive
		return err
	}
	return z.Close()
}

// Sizes of GNU tar's format, "Basic Tar Format" of its manual.
const (
	tarBlock       = 512
	sparseEntry    = 24 // two numbers of 12 bytes
	sparseInHeader = 4
	sparseInBlock  = 21
)

// sparseHeader is the header of a sparse file of whole blocks, and its map. The
// owner is root and the time 1970.
func sparseHeader(name string, size int64, data []extent) []byte {
	stored := int64(0)
	for _, e := range data {
		stored += e.length
	}
	// As GNU tar does: where the last hole ends.
	if n := len(data); n == 0 || data[n-1].start+data[n-1].length < size {
		data = append(data[:n:n], extent{size, 0})
	}
	h := make([]byte, tarBlock)
	copy(h[0:100], name)
	tarNumber(h[100:108], 0o644)
	tarNumber(h[108:116], 0)
	tarNumber(h[116:124], 0)
	tarNumber(h[124:136], stored)
	tarNumber(h[136:148], 0)
	copy(h[148:156], "        ") // the checksum counts itself as blanks
	h[156] = 'S'
	copy(h[257:265], "ustar  \x00")
	data = sparseMap(h[386:483], sparseInHeader, data)
	tarNumber(h[483:495], size)
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	for len(data) > 0 {
		more := make([]byte, tarBlock)
		data = sparseMap(more, sparseInBlock, data)
		h = append(h, more...)
	}
	return h
}

// sparseMap writes the first n extents and a mark when there are more, which it
// returns.
func sparseMap(b []byte, n int, data []extent) []extent {
	n = min(n, len(data))
	for i, e := range data[:n] {
		tarNumber(b[i*sparseEntry:][:12], e.start)
		tarNumber(b[i*sparseEntry+12:][:12], e.length)
	}
	if len(data) > n {
		b[n*sparseEntry] = 1
	}
	return data[n:]
}

// tarNumber writes octal digits, or as GNU tar does a binary number where there
// is no room for them: beyond 8 GiB in 12 bytes.
func tarNumber(field []byte, n int64) {
	digits := len(field) - 1
	if n < 1<<(3*digits) {
		copy(field, fmt.Sprintf("%0*o\x00", digits, n))
		return
	}
	binary.BigEndian.PutUint64(field[len(field)-8:], uint64(n))
	field[0] |= 0x80
}
