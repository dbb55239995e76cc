package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

const sectorSize = 512

// verityType is from the Discoverable Partitions Specification: the hash tree
// of an amd64 root.
const verityType = "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5"

func readTable(f *os.File, size int64) ([]Partition, error) {
	for _, at := range []int64{sectorSize, size - sectorSize} {
		if err := checkHeader(f, at); err != nil {
			return nil, err
		}
	}
	table, err := gpt.Read(f, sectorSize, sectorSize)
	if err != nil {
		return nil, err
	}
	var list []Partition
	for n, p := range table.Partitions {
		if p.Type == gpt.Unused {
			continue
		}
		// In sectors, which cannot overflow: an end is a sector of the file.
		if p.Start > p.End || p.End >= uint64(size/sectorSize) {
			return nil, fmt.Errorf("partition %d is not within the file of %d bytes; is the file whole?", n+1, size)
		}
		list = append(list, Partition{
			Number: n + 1, Name: p.Name, Type: strings.ToUpper(string(p.Type)), UUID: strings.ToUpper(p.GUID),
			Start: int64(p.Start) * sectorSize, Bytes: int64(p.End-p.Start+1) * sectorSize,
		})
	}
	return list, nil
}

// checkHeader refuses a table whose size go-diskfs would take from the header,
// however large.
func checkHeader(f io.ReaderAt, at int64) error {
	b := make([]byte, sectorSize)
	if at < 0 {
		return errors.New("the file is too short")
	}
	if _, err := f.ReadAt(b, at); err != nil {
		return fmt.Errorf("the file is too short: %w", err)
	}
	if string(b[:8]) != "EFI PART" { // UEFI 2.10, 5.3.2
		return fmt.Errorf("there is no GPT at byte %d", at)
	}
	entries, each := binary.LittleEndian.Uint32(b[80:]), binary.LittleEndian.Uint32(b[84:])
	if entries > 128 || each != 128 {
		return fmt.Errorf("the GPT at byte %d has %d entries of %d bytes; it must be at most 128 of 128", at, entries, each)
	}
	return nil
}

// sealed are the partitions of the root and its hash tree.
func (i *Image) sealed() (root, tree Partition, err error) {
	if root, err = i.partition("root", string(gpt.LinuxRootX86_64)); err != nil {
		return root, tree, err
	}
	tree, err = i.partition("hash tree of the root", verityType)
	return root, tree, err
}

// partition is the first one of a type.
func (i *Image) partition(what, kind string) (Partition, error) {
	n := slices.IndexFunc(i.Partitions, func(p Partition) bool { return strings.EqualFold(p.Type, kind) })
	if n < 0 {
		return Partition{}, fmt.Errorf("there is no partition for the %s", what)
	}
	return i.Partitions[n], nil
}

func part(f io.ReaderAt, p Partition) *io.SectionReader {
	return io.NewSectionReader(f, p.Start, p.Bytes)
}
