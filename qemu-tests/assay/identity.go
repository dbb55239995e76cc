package assay

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"ingot/ignition"
	"ingot/layers"
	sshlayer "ingot/layers/ssh"
	"ingot/layers/vpn"
	"ingot/layers/wireguard"
)

// Identity is who the machine is during an assay: the image under test is the
// one to be shipped, only its user-data is ours.
type Identity struct {
	// Instance is the Ignition config to hand to the machine.
	Instance []byte
	// Plan is the image's plan with this identity's instance part.
	Plan layers.Plan

	admin        ssh.Signer
	authority    ssh.Signer // signs users' certificates
	stranger     ssh.Signer // an authority that nobody knows
	secrets      ignition.Secrets
	serverKey    string // WireGuard private key of the machine
	serverPublic string
	serverTunnel string // address of the server in the tunnel, without a length
	clientTunnel string
	owner, other client // two peers; the assay is the first
	// tunnels6 is whether the tunnel has IPv6 as well.
	tunnels6 bool
	sshPort  string
	provider *provider // of the VPN, nil without one
}

// client is a peer of the machine's.
type client struct {
	key          string // WireGuard private key
	presharedKey string // empty is none
	addresses    []netip.Addr
}

// newClient makes a peer with keys of its own, and its entry in ingot.yaml.
func newClient(name string, preshared bool, addresses ...string) (client, wireguard.Peer, error) {
	private, public, err := wireguard.NewKeyPair(rand.Reader)
	if err != nil {
		return client{}, wireguard.Peer{}, err
	}
	c := client{key: private}
	for _, a := range addresses {
		c.addresses = append(c.addresses, netip.MustParseAddr(a))
	}
	peer := wireguard.Peer{Name: name, Address: addresses[0], PublicKey: public, PresharedKey: preshared}
	if len(addresses) > 1 {
		peer.Address6 = addresses[1]
	}
	if preshared {
		c.presharedKey, _, err = wireguard.NewKeyPair(rand.Reader) // 32 random bytes will do
	}
	return c, peer, err
}

// Addresses inside the tunnel during an assay.
const (
	serverTunnel = "10.8.0.1"
	clientTunnel = "10.8.0.2"

	serverTunnel6 = "fd00:8::1"
	clientTunnel6 = "fd00:8::2"

	otherTunnel, otherTunnel6 = "10.8.0.3", "fd00:8::3"
)

// NewIdentity makes throw-away keys and the instance config that installs
// them, from the same layers that made the image.
func NewIdentity(site layers.Site, list []layers.Layer) (Identity, error) {
	private, public, err := wireguard.NewKeyPair(rand.Reader)
	if err != nil {
		return Identity{}, err
	}
	return Identity{serverKey: private, serverPublic: public}.Successor(site, list)
}

// Successor is another identity of the same server: with its WireGuard key, and
// without anybody who could get in before.
func (id Identity) Successor(site layers.Site, list []layers.Layer) (Identity, error) {
	id = Identity{
		serverKey: id.serverKey, serverPublic: id.serverPublic, serverTunnel: serverTunnel, clientTunnel: clientTunnel,
		provider: id.provider,
	}
	var err error
	if id.admin, err = newKey(site.Admin.SecurityKeysOnly); err != nil {
		return Identity{}, err
	}
	for _, key := range []*ssh.Signer{&id.authority, &id.stranger} {
		if *key, err = newKey(false); err != nil {
			return Identity{}, err
		}
	}
	line := authorizedKey(id.admin)

	site.Hostname = "assay"
	site.Admin.Keys = []string{line}
	list = slices.Clone(list)
	for i, l := range list {
		if w, ok := l.(wireguard.Layer); ok {
			if w, err = id.peers(w); err != nil {
				return Identity{}, err
			}
			list[i] = w
		}
		if s, ok := l.(sshlayer.Layer); ok {
			list[i] = withKeys(s, line, authorizedKey(id.authority))
		}
	}
	plan, conflicts := layers.Merge(site, list)
	if len(conflicts) > 0 {
		return Identity{}, conflicts[0]
	}
	id.Plan = plan
	if hasVPN(plan) && id.provider == nil {
		if id.provider, err = newProvider(); err != nil {
			return Identity{}, err
		}
	}
	for _, p := range plan.Ports {
		if p.Layer == "ssh" {
			id.sshPort = strconv.Itoa(p.Port)
		}
	}
	id.secrets = id.values(id.provider)
	config, err := ignition.Instance(plan, id.secrets)
	id.Instance = config.JSON
	return id, err
}

// withProvider is the identity's config with another file of the VPN's provider.
func (id Identity) withProvider(p *provider) ([]byte, error) {
	config, err := ignition.Instance(id.Plan, id.values(p))
	return config.JSON, err
}

// values are those of the secret slots.
func (id Identity) values(p *provider) ignition.Secrets {
	return func(slot layers.SecretSlot) ([]byte, error) {
		switch {
		case slot.Name == wireguard.PrivateKeySlot:
			return []byte(id.serverKey + "\n"), nil
		case slot.Name == wireguard.PresharedKeySlot+"assay":
			return []byte(id.owner.presharedKey + "\n"), nil
		case slot.Name == vpn.ConfigSlot:
			return p.file(), nil
		}
		return nil, fmt.Errorf("the assay has no value for the secret slot %s", slot.Name)
	}
}

// newKey makes a throw-away key, which is in a token when no other may log in.
func newKey(token bool) (ssh.Signer, error) {
	if token {
		return newSecurityKey()
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(private)
}

// peers puts two peers of the assay's in the place of the owner's. The first has
// a preshared key when any of the owner's has one.
func (id *Identity) peers(w wireguard.Layer) (wireguard.Layer, error) {
	preshared := slices.ContainsFunc(w.Options.Peers, func(p wireguard.Peer) bool { return p.PresharedKey })
	first, second := []string{clientTunnel}, []string{otherTunnel}
	w.Options.Address = serverTunnel + "/24"
	if id.tunnels6 = w.Options.Address6 != ""; id.tunnels6 {
		w.Options.Address6 = serverTunnel6 + "/64"
		first, second = append(first, clientTunnel6), append(second, otherTunnel6)
	}
	w.Options.Peers = make([]wireguard.Peer, 2)
	var err, err2 error
	id.owner, w.Options.Peers[0], err = newClient("assay", preshared, first...)
	id.other, w.Options.Peers[1], err2 = newClient("other", false, second...)
	return w, errors.Join(err, err2)
}

func authorizedKey(key ssh.Signer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
}

// withKeys lets all further users in with one key, and by certificate where
// the file has an authority: the keys in it are the owner's.
func withKeys(l sshlayer.Layer, key, authority string) sshlayer.Layer {
	l.Options.Users = slices.Clone(l.Options.Users)
	for i := range l.Options.Users {
		l.Options.Users[i].Keys = []string{key}
	}
	if len(l.Options.UserCA) > 0 {
		l.Options.UserCA = []string{authority}
	}
	return l
}
