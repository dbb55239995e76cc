package assay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"ingot/layers"
	"ingot/qemu-tests/vm"
)

// bitScenarios flip a bit of the image as it is on the machine's disk.
func bitScenarios() []scenario {
	notFlipped := sabotage{what: "no bit is flipped", world: true}
	another := sabotage{what: "another image in the place of this one", plan: func(p *layers.Plan) {
		p.Image.Files = append(p.Image.Files, layers.File{Path: "/etc/sabotage", Mode: 0o644, Contents: "x\n"})
	}}
	return []scenario{
		{id: "flipped-root", title: "a flipped bit in the root stops the machine", seconds: 45, play: playFlippedRoot, sabotage: notFlipped},
		{id: "flipped-verity", title: "a flipped bit in the hash tree stops the machine", seconds: 50, play: playFlippedVerity, sabotage: notFlipped},
		{id: "flipped-esp", title: "with a flipped bit in the ESP it comes up as it is, or not at all", seconds: 80, play: playFlippedESP, sabotage: another},
		{id: "flipped-gpt", title: "with a flipped bit in the partition table it comes up as it is, or not at all", seconds: 75, play: playFlippedGPT, sabotage: another},
	}
}

func playFlippedRoot(ctx context.Context, s *scene) (string, error) { return s.stops(ctx, "root-a") }
func playFlippedVerity(ctx context.Context, s *scene) (string, error) {
	return s.stops(ctx, "verity-a")
}
func playFlippedESP(ctx context.Context, s *scene) (string, error) { return s.comesUpOrNot(ctx, "esp") }
func playFlippedGPT(ctx context.Context, s *scene) (string, error) { return s.comesUpOrNot(ctx, "gpt") }

// stops wants the machine to end with a complaint by dm-verity, when it boots or
// when all of the root is read.
func (s *scene) stops(ctx context.Context, partition string) (string, error) {
	image := s.opts.Image
	evidence := "nothing flipped"
	if !s.otherwise() {
		var err error
		if image, evidence, err = s.flipped(partition); err != nil {
			return "", err
		}
	}
	if err := s.boot(ctx, BootOptions{Image: image, Instance: s.id.Instance}); err != nil {
		return "", err
	}
	ctx, cancel := s.within(ctx, bootTime)
	defer cancel()
	reading := make(chan error, 1)
	go func() { // the boot may not touch the place
		err := s.connected(ctx)
		if err == nil {
			_, err = s.shell.output(ctx, "cat /dev/dm-0 >/dev/null")
		}
		reading <- err
	}()
	select {
	case err := <-reading:
		if err == nil {
			return evidence, unmet("all of the root was read, and the machine runs on")
		}
	case <-s.machine.Exited():
	}
	exit, err := s.machine.Wait(ctx)
	if err != nil {
		return evidence, promised(err)
	}
	if exit.Reason != vm.Panicked && exit.Reason != vm.Rebooted {
		return evidence, unmet("the machine ended because %v", exit)
	}
	if !slices.ContainsFunc(vm.Alarms(s.machine.Console()), func(a vm.Alarm) bool { return a.Pattern == "verity corruption" }) {
		return evidence, unmet("the console does not say why the machine ended: %s", clip(strings.Join(s.machine.ConsoleTail(5), " ")))
	}
	return evidence + ": " + exit.String(), nil
}

// comesUpOrNot wants no other system than the one that was tested.
func (s *scene) comesUpOrNot(ctx context.Context, partition string) (string, error) {
	wanted, err := RootHash(s.opts.Image)
	if err != nil {
		return "", err
	}
	image, evidence := s.spoiledImage, "another image"
	if image == "" {
		if image, evidence, err = s.flipped(partition); err != nil {
			return "", err
		}
	}
	if err := s.boot(ctx, BootOptions{Image: image, Instance: s.id.Instance}); err != nil {
		return "", err
	}
	// Another system is told by its first words: on a machine that is slow enough,
	// the time is over before it is up.
	booting, cancel := s.within(ctx, bootTime)
	defer cancel()
	_, err = s.machine.WaitConsole(booting, rootMounted)
	if err == nil {
		if got := bootedRoot(s.machine.Console()); got != wanted {
			return evidence, unmet("the machine mounts the root %s and not %s", got, wanted)
		}
		err = s.connected(ctx)
	}
	if err = promised(err); err != nil {
		if ctx.Err() != nil || !errors.Is(err, errUnmet) {
			return "", err
		}
		return evidence + ": it does not come up", nil
	}
	got, err := s.shell.output(ctx, `sed -n 's/.*\broothash=\([0-9a-f]*\).*/\1/p' /proc/cmdline`)
	if err != nil {
		return "", err
	}
	if got != wanted {
		return evidence, unmet("the machine runs the root %s and not %s", got, wanted)
	}
	return evidence + ": it comes up with the expected root", nil
}

