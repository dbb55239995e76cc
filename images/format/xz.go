package format

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"runtime"

	"github.com/ulikunitz/xz"
	"golang.org/x/sync/errgroup"
)

// xzBlockBytes is how much of the disk goes into one block. The dictionary has
// 8 MiB, that of xz -6.
const xzBlockBytes = 16 << 20

// xzWorkers limits the memory: a worker takes some 60 MiB.
func xzWorkers() int { return min(runtime.GOMAXPROCS(0), 4) }

// xzBlock is a compressed block with its padding, and its record in the index.
type xzBlock struct {
	bytes                  []byte
	unpadded, uncompressed uint64
}

// writeXZ writes one stream of many blocks, as xz -T does. The library writes
// one block after the other, and takes as long for zeros as for data: here blocks
// are compressed at the same time, and that of zeros once. The format is "The .xz
// File Format", version 1.2.1.
func writeXZ(ctx context.Context, out io.Writer, in *os.File, size int64) error {
	group, ctx := errgroup.WithContext(ctx)
	queue := make(chan chan xzBlock, xzWorkers())
	group.Go(func() error {
		defer close(queue)
		return compressBlocks(ctx, in, size, queue)
	})
	group.Go(func() error { return joinBlocks(ctx, out, queue) })
	return group.Wait()
}

// compressBlocks puts the blocks into the queue in their order, before they are
// done.
func compressBlocks(ctx context.Context, in *os.File, size int64, queue chan<- chan xzBlock) error {
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(xzWorkers())
	holes := map[int64]xzBlock{} // by length
	err := chunks(ctx, in, size, xzBlockBytes, func(_, length int64, piece []byte) error {
		done := make(chan xzBlock, 1)
		select {
		case queue <- done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if piece != nil {
			piece = bytes.Clone(piece)
			workers.Go(func() error {
				b, err := compressBlock(piece)
				done <- b
				return err
			})
			return nil
		}
		hole, known := holes[length]
		if !known {
			var err error
			if hole, err = compressBlock(make([]byte, length)); err != nil {
				return err
			}
			holes[length] = hole
		}
		done <- hole
		return nil
	})
	return errors.Join(err, workers.Wait())
}

// Sizes of the container: stream header and footer, and what comes before the
// single record of an index.
const (
	xzHeaderBytes = 12
	xzFooterBytes = 12
	xzIndexStart  = 2
)

// compressBlock has the library write a stream of one block and takes the block
// out of it.
func compressBlock(b []byte) (xzBlock, error) {
	var s bytes.Buffer
	z, err := xz.NewWriter(&s)
	if err != nil {
		return xzBlock{}, err
	}
	if _, err := z.Write(b); err != nil {
		return xzBlock{}, err
	}
	if err := z.Close(); err != nil {
		return xzBlock{}, err
	}
	footer := s.Len() - xzFooterBytes
	index := footer - 4*(int(binary.LittleEndian.Uint32(s.Bytes()[footer+4:]))+1)
	record := s.Bytes()[index+xzIndexStart : footer]
	unpadded, n := binary.Uvarint(record)
	uncompressed, _ := binary.Uvarint(record[n:])
	if uncompressed != uint64(len(b)) {
		return xzBlock{}, errors.New("the xz library wrote another stream than was expected")
	}
	return xzBlock{s.Bytes()[xzHeaderBytes:index], unpadded, uncompressed}, nil
}

// joinBlocks writes the stream around the blocks.
func joinBlocks(ctx context.Context, out io.Writer, queue <-chan chan xzBlock) error {
	le := binary.LittleEndian
	flags := []byte{0, 4} // with CRC64, the library's default
	header := le.AppendUint32(append([]byte("\xfd7zXZ\x00"), flags...), crc32.ChecksumIEEE(flags))
	if _, err := out.Write(header); err != nil {
		return err
	}
	var records []byte
	count := uint64(0)
	for done := range queue {
		var b xzBlock
		select {
		case b = <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := out.Write(b.bytes); err != nil {
			return err
		}
		records = binary.AppendUvarint(binary.AppendUvarint(records, b.unpadded), b.uncompressed)
		count++
	}
	index := append(binary.AppendUvarint([]byte{0}, count), records...)
	index = append(index, zeros[:-len(index)&3]...)
	index = le.AppendUint32(index, crc32.ChecksumIEEE(index))
	backward := append(le.AppendUint32(nil, uint32(len(index)/4-1)), flags...)
	footer := append(append(le.AppendUint32(nil, crc32.ChecksumIEEE(backward)), backward...), "YZ"...)
	_, err := out.Write(append(index, footer...))
	return err
}
