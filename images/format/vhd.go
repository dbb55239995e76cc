package format

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"os"
)

// vhdFooterBytes follow the disk.
const vhdFooterBytes = 512

// writeVHD writes a fixed VHD: the disk and behind it a footer. qemu-img does the
// same, with a random id, the time, and sizes that Azure refuses when the disk is
// not of whole MiB.
func writeVHD(ctx context.Context, out, in *os.File, size int64, sum string) error {
	err := chunks(ctx, in, size, gcpGrain, func(at, _ int64, piece []byte) error {
		_, err := out.WriteAt(piece, at)
		return err
	})
	if err != nil {
		return err
	}
	footer, err := vhdFooter(size, sum)
	if err != nil {
		return err
	}
	_, err = out.WriteAt(footer, size)
	return err
}

// vhdFooter is "Hard Disk Footer Format" of Microsoft's Virtual Hard Disk Image
// Format Specification, version 1.0. Numbers are big endian.
func vhdFooter(size int64, sum string) ([]byte, error) {
	be := binary.BigEndian
	f := make([]byte, vhdFooterBytes)
	copy(f[0:], "conectix")
	be.PutUint32(f[8:], 2)           // features: none but the reserved bit
	be.PutUint32(f[12:], 0x00010000) // version
	be.PutUint64(f[16:], ^uint64(0)) // no further header: fixed
	be.PutUint32(f[24:], 0)          // made on 2000-01-01: there is no clock here
	// The creator is the one by which readers know, QEMU's among them, that the
	// size is that of the next fields and not the nearest one with whole
	// cylinders: what qemu-img writes with force_size.
	copy(f[28:], "qem2")
	be.PutUint32(f[32:], 0x00050003)
	copy(f[36:], "Wi2k")
	be.PutUint64(f[40:], uint64(size))
	be.PutUint64(f[48:], uint64(size))
	be.PutUint16(f[56:], 0xffff) // cylinders, heads, sectors: the largest
	f[58], f[59] = 16, 255
	be.PutUint32(f[60:], 2) // fixed
	id, err := hex.DecodeString(sum)
	if err != nil {
		return nil, err
	}
	copy(f[68:84], id)
	f[74] = f[74]&0x0f | 0x80 // a UUID of version 8, RFC 9562
	f[76] = f[76]&0x3f | 0x80
	be.PutUint32(f[64:], vhdChecksum(f))
	return f, nil
}

// vhdChecksum is the complement of the sum of all bytes but its own four.
func vhdChecksum(footer []byte) uint32 {
	sum := uint32(0)
	for i, b := range footer {
		if i < 64 || i >= 68 {
			sum += uint32(b)
		}
	}
	return ^sum
}
