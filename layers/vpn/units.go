package vpn

import (
	"encoding/json"
	"fmt"
	"strings"

	"ingot/layers"
)

const (
	rulesPath = "/etc/ingot/vpn.nft"
	// optionsPath is read by the tunnel's service.
	optionsPath = "/etc/ingot/vpn.json"

	device = "sys-subsystem-net-devices-" + layers.TunnelInterface + ".device"
)

// AgentOptions are what ingot.yaml tells the tunnel's service.
type AgentOptions struct {
	// DNS are used instead of the provider file's when there are any.
	DNS []string `json:"dns"`
}

// OptionsPath is where they are.
const OptionsPath = optionsPath

func (l Layer) agentOptions() string {
	b, _ := json.MarshalIndent(AgentOptions{DNS: l.Options.DNS}, "", "  ") // of strings: it cannot fail
	return string(b) + "\n"
}

// namespaceUnit has no mount namespace of its own, as the namespace's file must be
// seen by all, and uses nsenter, since "ip -n" makes one, too. IPv6 is off by
// default, for the interface that is moved in later: its service switches it on
// when the tunnel has IPv6.
const namespaceUnit = `[Unit]
Description=Network namespace of the VPN
Requires=nftables.service
After=nftables.service
# Nobody in it before there is an identity, whose file has the tunnel.
ConditionPathExists=/run/ingot/configured

[Service]
Type=oneshot
RemainAfterExit=yes
RuntimeDirectory=ingot-vpn
ExecStartPre=-/usr/sbin/ip netns delete ` + Namespace + `
ExecStart=/usr/sbin/ip netns add ` + Namespace + `
ExecStart=/usr/bin/nsenter --net=` + NamespacePath + ` /usr/sbin/sysctl --quiet net.ipv6.conf.default.disable_ipv6=1
ExecStart=/usr/bin/nsenter --net=` + NamespacePath + ` /usr/sbin/nft --file ` + rulesPath + `
ExecStart=/usr/bin/nsenter --net=` + NamespacePath + ` /usr/sbin/ip link set dev lo up
# Containers mount it, also when there is no tunnel that names a resolver.
ExecStart=/usr/bin/install --mode=0644 /dev/null ` + Resolver + `
ExecStopPost=-/usr/sbin/ip netns delete ` + Namespace + `
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_NET_ADMIN CAP_SYS_ADMIN
RestrictAddressFamilies=AF_UNIX AF_NETLINK
RestrictNamespaces=net
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service @mount
SystemCallErrorNumber=EPERM
UMask=0022

[Install]
WantedBy=multi-user.target
`

// linkUnit: the socket of the tunnel is made by whoever switches the interface
// on, and a filter of addresses of that service would be the tunnel's as well.
const linkUnit = `[Unit]
Description=WireGuard tunnel of the VPN namespace
BindsTo=` + NamespaceUnit + `
After=` + NamespaceUnit + ` systemd-networkd.service systemd-resolved.service
ConditionPathExists=/run/ingot/configured
StartLimitIntervalSec=0

` + layers.Sandbox + `Type=notify
ExecStart=/usr/lib/ingot/ingot-agent vpn
ExecStopPost=-/usr/bin/nsenter --net=` + NamespacePath + ` /usr/sbin/ip link delete dev ` + Interface + `
ExecStopPost=-/usr/bin/rm --force ` + StatusPath + `
Restart=always
RestartSec=2
# The boot would wait as long as it is tried again. What the file lacks now, it
# will lack then.
RestartPreventExitStatus=78
TimeoutStopSec=10
UMask=0022
ReadWritePaths=` + RunDir + `
ProtectKernelTunables=no
RestrictNamespaces=net
IPAddressDeny=
CapabilityBoundingSet=CAP_NET_ADMIN CAP_SYS_ADMIN
RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6
PrivateTmp=yes
ProtectProc=invisible

[Install]
WantedBy=multi-user.target ` + NamespaceUnit + `
`

// rules are those in the namespace. Whatever it sends has one way to go; what
// comes from the VPN's side is other people's.
func (l Layer) rules() string {
	var b strings.Builder
	for _, a := range l.Options.Allow {
		fmt.Fprintf(&b, "\t\t%s dport %d accept comment \"%s\"\n", a.proto(), a.Port, strings.ReplaceAll(a.Why, `"`, "'"))
	}
	return `table inet vpn {
	chain inbound {
		type filter hook input priority filter; policy drop;
		iifname "lo" accept
		ct state vmap { established : accept, related : accept, invalid : drop }
` + b.String() + `	}

	chain forwarded {
		type filter hook forward priority filter; policy drop;
	}
}
`
}

// units are a socket, from where the page is opened, and a program that carries
// its bytes into the namespace.
func (p Page) units() []layers.Unit {
	on := true
	name := fmt.Sprintf("vpn-page-%d", p.Port)
	return []layers.Unit{
		{Name: name + ".socket", Enabled: &on, Contents: p.socket(), Why: "opens a page of the VPN namespace: " + p.Why},
		{Name: name + ".service", Contents: p.proxy(), Why: "carries a page out of the VPN namespace: " + p.Why},
	}
}

func (p Page) socket() string {
	if p.From == layers.FromLoopback {
		return fmt.Sprintf(`[Unit]
Description=Page of the VPN namespace at port %[1]d

[Socket]
ListenStream=127.0.0.1:%[1]d

[Install]
WantedBy=sockets.target
`, p.Port)
	}
	return fmt.Sprintf(`[Unit]
Description=Page of the VPN namespace at port %[1]d
BindsTo=%[2]s
After=%[2]s

[Socket]
ListenStream=0.0.0.0:%[1]d
ListenStream=[::]:%[1]d
BindIPv6Only=ipv6-only
BindToDevice=%[3]s

[Install]
WantedBy=%[2]s
`, p.Port, device, layers.TunnelInterface)
}

func (p Page) proxy() string {
	return fmt.Sprintf(`[Unit]
Description=Carry the page at port %[1]d out of the VPN namespace
BindsTo=%[2]s
# Holds the listening socket: while it runs, the socket cannot be opened anew.
PartOf=vpn-page-%[1]d.socket
After=%[2]s vpn-page-%[1]d.socket

`+layers.Sandbox+`ExecStart=/usr/lib/systemd/systemd-socket-proxyd --exit-idle-time=10min 127.0.0.1:%[3]d
NetworkNamespacePath=%[4]s
DynamicUser=yes
CapabilityBoundingSet=
IPAddressAllow=localhost
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
ProtectProc=invisible
ProcSubset=pid
PrivateTmp=yes
SystemCallFilter=~@privileged @resources
`, p.Port, NamespaceUnit, p.Target, NamespacePath)
}
