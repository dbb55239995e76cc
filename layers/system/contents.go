package system

import "ingot/layers"

func files() []layers.File {
	return []layers.File{
		file("/etc/systemd/network/10-uplink.network", "the provider's network, by DHCP and router advertisements", uplink),
		file("/etc/systemd/resolved.conf.d/10-ingot.conf", "the resolver listens nowhere", resolved),
		file("/etc/systemd/journald.conf.d/10-ingot.conf", "the journal outlives reboots and does not fill the disk", journald),
		file("/etc/systemd/coredump.conf.d/10-ingot.conf", "no core dumps: memory holds keys", "[Coredump]\nStorage=none\nProcessSizeMax=0\n"),
		file("/etc/fstab", "says how /var is mounted, that no program starts from /dev and /dev/shm, and that processes are seen by their owners only", fstab),
		file(rootName, "the device of the root keeps the name that it is mounted by", `SUBSYSTEM=="block", KERNEL=="dm-*", ATTR{dm/name}=="?*", SYMLINK+="mapper/$attr{dm/name}"`+"\n"),
		file("/etc/profile.d/50-ingot.sh", "a forgotten shell ends by itself", profile),
		file("/etc/login.defs", "files that people make are not readable by everybody", loginDefs),
		file("/etc/issue", "says before a login on the console whose machine this is", issue),
		file("/etc/issue.net", "says before a login from the network whose machine this is", issue),
	}
}

func units() []layers.Unit {
	on := true
	enabled := func(name, why string, dropins ...layers.Dropin) layers.Unit {
		return layers.Unit{Name: name, Enabled: &on, Why: why, Dropins: dropins}
	}
	identity := layers.Dropin{Name: "20-identity.conf", Contents: identified, Why: "no network on a machine without an identity"}
	sandbox := func(contents string) layers.Dropin {
		return layers.Dropin{Name: "30-sandbox.conf", Contents: contents, Why: "closes what systemd's own unit leaves open"}
	}
	return []layers.Unit{
		enabled("systemd-networkd.service", "brings up the network and the tunnel", identity, sandbox(networkdSandbox)),
		enabled("systemd-resolved.service", "asks the resolvers that DHCP names", sandbox(resolvedSandbox)),
		{Name: "systemd-logind.service", Dropins: []layers.Dropin{{
			Name: "20-proc.conf", Contents: "[Service]\nSupplementaryGroups=" + procGroup + "\n", Why: "logind keeps track of who has logged in",
		}}, Why: "knows who has logged in"},
		enabled("dbus-broker.service", "the bus on which systemd's programs talk", sandbox(busSandbox)),
		{Name: "ingot-status.service", Enabled: &on, Contents: status, Why: "says on the console what state this machine is in"},
		{Name: "tmp.mount", Dropins: []layers.Dropin{{Name: "10-ingot.conf", Contents: tmpMount}}, Why: "/tmp is memory, and no program starts from it"},
		// Packages bring formats for it, and the kernel has no module.
		{Name: "systemd-binfmt.service", Mask: true, Why: "no file is a program that the kernel does not know"},
		{Name: "proc-sys-fs-binfmt_misc.automount", Mask: true, Why: "goes with systemd-binfmt"},
		// It is bound to networkd and would be reported as failed.
		{Name: "systemd-networkd-persistent-storage.service", Dropins: []layers.Dropin{identity}, Why: "goes with systemd-networkd"},
	}
}
