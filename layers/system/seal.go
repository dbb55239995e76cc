package system

import "ingot/layers"

// rootName: the initrd's rules, which gave the device its name, do not go on.
const rootName = "/etc/udev/rules.d/60-ingot-root.rules"

const identityList = "/usr/lib/ingot/identity.list"

// sealOnly is what this layer adds for the sealed root, for the initrd that
// mounts it, and for the agent that ships with it.
func sealOnly() []layers.SealOnly {
	list := []layers.SealOnly{
		{What: "file /etc/fstab", Why: "a stock system has file systems of its own"},
		{What: "file " + rootName, Why: "the root is not verified"},
		{What: "file " + identityList, Why: "/etc is writable: nothing keeps an identity apart"},
		{What: "unit ingot-status.service", Why: "the agent is part of the image"},
		{What: "drop-in systemd-networkd.service.d/20-identity.conf", Why: "cloud-init or Ignition has made the identity before"},
		{What: "drop-in systemd-networkd-persistent-storage.service.d/20-identity.conf", Why: "as for systemd-networkd.service"},
		{What: "kernel argument systemd.verity_root_options", Why: "the root is not verified"},
		{What: "kernel argument rd.shell", Why: "of dracut's initrd; panic= keeps initramfs-tools from giving a shell"},
		{What: "kernel argument rd.emergency", Why: "of dracut's initrd"},
		{What: "kernel argument systemd.gpt_auto", Why: "a stock system may find its file systems this way"},
		{What: "check system.shm", Why: "a stock system has file systems of its own"},
		{What: "drop-in systemd-logind.service.d/20-proc.conf", Why: "a stock system has file systems of its own"},
		{What: "check system.processes", Why: "a stock system has file systems of its own"},
		{What: "check system.dev", Why: "a stock system has file systems of its own"},
		{What: "check system.var", Why: "a stock system has file systems of its own"},
		{What: "check system.sandbox.ingot-status", Why: "the agent is part of the image"},
		{What: "check system.verity", Why: "the root is not verified"},
	}
	for _, r := range removed() {
		list = append(list, layers.SealOnly{What: "removal " + r.Pattern, Why: "a stock system is patched by its package manager"})
	}
	return append(list, layers.SealOnly{What: "check system.no-package-manager", Why: "a stock system is patched by its package manager"})
}
