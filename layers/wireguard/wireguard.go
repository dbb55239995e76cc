// Package wireguard is the layer of the tunnel: the one way in (field notes
// §7). The interface is made by systemd-networkd. Its port is the image's;
// its key, address and peers are this server's identity.
package wireguard

import (
	"fmt"

	"ingot/layers"
)

// Options of the layer.
type Options struct {
	// ListenPort is the UDP port on the internet side, 51820 by default.
	ListenPort int `yaml:"listenPort"`
	// Address is the server's address in the tunnel with the length of the
	// subnet, 10.8.0.1/24 by default.
	Address string `yaml:"address" ingot:"instance"`
	// Address6 is a second one, of IPv6; without it the tunnel has one subnet.
	Address6 string `yaml:"address6" ingot:"instance"`
	// Endpoint is the name or address under which clients find the server:
	// "ingot client add" writes it into their configs, the server never reads it.
	Endpoint string `yaml:"endpoint" ingot:"instance"`
	// MTU is the largest packet in the tunnel in bytes. By default the kernel
	// takes the uplink's less 80, what WireGuard adds over IPv6.
	MTU int `yaml:"mtu" ingot:"instance"`
	// DNS lets peers ask the server's resolver, at its addresses in the tunnel.
	DNS bool `yaml:"dns"`
	// FullTunnel lets peers reach the internet through the server, which lends
	// them its address (field notes §7.3). Otherwise they reach the server only.
	FullTunnel bool `yaml:"fullTunnel"`
	// Peers are those who may connect. A peer may roam: the server answers to
	// where the last authentic packet came from, so there is nothing to set.
	Peers []Peer `yaml:"peers" ingot:"instance"`
}

// Peer is one client of the tunnel.
type Peer struct {
	// Name is for people: a comment in the configuration and, with
	// PresharedKey, part of the secret slot's name.
	Name string `yaml:"name" ingot:"instance,required"`
	// Address is the peer's one address in the tunnel, without a length.
	Address string `yaml:"address" ingot:"instance,required"`
	// Address6 is its second one, of IPv6, in the subnet of the server's.
	Address6 string `yaml:"address6" ingot:"instance"`
	// PublicKey is what "wg pubkey" prints: 32 bytes in base64.
	PublicKey string `yaml:"publicKey" ingot:"instance,required"`
	// Verified says that PublicKey was compared with what "wg pubkey" prints.
	// One public key in 16 looks like a private one and is refused without.
	Verified bool `yaml:"verified" ingot:"instance"`
	// PresharedKey declares the secret slot wireguard/preshared-key-NAME, a
	// symmetric key mixed into this peer's handshakes.
	PresharedKey bool `yaml:"presharedKey" ingot:"instance"`
	// Keepalive is how often, in seconds, the server sends a packet for
	// nothing, which keeps the peer's NAT open. 0, the default, is never:
	// clients send their own ([ClientKeepalive]).
	Keepalive int `yaml:"keepalive" ingot:"instance"`
}

// Defaults and places.
const (
	DefaultListenPort = 51820         // field notes §7.1; WireGuard's quick start
	DefaultAddress    = "10.8.0.1/24" // field notes §7.1
	ClientKeepalive   = 25            // seconds; field notes §7.2, WireGuard's quick start

	// SecretsDir is where the slots of this layer are on the machine.
	SecretsDir = "/etc/ingot/secrets/wireguard"
	// PrivateKeySlot is the slot of the server's private key.
	PrivateKeySlot = "wireguard/private-key"
	// PresharedKeySlot is what the slot of a peer's preshared key begins with;
	// the peer's name follows.
	PresharedKeySlot = "wireguard/preshared-key-"

	netdevPath  = "/etc/systemd/network/50-" + layers.TunnelInterface + ".netdev"
	networkPath = "/etc/systemd/network/50-" + layers.TunnelInterface + ".network"

	// resolverPath makes the resolver listen on the server's tunnel addresses.
	resolverPath = "/etc/systemd/resolved.conf.d/50-" + layers.TunnelInterface + ".conf"

	// networkd reads its secrets as this group.
	secretGroup = "systemd-network"
	secretMode  = 0o640
)

