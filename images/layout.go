package images

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"ingot/layers"
	"ingot/layers/system"
)

const (
	mib        = 1 << 20
	sectorSize = 512

	biosBytes = 1 * mib
	espBytes  = 128 * mib // two slots, each of a kernel and an initrd of 35 MiB today
)

// Partition numbers. GRUB finds its configuration by the ESP's number.
const (
	biosIndex = iota + 1
	espIndex
	verityIndex
	rootIndex
)

// layout is where everything is on the disk.
type layout struct {
	table *gpt.Table
	bytes int64
}

// newLayout places the four partitions that a shipped disk has, for a root file
// system of so many bytes and slots of so many. The root comes last and ends with
// its data, so that an image is no larger than what is in it: on the machine's
// own disk systemd-repart grows it to the slot, and adds root-b, verity-b and var.
func newLayout(rootHash string, slot, root int64) layout {
	var l layout
	next := int64(mib)
	add := func(index int, name string, kind gpt.Type, size int64, id string) {
		l.table.Partitions = append(l.table.Partitions, &gpt.Partition{
			Index: index, Name: name, Type: kind, GUID: id,
			Start: uint64(next / sectorSize), End: uint64((next+size)/sectorSize - 1), Size: uint64(size),
		})
		next += size
	}
	l.table = &gpt.Table{LogicalSectorSize: sectorSize, PhysicalSectorSize: sectorSize, ProtectiveMBR: true, GUID: derivedUUID("disk", rootHash)}
	add(biosIndex, "bios", gpt.BIOSBoot, biosBytes, derivedUUID("bios", rootHash))
	add(espIndex, "esp", gpt.EFISystemPartition, espBytes, derivedUUID("esp", rootHash))
	add(verityIndex, "verity-a", linuxRootVerityX86_64, layers.VerityBytes(slot), hashUUID(rootHash[32:]))
	add(rootIndex, "root-a", gpt.LinuxRootX86_64, (root+mib-1)/mib*mib, hashUUID(rootHash[:32]))
	l.bytes = next + mib // the backup table
	return l
}

// SmallestDisk is how large a machine's disk must be, in bytes, for slots of so many:
// the image's partitions, those that the first boot makes, and the two tables.
func SmallestDisk(slot int64) int64 {
	return mib + biosBytes + espBytes + 2*(layers.VerityBytes(slot)+slot) + system.MinVarBytes + mib
}

// linuxRootVerityX86_64 is from the Discoverable Partitions Specification.
const linuxRootVerityX86_64 gpt.Type = "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5"

// start is the byte offset of a partition.
func (l layout) start(index int) int64 {
	for _, p := range l.table.Partitions {
		if p.Index == index {
			return int64(p.Start) * sectorSize
		}
	}
	panic(fmt.Sprintf("no partition %d", index))
}

// hashUUID writes 32 hex digits as a UUID.
func hashUUID(digits string) string {
	d := strings.ToUpper(digits)
	return strings.Join([]string{d[:8], d[8:12], d[12:16], d[16:20], d[20:32]}, "-")
}

// derivedUUID is a version 8 UUID (RFC 9562: custom) that depends on the root
// hash, so that equal images have equal bytes and different ones different ids.
func derivedUUID(what, rootHash string) string {
	sum := sha256.Sum256([]byte("ingot " + what + " " + rootHash))
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return hashUUID(hex.EncodeToString(sum[:16]))
}
