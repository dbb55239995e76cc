package assay

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/ignition"
	"ingot/ignition/source"
	"ingot/images"
	"ingot/layers"
	"ingot/qemu-tests/vm"
)

// ignitionPackages make a Debian system that runs Ignition at its first boot:
// dracut, and what Ignition's dracut module copies.
var ignitionPackages = []string{"curl", "dosfstools", "dracut", "dracut-network", "gdisk", "iputils-arping"}

// A plain Debian system that has the packages and runs Ignition at its first
// boot keeps the promises of the sealed image but for those that need the seal.
func TestIgnitionOnStock(t *testing.T) {
	turn(t, image(t), 5)
	b, system := stock(t, func(b built) images.StockOptions {
		module, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", source.Module).Output()
		if err != nil {
			t.Fatal(err)
		}
		return images.StockOptions{
			Packages: slices.Concat(b.loaded.Plan.Packages, ignitionPackages),
			Ignition: b.Ignition, IgnitionModule: filepath.Join(strings.TrimSpace(string(module)), "dracut", "30ignition"),
		}
	})
	lab, id := newLab(t, b)
	config, err := ignition.Whole(id.Plan, id.secrets)
	if err != nil {
		t.Fatal(err)
	}
	// A distribution's helper would set the arguments and restart.
	arguments := append([]string{"root=/dev/vda", "rw", "ignition.firstboot", "ignition.platform.id=qemu"}, layers.Stock(id.Plan).Image.KernelArguments...)
	m := boot(t, lab, id, BootOptions{Image: system.Disk, Instance: config.JSON, Kernel: &vm.Kernel{
		Image: system.Kernel, Initrd: system.Initrd, Arguments: strings.Join(arguments, " "),
	}})
	keepsItsPromises(t, lab, id, m)
}
