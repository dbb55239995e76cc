package assay

import (
	"context"
	"regexp"

	"ingot/qemu-tests/vm"
)

// hardware are the disks and cards that providers give, and QEMU can imitate: what
// the initrd has drivers for and nothing else looks at. Xen's, Hyper-V's and
// Amazon's cards are not among them.
var hardware = []struct {
	id, title string
	bus       vm.Bus
	nic       string
}{
	{"hardware-scsi", "boots with its disk on virtio-scsi, as at Hetzner and Google", vm.VirtioSCSI, ""},
	{"hardware-nvme", "boots with an NVMe disk, as at Amazon", vm.NVMe, ""},
	{"hardware-sata", "boots with a SATA disk", vm.AHCI, ""},
	{"hardware-vmware", "boots with VMware's disk controller and network card", vm.PVSCSI, "vmxnet3"},
}

func hardwareScenarios() []scenario {
	var list []scenario
	for _, h := range hardware {
		list = append(list, scenario{
			id: h.id, title: h.title, seconds: 50,
			play: func(ctx context.Context, s *scene) (string, error) {
				return playHardware(ctx, s, BootOptions{Bus: h.bus, NIC: h.nic, Instance: s.id.Instance})
			},
			sabotage: sabotage{what: "a disk controller that the kernel has no driver for", world: true},
		})
	}
	return list
}

// noDisk is what the initrd says after it has waited for the root's disk.
var noDisk = regexp.MustCompile(`Timed out waiting for device`)

func playHardware(ctx context.Context, s *scene, o BootOptions) (string, error) {
	if s.otherwise() {
		o.Bus = vm.LSI
	}
	if err := s.boot(ctx, o); err != nil {
		return "", err
	}
	bounded, cancel := context.WithTimeout(ctx, s.lab.Timeout(bootTime))
	defer cancel()
	line, err := s.machine.WaitConsoleAfter(bounded, 0, regexp.MustCompile(statusLine.String()+"|"+noDisk.String()))
	if err != nil {
		return "", promised(err)
	}
	if noDisk.MatchString(line) {
		return "", unmet("it does not find its disk: %s", line)
	}
	if err := s.connected(ctx); err != nil {
		return "", err
	}
	return s.readyEvidence(), s.well(ctx)
}
