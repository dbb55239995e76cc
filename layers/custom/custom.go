// Package custom is a layer without Go: a folder with config.bu, the plain
// subset of Butane that a sealed image can hold, files/ with what it refers
// to, layer.yaml with what Butane has no words for (packages, ports, state),
// and checks.yaml with what must be true of the booted machine.
package custom

import (
	"ingot/config/document"
	"ingot/layers"
)

// Layer is one folder, read by [Load].
type Layer struct {
	name         string
	contribution layers.Contribution
	claims       map[string]document.Finding
}

// Name implements [layers.Layer]: "custom/" and the folder's last element.
func (l Layer) Name() string { return l.name }

// Validate implements [layers.Layer]. Mistakes in the folder are found by
// [Load], with their position in the folder's files.
func (Layer) Validate(layers.Site) []layers.Finding { return nil }

// Contribute implements [layers.Layer].
func (l Layer) Contribute(layers.Site) layers.Contribution { return l.contribution }

// Claim returns a finding, without its message, at the line of the folder that
// claims something, in the words of [layers.Conflict], "file /etc/x".
func (l Layer) Claim(what string) (document.Finding, bool) {
	at, known := l.claims[what]
	at.Path = nil // it means nothing in another file
	return at, known
}