// KeyAdvice implements the decoder's interface of that name.
func (Options) KeyAdvice(key string) (message, advice string) { return secretKeyAdvice(key) }

// KeyAdvice implements the decoder's interface of that name.
func (Peer) KeyAdvice(key string) (message, advice string) {
	if key == "allowedIPs" || key == "allowedIps" {
		return fmt.Sprintf("unknown key %q", key), "a peer has one address in the tunnel: write address, without a length"
	}
	return secretKeyAdvice(key)
}

func secretKeyAdvice(key string) (message, advice string) {
	if key == "privateKey" || key == "private_key" || key == "PrivateKey" {
		return "a private key has no place in this file",
			"remove it: the server's belongs into secrets/" + PrivateKeySlot + ", a peer's stays with the peer, which gives its publicKey here"
	}
	return "", ""
}

// Layer is the wireguard layer with its options.
type Layer struct{ Options Options }

// Name implements [layers.Layer].
func (Layer) Name() string { return "wireguard" }

// Contribute implements [layers.Layer].
func (l Layer) Contribute(layers.Site) layers.Contribution {
	c := layers.Contribution{
		Packages: []string{"wireguard-tools"},
		Image:    layers.Fragment{Files: l.imageFiles()},
		Instance: layers.Fragment{Files: l.instanceFiles()},
		Identity: []string{netdevPath, networkPath, SecretsDir + "/private-key", SecretsDir + "/preshared-key-*"},
		Ports: []layers.Port{{
			Proto: "udp", Port: l.listenPort(), From: layers.FromInternet, Silent: true, Untracked: true, Why: "WireGuard",
		}},
		Tunnels: []layers.Tunnel{{
			Interface: layers.TunnelInterface, Port: l.listenPort(), Peers: len(l.Options.Peers),
			Units: []string{"systemd-networkd.service"},
		}},
		Secrets: l.slots(),
		Checks:  l.checks(),
	}
	if l.Options.DNS {
		c.Identity = append(c.Identity, resolverPath)
		for _, proto := range []string{"tcp", "udp"} {
			c.Ports = append(c.Ports, layers.Port{
				Proto: proto, Port: 53, From: layers.FromWireGuard, Why: "DNS for peers", Option: []any{"dns"},
			})
		}
	}
	if l.Options.FullTunnel {
		c.Forwards = []layers.Forward{{In: layers.TunnelInterface, Masquerade: true, Why: "peers reach the internet through the server"}}
	}
	return c
}

func (l Layer) listenPort() int {
	if l.Options.ListenPort == 0 {
		return DefaultListenPort
	}
	return l.Options.ListenPort
}

func (l Layer) address() string {
	if l.Options.Address == "" {
		return DefaultAddress
	}
	return l.Options.Address
}

// addresses are the server's in the tunnel, with the length of their subnets.
func (l Layer) addresses() []string {
	list := []string{l.address()}
	if l.Options.Address6 != "" {
		list = append(list, l.Options.Address6)
	}
	return list
}

// addresses are the peer's in the tunnel.
func (p Peer) addresses() []string {
	list := []string{p.Address}
	if p.Address6 != "" {
		list = append(list, p.Address6)
	}
	return list
}

func (l Layer) slots() []layers.SecretSlot {
	slots := []layers.SecretSlot{{
		Name: PrivateKeySlot, Path: SecretsDir + "/private-key", Why: "the server's key in the tunnel",
	}}
	for _, p := range l.Options.Peers {
		if p.PresharedKey {
			slots = append(slots, layers.SecretSlot{
				Name: PresharedKeySlot + p.Name, Path: p.presharedKeyPath(), Why: "the key shared with peer " + p.Name,
			})
		}
	}
	return slots
}

func (p Peer) presharedKeyPath() string { return SecretsDir + "/preshared-key-" + p.Name }
