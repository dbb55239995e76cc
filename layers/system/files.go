package system

// uplink is any wired interface that is not ours: a provider's network by
// DHCP and router advertisements.
const uplink = `[Match]
Type=ether
Kind=!*

[Network]
DHCP=yes
IPv6AcceptRA=yes
LLMNR=no
MulticastDNS=no

[DHCPv4]
UseHostname=no

[DHCPv6]
UseHostname=no
`

// resolved only writes /run/systemd/resolve/resolv.conf; it opens LLMNR (5355)
// and a DNS stub unless told not to.
const resolved = `[Resolve]
LLMNR=no
MulticastDNS=no
DNSStubListener=no
`

// 256 MiB of journal is weeks of a quiet server.
const journald = `[Journal]
Storage=persistent
SystemMaxUse=256M
`

// fstab tells systemd that the initrd mounted /var, so that it is unmounted
// after the last program has ended and not before.
const fstab = `# /, /etc and /var are mounted by the initrd, the rest by systemd.
/dev/disk/by-label/ingot-var /var ext4 x-initrd.mount,nosuid,nodev,noatime 0 0
`

// issue names no version: it is shown before anybody has logged in.
const issue = `This system is private. Access is for authorized people only and is monitored;
unauthorized use is prohibited.
`

// profile is read by login shells of sh and bash. 15 minutes: CIS Debian Linux
// Benchmark 5.4.3.2. Only an interactive shell looks at TMOUT.
const profile = `# A root shell that somebody forgot ends after 15 idle minutes.
TMOUT=900
readonly TMOUT
export TMOUT
# Memory holds keys; it is not written to files.
ulimit -c 0
`

// tmpMount closes what systemd's own tmp.mount leaves open.
const tmpMount = `[Mount]
Options=mode=1777,strictatime,nosuid,nodev,noexec,size=50%,nr_inodes=1m
`

// networkd runs only on a machine that has an identity: without one it
// answers no packet.
const identified = `[Unit]
ConditionPathExists=/run/ingot/configured
`

// status tells on the console, serial and VGA, what state the machine is in.
// It comes last so that boot messages do not bury it.
const status = `[Unit]
Description=Ingot: say what state this machine is in
After=multi-user.target systemd-networkd.service
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/lib/ingot/ingot-agent status
StandardOutput=journal+console

[Install]
WantedBy=multi-user.target
`

// kernelArguments: both consoles are on, whatever the provider shows. A flipped
// bit in the root stops the machine, which restarts after ten seconds, rather
// than being served. Nobody gets a shell from a boot that failed, and no login
// prompt waits on a console: no account has a password.
var kernelArguments = []string{
	"console=tty0", "console=ttyS0,115200n8",
	"systemd.verity_root_options=panic-on-corruption", "panic=10",
	"rd.shell=0", "rd.emergency=reboot", "systemd.gpt_auto=0", "systemd.getty_auto=no",
}
