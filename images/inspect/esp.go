package inspect

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

// What the ESP may hold at most. Ingot's has some ten files in two levels.
const (
	maxESPFiles = 1000
	maxESPDepth = 8
	maxText     = 1 << 20 // of slot.cfg
	maxFAT      = 4 << 20 // of its table, which is for a million clusters
)

// readESP lists the ESP and reads what slot a boots.
func (i *Image) readESP(ctx context.Context, f *os.File) error {
	p, err := i.partition("ESP", string(gpt.EFISystemPartition))
	if err != nil {
		return err
	}
	if err := checkFAT(part(f, p)); err != nil {
		return err
	}
	esp, err := fat32.Read(file.New(f, true), p.Bytes, p.Start, sectorSize)
	if err != nil {
		return err
	}
	if err := i.listESP(ctx, esp, "/", map[string]bool{}, 0); err != nil {
		return err
	}
	slot, err := readESPFile(esp, "/a/slot.cfg", maxText)
	if err != nil {
		return err
	}
	if err := i.readSlot(string(slot)); err != nil {
		return err
	}
	kernel, err := readESPFile(esp, "/a/vmlinuz", 64<<10)
	if err != nil {
		return err
	}
	i.Kernel.Version, err = kernelVersion(kernel)
	for _, e := range i.ESP {
		switch e.Path {
		case "/a/vmlinuz":
			i.Kernel.SHA256 = e.SHA256
		case "/a/initrd":
			i.Kernel.Initrd = e.SHA256
		}
	}
	return err
}

// listESP adds the files below dir. Seen are the names so far, in small letters: FAT
// knows no others.
func (i *Image) listESP(ctx context.Context, esp *fat32.FileSystem, dir string, seen map[string]bool, depth int) error {
	// Also the end of a folder that is its own parent.
	if depth > maxESPDepth {
		return fmt.Errorf("folders are more than %d deep", maxESPDepth)
	}
	entries, err := esp.ReadDir(path.Join(".", dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if len(i.ESP) == maxESPFiles {
			return fmt.Errorf("there are more than %d files", maxESPFiles)
		}
		name := path.Join(dir, e.Name())
		if seen[strings.ToLower(name)] {
			return fmt.Errorf("%s is there twice", name)
		}
		seen[strings.ToLower(name)] = true
		if e.IsDir() {
			if err := i.listESP(ctx, esp, name, seen, depth+1); err != nil {
				return err
			}
			continue
		}
		f, err := espFile(ctx, esp, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		i.ESP = append(i.ESP, f)
	}
	return nil
}

func espFile(ctx context.Context, esp *fat32.FileSystem, name string) (File, error) {
	in, err := esp.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return File{}, err
	}
	defer in.Close()
	var n counter
	// In large pieces: go-diskfs walks the cluster chain for each.
	digest, err := sum(ctx, io.TeeReader(bufio.NewReaderSize(in, 8<<20), &n))
	// FAT knows no owners; the mode is what Linux makes of it.
	return File{Path: name, Type: "file", Mode: "0755", Bytes: int64(n), Stored: int64(n), SHA256: digest}, err
}

type counter int64

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// readESPFile reads at most the first max bytes.
func readESPFile(esp filesystem.FileSystem, name string, max int64) ([]byte, error) {
	in, err := esp.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, max))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

var (
	cmdlineOf  = regexp.MustCompile(`^set ingot_cmdline='([^'\n]*)'\n$`)
	rootHashOf = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// readSlot takes the root hash and the other kernel arguments out of slot.cfg. It
// must say nothing else: another line could take this one back.
func (i *Image) readSlot(text string) error {
	m := cmdlineOf.FindStringSubmatch(text)
	if m == nil {
		return errors.New("a/slot.cfg is not one line with the arguments of the kernel")
	}
	for _, argument := range strings.Fields(m[1]) {
		if hash, ok := strings.CutPrefix(argument, "roothash="); ok && i.RootHash == "" {
			i.RootHash = hash
			continue
		} else if ok {
			return errors.New("a/slot.cfg has two root hashes")
		}
		i.Kernel.Arguments = append(i.Kernel.Arguments, argument)
	}
	if !rootHashOf.MatchString(i.RootHash) {
		return fmt.Errorf("a/slot.cfg has no root hash, which is 64 hex digits, but %q", i.RootHash)
	}
	return nil
}

// kernelVersion reads the header of a bzImage, Documentation/arch/x86/boot.rst:
// at 0x20e is where the version stands, less 0x200.
func kernelVersion(b []byte) (string, error) {
	if len(b) < 0x210 || string(b[0x202:0x206]) != "HdrS" {
		return "", errors.New("a/vmlinuz is no Linux kernel")
	}
	at := int(binary.LittleEndian.Uint16(b[0x20e:])) + 0x200
	if at >= len(b) {
		return "", errors.New("a/vmlinuz ends before its version")
	}
	text, _, _ := strings.Cut(string(b[at:min(at+256, len(b))]), "\x00")
	version, _, _ := strings.Cut(text, " ")
	return version, nil
}

// checkFAT refuses what go-diskfs would take from the boot sector without a
// look: a table larger than the partition, and chains of clusters without end.
func checkFAT(esp *io.SectionReader) error {
	boot := make([]byte, sectorSize)
	if _, err := esp.ReadAt(boot, 0); err != nil {
		return err
	}
	le := binary.LittleEndian
	perSector, perCluster, reserved, sectors := int64(le.Uint16(boot[11:])), int64(boot[13]), int64(le.Uint16(boot[14:])), int64(le.Uint32(boot[36:]))
	if perSector != sectorSize || perCluster == 0 || sectors == 0 || sectors*sectorSize > maxFAT || (reserved+2*sectors)*sectorSize > esp.Size() {
		return fmt.Errorf("it is no FAT32 file system, or its table is larger than the partition or %d bytes", maxFAT)
	}
	table := make([]byte, sectors*sectorSize)
	if _, err := esp.ReadAt(table, reserved*sectorSize); err != nil {
		return err
	}
	return checkChains(table)
}

// checkChains follows every chain of clusters once.
func checkChains(table []byte) error {
	next := func(n uint32) uint32 { return binary.LittleEndian.Uint32(table[4*n:]) & 0x0fffffff }
	const unseen, done = 0, ^uint32(0)
	seen := make([]uint32, len(table)/4) // by which walk
	for start := range uint32(len(seen)) {
		n := start
		for n >= 2 && n < uint32(len(seen)) && seen[n] == unseen {
			seen[n] = start
			n = next(n)
		}
		if n >= 2 && n < uint32(len(seen)) && seen[n] == start {
			return fmt.Errorf("the chain of clusters through %d has no end", n)
		}
	}
	return nil
}
