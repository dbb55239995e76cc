package vm

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Firmware is what the machine boots with.
type Firmware string

// The firmwares: SeaBIOS, as at Hetzner or DigitalOcean, and OVMF.
const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
)

// Bus is what the first disk hangs on.
type Bus string

// The buses that providers have, and one that none has: SeaBIOS boots from it,
// and Debian's cloud kernel has no driver.
const (
	VirtioBlk  Bus = "virtio-blk"
	VirtioSCSI Bus = "virtio-scsi"
	NVMe       Bus = "nvme"
	AHCI       Bus = "ahci"
	PVSCSI     Bus = "pvscsi" // VMware's
	LSI        Bus = "lsi"    // LSI Logic 53C895A
)

// buses are the arguments of each, with the disk's own at the end.
var buses = map[Bus][]string{
	VirtioBlk:  {"virtio-blk-pci"},
	VirtioSCSI: {"virtio-scsi-pci,id=bus0", "scsi-hd,bus=bus0.0"},
	NVMe:       {"nvme,serial=ingot"},
	AHCI:       {"ich9-ahci,id=bus0", "ide-hd,bus=bus0.0"},
	PVSCSI:     {"pvscsi,id=bus0", "scsi-hd,bus=bus0.0"},
	LSI:        {"lsi53c895a,id=bus0", "scsi-hd,bus=bus0.0"},
}

// Format is how a disk file is to be read.
type Format string

// The formats of a disk file.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"
)

// The machine when Config does not say: a small server. The second processor
// took a boot under TCG from 31 s to 22 s (reference network-trial, Numbers).
const (
	defaultCPUs      = 2
	defaultMemoryMiB = 1024
)

// Config describes a machine. Toolchain, Accel, Disk and Dir are required.
// All paths are absolute.
type Config struct {
	Toolchain Toolchain
	Accel     Accel
	Firmware  Firmware // BIOS when empty
	MemoryMiB int      // 1024 when 0
	CPUs      int      // 2 when 0

	// Disk is the raw image file. It is opened read-only: everything the
	// machine writes goes to a qcow2 overlay.
	Disk string
	// DiskBytes is the size the machine sees, at least that of Disk. Zero is
	// the size of Disk.
	DiskBytes int64
	Bus       Bus // VirtioBlk when empty
	// Overlay is an existing overlay of Disk to go on with, from
	// [VM.Overlay] of a machine that has ended. Empty: a fresh one.
	Overlay string
	// Vars is an existing UEFI variable store, from [VM.Vars]. Empty: a
	// fresh one.
	Vars string
	// ExtraDisks appear after Disk, in this order.
	ExtraDisks []ExtraDisk

	// Kernel boots directly in place of a boot loader on Disk; nil is a boot
	// loader's.
	Kernel *Kernel

	// Net are the QEMU arguments of the network, as the network hands them out.
	Net []string
	// FwCfg maps fw_cfg names (opt/com.coreos/config) to files.
	FwCfg map[string]string
	// SMBIOS are values of -smbios, such as "type=1,manufacturer=Hetzner"; a
	// comma inside a value is written twice.
	SMBIOS []string

	// Clock is the time of the machine's hardware clock at power-on; zero is
	// this host's.
	Clock time.Time

	// Snapshot is the name of a snapshot in Overlay to go on from instead of
	// booting.
	Snapshot string
	// Reboots allows the guest to reboot. When false a reboot ends the
	// machine and is its exit reason.
	Reboots bool

	// Dir receives the artefacts: console.log, firmware.log, qemu.log,
	// command.sh, disk.qcow2. It is created when missing; each machine needs
	// its own.
	Dir string
}

// Kernel is what a boot loader would load.
type Kernel struct {
	Image, Initrd string // files
	Arguments     string // the command line
}

// ExtraDisk is a further disk of the machine.
type ExtraDisk struct {
	Path   string
	Format Format // Raw when empty
	// Overlay keeps Path unchanged: writes go to a throw-away overlay in Dir.
	// When false the machine writes to Path itself.
	Overlay bool
}

// complete fills in the defaults and reports everything that is wrong.
func (c Config) complete() (Config, error) {
	if c.Firmware == "" {
		c.Firmware = BIOS
	}
	if c.Bus == "" {
		c.Bus = VirtioBlk
	}
	if c.CPUs == 0 {
		c.CPUs = defaultCPUs
	}
	if c.MemoryMiB == 0 {
		c.MemoryMiB = defaultMemoryMiB
	}
	c.ExtraDisks = slices.Clone(c.ExtraDisks)
	for i := range c.ExtraDisks {
		if c.ExtraDisks[i].Format == "" {
			c.ExtraDisks[i].Format = Raw
		}
	}
	return c, c.check()
}

func (c Config) check() error {
	errs := []error{c.Toolchain.Check()}
	if _, err := newAccel(c.Accel.Name, ""); err != nil {
		errs = append(errs, fmt.Errorf("%w; get one from Probe", err))
	}
	if c.Firmware != BIOS && c.Firmware != UEFI {
		errs = append(errs, fmt.Errorf("unknown firmware %q: use %s or %s", c.Firmware, BIOS, UEFI))
	}
	if _, ok := buses[c.Bus]; !ok {
		errs = append(errs, fmt.Errorf("unknown bus %q of the disk: use one of %q", c.Bus, slices.Sorted(maps.Keys(buses))))
	}
	if c.CPUs < 0 || c.MemoryMiB < 0 || c.DiskBytes < 0 {
		errs = append(errs, errors.New("processors, memory and disk size must not be negative"))
	}
	if c.Snapshot != "" && c.Overlay == "" {
		errs = append(errs, errors.New("a snapshot needs the overlay that holds it"))
	}
	if c.Snapshot != "" && c.Firmware == UEFI && c.Vars == "" {
		errs = append(errs, errors.New("a snapshot of a UEFI machine needs its variable store too"))
	}
	for i, d := range c.ExtraDisks {
		if d.Format != Raw && d.Format != QCOW2 {
			errs = append(errs, fmt.Errorf("extra disk %d: unknown format %q: use %s or %s", i+1, d.Format, Raw, QCOW2))
		}
	}
	for what, path := range c.paths() {
		if !filepath.IsAbs(path) {
			errs = append(errs, fmt.Errorf("%s %q is not an absolute path", what, path))
		}
	}
	return errors.Join(errs...)
}

// paths are all files and folders of c, by what they are.
func (c Config) paths() map[string]string {
	paths := map[string]string{"disk": c.Disk, "artefact folder": c.Dir}
	if c.Overlay != "" {
		paths["overlay"] = c.Overlay
	}
	if c.Vars != "" {
		paths["variable store"] = c.Vars
	}
	if c.Kernel != nil {
		paths["kernel"], paths["initrd"] = c.Kernel.Image, c.Kernel.Initrd
	}
	for i, d := range c.ExtraDisks {
		paths[fmt.Sprintf("extra disk %d", i+1)] = d.Path
	}
	for name, file := range c.FwCfg {
		paths["fw_cfg "+name] = file
	}
	return paths
}

// optValue escapes a value in QEMU's comma-separated options.
func optValue(s string) string { return strings.ReplaceAll(s, ",", ",,") }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
