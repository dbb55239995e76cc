// Package clients adds and removes the tunnel's peers: in ingot.yaml, which
// gets the public key, and in secrets/clients, where the client's config with
// its private key waits to be taken to the device.
package clients

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"

	"ingot/config"
	"ingot/config/document"
	"ingot/fault"
	"ingot/layers/system"
	"ingot/layers/wireguard"
	"ingot/secrets"
)

// Options of [Add].
type Options struct {
	Name     string
	Endpoint string // of the server; empty is the option of ingot.yaml
	Full     bool   // all traffic goes through the tunnel
	// PresharedKey adds a symmetric key to the peer's handshakes.
	PresharedKey bool
	// Age are the recipients that the config is encrypted to: age1… or lines
	// of .pub files. None leaves it in clear, 0600.
	Age []string
}

// Client is a peer and where its config is.
type Client struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
	PublicKey string   `json:"public_key"`
	// File is the client's config; empty when it is not here (any more).
	File string `json:"file,omitempty"`
}

// Added is a new client.
type Added struct {
	Client
	// Config is the text of the client's config. It holds the private key.
	Config string `json:"-"`
	// Remarks are what the owner should know.
	Remarks []string `json:"remarks,omitempty"`
}

// Findings are mistakes in ingot.yaml.
type Findings []config.Finding

func (f Findings) Error() string { return fmt.Sprintf("%s has mistakes", f[0].File) }

// Add makes a key pair for a new peer, chooses its addresses, and writes its
// config and then ingot.yaml, each whole or not at all. A config without a
// peer, which an interrupted run leaves, is replaced by the next.
func Add(dir string, o Options) (Added, error) { return add(dir, o, disk{}) }

func add(dir string, o Options, d writer) (Added, error) {
	if message := wireguard.PeerNameProblem(o.Name); message != "" {
		return Added{}, fault.Input(fmt.Errorf("%s; use up to 32 lower-case letters, digits and dashes, such as laptop", message))
	}
	recipients, err := secrets.ParseRecipients(o.Age)
	if err != nil {
		return Added{}, fault.Input(err)
	}
	f, err := open(dir)
	if err != nil {
		return Added{}, err
	}
	defer f.close()
	remarks := remarks(o, f.edit.WireGuard())
	peer, client, err := f.newPeer(o, &remarks)
	if err != nil {
		return Added{}, err
	}
	options := f.edit.WireGuard()
	if found, err := f.edit.AddPeer(peer); err != nil || len(found) > 0 {
		return Added{}, inputs(found, err)
	}
	text := options.Config(client)
	content, err := secrets.Encrypt([]byte(text), recipients)
	if err != nil {
		return Added{}, err
	}
	name := o.Name + ".conf"
	if len(recipients) > 0 {
		name += ".age"
	}
	added := Added{Client: clientOf(peer, filepath.Join(f.clients(), name)), Config: text, Remarks: remarks}
	f.forget(o.Name, d) // what an interrupted run or a removed peer left
	if client.PresharedKey != "" {
		if err := d.write(f.slot(wireguard.PresharedKeySlotOf(o.Name)), []byte(client.PresharedKey+"\n"), 0o600); err != nil {
			return Added{}, err
		}
	}
	if err := d.write(added.File, content, 0o600); err != nil {
		return Added{}, err
	}
	if err := f.save(d); err != nil {
		f.forget(o.Name, d)
		return Added{}, err
	}
	return added, nil
}

