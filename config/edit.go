package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"ingot/config/document"
	"ingot/layers"
	"ingot/layers/wireguard"
)

// peersPath leads to the list of the tunnel's peers.
var peersPath = []any{"layers", "wireguard", "peers"}

// Edit is an ingot.yaml that is being changed. What is not asked for stays as
// it is, comments and formatting included.
type Edit struct {
	file   string
	data   []byte
	always []layers.Layer
	doc    *document.Document
	parsed ingotFile
}

// OpenEdit reads the ingot.yaml at path, or in the folder at path. Mistakes in
// it are the findings; that the tunnel has no peers yet is none.
func OpenEdit(path string, always ...layers.Layer) (*Edit, []Finding, error) {
	file := path
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		file = filepath.Join(path, FileName)
	}
	data, err := readFile(file)
	if err != nil {
		return nil, nil, err
	}
	e := &Edit{file: file, data: data, always: always}
	findings, err := e.read(data)
	findings = slices.DeleteFunc(findings, func(f Finding) bool { return reflect.DeepEqual(f.Path, peersPath) && len(e.parsed.peers()) == 0 })
	if err == nil && len(findings) == 0 && e.parsed.Layers.WireGuard == nil {
		err = errors.New("the layer wireguard is off; add wireguard to layers")
	}
	return e, findings, err
}

// read checks a text as Load does and keeps it parsed.
func (e *Edit) read(data []byte) ([]Finding, error) {
	root, err := os.OpenRoot(filepath.Dir(e.file))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	_, findings := decode(e.file, data, root, e.always)
	e.doc, _ = document.Parse(e.file, data)
	e.parsed = ingotFile{}
	e.doc.Decode(&e.parsed)
	return findings, nil
}

func (f ingotFile) peers() []wireguard.Peer {
	if f.Layers.WireGuard == nil {
		return nil
	}
	return f.Layers.WireGuard.Peers
}

// File is the path of the ingot.yaml.
func (e *Edit) File() string { return e.file }

// Text is the file as it would be written now.
func (e *Edit) Text() []byte { return e.data }

// WireGuard are the options of the layer.
func (e *Edit) WireGuard() wireguard.Options { return *e.parsed.Layers.WireGuard }

// AddPeer adds a peer. Findings are what the file would say about it.
func (e *Edit) AddPeer(p wireguard.Peer) ([]Finding, error) {
	item := []document.Field{{Key: "name", Value: p.Name}, {Key: "address", Value: p.Address}}
	if p.Address6 != "" {
		item = append(item, document.Field{Key: "address6", Value: fmt.Sprintf("%q", p.Address6)})
	}
	item = append(item, document.Field{Key: "publicKey", Value: p.PublicKey})
	if p.PresharedKey {
		item = append(item, document.Field{Key: "presharedKey", Value: "true"})
	}
	text, err := e.doc.Append(e.data, peersPath, item)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; add this to layers.wireguard.peers yourself: %s", e.file, err, document.Inline(item))
	}
	return e.replace(text, append(slices.Clone(e.parsed.peers()), p))
}

// RemovePeer removes the peer of that name, which must be there.
func (e *Edit) RemovePeer(name string) ([]Finding, error) {
	i := slices.IndexFunc(e.parsed.peers(), func(p wireguard.Peer) bool { return p.Name == name })
	text, err := e.doc.Remove(e.data, peersPath, i)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove the peer %s from layers.wireguard.peers yourself", e.file, err, name)
	}
	return e.replace(text, slices.Delete(slices.Clone(e.parsed.peers()), i, i+1))
}

// replace takes a new text when it says exactly what it should: the same with
// other peers.
func (e *Edit) replace(text []byte, peers []wireguard.Peer) ([]Finding, error) {
	want := e.parsed
	options := *want.Layers.WireGuard
	options.Peers = peers
	want.Layers.WireGuard = &options
	next := Edit{file: e.file, data: text, always: e.always}
	findings, err := next.read(text)
	if err != nil || len(findings) > 0 {
		return findings, err
	}
	if !reflect.DeepEqual(next.parsed, want) {
		return nil, fmt.Errorf("%s: %w; change layers.wireguard.peers yourself", e.file, document.ErrShape)
	}
	*e = next
	return nil, nil
}
