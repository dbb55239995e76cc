package images

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tools runs programs of the tools tree through the tree's own loader, so
// that neither a chroot nor the host's libraries are needed.
type tools struct{ root string }

func (t tools) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	loader := filepath.Join(t.root, "usr/lib64/ld-linux-x86-64.so.2")
	libraries := filepath.Join(t.root, "usr/lib/x86_64-linux-gnu")
	argv := append([]string{"--library-path", libraries, filepath.Join(t.root, program)}, args...)
	cmd := bound(exec.CommandContext(ctx, loader, argv...))
	cmd.Env = environment(nil)
	return cmd
}

func (t tools) run(ctx context.Context, program string, args ...string) (string, error) {
	out, err := t.command(ctx, program, args...).CombinedOutput()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, lastLines(string(out), 10))
	}
	return string(out), nil
}

// bootCode is GRUB for both firmwares.
type bootCode struct {
	mbr  []byte // boot.img, 512 bytes
	core []byte // core image for BIOS, whole sectors
	efi  []byte // BOOTX64.EFI
}

// grubModules are what grub.cfg needs; every other feature of GRUB is left
// out of the images.
var grubModules = []string{
	"part_gpt", "fat", "normal", "configfile", "linux", "loadenv", "test", "echo", "sleep", "reboot", "halt",
	"serial", "terminal", "search", "search_label", "minicmd",
}

// bootCode has GRUB's two images built from the tools tree.
func (b *builder) bootCode(ctx context.Context, r recipe, t tools) (bootCode, error) {
	dir, err := b.stage(ctx, r.boot, func(dir string) error {
		for _, i := range grubImages {
			if err := t.grubImage(ctx, i, dir); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return bootCode{}, err
	}
	var code bootCode
	for into, file := range map[*[]byte]string{
		&code.mbr:  filepath.Join(t.root, "usr/lib/grub/i386-pc/boot.img"),
		&code.core: filepath.Join(dir, grubImages[0].file),
		&code.efi:  filepath.Join(dir, grubImages[1].file),
	} {
		if *into, err = os.ReadFile(file); err != nil {
			return bootCode{}, err
		}
	}
	return code, nil
}

// grubImage is one that grub-mkimage makes.
type grubImage struct{ format, file, prefix, driver string }

// grubImages are for BIOS and for EFI. "(,gpt2)": the second partition of whatever
// disk the firmware booted, so that another disk with an ESP of ours cannot be
// mistaken for it.
var grubImages = [2]grubImage{
	{"i386-pc", "core.img", fmt.Sprintf("(,gpt%d)/grub", espIndex), "biosdisk"},
	{"x86_64-efi", "bootx64.efi", "/grub", "efi_gop"},
}

func (t tools) grubImage(ctx context.Context, i grubImage, dir string) error {
	args := []string{"--directory", filepath.Join(t.root, "usr/lib/grub", i.format), "--format", i.format, "--output", filepath.Join(dir, i.file), "--prefix", i.prefix}
	_, err := t.run(ctx, "usr/bin/grub-mkimage", append(append(args, grubModules...), i.driver)...)
	return err
}

// Offsets inside GRUB's images, from include/grub/i386/pc/boot.h of GRUB 2.12.
const (
	grubBootCodeEnd     = 440   // the partition table's disk signature follows
	grubKernelSector    = 0x5c  // boot.img: LBA of the core image, 64 bits
	grubDriveCheck      = 0x66  // boot.img: jump over the boot drive check
	grubBlocklistStart  = 0x1f4 // first core sector: LBA of the rest, 64 bits
	grubBlocklistLength = 0x1fc // and its length in sectors, 16 bits
)

// write puts the boot code into the first sector and the core image into the
// BIOS boot partition at byte offset start, as grub-bios-setup would.
func (b bootCode) write(disk *os.File, start int64) error {
	if len(b.core) > biosBytes {
		return fmt.Errorf("the GRUB core image has %d bytes and the BIOS partition %d", len(b.core), biosBytes)
	}
	le := binary.LittleEndian
	mbr, core := bytes.Clone(b.mbr), bytes.Clone(b.core)
	if pad := len(core) % sectorSize; pad != 0 {
		core = append(core, make([]byte, sectorSize-pad)...)
	}
	first := uint64(start / sectorSize)
	le.PutUint64(mbr[grubKernelSector:], first)
	// Two no-ops: some BIOSes pass a wrong drive number in DL.
	mbr[grubDriveCheck], mbr[grubDriveCheck+1] = 0x90, 0x90
	le.PutUint64(core[grubBlocklistStart:], first+1)
	le.PutUint16(core[grubBlocklistLength:], uint16(len(core)/sectorSize-1))
	if _, err := disk.WriteAt(mbr[:grubBootCodeEnd], 0); err != nil {
		return err
	}
	_, err := disk.WriteAt(core, start)
	return err
}

// grubCfg picks a slot. Tries and slots are in grubenv, a file of fixed size
// that GRUB can rewrite in place; without it slot a boots.
const grubCfg = `# Ingot: choose a slot and boot it.
set timeout=0
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
load_env --file $prefix/grubenv slot tries
if [ -z "$slot" ]; then set slot=a; fi
# A slot on trial has tries left; without one the other slot boots.
if [ "$tries" = 3 ]; then set tries=2; save_env --file $prefix/grubenv tries
elif [ "$tries" = 2 ]; then set tries=1; save_env --file $prefix/grubenv tries
elif [ "$tries" = 1 ]; then set tries=0; save_env --file $prefix/grubenv tries
elif [ "$tries" = 0 ]; then if [ "$slot" = a ]; then set slot=b; else set slot=a; fi
fi
source ($root)/$slot/slot.cfg
linux ($root)/$slot/vmlinuz $ingot_cmdline
initrd ($root)/$slot/initrd
boot
`

// grubEnv is an empty environment block: GRUB demands exactly 1024 bytes.
func grubEnv() []byte {
	const header = "# GRUB Environment Block\n"
	return []byte(header + strings.Repeat("#", 1024-len(header)))
}

// slotCfg is the part of the boot configuration that belongs to one slot.
func slotCfg(rootHash string, arguments []string) []byte {
	line := append([]string{"root=/dev/mapper/root", "rootfstype=erofs", "ro", "roothash=" + rootHash}, arguments...)
	return fmt.Appendf(nil, "set ingot_cmdline='%s'\n", strings.Join(line, " "))
}

// espFiles is the content of the ESP with slot a filled.
func espFiles(b bootCode, rootHash string, arguments []string, kernel, initrd []byte) []espFile {
	return []espFile{
		{"/EFI/BOOT/BOOTX64.EFI", b.efi},
		{"/grub/grub.cfg", []byte(grubCfg)},
		{"/grub/grubenv", grubEnv()},
		{"/a/slot.cfg", slotCfg(rootHash, arguments)},
		{"/a/vmlinuz", kernel},
		{"/a/initrd", initrd},
		{"/b/slot.cfg", []byte("# empty: \"ingot update\" fills this slot\n")},
	}
}