// newPeer chooses everything about a new peer.
func (f *folder) newPeer(o Options, remarks *[]string) (wireguard.Peer, wireguard.Client, error) {
	options := f.edit.WireGuard()
	refuse := func(format string, a ...any) (wireguard.Peer, wireguard.Client, error) {
		return wireguard.Peer{}, wireguard.Client{}, fault.Input(fmt.Errorf(format, a...))
	}
	if options.Find(o.Name) >= 0 {
		return refuse("there is a peer called %s already; choose another name, or run \"ingot client remove %s\" first", o.Name, o.Name)
	}
	endpoint := o.Endpoint
	if endpoint == "" {
		endpoint = options.Endpoint
	}
	if endpoint == "" {
		return refuse("where clients find the server is not known; add --endpoint HOST, or endpoint: to layers.wireguard")
	}
	if message := wireguard.EndpointProblem(endpoint); message != "" {
		return refuse("%s; write the server's public name or address without a port, such as claw.example.com", message)
	}
	if o.Full && !options.FullTunnel {
		return refuse("the server passes nothing on to the internet; add fullTunnel: true to layers.wireguard, or leave out --full")
	}
	address, address6, err := options.NextAddresses()
	if err != nil {
		return refuse("%w", err)
	}
	serverKey, err := f.serverKey()
	if err != nil {
		return wireguard.Peer{}, wireguard.Client{}, err
	}
	if serverKey.Made {
		*remarks = append(*remarks, fmt.Sprintf("made the server's WireGuard key in %s; its public key is %s", serverKey.File, serverKey.Public))
	}
	private, public, err := wireguard.NewKeyPair(rand.Reader)
	if err != nil {
		return wireguard.Peer{}, wireguard.Client{}, err
	}
	peer := wireguard.Peer{Name: o.Name, Address: address, Address6: address6, PublicKey: public, PresharedKey: o.PresharedKey}
	client := wireguard.Client{PrivateKey: private, ServerKey: serverKey.Public, Endpoint: endpoint, Full: o.Full, Peer: peer}
	if o.PresharedKey {
		if client.PresharedKey, err = presharedKey(); err != nil {
			return wireguard.Peer{}, wireguard.Client{}, err
		}
	}
	return peer, client, nil
}

func presharedKey() (string, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return "", fmt.Errorf("make a preshared key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(key), nil
}

func remarks(o Options, options wireguard.Options) []string {
	if o.Full && !options.DNS {
		return []string{"all traffic goes through the tunnel, but the client asks its own network for names; dns: true in layers.wireguard changes that"}
	}
	return nil
}

// List returns the peers of a folder, in the order of ingot.yaml.
func List(dir string) ([]Client, error) {
	f, err := read(dir)
	if err != nil {
		return nil, err
	}
	list := []Client{}
	for _, p := range f.edit.WireGuard().Peers {
		list = append(list, clientOf(p, f.configOf(p.Name)))
	}
	return list, nil
}

func clientOf(p wireguard.Peer, file string) Client {
	return Client{Name: p.Name, Addresses: p.Addresses(), PublicKey: p.PublicKey, File: file}
}

// Remove takes a peer out of ingot.yaml, and then its config and keys away.
func Remove(dir, name string) (Client, error) { return remove(dir, name, disk{}) }

func remove(dir, name string, d writer) (Client, error) {
	f, err := open(dir)
	if err != nil {
		return Client{}, err
	}
	defer f.close()
	peers := f.edit.WireGuard().Peers
	i := f.edit.WireGuard().Find(name)
	if i < 0 {
		return Client{}, fault.Input(unknown(name, peers))
	}
	client := clientOf(peers[i], f.configOf(name))
	if found, err := f.edit.RemovePeer(name); err != nil || len(found) > 0 {
		return Client{}, inputs(found, err)
	}
	if err := f.save(d); err != nil {
		return Client{}, err
	}
	f.forget(name, d)
	return client, nil
}

func unknown(name string, peers []wireguard.Peer) error {
	var names []string
	for _, p := range peers {
		names = append(names, p.Name)
	}
	if near := document.Nearest(name, names); near != "" {
		return fmt.Errorf("there is no peer %q; did you mean %s?", name, near)
	}
	return fmt.Errorf("there is no peer %q; there are %s", name, strings.Join(names, ", "))
}

// inputs is the error of an edit that was refused.
func inputs(found []config.Finding, err error) error {
	if err != nil {
		return fault.Input(err)
	}
	return fault.Input(Findings(found))
}

// read opens a folder to look at.
func read(dir string) (*folder, error) {
	edit, found, err := config.OpenEdit(dir, system.Layer{})
	if err != nil || len(found) > 0 {
		return nil, inputs(found, err)
	}
	return &folder{dir: filepath.Dir(edit.File()), edit: edit}, nil
}
