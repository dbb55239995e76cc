package ssh

import (
	"fmt"

	"ingot/layers"
)

// device is what systemd calls the tunnel interface: it exists from the moment
// udev has seen the interface until it is gone.
const device = "sys-subsystem-net-devices-" + layers.TunnelInterface + ".device"

// units ties Debian's ssh.socket and ssh.service to the tunnel interface, unless
// sshd is exposed. A socket that is bound to an interface stays bound to that
// one incarnation of it, so both go with the interface and come back with the
// next.
func (l Layer) units() []layers.Unit {
	on := true
	return []layers.Unit{
		{
			Name: "ssh.socket", Enabled: &on, Dropins: []layers.Dropin{{Name: "10-ingot.conf", Contents: l.socket()}},
			Why: "the place where sshd is reached",
		},
		{
			Name: "ssh.service", Dropins: []layers.Dropin{{Name: "10-ingot.conf", Contents: l.service()}},
			Why: "lets people log in; the first connection starts it",
		},
		{Name: "ingot-hostkey.service", Enabled: &on, Contents: hostKeyUnit, Why: "makes this machine's host key when there is none"},
		{Name: "sshd-keygen.service", Mask: true, Why: "writes keys to /etc, which is sealed; ingot-hostkey does its work"},
	}
}

func (l Layer) socket() string {
	if l.exposed() {
		return `[Socket]
# On every interface: the tunnel need not be up. The firewall limits the
# internet.
` + l.listen()
	}
	return fmt.Sprintf(`[Unit]
BindsTo=%[1]s
After=%[1]s

[Socket]
%[2]sBindToDevice=%[3]s

[Install]
# Not sockets.target: the boot would wait there for an interface that comes
# later, or never when the machine has no identity yet.
WantedBy=
WantedBy=%[1]s
`, device, l.listen(), layers.TunnelInterface)
}

// listen has a socket for each family. From one for both, sshd would see IPv4
// addresses as ::ffff:a.b.c.d, which all are one /64: the failures of one
// stranger would be held against everybody (PerSourcePenalties).
func (l Layer) listen() string {
	return fmt.Sprintf(`# The empty line takes back Debian's own port.
ListenStream=
ListenStream=0.0.0.0:%[1]d
ListenStream=[::]:%[1]d
BindIPv6Only=ipv6-only
`, l.port())
}

func (l Layer) service() string {
	if l.exposed() {
		return `[Unit]
PartOf=ssh.socket
Requires=ingot-hostkey.service
After=ssh.socket ingot-hostkey.service
`
	}
	return `[Unit]
# Holds the listening socket: while it runs, ssh.socket cannot be started anew
# on the interface's next incarnation.
BindsTo=` + device + `
PartOf=ssh.socket
Requires=ingot-hostkey.service
After=` + device + ` ssh.socket ingot-hostkey.service
`
}

const hostKeyUnit = `[Unit]
Description=Make the SSH host key when there is none
RequiresMountsFor=` + HostKeyDir + `
Before=ssh.service

` + layers.Sandbox + `Type=oneshot
RemainAfterExit=yes
ExecStart=` + hostKeyProgram + `
StateDirectory=ingot/ssh
StateDirectoryMode=0700
CapabilityBoundingSet=
ProtectProc=invisible
PrivateNetwork=yes
PrivateTmp=yes
RestrictAddressFamilies=AF_UNIX
SystemCallFilter=~@privileged @resources

[Install]
WantedBy=multi-user.target
`
