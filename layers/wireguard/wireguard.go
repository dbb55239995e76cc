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
	// Peers are those who may connect.
	Peers []Peer `yaml:"peers" ingot:"instance"`
}

// Peer is one client of the tunnel.
type Peer struct {
	// Name is for people: a comment in the configuration and, with
	// PresharedKey, part of the secret slot's name.
	Name string `yaml:"name" ingot:"instance,required"`
	// Address is the peer's one address in the tunnel, without a length.
	Address string `yaml:"address" ingot:"instance,required"`
	// PublicKey is what "wg pubkey" prints: 32 bytes in base64.
	PublicKey string `yaml:"publicKey" ingot:"instance,required"`
	// Verified says that PublicKey was compared with what "wg pubkey" prints.
	// One public key in 16 looks like a private one and is refused without.
	Verified bool `yaml:"verified" ingot:"instance"`
	// PresharedKey declares the secret slot wireguard/preshared-key-NAME, a
	// symmetric key mixed into this peer's handshakes.
	PresharedKey bool `yaml:"presharedKey" ingot:"instance"`
}

// Defaults and places.
const (
	DefaultListenPort = 51820         // field notes §7.1; WireGuard's quick start
	DefaultAddress    = "10.8.0.1/24" // field notes §7.1

	// SecretsDir is where the slots of this layer are on the machine.
	SecretsDir = "/etc/ingot/secrets/wireguard"
	// PrivateKeySlot is the slot of the server's private key.
	PrivateKeySlot = "wireguard/private-key"

	presharedKeySlot = "wireguard/preshared-key-"

	netdevPath  = "/etc/systemd/network/50-" + layers.TunnelInterface + ".netdev"
	networkPath = "/etc/systemd/network/50-" + layers.TunnelInterface + ".network"

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
	return layers.Contribution{
		Packages: []string{"wireguard-tools"},
		Image:    layers.Fragment{Files: l.imageFiles()},
		Instance: layers.Fragment{Files: l.instanceFiles()},
		Identity: []string{netdevPath, networkPath, SecretsDir + "/private-key", SecretsDir + "/preshared-key-*"},
		Ports: []layers.Port{{
			Proto: "udp", Port: l.listenPort(), From: layers.FromInternet, Silent: true, Why: "WireGuard",
		}},
		Tunnels: []layers.Tunnel{{
			Interface: layers.TunnelInterface, Port: l.listenPort(), Peers: len(l.Options.Peers),
			Units: []string{"systemd-networkd.service"},
		}},
		Secrets: l.slots(),
		Checks:  l.checks(),
	}
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

func (l Layer) slots() []layers.SecretSlot {
	slots := []layers.SecretSlot{{
		Name: PrivateKeySlot, Path: SecretsDir + "/private-key", Why: "the server's key in the tunnel",
	}}
	for _, p := range l.Options.Peers {
		if p.PresharedKey {
			slots = append(slots, layers.SecretSlot{
				Name: presharedKeySlot + p.Name, Path: p.presharedKeyPath(), Why: "the key shared with peer " + p.Name,
			})
		}
	}
	return slots
}

func (p Peer) presharedKeyPath() string { return SecretsDir + "/preshared-key-" + p.Name }

func (l Layer) checks() []layers.Check {
	return []layers.Check{
		{
			ID: "wireguard.port", Title: "the tunnel listens on the declared port",
			Command: &layers.CommandCheck{
				Argv: []string{"wg", "show", layers.TunnelInterface, "listen-port"}, Contains: fmt.Sprintf("%d\n", l.listenPort()),
			},
		},
		{
			ID: "wireguard.private-key", Title: "the tunnel's private key is readable by root and networkd only",
			File:     &layers.FileCheck{Path: SecretsDir + "/private-key", Owner: "root:" + secretGroup, Mode: secretMode, ReadOnly: true},
			Sabotage: layers.SabotageEtc,
		},
		{
			ID: "wireguard.netdev", Title: "the list of peers is sealed",
			File: &layers.FileCheck{Path: netdevPath, Owner: "root:" + secretGroup, Mode: secretMode, ReadOnly: true},
		},
		{
			ID: "wireguard.no-forwarding", Title: "peers do not reach each other or the internet through the server",
			Sysctl:   &layers.SysctlCheck{Key: "net.ipv4.conf." + layers.TunnelInterface + ".forwarding", Value: "0"},
			Sabotage: "sysctl -w net.ipv4.conf." + layers.TunnelInterface + ".forwarding=1",
		},
	}
}