// rootMounted is the kernel's line about a root that dm-verity has opened.
var rootMounted = regexp.MustCompile(`erofs: \(device dm-0\): mounted`)

var commandLine = regexp.MustCompile(`Command line: .*\broothash=([0-9a-f]+)`)

// bootedRoot is the root hash of the kernel's command line.
func bootedRoot(console string) string {
	if m := commandLine.FindStringSubmatch(console); m != nil {
		return m[1]
	}
	return "without a name"
}

// flipped is a copy of the image with one random bit flipped, in what a
// partition holds.
func (s *scene) flipped(partition string) (file, what string, err error) {
	offset, length, err := region(s.opts.Image, partition)
	if err != nil {
		return "", "", err
	}
	file = s.path("image.raw")
	if err := copyDisk(context.Background(), s.opts.Image, file); err != nil {
		return "", "", err
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	var at int64
	one := make([]byte, 1)
	for one[0] == 0 { // not in a padding, and not just after a large one either
		at = offset + s.random.Int64N(length)
		if _, err := f.ReadAt(one, at); err != nil {
			return "", "", err
		}
	}
	bit := s.random.IntN(8)
	one[0] ^= 1 << bit
	_, err = f.WriteAt(one, at)
	return file, fmt.Sprintf("bit %d of byte %d of %s", bit, at-offset, partition), err
}

// region is where a partition's data lies in an image: the file system or the
// hash tree, not the empty rest of the slot. "gpt" is the table itself.
func region(image, partition string) (offset, length int64, err error) {
	table, d, err := partitions(image)
	if err != nil {
		return 0, 0, err
	}
	defer d.Close()
	if partition == "gpt" {
		return 512, 33 * 512, nil // header and entries (UEFI 2.10 §5.3)
	}
	wanted, root := named(table, partition), named(table, "root-a")
	if wanted == nil || root == nil {
		return 0, 0, fmt.Errorf("the image has no partition %s", partition)
	}
	if partition == "esp" {
		return wanted.GetStart(), wanted.GetSize(), nil
	}
	// EROFS superblock at 1024: blocks at offset 36, 4 KiB each
	// (Documentation/filesystems/erofs.rst, struct erofs_super_block).
	super := make([]byte, 64)
	if _, err := d.Backend.ReadAt(super, root.GetStart()+1024); err != nil {
		return 0, 0, err
	}
	length = int64(binary.LittleEndian.Uint32(super[36:])) * 4096
	if partition != "root-a" {
		length /= 127 // one 32-byte hash for each 4 KiB, and for each block of those
	}
	return wanted.GetStart(), length, nil
}

// RootHash is what dm-verity must find, as the partition table has it.
func RootHash(image string) (string, error) {
	table, d, err := partitions(image)
	if err != nil {
		return "", err
	}
	defer d.Close()
	root, tree := named(table, "root-a"), named(table, "verity-a")
	if root == nil || tree == nil {
		return "", errors.New("the image has no partitions root-a and verity-a")
	}
	return strings.ToLower(strings.ReplaceAll(root.UUID()+tree.UUID(), "-", "")), nil
}

func partitions(image string) (*gpt.Table, *disk.Disk, error) {
	d, err := diskfs.Open(image, diskfs.WithOpenMode(diskfs.ReadOnly))
	if err != nil {
		return nil, nil, err
	}
	table, err := d.GetPartitionTable()
	if g, ok := table.(*gpt.Table); ok && err == nil {
		return g, d, nil
	}
	return nil, nil, errors.Join(err, errors.New("the image has no GPT"), d.Close())
}

func named(table *gpt.Table, name string) *gpt.Partition {
	for _, p := range table.Partitions {
		if p.Name == name {
			return p
		}
	}
	return nil
}
