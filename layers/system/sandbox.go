package system

import "ingot/layers"

// networkdSandbox: it needs no device, since the tunnel is the kernel's, and
// the name of the machine is none of its business. It does need
// /proc/sys (ProtectKernelTunables would take it), packet sockets for DHCP, and
// the capabilities of its own unit.
const networkdSandbox = `[Service]
DeviceAllow=
PrivateDevices=yes
PrivateMounts=yes
ProtectHostname=yes
`

const resolvedSandbox = `[Service]
PrivateMounts=yes
ProtectHostname=yes
ProtectProc=invisible
`

// busSandbox: the broker passes messages between sockets and becomes an account
// of its own; services are started by systemd.
const busSandbox = layers.Sandbox + `CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_AUDIT_WRITE
PrivateMounts=yes
RestrictAddressFamilies=AF_UNIX AF_NETLINK
`

// exposureChecks are about the services that this layer configures.
func exposureChecks() []layers.Check {
	return []layers.Check{exposureCheck("systemd-networkd"), exposureCheck("systemd-resolved"), exposureCheck("dbus-broker"), exposureCheck("ingot-status")}
}

func exposureCheck(name string) layers.Check {
	unit := name + ".service"
	return layers.Check{
		ID: "system.sandbox." + name, Title: unit + " is in a sandbox",
		Exposure: &layers.ExposureCheck{Unit: unit, Max: layers.MaxExposure},
		Sabotage: layers.SabotageSandbox(unit),
	}
}
