package writer

import (
	"bytes"
	"context"
	"fmt"
)

// disk is what is written to.
type disk interface {
	ReadAt(p []byte, offset int64) (int, error)
	WriteAt(p []byte, offset int64) (int, error)
	Zero(offset, n int64) error
	Discard(offset, n int64) error
	Flush() error
}

const mib = 1 << 20

// edgeBytes are zeroed at both ends of everything that was on the disk. There are the
// marks by which file systems, volumes and tables are found: the deepest at a
// beginning is btrfs' at 64 KiB, the highest at an end are ZFS' within 512 KiB.
const edgeBytes = 1 * mib

// discardStep is how much is discarded at once, in bytes: a disk may take long, and
// somebody waits for a sign of life.
const discardStep = 1 << 30

// edges are the ranges behind an image that must hold zeros: the end of the disk,
// where an old partition table has its copy, and both ends of each partition, where
// an old file system would come to light again when a new partition begins at the
// same place.
func edges(size, image int64, partitions []span) []span {
	var list []span
	add := func(from, to int64) {
		from, to = max(from, image), min(to, size)
		if from < to {
			list = append(list, span{from, to - from})
		}
	}
	add(image, image+edgeBytes)
	for _, p := range partitions {
		end := p.offset + p.n
		add(p.offset, min(p.offset+edgeBytes, end))
		add(max(end-edgeBytes, p.offset), end)
	}
	add(size-edgeBytes, size)
	return list
}

// clear makes a disk forget what was behind the image's end. It comes before the
// image is written: when that is cut short, the old partition table is gone, and
// with it the knowledge of where the edges were.
func clear(ctx context.Context, d disk, size, image int64, edges []span, tell func(Event)) error {
	// The image's first sectors are cleared too, or a machine that is cut off now
	// boots a system with holes.
	if err := d.Zero(0, min(edgeBytes, image)); err != nil {
		return fmt.Errorf("clear the partition table: %w", err)
	}
	for at := image; at < size; at += discardStep {
		if err := ctx.Err(); err != nil {
			return err
		}
		if d.Discard(at, min(discardStep, size-at)) != nil {
			break // most disks cannot, and nothing relies on it
		}
		tell(Event{Step: Clearing, Done: min(at+discardStep, size) - image, Of: size - image})
	}
	for _, e := range edges {
		if err := d.Zero(e.offset, e.n); err != nil {
			return fmt.Errorf("clear the disk at %d: %w", e.offset, err)
		}
	}
	return nil
}

// cleared reads the edges back.
func cleared(d disk, edges []span, buf []byte) error {
	zeros := make([]byte, len(buf))
	for _, e := range edges {
		for at := e.offset; at < e.offset+e.n; at += int64(len(buf)) {
			p := buf[:min(int64(len(buf)), e.offset+e.n-at)]
			if _, err := d.ReadAt(p, at); err != nil {
				return fmt.Errorf("read the disk at %d: %w", at, err)
			}
			if !bytes.Equal(p, zeros[:len(p)]) {
				return fmt.Errorf("the disk does not keep what is written to it: zeros at %d read back as something else", at)
			}
		}
	}
	return nil
}
