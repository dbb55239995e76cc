package assay

import (
	"encoding/binary"
	"testing"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

// region is where a partition's data lies in an image: the file system or the
// hash tree, not the empty rest of the slot.
func region(t *testing.T, image, partition string) (offset, length int64) {
	t.Helper()
	d, err := diskfs.Open(image, diskfs.WithOpenMode(diskfs.ReadOnly))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	table, err := d.GetPartitionTable()
	if err != nil {
		t.Fatal(err)
	}
	var root, wanted *gpt.Partition
	for _, p := range table.(*gpt.Table).Partitions {
		if p.Name == "root-a" {
			root = p
		}
		if p.Name == partition {
			wanted = p
		}
	}
	if wanted == nil || root == nil {
		t.Fatalf("the image has no partition %s", partition)
	}
	// EROFS superblock at 1024: blocks at offset 36, 4 KiB each
	// (Documentation/filesystems/erofs.rst, struct erofs_super_block).
	super := make([]byte, 64)
	if _, err := d.Backend.ReadAt(super, root.GetStart()+1024); err != nil {
		t.Fatal(err)
	}
	data := int64(binary.LittleEndian.Uint32(super[36:])) * 4096
	if partition != "root-a" {
		data /= 127 // one 32-byte hash for each 4 KiB, and for each block of those
	}
	return wanted.GetStart(), data
}
