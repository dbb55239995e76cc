package assay

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"ingot/ignition"
	"ingot/layers"
	sshlayer "ingot/layers/ssh"
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
	clientKey    string // WireGuard private key of the client
	presharedKey string // of the client's, empty is none
	serverPublic string
	serverTunnel string // address of the server in the tunnel, without a length
	clientTunnel string
	// tunnels6 is whether the tunnel has IPv6 as well.
	tunnels6 bool
	sshPort  string
}

// Addresses inside the tunnel during an assay.
const (
	serverTunnel = "10.8.0.1"
	clientTunnel = "10.8.0.2"

	serverTunnel6 = "fd00:8::1"
	clientTunnel6 = "fd00:8::2"
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
	id = Identity{serverKey: id.serverKey, serverPublic: id.serverPublic, serverTunnel: serverTunnel, clientTunnel: clientTunnel}
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
	clientKey, clientPublic, err := wireguard.NewKeyPair(rand.Reader)
	if err != nil {
		return Identity{}, err
	}
	id.clientKey = clientKey

	site.Hostname = "assay"
	site.Admin.Keys = []string{line}
	list = slices.Clone(list)
	for i, l := range list {
		if w, ok := l.(wireguard.Layer); ok {
			w.Options.Address = serverTunnel + "/24"
			peer := wireguard.Peer{Name: "assay", Address: clientTunnel, PublicKey: clientPublic}
			if slices.ContainsFunc(w.Options.Peers, func(p wireguard.Peer) bool { return p.PresharedKey }) {
				peer.PresharedKey = true
				if id.presharedKey, _, err = wireguard.NewKeyPair(rand.Reader); err != nil { // 32 random bytes will do
					return Identity{}, err
				}
			}
			if id.tunnels6 = w.Options.Address6 != ""; id.tunnels6 {
				w.Options.Address6, peer.Address6 = serverTunnel6+"/64", clientTunnel6
			}
			w.Options.Peers = []wireguard.Peer{peer}
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
	for _, p := range plan.Ports {
		if p.Layer == "ssh" {
			id.sshPort = strconv.Itoa(p.Port)
		}
	}
	id.secrets = func(slot layers.SecretSlot) ([]byte, error) {
		switch {
		case slot.Name == wireguard.PrivateKeySlot:
			return []byte(id.serverKey + "\n"), nil
		case slot.Name == wireguard.PresharedKeySlot+"assay":
			return []byte(id.presharedKey + "\n"), nil
		}
		return nil, fmt.Errorf("the assay has no value for the secret slot %s", slot.Name)
	}
	config, err := ignition.Instance(plan, id.secrets)
	id.Instance = config.JSON
	return id, err
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
