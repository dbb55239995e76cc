package wireguard

import (
	"fmt"
	"net/netip"
	"strings"

	"ingot/layers"
)

// imageFiles are drop-ins of files that the instance brings: what they say is
// sealed, and wins over what the instance says. Without the instance's files
// they mean nothing and no interface is made.
func (l Layer) imageFiles() []layers.File {
	return []layers.File{
		{Path: netdevPath + ".d/10-ingot.conf", Mode: 0o644, Contents: fmt.Sprintf(`[WireGuard]
ListenPort=%d
`, l.listenPort())},
		{Path: networkPath + ".d/10-ingot.conf", Mode: 0o644, Contents: `[Link]
# The machine is online without anybody in the tunnel.
RequiredForOnline=no

[Network]
# No name resolution by multicast, no autoconfiguration, no forwarding.
LLMNR=no
MulticastDNS=no
LinkLocalAddressing=no
IPv6AcceptRA=no
IPv4Forwarding=no
IPv6Forwarding=no
`},
	}
}

func (l Layer) instanceFiles() []layers.File {
	files := []layers.File{
		{Path: netdevPath, Mode: secretMode, Group: secretGroup, Contents: l.netdev()},
		{Path: networkPath, Mode: 0o644, Contents: l.network()},
		{Path: SecretsDir + "/private-key", Mode: secretMode, Group: secretGroup, SecretSlot: PrivateKeySlot},
	}
	for _, p := range l.Options.Peers {
		if p.PresharedKey {
			files = append(files, layers.File{
				Path: p.presharedKeyPath(), Mode: secretMode, Group: secretGroup, SecretSlot: presharedKeySlot + p.Name,
			})
		}
	}
	return files
}

func (l Layer) netdev() string {
	var b strings.Builder
	fmt.Fprintf(&b, `[NetDev]
Name=%s
Kind=wireguard

[WireGuard]
PrivateKeyFile=%s/private-key
`, layers.TunnelInterface, SecretsDir)
	for _, p := range l.Options.Peers {
		address := netip.MustParseAddr(p.Address)
		fmt.Fprintf(&b, "\n# %s\n[WireGuardPeer]\nPublicKey=%s\nAllowedIPs=%s\n",
			p.Name, p.PublicKey, netip.PrefixFrom(address, address.BitLen()))
		if p.PresharedKey {
			fmt.Fprintf(&b, "PresharedKeyFile=%s\n", p.presharedKeyPath())
		}
	}
	return b.String()
}

func (l Layer) network() string {
	return fmt.Sprintf("[Match]\nName=%s\n\n[Network]\nAddress=%s\n", layers.TunnelInterface, l.address())
}
