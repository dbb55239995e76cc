package assay

import (
	"context"

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
				o := BootOptions{Bus: h.bus, NIC: h.nic}
				if s.otherwise() {
					o.Bus = vm.LSI
				}
				if err := s.up(ctx, o); err != nil {
					return "", err
				}
				return s.readyEvidence(), s.well(ctx)
			},
			sabotage: sabotage{what: "a disk controller that the kernel has no driver for", world: true},
		})
	}
	return list
}
