package wireguard

import (
	"fmt"
	"strings"

	"ingot/layers"
)

func (l Layer) checks() []layers.Check {
	const wg = layers.TunnelInterface
	list := []layers.Check{
		{
			ID: "wireguard.port", Title: "the tunnel listens on the declared port",
			Command: &layers.CommandCheck{
				Argv: []string{"wg", "show", wg, "listen-port"}, Contains: fmt.Sprintf("%d\n", l.listenPort()),
			},
			// The tunnel goes on: the client follows the server to the other port,
			// whose packets the firewall lets through.
			Sabotage: "nft insert rule inet ingot inbound udp dport 51999 accept && nft insert rule inet ingot outbound udp sport 51999 accept && wg set " + wg + " listen-port 51999",
		},
		{
			ID: "wireguard.private-key", Title: "the tunnel's private key is readable by root and networkd only",
			File:     &layers.FileCheck{Path: SecretsDir + "/private-key", Owner: "root:" + secretGroup, Mode: secretMode, ReadOnly: true},
			Sabotage: layers.SabotageEtc,
		},
		{
			ID: "wireguard.netdev", Title: "the list of peers is sealed",
			File:     &layers.FileCheck{Path: netdevPath, Owner: "root:" + secretGroup, Mode: secretMode, ReadOnly: true},
			Sabotage: layers.SabotageEtc,
		},
		{
			ID: "wireguard.peers", Title: "nobody is a peer who is not in the list", SurvivesReboot: true,
			Command:  &layers.CommandCheck{Argv: []string{"sh", "-c", l.strangers()}, Silent: true},
			Sabotage: "wg set " + wg + " peer $(wg genkey | wg pubkey) allowed-ips 192.0.2.99/32",
		},
		{
			ID: "wireguard.no-peer-to-peer", Title: "a peer cannot send in another's name",
			Command:  &layers.CommandCheck{Argv: []string{"sh", "-c", l.undeclaredAddresses()}, Silent: true},
			Sabotage: "set -- $(wg show " + wg + " allowed-ips | head -n 1 | tr ' ' ',') && wg set " + wg + " peer $1 allowed-ips $2,192.0.2.99/32",
		},
	}
	return append(append(list, l.networkChecks()...), l.forwardingChecks()...)
}

// strangers is a command that prints the public keys of peers who are not in
// ingot.yaml.
func (l Layer) strangers() string {
	keys := []string{}
	for _, p := range l.Options.Peers {
		keys = append(keys, "-e "+p.PublicKey)
	}
	return "peers=$(wg show " + layers.TunnelInterface + " peers) || exit 1; printf '%s\\n' \"$peers\" | grep -vxF " + strings.Join(keys, " ") + "; true"
}

// undeclaredAddresses is a command that prints what peers may send from and
// ingot.yaml does not give them.
func (l Layer) undeclaredAddresses() string {
	addresses := []string{}
	for _, p := range l.Options.Peers {
		for _, a := range p.addresses() {
			addresses = append(addresses, "-e "+single(a).String())
		}
	}
	return "allowed=$(wg show " + layers.TunnelInterface + " allowed-ips) || exit 1; printf '%s\\n' \"$allowed\" | cut -f 2 | tr ' ' '\\n' | grep -vxF " +
		strings.Join(addresses, " ") + "; true"
}

// networkChecks are about the options that not every server has.
func (l Layer) networkChecks() []layers.Check {
	const wg = layers.TunnelInterface
	var list []layers.Check
	if l.Options.Address6 != "" {
		list = append(list, layers.Check{
			ID: "wireguard.address6", Title: "the tunnel has its IPv6 address",
			Command:  &layers.CommandCheck{Argv: []string{"ip", "-6", "-brief", "address", "show", "dev", wg}, Contains: canonical(l.Options.Address6)},
			Sabotage: "ip -6 address flush dev " + wg,
		})
	}
	if l.Options.MTU != 0 {
		list = append(list, layers.Check{
			ID: "wireguard.mtu", Title: "packets in the tunnel are as large as declared",
			Command:  &layers.CommandCheck{Argv: []string{"cat", "/sys/class/net/" + wg + "/mtu"}, Contains: fmt.Sprintf("%d\n", l.Options.MTU)},
			Sabotage: "ip link set dev " + wg + " mtu 1290",
		})
	}
	if l.Options.DNS {
		list = append(list, layers.Check{
			ID: "wireguard.dns", Title: "the resolver answers peers",
			Resolve:  &layers.ResolveCheck{},
			Sabotage: "systemctl mask --runtime --now systemd-resolved.service",
		})
	}
	return list
}

// Finish implements [layers.Finisher]: where nothing passes through the machine,
// the kernel need not forward. Containers have it do that on every interface, and
// the firewall alone decides.
func (l Layer) Finish(plan layers.Plan) layers.Contribution {
	if len(plan.Forwards) > 0 {
		return layers.Contribution{}
	}
	key := "net.ipv4.conf." + layers.TunnelInterface + ".forwarding"
	return layers.Contribution{Checks: []layers.Check{{
		ID: "wireguard.no-forwarding", Title: "peers do not reach each other or the internet through the server",
		Sysctl: &layers.SysctlCheck{Key: key, Value: "0"}, Sabotage: "sysctl -w " + key + "=1",
	}}}
}

// forwardingChecks: what passes through the server is what was asked for.
func (l Layer) forwardingChecks() []layers.Check {
	const wg = layers.TunnelInterface
	if !l.Options.FullTunnel {
		return []layers.Check{
			{
				ID: "wireguard.not-through", Title: "what a peer sends to the internet does not leave the server",
				Through:  &layers.ThroughCheck{},
				Sabotage: "sysctl -w net.ipv4.ip_forward=1 net.ipv4.conf." + wg + ".forwarding=1 && nft insert rule inet ingot forwarded accept",
			},
		}
	}
	return []layers.Check{
		{
			ID: "wireguard.through", Title: "what a peer sends to the internet arrives there from the server's address",
			Through:  &layers.ThroughCheck{Passes: true},
			Sabotage: "nft flush chain inet ingot masquerading",
		},
		{
			ID: "wireguard.forwarding", Title: "peers reach the internet over IPv4",
			Sysctl:   &layers.SysctlCheck{Key: "net.ipv4.conf." + wg + ".forwarding", Value: "1"},
			Sabotage: "sysctl -w net.ipv4.conf." + wg + ".forwarding=0",
		},
		{
			ID: "wireguard.forwarding6", Title: "peers reach the internet over IPv6",
			Sysctl:   &layers.SysctlCheck{Key: "net.ipv6.conf.all.forwarding", Value: "1"},
			Sabotage: "sysctl -w net.ipv6.conf.all.forwarding=0",
		},
	}
}
