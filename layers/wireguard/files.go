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
	files := []layers.File{
		{Path: netdevPath + ".d/10-ingot.conf", Mode: 0o644, Why: "the tunnel's port, for every server of this image", Contents: fmt.Sprintf(`[WireGuard]
ListenPort=%d
`, l.listenPort())},
		{Path: networkPath + ".d/10-ingot.conf", Mode: 0o644, Why: "how the tunnel behaves on every server of this image", Contents: fmt.Sprintf(`[Link]
# The machine is online without anybody in the tunnel.
RequiredForOnline=no

[Network]
# No name resolution by multicast, no autoconfiguration, %[1]s.
LLMNR=no
MulticastDNS=no
LinkLocalAddressing=no
IPv6AcceptRA=no
IPv4Forwarding=%[2]s
IPv6Forwarding=%[2]s
`, map[bool]string{false: "no forwarding", true: "forwarding for peers"}[l.Options.FullTunnel], yes(l.Options.FullTunnel))},
	}
	if l.Options.FullTunnel {
		files = append(files, layers.File{
			Path: "/etc/systemd/networkd.conf.d/50-" + layers.TunnelInterface + ".conf", Mode: 0o644, Option: []any{"fullTunnel"},
			Why: "packets of peers pass through the server", Contents: `[Network]
# For all interfaces: the answers arrive at the uplink, and the kernel has one
# switch for IPv6. The firewall drops all that no layer forwards.
IPv4Forwarding=yes
IPv6Forwarding=yes
`,
		})
	}
	return files
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (l Layer) instanceFiles() []layers.File {
	files := []layers.File{
		{Path: netdevPath, Mode: secretMode, Group: secretGroup, Contents: l.netdev(), Option: []any{"peers"}, Why: "who may connect to the tunnel"},
		{Path: networkPath, Mode: 0o644, Contents: l.network(), Option: []any{"address"}, Why: "the server's addresses in the tunnel"},
		{Path: SecretsDir + "/private-key", Mode: secretMode, Group: secretGroup, SecretSlot: PrivateKeySlot, Why: "the server's key in the tunnel"},
	}
	if l.Options.DNS {
		files = append(files, layers.File{
			Path: resolverPath, Mode: 0o644, Contents: l.resolver(), Option: []any{"dns"}, Why: "peers may ask the server's resolver",
		})
	}
	for i, p := range l.Options.Peers {
		if p.PresharedKey {
			files = append(files, layers.File{
				Path: p.presharedKeyPath(), Mode: secretMode, Group: secretGroup, SecretSlot: PresharedKeySlot + p.Name,
				Option: []any{"peers", i}, Why: "the key shared with peer " + p.Name,
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
		fmt.Fprintf(&b, "\n# %s\n[WireGuardPeer]\nPublicKey=%s\n", p.Name, p.PublicKey)
		for _, a := range p.addresses() {
			fmt.Fprintf(&b, "AllowedIPs=%s\n", single(a))
		}
		if p.PresharedKey {
			fmt.Fprintf(&b, "PresharedKeyFile=%s\n", p.presharedKeyPath())
		}
		if p.Keepalive != 0 {
			fmt.Fprintf(&b, "PersistentKeepalive=%d\n", p.Keepalive)
		}
	}
	return b.String()
}

func (l Layer) network() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Match]\nName=%s\n", layers.TunnelInterface)
	if l.Options.MTU != 0 {
		fmt.Fprintf(&b, "\n[Link]\nMTUBytes=%d\n", l.Options.MTU)
	}
	b.WriteString("\n[Network]\n")
	for _, a := range l.addresses() {
		fmt.Fprintf(&b, "Address=%s\n", canonical(a))
	}
	return b.String()
}

// resolver adds listeners to the one that the system layer switched off.
// resolved binds them before the interface is there (IP_FREEBIND).
func (l Layer) resolver() string {
	var b strings.Builder
	b.WriteString("[Resolve]\n")
	for _, a := range l.addresses() {
		fmt.Fprintf(&b, "DNSStubListenerExtra=%s\n", bare(a))
	}
	return b.String()
}

// single is the subnet of one address, which Validate has parsed before.
func single(address string) netip.Prefix {
	a := netip.MustParseAddr(address)
	return netip.PrefixFrom(a, a.BitLen())
}

// canonical is an address with a length as the kernel prints it.
func canonical(prefix string) string { return netip.MustParsePrefix(prefix).String() }

// bare is the address without the length.
func bare(prefix string) string { return netip.MustParsePrefix(prefix).Addr().String() }
