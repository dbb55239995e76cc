package vpn

import (
	"fmt"

	"ingot/layers"
)

// in runs a command in the namespace.
func in(argv ...string) []string {
	return append([]string{"nsenter", "--net=" + NamespacePath, "--"}, argv...)
}

// WayOut is the sabotage of what must not leave: a second way out of the
// namespace, through the machine and with its address.
const WayOut = "ip link add sab0 type veth peer name sab1 netns " + Namespace + " && ip address add 192.0.2.1/30 dev sab0 && ip link set sab0 up && " +
	"ip -n " + Namespace + " address add 192.0.2.2/30 dev sab1 && ip -n " + Namespace + " link set sab1 up && " +
	"ip -n " + Namespace + " route replace default via 192.0.2.1 dev sab1 && sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.forwarding=1 && " +
	"nft insert rule inet ingot forwarded accept && nft add table ip sab && " +
	"nft add chain ip sab out '{ type nat hook postrouting priority srcnat; }' && nft add rule ip sab out ip saddr 192.0.2.2 masquerade"

func (l Layer) checks() []layers.Check {
	list := []layers.Check{
		{
			ID: "vpn.namespace", Title: "the VPN namespace has lo and the tunnel and nothing else", SurvivesReboot: true,
			Command: &layers.CommandCheck{
				Argv: []string{"sh", "-c", "list=$(ip -n " + Namespace + " -brief link show | cut -d ' ' -f 1 | sort | xargs); [ \"$list\" = \"lo " + Interface + "\" ] || echo \"it has: $list\""}, Silent: true,
			},
			Sabotage: "ip -n " + Namespace + " link add sab0 type dummy",
		},
		{
			ID: "vpn.routes", Title: "every route of the VPN namespace leads into the tunnel",
			Command: &layers.CommandCheck{
				Argv: []string{"sh", "-c", "for f in -4 -6; do ip -n " + Namespace + " $f route show table all | grep -v -e ' dev " + Interface + " ' -e ' dev " + Interface + "$' -e ' dev lo '; done; :"}, Silent: true,
			},
			Sabotage: "ip -n " + Namespace + " link add sab0 type dummy && ip -n " + Namespace + " link set sab0 up && ip -n " + Namespace + " route add 198.51.100.0/24 dev sab0",
		},
		{
			ID: "vpn.handshake", Title: "the VPN answers", SurvivesReboot: true,
			Command:  &layers.CommandCheck{Argv: []string{"/usr/lib/ingot/ingot-agent", "vpn", "status"}, Contains: "handshake"},
			Sabotage: "systemctl stop " + LinkUnit,
		},
		{
			ID: "vpn.exit", Title: "what is in the VPN namespace is seen with the VPN's address, and never leaves the machine by itself",
			Exit: &layers.ExitCheck{Namespace: NamespacePath}, Sabotage: WayOut,
		},
		{
			ID: "vpn.no-host-resolver", Title: "the machine's resolver is out of reach in the VPN namespace",
			Command: &layers.CommandCheck{
				Argv: in("sh", "-c", "timeout 3 bash -c 'true <>/dev/tcp/127.0.0.53/53' 2>/dev/null && echo answered; grep -F 127.0.0 "+Resolver+"; :"), Silent: true,
			},
			Sabotage: "echo nameserver 127.0.0.53 >>" + Resolver,
		},
		{
			ID: "vpn.inbound", Title: "the VPN's side reaches no port that is not allowed",
			Command:  &layers.CommandCheck{Argv: in("/usr/sbin/nft", "list", "chain", "inet", "vpn", "inbound"), Contains: "policy drop;"},
			Sabotage: "nsenter --net=" + NamespacePath + " nft chain inet vpn inbound '{ policy accept; }'",
		},
		{
			ID: "vpn.config", Title: "the VPN's keys are root's alone",
			File:     &layers.FileCheck{Path: ConfigPath, Owner: "root:root", Mode: 0o600, ReadOnly: true},
			Sabotage: layers.SabotageEtc,
		},
		{
			ID: "vpn.sandbox", Title: "the tunnel's service runs in a sandbox",
			Exposure: &layers.ExposureCheck{Unit: LinkUnit, Max: layers.MaxExposure},
			Sabotage: layers.SabotageSandbox(LinkUnit),
		},
		{
			ID: "vpn.namespace-sandbox", Title: "what makes the namespace has no more rights than it needs",
			Exposure: &layers.ExposureCheck{Unit: NamespaceUnit, Max: namespaceExposure},
			Sabotage: layers.SabotageSandbox(NamespaceUnit),
		},
	}
	for _, p := range l.pages() {
		unit := fmt.Sprintf("vpn-page-%d", p.Port)
		list = append(list, layers.Check{
			ID: fmt.Sprintf("vpn.page-%d-sandbox", p.Port), Title: fmt.Sprintf("the program that carries the page at port %d runs in a sandbox", p.Port),
			Exposure: &layers.ExposureCheck{Unit: unit + ".service", Max: layers.MaxExposure},
			Sabotage: layers.SabotageSandbox(unit + ".service"),
		})
		if p.From == layers.FromWireGuard {
			list = append(list, layers.Check{
				ID: fmt.Sprintf("vpn.page-%d", p.Port), Title: fmt.Sprintf("peers open the page at port %d: %s", p.Port, p.Why),
				Reach:    &layers.ReachCheck{Proto: "tcp", Port: p.Port, From: layers.FromWireGuard, State: "open"},
				Sabotage: "systemctl stop " + unit + ".socket",
			})
		}
	}
	return list
}

// namespaceExposure is what the unit that makes the namespace may leave open: what
// it mounts must be seen by all, so it has no view of its own.
const namespaceExposure = 5.0
