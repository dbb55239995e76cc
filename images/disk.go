package images

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
)

// espFile is one file of the EFI system partition.
type espFile struct {
	path     string
	contents []byte
}

// parts is everything that goes onto the disk.
type parts struct {
	rootHash string
	slot     int64
	epoch    int64
	boot     bootCode
	esp      []espFile
	root     string // file
	verity   string // file
}

func (p parts) layout() (layout, error) {
	root, err := os.Stat(p.root)
	if err != nil {
		return layout{}, err
	}
	return newLayout(p.rootHash, p.slot, root.Size()), nil
}

// writeDisk assembles the disk in an empty file, which becomes sparse.
func writeDisk(f *os.File, p parts) error {
	if err := checkESP(p.esp); err != nil {
		return err
	}
	l, err := p.layout()
	if err != nil {
		return err
	}
	if err := writeTableAndESP(f, l, p); err != nil {
		return err
	}
	if err := mendParents(f, l.start(espIndex)); err != nil {
		return err
	}
	if err := p.boot.write(f, l.start(biosIndex)); err != nil {
		return err
	}
	if err := fill(f, l, rootIndex, p.root); err != nil {
		return err
	}
	return fill(f, l, verityIndex, p.verity)
}

// checkESP refuses a kernel and an initrd that leave the other slot too little
// room: the next ones may be larger.
func checkESP(files []espFile) error {
	total := 0
	for _, f := range files {
		total += len(f.contents)
	}
	if most := espBytes * maxFill / 100 / 2; total > most {
		return fmt.Errorf("the kernel, the initrd and the boot loader have %d MiB, and a slot of the ESP has room for %d; this is a limit of Ingot's: say so in an issue", total/mib, most/mib)
	}
	return nil
}

func writeTableAndESP(f *os.File, l layout, p parts) error {
	// go-diskfs takes the time of a reproducible file system from here.
	if err := os.Setenv("SOURCE_DATE_EPOCH", strconv.FormatInt(p.epoch, 10)); err != nil {
		return err
	}
	if err := f.Truncate(l.bytes); err != nil {
		return err
	}
	d, err := diskfs.OpenBackend(file.New(f, false), diskfs.WithSectorSize(diskfs.SectorSize512))
	if err != nil {
		return fmt.Errorf("create the disk: %w", err)
	}
	if err := d.Partition(l.table); err != nil {
		return fmt.Errorf("write the partition table: %w", err)
	}
	fs, err := d.CreateFilesystem(disk.FilesystemSpec{Partition: espIndex, FSType: filesystem.TypeFat32, VolumeLabel: "INGOT-ESP", Reproducible: true})
	if err != nil {
		return fmt.Errorf("format the ESP: %w", err)
	}
	var made []string
	for _, e := range p.esp {
		if dir := path.Dir(e.path); dir != "/" && !slices.Contains(made, dir) {
			if err := fs.Mkdir(dir); err != nil {
				return fmt.Errorf("make %s on the ESP: %w", dir, err)
			}
			made = append(made, dir)
		}
		if err := writeESPFile(fs, e); err != nil {
			return fmt.Errorf("write %s to the ESP: %w", e.path, err)
		}
	}
	return nil
}

func writeESPFile(fs filesystem.FileSystem, e espFile) error {
	f, err := fs.OpenFile(e.path, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	// One large write: go-diskfs walks the cluster chain for each.
	if _, err := f.Write(e.contents); err != nil {
		return err
	}
	return f.Close()
}

// mendParents corrects what go-diskfs 1.9.4 gets wrong: the ".." entry of a
// folder in the root directory must name cluster 0 (Microsoft FAT
// specification 1.03, section 6.5), or fsck.vfat complains.
func mendParents(f *os.File, start int64) error {
	boot := make([]byte, sectorSize)
	if _, err := f.ReadAt(boot, start); err != nil {
		return err
	}
	le := binary.LittleEndian
	perSector, perCluster := int64(le.Uint16(boot[11:])), int64(boot[13])
	reserved, fats, fatSectors := int64(le.Uint16(boot[14:])), int64(boot[16]), int64(le.Uint32(boot[36:]))
	clusterBytes := perSector * perCluster
	data := start + (reserved+fats*fatSectors)*perSector
	cluster := func(n int64) int64 { return data + (n-2)*clusterBytes }

	root := make([]byte, clusterBytes)
	if _, err := f.ReadAt(root, cluster(int64(le.Uint32(boot[44:])))); err != nil {
		return err
	}
	const entryBytes, attrs, directory, longName = 32, 11, 0x10, 0x0f
	for e := range slices.Chunk(root, entryBytes) {
		if e[0] == 0 {
			return nil
		}
		if e[attrs]&directory == 0 || e[attrs] == longName {
			continue
		}
		folder := cluster(int64(le.Uint16(e[20:]))<<16 | int64(le.Uint16(e[26:])))
		parent := folder + entryBytes
		for _, half := range []int64{20, 26} {
			if _, err := f.WriteAt([]byte{0, 0}, parent+half); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill writes a file into a partition.
func fill(disk *os.File, l layout, index int, from string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	p := l.table.Partitions[index-1]
	if info.Size() > int64(p.Size) {
		return fmt.Errorf("%s has %d bytes and the partition %s %d", filepath.Base(from), info.Size(), p.Name, p.Size)
	}
	return copyAt(disk, l.start(index), from)
}

// copyAt writes the file at an offset of the disk, leaving runs of zeros as
// holes.
func copyAt(disk *os.File, offset int64, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	buf := make([]byte, mib)
	zeros := make([]byte, mib)
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !slices.Equal(buf[:n], zeros[:n]) {
			if _, err := disk.WriteAt(buf[:n], offset); err != nil {
				return fmt.Errorf("write %s to the disk: %w", filepath.Base(from), err)
			}
		}
		offset += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
