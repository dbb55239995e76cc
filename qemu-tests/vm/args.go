package vm

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
)

// Names of block nodes, which snapshots refer to.
const (
	diskNode = "disk0"
	varsNode = "vars"
)

// The descriptors QEMU inherits: os/exec gives ExtraFiles the numbers from 3.
const (
	qmpFD     = 3
	consoleFD = 4
)

// files are the artefacts of one machine.
type files struct {
	overlay, vars                     string
	extra                             []string // overlay of each extra disk, "" when it has none
	console, firmware, qemu, commands string
}

func (c Config) files() files {
	f := files{
		overlay:  c.Overlay,
		vars:     c.Vars,
		console:  filepath.Join(c.Dir, "console.log"),
		firmware: filepath.Join(c.Dir, "firmware.log"),
		qemu:     filepath.Join(c.Dir, "qemu.log"),
		commands: filepath.Join(c.Dir, "command.sh"),
	}
	if f.overlay == "" {
		f.overlay = filepath.Join(c.Dir, "disk.qcow2")
	}
	if f.vars == "" && c.Firmware == UEFI {
		f.vars = filepath.Join(c.Dir, "vars.qcow2")
	}
	for i, d := range c.ExtraDisks {
		name := ""
		if d.Overlay {
			name = filepath.Join(c.Dir, fmt.Sprintf("extra%d.qcow2", i+1))
		}
		f.extra = append(f.extra, name)
	}
	return f
}

// machineArgs is the machine itself: everything the guest can notice.
func (c Config) machineArgs(f files) []string {
	return slices.Concat(
		[]string{
			"-nodefaults", "-no-user-config",
			"-name", "ingot",
			// Without SMM: nested KVM often lacks it and nothing here needs it.
			// Without SATA: six empty ports cost each boot a second.
			"-machine", "q35,smm=off,sata=off",
		},
		c.Accel.args(),
		[]string{
			"-smp", strconv.Itoa(c.CPUs),
			"-m", strconv.Itoa(c.MemoryMiB),
			"-display", "none",
			"-device", "VGA",
			"-object", "rng-builtin,id=rng0",
			"-device", "virtio-rng-pci,rng=rng0",
			// Lets a guest kernel that panics say so.
			"-device", "pvpanic",
		},
		c.clockArgs(),
		c.firmwareArgs(f),
		c.kernelArgs(),
		c.diskArgs(f),
		c.Net,
		c.injectionArgs(),
		c.rebootArgs(),
	)
}

func (c Config) clockArgs() []string {
	if c.Clock.IsZero() {
		return nil
	}
	return []string{"-rtc", "base=" + c.Clock.UTC().Format("2006-01-02T15:04:05")}
}

func (c Config) rebootArgs() []string {
	if c.Reboots {
		return nil
	}
	return []string{"-no-reboot"}
}

func (c Config) firmwareArgs(f files) []string {
	if c.Firmware != UEFI {
		return nil
	}
	// The variables are qcow2 because a writable raw file forbids snapshots.
	code := readOnlyDisk("code", c.Toolchain.OVMFCode(), Raw)
	return []string{
		"-blockdev", code.arg(),
		"-blockdev", writableDisk(varsNode, f.vars, QCOW2).arg(),
		"-machine", "pflash0=code,pflash1=" + varsNode,
	}
}

func (c Config) kernelArgs() []string {
	if c.Kernel == nil {
		return nil
	}
	return []string{"-kernel", c.Kernel.Image, "-initrd", c.Kernel.Initrd, "-append", c.Kernel.Arguments}
}

func (c Config) diskArgs(f files) []string {
	args := diskDevice(buses[c.Bus], overlayDisk(diskNode, f.overlay, c.Disk, Raw), 0)
	for i, d := range c.ExtraDisks {
		node := writableDisk(extraNode(i), d.Path, d.Format)
		if d.Overlay {
			node = overlayDisk(extraNode(i), f.extra[i], d.Path, d.Format)
		}
		args = append(args, diskDevice(buses[VirtioBlk], node, i+1)...)
	}
	return args
}

func extraNode(i int) string { return fmt.Sprintf("disk%d", i+1) }

// diskDevice takes boot indices from 1: a caller's -kernel has 0.
func diskDevice(bus []string, node blockNode, n int) []string {
	args := []string{"-blockdev", node.arg()}
	for _, controller := range bus[:len(bus)-1] {
		args = append(args, "-device", controller)
	}
	return append(args, "-device", fmt.Sprintf("%s,drive=%s,bootindex=%d", bus[len(bus)-1], node.NodeName, n+1))
}

// injectionArgs is what the host tells the guest: the instance config and the
// provider's identity.
func (c Config) injectionArgs() []string {
	var args []string
	for _, name := range sortedKeys(c.FwCfg) {
		args = append(args, "-fw_cfg", "name="+optValue(name)+",file="+optValue(c.FwCfg[name]))
	}
	for _, s := range c.SMBIOS {
		args = append(args, "-smbios", s)
	}
	return args
}

// channelArgs connects the machine to this program: QMP and the serial console
// on inherited sockets, the firmware's debug output to a file.
func channelArgs(f files) []string {
	return append([]string{
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", qmpFD),
		"-mon", "chardev=qmp,mode=control",
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d,logfile=%s,logappend=on", consoleFD, optValue(f.console)),
		"-serial", "chardev:console",
	}, firmwareLogArgs(f)...)
}

// terminalArgs is channelArgs for a person at a terminal.
func terminalArgs(f files) []string {
	return append([]string{
		"-chardev", "stdio,id=console,mux=on,signal=off",
		"-serial", "chardev:console",
		"-mon", "chardev=console",
	}, firmwareLogArgs(f)...)
}

// firmwareLogArgs: SeaBIOS and OVMF write to the debug port 0x402, which tells
// how far a machine came that never reached its serial console.
func firmwareLogArgs(f files) []string {
	return []string{
		"-chardev", "file,id=firmware,append=on,path=" + optValue(f.firmware),
		"-device", "isa-debugcon,iobase=0x402,chardev=firmware",
	}
}
